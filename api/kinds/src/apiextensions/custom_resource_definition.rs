//! CustomResourceDefinition: a kind that users bring.

use crate::cells::NAME_AND_CREATED_AT;
use crate::kind::{Col, Kind, Meta, Sub};

/// A kind that users bring.
pub struct CustomResourceDefinition;

impl Kind for CustomResourceDefinition {
    const META: Meta = Meta {
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions")
    };
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;
}
