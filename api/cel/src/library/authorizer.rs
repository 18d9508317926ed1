//! The authorizer: `authorizer.group('apps').resource('deployments').namespace('x').check('get').allowed()`.

use std::sync::Arc;

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::seam::{Authorizer, Question, ResourceQuestion};
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("path", path),
    ("group", group),
    ("serviceAccount", service_account),
    ("resource", |args| with(args, Stage::Group, Stage::Resource, |question, text| question.resource = text)),
    ("subresource", |args| with(args, Stage::Resource, Stage::Resource, |question, text| question.subresource = text)),
    ("namespace", |args| with(args, Stage::Resource, Stage::Resource, |question, text| question.namespace = text)),
    ("name", |args| with(args, Stage::Resource, Stage::Resource, |question, text| question.name = text)),
    ("fieldSelector", |args| with(args, Stage::Resource, Stage::Resource, |question, text| question.field_selector = Some(text))),
    ("labelSelector", |args| with(args, Stage::Resource, Stage::Resource, |question, text| question.label_selector = Some(text))),
    ("check", check),
    ("allowed", |args| decision(args, |decision| Value::Bool(decision.allowed))),
    ("reason", |args| decision(args, |decision| Value::string(&*decision.reason))),
    ("errored", |args| decision(args, |decision| Value::Bool(decision.error.is_some()))),
    ("error", |args| decision(args, |decision| Value::string(decision.error.as_deref().unwrap_or_default()))),
];

/// A question in the making.
#[derive(Debug)]
pub struct Check {
    authorizer: Arc<dyn Authorizer>,
    stage: Stage,
    path: String,
    question: ResourceQuestion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Path,
    Group,
    Resource,
}

impl Check {
    pub(crate) fn of_resource<'a>(authorizer: Arc<dyn Authorizer>, question: ResourceQuestion) -> Value<'a> {
        Value::Check(Arc::new(Self { authorizer, stage: Stage::Resource, path: String::new(), question }))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }
}

fn made<'a>(authorizer: &Arc<dyn Authorizer>, stage: Stage, path: String, question: ResourceQuestion) -> Outcome<'a> {
    Ok(Value::Check(Arc::new(Check { authorizer: authorizer.clone(), stage, path, question })))
}

fn path<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::Authorizer(authorizer), Value::String(path)) = (&args[0], &args[1]) else { return mismatch() };
    if path.is_empty() {
        return Err(Fault::new("path must not be empty"));
    }
    made(authorizer, Stage::Path, path.to_string(), ResourceQuestion::default())
}

fn group<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::Authorizer(authorizer), Value::String(group)) = (&args[0], &args[1]) else { return mismatch() };
    made(authorizer, Stage::Group, String::new(), ResourceQuestion { group: group.to_string(), ..Default::default() })
}

fn service_account<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::Authorizer(authorizer), Value::String(namespace), Value::String(name)) = (&args[0], &args[1], &args[2]) else {
        return mismatch();
    };
    let wrong = ::schema::names::is_dns1123_subdomain(name);
    if !wrong.is_empty() {
        return Err(Fault::new("Invalid service account name"));
    }
    if !::schema::names::is_dns1123_label(namespace).is_empty() {
        return Err(Fault::new("Invalid service account namespace"));
    }
    authorizer.for_service_account(namespace, name).map(Value::Authorizer)
}

fn with<'a>(args: &[Value<'a>], from: Stage, to: Stage, set: fn(&mut ResourceQuestion, String)) -> Outcome<'a> {
    let (Value::Check(check), Value::String(text)) = (&args[0], &args[1]) else { return mismatch() };
    if check.stage != from {
        return mismatch();
    }
    let mut question = check.question.clone();
    set(&mut question, text.to_string());
    made(&check.authorizer, to, String::new(), question)
}

fn check<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::Check(check), Value::String(verb)) = (&args[0], &args[1]) else { return mismatch() };
    let question = match check.stage {
        Stage::Path => Question::Path { path: check.path.clone(), verb: verb.to_string() },
        Stage::Resource => Question::Resource(Box::new(ResourceQuestion { verb: verb.to_string(), ..check.question.clone() })),
        Stage::Group => return mismatch(),
    };
    Ok(Value::Decision(Arc::new(check.authorizer.decide(&question))))
}

fn decision<'a>(args: &[Value<'a>], of: fn(&crate::seam::Decision) -> Value<'a>) -> Outcome<'a> {
    if let Value::Decision(decision) = &args[0] { Ok(of(decision)) } else { mismatch() }
}
