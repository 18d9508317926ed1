//! One container of a pod as the runtime wants it: command, user, rights, mounts. Pure but for the paths it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{ContainerSpec, Image, Mount, Propagation, Rootfs, Seccomp, Stdio, User};
use kinds::core::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext, VolumeMount};

use crate::config::AgentConfig;
use crate::environment::Environment;
use crate::expand::expand;
use crate::resources;
use crate::slot::labels;

/// containerd's default set.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Every capability of Linux 5.9 and later, by number.
const ALL_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container's spec is made of.
pub(crate) struct Parts<'a> {
    pub config: &'a AgentConfig,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub image: &'a Image,
    pub id: &'a str,
    pub restarts: u32,
    /// The container whose processes this one shares.
    pub pid_target: Option<String>,
    pub env: Environment,
    /// Host path of each of the pod's volumes.
    pub volumes: &'a BTreeMap<String, PathBuf>,
    pub hostname: &'a str,
    pub memory_capacity: u64,
    /// Shared by all containers of the pod, where there are several.
    pub shared_memory: Option<&'a Path>,
}

/// Assembles the spec; an error is `CreateContainerConfigError`. The root file system is the caller's to fill in.
pub(crate) fn container_spec(parts: Parts<'_>) -> Result<ContainerSpec, String> {
    let Parts { config, pod, container, image, id, .. } = &parts;
    let meta = &pod.metadata;
    let security = container.security_context.clone().unwrap_or_default();
    let pod_security = pod.spec.security_context.clone().unwrap_or_default();
    let privileged = security.privileged == Some(true);
    let (user, user_name) = user(pod, container, &security, &pod_security, image)?;
    let lookup = |name: &str| parts.env.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let argv = argv(container, image, lookup)?;
    let cwd = [container.working_dir.as_str(), &image.config.working_dir, "/"].into_iter().find(|dir| !dir.is_empty()).unwrap_or("/");
    let log_path = config.log_dir(&meta.namespace, &meta.name, &meta.uid).join(&container.name).join(format!("{}.log", parts.restarts));
    let message_file = config.pod_dir(&meta.uid).join("containers").join(&container.name).join(&id[..id.len().min(8)]);
    Ok(ContainerSpec {
        id: (*id).to_owned(),
        pod_uid: meta.uid.clone(),
        name: container.name.clone(),
        rootfs: Rootfs::default(),
        argv,
        env: variables(&parts),
        cwd: cwd.to_owned(),
        user,
        user_name,
        read_only_root: security.read_only_root_filesystem == Some(true),
        privileged,
        allow_privilege_escalation: privileged || security.allow_privilege_escalation != Some(false),
        capabilities: capabilities(&security, privileged),
        seccomp: seccomp(config, &security, &pod_security, privileged)?,
        mounts: mounts(&parts, lookup)?,
        devices: Vec::new(),
        unmasked_proc: security.proc_mount.as_deref() == Some("Unmasked"),
        resources: resources::of_container(&pod.spec, container, parts.memory_capacity),
        stdio: Stdio { stdin: container.stdin, stdin_once: container.stdin_once, tty: container.tty, log_path },
        termination_log: Some((PathBuf::from(message_path(container)), message_file.clone())),
        pid_target: parts.pid_target.clone(),
        labels: BTreeMap::from([
            (labels::RESTARTS.into(), parts.restarts.to_string()),
            (labels::IMAGE.into(), shown_image(container, image)),
            (labels::IMAGE_ID.into(), image.id.clone()),
            (labels::NAMESPACE.into(), meta.namespace.clone()),
            (labels::POD.into(), meta.name.clone()),
            (labels::MESSAGE_FILE.into(), message_file.to_string_lossy().into_owned()),
        ]),
    })
}

/// The image's canonical name, as a status shows it.
pub(crate) fn shown_image(container: &Container, image: &Image) -> String {
    image.names.first().cloned().unwrap_or_else(|| container.image.clone())
}

fn message_path(container: &Container) -> &str {
    if container.termination_message_path.is_empty() { "/dev/termination-log" } else { &container.termination_message_path }
}

/// `command` replaces the image's entrypoint and its arguments, `args` only the arguments.
fn argv(container: &Container, image: &Image, lookup: impl Fn(&str) -> Option<String> + Copy) -> Result<Vec<String>, String> {
    let own = |list: &[String]| list.iter().map(|text| expand(text, lookup)).collect::<Vec<_>>();
    let (command, args) = (own(&container.command), own(&container.args));
    let argv = match (command.is_empty(), args.is_empty()) {
        (false, _) => [command, args].concat(),
        (true, false) => [image.config.entrypoint.clone(), args].concat(),
        (true, true) => [image.config.entrypoint.clone(), image.config.cmd.clone()].concat(),
    };
    if argv.is_empty() { Err("no command specified".into()) } else { Ok(argv) }
}

