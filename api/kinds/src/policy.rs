//! The kinds of `policy`.

pub mod pod_disruption_budget;

pub use self::pod_disruption_budget::PodDisruptionBudget;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<PodDisruptionBudget>()]
}
