//! Limits and figures, in the files of either version.

use std::fs;
use std::io;
use std::path::Path;

use super::{Cgroups, Limits, named};

/// What a group uses now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// Memory less inactive file pages.
    pub working_set_bytes: u64,
    pub rss_bytes: u64,
    pub pids: u64,
}

/// v2's name for "no limit".
const MAX: &str = "max";

impl Cgroups {
    /// Writes the limits that are given and leaves the others.
    pub fn limit(&self, group: &Path, limits: &Limits) -> io::Result<()> {
        self.limit_cpu(group, limits)?;
        if let Some(bytes) = limits.memory_bytes {
            self.limit_memory(group, bytes)?;
        }
        match (limits.pids, self.controller("pids")) {
            (Some(pids), Some(root)) => write(&root.join(group), "pids.max", &unlimited(pids)),
            _ => Ok(()),
        }
    }

    fn limit_cpu(&self, group: &Path, limits: &Limits) -> io::Result<()> {
        let Some(folder) = self.controller("cpu").map(|root| root.join(group)) else { return Ok(()) };
        let v1 = self.v1("cpu").is_some();
        if let Some(shares) = limits.cpu_shares {
            if v1 { write(&folder, "cpu.shares", &shares.to_string())? } else { write(&folder, "cpu.weight", &weight(shares).to_string())? }
        }
        let period = limits.cpu_period_us.filter(|&period| period > 0);
        if v1 {
            if let Some(period) = period {
                write(&folder, "cpu.cfs_period_us", &period.to_string())?;
            }
            limits.cpu_quota_us.map_or(Ok(()), |quota| write(&folder, "cpu.cfs_quota_us", &if quota > 0 { quota } else { -1 }.to_string()))
        } else if let Some(quota) = limits.cpu_quota_us {
            write(&folder, "cpu.max", &format!("{} {}", unlimited(quota), period.unwrap_or(100_000)))
        } else {
            Ok(())
        }
    }

    /// Swap would make a memory limit a lie, so it is closed where the kernel counts it.
    fn limit_memory(&self, group: &Path, bytes: u64) -> io::Result<()> {
        let Some(folder) = self.controller("memory").map(|root| root.join(group)) else { return Ok(()) };
        if self.v1("memory").is_none() {
            write_if_there(&folder, "memory.swap.max", "0")?;
            write_if_there(&folder, "memory.oom.group", "1")?;
            return write(&folder, "memory.max", &if bytes == 0 { MAX.into() } else { bytes.to_string() });
        }
        let value = if bytes == 0 { "-1".into() } else { bytes.to_string() };
        // The limit with swap must never be below the one without: which goes first depends on the direction.
        let raise_swap_first = write_if_there(&folder, "memory.memsw.limit_in_bytes", &value).is_ok();
        write(&folder, "memory.limit_in_bytes", &value)?;
        if raise_swap_first { Ok(()) } else { write_if_there(&folder, "memory.memsw.limit_in_bytes", &value) }
    }

    /// How many processes of the group the kernel killed for want of memory.
    pub fn oom_kills(&self, group: &Path) -> u64 {
        let Some(folder) = self.controller("memory").map(|root| root.join(group)) else { return 0 };
        let file = if self.v1("memory").is_some() { "memory.oom_control" } else { "memory.events" };
        field(&fs::read_to_string(folder.join(file)).unwrap_or_default(), "oom_kill")
    }

    /// Reads the figures; NotFound when the group is gone.
    pub fn usage(&self, group: &Path) -> io::Result<Usage> {
        let mut usage = Usage::default();
        if let Some(folder) = self.v1("cpuacct").map(|root| root.join(group)) {
            usage.cpu_nanos = number(&folder, "cpuacct.usage")?;
        } else if let Some(root) = self.v2() {
            usage.cpu_nanos = field(&read(&root.join(group), "cpu.stat")?, "usage_usec") * 1000;
        }
        if let Some(folder) = self.controller("memory").map(|root| root.join(group)) {
            let v1 = self.v1("memory").is_some();
            let stat = read(&folder, "memory.stat")?;
            usage.memory_bytes = number(&folder, if v1 { "memory.usage_in_bytes" } else { "memory.current" })?;
            usage.working_set_bytes =
                usage.memory_bytes.saturating_sub(field(&stat, if v1 { "total_inactive_file" } else { "inactive_file" }));
            usage.rss_bytes = field(&stat, if v1 { "total_rss" } else { "anon" });
        }
        if let Some(folder) = self.controller("pids").map(|root| root.join(group)) {
            usage.pids = number(&folder, "pids.current")?;
        }
        Ok(usage)
    }
}

/// cpu.shares 2–262144 to cpu.weight 1–10000, as upstream maps them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn unlimited(value: i64) -> String {
    if value > 0 { value.to_string() } else { MAX.into() }
}

fn write(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = folder.join(file);
    fs::write(&path, value).map_err(|error| named(&path, error))
}

fn write_if_there(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    match write(folder, file, value) {
        // cgroup file systems answer a write that would make a file with either.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        done => done,
    }
}

fn read(folder: &Path, file: &str) -> io::Result<String> {
    let path = folder.join(file);
    fs::read_to_string(&path).map_err(|error| named(&path, error))
}

fn number(folder: &Path, file: &str) -> io::Result<u64> {
    Ok(read(folder, file)?.trim().parse().unwrap_or(0))
}

/// The value beside `key` in lines of `key value`.
fn field(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_map_to_weights_at_both_ends() {
        assert_eq!((weight(0), weight(2), weight(1024), weight(262_144), weight(u64::MAX)), (1, 1, 39, 10_000, 10_000));
    }

    #[test]
    fn a_key_is_not_found_in_a_longer_one() {
        assert_eq!(field("oom_kill_disable 1\noom_kill 3\n", "oom_kill"), 3);
    }
}
