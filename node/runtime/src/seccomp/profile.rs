//! What is allowed: upstream's default in its shortest form, and profiles read from JSON.
//!
//! The default allows what the kernel has, less what is refused to everybody and less what asks for a capability that
//! the container does not hold. Numbers that this build does not know are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::Deserialize;

use super::numbers;
use super::{Action, Arch, Compare, Condition, Profile, Rule};
use crate::capability;

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("seccomp profile: {0}")]
    Json(#[from] serde_json::Error),
    #[error("seccomp profile: unknown action {0:?}: use SCMP_ACT_ALLOW, ERRNO, LOG, TRAP, KILL, KILL_THREAD or KILL_PROCESS")]
    Action(String),
    #[error("seccomp profile: unknown comparison {0:?}")]
    Comparison(String),
    #[error("seccomp profile: argument index {0} is not 0 to 5")]
    Argument(u32),
}

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Refused with every set of capabilities: keys, kernel images, swap, memory games, and calls nobody needs.
const REFUSED: &str = "add_key keyctl request_key kexec_load kexec_file_load swapon swapoff pivot_root create_module get_kernel_syms \
    query_module nfsservctl _sysctl sysfs ustat uselib userfaultfd vm86 vm86old move_pages migrate_pages afs_syscall getpmsg putpmsg \
    security tuxcall vserver io_uring_setup io_uring_enter io_uring_register lsm_get_self_attr lsm_set_self_attr lsm_list_modules \
    bdflush break ftime gtty stty idle lock mpx prof profil ulimit oldfstat oldlstat oldolduname oldstat olduname sgetmask ssetmask \
    sigaction signal sigpending sigsuspend nice readdir";

