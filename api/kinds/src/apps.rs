//! The kinds of `apps`.

pub mod controller_revision;
pub mod daemon_set;
pub mod deployment;
pub mod replica_set;
pub mod stateful_set;

pub use self::controller_revision::ControllerRevision;
pub use self::daemon_set::DaemonSet;
pub use self::deployment::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
pub use self::replica_set::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
pub use self::stateful_set::StatefulSet;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<ControllerRevision>(),
        Descriptor::of::<DaemonSet>(),
        Descriptor::of::<Deployment>(),
        Descriptor::of::<ReplicaSet>(),
        Descriptor::of::<StatefulSet>(),
    ]
}
