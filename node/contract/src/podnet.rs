//! A pod's link and address.
//!
//! ```text
//! ensure(uid, namespace) ──► linked, with an address ──namespace goes──► address still kept
//!         ▲ again: same address                                             │ remove(uid)
//!         └──────────────── a new sandbox of the pod ◄──────────────────────┘──► address free, given out last
//! ```

pub mod suite;

use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;

use crate::Result;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    pub pod_uid: String,
    pub ips: Vec<IpAddr>,
}

#[async_trait]
pub trait PodNet: Send + Sync + 'static {
    /// Links the namespace at `netns` and gives it an address; the same pod gets the same address again, also after a restart of the node.
    async fn ensure(&self, pod_uid: &str, netns: &Path) -> Result<PodAddress>;
    /// Frees the address; the link goes with the namespace.
    async fn remove(&self, pod_uid: &str) -> Result<()>;
    async fn observe(&self) -> Result<Vec<PodAddress>>;
}
