//! ValidatingAdmissionPolicy: refuses, warns of, or tells the audit log of what does not satisfy its expressions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use env::Env;
use expressions::{Value as Cel, limits};
use kinds::expressions::{Compiler, Use};
use schema::{DocExt, Status, Value, json};

use super::case::{Case, World};
use super::compiled::{Binding, Evaluator, Hook, Policy};
use super::metrics::error_type;
use super::params::{self, Param};
use super::scope::{Expression, OUT_OF_BUDGET, OutOfBudget, Scope};
use super::source::Source;
use super::{Policies, add_cause, aggregate, forbidden, is_exempt};
use crate::admission::expressions::Verdict;
use crate::admission::webhook::rules::Place;
use crate::admission::webhook::subject::Subject;
use crate::admission::{Admission, Plugin};

/// Failures that one audit annotation tells of.
const FAILURES_MAX: usize = 50;
const FAILURES_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Bytes of the value of one audit annotation.
const ANNOTATION_BYTES_MAX: usize = 10 << 10;

/// ValidatingAdmissionPolicy.
pub struct ValidatingPolicies {
    shared: Arc<Policies>,
    source: Source<Validator>,
}

impl ValidatingPolicies {
    pub fn new(shared: &Arc<Policies>) -> Self {
        Self { shared: Arc::clone(shared), source: Source::default() }
    }
}

/// What a policy of this sort has of its own.
struct Validator {
    validations: Vec<Validation>,
    annotations: Vec<AuditAnnotation>,
}

struct Validation {
    rule: Expression,
    /// Empty: none.
    message: String,
    computed: Option<Expression>,
    /// Empty: `Invalid`.
    reason: String,
}

struct AuditAnnotation {
    key: String,
    value: Expression,
}

impl Evaluator for Validator {
    const POLICIES: &str = "/admissionregistration.k8s.io/validatingadmissionpolicies/";
    const BINDINGS: &str = "/admissionregistration.k8s.io/validatingadmissionpolicybindings/";

    fn compile(spec: &Value, compiler: &Compiler) -> Self {
        let validation = |given: &Value| Validation {
            rule: Expression::new(compiler, Use::Validation, given.str_at("expression")),
            message: given.str_at("message").trim().to_owned(),
            computed: Some(given.str_at("messageExpression"))
                .filter(|text| !text.is_empty())
                .map(|text| Expression::new(compiler, Use::Message, text)),
            reason: given.str_at("reason").to_owned(),
        };
        let annotation = |given: &Value| AuditAnnotation {
            key: given.str_at("key").to_owned(),
            value: Expression::new(compiler, Use::AuditAnnotation, given.str_at("valueExpression")),
        };
        Self {
            validations: spec.items_at("validations").iter().map(validation).collect(),
            annotations: spec.items_at("auditAnnotations").iter().map(annotation).collect(),
        }
    }

    fn uses(&self, variable: &str) -> bool {
        let computed = self.validations.iter().filter_map(|validation| validation.computed.as_ref());
        let rules = self.validations.iter().map(|validation| &validation.rule);
        rules.chain(computed).chain(self.annotations.iter().map(|annotation| &annotation.value)).any(|one| one.uses(variable))
    }
}

#[async_trait]
impl Plugin for ValidatingPolicies {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        if is_exempt(request) {
            return Ok(());
        }
        let hooks = self.source.hooks(request.core);
        let mut round = Round { metrics: &self.shared, new, old, world: None, cases: Vec::new(), failures: Vec::new(), denial: None };
        for hook in hooks.of(&request.kind.group, &request.kind.resource) {
            round.hook(request, hook).await?;
        }
        round.finish(request)
    }
}

/// What has come of the policies of one request so far.
struct Round<'r> {
    metrics: &'r Policies,
    new: Option<&'r Value>,
    old: Option<&'r Value>,
    world: Option<World>,
    /// The request at the places where it was matched.
    cases: Vec<(Key, Arc<Case>)>,
    /// For the audit log.
    failures: Vec<Value>,
    /// The first one counts.
    denial: Option<Denial>,
}

/// Group, version and resource, and the kind of the documents.
type Key = ([String; 3], [String; 3]);

