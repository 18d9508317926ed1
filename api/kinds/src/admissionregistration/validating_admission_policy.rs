//! ValidatingAdmissionPolicy: refuses requests by CEL expressions.

use schema::{DocExt, json};

use crate::cells::{AGE, NAME, count};
use crate::kind::{Col, Kind, Meta, Sub};

/// Refuses requests by CEL expressions.
pub struct ValidatingAdmissionPolicy;

impl Kind for ValidatingAdmissionPolicy {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Validations", |doc| json!(count(doc.at("spec.validations")))).ty("integer"),
        Col::of("ParamKind", |doc| match doc.str_at("spec.paramKind.kind") {
            "" => json!("<unset>"),
            kind => json!(format!("{}/{kind}", doc.str_at("spec.paramKind.apiVersion"))),
        }),
        AGE,
    ];
}
