//! Pod volumes as host paths that containers bind-mount.
//!
//! The agent resolves what a volume holds (a ConfigMap's keys, a token) through the API; the driver only writes files.
//! Updates are atomic: readers see all of the old or all of the new (`..data` symlink swap, as upstream's AtomicWriter).

use std::path::PathBuf;

use async_trait::async_trait;

use crate::Result;

pub mod suite;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeMedium {
    #[default]
    Disk,
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFile {
    /// Relative, below the volume.
    pub path: PathBuf,
    pub content: bytes::Bytes,
    /// Permission bits.
    pub mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeContent {
    EmptyDir {
        medium: VolumeMedium,
        size_limit_bytes: Option<u64>,
    },
    /// `kind`: "", DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice.
    HostPath {
        path: PathBuf,
        kind: String,
    },
    /// configMap, secret, downwardAPI, projected: all are files by now. Secrets live in memory (tmpfs).
    Files {
        files: Vec<VolumeFile>,
        medium: VolumeMedium,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    pub pod_uid: String,
    pub name: String,
    pub content: VolumeContent,
    /// fsGroup: group owner of everything, setgid directories.
    pub fs_group: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub pod_uid: String,
    pub name: String,
    /// What containers mount.
    pub path: PathBuf,
}

#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// Makes the volume, or brings its files up to date.
    async fn ensure(&self, spec: &VolumeSpec) -> Result<Volume>;
    /// Unmounts and removes all volumes of the pod; never follows links, never touches a hostPath's content.
    async fn remove_pod(&self, pod_uid: &str) -> Result<()>;
    async fn observe(&self) -> Result<Vec<Volume>>;
}
