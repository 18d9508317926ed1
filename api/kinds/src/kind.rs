//! How a kind's file is written: [`Kind`] names its facts and rules, [`Descriptor::of`] makes its row of them.
//!
//! What every kind shares lives here once: a create starts with an empty status, a write to the object keeps the
//! status and a write to the status keeps everything else.

use std::marker::PhantomData;
use std::sync::Arc;

use env::Env;
use schema::{DocExt, Facts, FieldErrors, Path, Value, json, names};

use crate::descriptor::{Acts, Column, Descriptor, Scope, Strategy, Subresource, Verbs, WriteContext};
use crate::{cells, unacted};

/// One resource at one served version. Implemented by the kind's lens, or by a unit struct where nobody reads it typed.
pub trait Kind: Send + Sync + 'static {
    const META: Meta;
    /// In the order of `kubectl get`.
    const COLUMNS: &'static [Col] = cells::NAME_AND_AGE;
    /// Selectable fields beside `metadata.name` and `metadata.namespace`.
    const FIELDS: &'static [Selectable] = &[];

    /// The questions that the kind has no answer of its own to, because there is nothing to do. Every other one is
    /// answered by its constant or function below; a test holds the two against each other.
    const NOTHING: &'static [Question] = &[];

    /// Fills what the caller left out. Idempotent.
    fn fill_defaults(_doc: &mut Value) {}
    /// After the status was cleared.
    fn prepare_create(_doc: &mut Value, _cx: &WriteContext<'_>) {}
    /// After status or everything else was carried over.
    fn prepare_update(_new: &mut Value, _old: &Value, _cx: &WriteContext<'_>) {}
    /// What must hold of every object, new (`old` is None) or changed.
    fn validate(_new: &Value, _old: Option<&Value>, _errors: &mut FieldErrors) {}
    /// What a change of the object may not do, beyond [`Kind::validate`].
    fn validate_update(_new: &Value, _old: &Value, _errors: &mut FieldErrors) {}
    /// What must hold of a write to a subresource (`status`, `resize` …); the object's own rules are not asked again.
    fn validate_subresource(_new: &Value, _old: &Value, _cx: &WriteContext<'_>, _errors: &mut FieldErrors) {}
    /// Texts for Warning headers, beside those of [`unacted`].
    fn warnings(_new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    fn to_stored(doc: Value) -> Value {
        doc
    }
    fn from_stored(doc: Value) -> Value {
        doc
    }
    /// What must be done before a deleted object may go: its finalizer and its status.
    fn prepare_delete(_doc: &mut Value, _now: jiff::Timestamp) {}
    /// Whether a change counts in `metadata.generation`.
    fn bumps_generation(new: &Value, old: &Value) -> bool {
        !same(&counted(new), &counted(old))
    }
}

/// What every kind is asked, and may say `nothing` to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Columns beside name and age.
    Columns,
    /// Selectable fields beside those of metadata.
    Fields,
    Defaults,
    /// What must hold of every object.
    Rules,
    /// What a change may not do.
    Updates,
    /// What must hold of a write to a subresource.
    Subresources,
    Warnings,
}

impl Question {
    /// In the order in which the kinds' report prints them.
    pub const ALL: &'static [Self] =
        &[Self::Columns, Self::Fields, Self::Defaults, Self::Rules, Self::Updates, Self::Subresources, Self::Warnings];

    /// The constant or function of [`Kind`] that answers it.
    pub fn item(self) -> &'static str {
        match self {
            Self::Columns => "const COLUMNS:",
            Self::Fields => "const FIELDS:",
            Self::Defaults => "fn fill_defaults(",
            Self::Rules => "fn validate(",
            Self::Updates => "fn validate_update(",
            Self::Subresources => "fn validate_subresource(",
            Self::Warnings => "fn warnings(",
        }
    }
}

/// The facts of a kind that discovery and the generic core need.
#[derive(Clone, Copy)]
pub struct Meta {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub verbs: Verbs,
    pub subresources: &'static [Sub],
    /// Upstream counts `metadata.generation` for it.
    pub generation: bool,
    /// What a name must look like; the texts of what is wrong.
    pub name: fn(&str) -> Vec<String>,
    /// (group, version) under which it is stored, where that is not its own.
    pub stored: Option<(&'static str, &'static str)>,
    /// What a create's status holds before anything is known, as JSON; empty where a create may bring its own.
    pub empty_status: &'static str,
}

impl Meta {
    /// A namespaced kind of `group/v1` with all verbs and nothing special.
    pub const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self {
            group,
            version: "v1",
            kind,
            plural,
            short: &[],
            categories: &[],
            scope: Scope::Namespaced,
            verbs: Verbs::All,
            subresources: &[],
            generation: false,
            name: names::is_dns1123_subdomain,
            stored: None,
            empty_status: "{}",
        }
    }

    /// A cluster-scoped kind of `group/v1` with all verbs and nothing special.
    pub const fn cluster(group: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { scope: Scope::Cluster, ..Self::namespaced(group, kind, plural) }
    }

    fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|sub| sub.name == subresource)
    }

    /// Key prefix and version in the store.
    fn storage(&self) -> (String, String) {
        match self.stored {
            _ if !self.is_kept() => (String::new(), String::new()),
            None => (storage_prefix(self.group, self.plural), self.version.to_owned()),
            Some((group, version)) if group == self.group => (storage_prefix(group, self.plural), version.to_owned()),
            Some((group, version)) => {
                (storage_prefix(group, self.plural), format!("{}/{version}", if group.is_empty() { "core" } else { group }))
            }
        }
    }

    /// Whether objects are kept at all; reviews, bindings and component statuses are not.
    fn is_kept(&self) -> bool {
        match self.verbs {
            Verbs::All => true,
            Verbs::CreateOnly => false,
            Verbs::These(verbs) => verbs.contains(&"create"),
        }
    }
}

