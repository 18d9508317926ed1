//! Cgroups where the caller's view hides them.
//!
//! `ip netns exec` puts a fresh sysfs over `/sys`, and the cgroup file systems below it are out of sight; a bare init may never
//! have mounted them. The hierarchies themselves are there all the same: the process is in a group of each. They are mounted
//! again in a mount namespace of this process and its children, so nothing on the machine changes and nothing stays behind.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::named;

const ROOT: &str = "/sys/fs/cgroup";

/// One mount to make, in order.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    place: String,
    kind: &'static str,
    options: String,
}

/// Makes the hierarchies visible to this process and its children, if none is; whether that was needed. The process must have
/// one thread only.
pub fn reveal() -> io::Result<bool> {
    if is_visible(&fs::read_to_string("/proc/self/mounts")?) {
        return Ok(false);
    }
    let steps = plan(&fs::read_to_string("/proc/self/cgroup")?);
    sys::ns::unshare(sys::ns::MOUNT)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    for Step { place, kind, options } in steps {
        let place = Path::new(&place);
        fs::create_dir_all(place).map_err(|error| named(place, error))?;
        let options = std::ffi::CString::new(options)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount(kind, place, kind, flags, options.as_c_str()).map_err(|error| named(place, error.into()))?;
    }
    Ok(true)
}

fn is_visible(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next().is_some_and(|place| Path::new(place).starts_with(ROOT)) && matches!(fields.next(), Some("cgroup" | "cgroup2"))
    })
}

/// From `/proc/self/cgroup`: `4:memory:/some/group` for each v1 hierarchy, `0::/group` for v2. Named hierarchies carry no
/// controller and are left out.
fn plan(memberships: &str) -> Vec<Step> {
    let mut v1: Vec<&str> = memberships.lines().filter_map(|line| line.split(':').nth(1)).collect();
    v1.retain(|controllers| !controllers.is_empty() && !controllers.starts_with("name="));
    let v2 = memberships.lines().any(|line| line.starts_with("0::"));
    let step = |place: String, kind, options: &str| Step { place, kind, options: options.to_owned() };
    if v1.is_empty() {
        return v2.then(|| step(ROOT.to_owned(), "cgroup2", "")).into_iter().collect();
    }
    v1.sort_unstable();
    let mut steps = vec![step(ROOT.to_owned(), "tmpfs", "mode=755,size=64k")];
    steps.extend(v1.into_iter().map(|controllers| step(format!("{ROOT}/{controllers}"), "cgroup", controllers)));
    steps.extend(v2.then(|| step(format!("{ROOT}/unified"), "cgroup2", "")));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_elsewhere_does_not_count() {
        assert!(is_visible("sysfs /sys sysfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"));
        assert!(is_visible("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"));
        assert!(!is_visible("sysfs /sys sysfs rw 0 0\ncgroup2 /mnt/cgroup cgroup2 rw 0 0\n"));
    }

    #[test]
    fn every_hierarchy_gets_its_usual_place() {
        let places = |memberships| plan(memberships).into_iter().map(|step| format!("{} {} {}", step.kind, step.place, step.options));
        let lines = |memberships| places(memberships).collect::<Vec<_>>();
        assert_eq!(lines("0::/user.slice\n"), ["cgroup2 /sys/fs/cgroup "]);
        assert_eq!(
            lines("9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/\n0::/\n"),
            [
                "tmpfs /sys/fs/cgroup mode=755,size=64k",
                "cgroup /sys/fs/cgroup/cpu,cpuacct cpu,cpuacct",
                "cgroup /sys/fs/cgroup/memory memory",
                "cgroup2 /sys/fs/cgroup/unified ",
            ]
        );
        assert_eq!(lines(""), [""; 0], "a kernel without cgroups");
    }
}
