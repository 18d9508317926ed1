//! PersistentVolume: a piece of storage that outlives pods.

use crate::kind::{Kind, Meta, Sub};

/// A piece of storage that outlives pods.
pub struct PersistentVolume;

impl Kind for PersistentVolume {
    const META: Meta = Meta {
        empty_status: r#"{"phase": "Pending"}"#,
        short: &["pv"],
        subresources: &[Sub::STATUS],
        ..Meta::cluster("", "PersistentVolume", "persistentvolumes")
    };
}