/// A subresource; `kind` is (group, version, kind) of its body where it is not the parent's.
#[derive(Clone, Copy)]
pub struct Sub {
    pub name: &'static str,
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

const READ_WRITE: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// The subresources that several kinds have.
impl Sub {
    pub const STATUS: Self = Self::of_parent("status");
    pub const SCALE: Self = Self { name: "scale", kind: Some(("autoscaling", "v1", "Scale")), verbs: READ_WRITE };

    /// Reads and writes the parent's own kind.
    pub const fn of_parent(name: &'static str) -> Self {
        Self { name, kind: None, verbs: READ_WRITE }
    }

    /// A stream: the request's query is `kind`, of the core group.
    pub const fn stream(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind: Some(("", "v1", kind)), verbs: CONNECT }
    }

    /// Passes HTTP requests on.
    pub const fn proxy(kind: &'static str) -> Self {
        Self { name: "proxy", kind: Some(("", "v1", kind)), verbs: PROXY }
    }

    /// Only `create`, with a body of its own kind.
    pub const fn create(name: &'static str, group: &'static str, kind: &'static str) -> Self {
        Self { name, kind: Some((group, "v1", kind)), verbs: &["create"] }
    }
}

/// A column as a kind's file writes it.
#[derive(Clone, Copy)]
pub struct Col {
    pub name: &'static str,
    pub ty: &'static str,
    pub format: &'static str,
    pub priority: i32,
    pub cell: Cell,
}

/// Where a cell's value comes from.
#[derive(Clone, Copy)]
pub enum Cell {
    /// The value at a path, as it is; absent is the zero value of the column's type.
    Path(&'static str),
    /// Computed from the document.
    Of(fn(&Value) -> Value),
    /// Computed from the document and the clock.
    Timed(fn(&Value, &Env) -> Value),
}

impl Col {
    /// A text at a path, absent is `""`.
    pub const fn path(name: &'static str, path: &'static str) -> Self {
        Self { name, ty: "string", format: "", priority: 0, cell: Cell::Path(path) }
    }

    /// A text computed from the document.
    pub const fn of(name: &'static str, cell: fn(&Value) -> Value) -> Self {
        Self { name, ty: "string", format: "", priority: 0, cell: Cell::Of(cell) }
    }

