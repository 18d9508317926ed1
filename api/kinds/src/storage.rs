//! The kinds of `storage.k8s.io`.

pub mod csi_driver;
pub mod csi_node;
pub mod csi_storage_capacity;
pub mod storage_class;
pub mod volume_attachment;
pub mod volume_attributes_class;

pub use self::csi_driver::CsiDriver;
pub use self::csi_node::CsiNode;
pub use self::csi_storage_capacity::CsiStorageCapacity;
pub use self::storage_class::StorageClass;
pub use self::volume_attachment::VolumeAttachment;
pub use self::volume_attributes_class::VolumeAttributesClass;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<CsiDriver>(),
        Descriptor::of::<CsiNode>(),
        Descriptor::of::<CsiStorageCapacity>(),
        Descriptor::of::<StorageClass>(),
        Descriptor::of::<VolumeAttachment>(),
        Descriptor::of::<VolumeAttributesClass>(),
    ]
}
