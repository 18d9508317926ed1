//! DeviceTaintRule: keeps pods off devices.

use crate::kind::{Kind, Meta, Sub};

/// Keeps pods off devices.
pub struct DeviceTaintRule;

impl Kind for DeviceTaintRule {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::cluster("resource.k8s.io", "DeviceTaintRule", "devicetaintrules") };
}