    /// A text computed from the document and the clock.
    pub const fn timed(name: &'static str, cell: fn(&Value, &Env) -> Value) -> Self {
        Self { name, ty: "string", format: "", priority: 0, cell: Cell::Timed(cell) }
    }

    /// The same with another type.
    #[must_use]
    pub const fn ty(self, ty: &'static str) -> Self {
        Self { ty, ..self }
    }

    /// The same, shown with `-o wide` alone.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The same as a column of names.
    #[must_use]
    pub const fn named(self) -> Self {
        Self { format: "name", ..self }
    }
}

/// A selectable field: its label and its value in a document.
#[derive(Clone, Copy)]
pub struct Selectable {
    pub label: &'static str,
    pub lookup: fn(&Value) -> String,
}

impl Selectable {
    pub const fn new(label: &'static str, lookup: fn(&Value) -> String) -> Self {
        Self { label, lookup }
    }
}

impl Descriptor {
    /// The row of a built-in kind.
    pub fn of<K: Kind>() -> Self {
        let meta = K::META;
        let (storage_prefix, stored_version) = meta.storage();
        Self {
            group: meta.group.into(),
            version: meta.version.into(),
            kind: meta.kind.into(),
            list_kind: format!("{}List", meta.kind).into(),
            resource: meta.plural.into(),
            singular: meta.kind.to_lowercase().into(),
            short_names: meta.short.iter().map(|&name| name.into()).collect(),
            categories: meta.categories.iter().map(|&name| name.into()).collect(),
            scope: meta.scope,
            verbs: meta.verbs,
            subresources: meta.subresources.iter().map(subresource).collect(),
            ty: type_of(&meta),
            columns: K::COLUMNS.iter().map(|col| column(&meta, col)).collect(),
            fields: K::FIELDS.iter().map(|field| (field.label.into(), Arc::new(field.lookup) as _)).collect(),
            fields_id: 0,
            has_generation: meta.generation,
            has_status: meta.has("status"),
            storage_prefix: storage_prefix.into(),
            stored_version: stored_version.into(),
            graceful: meta.kind == "Pod",
            acts: if unacted::is_stored_only(meta.group, meta.kind) { Acts::StoredOnly } else { Acts::Yes },
            strategy: Arc::new(Rules::<K>(PhantomData)),
            custom: None,
        }
    }
}

fn type_of(meta: &Meta) -> schema::TypeId {
    let api_version = if meta.group.is_empty() { meta.version.to_owned() } else { format!("{}/{}", meta.group, meta.version) };
    Facts::builtin().kind(&api_version, meta.kind).expect("the facts table holds every built-in kind")
}

fn subresource(sub: &Sub) -> Subresource {
    let kind = sub.kind.map(|(group, version, kind)| (group.into(), version.into(), kind.into()));
    Subresource { name: sub.name.into(), kind, verbs: sub.verbs }
}

fn storage_prefix(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("/{plural}/") } else { format!("/{group}/{plural}/") }
}

fn column(meta: &Meta, col: &Col) -> Column {
    let Col { cell, ty, .. } = *col;
    let cell: Arc<dyn Fn(&Value, &Env) -> Value + Send + Sync> = match cell {
        Cell::Path(path) => Arc::new(move |doc, _| doc.at(path).filter(|value| !value.is_null()).cloned().unwrap_or_else(|| zero(ty))),
        Cell::Of(cell) => Arc::new(move |doc, _| cell(doc)),
        Cell::Timed(cell) => Arc::new(cell),
    };
    let description = cells::description(meta.kind, col);
    Column {
        name: col.name.into(),
        ty: ty.into(),
        format: col.format.into(),
        priority: col.priority,
        description: description.into(),
        cell,
    }
}

/// What Go shows for a field that is absent.
fn zero(ty: &str) -> Value {
    match ty {
        "integer" | "number" => json!(0),
        "boolean" => json!(false),
        "date" => Value::Null,
        _ => json!(""),
    }
}

/// [`Kind`]'s functions as the [`Strategy`] that the core calls.
struct Rules<K>(PhantomData<K>);

