//! PodDisruptionBudget: how many pods may be down at once by choice.

use crate::kind::{Kind, Meta, Sub};

/// How many pods may be down at once by choice.
pub struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    const META: Meta = Meta {
        empty_status: r#"{"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}"#,
        short: &["pdb"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets")
    };
}
