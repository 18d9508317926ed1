//! One webhook of a configuration, compiled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schema::{DocExt, LabelSelector, Value};

use super::Webhooks;
use super::rules::Rule;
use crate::admission::expressions::MatchConditions;
use crate::webhook::Endpoint;

/// Which of the two sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Mutating,
    Validating,
}

impl Type {
    /// Where the configurations are stored.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Mutating => "/admissionregistration.k8s.io/mutatingwebhookconfigurations/",
            Self::Validating => "/admissionregistration.k8s.io/validatingwebhookconfigurations/",
        }
    }

    /// The word in metrics.
    pub(super) fn step(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// Ready to be matched and called. What is wrong with a part is kept as its error: it concerns the requests that come so far.
pub(super) struct Hook {
    /// `configuration/webhook/n`: names within a configuration need not differ.
    pub id: String,
    pub configuration: String,
    pub name: String,
    pub ty: Type,
    pub rules: Vec<Rule>,
    /// `matchPolicy: Equivalent`.
    pub equivalent: bool,
    pub namespaces: Result<LabelSelector, String>,
    pub objects: Result<LabelSelector, String>,
    pub conditions: Option<MatchConditions>,
    /// `failurePolicy: Ignore`.
    pub fails_open: bool,
    /// May be asked about a dry run.
    pub dry_runs: bool,
    pub timeout: Duration,
    /// The version of AdmissionReview that both sides know; None: there is none.
    pub version: Option<Version>,
    /// `reinvocationPolicy: IfNeeded`.
    pub reinvocable: bool,
    pub endpoint: Arc<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1beta1,
}

const TIMEOUT_SECONDS: i64 = 10;
const TIMEOUT_SECONDS_MAX: i64 = 30;

/// The webhooks of one configuration, in its order.
pub(super) fn compile(ty: Type, configuration: &Value, shared: &Webhooks) -> Vec<Hook> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let webhooks = configuration.items_at("webhooks").iter().map(|webhook| {
        let count = seen.entry(webhook.str_at("name")).or_default();
        *count += 1;
        Hook::new(ty, configuration.str_at("metadata.name"), *count - 1, webhook, shared)
    });
    webhooks.collect()
}

impl Hook {
    fn new(ty: Type, configuration: &str, count: usize, webhook: &Value, shared: &Webhooks) -> Self {
        let name = webhook.str_at("name");
        let seconds = webhook.i64_at("timeoutSeconds").unwrap_or(TIMEOUT_SECONDS).clamp(1, TIMEOUT_SECONDS_MAX);
        Self {
            id: format!("{configuration}/{name}/{count}"),
            configuration: configuration.to_owned(),
            name: name.to_owned(),
            ty,
            rules: webhook.items_at("rules").iter().map(Rule::new).collect(),
            equivalent: webhook.str_at("matchPolicy") != "Exact",
            namespaces: selector(webhook, "namespaceSelector"),
            objects: selector(webhook, "objectSelector"),
            conditions: MatchConditions::new(webhook.items_at("matchConditions"), false),
            fails_open: webhook.str_at("failurePolicy") == "Ignore",
            dry_runs: matches!(webhook.str_at("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(seconds.unsigned_abs()),
            version: webhook.items_at("admissionReviewVersions").iter().find_map(version),
            reinvocable: webhook.str_at("reinvocationPolicy") == "IfNeeded",
            endpoint: shared.endpoints().of(webhook.at("clientConfig").unwrap_or(&Value::Null)),
        }
    }
}

fn selector(webhook: &Value, member: &str) -> Result<LabelSelector, String> {
    let selector = webhook.get(member).unwrap_or(&Value::Null);
    LabelSelector::from_value(selector).map_err(|error| error.to_string())
}

/// The first that is known is used.
fn version(text: &Value) -> Option<Version> {
    match text.as_str()? {
        "v1" => Some(Version::V1),
        "v1beta1" => Some(Version::V1beta1),
        _ => None,
    }
}
