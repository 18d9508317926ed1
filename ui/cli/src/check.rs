//! Pre-flight: what the machine must offer, each failure with its cause and its fix.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use stdx::Instance;

/// Free space that a new cluster needs.
const DISK_MIN_BYTES: u64 = 256 << 20;
/// Mount API, pidfd, clone3 with cgroups, openat2: all there since.
const KERNEL_MIN: (u32, u32) = (5, 13);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Something will work less well.
    Warning,
    /// The cluster cannot start.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub level: Level,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, detail: detail.into(), fix: None }
    }

    pub fn bad(name: &'static str, level: Level, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// A check of the table: what it looks at is the machine and the instance, nothing else.
type Check = fn(&Instance, bool) -> Finding;

/// In the order printed.
const ALL: &[Check] = &[root, kernel, cgroups, overlay, erofs, nf_tables, api_port, agent_port, disk];

/// Runs every check. `running`: our own processes hold the ports.
pub fn all(instance: &Instance, running: bool) -> Vec<Finding> {
    ALL.iter().map(|check| check(instance, running)).collect()
}

fn root(_: &Instance, _: bool) -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::ok("root", "running as root");
    }
    let detail = "containers, networks and mounts need root";
    Finding::bad("root", Level::Failure, detail, "run it with sudo")
}

fn kernel(_: &Instance, _: bool) -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version >= KERNEL_MIN {
        return Finding::ok("kernel", format!("Linux {release}"));
    }
    let detail = format!("Linux {release} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1);
    Finding::bad("kernel", Level::Failure, detail, "boot a newer kernel")
}

fn cgroups(_: &Instance, _: bool) -> Finding {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let v1: Vec<&str> = ["memory", "cpu", "pids"].into_iter().filter(|name| mounts.lines().any(|line| is_v1(line, name))).collect();
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has = |name: &&str| v1.contains(name) || v2.split_whitespace().any(|one| one == *name);
    let missing: Vec<&str> = ["cpu", "memory", "pids"].into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Finding::ok("cgroups", if v1.is_empty() { "version 2" } else { "version 1 or hybrid" });
    }
    let detail = format!("no cgroup controller for {}", missing.join(", "));
    Finding::bad(
        "cgroups",
        Level::Failure,
        detail,
        "mount the cgroup file system with these controllers (a kernel parameter may have disabled them)",
    )
}

fn is_v1(line: &str, controller: &str) -> bool {
    let Some((_, options)) = line.split_once(" - cgroup ") else { return false };
    options.split([' ', ',']).any(|option| option == controller)
}

fn overlay(_: &Instance, _: bool) -> Finding {
    if file_system("overlay") {
        return Finding::ok("overlayfs", "available");
    }
    Finding::bad("overlayfs", Level::Failure, "the kernel does not offer overlayfs", "modprobe overlay")
}

fn erofs(_: &Instance, _: bool) -> Finding {
    if file_system("erofs") {
        return Finding::ok("erofs", "available");
    }
    let detail = "the kernel does not offer EROFS: image layers are unpacked instead of mounted, the first start of an image is slower";
    Finding::bad("erofs", Level::Warning, detail, "modprobe erofs")
}

/// Listed, or to be had by asking for it: the kernel loads a file system's module when somebody first wants it.
fn file_system(name: &str) -> bool {
    let listed = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = listed.lines().any(|line| line.split_whitespace().last() == Some(name));
    known || rustix::mount::fsopen(name, rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

fn nf_tables(_: &Instance, _: bool) -> Finding {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
    match socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::NETFILTER)) {
        Ok(_) => Finding::ok("nf_tables", "netfilter answers"),
        Err(error) => Finding::bad("nf_tables", Level::Failure, format!("no netfilter: {error}"), "modprobe nf_tables"),
    }
}

fn api_port(instance: &Instance, running: bool) -> Finding {
    port("api port", instance.api_port(), running)
}

fn agent_port(instance: &Instance, running: bool) -> Finding {
    port("agent port", instance.agent_port(), running)
}

fn port(name: &'static str, port: u16, running: bool) -> Finding {
    match listener(port) {
        None => Finding::ok(name, format!("{port} is free")),
        Some(_) if running => Finding::ok(name, format!("{port} is ours")),
        Some(holder) => {
            let detail = format!("port {port} is in use by {holder}");
            Finding::bad(name, Level::Failure, detail, "stop that program, or use another --instance, whose ports differ")
        }
    }
}

/// Who listens on the TCP port: `nginx (pid 812)`.
pub fn listener(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(&fs::read_to_string(table).unwrap_or_default(), port))?;
    Some(holder(&inode).unwrap_or_else(|| "a process of another namespace".into()))
}

/// The socket inode of a listener (state 0A) on `port`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let suffix = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.into_iter().find(|row| row.len() > 9 && row[1].ends_with(&suffix) && row[3] == "0A").map(|row| row[9].to_owned())
}

fn holder(inode: &str) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in processes {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        if fds.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

fn disk(instance: &Instance, _: bool) -> Finding {
    let existing = instance.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(existing) else {
        return Finding::bad(
            "disk",
            Level::Warning,
            format!("{} cannot be measured", existing.display()),
            "see that the folder is readable",
        );
    };
    let free = stat.f_bavail * stat.f_frsize;
    if free >= DISK_MIN_BYTES && stat.f_bavail < stat.f_blocks / 10 {
        let detail = format!(
            "{} free at {}, less than a tenth: the node reports DiskPressure and takes no pods",
            crate::out::size(free),
            existing.display()
        );
        return Finding::bad("disk", Level::Warning, detail, "free some space, or choose another folder with --root");
    }
    if free >= DISK_MIN_BYTES {
        return Finding::ok("disk", format!("{} free at {}", crate::out::size(free), existing.display()));
    }
    let detail = format!("only {} free at {}", crate::out::size(free), existing.display());
    Finding::bad("disk", Level::Failure, detail, "free some space, or choose another folder with --root")
}

/// Names of the failed checks, for tests and for one line of text.
pub fn failures(findings: &[Finding]) -> HashMap<&'static str, &Finding> {
    findings.iter().filter(|finding| finding.level == Level::Failure).map(|finding| (finding.name, finding)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let who = listener(port).unwrap();
        assert!(who.contains(&format!("(pid {})", std::process::id())), "{who}");
        drop(held);
        assert_eq!(listener(port), None);
    }
}
