//! Server-side apply: who owns which fields of a document, and what a configuration makes of it.
//!
//! A pure function of documents: no store, no clock but a text, no HTTP. The caller brings the shapes and conversions of a
//! kind ([`Kind`]) and stores what comes out.
//!
//! ```text
//! update: live + new    → what changed is the writer's, and nobody else's any more
//! apply:  live + config → merged; conflicts with other owners unless forced; what the applier no longer names, and
//!                         nobody else owns, is gone
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`path`], [`set`] | fields, as `fieldsV1` writes them |
//! | [`shape`] | which lists and maps merge: built-in kinds by the facts table, custom ones by their schema |
//! | `typed`, `compare`, `merge` | a document's fields, what changed, one laid over the other |
//! | [`managed`] | `metadata.managedFields` |
//! | [`conflict`] | upstream's sentence for fields of others |
//! | `ownership` | the rules of the drawing above |
//! | `overlay` | a configuration laid over a document, without owners |
//! | `quick`, `created` | the same for small updates, without reading what they do not touch, and for new objects in one walk |
//! | `last_applied`, [`upgrade`] | taking over from client-side apply, on the server and by a client |
//! | [`wire`] | whether entries can be read, in upstream's words |
//! | [`view`] | a built-in document as Go prints it, the form that ownership is told by |
//! | [`scale`] | ownership through the `scale` subresource |
//!
//! Left out: sets written under an older schema, in which a list was atomic that merges now (upstream mends them).

mod compare;
mod created;
mod last_applied;
mod merge;
mod overlay;
mod ownership;
mod quick;
mod typed;

pub mod conflict;
pub mod managed;
pub mod path;
pub mod scale;
pub mod set;
pub mod shape;
pub mod upgrade;
pub mod view;
pub mod wire;

pub use conflict::Conflicts;
pub use managed::{Managed, Operation, Owner};
pub use overlay::overlay;
pub use set::FieldSet;
pub use shape::{Custom, Place};

use std::borrow::Cow;

use crate::{DocExt, TypeId, Value};

/// Who owns what was there before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What apply needs to know of a kind.
pub trait Kind {
    /// The shape of the kind at a version; None where it is not served any more.
    fn shape(&self, api_version: &str) -> Option<Place<'_>>;
    /// A document in another version; None where that is not served any more.
    fn convert(&self, doc: &Value, api_version: &str) -> Option<Value>;
    /// An object of which nothing is said yet.
    fn empty(&self, api_version: &str) -> Value;
    /// Whether documents leave out what Go's types would print ([`view`]).
    fn prints_structs(&self) -> bool {
        false
    }
}

/// One write.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub kind: &'a dyn Kind,
    /// The version of the request.
    pub api_version: &'a str,
    /// The kind's name.
    pub name: &'a str,
    pub manager: &'a str,
    /// `""` for the object itself.
    pub subresource: &'a str,
    /// Fields that this endpoint does not write (`status`), with all below of them.
    pub ignored: &'a FieldSet,
    /// RFC 3339.
    pub now: &'a str,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ApplyError {
    #[error("{0}")]
    Conflict(Conflicts),
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// A document does not fit its schema: 500, in upstream's words.
    #[error("{0}")]
    Shape(String),
}

