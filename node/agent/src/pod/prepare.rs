//! Sandbox, address, files and volumes of a pod: made once, refreshed when what they hold changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::{SandboxSpec, VolumeContent, VolumeMedium, VolumeSpec};
use jiff::Timestamp;
use kinds::core::Pod;

use super::{Message, SETUP_RETRY_FIRST, SETUP_RETRY_MAX, Worker};
use crate::content;
use crate::context::Context;
use crate::environment::Objects;
use crate::files;
use crate::plan::Setup;
use crate::resources;
use crate::slot::{Role, State, Why, containers};

const SHARED_MEMORY: &str = "corten-dev-shm";
const SHARED_MEMORY_BYTES: u64 = 64 << 20;
/// Of a Linux host name.
const FQDN_MAX: usize = 64;

/// What containers need of the pod around them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    pub ips: Vec<String>,
    pub hostname: String,
    /// Host path of each volume.
    pub volumes: BTreeMap<String, PathBuf>,
    pub shared_memory: Option<PathBuf>,
    /// Where probes and port-forwards enter the pod's network; None with the host's.
    pub netns: Option<PathBuf>,
    /// When tokens in the volumes must be renewed.
    pub renew_at: Option<Timestamp>,
}

impl Worker {
    pub(super) fn prepare(&mut self) {
        self.setup = Setup::Busy;
        let (cx, pod, objects) = (Arc::clone(&self.cx), Arc::clone(&self.pod), Arc::clone(&self.objects));
        self.spawn("pod setup", async move { Message::Prepared(prepare(&cx, &pod, objects.as_ref()).await) });
    }

    pub(super) fn was_prepared(&mut self, result: Result<Prepared, Why>) {
        match result {
            Ok(prepared) => {
                self.setup = Setup::Ready;
                self.setup_delay = SETUP_RETRY_FIRST;
                self.renew_at = prepared.renew_at.map(|at| self.instant_of(at));
                self.prepared = Some(Arc::new(prepared));
                if std::mem::take(&mut self.refresh_again) {
                    self.refresh();
                }
            }
            Err(why) => {
                self.cx.recorder.warning(self.cx.about(&self.pod), &why.reason, why.message);
                self.setup = Setup::Absent { retry_at: Some(self.cx.env.instant() + self.setup_delay) };
                self.setup_delay = (self.setup_delay * 2).min(SETUP_RETRY_MAX);
            }
        }
    }

    /// Something that the pod refers to has changed: what waits for it tries again now, and volumes follow.
    pub(super) fn references_changed(&mut self) {
        if let Setup::Absent { retry_at } = &mut self.setup {
            *retry_at = None;
        }
        for slot in
            self.slots.iter_mut().filter(|slot| slot.pull_delay.is_zero() && matches!(slot.state, State::Idle | State::Exited { .. }))
        {
            slot.retry_at = None;
        }
        self.refresh();
    }

    /// Brings the volumes' files up to date, one refresh at a time.
    pub(super) fn refresh(&mut self) {
        if !self.pod.spec.volumes.iter().any(content::is_dynamic) || self.ending.is_some() {
            return;
        }
        if self.is_refreshing || self.setup == Setup::Busy {
            self.refresh_again = true;
            return;
        }
        if self.setup != Setup::Ready {
            return;
        }
        self.is_refreshing = true;
        let (cx, pod, objects) = (Arc::clone(&self.cx), Arc::clone(&self.pod), Arc::clone(&self.objects));
        self.spawn("volume refresh", async move {
            let dynamic = |volume: &&kinds::core::Volume| content::is_dynamic(volume);
            let volumes = pod.spec.volumes.iter().filter(dynamic).cloned().collect::<Vec<_>>();
            Message::Refreshed(ensure_volumes(&cx, &pod, &volumes, objects.as_ref()).await.map(|(_, renew_at)| renew_at))
        });
    }

    pub(super) fn was_refreshed(&mut self, result: Result<Option<Timestamp>, Why>) {
        self.is_refreshing = false;
        match result {
            Ok(renew_at) => self.renew_at = renew_at.map(|at| self.instant_of(at)),
            Err(why) => {
                self.cx.recorder.warning(self.cx.about(&self.pod), &why.reason, why.message);
                self.renew_at = Some(self.cx.env.instant() + self.setup_delay);
                self.setup_delay = (self.setup_delay * 2).min(SETUP_RETRY_MAX);
            }
        }
        if std::mem::take(&mut self.refresh_again) {
            self.refresh();
        }
    }

    /// A deadline has passed; if it was the tokens', renew them.
    pub(super) fn renew(&mut self) {
        if self.renew_at.is_some_and(|at| at <= self.cx.env.instant()) {
            self.renew_at = None;
            self.refresh();
        }
    }

    fn instant_of(&self, at: Timestamp) -> tokio::time::Instant {
        let ahead = Duration::try_from(at.duration_since(self.cx.env.now())).unwrap_or_default();
        self.cx.env.instant() + ahead
    }
}

async fn prepare(cx: &Context, pod: &Pod, objects: &dyn Objects) -> Result<Prepared, Why> {
    let (hostname, domain) = hostname(cx, pod)?;
    let (network, volumes) = tokio::join!(sandbox(cx, pod, &hostname), ensure_volumes(cx, pod, &pod.spec.volumes, objects));
    let (netns, ips) = network.map_err(|cause| Why::new("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {cause}")))?;
    let (volumes, renew_at) = volumes?;
    let shared_memory = shared_memory(cx, pod).await?;
    if cx.config.write_files {
        write_files(cx, pod, &ips, &hostname, &domain).await?;
    }
    Ok(Prepared { ips, hostname, volumes, shared_memory, netns, renew_at })
}

