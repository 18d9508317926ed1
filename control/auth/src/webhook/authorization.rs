//! Rights that a program outside decides about: SubjectAccessReview.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use env::Env;
use kinds::rbac::PolicyRule;
use schema::selector::Op;
use schema::{DocExt, FieldSelector, LabelSelector, Value, json};

use super::Remote;
use super::conditions::Conditions;
use super::memory::Memory;
use crate::authn::digest;
use crate::seam::{Attributes, Authorizer, Decision, Rules, UserInfo};

/// Questions with more than this are not remembered: a stranger chooses them.
const REMEMBERED_BYTES_MAX: usize = 10_000;

/// What the settings say of one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `v1` or `v1beta1`.
    pub version: String,
    pub timeout: Duration,
    /// Nothing: answers are not remembered.
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
    /// Whether a failure refuses, or leaves the decision to the next authorizer.
    pub denies_on_error: bool,
}

/// Asks one program.
pub struct AccessWebhook {
    remote: Remote,
    options: Options,
    conditions: Conditions,
    answers: Memory<Answer>,
    env: Env,
}

#[derive(Clone, Debug)]
struct Answer {
    allowed: bool,
    denied: bool,
    reason: String,
}

impl AccessWebhook {
    pub fn new(remote: Remote, options: Options, conditions: Conditions, env: &Env) -> Arc<Self> {
        Arc::new(Self { remote, options, conditions, answers: Memory::new(env), env: env.clone() })
    }

    fn failed(&self, error: String) -> Decision {
        Decision::Failed { denied: self.options.denies_on_error, reason: String::new(), error }
    }

    async fn answer(&self, spec: &Value, remembers: bool) -> Result<Answer, String> {
        let key = digest(&spec.to_string());
        if let Some(known) = self.answers.get(&key) {
            return Ok(known);
        }
        let review = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.options.version), "kind": "SubjectAccessReview",
            "metadata": {}, "spec": spec, "status": {"allowed": false},
        });
        let answered = self.remote.review(&self.env, &review, self.options.timeout).await;
        let status = answered.inspect_err(|why| tracing::warn!(%why, "the authorization webhook failed"))?;
        let (allowed, denied) = (status.bool_at("status.allowed"), status.bool_at("status.denied"));
        let answer = Answer { allowed, denied, reason: status.str_at("status.reason").to_owned() };
        let ttl = if allowed { self.options.authorized_ttl } else { self.options.unauthorized_ttl };
        if remembers {
            self.answers.put(key, answer.clone(), ttl);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Authorizer for AccessWebhook {
    async fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let spec = spec(asked);
        match self.conditions.hold(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion { reason: String::new() },
            Err(why) => return self.failed(why),
        }
        match self.answer(&spec, size(asked) < REMEMBERED_BYTES_MAX).await {
            Err(why) => self.failed(why),
            Ok(Answer { allowed: true, denied: true, reason }) => {
                let error = "webhook subject access review returned both allow and deny response".into();
                Decision::Failed { denied: true, reason, error }
            }
            Ok(Answer { denied: true, reason, .. }) => Decision::Deny { reason },
            Ok(Answer { allowed: true, reason, .. }) => Decision::Allow { reason },
            Ok(Answer { reason, .. }) => Decision::NoOpinion { reason },
        }
    }

    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        let evaluation_error = "webhook authorizer does not support user rule resolution".into();
        Rules { incomplete: true, evaluation_error, ..Rules::default() }
    }

    async fn missing(&self, _user: &UserInfo, _namespace: &str, rules: &[PolicyRule]) -> Vec<PolicyRule> {
        rules.to_vec()
    }

    async fn role_rules(&self, _kind: &str, _namespace: &str, _name: &str) -> Option<Vec<PolicyRule>> {
        None
    }
}

fn size(asked: &Attributes<'_>) -> usize {
    [asked.namespace, asked.verb, asked.group, asked.version, asked.resource, asked.subresource, asked.name, asked.path]
        .iter()
        .map(|text| text.len())
        .sum()
}

/// The spec of a review; what is empty is left out.
pub(super) fn spec(asked: &Attributes<'_>) -> Value {
    let user = asked.user;
    let mut spec = json!({"user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
    let members = spec.as_object_mut().expect("it was made as one");
    members.retain(|_, value| !is_empty(value));
    if asked.is_resource() {
        members.insert("resourceAttributes".into(), resource(asked));
    } else {
        members.insert("nonResourceAttributes".into(), json!({"path": asked.path, "verb": asked.verb}));
    }
    spec
}

fn resource(asked: &Attributes<'_>) -> Value {
    let mut attributes = json!({
        "namespace": asked.namespace, "verb": asked.verb, "group": asked.group, "version": asked.version,
        "resource": asked.resource, "subresource": asked.subresource, "name": asked.name,
    });
    attributes.as_object_mut().expect("it was made as one").retain(|_, value| !is_empty(value));
    for (name, requirements) in [("fieldSelector", fields(asked.field_selector)), ("labelSelector", labels(asked.label_selector))] {
        if !requirements.is_empty() {
            attributes[name] = json!({"requirements": requirements});
        }
    }
    attributes
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// A selector that cannot be read narrows nothing.
fn fields(text: &str) -> Vec<Value> {
    let selector = FieldSelector::parse(text).unwrap_or_default();
    let requirement = |equal: bool| if equal { "In" } else { "NotIn" };
    selector.terms.iter().map(|term| json!({"key": term.field, "operator": requirement(term.equal), "values": [term.value]})).collect()
}

fn labels(text: &str) -> Vec<Value> {
    let Ok(selector) = LabelSelector::parse(text) else { return Vec::new() };
    let requirements = selector.requirements().iter().filter_map(|one| {
        let operator = match one.op {
            Op::In | Op::Equals | Op::DoubleEquals => "In",
            Op::NotIn | Op::NotEquals => "NotIn",
            Op::Exists => "Exists",
            Op::DoesNotExist => "DoesNotExist",
            Op::GreaterThan | Op::LessThan => return None, // the webhook sees the broader question
        };
        let mut requirement = json!({"key": one.key, "operator": operator});
        if !one.values.is_empty() {
            requirement["values"] = json!(one.values);
        }
        Some(requirement)
    });
    requirements.collect()
}