struct Denial {
    message: String,
    /// Empty: `Invalid`.
    reason: String,
}

impl Round<'_> {
    async fn hook(&mut self, request: &mut Admission<'_>, hook: &Hook<Validator>) -> Result<(), Status> {
        let policy = &*hook.policy;
        let found = policy.matching.place(request, self.new, self.old);
        let place = match found {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(()),
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
        };
        let kind = match params::known(request.core, policy.param_kind.as_ref()) {
            Ok(kind) => kind,
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
        };
        let mut told = Told::default();
        for binding in &hook.bindings {
            let params = match self.params(request, binding, kind.as_ref()).await {
                Ok(params) => params,
                Err(why) => {
                    self.misconfigured(policy, Some(binding), &why);
                    continue;
                }
            };
            for param in params {
                let case = match self.case(request, &place).await {
                    Ok(case) => case,
                    Err(status) => {
                        self.misconfigured(policy, Some(binding), &format!("failed to convert object version: {}", status.message));
                        continue;
                    }
                };
                let judgement = self.judge(request, policy, &case, param.as_ref()).await?;
                self.enforce(request, policy, binding, judgement, &mut told);
            }
        }
        told.publish(request, &policy.name);
        Ok(())
    }

    /// None to go through where the binding is not for the request.
    async fn params(
        &self,
        request: &Admission<'_>,
        binding: &Binding,
        kind: Option<&kinds::KindRef>,
    ) -> Result<Vec<Option<Param>>, String> {
        if let Some(matching) = &binding.matching
            && matching.place(request, self.new, self.old)?.is_none()
        {
            return Ok(Vec::new());
        }
        params::collect(request, kind, binding).await
    }

    async fn judge(
        &mut self,
        request: &Admission<'_>,
        policy: &Policy<Validator>,
        case: &Case,
        param: Option<&Param>,
    ) -> Result<Judgement, Status> {
        let world = self.world.get_or_insert_with(|| World::new(request));
        if policy.uses_namespace {
            world.need_namespace(request)?;
        }
        let params = param.map(|param| &*param.value);
        if let Some(conditions) = &policy.conditions {
            match conditions.ask(&case.view(world, params, None)).await {
                Verdict::Match => {}
                Verdict::Failed(errors) if !policy.fails_open => return Ok(Judgement::failed(aggregate(&errors))),
                Verdict::NoMatch(_) | Verdict::Failed(_) => return Ok(Judgement::default()),
            }
        }
        let view = case.view(world, params, world.namespace());
        Ok(view.run(|names| policy.judge(request.core.env(), names)).await)
    }

    async fn case(&mut self, request: &Admission<'_>, place: &Place) -> Result<Arc<Case>, Status> {
        let key = ([place.group.clone(), place.version.clone(), place.resource.clone()], place.kind.clone());
        if let Some((_, case)) = self.cases.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(case));
        }
        let subject = Subject::of(request, place, self.new, self.old).await?;
        let case = Arc::new(Case::new(request, place, subject));
        self.cases.push((key, Arc::clone(&case)));
        Ok(case)
    }

    fn misconfigured(&mut self, policy: &Policy<Validator>, binding: Option<&Binding>, why: &str) {
        if !policy.fails_open {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.deny(policy, binding, &format!("failed to configure {what}: {why}"), String::new());
        }
    }

    fn deny(&mut self, policy: &Policy<Validator>, binding: Option<&Binding>, message: &str, reason: String) {
        if self.denial.is_none() {
            let binding = binding.map(|binding| format!(" with binding '{}'", binding.name)).unwrap_or_default();
            let message = format!("ValidatingAdmissionPolicy '{}'{binding} denied request: {message}", policy.name);
            self.denial = Some(Denial { message, reason });
        }
    }

    fn enforce(
        &mut self,
        request: &mut Admission<'_>,
        policy: &Policy<Validator>,
        binding: &Binding,
        judgement: Judgement,
        told: &mut Told,
    ) {
        let metrics = &self.metrics.metrics;
        for (index, decision) in judgement.decisions.into_iter().enumerate() {
            let Decision { sort, took } = decision;
            let (message, reason, error) = match sort {
                Sort::Admit => continue,
                Sort::Error(message) if policy.fails_open => {
                    metrics.checked(&policy.name, &binding.name, error_type(&message), "allow", took);
                    continue;
                }
                Sort::Error(message) => {
                    let error = error_type(&message);
                    (message, String::new(), error)
                }
                Sort::Deny { message, reason } => (message, reason, "invalid_error"),
            };
            for action in &binding.actions {
                let word = self.act(request, (policy, binding), action, (index, &message, &reason));
                self.metrics.metrics.checked(&policy.name, &binding.name, error, word, took);
            }
        }
        for (key, value) in judgement.annotations {
            match value {
                Ok(value) => told.add(key, value),
                Err(_) if policy.fails_open => {}
                Err(message) => {
                    self.metrics.metrics.checked(&policy.name, &binding.name, error_type(&message), "deny", Duration::ZERO);
                    self.deny(policy, Some(binding), &message, String::new());
                }
            }
        }
    }

    /// Returns the word of the action in metrics.
    fn act(
        &mut self,
        request: &mut Admission<'_>,
        (policy, binding): (&Policy<Validator>, &Binding),
        action: &str,
        (index, message, reason): (usize, &str, &str),
    ) -> &'static str {
        match action {
            "Warn" => {
                let about = format!("ValidatingAdmissionPolicy '{}' with binding '{}'", policy.name, binding.name);
                request.warnings.push(format!("Validation failed for {about}: {message}"));
                "warn"
            }
            "Audit" => {
                self.failures.push(json!({"message": message, "policy": binding.policy, "binding": binding.name,
                    "expressionIndex": index, "validationActions": binding.actions}));
                "audit"
            }
            _ => {
                self.deny(policy, Some(binding), message, reason.to_owned());
                "deny"
            }
        }
    }

    fn finish(mut self, request: &Admission<'_>) -> Result<(), Status> {
        if !self.failures.is_empty() {
            self.failures.truncate(FAILURES_MAX);
            request.annotations.add(FAILURES_KEY, Value::Array(self.failures).to_string());
        }
        let Some(denial) = self.denial else { return Ok(()) };
        let mut status = forbidden(request, self.new.or(self.old), &denial.message);
        status.reason = if denial.reason.is_empty() { "Invalid".into() } else { denial.reason };
        status.code = code(&status.reason);
        add_cause(&mut status, &denial.message);
        Err(status)
    }
}