/// The image's variables under the pod's, and what every process expects.
fn variables(parts: &Parts<'_>) -> Vec<(String, String)> {
    let mut all = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned()), ("HOSTNAME".to_owned(), parts.hostname.to_owned())];
    if parts.container.tty {
        all.push(("TERM".into(), "xterm".into()));
    }
    let image =
        parts.image.config.env.iter().filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in image.chain(parts.env.variables.iter().cloned()) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, held)) => *held = value,
            None => all.push((name, value)),
        }
    }
    all
}

/// Numbers that the pod gives, else the image's user by name; `runAsNonRoot` is checked here.
fn user(
    pod: &Pod,
    container: &Container,
    own: &SecurityContext,
    of_pod: &PodSecurityContext,
    image: &Image,
) -> Result<(User, Option<String>), String> {
    let uid = number("runAsUser", own.run_as_user.or(of_pod.run_as_user))?;
    let gid = number("runAsGroup", own.run_as_group.or(of_pod.run_as_group))?;
    let about = format!("(pod: \"{}_{}({})\", container: {})", pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, container.name);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        non_root(uid, &image.config.user).map_err(|why| format!("{why} {about}"))?;
    }
    let fs_group = number("fsGroup", of_pod.fs_group)?;
    let mut groups =
        of_pod.supplemental_groups.iter().map(|group| number("supplementalGroups", Some(*group))).collect::<Result<Vec<_>, _>>()?;
    groups.push(fs_group);
    let user = User { uid: uid.unwrap_or(0), gid: gid.unwrap_or(0), additional_gids: groups.into_iter().flatten().collect(), umask: None };
    let name = match (uid, gid) {
        (Some(_), Some(_)) => None,
        // The primary group of that user, if the container knows it.
        (Some(uid), None) => Some(uid.to_string()),
        (None, Some(gid)) => {
            let name = image.config.user.split(':').next().filter(|name| !name.is_empty()).unwrap_or("0");
            Some(format!("{name}:{gid}"))
        }
        (None, None) => Some(image.config.user.clone()).filter(|name| !name.is_empty()),
    };
    Ok((user, name))
}

fn number(field: &str, id: Option<i64>) -> Result<Option<u32>, String> {
    id.map(|id| u32::try_from(id).map_err(|_| format!("{field} {id} is no user or group id"))).transpose()
}

fn non_root(uid: Option<u32>, image_user: &str) -> Result<(), String> {
    let name = image_user.split(':').next().unwrap_or_default();
    match (uid, name.parse::<u32>()) {
        (Some(0), _) => Err("container's runAsUser breaks non-root policy".into()),
        (Some(_), _) => Ok(()),
        (None, Ok(0)) => Err("container has runAsNonRoot and image will run as root".into()),
        (None, Ok(_)) => Ok(()),
        (None, Err(_)) if name.is_empty() => Err("container has runAsNonRoot and image will run as root".into()),
        (None, Err(_)) => {
            Err(format!("container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"))
        }
    }
}

/// The default set, all of them with `ALL` or privileged, less what is dropped.
fn capabilities(security: &SecurityContext, privileged: bool) -> Vec<String> {
    let asked = security.capabilities.clone().unwrap_or_default();
    let normal = |name: &String| name.trim_start_matches("CAP_").to_uppercase();
    let (add, drop): (Vec<String>, Vec<String>) = (asked.add.iter().map(normal).collect(), asked.drop.iter().map(normal).collect());
    let has_all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let base: &[&str] = match () {
        () if privileged || has_all(&add) => ALL_CAPABILITIES,
        () if has_all(&drop) => &[],
        () => CAPABILITIES,
    };
    let mut all: Vec<String> = base.iter().map(|name| (*name).to_owned()).collect();
    if privileged {
        return all;
    }
    all.extend(add.into_iter().filter(|name| name != "ALL" && !base.contains(&name.as_str())));
    // `drop: ALL` takes the defaults away; what is added by name stays.
    all.retain(|name| !drop.contains(name));
    all
}

