//! `metadata.managedFields` by itself: which entries can be read, and the move from client-side to server-side apply.

use schema::apply::upgrade;
use schema::apply::wire;

use super::{Case, DocExt, Value, json, outcome, same};

pub fn entries(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    match line.str_at("how") {
        "validate" => {
            let entry = line
                .get("entry")
                .cloned()
                .unwrap_or_else(|| json!({"manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}));
            let raw = line.get("fieldsV1").and_then(Value::as_str).map(str::to_owned);
            let raw = raw.unwrap_or_else(|| entry["fieldsV1"].to_string());
            outcome(case, wire::check(0, &entry, &raw).map(|()| "valid".into()))
        }
        "upgrade" => {
            let mut doc = line["object"].clone();
            let (from, to) = (line.str_at("from"), line.str_at("to"));
            let patch = upgrade::patch(&doc, &[from], to, line.str_at("subresource"))?;
            same("patch", patch.clone().unwrap_or_default(), line["want"].clone())?;
            upgrade::upgrade(&mut doc, &[from], to, line.str_at("subresource"))?;
            let entries = patch.map(|patch| patch[0]["value"].clone());
            same("entries", entries.is_none_or(|entries| entries == doc["metadata"]["managedFields"]), true)
        }
        how => Err(format!("no engine for {how:?}")),
    }
}
