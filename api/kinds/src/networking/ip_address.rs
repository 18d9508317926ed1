//! IPAddress: one allocated cluster address.

use schema::{DocExt, FieldErrors, Path, Value, names};

use crate::cells::{AGE, NAME, or_none};
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{canonical_ip, dns_subdomain, each, immutable_pointer, sub};

/// One allocated cluster address.
pub struct IpAddress;

impl Kind for IpAddress {
    const META: Meta = Meta { short: &["ip"], generation: true, ..Meta::cluster("networking.k8s.io", "IPAddress", "ipaddresses") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("ParentRef", parent), AGE];

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if old.is_none() {
            canonical_ip(new.str_at("metadata.name"), &Path::new("metadata.name"), errors);
        }
        match new.at("spec.parentRef").filter(|parent| !parent.is_null()) {
            None => errors.required(&Path::new("spec.parentRef"), ""),
            Some(parent) => reference(parent, &Path::new("spec.parentRef"), errors),
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable_pointer(sub(new, "spec"), sub(old, "spec"), "parentRef", &Path::new("spec"), errors);
    }
}

fn reference(parent: &Value, path: &Path, errors: &mut FieldErrors) {
    if !parent.str_at("group").is_empty() {
        dns_subdomain(parent.str_at("group"), &path.child("group"), errors);
    }
    for member in ["resource", "name"] {
        match parent.str_at(member) {
            "" => errors.required(&path.child(member), ""),
            text => each(&path.child(member), text, names::is_path_segment_name(text), errors),
        }
    }
    if !parent.str_at("namespace").is_empty() {
        each(&path.child("namespace"), parent.str_at("namespace"), names::is_path_segment_name(parent.str_at("namespace")), errors);
    }
}

/// `services/default/kubernetes`
fn parent(doc: &Value) -> Value {
    let members = ["group", "resource", "namespace", "name"].map(|member| doc.str_at(&format!("spec.parentRef.{member}")));
    let parts: Vec<&str> = members.into_iter().filter(|part| !part.is_empty()).collect();
    or_none(&parts.join("/"))
}
