//! The kinds of `autoscaling`.

pub mod horizontal_pod_autoscaler;

pub use self::horizontal_pod_autoscaler::HorizontalPodAutoscaler;
pub use self::horizontal_pod_autoscaler::HorizontalPodAutoscalerV1;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<HorizontalPodAutoscaler>(), Descriptor::of::<HorizontalPodAutoscalerV1>()]
}
