//! From what the agent asks for to what a launcher does: pure.

use std::path::{Path, PathBuf};

use contract::{ContainerSpec, ErrorKind, ExecSpec, Resources, SandboxSpec, Seccomp};
use runtime::capability;
use runtime::cgroup::{Cgroups, Devices, Limits};
use runtime::plan::{CgroupJoin, CgroupView, Container, Kind, Mount, PidNamespace, Plan, Process, Propagation, Rootfs, UserSpec};
use runtime::seccomp::Instruction;

/// Where the sandbox of a container has its things.
pub(super) struct SandboxPlaces<'a> {
    pub(super) spec: &'a SandboxSpec,
    pub(super) folder: &'a Path,
    pub(super) scratch: &'a Path,
}

pub(super) fn container(spec: &ContainerSpec, sandbox: &SandboxPlaces<'_>, join: CgroupJoin, view: CgroupView) -> contract::Result<Plan> {
    let process = process(spec, join)?;
    let filter = filter(spec, process.capabilities)?;
    let pinned = |wanted: bool, name: &str| wanted.then(|| sandbox.folder.join(name));
    let container = Container {
        scratch: sandbox.scratch.to_owned(),
        rootfs: Rootfs {
            lowers: spec.rootfs.lowers.clone(),
            upper: spec.rootfs.upper.clone(),
            work: spec.rootfs.work.clone(),
            volatile: true,
        },
        read_only_root: spec.read_only_root,
        privileged: spec.privileged,
        unmasked: spec.unmasked_proc,
        net_ns: pinned(!sandbox.spec.host_network, "net"),
        ipc_ns: pinned(!sandbox.spec.host_ipc, "ipc"),
        uts_ns: pinned(!sandbox.spec.host_network, "uts"),
        pid: pid_namespace(spec, sandbox.spec),
        shm: if sandbox.spec.host_ipc { PathBuf::from("/dev/shm") } else { sandbox.folder.join("shm") },
        mounts: mounts(spec),
        devices: spec.devices.clone(),
        cgroup_view: if spec.privileged { CgroupView::Host } else { view },
        host_mount_ns: Some(PathBuf::from("/proc/1/ns/mnt")),
    };
    Ok(Plan { process, kind: Kind::Container(Box::new(container)), filter })
}

pub(super) fn exec(spec: &ContainerSpec, exec: &ExecSpec, join: CgroupJoin) -> contract::Result<Plan> {
    let mut process = process(spec, join)?;
    let filter = filter(spec, process.capabilities)?;
    process.argv = exec.argv.clone();
    process.env.retain(|(key, _)| !exec.env.iter().any(|(other, _)| other == key));
    process.env.extend(exec.env.iter().cloned());
    process.tty = exec.tty;
    Ok(Plan { process, kind: Kind::Exec, filter })
}

/// The init of a shared PID namespace; its root is put together at `scratch`.
pub(super) fn pause(scratch: &Path, join: CgroupJoin) -> Plan {
    let cwd = scratch.to_string_lossy().into_owned();
    Plan { process: Process { cwd, cgroup: join, oom_score_adj: Some(-998), ..Process::default() }, kind: Kind::Pause, filter: Vec::new() }
}

pub(super) fn limits(resources: &Resources) -> Limits {
    Limits {
        cpu_shares: resources.cpu_shares.filter(|&shares| shares > 0),
        cpu_quota_us: resources.cpu_quota_us.filter(|&quota| quota != 0),
        cpu_period_us: resources.cpu_period_us,
        memory_bytes: resources.memory_limit_bytes.filter(|&bytes| bytes > 0),
        pids: resources.pids_limit.filter(|&limit| limit != 0),
    }
}

pub(super) fn devices(spec: &ContainerSpec) -> Devices {
    match (spec.privileged, spec.devices.is_empty()) {
        (true, _) => Devices::All,
        (false, true) => Devices::Confined,
        (false, false) => Devices::Also(spec.devices.clone()),
    }
}

/// `<instance>/pod<uid>`.
pub(super) fn pod_group(instance: &Path, pod_uid: &str) -> PathBuf {
    instance.join(format!("pod{pod_uid}"))
}

/// How an exec joins: where the container is.
pub(super) fn join(cgroups: &Cgroups, group: &Path, spec: &ContainerSpec) -> CgroupJoin {
    cgroups.join(group, &devices(spec))
}

fn process(spec: &ContainerSpec, cgroup: CgroupJoin) -> contract::Result<Process> {
    let capabilities = if spec.privileged { capability::ALL } else { named_capabilities(&spec.capabilities)? };
    let cwd = if spec.cwd.is_empty() { "/".to_owned() } else { spec.cwd.clone() };
    if !cwd.starts_with('/') {
        return Err(invalid(format!("working directory {cwd:?} must be absolute")));
    }
    Ok(Process {
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        cwd,
        user: UserSpec {
            uid: spec.user.uid,
            gid: spec.user.gid,
            additional_gids: spec.user.additional_gids.clone(),
            name: spec.user_name.clone().filter(|name| !name.is_empty()),
        },
        umask: spec.user.umask,
        capabilities,
        no_new_privileges: !spec.allow_privilege_escalation && !spec.privileged,
        tty: spec.stdio.tty,
        oom_score_adj: spec.resources.oom_score_adj,
        cgroup,
    })
}

fn named_capabilities(names: &[String]) -> contract::Result<u64> {
    if names.iter().any(|name| name.eq_ignore_ascii_case("ALL")) {
        return Ok(capability::ALL);
    }
    capability::set(names).map_err(|name| invalid(format!("unknown capability {name:?}")))
}

