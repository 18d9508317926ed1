//! DeviceClass: a sort of devices.

use crate::kind::{Kind, Meta};

/// A sort of devices.
pub struct DeviceClass;

impl Kind for DeviceClass {
    const META: Meta = Meta { generation: true, ..Meta::cluster("resource.k8s.io", "DeviceClass", "deviceclasses") };
}
