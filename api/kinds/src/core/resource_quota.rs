//! ResourceQuota: how much a namespace may hold in all.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// How much a namespace may hold in all.
pub struct ResourceQuota;

impl Kind for ResourceQuota {
    const META: Meta = Meta { short: &["quota"], subresources: &[Sub::STATUS], ..Meta::namespaced("", "ResourceQuota", "resourcequotas") };
    const COLUMNS: &[Col] =
        &[NAME, Col::of("Request", |doc| used_of_hard(doc, false)), Col::of("Limit", |doc| used_of_hard(doc, true)), AGE];
}

/// `pods: 3/10, services: 0/5`
fn used_of_hard(doc: &Value, is_limit: bool) -> Value {
    let mut texts: Vec<String> = Vec::new();
    for (name, hard) in doc.map_at("status.hard").into_iter().flatten() {
        if name.starts_with("limits.") == is_limit {
            let used = doc.map_at("status.used").and_then(|used| used.get(name)).and_then(Value::as_str).unwrap_or("0");
            texts.push(format!("{name}: {used}/{}", hard.as_str().unwrap_or_default()));
        }
    }
    texts.sort();
    json!(texts.join(", "))
}
