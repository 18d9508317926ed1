//! VolumeAttributesClass: volume parameters that can change later.

use crate::kind::{Kind, Meta};

/// Volume parameters that can change later.
pub struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    const META: Meta = Meta { short: &["vac"], ..Meta::cluster("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses") };
}
