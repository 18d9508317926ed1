//! PodDisruptionBudget: how many pods may be down at once by choice.

use crate::kind::{Kind, Meta, Sub};

/// How many pods may be down at once by choice.
pub struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    const META: Meta = Meta {
        short: &["pdb"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets")
    };
}
