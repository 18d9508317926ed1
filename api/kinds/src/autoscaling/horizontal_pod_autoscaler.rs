//! HorizontalPodAutoscaler: scales by metrics.

use crate::kind::{Kind, Meta, Sub};

/// Scales by metrics.
pub struct HorizontalPodAutoscalerV1;

impl Kind for HorizontalPodAutoscalerV1 {
    const META: Meta = Meta {
        short: &["hpa"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    };
}

/// The current version, which is stored.
pub struct HorizontalPodAutoscaler;

impl Kind for HorizontalPodAutoscaler {
    const META: Meta = Meta {
        version: "v2",
        short: &["hpa"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    };
}
