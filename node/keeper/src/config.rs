//! What a keeper is told at its start.

use std::path::PathBuf;

use stdx::instance::Instance;

/// Everything one keeper needs; made by the composition root from `corten keeper …`'s arguments.
#[derive(Clone, Debug)]
pub struct KeeperConfig {
    pub instance: Instance,
    /// This process's own command line, the binary's path first. A replacement keeper is started with it.
    pub argv: Vec<String>,
    /// The environment a replacement keeper is started with.
    pub env: Vec<(String, String)>,
    /// Started in this order, stopped in reverse.
    pub children: Vec<ChildSpec>,
    /// Leave the caller's session: the calling process returns from [`crate::run`] when the keeper answers on its
    /// socket (0) or could not (1, with the reason on standard error); the keeper lives on in the background.
    pub detach: bool,
    /// Take a mount namespace of its own, so that nothing mounted for pods shows on the host. Tests whose driver lives
    /// outside the keeper's children say no.
    pub own_mounts: bool,
}

/// One supervised process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSpec {
    /// `control`, `node`.
    pub name: String,
    /// The program's path first.
    pub argv: Vec<String>,
    /// User and group id; None keeps root.
    pub user: Option<(u32, u32)>,
    /// Give up every capability, also in the bounding set.
    pub drop_capabilities: bool,
    /// The complete environment.
    pub env: Vec<(String, String)>,
    /// Standard output and error are appended here (folder made when missing).
    pub log: PathBuf,
}