/// Calls that ask for one of the capabilities beside them.
const NEEDS: &[(&str, &str)] = &[
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree open_tree_attr \
         perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Kinds of `personality` that change nothing dangerous: Linux, 32-bit memory layout, uname 2.6, both, and "just asking".
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// All `CLONE_NEW*` flags.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Sockets to the hypervisor: they reach the host around every network policy.
const AF_VSOCK: u64 = 40;

/// The capabilities that change the default profile.
pub(super) fn relevant_capabilities() -> u64 {
    NEEDS.iter().filter_map(|(name, _)| capability::bit(name)).fold(0, |all, bit| all | bit)
}

pub(super) fn runtime_default(capabilities: u64) -> Profile {
    let arches = native_arches().iter().map(|(audit, table)| default_arch(*audit, table, capabilities)).collect();
    Profile { default: Action::Errno(EPERM), arches }
}

fn default_arch(audit: u32, table: &Table, capabilities: u64) -> Arch {
    let holds = |name: &str| capability::bit(name).is_some_and(|bit| capabilities & bit != 0);
    let needing =
        |granted: bool| NEEDS.iter().filter(move |(name, _)| holds(name) == granted).flat_map(|(_, calls)| calls.split_whitespace());
    let granted: BTreeSet<&str> = needing(true).collect();
    let refused: BTreeSet<&str> = REFUSED.split_whitespace().chain(needing(false)).filter(|call| !granted.contains(call)).collect();
    let rules =
        table.iter().filter(|(name, _)| !refused.contains(*name)).map(|(name, number)| (*number, default_rules(name, holds("SYS_ADMIN"))));
    let mut arch = Arch { audit, rules: rules.collect() };
    if !holds("SYS_ADMIN")
        && let Some(&clone3) = table.get("clone3")
    {
        // Its flags are behind a pointer that no filter can follow; ENOSYS makes C libraries fall back to clone.
        arch.rules.insert(clone3, vec![Rule { action: Action::Errno(ENOSYS), conditions: vec![] }]);
    }
    arch
}

fn default_rules(name: &str, admin: bool) -> Vec<Rule> {
    let when = |compare, value| Rule { action: Action::Allow, conditions: vec![Condition { argument: 0, compare, value }] };
    match name {
        "personality" => PERSONALITIES.map(|kind| when(Compare::Equal, kind)).to_vec(),
        "clone" if !admin => vec![when(Compare::MaskedEqual(NEW_NAMESPACES), 0)],
        "socket" => vec![when(Compare::NotEqual, AF_VSOCK)],
        _ => vec![Rule { action: Action::Allow, conditions: vec![] }],
    }
}

type Table = BTreeMap<&'static str, u32>;

/// The architecture this build runs on, and the 32-bit one whose programs run there too.
fn native_arches() -> &'static [(u32, Table)] {
    static ARCHES: OnceLock<Vec<(u32, Table)>> = OnceLock::new();
    ARCHES.get_or_init(|| {
        let texts: &[(u32, &'static str)] = if cfg!(target_arch = "x86_64") {
            &[(0xc000_003e, numbers::X86_64), (0x4000_0003, numbers::I386)]
        } else {
            &[(0xc000_00b7, numbers::AARCH64)]
        };
        texts.iter().map(|(audit, text)| (*audit, table(text))).collect()
    })
}

fn table(text: &'static str) -> Table {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once(':'));
    pairs.map(|(name, number)| (name, number.parse().expect("the table holds numbers"))).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<JsonRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRule {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<JsonCondition>>,
    #[serde(default)]
    includes: JsonScope,
    #[serde(default)]
    excludes: JsonScope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonCondition {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonScope {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

pub(super) fn from_json(text: &str, capabilities: u64) -> Result<Profile, ProfileError> {
    let json: Json = serde_json::from_str(text)?;
    let default = action(&json.default_action, json.default_errno_ret)?;
    let mut arches: Vec<Arch> = native_arches().iter().map(|(audit, _)| Arch { audit: *audit, rules: BTreeMap::new() }).collect();
    for rule in json.syscalls.iter().filter(|rule| applies(rule, capabilities)) {
        let conditions = rule.args.iter().flatten().map(condition).collect::<Result<Vec<_>, _>>()?;
        let made = Rule { action: action(&rule.action, rule.errno_ret)?, conditions };
        for name in rule.names.iter().chain(&rule.name) {
            for (arch, (_, table)) in arches.iter_mut().zip(native_arches()) {
                // Names of other architectures and of newer kernels are no error: profiles are shared.
                if let Some(&number) = table.get(name.as_str()) {
                    arch.rules.entry(number).or_default().push(made.clone());
                }
            }
        }
    }
    Ok(Profile { default, arches })
}

fn applies(rule: &JsonRule, capabilities: u64) -> bool {
    let held = |caps: &[String]| caps.iter().any(|name| capability::bit(name).is_some_and(|bit| capabilities & bit != 0));
    let here = |arches: &[String]| arches.iter().any(|arch| arch == if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
    let (includes, excludes) = (&rule.includes, &rule.excludes);
    (includes.caps.is_empty() || held(&includes.caps))
        && (includes.arches.is_empty() || here(&includes.arches))
        && !held(&excludes.caps)
        && !here(&excludes.arches)
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, ProfileError> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(EPERM)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        other => return Err(ProfileError::Action(other.to_owned())),
    })
}

fn condition(json: &JsonCondition) -> Result<Condition, ProfileError> {
    if json.index > 5 {
        return Err(ProfileError::Argument(json.index));
    }
    let (compare, value) = match json.op.as_str() {
        "SCMP_CMP_EQ" => (Compare::Equal, json.value),
        "SCMP_CMP_NE" => (Compare::NotEqual, json.value),
        "SCMP_CMP_LT" => (Compare::Less, json.value),
        "SCMP_CMP_LE" => (Compare::LessOrEqual, json.value),
        "SCMP_CMP_GT" => (Compare::Greater, json.value),
        "SCMP_CMP_GE" => (Compare::GreaterOrEqual, json.value),
        // In this format `value` is the mask and `valueTwo` what must remain.
        "SCMP_CMP_MASKED_EQ" => (Compare::MaskedEqual(json.value), json.value_two),
        other => return Err(ProfileError::Comparison(other.to_owned())),
    };
    Ok(Condition { argument: json.index, compare, value })
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::interpret;
    use super::super::{from_json, runtime_default};
    use super::*;

    const ALLOWED: u32 = 0x7fff_0000;
    const REFUSED: u32 = 0x0005_0001;

    fn outcome(capabilities: u64, name: &str, first: u64) -> u32 {
        let (audit, table) = &native_arches()[0];
        interpret(&runtime_default(capabilities), *audit, table[name], [first, 0, 0, 0, 0, 0]).0
    }

    #[test]
    fn every_known_name_stands_in_a_table() {
        let all: BTreeSet<&str> =
            [numbers::X86_64, numbers::I386, numbers::AARCH64].iter().flat_map(|text| table(text).into_keys()).collect();
        let named = super::REFUSED.split_whitespace().chain(NEEDS.iter().flat_map(|(_, calls)| calls.split_whitespace()));
        assert_eq!(named.filter(|name| !all.contains(name)).collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn the_default_knows_what_each_capability_opens() {
        let admin = capability::bit("SYS_ADMIN").unwrap();
        for (capabilities, name, first, expected) in [
            (0, "read", 0, ALLOWED),
            (0, "execve", 0, ALLOWED),
            (0, "mount", 0, REFUSED),
            (admin, "mount", 0, ALLOWED),
            (0, "keyctl", 0, REFUSED),
            (admin, "keyctl", 0, REFUSED),
            (0, "clone", 0x11, ALLOWED),
            (0, "clone", 0x1000_0011, REFUSED),
            (admin, "clone", 0x1000_0011, ALLOWED),
            (0, "clone3", 0, 0x0005_0026),
            (admin, "clone3", 0, ALLOWED),
            (0, "socket", 2, ALLOWED),
            (0, "socket", 40, REFUSED),
            (0, "personality", 8, ALLOWED),
            (0, "personality", 4, REFUSED),
            (0, "chroot", 0, REFUSED),
            (0, "ptrace", 0, ALLOWED),
            (capability::bit("SYSLOG").unwrap(), "syslog", 0, ALLOWED),
        ] {
            assert_eq!(outcome(capabilities, name, first), expected, "{name} with capabilities {capabilities:#x}");
        }
    }

    #[test]
    fn another_architecture_and_unknown_numbers_are_refused() {
        let filter = runtime_default(u64::MAX);
        assert_eq!(interpret(&filter, 1, 0, [0; 6]).0, REFUSED);
        assert_eq!(interpret(&filter, native_arches()[0].0, 9_999, [0; 6]).0, REFUSED);
        assert_eq!(interpret(&filter, native_arches()[0].0, 0x4000_0001, [0; 6]).0, REFUSED, "x32");
    }

    #[test]
    fn no_call_takes_more_than_a_few_steps() {
        let filter = runtime_default(0);
        let steps = (0..470).map(|number| interpret(&filter, native_arches()[0].0, number, [0; 6]).1).max();
        assert!(steps < Some(24), "{steps:?} steps in {} instructions", filter.len());
    }

    #[test]
    fn a_profile_file_decides_by_first_match() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["reboot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_BOOT"]}}]}"#;
        let (audit, table) = &native_arches()[0];
        let run = |capabilities, name: &str, first| {
            interpret(&from_json(text, capabilities).unwrap(), *audit, table[name], [first, 0, 0, 0, 0, 0]).0
        };
        assert_eq!(run(0, "read", 0), ALLOWED);
        assert_eq!(run(0, "write", 0), 0x0005_0026);
        assert_eq!((run(0, "socket", 1), run(0, "socket", 2)), (ALLOWED, 0x0005_0026));
        assert_eq!(run(capability::bit("SYS_BOOT").unwrap(), "reboot", 0), ALLOWED);
        assert_eq!(run(0, "reboot", 0), 0x0005_0026);
    }

    #[test]
    fn a_bad_profile_says_what_is_wrong() {
        let error = from_json(r#"{"defaultAction": "ALLOW"}"#, 0).unwrap_err();
        assert!(error.to_string().contains("unknown action \"ALLOW\""), "{error}");
    }
}
