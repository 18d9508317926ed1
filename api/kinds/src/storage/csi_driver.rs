//! CSIDriver: what a storage driver can do.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta};

/// What a storage driver can do.
pub struct CsiDriver;

impl Kind for CsiDriver {
    const META: Meta = Meta { generation: true, ..Meta::cluster("storage.k8s.io", "CSIDriver", "csidrivers") };
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
}

fn tokens(doc: &Value) -> Value {
    let audiences: Vec<&str> = doc.items_at("spec.tokenRequests").iter().map(|request| request.str_at("audience")).collect();
    json!(if audiences.is_empty() { "<unset>".to_owned() } else { audiences.join(",") })
}

fn modes(doc: &Value) -> Value {
    let modes: Vec<&str> = doc.items_at("spec.volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") })
}
