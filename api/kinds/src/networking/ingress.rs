//! Ingress: routes HTTP from outside to services.

use crate::kind::{Kind, Meta, Sub};

/// Routes HTTP from outside to services.
pub struct Ingress;

impl Kind for Ingress {
    const META: Meta = Meta {
        empty_status: r#"{"loadBalancer": {}}"#,
        short: &["ing"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("networking.k8s.io", "Ingress", "ingresses")
    };
}
