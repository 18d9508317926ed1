//! HorizontalPodAutoscaler: scales by metrics.

use crate::kind::{Kind, Meta, Sub};

/// Scales by metrics.
pub struct HorizontalPodAutoscalerV1;

impl Kind for HorizontalPodAutoscalerV1 {
    const META: Meta = Meta {
        stored: Some(("autoscaling", "v2")),
        empty_status: r#"{"currentReplicas": 0, "desiredReplicas": 0}"#,
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
        empty_status: r#"{"desiredReplicas": 0, "currentMetrics": null}"#,
        version: "v2",
        short: &["hpa"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    };
}
