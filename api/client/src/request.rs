//! What is asked of the API and what comes back, without HTTP.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use schema::decode::FieldValidation;
use schema::{Status, Value};

pub use bytes::Bytes;

use crate::Object;

/// RBAC's words for what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// Which resource, which object, which subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// `""` is the core group.
    pub group: String,
    pub version: String,
    /// Plural.
    pub resource: String,
    /// `""`: cluster-scoped, or all namespaces for list and watch.
    pub namespace: String,
    /// `""` for collections.
    pub name: String,
    /// `""`: the object itself.
    pub subresource: String,
}

impl Target {
    /// A collection: `Target::of("apps/v1", "deployments", "default")`.
    pub fn of(api_version: &str, resource: &str, namespace: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.into(), version: version.into(), resource: resource.into(), namespace: namespace.into(), ..Self::default() }
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a subresource, not a subtraction; the word is Kubernetes'")]
    pub fn sub(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    /// The URL path: `/apis/apps/v1/namespaces/default/deployments/web/scale`.
    pub fn path(&self) -> String {
        let mut path =
            if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}/{}", self.group, self.version) };
        if !self.namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&self.namespace);
        }
        for step in [&self.resource, &self.name, &self.subresource] {
            if !step.is_empty() {
                path.push('/');
                path.push_str(step);
            }
        }
        path
    }
}

/// Query parameters of every verb; each verb reads its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub label_selector: String,
    pub field_selector: String,
    /// None: the newest. `Some("0")`: any cached.
    pub resource_version: Option<String>,
    /// `Exact`, `NotOlderThan`.
    pub resource_version_match: String,
    pub limit: u64,
    pub continue_token: String,
    /// Watch only.
    pub timeout_seconds: Option<u64>,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    /// Writes only. `dryRun=All`.
    pub dry_run: bool,
    pub field_manager: String,
    pub force: bool,
    pub field_validation: FieldValidation,
    /// Delete options; a delete body overrides the query.
    pub delete: Delete,
    /// What `pods/log`, `pods/exec` … take: the raw query, in order.
    pub raw: Vec<(String, String)>,
}

/// `DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delete {
    pub grace_period_seconds: Option<i64>,
    /// `Orphan`, `Background`, `Foreground`.
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// The type of a patch body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    Json,
    Merge,
    Strategic,
    Apply,
}

#[derive(Clone, Debug, Default)]
pub enum Body {
    #[default]
    None,
    /// A decoded document, from a caller in this process; it is still checked, pruned and defaulted.
    Value(Value),
    /// As received: `application/json`, `application/yaml` or `application/vnd.kubernetes.protobuf`.
    Encoded { content_type: String, bytes: Bytes },
    /// A patch document: JSON (YAML for apply).
    Patch { kind: Patch, bytes: Bytes },
}

#[derive(Clone, Debug)]
pub struct Request {
    pub verb: Verb,
    pub target: Target,
    pub options: Options,
    pub body: Body,
}

/// A page of a collection.
#[derive(Clone, Debug)]
pub struct List {
    pub items: Vec<Arc<Object>>,
    /// The store revision that the page shows.
    pub resource_version: String,
    pub continue_token: String,
    pub remaining: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    Added,
    Modified,
    Deleted,
    /// Only `metadata.resourceVersion` is set; `initial_events_end` marks the end of the initial state.
    Bookmark,
}

#[derive(Clone, Debug)]
pub struct WatchEvent {
    pub kind: WatchKind,
    /// For a bookmark: an object with nothing but its resourceVersion (and the initial-events-end annotation).
    pub object: Arc<Object>,
}

/// Ends with `Err(Status)`: 410 when the watcher fell behind or the revision is gone.
pub type Watch = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

pub enum Response {
    /// The object read or written. `created` makes it 201.
    Object {
        object: Arc<Object>,
        created: bool,
    },
    /// A document that is not stored (Scale, TokenRequest, reviews, Status of a delete).
    Value {
        value: Value,
        code: u16,
    },
    List(List),
    Watch(Watch),
}

/// What an answer carries beside itself: texts of Warning headers.
pub struct Answer {
    pub response: Response,
    pub warnings: Vec<String>,
}
