//! Recorded answers of the original, where the core alone can be asked.

use std::path::Path;

use schema::{DocExt, FieldErrors, names};

use super::*;
use crate::meta;

/// The lines of a shared golden file; None where the shared folder is absent.
fn lines(file: &str) -> Option<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        #[expect(clippy::print_stderr, reason = "a test says plainly that it skips")]
        {
            eprintln!("skipped: {} is not here", path.display());
        }
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn object_metadata_is_judged_as_recorded() {
    let Some(cases) = lines("object-meta.jsonl") else { return };
    let mut failures = Vec::new();
    for case in &cases {
        let found = judged(case);
        let want: Vec<String> = case.items_at("want").iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        if found != want {
            failures.push(format!("{}\n  want {want:#?}\n  have {found:#?}", case.str_at("case")));
        }
    }
    assert!(failures.len() * 50 <= cases.len(), "{} of {} fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn judged(case: &Value) -> Vec<String> {
    let mut errors = FieldErrors::default();
    match case.str_at("how") {
        "create" => {
            let rule = match case.str_at("nameRule") {
                "subdomain" => names::is_dns1123_subdomain,
                "dns1035" => names::is_dns1035_label,
                _ => names::is_dns1123_label,
            };
            meta::on_create(&case["metadata"], case.bool_at("namespaced"), rule, &mut errors);
        }
        "update" => {
            meta::on_update(&changed(case), &case["old"], &mut errors);
        }
        _ => meta::conditions(case.items_at("conditions"), &schema::Path::new("status").child("conditions"), &mut errors),
    }
    errors.0.iter().map(ToString::to_string).collect()
}

/// The new metadata of a change. A note stands for annotations too long to be written down.
fn changed(case: &Value) -> Value {
    if case.get("note").is_none() {
        return case["metadata"].clone();
    }
    let mut new = case["old"].clone();
    for (name, value) in case["metadata"].as_object().unwrap() {
        new[name] = value.clone();
    }
    new["annotations"] = json!({"a": "v".repeat(262_144)});
    new
}
