//! The kinds of the core group.

pub mod binding;
pub mod component_status;
pub mod config_map;
pub mod endpoints;
pub mod event;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod object_reference;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_template;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;

pub use self::binding::Binding;
pub use self::component_status::ComponentStatus;
pub use self::config_map::ConfigMap;
pub use self::endpoints::*;
pub use self::event::*;
pub use self::limit_range::LimitRange;
pub use self::namespace::*;
pub use self::node::*;
pub use self::object_reference::ObjectReference;
pub use self::persistent_volume::PersistentVolume;
pub use self::persistent_volume_claim::PersistentVolumeClaim;
pub use self::pod::Pod;
pub use self::pod::affinity::*;
pub use self::pod::container::*;
pub use self::pod::spec::*;
pub use self::pod::status::*;
pub use self::pod::volume::*;
pub use self::pod_template::PodTemplate;
pub use self::replication_controller::ReplicationController;
pub use self::resource_quota::ResourceQuota;
pub use self::secret::Secret;
pub use self::service::*;
pub use self::service_account::ServiceAccount;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<Binding>(),
        Descriptor::of::<ComponentStatus>(),
        Descriptor::of::<ConfigMap>(),
        Descriptor::of::<Endpoints>(),
        Descriptor::of::<Event>(),
        Descriptor::of::<LimitRange>(),
        Descriptor::of::<Namespace>(),
        Descriptor::of::<Node>(),
        Descriptor::of::<PersistentVolume>(),
        Descriptor::of::<PersistentVolumeClaim>(),
        Descriptor::of::<Pod>(),
        Descriptor::of::<PodTemplate>(),
        Descriptor::of::<ReplicationController>(),
        Descriptor::of::<ResourceQuota>(),
        Descriptor::of::<Secret>(),
        Descriptor::of::<Service>(),
        Descriptor::of::<ServiceAccount>(),
    ]
}