fn code(reason: &str) -> u16 {
    match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    }
}

/// What one evaluation of a policy comes to.
#[derive(Default)]
struct Judgement {
    /// One for each validation.
    decisions: Vec<Decision>,
    annotations: Vec<(String, Result<String, String>)>,
}

struct Decision {
    sort: Sort,
    took: Duration,
}

enum Sort {
    Admit,
    Deny {
        message: String,
        reason: String,
    },
    /// What the failurePolicy decides.
    Error(String),
}

impl Judgement {
    fn failed(message: String) -> Self {
        Self { decisions: vec![Decision { sort: Sort::Error(message), took: Duration::ZERO }], annotations: Vec::new() }
    }
}

/// Whether a validation holds, and how long that took to find out.
type Outcome = (Result<bool, String>, Duration);

impl Policy<Validator> {
    fn judge(&self, env: &Env, names: &[(&'static str, Cel<'_>)]) -> Judgement {
        let mut budget = limits::PER_REQUEST;
        let Ok(outcomes) = self.outcomes(env, names, &mut budget) else { return Judgement::failed(OUT_OF_BUDGET.into()) };
        let decisions = self.decisions(names, outcomes, budget);
        match self.told(names) {
            Ok(annotations) => Judgement { decisions, annotations },
            Err(OutOfBudget) => Judgement::failed(OUT_OF_BUDGET.into()),
        }
    }

    fn outcomes(&self, env: &Env, names: &[(&'static str, Cel<'_>)], budget: &mut u64) -> Result<Vec<Outcome>, OutOfBudget> {
        let scope = Scope::new(&self.variables, names, &[]);
        let mut outcomes = Vec::with_capacity(self.evaluator.validations.len());
        for validation in &self.evaluator.validations {
            let started = env.instant();
            let holds = scope.run(&validation.rule, budget)?.map(|value| value.as_bool() == Some(true));
            outcomes.push((holds, started.elapsed()));
        }
        Ok(outcomes)
    }