fn seccomp(config: &AgentConfig, own: &SecurityContext, of_pod: &PodSecurityContext, privileged: bool) -> Result<Seccomp, String> {
    if privileged {
        return Ok(Seccomp::Unconfined);
    }
    let Some(SeccompProfile { r#type, localhost_profile }) = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()) else {
        return Ok(Seccomp::Unconfined);
    };
    match (r#type.as_str(), localhost_profile) {
        ("Unconfined", _) => Ok(Seccomp::Unconfined),
        ("RuntimeDefault", _) => Ok(Seccomp::RuntimeDefault),
        ("Localhost", Some(profile)) => {
            let path = Path::new(profile);
            let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            let path = config.instance.node_dir().join("seccomp").join(path);
            if inside { Ok(Seccomp::Localhost(path)) } else { Err(format!("seccomp profile {profile:?} leaves the folder of profiles")) }
        }
        (other, _) => {
            Err(format!("seccompProfile.type {other:?} is not one of Unconfined, RuntimeDefault, Localhost (with localhostProfile)"))
        }
    }
}

fn mounts(parts: &Parts<'_>, lookup: impl Fn(&str) -> Option<String> + Copy) -> Result<Vec<Mount>, String> {
    let mut all = Vec::new();
    for mount in &parts.container.volume_mounts {
        let source = parts
            .volumes
            .get(&mount.name)
            .ok_or_else(|| format!("cannot find volume {:?} to mount into container {:?}", mount.name, parts.container.name))?;
        all.push(volume_mount(mount, source, lookup)?);
    }
    let taken: Vec<PathBuf> = all.iter().map(|mount: &Mount| mount.destination.clone()).collect();
    let dir = parts.config.pod_dir(&parts.pod.metadata.uid);
    let own = [("etc-hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname")];
    let mut bind = |source: PathBuf, destination: &str| {
        if !taken.iter().any(|taken| taken == Path::new(destination)) {
            all.push(Mount { source, destination: destination.into(), ..Mount::default() });
        }
    };
    own.into_iter().for_each(|(file, destination)| bind(dir.join(file), destination));
    if let Some(path) = parts.shared_memory {
        bind(path.to_path_buf(), "/dev/shm");
    }
    Ok(all)
}

fn volume_mount(mount: &VolumeMount, source: &Path, lookup: impl Fn(&str) -> Option<String> + Copy) -> Result<Mount, String> {
    let sub = match (mount.sub_path.as_str(), mount.sub_path_expr.as_str()) {
        ("", "") => None,
        ("", expression) => Some(sub_path_expression(expression, lookup)?),
        (path, _) => Some(path.to_owned()),
    };
    if let Some(sub) = &sub
        && (sub.starts_with('/') || sub.split('/').any(|part| part == ".."))
    {
        return Err(format!("subPath {sub:?} of volume {:?} must stay inside the volume: no leading '/' and no '..'", mount.name));
    }
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    };
    Ok(Mount {
        source: source.to_path_buf(),
        destination: PathBuf::from("/").join(&mount.mount_path),
        read_only: mount.read_only,
        recursive_read_only: matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
        propagation,
        create_sub_path: sub.is_some(),
        sub_path: sub.map(PathBuf::from),
    })
}

