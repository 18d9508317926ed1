//! The controllers: each watches, plans purely, acts through the API under its own identity, and reports.
//!
//! [`ALL`] is the list; a new controller is its folder and one row.

pub mod certificates;
pub mod claim;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod garbage;
pub mod namespace;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod pods;
pub mod policy_types;
pub mod protection;
pub mod replica_set;
pub mod resource_quota;
pub mod root_ca;
pub mod service_account;
pub mod storage_version_migrator;

use std::sync::Arc;

use auth::Pki;
use reconcile::{Controller, Manager};

/// What some controllers need beside the API.
#[derive(Clone, Default)]
pub struct Config {
    /// PEM of the cluster's CA, published to every namespace as `kube-root-ca.crt`.
    pub root_ca: String,
    /// Signs certificate requests with that CA's key.
    pub signer: Option<Arc<Pki>>,
}

/// A row of the table.
pub struct Row {
    /// As upstream's `--controllers` calls it.
    pub name: &'static str,
    pub workers: usize,
    pub make: fn(&Config) -> Arc<dyn Controller>,
}

/// Every controller of this build.
pub const ALL: &[Row] = &[
    Row { name: namespace::NAME, workers: 4, make: |_| Arc::new(namespace::Namespaces) },
    Row { name: service_account::NAME, workers: 1, make: |_| Arc::new(service_account::ServiceAccounts) },
    Row { name: root_ca::NAME, workers: 1, make: |config| Arc::new(root_ca::RootCa { certificate: config.root_ca.clone() }) },
    Row { name: deployment::NAME, workers: 4, make: |_| Arc::new(deployment::Deployments) },
    Row { name: replica_set::NAME, workers: 4, make: |_| Arc::new(replica_set::ReplicaSets) },
    Row { name: endpoints::slices::NAME, workers: 2, make: |_| Arc::new(endpoints::slices::EndpointSlices::default()) },
    Row { name: endpoints::legacy::NAME, workers: 2, make: |_| Arc::new(endpoints::legacy::Endpoints::default()) },
    Row { name: garbage::NAME, workers: 4, make: |_| Arc::new(garbage::GarbageCollector::default()) },
    Row { name: pod_gc::NAME, workers: 1, make: |_| Arc::new(pod_gc::PodGc::default()) },
    Row { name: resource_quota::NAME, workers: 2, make: |_| Arc::new(resource_quota::ResourceQuotas) },
    Row { name: disruption::NAME, workers: 1, make: |_| Arc::new(disruption::Disruptions) },
    Row { name: protection::CLAIMS_NAME, workers: 1, make: |_| Arc::new(protection::ClaimProtection) },
    Row { name: protection::VOLUMES_NAME, workers: 1, make: |_| Arc::new(protection::VolumeProtection) },
    Row { name: protection::CLASSES_NAME, workers: 1, make: |_| Arc::new(protection::ClassProtection) },
    Row { name: certificates::NAME, workers: 1, make: |config| Arc::new(certificates::Certificates { signer: config.signer.clone() }) },
    Row { name: policy_types::NAME, workers: 1, make: |_| Arc::new(policy_types::PolicyTypes) },
    Row { name: storage_version_migrator::NAME, workers: 1, make: |_| Arc::new(storage_version_migrator::StorageVersionMigrator) },
    Row { name: node_lifecycle::NAME, workers: 1, make: |_| Arc::new(node_lifecycle::NodeLifecycle::default()) },
];

/// Starts all of them.
pub fn start(manager: &Manager, config: &Config) {
    for row in ALL {
        manager.start((row.make)(config), row.workers);
    }
}

/// Creates; that it is there already, or that its namespace goes, is success.
async fn create_if_absent(cx: &reconcile::Cx, target: client::Target, doc: schema::Value) -> Result<(), schema::Status> {
    match cx.client.create(target, doc).await {
        Err(status) if status.is_already_exists() || status.is_not_found() || reconcile::controller::is_terminating(&status) => Ok(()),
        other => other.map(|_| ()),
    }
}
