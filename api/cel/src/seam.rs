//! The seams: what an expression reaches outside of its documents.

use std::fmt;
use std::sync::Arc;

use crate::fault::Fault;
use crate::value::Value;

/// Fields whose values are worked out when they are first asked for (`variables.x` of a policy).
pub trait LazyFields: fmt::Debug + Send + Sync {
    /// The name of the type that the environment declares for it.
    fn type_name(&self) -> &str;

    /// `None` where there is no such field. What working it out costs is the implementer's to count.
    fn field<'s>(&'s self, name: &str) -> Option<Result<Value<'s>, Fault>>;
}

/// Who may do what, as `authorizer` asks it.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// One question. An error of the authorizer is part of the answer.
    fn decide(&self, question: &Question) -> Decision;

    /// The same authorizer, asked about a service account; an error where the names are none.
    fn for_service_account(&self, namespace: &str, name: &str) -> Result<Arc<dyn Authorizer>, Fault>;
}

/// What is asked of an [`Authorizer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    Path { path: String, verb: String },
    Resource(Box<ResourceQuestion>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceQuestion {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub verb: String,
    pub field_selector: Option<String>,
    pub label_selector: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}
