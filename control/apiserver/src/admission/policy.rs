//! Admission policies: CEL expressions in the cluster's own objects that change or refuse requests.
//!
//! ```text
//! policies and bindings in the watch cache ─► hooks, by resource ─► whose constraints match? ─► whose bindings? ─► their parameters
//!    mutating:   conditions ─► mutations, one after the other, each on what the one before it made ─► defaults
//!    validating: conditions ─► validations, messages, audit annotations ─► Deny │ Warn │ Audit
//! ```
//! A policy is in force when the writes of it and its binding are answered: hooks come from the cache that writers wait for. Each
//! version of a policy is compiled once; a request looks at the policies of its resource alone. What cannot be evaluated is decided
//! by the failurePolicy. Every evaluation has a budget; past it the request is refused or the policy passed over, never both served
//! and unjudged in silence.
//!
//! | file | what |
//! |---|---|
//! | `source.rs` | the hooks that are in force, found by resource |
//! | `compiled.rs` | a policy and a binding, compiled |
//! | `matching.rs` | whether a request is for them, and as which resource |
//! | `params.rs` | the parameters of a binding |
//! | `case.rs` | a request as a policy sees it |
//! | `scope.rs` | running expressions: variables and budgets |
//! | `validating.rs`, `mutating.rs` | the two sorts |
//! | `patch.rs` | what a mutation makes of an object |
//! | `reinvocation.rs` | which mutations are made again |
//! | `access.rs` | who writes a policy or a binding must be able to read its parameters |
//! | `metrics.rs` | upstream's counters |

mod access;
mod case;
mod compiled;
mod matching;
mod metrics;
mod mutating;
mod params;
mod patch;
mod reinvocation;
mod scope;
mod source;
mod validating;

use prometheus_client::registry::Registry;
use schema::status::Details;
use schema::{DocExt, Status, Value};

pub use self::access::ParamAccess;
use self::metrics::Metrics;
pub use self::mutating::MutatingPolicies;
pub use self::reinvocation::Reinvocation;
pub use self::validating::ValidatingPolicies;
use super::Admission;

/// What both sorts share: counters.
#[derive(Default)]
pub struct Policies {
    metrics: Metrics,
}

impl Policies {
    /// Prints the counters in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }
}

/// Objects of policies themselves, because nobody could mend them, and questions that the cluster needs answered.
const EXEMPT: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

fn is_exempt(request: &Admission<'_>) -> bool {
    EXEMPT.iter().any(|(group, resource)| request.is(group, resource))
}

/// 403 about the request's object, which may have no name yet.
fn forbidden(request: &Admission<'_>, doc: Option<&Value>, why: &str) -> Status {
    let own = if request.generated { "" } else { request.name };
    let of_doc = |path: &str| doc.map_or("", |doc| doc.str_at(path));
    let names = [own, of_doc("metadata.name"), of_doc("metadata.generateName")];
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
    Status::forbidden(&request.kind.group, &request.kind.resource, name, why)
}

fn add_cause(status: &mut Status, message: &str) {
    let cause = schema::status::Cause { message: message.to_owned(), ..Default::default() };
    status.details.get_or_insert_with(Details::default).causes.push(cause);
}

/// Several errors as one text; equal ones once.
fn aggregate(errors: &[String]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for error in errors {
        if !told.contains(&error.as_str()) {
            told.push(error);
        }
    }
    if let [one] = told.as_slice() { (*one).to_owned() } else { format!("[{}]", told.join(", ")) }
}
