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
//! | `last_applied` | taking over from client-side apply |
//!
//! | [`view`] | a built-in document as Go prints it, the form that ownership is told by |
//! | [`scale`] | ownership through the `scale` subresource |
//!
//! Left out: sets written under an older schema, in which a list was atomic that merges now (upstream mends them).

mod compare;
mod last_applied;
mod merge;
mod ownership;
mod typed;

pub mod conflict;
pub mod managed;
pub mod path;
pub mod scale;
pub mod set;
pub mod shape;
pub mod view;

pub use conflict::Conflicts;
pub use managed::{Managed, Operation, Owner};
pub use set::FieldSet;
pub use shape::{Custom, Place};

use crate::{DocExt, Value};

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
}

/// One write.
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
    /// `new` with its managedFields, as it replaces `live`. A new object has an empty one of its kind for `live`.
    /// managedFields in `new` replace those of `live` if they can be read; `[]` and `[{}]` reset them.
    pub fn update(&self, live: &Value, mut new: Value) -> Result<Value, ApplyError> {
        let mut managed = self.given(live, &new);
        new.remove_at("metadata.managedFields");
        let is_created = live.str_at("metadata.uid").is_empty();
        if !managed.owners.is_empty() || is_created {
            managed = self.updated(self.manager, live, &new, managed)?;
        }
        managed.encode_into(&mut new);
        Ok(new)
    }

    /// What applying `config` makes of `live` (an empty object of the kind where there is none yet).
    pub fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
        self.check_version(config)?;
        if config.at("metadata.managedFields").is_some_and(|entries| !entries.is_null()) {
            return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
        }
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

    /// The entries that an update starts from.
    fn given(&self, live: &Value, new: &Value) -> Managed {
        let of_live = || Managed::decode(live).unwrap_or_default();
        let entries = new.at("metadata.managedFields").and_then(Value::as_array);
        match entries.filter(|_| self.subresource.is_empty()) {
            Some(entries) if entries.is_empty() || is_one_empty(entries) => Managed::default(),
            Some(_) => Managed::decode(new).ok().filter(|managed| !managed.owners.is_empty()).unwrap_or_else(of_live),
            None => of_live(),
        }
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
