//! What a kind is, to the generic core.

use std::borrow::Cow;
use std::sync::Arc;

use env::Env;
use schema::{FieldErrors, TypeId, Value};

use crate::custom::Custom;
use crate::kind::Question;

/// A kind, built-in or custom; cheap to clone.
pub type KindRef = Arc<Descriptor>;
/// Borrowed for built-in kinds, owned for custom ones.
pub type Text = Cow<'static, str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// The verbs that a resource serves, as discovery prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbs {
    /// create delete deletecollection get list patch update watch
    All,
    /// `create` only: reviews, bindings.
    CreateOnly,
    /// Exactly these.
    These(&'static [&'static str]),
}

/// `pods/log`, `deployments/scale` …
#[derive(Clone, Debug)]
pub struct Subresource {
    pub name: Text,
    /// Kind of its body, where it is not the parent's: (group, version, kind).
    pub kind: Option<(Text, Text, Text)>,
    pub verbs: &'static [&'static str],
}

/// Who does something with objects of this kind in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// A controller, the node or the API server itself.
    Yes,
    /// Stored and served, but nothing acts on it yet: each write answers with a Warning that says so.
    StoredOnly,
}

/// One column of `kubectl get`. `cell` sees the object's decoded document.
#[derive(Clone)]
pub struct Column {
    pub name: Text,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub ty: Text,
    /// `name` for the first column; custom kinds may name others.
    pub format: Text,
    /// 0 always, 1 only with `-o wide`.
    pub priority: i32,
    pub description: Text,
    pub cell: Arc<dyn Fn(&Value, &Env) -> Value + Send + Sync>,
}

/// A selectable field's value in a document; absent is `""`, an absent boolean `"false"`.
pub type FieldLookup = Arc<dyn Fn(&Value) -> String + Send + Sync>;

/// What a strategy may know of a write beside the documents.
pub struct WriteContext<'a> {
    pub env: &'a Env,
    /// User name of the caller.
    pub user: &'a str,
    /// The subresource written, `""` for the object itself.
    pub subresource: &'a str,
}

/// A kind's own rules. The generic core calls them in this order:
/// `fill_defaults` → `prepare_*` → (mutating admission, defaults again) → `validate_*` → `warnings`.
/// Metadata is not their business: the core does names, uids, generations, finalizers and their validation.
pub trait Strategy: Send + Sync {
    /// Fills what the caller left out. Idempotent.
    fn fill_defaults(&self, _doc: &mut Value) {}
    /// Clears what a create may not set (status).
    fn prepare_create(&self, _doc: &mut Value, _cx: &WriteContext<'_>) {}
    /// Carries over what this update may not change: status on the main resource, all but status on `status`.
    /// The default does exactly that for kinds with a status subresource.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _cx: &WriteContext<'_>) {}
    /// All errors of a new object.
    fn validate_create(&self, _doc: &Value, _errors: &mut FieldErrors) {}
    /// All errors of a change (the object itself or its status, see `cx.subresource`).
    fn validate_update(&self, _new: &Value, _old: &Value, _cx: &WriteContext<'_>, _errors: &mut FieldErrors) {}
    /// What is wrong with a name of this kind, in upstream's words; empty where nothing is.
    fn validate_name(&self, name: &str) -> Vec<String> {
        schema::names::is_dns1123_subdomain(name)
    }
    /// The questions that a built-in kind answers with nothing to do.
    fn nothing(&self) -> &'static [Question] {
        &[]
    }
    /// Texts for Warning headers (deprecated fields, fields that nothing acts on yet).
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// Between the served version and the stored one, for kinds with several served versions (HPA, Event).
    fn to_stored(&self, doc: Value) -> Value {
        doc
    }
    #[expect(clippy::wrong_self_convention, reason = "it reads as the way back of to_stored; the strategy is no part of the conversion")]
    fn from_stored(&self, doc: Value) -> Value {
        doc
    }
    /// What a delete leaves to be done before the object may go: puts its finalizer on the document and says so in its status.
    fn prepare_delete(&self, _doc: &mut Value, _now: jiff::Timestamp) {}
    /// Whether `metadata.generation` counts this change; default: any difference outside `metadata` and `status`.
    fn bumps_generation(&self, new: &Value, old: &Value) -> bool {
        let spec = |doc: &Value| -> Vec<(String, Value)> {
            let members = doc.as_object().into_iter().flatten();
            members
                .filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind"))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect()
        };
        spec(new) != spec(old)
    }
}

/// One resource at one served version.
pub struct Descriptor {
    /// `""` is the core group.
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub list_kind: Text,
    /// Plural, lower case: the path segment.
    pub resource: Text,
    pub singular: Text,
    pub short_names: Vec<Text>,
    pub categories: Vec<Text>,
    pub scope: Scope,
    pub verbs: Verbs,
    pub subresources: Vec<Subresource>,
    /// Its type in the facts table; of a custom kind, what of it has a built-in type: the head.
    pub ty: TypeId,
    pub columns: Vec<Column>,
    /// Selectable fields beside metadata.name and metadata.namespace.
    pub fields: Vec<(Text, FieldLookup)>,
    /// Equal where `fields` are: 0 for built-in kinds, whose fields never change.
    pub fields_id: u64,
    /// Upstream counts `metadata.generation` for it.
    pub has_generation: bool,
    /// Has `status` in its subresources.
    pub has_status: bool,
    /// Key prefix in the store, shared by all versions: `/pods/`, `/apps/deployments/`. Empty for what is never stored.
    pub storage_prefix: Text,
    /// The version that is stored; others convert. With its group (`core/v1`) where another group's is stored.
    pub stored_version: Text,
    /// Default grace period of a delete in seconds; only pods have one (None: immediate).
    pub graceful: bool,
    pub acts: Acts,
    pub strategy: Arc<dyn Strategy>,
    /// Of kinds that users bring: their schema and what their definition says.
    pub custom: Option<Arc<Custom>>,
}

impl Descriptor {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// The Warning that every request for this version answers with, if it is deprecated.
    pub fn deprecation(&self) -> Option<&str> {
        if let Some(custom) = &self.custom {
            return custom.deprecation.as_deref();
        }
        match (&*self.group, &*self.version, &*self.kind) {
            ("", "v1", "Endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
            ("", "v1", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
            _ => None,
        }
    }

    /// `deployments.apps`, `pods`.
    pub fn qualified(&self) -> String {
        schema::status::qualified(&self.group, &self.resource)
    }
}
