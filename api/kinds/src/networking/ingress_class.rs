//! IngressClass: who serves ingresses.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};

/// Who serves ingresses.
pub struct IngressClass;

impl Kind for IngressClass {
    const META: Meta = Meta { generation: true, ..Meta::cluster("networking.k8s.io", "IngressClass", "ingressclasses") };
    const COLUMNS: &[Col] = &[NAME, Col::path("Controller", "spec.controller"), Col::of("Parameters", parameters), AGE];
}

/// `kind.group/name`
fn parameters(doc: &Value) -> Value {
    let Some(given) = doc.at("spec.parameters").filter(|given| given.is_object()) else { return json!("<none>") };
    let group = match given.str_at("apiGroup") {
        "" => String::new(),
        group => format!(".{group}"),
    };
    json!(format!("{}{group}/{}", given.str_at("kind"), given.str_at("name")))
}