impl Write<'_> {
    /// `new` with its managedFields, as it replaces `live`.
    pub fn update(&self, live: &Value, mut new: Value) -> Result<Value, ApplyError> {
        self.tell(live, &mut new)?;
        Ok(new)
    }

    /// Tells in `new` who owns what, as it replaces `live`. A new object has an empty one of its kind for `live`.
    /// managedFields in `new` replace those of `live` if they can be read; `[]` and `[{}]` reset them. After an error `new` has none.
    pub fn tell(&self, live: &Value, new: &mut Value) -> Result<(), ApplyError> {
        let given = new.remove_at("metadata.managedFields");
        let is_created = live.str_at("metadata.uid").is_empty();
        let entries = self.given(live, given);
        let is_tracked = is_created || !entries.is_empty();
        let entries = if is_tracked { self.entries_after(live, new, &entries, is_created)? } else { Vec::new() };
        if !entries.is_empty() {
            new.set_at("metadata.managedFields", entries);
        }
        Ok(())
    }

    fn entries_after(&self, live: &Value, new: &Value, entries: &[Value], is_created: bool) -> Result<Vec<Value>, ApplyError> {
        if let Some(after) = self.updated_entries(live, new, entries) {
            return Ok(after);
        }
        let managed = Managed::of_entries(entries).unwrap_or_default();
        if managed.owners.is_empty() && !is_created {
            return Ok(Vec::new());
        }
        Ok(self.updated(self.manager, live, new, managed)?.encode())
    }

    /// What applying `config` makes of `live` (an empty object of the kind where there is none yet).
    pub fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
        self.check_version(config)?;
        if config.at("metadata.managedFields").is_some_and(|entries| !entries.is_null()) {
            return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
        }
        match self.kind.shape(self.api_version) {
            Some(Place::Object(ty)) if self.kind.prints_structs() => self.apply_printed(ty, live, config, force),
            _ => self.apply_as_is(live, config, force),
        }
    }

    /// Who owns what is told by the printed form of what is live, laid under a configuration that is as it was sent: an empty
    /// map there is a field. The document itself is made of what is stored.
    fn apply_printed(&self, ty: TypeId, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
        let printed = Printed { kind: self.kind, api_version: self.api_version, ty };
        let mut told = Write { kind: &printed, ..*self }.apply_as_is(&view::as_printed(ty, live), config, force)?;
        let mut object = match self.laid_over(live, config)? {
            Some(object) => object,
            None => self.apply_as_is(live, config, true)?,
        };
        object.remove_at("metadata.managedFields");
        if let Some(entries) = told.remove_at("metadata.managedFields") {
            object.set_at("metadata.managedFields", entries);
        }
        Ok(object)
    }

    /// The document alone, where the applier names all that it named before, so that nothing goes; None where it names less.
    fn laid_over(&self, live: &Value, config: &Value) -> Result<Option<Value>, ApplyError> {
        let place = self.place()?;
        let is_ours = |entry: &&Value| {
            entry.str_at("operation") == Operation::Apply.as_str()
                && entry.str_at("manager") == self.manager
                && entry.str_at("subresource") == self.subresource
        };
        if let Some(last) = live.items_at("metadata.managedFields").iter().find(is_ours) {
            let named = FieldSet::parse(&last["fieldsV1"]).map_err(ApplyError::Shape)?;
            let names = typed::fields(place, config).without_trees(self.ignored);
            if last.str_at("apiVersion") != self.api_version || !named.difference(&names).is_empty() {
                return Ok(None);
            }
        }
        let mut object = merge::merge(place, live, config);
        last_applied::keep_up(self.manager, &mut object, config)?;
        Ok(Some(object))
    }

    fn apply_as_is(&self, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
        let mut managed = Managed::decode(live).map_err(|why| ApplyError::Shape(format!("failed to decode managed fields: {why}")))?;
        let mut bare = live.clone();
        bare.remove_at("metadata.managedFields");
        if managed.owners.is_empty() {
            managed = self
                .updated(BEFORE_FIRST_APPLY, &self.kind.empty(self.api_version), &bare, managed)
                .map_err(|error| ApplyError::Shape(format!("failed to create manager for existing fields: {error}")))?;
        }
        let (mut object, managed) = self.applied_or_taken_over(&bare, config, managed, force)?;
        last_applied::keep_up(self.manager, &mut object, config)?;
        managed.encode_into(&mut object);
        Ok(object)
    }

    fn check_version(&self, config: &Value) -> Result<(), ApplyError> {
        if config.str_at("apiVersion") == self.api_version && config.str_at("kind") == self.name {
            return Ok(());
        }
        Err(ApplyError::BadRequest(format!("invalid object type: {}", go_kind(config.str_at("apiVersion"), config.str_at("kind")))))
    }

    /// The entries that an update starts from; none where neither side has any that can be read.
    fn given<'l>(&self, live: &'l Value, given: Option<Value>) -> Cow<'l, [Value]> {
        let of_live = live.items_at("metadata.managedFields");
        let Some(Value::Array(entries)) = given.filter(|_| self.subresource.is_empty()) else { return Cow::Borrowed(of_live) };
        if entries == of_live {
            return Cow::Borrowed(of_live);
        }
        if entries.is_empty() || is_one_empty(&entries) {
            return Cow::Owned(Vec::new());
        }
        match Managed::of_entries(&entries) {
            Ok(managed) if !managed.owners.is_empty() => Cow::Owned(managed.encode()),
            _ => Cow::Borrowed(of_live),
        }
    }
}

/// A kind whose documents have been printed by Go's types already.
struct Printed<'k> {
    kind: &'k dyn Kind,
    api_version: &'k str,
    ty: TypeId,
}

impl Kind for Printed<'_> {
    fn shape(&self, api_version: &str) -> Option<Place<'_>> {
        self.kind.shape(api_version)
    }

    fn convert(&self, doc: &Value, api_version: &str) -> Option<Value> {
        if doc.str_at("apiVersion") == api_version {
            return Some(doc.clone());
        }
        match (self.kind.convert(doc, api_version)?, self.shape(api_version)?) {
            (doc, Place::Object(ty)) => Some(view::as_printed(ty, &doc)),
            (doc, _) => Some(doc),
        }
    }

    fn empty(&self, api_version: &str) -> Value {
        let empty = self.kind.empty(api_version);
        if api_version == self.api_version { view::as_go(self.ty, &empty) } else { empty }
    }
}

fn is_one_empty(entries: &[Value]) -> bool {
    matches!(entries, [Value::Object(only)] if only.values().all(Value::is_null))
}