    /// Messages are worked out only where something is refused. That spares those that have nothing to say; upstream lets them, too,
    /// run into the budget.
    fn decisions(&self, names: &[(&'static str, Cel<'_>)], outcomes: Vec<Outcome>, mut budget: u64) -> Vec<Decision> {
        let refuses = outcomes.iter().any(|(holds, _)| *holds == Ok(false));
        let messages = if refuses { self.messages(names, &mut budget) } else { Ok(Vec::new()) };
        let decide = |(index, (validation, (holds, took))): (usize, (&Validation, Outcome))| {
            let sort = match (holds, &messages) {
                (Err(why), _) => Sort::Error(why),
                (Ok(_), Err(OutOfBudget)) => Sort::Error(format!("failed messageExpression: {OUT_OF_BUDGET}")),
                (Ok(true), _) => Sort::Admit,
                (Ok(false), Ok(messages)) => {
                    let computed = messages.get(index).cloned().flatten();
                    Sort::Deny { message: validation.message(computed), reason: validation.reason.clone() }
                }
            };
            Decision { sort, took }
        };
        self.evaluator.validations.iter().zip(outcomes).enumerate().map(decide).collect()
    }

    /// The computed message of each validation, as far as it has one that can be told.
    fn messages(&self, names: &[(&'static str, Cel<'_>)], budget: &mut u64) -> Result<Vec<Option<String>>, OutOfBudget> {
        let scope = Scope::new(&self.variables, names, AUTHORIZER);
        let mut messages = Vec::with_capacity(self.evaluator.validations.len());
        for validation in &self.evaluator.validations {
            let said = validation.computed.as_ref().map(|computed| scope.run(computed, budget)).transpose()?;
            let text = said.and_then(Result::ok).and_then(|value| value.as_str().map(|text| text.trim().to_owned()));
            messages.push(text.filter(|text| text.len() <= limits::MESSAGE_BYTES_MAX && !text.contains('\n')));
        }
        Ok(messages)
    }

    /// What is to stand in the audit log. A budget of their own, as upstream.
    fn told(&self, names: &[(&'static str, Cel<'_>)]) -> Result<Vec<(String, Result<String, String>)>, OutOfBudget> {
        let (scope, mut budget) = (Scope::new(&self.variables, names, AUTHORIZER), limits::PER_REQUEST);
        let mut all = Vec::new();
        for annotation in &self.evaluator.annotations {
            let value = match scope.run(&annotation.value, &mut budget)? {
                Ok(Cel::Null) => continue,
                Ok(value) => value.as_str().map(|text| text.trim().to_owned()).ok_or_else(|| unsupported(&annotation.value.text, &value)),
                Err(why) => Err(why),
            };
            if value != Ok(String::new()) {
                all.push((annotation.key.clone(), value));
            }
        }
        Ok(all)
    }
}

/// What messages and audit annotations may not ask.
const AUTHORIZER: &[&str] = &["authorizer", "authorizer.requestResource"];

fn unsupported(text: &str, value: &Cel<'_>) -> String {
    let ty = value.type_name();
    format!("valueExpression '{text}' resulted in unsupported return type: {ty}. Return type must be either string or null.")
}

impl Validation {
    fn message(&self, computed: Option<String>) -> String {
        let own = || Some(self.message.clone()).filter(|text| !text.is_empty());
        let told = computed.filter(|text| !text.is_empty()).or_else(own);
        told.unwrap_or_else(|| format!("failed expression: {}", self.rule.text.trim()))
    }
}

/// The audit annotations of one policy: each value of its bindings once.
#[derive(Default)]
struct Told(BTreeMap<String, Vec<String>>);

impl Told {
    fn add(&mut self, key: String, mut value: String) {
        let end = (0..=ANNOTATION_BYTES_MAX.min(value.len())).rev().find(|end| value.is_char_boundary(*end)).unwrap_or_default();
        value.truncate(end);
        let values = self.0.entry(key).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    fn publish(self, request: &Admission<'_>, policy: &str) {
        for (key, values) in self.0 {
            request.annotations.add(format!("{policy}/{key}"), values.join(", "));
        }
    }
}
