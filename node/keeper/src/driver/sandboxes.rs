//! Sandboxes: pinned namespaces, shared memory, the pod's cgroup, and where wanted a pause.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use contract::{Error, ErrorKind, Result, Sandbox, SandboxSpec};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};
use rustix::mount::{fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_bind, move_mount, unmount};

use super::Inner;
use super::namespaces::{Order, check_sysctl};
use super::plans::{limits, pause, pod_group};
use crate::protocol::{Answer, Launcher, PROCESS_FILE, ProcessFile, Request, read_whole, write_whole};

/// A finished sandbox has this file; a folder without it was left half made.
const SPEC_FILE: &str = "spec.json";
/// Of `/dev/shm`, as upstream's runtimes give.
const SHM_BYTES: &str = "67108864";

pub(super) fn pause_id(pod_uid: &str) -> String {
    format!("pause-{pod_uid}")
}

impl Inner {
    pub(super) async fn make_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox> {
        let folder = self.sandbox_folder(&spec.pod_uid)?;
        check(spec)?;
        if folder.exists() {
            if self.sandbox_spec(&spec.pod_uid).is_some() && (pinned(&folder) || self.pin_again(&spec.pod_uid, &folder).is_ok()) {
                return Ok(sandbox(spec, &folder));
            }
            // What a start that was cut off has left.
            self.clear_sandbox(&spec.pod_uid).await?;
        }
        let what = format!("sandbox of pod {}/{}", spec.namespace, spec.name);
        std::fs::create_dir_all(&folder).map_err(|error| Error::io(&what, error))?;
        // A mount of its own, so that one detach takes all pins at once: each costs a grace period of the kernel.
        mount_bind(&folder, &folder).map_err(|error| Error::io(&what, error))?;
        let made = self.furnish_sandbox(spec, &folder).await;
        if let Err(error) = made {
            let _ = self.clear_sandbox(&spec.pod_uid).await;
            return Err(Error::new(error.kind, format!("{what}: {}", error.message)));
        }
        Ok(sandbox(spec, &folder))
    }

    async fn furnish_sandbox(&self, spec: &SandboxSpec, folder: &Path) -> Result<()> {
        let order = Order { folder: folder.to_owned(), hostname: spec.hostname.clone(), sysctls: spec.sysctls.clone() };
        self.namespaces.make(order).await.map_err(|error| Error::io("namespaces", error))?;
        mount_shm(&folder.join("shm")).map_err(|error| Error::io("shared memory", error))?;
        let group = pod_group(&self.group, &spec.pod_uid);
        self.cgroups.create(&group, &limits(&spec.resources)).map_err(|error| Error::io("cgroup", error))?;
        if spec.share_pid && !spec.host_pid {
            self.start_pause(&spec.pod_uid, &group).await?;
        }
        write_whole(&folder.join(SPEC_FILE), spec).map_err(|error| Error::io("state", error))
    }

    /// All of keeper, control and node were killed, and their mounts went with them: a process of the pod that still
    /// runs has the namespaces.
    fn pin_again(&self, pod_uid: &str, folder: &Path) -> io::Result<()> {
        let pid = *self.cgroups.processes(&pod_group(&self.group, pod_uid)).first().ok_or(io::ErrorKind::NotFound)?;
        for name in ["net", "ipc", "uts"] {
            mount_bind(format!("/proc/{pid}/ns/{name}"), folder.join(name))?;
        }
        mount_shm(&folder.join("shm"))
    }

    async fn start_pause(&self, pod_uid: &str, pod_group: &Path) -> Result<()> {
        let (id, group) = (pause_id(pod_uid), pod_group.join("pause"));
        let io = |error: io::Error| Error::io("pause process", error);
        self.cgroups.create(&group, &runtime::cgroup::Limits::default()).map_err(io)?;
        self.cgroups.confine(&group, &runtime::cgroup::Devices::Confined).map_err(io)?;
        let join = self.cgroups.join(&group, &runtime::cgroup::Devices::Confined);
        let plan = pause(&self.places.scratch(), join).seal().map_err(io)?;
        let folder = self.places.container(&id);
        std::fs::create_dir_all(&folder).map_err(io)?;
        match self.call(Request::Start { id, launcher: Launcher::Parent, exec: false, held: 0 }, vec![plan]).await? {
            (Answer::Started { pid, start_ticks, started_at }, _) => {
                write_whole(&folder.join(PROCESS_FILE), &ProcessFile { pid, start_ticks, started_at }).map_err(io)
            }
            (answer, _) => Err(super::refused(answer)),
        }
    }

    /// A pidfd of the pod's pause.
    pub(super) fn pause_pidfd(&self, pod_uid: &str) -> Result<OwnedFd> {
        let file: Option<ProcessFile> = read_whole(&self.places.container(&pause_id(pod_uid)).join(PROCESS_FILE));
        let pidfd = file.and_then(|file| super::state::open_process(file.pid, file.start_ticks));
        pidfd.ok_or_else(|| {
            Error::new(ErrorKind::Start, "the pause process of the pod's PID namespace has ended: the pod must be made anew")
        })
    }