impl<K: Kind> Strategy for Rules<K> {
    fn fill_defaults(&self, doc: &mut Value) {
        K::fill_defaults(doc);
    }

    fn prepare_create(&self, doc: &mut Value, cx: &WriteContext<'_>) {
        if K::META.has("status") && !K::META.empty_status.is_empty() {
            let empty = serde_json::from_str(K::META.empty_status).expect("a constant of the kind's file");
            doc.set_at("status", Value::clone(&empty));
        }
        K::prepare_create(doc, cx);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        match cx.subresource {
            "" if K::META.has("status") => copy_member(new, old, "status"),
            "status" => keep_all_but_status(new, old),
            _ => {}
        }
        K::prepare_update(new, old, cx);
    }

    fn validate_create(&self, doc: &Value, errors: &mut FieldErrors) {
        K::validate(doc, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() {
            K::validate(new, Some(old), errors);
            K::validate_update(new, old, errors);
        } else {
            K::validate_subresource(new, old, cx, errors);
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        (K::META.name)(name)
    }

    fn nothing(&self) -> &'static [Question] {
        K::NOTHING
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut texts = unacted::warnings(K::META.group, K::META.kind, new);
        texts.extend(K::warnings(new, old));
        texts
    }

    fn to_stored(&self, doc: Value) -> Value {
        K::to_stored(doc)
    }

    fn from_stored(&self, doc: Value) -> Value {
        K::from_stored(doc)
    }

    fn prepare_delete(&self, doc: &mut Value, now: jiff::Timestamp) {
        K::prepare_delete(doc, now);
    }

    fn bumps_generation(&self, new: &Value, old: &Value) -> bool {
        K::bumps_generation(new, old)
    }
}

/// The part of a document whose changes are counted: all but bookkeeping.
fn counted(doc: &Value) -> Value {
    let members = doc.as_object().into_iter().flatten().filter(|(name, _)| !is_status_writes(name));
    Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Makes `new`'s member what `old`'s is, absent included.
pub(crate) fn copy_member(new: &mut Value, old: &Value, path: &str) {
    match old.at(path) {
        Some(value) => new.set_at(path, value.clone()),
        None => drop(new.remove_at(path)),
    }
}

/// A write to `status` may change the status and metadata's bookkeeping, nothing else.
fn keep_all_but_status(new: &mut Value, old: &Value) {
    let (Some(members), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    members.retain(|name, _| is_status_writes(name) || old.contains_key(name));
    for (name, value) in old.iter().filter(|(name, _)| !is_status_writes(name)) {
        members.insert(name.clone(), value.clone());
    }
}

fn is_status_writes(member: &str) -> bool {
    matches!(member, "status" | "metadata" | "apiVersion" | "kind")
}

/// `field is immutable` where a member differs between two documents.
pub(crate) fn immutable(new: &Value, old: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    let (new, old) = (new.at(member).unwrap_or(&Value::Null), old.at(member).unwrap_or(&Value::Null));
    if !same(new, old) {
        errors.invalid(&path.child(member), new.clone(), "field is immutable");
    }
}

/// Go's semantic equality: absent, null and empty are the same.
pub(crate) fn same(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            let absent = |map: &schema::Map<String, Value>, key: &String| !map.contains_key(key);
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&Value::Null)))
                && b.iter().filter(|(key, _)| absent(a, key)).all(|(_, value)| is_empty(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Null, other) | (other, Value::Null) => is_empty(other),
        (a, b) => a == b,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn absent_null_and_empty_are_the_same() {
        let bare = json!({"a": 1});
        for equal in [json!({"a": 1, "b": null}), json!({"a": 1, "b": {"c": []}}), json!({"b": "", "a": 1})] {
            assert!(same(&bare, &equal) && same(&equal, &bare), "{equal}");
        }
        for other in [json!({"a": 2}), json!({"a": 1, "b": 0}), json!({"a": 1, "b": {"c": [1]}}), json!({"a": null})] {
            assert!(!same(&bare, &other) && !same(&other, &bare), "{other}");
        }
    }
}
