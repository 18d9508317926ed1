//! Where each volume lies, and its life.
//!
//! ```text
//! <dir>/<pod uid>/<volume>           emptyDir and files on disk
//! <run>/volumes/<pod uid>/<volume>   emptyDir in memory: a tmpfs of its own, with its limit
//! <run>/memory/<pod uid>/<volume>    files in memory: folders of one tmpfs, which mounts and unmounts nothing per pod
//! ```
//!
//! What is there is asked of the file system; the driver keeps no state. A limit of an emptyDir on disk is not held here:
//! the agent, which evicts, watches it.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{Error, ErrorKind, Result, Volume, VolumeContent, VolumeMedium, VolumeSpec, Volumes};
use env::Env;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use sys::beneath;

use crate::{files, host_path};

/// Pods whose volumes change at the same time; those of one pod wait for each other.
const STRIPES: usize = 32;

/// What an emptyDir is for everyone, and for a group.
const EMPTY_DIR_MODE: u32 = 0o777;
const EMPTY_DIR_GROUP_MODE: u32 = 0o2777;

/// The node's volumes. Cheap to clone.
#[derive(Clone)]
pub struct Driver(Arc<Inner>);

struct Inner {
    disk: PathBuf,
    mounts: PathBuf,
    memory: PathBuf,
    env: Env,
    versions: AtomicU64,
    locks: [Mutex<()>; STRIPES],
}

impl Driver {
    /// Makes the folders and mounts the tmpfs that files in memory share, unless a driver before has.
    pub fn open(dir: &Path, run_dir: &Path, env: &Env) -> Result<Self> {
        let inner = Inner {
            disk: dir.to_owned(),
            mounts: run_dir.join("volumes"),
            memory: run_dir.join("memory"),
            env: env.clone(),
            versions: AtomicU64::new(0),
            locks: std::array::from_fn(|_| Mutex::new(())),
        };
        for folder in [&inner.disk, &inner.mounts, &inner.memory] {
            private_dir(folder).map_err(at(folder))?;
        }
        inner.mount_memory().map_err(at(&inner.memory))?;
        Ok(Self(Arc::new(inner)))
    }

    /// Unmounts everything, also what is in use: for the removal of the whole cluster. Folders on disk stay.
    pub fn release_all(&self) -> Result<()> {
        let inner = &self.0;
        for pod in subfolders(&inner.mounts).map_err(at(&inner.mounts))? {
            let _one = inner.lock(&pod.to_string_lossy());
            inner.remove_mounted(&pod).map_err(at(&inner.mounts.join(&pod)))?;
        }
        detach(&inner.memory).map_err(at(&inner.memory))
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|error| Error::io("volumes", error))?
    }
}

#[async_trait]
impl Volumes for Driver {
    async fn ensure(&self, spec: &VolumeSpec) -> Result<Volume> {
        let spec = spec.clone();
        check_name("pod uid", &spec.pod_uid)?;
        check_name("volume", &spec.name)?;
        self.blocking(move |inner| inner.ensure(spec)).await
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<()> {
        check_name("pod uid", pod_uid)?;
        let pod_uid = pod_uid.to_owned();
        self.blocking(move |inner| inner.remove_pod(&pod_uid)).await
    }

    async fn observe(&self) -> Result<Vec<Volume>> {
        self.blocking(Inner::observe).await
    }
}

impl Inner {
    fn ensure(&self, spec: VolumeSpec) -> Result<Volume> {
        let _one = self.lock(&spec.pod_uid);
        let VolumeSpec { pod_uid, name, content, fs_group } = spec;
        let path = match content {
            VolumeContent::HostPath { path, kind } => {
                host_path::ensure(&path, &kind)?;
                path
            }
            VolumeContent::EmptyDir { medium: VolumeMedium::Disk, .. } => self.empty_dir(&self.disk, &pod_uid, &name, fs_group)?,
            VolumeContent::EmptyDir { medium: VolumeMedium::Memory, size_limit_bytes } => {
                self.memory_dir(&pod_uid, &name, size_limit_bytes, fs_group)?
            }
            VolumeContent::Files { files, medium } => {
                let base = if medium == VolumeMedium::Memory { &self.memory } else { &self.disk };
                let (path, folder, _) = self.folder(base, &pod_uid, &name)?;
                files::write(folder.as_fd(), &files, fs_group, &self.stamp())
                    .map_err(|error| Error::new(error.kind, format!("{}: {}", path.display(), error.message)))?;
                let mode = fs_group.map_or(0o755, |_| 0o2755);
                files::give(folder.as_fd(), fs_group, mode).map_err(at(&path))?;
                path
            }
        };
        Ok(Volume { pod_uid, name, path })
    }

    /// Its mode is given once: later it is the containers' business.
    fn empty_dir(&self, base: &Path, pod_uid: &str, name: &str, group: Option<u32>) -> Result<PathBuf> {
        let (path, folder, is_new) = self.folder(base, pod_uid, name)?;
        if is_new {
            let mode = group.map_or(EMPTY_DIR_MODE, |_| EMPTY_DIR_GROUP_MODE);
            files::give(folder.as_fd(), group, mode).map_err(at(&path))?;
        }
        Ok(path)
    }

