//! Debian's kernel for small machines: its package, fetched once and unpacked below `target`, and the modules that guests load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use crate::images::package;
use crate::process::{output, program};

/// Names the newest kernel's package as what it depends on.
const META: &str = "linux-image-cloud-amd64";
const PATIENCE: Duration = Duration::from_secs(300);

/// What a guest may load, with all that they need: disks and file systems, links, packet filters.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "crc32c_generic",
    "crc32c-intel",
    "overlay",
    "erofs",
    "loop",
    "veth",
    "dummy",
    "tun",
    "bridge",
    "vxlan",
    "nf_tables",
    "nfnetlink",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_numgen",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_objref",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_compat",
    "nft_tproxy",
    "nft_socket",
    "ip_tables",
    "iptable_filter",
    "x_tables",
];

/// An unpacked kernel package.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    pub(crate) release: String,
    modules: PathBuf,
}

impl Kernel {
    /// Fetches and unpacks what is not there yet.
    pub(crate) fn ensure(folder: &Path) -> Result<Self> {
        let packages = folder.join("packages");
        std::fs::create_dir_all(&packages).with_context(|| packages.display().to_string())?;
        let meta = package(META, &packages)?;
        let depends = output(program("dpkg-deb", &["--field", text(&meta)?, "Depends"]), PATIENCE)?;
        let name = depends.split_whitespace().next().with_context(|| format!("{META} depends on nothing"))?;
        let release =
            name.strip_prefix("linux-image-").with_context(|| format!("{META} depends on {name}, which is no kernel"))?.to_owned();
        let unpacked = folder.join(&release);
        if !unpacked.exists() {
            let work = tempfile::tempdir_in(folder)?;
            output(program("dpkg-deb", &["-x", text(&package(name, &packages)?)?, text(work.path())?]), PATIENCE)?;
            std::fs::rename(work.path(), &unpacked).with_context(|| unpacked.display().to_string())?;
        }
        let (image, modules) = (unpacked.join(format!("boot/vmlinuz-{release}")), unpacked.join(format!("lib/modules/{release}/kernel")));
        ensure!(
            image.exists() && modules.exists(),
            "package {name} holds no kernel with modules; remove {} and try again",
            unpacked.display()
        );
        Ok(Self { image, release, modules })
    }

    /// Puts the modules into the archive, with the tables that `modprobe` reads.
    pub(crate) fn add_modules(&self, archive: &mut Archive<impl std::io::Write>) -> Result<()> {
        let home = format!("lib/modules/{}", self.release);
        for folder in ["lib/modules", &home] {
            archive.folder(folder)?;
        }
        let chosen = choose(&files(&self.modules)?, MODULES)?;
        let (mut dependencies, mut aliases) = (String::new(), String::new());
        for (name, module) in &chosen {
            archive.bytes(&format!("{home}/{name}.ko"), &module.bytes)?;
            let needed: Vec<String> = needed_in_order(name, &chosen).into_iter().map(|name| format!("{name}.ko")).collect();
            dependencies += &format!("{name}.ko: {}\n", needed.join(" "));
            aliases.extend(module.aliases.iter().map(|alias| format!("alias {alias} {name}\n")));
        }
        archive.bytes(&format!("{home}/modules.dep"), dependencies.as_bytes())?;
        archive.bytes(&format!("{home}/modules.alias"), aliases.as_bytes())
    }
}

#[derive(Debug, Default)]
struct Module {
    bytes: Vec<u8>,
    needs: Vec<String>,
    aliases: Vec<String>,
}

impl Module {
    /// The lines `key=value` of the module's `.modinfo` section, each ended by a zero.
    fn parse(bytes: Vec<u8>) -> Self {
        let values = |key: &str| -> Vec<String> {
            let key = format!("\0{key}=");
            let starts = bytes.windows(key.len()).enumerate().filter(|(_, window)| *window == key.as_bytes()).map(|(at, _)| at + key.len());
            starts.filter_map(|at| Some(std::str::from_utf8(bytes[at..].split(|&byte| byte == 0).next()?).ok()?.to_owned())).collect()
        };
        let needs = values("depends").iter().flat_map(|list| list.split(',')).filter(|name| !name.is_empty()).map(plain).collect();
        let aliases = values("alias");
        Self { bytes, needs, aliases }
    }
}

/// Files say `crc32c-intel` where the kernel says `crc32c_intel`.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// Every module file by its plain name.
fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut files(&path)?);
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            found.insert(plain(name), path);
        }
    }
    Ok(found)
}

/// The wanted modules and all that they need. One that the kernel has built in is no file.
fn choose(files: &BTreeMap<String, PathBuf>, wanted: &[&str]) -> Result<BTreeMap<String, Module>> {
    let mut open: Vec<String> = wanted.iter().map(|name| plain(name)).collect();
    let mut chosen = BTreeMap::new();
    while let Some(name) = open.pop() {
        let Some(path) = files.get(&name).filter(|_| !chosen.contains_key(&name)) else { continue };
        let module = Module::parse(std::fs::read(path).with_context(|| path.display().to_string())?);
        open.extend(module.needs.iter().cloned());
        chosen.insert(name, module);
    }
    Ok(chosen)
}

/// All that a module needs; what is needed last comes first, as `modules.dep` has it.
fn needed_in_order(name: &str, all: &BTreeMap<String, Module>) -> Vec<String> {
    fn visit(name: &str, all: &BTreeMap<String, Module>, seen: &mut BTreeSet<String>, order: &mut Vec<String>) {
        for needed in all.get(name).into_iter().flat_map(|module| &module.needs) {
            if all.contains_key(needed) && seen.insert(needed.clone()) {
                visit(needed, all, seen, order);
                order.push(needed.clone());
            }
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    visit(name, all, &mut seen, &mut order);
    order.reverse();
    order
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_needs_and_aliases_are_read() {
        let module = Module::parse(b"ELF\0license=GPL\0alias=fs-ext4\0alias=ext3\0depends=mbcache,jbd2,crc-16\0intree=Y\0".to_vec());
        assert_eq!(module.needs, ["mbcache", "jbd2", "crc_16"]);
        assert_eq!(module.aliases, ["fs-ext4", "ext3"]);
        assert!(Module::parse(b"\0depends=\0".to_vec()).needs.is_empty());
    }

    #[test]
    fn what_others_need_comes_last_in_the_line() {
        let module = |needs: &[&str]| Module { needs: needs.iter().map(|name| (*name).into()).collect(), ..Module::default() };
        let all = [
            ("nft_nat", module(&["nf_nat", "nf_tables"])),
            ("nf_nat", module(&["conntrack"])),
            ("conntrack", module(&[])),
            ("nf_tables", module(&["conntrack"])),
        ];
        let all: BTreeMap<String, Module> = all.into_iter().map(|(name, module)| (name.to_owned(), module)).collect();
        assert_eq!(needed_in_order("nft_nat", &all), ["nf_tables", "nf_nat", "conntrack"]);
    }
}