fn filter(spec: &ContainerSpec, capabilities: u64) -> contract::Result<Vec<Instruction>> {
    if spec.privileged {
        return Ok(Vec::new());
    }
    match &spec.seccomp {
        Seccomp::Unconfined => Ok(Vec::new()),
        Seccomp::RuntimeDefault => Ok(runtime::seccomp::runtime_default(capabilities).to_vec()),
        Seccomp::Localhost(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| invalid(format!("seccomp profile {}: {error}", path.display())))?;
            let filter =
                runtime::seccomp::from_json(&text, capabilities).map_err(|error| invalid(format!("{}: {error}", path.display())))?;
            Ok(filter.to_vec())
        }
    }
}

/// Whether the container is alone in its PID namespace.
pub(super) fn own_pids(spec: &ContainerSpec, sandbox: &SandboxSpec) -> bool {
    pid_namespace(spec, sandbox) == PidNamespace::Own
}

fn pid_namespace(spec: &ContainerSpec, sandbox: &SandboxSpec) -> PidNamespace {
    if sandbox.host_pid {
        PidNamespace::Host
    } else if sandbox.share_pid || spec.pid_target.is_some() {
        PidNamespace::Shared
    } else {
        PidNamespace::Own
    }
}

fn mounts(spec: &ContainerSpec) -> Vec<Mount> {
    let termination = spec.termination_log.iter().map(|(destination, source)| Mount {
        source: source.clone(),
        destination: destination.clone(),
        ..Mount::default()
    });
    spec.mounts.iter().map(mount).chain(termination).collect()
}

fn mount(mount: &contract::Mount) -> Mount {
    Mount {
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.recursive_read_only,
        propagation: match mount.propagation {
            contract::Propagation::Private => Propagation::Private,
            contract::Propagation::HostToContainer => Propagation::HostToContainer,
            contract::Propagation::Bidirectional => Propagation::Bidirectional,
        },
        sub_path: mount.sub_path.clone(),
        create_sub_path: mount.create_sub_path,
    }
}

fn invalid(message: String) -> contract::Error {
    contract::Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec { id: "c".into(), argv: vec!["true".into()], capabilities: vec!["CHOWN".into()], ..ContainerSpec::default() }
    }

    fn plan(spec: &ContainerSpec, sandbox: &SandboxSpec) -> Plan {
        let places = SandboxPlaces { spec: sandbox, folder: Path::new("/s"), scratch: Path::new("/r") };
        container(spec, &places, CgroupJoin::default(), CgroupView::None).unwrap()
    }

    fn built(plan: &Plan) -> &Container {
        match &plan.kind {
            Kind::Container(container) => container,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sandbox_decides_about_namespaces() {
        let own = plan(&spec(), &SandboxSpec::default());
        assert_eq!((&built(&own).net_ns, built(&own).pid), (&Some("/s/net".into()), PidNamespace::Own));
        let host = plan(&spec(), &SandboxSpec { host_network: true, host_ipc: true, host_pid: true, ..SandboxSpec::default() });
        assert_eq!((&built(&host).net_ns, &built(&host).uts_ns, &built(&host).ipc_ns), (&None, &None, &None));
        assert_eq!((built(&host).pid, &built(&host).shm), (PidNamespace::Host, &PathBuf::from("/dev/shm")));
        let shared = plan(&spec(), &SandboxSpec { share_pid: true, ..SandboxSpec::default() });
        assert_eq!((built(&shared).pid, shared.fds()), (PidNamespace::Shared, 4));
        let beside = plan(&ContainerSpec { pid_target: Some("a".into()), ..spec() }, &SandboxSpec::default());
        assert_eq!((built(&beside).pid, beside.fds()), (PidNamespace::Shared, 4));
    }

    #[test]
    fn privileged_means_everything_and_confined_means_a_filter() {
        let confined = plan(&spec(), &SandboxSpec::default());
        assert_eq!((confined.process.capabilities, confined.process.no_new_privileges), (1, true));
        assert!(!confined.filter.is_empty());
        let privileged = plan(&ContainerSpec { privileged: true, ..spec() }, &SandboxSpec::default());
        assert_eq!(privileged.process.capabilities, capability::ALL);
        assert!(privileged.filter.is_empty() && !privileged.process.no_new_privileges);
    }

    #[test]
    fn an_exec_is_the_container_with_another_command() {
        let spec = ContainerSpec { env: vec![("A".into(), "1".into()), ("B".into(), "2".into())], ..spec() };
        let command = ExecSpec { argv: vec!["sh".into()], env: vec![("A".into(), "3".into())], ..ExecSpec::default() };
        let plan = exec(&spec, &command, CgroupJoin::default()).unwrap();
        assert_eq!(plan.process.env, [("B".to_owned(), "2".to_owned()), ("A".into(), "3".into())]);
        assert_eq!(plan.process.argv, ["sh"]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let places = SandboxPlaces { spec: &SandboxSpec::default(), folder: Path::new("/s"), scratch: Path::new("/r") };
        for (bad, word) in [
            (ContainerSpec { capabilities: vec!["FLY".into()], ..spec() }, "FLY"),
            (ContainerSpec { cwd: "relative".into(), ..spec() }, "relative"),
            (ContainerSpec { seccomp: Seccomp::Localhost("/no/such".into()), ..spec() }, "/no/such"),
        ] {
            let error = container(&bad, &places, CgroupJoin::default(), CgroupView::None).unwrap_err();
            assert!(error.kind == ErrorKind::Invalid && error.message.contains(word), "{error}");
        }
    }
}
