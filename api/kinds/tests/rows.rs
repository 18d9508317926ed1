//! What must hold of every row: defaults, columns and lookups on its fixture; paths that exist.

#![expect(clippy::print_stdout, reason = "a test says what it skips and counts")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use env::Env;
use kinds::{Acts, Descriptor, WriteContext};
use schema::facts::Shape;
use schema::{DocExt, Facts, TypeId, Value};

fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(file);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// A filled document of each kind that has a fixture.
fn fixtures() -> Vec<(&'static Descriptor, Value)> {
    let Some(folder) = shared("kubernetes-1.37/fixtures") else { return Vec::new() };
    let read = |row: &'static kinds::KindRef| {
        let group = if row.group.is_empty() { "core" } else { &row.group };
        let bytes = fs::read(folder.join(format!("{group}.{}.{}.json", row.version, row.kind))).ok()?;
        Some((&**row, serde_json::from_slice(&bytes).expect("a JSON file")))
    };
    kinds::all().iter().filter_map(read).collect()
}

#[test]
fn defaults_are_idempotent_and_keep_what_is_there() {
    for (row, fixture) in fixtures() {
        for sample in [fixture.clone(), serde_json::json!({"metadata": {"name": "x"}})] {
            let mut once = sample.clone();
            row.strategy.fill_defaults(&mut once);
            let mut twice = once.clone();
            row.strategy.fill_defaults(&mut twice);
            assert_eq!(once, twice, "{}", row.kind);
        }
    }
}

#[test]
fn defaults_are_valid_under_the_facts() {
    for row in kinds::all() {
        let mut doc = serde_json::json!({"apiVersion": row.api_version(), "kind": row.kind, "metadata": {"name": "x"}});
        row.strategy.fill_defaults(&mut doc);
        let env = Env::real();
        row.strategy.prepare_create(&mut doc, &WriteContext { env: &env, user: "", subresource: "" });
        row.strategy.fill_defaults(&mut doc);
        let decoded = schema::decode::json(row.ty, doc.to_string().as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", row.kind));
        assert_eq!(decoded.strict_errors, [""; 0], "{}: a default names a field that does not exist", row.kind);
    }
}

#[test]
fn columns_and_lookups_work_on_every_fixture_and_on_nothing() {
    let env = Env::real();
    for (row, fixture) in fixtures() {
        for doc in [fixture, serde_json::json!({})] {
            for column in &row.columns {
                let cell = (column.cell)(&doc, &env);
                let fits = match column.ty.as_ref() {
                    "boolean" => cell.is_boolean() || cell.is_string(),
                    "integer" => cell.is_i64(),
                    "date" => cell.is_string() || cell.is_null(),
                    _ => !cell.is_object() && !cell.is_array() && !cell.is_null(),
                };
                assert!(fits, "{} {}: {cell} is no {}", row.kind, column.name, column.ty);
            }
            row.fields.iter().for_each(|(_, lookup)| drop(lookup(&doc)));
        }
    }
}

#[test]
fn versions_convert_back_and_forth() {
    for (row, fixture) in fixtures() {
        let stored = row.strategy.to_stored(fixture.clone());
        assert_eq!(row.strategy.from_stored(stored), fixture, "{}", row.kind);
    }
}

#[test]
fn what_is_stored_only_says_so() {
    for row in kinds::all() {
        let texts = row.strategy.warnings(&serde_json::json!({}), None);
        let warned = texts.iter().any(|text| text.contains("nothing acts on them yet"));
        assert_eq!(warned, row.acts == Acts::StoredOnly, "{}", row.kind);
    }
    for row in kinds::unacted() {
        let kind = kinds::all().iter().find(|kind| kind.group == row.group && kind.kind == row.kind);
        let kind = kind.unwrap_or_else(|| panic!("unacted names {}, which is no kind", row.kind));
        if let kinds::What::Field(path) | kinds::What::FieldValue(path, _) = row.what {
            assert!(Facts::builtin().path(kind.ty, path).is_some(), "{} has no {path}", row.kind);
        }
    }
}

#[test]
fn stored_versions_are_served_and_prefixes_are_shared_by_versions_alone() {
    for row in kinds::all().iter().filter(|row| !row.storage_prefix.is_empty()) {
        let sharing = kinds::all().iter().filter(|other| other.storage_prefix == row.storage_prefix);
        let stored = sharing.filter(|other| other.version == other.stored_version).count();
        assert_eq!(stored, 1, "{} at {}", row.kind, row.storage_prefix);
    }
}

/// Calls whose string arguments are paths in documents.
const CALLS: &[&str] = &[
    ".str_at(\"",
    ".i64_at(\"",
    ".bool_at(\"",
    ".items_at(\"",
    ".items_at_mut(\"",
    ".map_at(\"",
    ".at(\"",
    ".at_mut(\"",
    ".set_at(\"",
    ".default_at(\"",
    ".remove_at(\"",
];

/// Functions whose first string argument is a path, after the value that it is looked for in.
const FUNCTIONS: &[&str] = &["is_given(", "default_text(", "one_of(", "one_of_if_set(", "required(", "copy_member(", "immutable("];

/// Paths that are no fields of a type: keys of maps.
const KEYS: &[&str] = &["resources.requests.storage", "status.capacity.storage", "spec.capacity.storage", "properties.metadata"];

#[test]
fn every_path_in_the_sources_is_a_field_of_some_type() {
    let types = reachable();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for path in paths(text) {
            seen += 1;
            let known =
                KEYS.contains(&path) || path.starts_with("metadata.") || types.iter().any(|ty| Facts::builtin().path(*ty, path).is_some());
            if !known {
                wrong.push(format!("{}: {path}", file.display()));
            }
        }
    }
    assert!(seen > 300, "the scan finds {seen} paths only");
    assert_eq!(wrong, [""; 0]);
}

