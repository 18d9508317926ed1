//! VolumeAttributesClass: volume parameters that can change later.

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};

/// Volume parameters that can change later.
pub struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    const META: Meta = Meta { short: &["vac"], ..Meta::cluster("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses") };
    const COLUMNS: &[Col] = &[NAME, Col::path("DriverName", "driverName"), AGE];
}