/// `apps/v1, Kind=Deployment`, as Go prints a kind: the core group leaves its slash.
fn go_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, json};

    struct Deployments(TypeId);

    impl Kind for Deployments {
        fn shape(&self, api_version: &str) -> Option<Place<'_>> {
            (api_version == "apps/v1").then_some(Place::Object(self.0))
        }

        fn convert(&self, doc: &Value, api_version: &str) -> Option<Value> {
            (api_version == "apps/v1").then(|| doc.clone())
        }

        fn empty(&self, api_version: &str) -> Value {
            json!({"apiVersion": api_version, "kind": "Deployment"})
        }
    }

    /// One object, written by several.
    struct World {
        kind: Deployments,
        live: Value,
    }

    impl World {
        fn new() -> Self {
            let kind = Deployments(Facts::builtin().kind("apps/v1", "Deployment").expect("a kind"));
            let live = kind.empty("apps/v1");
            Self { kind, live }
        }

        fn write<T>(&self, manager: &str, run: impl FnOnce(&Write<'_>) -> T) -> T {
            let ignored = FieldSet::of_fields(&[&["status"]]);
            let now = "2020-01-01T00:00:00Z";
            run(&Write { kind: &self.kind, api_version: "apps/v1", name: "Deployment", manager, subresource: "", ignored: &ignored, now })
        }

        fn keep(&mut self, mut doc: Value) {
            doc.set_at("metadata.uid", "u");
            self.live = doc;
        }

        fn apply(&mut self, manager: &str, spec: Value, force: bool) -> Result<(), ApplyError> {
            let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
            let applied = self.write(manager, |write| write.apply(&self.live, &config, force))?;
            self.keep(applied);
            Ok(())
        }

        fn update(&mut self, manager: &str, path: &str, value: Value) {
            let mut new = self.live.clone();
            new.set_at(path, value);
            let updated = self.write(manager, |write| write.update(&self.live, new)).expect("an update fits");
            self.keep(updated);
        }

        /// `a by Apply: {…}`
        fn owners(&self) -> Vec<String> {
            let entries = self.live.items_at("metadata.managedFields").iter();
            entries.map(|entry| format!("{} by {}: {}", entry.str_at("manager"), entry.str_at("operation"), entry["fieldsV1"])).collect()
        }
    }

    #[test]
    fn who_writes_a_field_owns_it_until_somebody_changes_it() {
        let mut world = World::new();
        world.apply("a", json!({"replicas": 1, "paused": true}), false).expect("the first");
        world.apply("b", json!({"replicas": 1}), false).expect("the same value is no conflict");
        world.update("hand", "spec.replicas", json!(5));
        let want = [r#"a by Apply: {"f:spec":{"f:paused":{}}}"#, r#"hand by Update: {"f:spec":{"f:replicas":{}}}"#];
        assert_eq!(world.owners(), want);
        let error = world.apply("a", json!({"replicas": 1}), false).expect_err("a conflict");
        assert_eq!(error.to_string(), r#"Apply failed with 1 conflict: conflict with "hand" using apps/v1: .spec.replicas"#);
        let ApplyError::Conflict(conflicts) = error else { panic!("a conflict") };
        assert_eq!(conflicts.to_status().details.expect("causes").causes[0].reason, "FieldManagerConflict");
        world.apply("a", json!({"replicas": 1}), true).expect("force takes it");
        assert_eq!(world.owners(), [r#"a by Apply: {"f:spec":{"f:replicas":{}}}"#]);
        assert_eq!(world.live["spec"], json!({"replicas": 1}), "what the applier no longer names is gone");
    }

    #[test]
    fn items_of_lists_merge_by_their_keys_and_go_with_who_named_them() {
        let mut world = World::new();
        let with = |containers: Value| json!({"template": {"spec": {"containers": containers}}});
        world.apply("a", with(json!([{"name": "app", "image": "x"}])), false).expect("the first");
        world.apply("b", with(json!([{"name": "side"}, {"name": "app", "command": ["run"]}])), false).expect("other fields");
        let containers = |world: &World| world.live.at("spec.template.spec.containers").cloned().unwrap_or_default();
        assert_eq!(containers(&world), json!([{"name": "side"}, {"command": ["run"], "image": "x", "name": "app"}]));
        world.apply("b", with(json!([{"name": "app", "command": ["run"]}])), false).expect("less");
        assert_eq!(containers(&world), json!([{"command": ["run"], "image": "x", "name": "app"}]));
        world.apply("a", json!({}), false).expect("nothing");
        assert_eq!(containers(&world), json!([{"command": ["run"], "name": "app"}]), "the item is b's as well, the image was a's alone");
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        let mut world = World::new();
        let error = world.apply("a", json!({"nope": 1}), false).expect_err("no such field");
        assert_eq!(
            error.to_string(),
            "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema"
        );
        let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"managedFields": []}});
        let refused = world.write("a", |write| write.apply(&world.live, &config, false));
        assert_eq!(refused, Err(ApplyError::BadRequest("metadata.managedFields must be nil".into())));
    }
}