fn hostname(cx: &Context, pod: &Pod) -> Result<(String, String), Why> {
    if pod.spec.host_network && pod.spec.hostname_override.is_none() {
        return Ok((cx.config.node_name.clone(), String::new()));
    }
    let (name, domain) = files::hostname(pod, &cx.config.cluster_domain);
    if pod.spec.set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok((name, domain));
    }
    let full = format!("{name}.{domain}");
    if full.len() > FQDN_MAX {
        let message = format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({FQDN_MAX} characters is the max, {} characters requested)",
            full.len()
        );
        return Err(Why::new("FailedCreatePodSandBox", message));
    }
    Ok((full, domain))
}

async fn sandbox(cx: &Context, pod: &Pod, hostname: &str) -> contract::Result<(Option<PathBuf>, Vec<String>)> {
    let (spec, meta) = (&pod.spec, &pod.metadata);
    let sysctls = spec.security_context.iter().flat_map(|security| &security.sysctls);
    let sandbox = SandboxSpec {
        pod_uid: meta.uid.clone(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        hostname: hostname.into(),
        host_network: spec.host_network,
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        share_pid: spec.share_process_namespace == Some(true),
        resources: resources::of_pod(spec, cx.config.pod_pids_limit),
        sysctls: sysctls.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone())).collect(),
    };
    let sandbox = cx.drivers.runtime.ensure_sandbox(&sandbox).await?;
    let Some(netns) = sandbox.netns.filter(|_| !spec.host_network) else {
        return Ok((None, vec![cx.config.node_ip.to_string()]));
    };
    let address = cx.drivers.podnet.ensure(&meta.uid, &netns).await?;
    Ok((Some(netns), address.ips.iter().map(ToString::to_string).collect()))
}

/// Makes `volumes` so; host paths by name, and when tokens must be renewed.
async fn ensure_volumes(
    cx: &Context,
    pod: &Pod,
    volumes: &[kinds::core::Volume],
    objects: &dyn Objects,
) -> Result<(BTreeMap<String, PathBuf>, Option<Timestamp>), Why> {
    let around = cx.surroundings(&[]);
    let failed = |name: &str, cause: &dyn std::fmt::Display| {
        Why::new("FailedMount", format!("MountVolume.SetUp failed for volume {name:?} : {cause}"))
    };
    let mut paths = BTreeMap::new();
    let mut renew_at: Option<Timestamp> = None;
    for volume in volumes {
        let resolved = content::resolve(pod, volume, &around, objects, &cx.tokens).await.map_err(|cause| failed(&volume.name, &cause))?;
        let made = cx.drivers.volumes.ensure(&resolved.spec).await.map_err(|cause| failed(&volume.name, &cause))?;
        paths.insert(volume.name.clone(), made.path);
        renew_at = [renew_at, resolved.renew_at].into_iter().flatten().min();
    }
    Ok((paths, renew_at))
}

/// Containers of one pod share `/dev/shm`; alone, a container has its own.
async fn shared_memory(cx: &Context, pod: &Pod) -> Result<Option<PathBuf>, Why> {
    let long_lived = containers(&pod.spec).filter(|(_, role)| *role != Role::Init).count();
    if long_lived < 2 || pod.spec.host_ipc {
        return Ok(None);
    }
    let content = VolumeContent::EmptyDir { medium: VolumeMedium::Memory, size_limit_bytes: Some(SHARED_MEMORY_BYTES) };
    let spec = VolumeSpec { pod_uid: pod.metadata.uid.clone(), name: SHARED_MEMORY.into(), content, fs_group: None };
    let made = cx.drivers.volumes.ensure(&spec).await;
    made.map(|volume| Some(volume.path))
        .map_err(|cause| Why::new("FailedCreatePodSandBox", format!("Failed to create pod sandbox: /dev/shm: {cause}")))
}

/// hosts, resolv.conf and hostname, which every container mounts.
async fn write_files(cx: &Context, pod: &Pod, ips: &[String], hostname: &str, domain: &str) -> Result<(), Why> {
    let dir = cx.config.pod_dir(&pod.metadata.uid);
    let hosts = match pod.spec.host_network {
        true => files::host_network_hosts(&pod.spec, &tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default()),
        false => files::hosts(&pod.spec, ips, hostname.split('.').next().unwrap_or(hostname), domain),
    };
    let dns = files::dns(pod, &cx.host_dns, &cx.config.dns_ip.to_string(), &cx.config.cluster_domain);
    let all = [("etc-hosts", hosts), ("resolv.conf", dns.text()), ("hostname", format!("{hostname}\n"))];
    let failed = |path: PathBuf, cause: std::io::Error| {
        Why::new("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {}: {cause}", path.display()))
    };
    tokio::fs::create_dir_all(&dir).await.map_err(|cause| failed(dir.clone(), cause))?;
    for (name, text) in all {
        let path = dir.join(name);
        // In place: containers hold this very file.
        if tokio::fs::read_to_string(&path).await.is_ok_and(|held| held == text) {
            continue;
        }
        tokio::fs::write(&path, text).await.map_err(|cause| failed(path, cause))?;
    }
    Ok(())
}