    /// Removes whatever is there of a sandbox; its containers are gone already.
    async fn clear_sandbox(&self, pod_uid: &str) -> Result<()> {
        self.empty_sandbox(pod_uid).await?;
        discard(self.sandbox_folder(pod_uid)?).await
    }

    /// What a node that was killed has left of sandboxes that it made or removed.
    pub(super) async fn sweep_sandboxes(&self) {
        for pod_uid in super::containers::names(&self.places.sandboxes()) {
            if self.sandbox_spec(&pod_uid).is_none()
                && let Err(error) = self.clear_sandbox(&pod_uid).await
            {
                tracing::warn!(pod = pod_uid, %error, "the remains of the pod's sandbox stay");
            }
        }
    }

    /// Removes the mounts and the folder of a sandbox that was emptied.
    pub(super) async fn sweep_remains(&self, pod_uid: &str) {
        let Ok(folder) = self.sandbox_folder(pod_uid) else { return };
        if let Err(error) = discard(folder).await {
            tracing::warn!(pod = pod_uid, %error, "the remains of the pod's sandbox stay until the node starts again");
        }
    }

    /// Ends what runs in a sandbox, removes its cgroup, and strikes it off the list; its mounts stay.
    pub(super) async fn empty_sandbox(&self, pod_uid: &str) -> Result<()> {
        let folder = self.sandbox_folder(pod_uid)?;
        let group = pod_group(&self.group, pod_uid);
        if let Err(error) = self.cgroups.kill(&group)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Error::io(format_args!("kill pod {pod_uid}"), error));
        }
        let pause = pause_id(pod_uid);
        if self.places.container(&pause).exists() {
            // The keeper forgets it only once it has reaped it.
            self.wait_for_processes(&group).await;
            let _ = self.call(Request::Remove { id: pause.clone() }, Vec::new()).await;
            remove_folder(&self.places.container(&pause))?;
        }
        self.remove_group(&group).await.map_err(|error| Error::io(format_args!("cgroup of pod {pod_uid}"), error))?;
        // Last, so that a removal that is cut off is begun again.
        match std::fs::remove_file(folder.join(SPEC_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(folder.display(), error)),
            _ => Ok(()),
        }
    }

    pub(super) fn sandbox_spec(&self, pod_uid: &str) -> Option<SandboxSpec> {
        read_whole(&self.places.sandboxes().join(pod_uid).join(SPEC_FILE))
    }

    pub(super) fn all_sandboxes(&self) -> Vec<Sandbox> {
        let folders = std::fs::read_dir(self.places.sandboxes()).into_iter().flatten().filter_map(std::result::Result::ok);
        folders.filter_map(|folder| Some(sandbox(&read_whole(&folder.path().join(SPEC_FILE))?, &folder.path()))).collect()
    }

    /// Uids come from the API; one that could leave its folder is refused all the same.
    pub(super) fn sandbox_folder(&self, pod_uid: &str) -> Result<PathBuf> {
        let good = !pod_uid.is_empty() && pod_uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if good { Ok(self.places.sandboxes().join(pod_uid)) } else { Err(Error::new(ErrorKind::Invalid, format!("pod uid {pod_uid:?}"))) }
    }
}

/// The namespaces are there, not only the files they were mounted on.
fn pinned(folder: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    rustix::fs::statfs(folder.join("net")).is_ok_and(|status| status.f_type == NSFS_MAGIC)
}

fn check(spec: &SandboxSpec) -> Result<()> {
    if spec.hostname.len() > 63 {
        return Err(Error::new(ErrorKind::Invalid, format!("hostname {:?} is longer than 63 bytes", spec.hostname)));
    }
    let bad = spec.sysctls.keys().find_map(|name| check_sysctl(name, spec.host_network, spec.host_ipc).err());
    bad.map_or(Ok(()), |reason| Err(Error::new(ErrorKind::Invalid, reason)))
}

fn sandbox(spec: &SandboxSpec, folder: &Path) -> Sandbox {
    Sandbox { pod_uid: spec.pod_uid.clone(), netns: (!spec.host_network).then(|| folder.join("net")) }
}

/// Unmounting waits for a grace period of the kernel: not on a thread that others need.
async fn discard(folder: PathBuf) -> Result<()> {
    let work = move || {
        if folder.exists() {
            unmount_all(&folder).map_err(|error| Error::io(folder.display(), error))?;
            remove_folder(&folder)?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::io("task", error)))
}

fn unmount_all(folder: &Path) -> io::Result<()> {
    let detach = |path: &Path| unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    while detach(folder).is_ok() {}
    // Pins that were made again stand alone.
    for name in ["net", "ipc", "uts", "shm"] {
        match detach(&folder.join(name)) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn mount_shm(place: &Path) -> io::Result<()> {
    std::fs::create_dir_all(place)?;
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "1777")?;
    fsconfig_set_string(&context, "size", SHM_BYTES)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(move_mount(&mount, "", rustix::fs::CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(folder.display(), error)),
        _ => Ok(()),
    }
}
