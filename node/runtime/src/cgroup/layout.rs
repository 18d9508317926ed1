//! Which hierarchies a machine has, and where a group's directories are in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{make, named};

/// Controllers that carry limits or figures of ours.
const WANTED: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];

/// The machine's hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// Controller to the root of its v1 hierarchy. Some share one.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
    /// Controllers of the v2 hierarchy.
    v2_controllers: BTreeSet<String>,
}

impl Cgroups {
    /// Reads what is mounted here.
    pub fn detect() -> io::Result<Self> {
        let mut found = Self::parse(&fs::read_to_string("/proc/self/mounts")?);
        if let Some(v2) = &found.v2 {
            let controllers = fs::read_to_string(v2.join("cgroup.controllers")).map_err(|error| named(v2, error))?;
            found.v2_controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        if found.v1.is_empty() && found.v2.is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted at /sys/fs/cgroup"));
        }
        Ok(found)
    }

    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, place, kind, options, ..] = fields[..] else { continue };
            if !Path::new(place).starts_with("/sys/fs/cgroup") {
                continue;
            }
            match kind {
                "cgroup2" if found.v2.is_none() => found.v2 = Some(place.into()),
                "cgroup" => {
                    let wanted = options.split(',').filter(|option| WANTED.contains(option) || *option == "devices");
                    found.v1.extend(wanted.map(|controller| (controller.to_owned(), PathBuf::from(place))));
                }
                _ => {}
            }
        }
        found
    }

    /// The v2 hierarchy's root, with controllers or without.
    pub(crate) fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// Everything is v2.
    pub(crate) fn is_unified(&self) -> bool {
        self.v1.is_empty()
    }

    /// The v2 hierarchy, if there is one, limits nothing: a process may be in its group before it is the container's.
    pub fn v2_is_bare(&self) -> bool {
        !WANTED.iter().any(|name| self.v2_controllers.contains(*name))
    }

    /// The root of the v1 hierarchy of a controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.get(controller).map(PathBuf::as_path)
    }

    /// The root of the hierarchy that has this controller, of either version.
    pub(crate) fn controller(&self, name: &str) -> Option<&Path> {
        self.v1(name).or_else(|| self.v2().filter(|_| self.v2_controllers.contains(name)))
    }

    /// A group's directories, one per hierarchy.
    pub(crate) fn folders(&self, group: &Path) -> Vec<PathBuf> {
        let mut folders = self.v1_folders(group);
        folders.extend(self.v2.as_ref().map(|root| root.join(group)));
        folders
    }

    pub(crate) fn v1_folders(&self, group: &Path) -> Vec<PathBuf> {
        let roots: BTreeSet<&PathBuf> = WANTED.iter().filter_map(|controller| self.v1.get(*controller)).collect();
        roots.into_iter().map(|root| root.join(group)).collect()
    }

    /// v1 directories by the name of their hierarchy's mount (`cpu,cpuacct`).
    pub(crate) fn named_v1_folders(&self, group: &Path) -> Vec<(String, PathBuf)> {
        let roots: BTreeSet<&PathBuf> = WANTED.iter().filter_map(|controller| self.v1.get(*controller)).collect();
        roots.into_iter().filter_map(|root| Some((root.file_name()?.to_str()?.to_owned(), root.join(group)))).collect()
    }

    /// v2: the directories above pass their controllers on. The root is exempt from "no processes in inner groups".
    pub(super) fn delegate(&self, group: &Path) -> io::Result<()> {
        let Some(root) = &self.v2 else { return Ok(()) };
        let wanted: Vec<String> =
            WANTED.iter().filter(|name| self.v2_controllers.contains(**name)).map(|name| format!("+{name}")).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted = wanted.join(" ");
        let mut above: Vec<&Path> = group.ancestors().skip(1).collect();
        above.reverse();
        for folder in above.into_iter().map(|path| root.join(path)) {
            make(&folder)?;
            let file = folder.join("cgroup.subtree_control");
            let active = fs::read_to_string(&file).unwrap_or_default();
            if wanted.split(' ').any(|name| !active.split_whitespace().any(|known| known == &name[1..])) {
                fs::write(&file, &wanted).map_err(|error| named(&file, error))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
        cgroup /sys/fs/cgroup/devices cgroup rw,devices 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nproc /proc proc rw 0 0\n";

    #[test]
    fn shared_hierarchies_give_one_directory() {
        let hybrid = Cgroups::parse(HYBRID);
        let folders = ["/sys/fs/cgroup/cpu,cpuacct/a/b", "/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/unified/a/b"];
        assert_eq!(hybrid.folders(Path::new("a/b")), folders.map(PathBuf::from));
        assert_eq!(hybrid.controller("pids"), None);
        assert!(!hybrid.is_unified() && hybrid.v2_is_bare());
    }

    #[test]
    fn a_pure_v2_machine_has_one_hierarchy() {
        let mut pure = Cgroups::parse("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        pure.v2_controllers.insert("memory".into());
        assert!(pure.is_unified() && !pure.v2_is_bare());
        assert_eq!(pure.controller("memory"), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(pure.folders(Path::new("a")), [PathBuf::from("/sys/fs/cgroup/a")]);
    }
}
