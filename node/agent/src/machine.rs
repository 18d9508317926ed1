//! What /proc and the kernel say of this machine.

use std::path::Path;

/// What pods may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

/// Identity of the machine, as `nodeInfo` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    pub architecture: &'static str,
}

pub(crate) fn capacity() -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    Capacity { cpu_millis: cpus * 1000, memory_bytes: memory_field(&read("/proc/meminfo"), "MemTotal").unwrap_or(0) }
}

/// Bytes of memory that are free for use without swapping.
pub(crate) fn memory_available() -> Option<u64> {
    memory_field(&read("/proc/meminfo"), "MemAvailable")
}

fn memory_field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

pub(crate) fn identity() -> Identity {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let machine_id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().map(read).find(|id| !id.is_empty()).unwrap_or_default();
    let os_release = read("/etc/os-release");
    let os_image =
        os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map_or("Linux", |name| name.trim_matches('"')).to_owned();
    Identity {
        system_uuid: Some(read("/sys/class/dmi/id/product_uuid")).filter(|id| !id.is_empty()).unwrap_or_else(|| machine_id.clone()),
        machine_id,
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel,
        os_image,
        architecture: architecture(),
    }
}

/// Go's name of the processor.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// (free, total) bytes of the file system at `path`.
pub(crate) fn disk(path: &Path) -> Option<(u64, u64)> {
    let here = path.ancestors().find(|dir| dir.exists())?;
    let stat = rustix::fs::statvfs(here).ok()?;
    Some((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

/// (processes now, most that can be)
pub(crate) fn processes() -> Option<(u64, u64)> {
    let loads = read("/proc/loadavg");
    let now = loads.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some((now, read("/proc/sys/kernel/pid_max").parse().ok()?))
}

/// USER_HZ, which is 100 on every architecture that we run on.
const TICKS_A_SECOND: u64 = 100;

/// Time that all processors together have worked since boot.
pub(crate) fn cpu_nanos() -> u64 {
    cpu_ticks(&read("/proc/stat")).unwrap_or_default() * (1_000_000_000 / TICKS_A_SECOND)
}

/// user, nice, system, irq, softirq and steal of the first line.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let numbers: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    Some([0, 1, 2, 5, 6, 7].iter().filter_map(|index| numbers.get(*index)).sum())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        assert_eq!(memory_field("MemTotal:       16 kB\nMemAvailable:   5 kB\n", "MemAvailable"), Some(5120));
        assert_eq!(cpu_ticks("cpu  1 2 3 100 100 4 5 6 0 0\ncpu0 1"), Some(21));
        assert_eq!(memory_field("MemTotal2:       16 kB\n", "MemTotal"), None);
    }

    #[test]
    fn this_machine_has_something() {
        assert!(capacity().cpu_millis >= 1000 && capacity().memory_bytes > 0);
        assert!(!identity().kernel.is_empty() && processes().is_some() && disk(Path::new("/nowhere/x")).is_some());
    }
}
