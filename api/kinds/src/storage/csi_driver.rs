//! CSIDriver: what a storage driver can do.

use schema::{DocExt, FieldErrors, Path, Value, json, names};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question, same};
use crate::rules::{each, is_given, not_supported, sub};

const FS_GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLES: &[&str] = &["Persistent", "Ephemeral"];
const NAME_BYTES_MAX: usize = 63;
const UPDATE_SECONDS_MIN: i64 = 10;

/// What a storage driver can do.
pub struct CsiDriver;

impl Kind for CsiDriver {
    const META: Meta = Meta { generation: true, ..Meta::cluster("storage.k8s.io", "CSIDriver", "csidrivers") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("AttachRequired", |doc| json!(doc.at("spec.attachRequired").and_then(Value::as_bool).unwrap_or(true))).ty("boolean"),
        Col::path("PodInfoOnMount", "spec.podInfoOnMount").ty("boolean"),
        Col::path("StorageCapacity", "spec.storageCapacity").ty("boolean"),
        Col::of("TokenRequests", tokens),
        Col::path("RequiresRepublish", "spec.requiresRepublish").ty("boolean"),
        Col::of("Modes", modes),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.attachRequired", true);
        for flag in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            doc.default_at(&format!("spec.{flag}"), false);
        }
        default_text(doc, "spec.fsGroupPolicy", "ReadWriteOnceWithFSType");
        if doc.items_at("spec.volumeLifecycleModes").is_empty() {
            doc.set_at("spec.volumeLifecycleModes", json!(["Persistent"]));
        }
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if old.is_none() {
            name(new.str_at("metadata.name"), &Path::new("metadata.name"), errors);
        }
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        for flag in ["attachRequired", "podInfoOnMount", "storageCapacity", "seLinuxMount"] {
            if !is_given(spec, flag) {
                errors.required(&path.child(flag), "");
            }
        }
        let policy = spec.str_at("fsGroupPolicy");
        if !policy.is_empty() && !FS_GROUP_POLICIES.contains(&policy) {
            not_supported(&path.child("fsGroupPolicy"), &policy.into(), FS_GROUP_POLICIES, errors);
        }
        // Upstream asks these twice, and tells what is wrong twice.
        for _ in 0..2 {
            token_requests(spec.items_at("tokenRequests"), &path.child("tokenRequests"), errors);
        }
        for mode in spec.items_at("volumeLifecycleModes").iter().filter(|mode| !LIFECYCLES.iter().any(|known| mode == known)) {
            not_supported(&path.child("volumeLifecycleModes"), mode, LIFECYCLES, errors);
        }
        if let Some(seconds) = spec.i64_at("nodeAllocatableUpdatePeriodSeconds").filter(|seconds| *seconds < UPDATE_SECONDS_MIN) {
            let text = format!("must be greater than or equal to {UPDATE_SECONDS_MIN} seconds");
            errors.invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), seconds, &text);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        // Upstream writes the first path with two letters more.
        for (member, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
            let (new, old) = (sub(sub(new, "spec"), member), sub(sub(old, "spec"), member));
            if !same(new, old) {
                errors.invalid(&Path::new("spec").child(shown), new.clone(), "field is immutable");
            }
        }
    }
}

/// The name is the driver's; beside what the core asks of names.
fn name(name: &str, path: &Path, errors: &mut FieldErrors) {
    if name.len() > NAME_BYTES_MAX {
        errors.too_long(path, NAME_BYTES_MAX);
    }
    each(path, name, names::is_dns1123_subdomain(&name.to_lowercase()), errors);
}

fn token_requests(requests: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, request) in requests.iter().enumerate() {
        let path = path.index(at);
        if requests[..at].iter().any(|before| before.str_at("audience") == request.str_at("audience")) {
            errors.duplicate(&path.child("audience"), request.str_at("audience"));
            continue;
        }
        let Some(seconds) = request.i64_at("expirationSeconds") else { continue };
        if seconds < 600 {
            errors.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            errors.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

fn tokens(doc: &Value) -> Value {
    let audiences: Vec<&str> = doc.items_at("spec.tokenRequests").iter().map(|request| request.str_at("audience")).collect();
    json!(if audiences.is_empty() { "<unset>".to_owned() } else { audiences.join(",") })
}

fn modes(doc: &Value) -> Value {
    let modes: Vec<&str> = doc.items_at("spec.volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") })
}