    fn memory_dir(&self, pod_uid: &str, name: &str, size: Option<u64>, group: Option<u32>) -> Result<PathBuf> {
        let pod = self.mounts.join(pod_uid);
        private_dir(&pod).map_err(at(&pod))?;
        let top = beneath::open_top(&pod).map_err(at(&pod))?;
        let path = pod.join(name);
        if beneath::is_mount(top.as_fd(), OsStr::new(name)).map_err(at(&path))? {
            return Ok(path);
        }
        private_dir(&path).map_err(at(&path))?;
        // Less than a page would mean no limit at all.
        let size = size.map_or(String::new(), |bytes| format!(",size={}", bytes.max(4096)));
        let mode = group.map_or(EMPTY_DIR_MODE, |_| EMPTY_DIR_GROUP_MODE);
        let group = group.map_or(String::new(), |group| format!(",gid={group}"));
        mount_tmpfs(&path, &format!("mode={mode:o}{size}{group}")).map_err(at(&path))?;
        Ok(path)
    }

    /// The volume's folder, and whether it is new.
    fn folder(&self, base: &Path, pod_uid: &str, name: &str) -> Result<(PathBuf, OwnedFd, bool)> {
        let path = base.join(pod_uid).join(name);
        let make = || -> io::Result<(OwnedFd, bool)> {
            let top = beneath::open_top(base)?;
            make_dir(&top, pod_uid)?;
            let pod = beneath::open_dir(top.as_fd(), pod_uid)?;
            let is_new = make_dir(&pod, name)?;
            Ok((beneath::open_dir(pod.as_fd(), name)?, is_new))
        };
        let (folder, is_new) = make().map_err(at(&path))?;
        Ok((path, folder, is_new))
    }

    fn remove_pod(&self, pod_uid: &str) -> Result<()> {
        let _one = self.lock(pod_uid);
        let pod = OsStr::new(pod_uid);
        self.remove_mounted(pod).map_err(at(&self.mounts.join(pod)))?;
        for base in [&self.memory, &self.disk] {
            let top = beneath::open_top(base).map_err(at(base))?;
            beneath::remove(top.as_fd(), pod).map_err(at(&base.join(pod)))?;
        }
        Ok(())
    }

    /// Unmounts a pod's own tmpfs and removes where they were mounted.
    fn remove_mounted(&self, pod: &OsStr) -> io::Result<()> {
        let path = self.mounts.join(pod);
        for volume in subfolders(&path)? {
            detach(&path.join(volume))?;
        }
        beneath::remove(beneath::open_top(&self.mounts)?.as_fd(), pod)
    }

    fn observe(&self) -> Result<Vec<Volume>> {
        let mut found = Vec::new();
        for base in [&self.disk, &self.mounts, &self.memory] {
            for pod in subfolders(base).map_err(at(base))? {
                let path = base.join(&pod);
                for name in subfolders(&path).map_err(at(&path))? {
                    let (pod_uid, name) = (pod.to_string_lossy().into_owned(), name.to_string_lossy().into_owned());
                    found.push(Volume { path: path.join(&name), pod_uid, name });
                }
            }
        }
        Ok(found)
    }

    fn mount_memory(&self) -> io::Result<()> {
        let (parent, name) = (self.memory.parent().unwrap_or(Path::new("/")), self.memory.file_name().unwrap_or_default());
        if beneath::is_mount(beneath::open_top(parent)?.as_fd(), name)? {
            return Ok(());
        }
        mount_tmpfs(&self.memory, "mode=700,size=25%")
    }

    /// Upstream's form, with a number that makes it unique also when the clock stands still.
    fn stamp(&self) -> String {
        let now = self.env.now().strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string();
        format!("{now}-{}", self.versions.fetch_add(1, Ordering::Relaxed))
    }

    fn lock(&self, pod_uid: &str) -> std::sync::MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(pod_uid);
        self.locks[hash as usize % STRIPES].lock().expect("no holder of a pod's volumes panics")
    }
}

fn mount_tmpfs(path: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

/// Unmounts, also what is in use. Fine if nothing is mounted there.
fn detach(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A folder that only root enters: what containers see of it is bound into their own name space.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// True if it was not there.
fn make_dir(dir: &OwnedFd, name: &str) -> io::Result<bool> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn subfolders(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    match beneath::open_top(path) {
        Ok(folder) => beneath::names(folder.as_fd()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let good = !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(['/', '\0']);
    if good { Ok(()) } else { Err(Error::new(ErrorKind::Invalid, format!("{what} {name:?} cannot name a folder"))) }
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| {
        let kind = if error.kind() == io::ErrorKind::ResourceBusy { ErrorKind::Busy } else { ErrorKind::Io };
        Error::new(kind, format!("{}: {error}", path.display()))
    }
}
