//! MutatingAdmissionPolicy: changes requests by CEL expressions.

use schema::{DocExt, json};

use crate::cells::{AGE, NAME, count};
use crate::kind::{Col, Kind, Meta};

/// Changes requests by CEL expressions.
pub struct MutatingAdmissionPolicy;

impl Kind for MutatingAdmissionPolicy {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Mutations", |doc| json!(count(doc.at("spec.mutations")))).ty("integer"),
        Col::of("ParamKind", |doc| match doc.str_at("spec.paramKind.kind") {
            "" => json!("<unset>"),
            kind => json!(format!("{}/{kind}", doc.str_at("spec.paramKind.apiVersion"))),
        }),
        AGE,
    ];
}
