//! What the command line needs of the machine. Implemented in the composition root over the keeper, the keys and the images.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use client::Client;
use client::kubeconfig::Entry;
use stdx::Instance;

use crate::Failure;
use crate::check::Finding;

/// Who calls, read once from the environment.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Home folder of the person: of who used sudo, else ours.
    pub home: Option<PathBuf>,
    /// Uid and gid that files in that home must have.
    pub owner: Option<(u32, u32)>,
    /// `$KUBECONFIG`'s first path.
    pub kubeconfig: Option<PathBuf>,
    pub is_root: bool,
    pub colour: bool,
}

/// Where the state is kept; chosen once, before the first start.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StoreArgs {
    /// Keep the cluster's state in etcd: etcd=https://HOST:2379[,…]; chosen once [default: log, on this machine's disk]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Who signed etcd's certificate (PEM; copied)
    #[arg(long, value_name = "FILE", requires = "store")]
    pub store_ca: Option<PathBuf>,
    /// Our certificate for etcd (PEM; copied)
    #[arg(long, value_name = "FILE", requires_all = ["store_ca", "store_key"])]
    pub store_cert: Option<PathBuf>,
    /// Its key (PEM; copied)
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    pub store_key: Option<PathBuf>,
    /// What etcd's keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "/registry", requires = "store")]
    pub store_prefix: String,
}

/// One of our processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildState {
    /// `keeper`, `control`, `node`.
    pub name: String,
    pub pid: Option<u32>,
    pub restarts: u32,
    pub last_exit: Option<String>,
}

/// What the keeper says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub processes: Vec<ChildState>,
    /// Containers that run now.
    pub containers: u32,
}

/// A way in with every right.
pub struct Admin {
    pub client: Client,
    /// For a kubeconfig.
    pub entry: Entry,
}

/// A row of `corten image list`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageRow {
    pub names: Vec<String>,
    pub id: String,
    pub size: u64,
    pub created: i64,
}

#[async_trait]
pub trait Host: Send + Sync {
    /// None: no keeper runs.
    fn state(&self, instance: &Instance) -> Result<Option<State>, Failure>;
    /// What only the drivers can tell of the machine: other people's packet filters.
    fn findings(&self, instance: &Instance) -> Vec<Finding>;
    /// Makes folders and keys where they are missing. Idempotent.
    fn prepare(&self, instance: &Instance) -> Result<(), Failure>;
    /// Records where the state is kept, where `up` was told so; refused when it cannot be reached, or another was chosen before.
    async fn choose_store(&self, instance: &Instance, args: &StoreArgs) -> Result<(), Failure>;
    /// Starts the keeper, which starts the rest, and returns when it answers.
    fn start(&self, instance: &Instance) -> Result<(), Failure>;
    /// Becomes the keeper in this process (`up --foreground`); the exit code.
    fn foreground(&self, instance: &Instance) -> i32;
    /// Stops everything, containers too; state stays.
    fn stop(&self, instance: &Instance) -> Result<(), Failure>;
    /// Removes all that the instance ever made; says what.
    fn reset(&self, instance: &Instance) -> Result<Vec<String>, Failure>;
    fn admin(&self, instance: &Instance) -> Result<Admin, Failure>;

    async fn images(&self, instance: &Instance) -> Result<Vec<ImageRow>, Failure>;
    async fn image_import(&self, instance: &Instance, archive: &Path, name: &str) -> Result<ImageRow, Failure>;
    async fn image_load(&self, instance: &Instance, archive: &Path) -> Result<Vec<ImageRow>, Failure>;
    async fn image_remove(&self, instance: &Instance, name: &str) -> Result<(), Failure>;
}
