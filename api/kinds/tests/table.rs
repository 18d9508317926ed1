//! One walk over every kind: what discovery publishes, files and rows, fixtures, paths.

#![expect(clippy::print_stdout, reason = "a test says what it skips and counts")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kinds::{Descriptor, Scope, Verbs};
use schema::{DocExt, Value, json};

/// The shared facts beside the workspace, where there are any.
fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(file);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file just found")).expect("a JSON file")
}

#[test]
fn discovery_publishes_what_upstream_does() {
    let Some(path) = shared("kubernetes-1.37/resources.json") else { return };
    let rows = read_json(&path);
    let served = rows.as_array().expect("a list of rows").iter().filter(|row| row.bool_at("served_by_default"));
    let mut seen = 0;
    for row in served {
        let found = kinds::find(row.str_at("group"), row.str_at("version"), row.str_at("resource"));
        let kind = found.unwrap_or_else(|| panic!("no row for {row}"));
        assert_eq!(published(kind, row), *row);
        assert!(std::ptr::eq(kind, kinds::by_kind(&kind.api_version(), &kind.kind).expect("found by kind too")));
        seen += 1;
    }
    assert_eq!(seen, kinds::all().len());
}

/// A descriptor in the words of resources.json; what that file does not know is taken from `row`.
fn published(kind: &Descriptor, row: &Value) -> Value {
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let verbs: Vec<&str> = match kind.verbs {
        Verbs::All => all.to_vec(),
        Verbs::CreateOnly => vec!["create"],
        Verbs::These(these) => these.to_vec(),
    };
    let subresources: Vec<Value> = kind.subresources.iter().map(|sub| published_sub(kind, sub)).collect();
    let known = |member: &str, ours: &[kinds::Text]| if row[member].is_null() { Value::Null } else { json!(ours) };
    let mut doc = json!({
        "group": kind.group, "version": kind.version, "resource": kind.resource, "kind": kind.kind,
        "namespaced": kind.scope == Scope::Namespaced, "singular": kind.singular, "shortNames": known("shortNames", &kind.short_names),
        "categories": known("categories", &kind.categories), "verbs": verbs, "subresources": subresources, "served_by_default": true,
    });
    doc["inferred"] = row["inferred"].clone();
    doc
}

fn published_sub(kind: &Descriptor, sub: &kinds::Subresource) -> Value {
    let own = (kind.group.clone(), kind.version.clone(), kind.kind.clone());
    let (group, version, kind) = sub.kind.clone().unwrap_or(own);
    json!({"name": sub.name, "group": group, "version": version, "kind": kind, "verbs": sub.verbs})
}

#[test]
fn every_file_in_a_group_folder_is_listed_and_every_row_has_a_file() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let helpers = BTreeSet::from(["device", "matching", "object_reference", "rule", "signer", "webhook"]);
    let mut files = 0;
    for group in fs::read_dir(&source).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let listing = fs::read_to_string(group.path().with_extension("rs")).unwrap_or_default();
        if !listing.contains("fn rows") {
            continue;
        }
        for file in fs::read_dir(group.path()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let module = file.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(listing.contains(&format!("mod {module};")), "{module} is no module of its group");
            let implemented = fs::read_to_string(&file).unwrap().matches("impl Kind for ").count();
            assert!(implemented > 0 || helpers.contains(module.as_str()), "{module} implements no kind");
            files += implemented;
        }
    }
    assert_eq!(files, kinds::all().len());
}
