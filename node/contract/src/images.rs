//! Images: names to configurations and root file systems. One content-addressed store for everything.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;

pub mod suite;

/// The part of an OCI image config that starting a container needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    pub working_dir: String,
    /// `""`, `uid`, `uid:gid`, `name`, `name:group`.
    pub user: String,
    pub stop_signal: String,
    pub volumes: Vec<String>,
    pub exposed_ports: Vec<String>,
    pub labels: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…` of the config.
    pub id: String,
    /// Canonical: `docker.io/library/busybox:latest`.
    pub names: Vec<String>,
    /// Bytes of all layers.
    pub size: u64,
    pub config: ImageConfig,
    /// Unix seconds.
    pub created: i64,
}

/// A root file system to be put together inside the container's own mount namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Topmost first, ready to be overlay lower directories (mounted EROFS layers or unpacked folders).
    pub lowers: Vec<PathBuf>,
    /// Empty directory on a writable file system.
    pub upper: PathBuf,
    pub work: PathBuf,
}

#[async_trait]
pub trait Images: Send + Sync + 'static {
    async fn list(&self) -> Result<Vec<Image>>;
    /// By any spelling of its name, by digest or by id prefix.
    async fn resolve(&self, name: &str) -> Result<Option<Image>>;
    /// Fetches a missing image. This build has no registry client: `NotFound` with a sentence that says how to import.
    async fn pull(&self, name: &str) -> Result<Image>;
    /// Mounts or unpacks the layers and makes the writable directories of one container.
    async fn ensure_rootfs(&self, image_id: &str, container_id: &str) -> Result<Rootfs>;
    /// Frees the writable directories; layers stay until their image goes.
    async fn remove_rootfs(&self, container_id: &str) -> Result<()>;
    /// A plain root file system archive (tar, optionally gzip or zstd) becomes a one-layer image.
    async fn import(&self, archive: &std::path::Path, name: &str, config: ImageConfig) -> Result<Image>;
    /// A docker or OCI archive (`docker save`); returns what it held.
    async fn load(&self, archive: &std::path::Path) -> Result<Vec<Image>>;
    /// Removes a name; the last name takes the image and its unused layers with it. `Busy` while a container uses it.
    async fn remove(&self, name: &str) -> Result<()>;
}