fn paths(text: &str) -> Vec<&str> {
    let after = |call: &&'static str| text.match_indices(*call).map(|(at, call)| &text[at + call.len()..]).collect::<Vec<_>>();
    let direct = CALLS.iter().flat_map(after).filter_map(|rest| rest.split('"').next());
    let in_columns = after(&"Col::path(\"").into_iter().filter_map(|rest| rest.split('"').nth(2));
    let literals = direct.chain(in_columns).chain(FUNCTIONS.iter().flat_map(|function| first_arguments(text, function)));
    literals.filter(|path| !path.contains(['{', '\\']) && !path.is_empty()).collect()
}

/// The first string in each call of `function`, where the call itself holds one; methods of that name are others.
fn first_arguments<'a>(text: &'a str, function: &str) -> Vec<&'a str> {
    let is_free = |at: usize| !text[..at].ends_with(|before: char| before == '.' || before == '_' || before.is_alphanumeric());
    let calls = text.match_indices(function).filter(|(at, _)| is_free(*at) && !text[..*at].ends_with("fn "));
    let arguments = calls.filter_map(|(at, call)| text[at + call.len()..].split(')').next());
    arguments.filter_map(|arguments| arguments.split("&[").next()?.split('"').nth(1)).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.into_iter().flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// All types that a kind holds, at any depth.
fn reachable() -> BTreeSet<TypeId> {
    let mut found = BTreeSet::new();
    let mut queue: Vec<TypeId> = kinds::all().iter().map(|row| row.ty).collect();
    while let Some(ty) = queue.pop() {
        if found.insert(ty) {
            let fields = &Facts::builtin().get(ty).fields;
            queue.extend(fields.iter().filter_map(|field| if let Shape::Object(inner) = field.shape { Some(inner) } else { None }));
        }
    }
    found
}

#[test]
fn names_of_conditions_and_rows_are_unique() {
    let mut seen = BTreeSet::new();
    for row in kinds::all() {
        assert!(seen.insert((row.group.clone(), row.version.clone(), row.resource.clone())), "{} twice", row.resource);
        let names: BTreeSet<&str> = row.columns.iter().map(|column| &*column.name).collect();
        assert_eq!(names.len(), row.columns.len(), "{} has a column twice", row.kind);
        assert!(row.columns.iter().any(|column| column.format == "name"), "{} shows no name", row.kind);
    }
}

#[test]
fn a_value_at_a_path_column_is_shown_as_it_is() {
    let row = kinds::by_kind("coordination.k8s.io/v1", "Lease").expect("a row");
    let mut doc = serde_json::json!({});
    doc.set_at("spec.holderIdentity", "node-1");
    let holder = row.columns.iter().find(|column| column.name == "Holder").expect("a column");
    assert_eq!((holder.cell)(&doc, &Env::real()), "node-1");
}
