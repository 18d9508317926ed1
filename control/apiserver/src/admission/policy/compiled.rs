//! A policy and a binding, compiled: once for each version of the object.

use std::sync::Arc;

use kinds::expressions::Compiler;
use schema::{DocExt, LabelSelector, Value};

use super::matching::Matching;
use super::params::Kept;
use super::scope::Definitions;
use crate::admission::expressions::MatchConditions;

/// What a sort of policies has of its own.
pub(super) trait Evaluator: Send + Sync + Sized + 'static {
    /// Where policies and bindings are stored.
    const POLICIES: &str;
    const BINDINGS: &str;

    /// Compiles the expressions of `spec`; `compiler` knows the policy's variables.
    fn compile(spec: &Value, compiler: &Compiler) -> Self;

    /// Whether any expression names the variable.
    fn uses(&self, variable: &str) -> bool;
}

pub(super) struct Policy<E> {
    pub name: String,
    /// The resourceVersion that it was compiled of.
    pub version: String,
    pub matching: Matching,
    /// `failurePolicy: Ignore`.
    pub fails_open: bool,
    pub param_kind: Option<ParamKind>,
    pub conditions: Option<MatchConditions>,
    pub variables: Definitions,
    pub evaluator: E,
    /// Some expression reads `namespaceObject`.
    pub uses_namespace: bool,
}

pub(super) struct ParamKind {
    pub api_version: String,
    pub kind: String,
}

impl<E: Evaluator> Policy<E> {
    pub(super) fn new(doc: &Value) -> Self {
        let spec = doc.at("spec").unwrap_or(&Value::Null);
        let param_kind = spec
            .at("paramKind")
            .filter(|kind| kind.is_object())
            .map(|kind| ParamKind { api_version: kind.str_at("apiVersion").to_owned(), kind: kind.str_at("kind").to_owned() });
        let mut compiler = Compiler::new(param_kind.is_some());
        let conditions = MatchConditions::new(spec.items_at("matchConditions"), param_kind.is_some());
        let variables = Definitions::new(spec, &mut compiler);
        let evaluator = E::compile(spec, &compiler);
        Self {
            name: doc.str_at("metadata.name").to_owned(),
            version: doc.str_at("metadata.resourceVersion").to_owned(),
            matching: Matching::new(spec.at("matchConstraints").unwrap_or(&Value::Null)),
            fails_open: spec.str_at("failurePolicy") == "Ignore",
            uses_namespace: variables.uses("namespaceObject") || evaluator.uses("namespaceObject"),
            param_kind,
            conditions,
            variables,
            evaluator,
        }
    }
}

pub(super) struct Binding {
    pub name: String,
    pub policy: String,
    pub version: String,
    /// None: wherever the policy matches.
    pub matching: Option<Matching>,
    pub param_ref: Option<ParamRef>,
    /// `validationActions`, in their order.
    pub actions: Vec<String>,
    /// The parameter that was used last.
    pub kept: Kept,
}

pub(super) struct ParamRef {
    pub namespace: String,
    pub wanted: Wanted,
    /// `parameterNotFoundAction: Deny`.
    pub must_exist: bool,
}

pub(super) enum Wanted {
    Name(String),
    Selected(Result<LabelSelector, String>),
}

impl Binding {
    pub(super) fn new(doc: &Value) -> Self {
        let spec = doc.at("spec").unwrap_or(&Value::Null);
        Self {
            name: doc.str_at("metadata.name").to_owned(),
            policy: spec.str_at("policyName").to_owned(),
            version: doc.str_at("metadata.resourceVersion").to_owned(),
            matching: spec.at("matchResources").filter(|resources| resources.is_object()).map(Matching::new),
            param_ref: spec.at("paramRef").filter(|reference| reference.is_object()).map(ParamRef::new),
            actions: spec.items_at("validationActions").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            kept: Kept::default(),
        }
    }
}

impl ParamRef {
    fn new(reference: &Value) -> Self {
        let wanted = match reference.str_at("name") {
            "" => {
                let selector = reference.at("selector").unwrap_or(&Value::Null);
                Wanted::Selected(LabelSelector::from_value(selector).map_err(|error| error.to_string()))
            }
            name => Wanted::Name(name.to_owned()),
        };
        Self {
            namespace: reference.str_at("namespace").to_owned(),
            wanted,
            must_exist: reference.str_at("parameterNotFoundAction") == "Deny",
        }
    }
}

/// A policy with its bindings, in the order of their names.
pub(super) struct Hook<E> {
    pub policy: Arc<Policy<E>>,
    pub bindings: Vec<Arc<Binding>>,
}
