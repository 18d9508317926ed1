//! CertificateSigningRequest: asks a signer for a certificate.

use schema::{DocExt, Value, json, names};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Selectable, Sub};

/// Asks a signer for a certificate.
pub struct CertificateSigningRequest;

impl Kind for CertificateSigningRequest {
    const META: Meta = Meta {
        name: names::is_path_segment_name,
        short: &["csr"],
        subresources: &[Sub::of_parent("approval"), Sub::STATUS],
        ..Meta::cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        AGE,
        Col::path("SignerName", "spec.signerName"),
        Col::path("Requestor", "spec.username"),
        Col::of("RequestedDuration", |doc| match doc.i64_at("spec.expirationSeconds") {
            Some(seconds) => json!(schema::duration::human_seconds(seconds)),
            None => json!("<none>"),
        }),
        Col::of("Condition", conditions),
    ];
    const FIELDS: &[Selectable] = &[Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned())];
}

/// `Pending`, `Approved,Issued` …
fn conditions(doc: &Value) -> Value {
    let has = |name: &str| doc.items_at("status.conditions").iter().any(|condition| condition.str_at("type") == name);
    let mut texts = Vec::new();
    if has("Denied") {
        texts.push("Denied");
    } else if has("Approved") {
        texts.push("Approved");
    } else {
        texts.push("Pending");
    }
    if has("Failed") {
        texts.push("Failed");
    }
    if !doc.str_at("status.certificate").is_empty() {
        texts.push("Issued");
    }
    json!(texts.join(","))
}