/// Unlike elsewhere, an unknown name is an error here.
fn sub_path_expression(expression: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let path = expand(expression, |name| {
        let found = lookup(name);
        if found.is_none() {
            missing.replace(Some(name.to_owned()));
        }
        found
    });
    match missing.into_inner() {
        Some(name) => Err(format!("failed to expand subPathExpr {expression:?}: missing value for {name:?}")),
        None => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use contract::ImageConfig;
    use schema::json;
    use stdx::Instance;

    use super::*;

    fn build(pod_spec: schema::Value, image: ImageConfig, env: &[(&str, &str)]) -> Result<ContainerSpec, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": pod_spec})).unwrap();
        let config = AgentConfig::new("n", "10.0.0.1".parse().unwrap(), Instance::new("corten", None).unwrap());
        let variables = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        container_spec(Parts {
            config: &config,
            pod: &pod,
            container: &pod.spec.containers[0],
            image: &Image { id: "sha256:1".into(), config: image, ..Image::default() },
            id: "0123456789",
            restarts: 2,
            pid_target: None,
            env: Environment { variables, skipped: Vec::new() },
            volumes: &BTreeMap::from([("v".to_owned(), PathBuf::from("/vol"))]),
            hostname: "p",
            memory_capacity: 1 << 30,
            shared_memory: None,
        })
    }

    fn image() -> ImageConfig {
        ImageConfig { entrypoint: vec!["/e".into()], cmd: vec!["c".into()], ..ImageConfig::default() }
    }

    #[test]
    fn command_and_args_rules() {
        for (own, want) in [
            (json!({}), vec!["/e", "c"]),
            (json!({"args": ["a"]}), vec!["/e", "a"]),
            (json!({"command": ["/x"]}), vec!["/x"]),
            (json!({"command": ["/x"], "args": ["$(V)", "$(W)", "$$(V)"]}), vec!["/x", "1", "$(W)", "$(V)"]),
        ] {
            let mut container = own.clone();
            container["name"] = json!("a");
            let spec = build(json!({"containers": [container]}), image(), &[("V", "1")]).unwrap();
            assert_eq!(spec.argv, want, "{own}");
        }
        assert_eq!(build(json!({"containers": [{"name": "a"}]}), ImageConfig::default(), &[]).unwrap_err(), "no command specified");
    }

    #[test]
    fn users() {
        let run = |security: schema::Value, user: &str| {
            let config = ImageConfig { user: user.into(), ..image() };
            let spec =
                build(json!({"securityContext": {"fsGroup": 7}, "containers": [{"name": "a", "securityContext": security}]}), config, &[])?;
            Ok::<_, String>((spec.user.uid, spec.user.gid, spec.user.additional_gids, spec.user_name))
        };
        assert_eq!(run(json!({}), "").unwrap(), (0, 0, vec![7], None));
        assert_eq!(run(json!({}), "www").unwrap().3, Some("www".into()));
        assert_eq!(run(json!({"runAsUser": 5}), "www").unwrap(), (5, 0, vec![7], Some("5".into())));
        assert_eq!(run(json!({"runAsUser": 5, "runAsGroup": 6}), "www").unwrap(), (5, 6, vec![7], None));
        assert!(run(json!({"runAsNonRoot": true}), "").unwrap_err().starts_with("container has runAsNonRoot and image will run as root"));
        assert!(run(json!({"runAsNonRoot": true}), "www").unwrap_err().contains("non-numeric user (www)"));
        assert!(run(json!({"runAsNonRoot": true, "runAsUser": 0}), "5").unwrap_err().contains("breaks non-root policy"));
        assert!(run(json!({"runAsNonRoot": true}), "5:6").is_ok());
    }

    #[test]
    fn rights() {
        let caps =
            |security: schema::Value| build(json!({"containers": [{"name": "a", "securityContext": security}]}), image(), &[]).unwrap();
        assert_eq!(caps(json!({})).capabilities.len(), 14);
        assert_eq!(caps(json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}})).capabilities, ["NET_BIND_SERVICE"]);
        assert_eq!(caps(json!({"capabilities": {"drop": ["CAP_KILL"], "add": ["SYS_TIME"]}})).capabilities.len(), 14);
        assert_eq!(caps(json!({"capabilities": {"add": ["ALL"], "drop": ["SYS_ADMIN"]}})).capabilities.len(), 40);
        let privileged = caps(json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}}));
        assert_eq!((privileged.capabilities.len(), privileged.seccomp), (41, Seccomp::Unconfined));
        assert_eq!(caps(json!({"seccompProfile": {"type": "RuntimeDefault"}})).seccomp, Seccomp::RuntimeDefault);
        assert!(build(json!({"containers": [{"name": "a", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}}]}), image(), &[]).is_err());
    }

    #[test]
    fn sub_paths_stay_inside() {
        let run = |mount: schema::Value| build(json!({"containers": [{"name": "a", "volumeMounts": [mount]}]}), image(), &[("POD", "p")]);
        let spec = run(json!({"name": "v", "mountPath": "/m", "subPathExpr": "x/$(POD)"})).unwrap();
        assert_eq!(spec.mounts[0].sub_path, Some("x/p".into()));
        assert_eq!(spec.mounts.len(), 4);
        assert!(run(json!({"name": "v", "mountPath": "/m", "subPathExpr": "$(NONE)"})).unwrap_err().contains("missing value for \"NONE\""));
        assert!(run(json!({"name": "v", "mountPath": "/m", "subPath": "../x"})).is_err());
        assert!(run(json!({"name": "none", "mountPath": "/m"})).unwrap_err().contains("cannot find volume \"none\""));
        let hosts = run(json!({"name": "v", "mountPath": "/etc/hosts"})).unwrap();
        assert_eq!(hosts.mounts.len(), 3, "the pod's own mount wins");
    }
}
