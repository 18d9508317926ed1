//! One cluster's name on a machine, and all that derives from it: folders, ports, address ranges, link, table and
//! cgroup names. Two instances share nothing, so they run side by side.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The name that needs no `--instance`.
pub const DEFAULT: &str = "corten";

/// Everything that must differ between two clusters on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// 1–15 characters `[a-z0-9-]`.
    pub name: String,
    /// State that survives `down`: `/var/lib/corten/<name>`, or `--root`.
    pub root: PathBuf,
    /// 0 for the default instance, 1–199 for others.
    slot: u16,
}

/// Why a name is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct BadName(pub String);

impl std::fmt::Display for BadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "instance name {:?}: use 1 to 15 characters out of a-z, 0-9 and '-', starting and ending with a letter or digit", self.0)
    }
}

impl std::error::Error for BadName {}

impl Instance {
    pub fn new(name: &str, root: Option<&Path>) -> Result<Self, BadName> {
        let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = (1..=15).contains(&name.len())
            && name.chars().all(|c| alnum(c) || c == '-')
            && name.starts_with(alnum)
            && name.ends_with(alnum);
        if !good {
            return Err(BadName(name.to_owned()));
        }
        let root = root.map_or_else(|| Path::new("/var/lib/corten").join(name), Path::to_path_buf);
        Ok(Self { name: name.to_owned(), root, slot: slot(name) })
    }

    /// State of `control`: the store's log, the certificate authorities.
    pub fn control_dir(&self) -> PathBuf {
        self.root.join("control")
    }

    /// State of `node`: images, pods, volumes.
    pub fn node_dir(&self) -> PathBuf {
        self.root.join("node")
    }

    /// What does not survive a reboot: sockets, pinned namespaces, FIFOs. `/run/corten/<name>`.
    pub fn run_dir(&self) -> PathBuf {
        Path::new("/run/corten").join(&self.name)
    }

    /// Log files of the system's own parts: `<root>/log/<process>.log`.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The API server's TLS port.
    pub fn api_port(&self) -> u16 {
        if self.slot == 0 { 6443 } else { 16_000 + self.slot }
    }

    /// The node agent's TLS port.
    pub fn agent_port(&self) -> u16 {
        if self.slot == 0 { 10_250 } else { 10_300 + self.slot }
    }

    /// ClusterIPs: a /16.
    pub fn service_range(&self) -> (Ipv4Addr, u8) {
        if self.slot == 0 { (Ipv4Addr::new(10, 96, 0, 0), 16) } else { (Ipv4Addr::new(172, 20, self.slot as u8, 0), 24) }
    }

    /// Pod addresses of all nodes: a /16 for the default instance, a /24 for others.
    pub fn pod_range(&self) -> (Ipv4Addr, u8) {
        if self.slot == 0 { (Ipv4Addr::new(10, 244, 0, 0), 16) } else { (Ipv4Addr::new(172, 21, self.slot as u8, 0), 24) }
    }

    /// This node's slice of [`Instance::pod_range`].
    pub fn node_pod_range(&self) -> (Ipv4Addr, u8) {
        (self.pod_range().0, 24)
    }

    /// The node's own address, on the link [`Instance::link`]: the first of its pod range.
    pub fn node_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.node_pod_range().0) + 1)
    }

    /// ClusterIP of `default/kubernetes`: the first of the service range.
    pub fn kubernetes_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_range().0) + 1)
    }

    /// Cluster DNS: the tenth of the service range.
    pub fn dns_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_range().0) + 10)
    }

    /// First and last node port.
    pub fn node_ports(&self) -> (u16, u16) {
        if self.slot == 0 { (30_000, 32_767) } else { (20_000 + self.slot * 50, 20_049 + self.slot * 50) }
    }

    /// The node's own link; also the prefix of pod links (at most 7 characters, so that `<prefix><8 hex>` fits in 15).
    pub fn link(&self) -> String {
        if self.slot == 0 { "corten0".into() } else { format!("ctn{}", self.slot) }
    }

    /// nftables table name.
    pub fn table(&self) -> String {
        if self.slot == 0 { "corten".into() } else { format!("corten-{}", self.name) }
    }

    /// Name of the cgroup directory in each hierarchy.
    pub fn cgroup(&self) -> String {
        if self.slot == 0 { "corten".into() } else { format!("corten-{}", self.name) }
    }

    /// Bits of the packet mark that are ours: `0x4000` shifted is not needed, instances differ in their low byte.
    pub fn mark(&self) -> u32 {
        0x4000 | u32::from(self.slot)
    }
}

/// A stable small number for a name: FNV-1a, folded to 1–199.
fn slot(name: &str) -> u16 {
    if name == DEFAULT {
        return 0;
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash % 199) as u16 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_instances_share_nothing() {
        let (a, b) = (Instance::new("corten", None).unwrap(), Instance::new("blue", None).unwrap());
        assert_ne!(a.api_port(), b.api_port());
        assert_ne!(a.agent_port(), b.agent_port());
        assert_ne!(a.service_range(), b.service_range());
        assert_ne!(a.pod_range(), b.pod_range());
        assert_ne!(a.link(), b.link());
        assert_ne!(a.table(), b.table());
        assert_ne!(a.run_dir(), b.run_dir());
        assert!(b.link().len() <= 7);
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["", "../x", "A", "a/b", "-a", "a-", "sixteen-letters-"] {
            assert!(Instance::new(bad, None).is_err(), "{bad}");
        }
    }
}
