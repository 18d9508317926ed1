//! MutatingAdmissionPolicy: changes objects on their way in.

use std::sync::Arc;

use async_trait::async_trait;
use expressions::{Value as Cel, limits};
use kinds::expressions::{Compiler, Use};
use schema::{DocExt, Status, Value};

use super::case::{Case, World};
use super::compiled::{Binding, Evaluator, Hook, Policy};
use super::metrics::error_type;
use super::params::{self, Param};
use super::patch::{self, Stop};
use super::scope::{Expression, OUT_OF_BUDGET, Scope};
use super::source::{Hooks, Source};
use super::{Policies, add_cause, aggregate, forbidden, is_exempt};
use crate::admission::expressions::Verdict;
use crate::admission::webhook::rules::Place;
use crate::admission::webhook::subject::Subject;
use crate::admission::{Admission, Plugin};

/// MutatingAdmissionPolicy.
pub struct MutatingPolicies {
    shared: Arc<Policies>,
    source: Source<Mutator>,
}

impl MutatingPolicies {
    pub fn new(shared: &Arc<Policies>) -> Self {
        Self { shared: Arc::clone(shared), source: Source::default() }
    }
}

/// What a policy of this sort has of its own.
struct Mutator {
    mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`.
    reinvocable: bool,
}

struct Mutation {
    sort: Sort,
    expression: Expression,
}

#[derive(Clone, Copy)]
enum Sort {
    Configuration,
    JsonPatch,
}

impl Evaluator for Mutator {
    const POLICIES: &str = "/admissionregistration.k8s.io/mutatingadmissionpolicies/";
    const BINDINGS: &str = "/admissionregistration.k8s.io/mutatingadmissionpolicybindings/";

    fn compile(spec: &Value, compiler: &Compiler) -> Self {
        let mutation = |given: &Value| {
            let (sort, usage, member) = match given.str_at("patchType") {
                "JSONPatch" => (Sort::JsonPatch, Use::JsonPatch, "jsonPatch.expression"),
                _ => (Sort::Configuration, Use::ApplyConfiguration, "applyConfiguration.expression"),
            };
            Mutation { sort, expression: Expression::new(compiler, usage, given.str_at(member)) }
        };
        Self {
            mutations: spec.items_at("mutations").iter().map(mutation).collect(),
            reinvocable: spec.str_at("reinvocationPolicy") == "IfNeeded",
        }
    }

    fn uses(&self, variable: &str) -> bool {
        self.mutations.iter().any(|mutation| mutation.expression.uses(variable))
    }
}

#[async_trait]
impl Plugin for MutatingPolicies {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if is_exempt(request) {
            return Ok(());
        }
        let hooks = self.source.hooks(request.core);
        let mut errors = Vec::new();
        let invocations = invocations(request, &hooks, new, old, &mut errors).await;
        if !invocations.is_empty() {
            let round = request.reinvocation.round();
            request.policies.look(round, new);
            let mut world = World::new(request);
            for invocation in &invocations {
                self.invoke(request, invocation, &mut world, new, old, &mut errors).await?;
            }
            request.policies.leave(new);
        }
        refuse(request, new, &errors)
    }
}

/// A policy, one of its bindings and one of that one's parameters.
struct Invocation<'h> {
    policy: &'h Policy<Mutator>,
    binding: &'h Binding,
    place: Arc<Place>,
    param: Option<Param>,
}

/// What went wrong and a failurePolicy does not pass over.
struct Failure {
    text: String,
    is_invalid: bool,
}

impl Failure {
    fn new(policy: &str, binding: Option<&str>, why: &str, is_invalid: bool) -> Self {
        let text = match binding {
            Some(binding) => format!("policy '{policy}' with binding '{binding}' denied request: {why}"),
            None => format!("policy {policy:?} denied request: {why}"),
        };
        Self { text, is_invalid }
    }
}

/// What is to be asked, in order. Everything is matched before anything is changed.
async fn invocations<'h>(
    request: &Admission<'_>,
    hooks: &'h Hooks<Mutator>,
    new: &Value,
    old: Option<&Value>,
    errors: &mut Vec<Failure>,
) -> Vec<Invocation<'h>> {
    let mut all = Vec::new();
    for hook in hooks.of(&request.kind.group, &request.kind.resource) {
        let policy = &*hook.policy;
        let found = policy.matching.place(request, Some(new), old);
        let matched = found.and_then(|place| match place {
            Some(place) => params::known(request.core, policy.param_kind.as_ref()).map(|kind| Some((place, kind))),
            None => Ok(None),
        });
        match matched {
            Ok(Some((place, kind))) => {
                of_bindings(request, hook, Arc::new(place), kind.as_ref(), (new, old), (&mut all, errors)).await;
            }
            Ok(None) => {}
            Err(_) if policy.fails_open => {}
            Err(why) => errors.push(Failure::new(&policy.name, None, &format!("failed to configure policy: {why}"), false)),
        }
    }
    all
}

async fn of_bindings<'h>(
    request: &Admission<'_>,
    hook: &'h Hook<Mutator>,
    place: Arc<Place>,
    kind: Option<&kinds::KindRef>,
    (new, old): (&Value, Option<&Value>),
    (all, errors): (&mut Vec<Invocation<'h>>, &mut Vec<Failure>),
) {
    let policy = &*hook.policy;
    for binding in &hook.bindings {
        let matches = binding.matching.as_ref().map_or(Ok(true), |matching| Ok(matching.place(request, Some(new), old)?.is_some()));
        let found = match matches {
            Ok(true) => params::collect(request, kind, binding).await,
            Ok(false) => Ok(Vec::new()),
            Err(why) => Err(why),
        };
        match found {
            Ok(params) => {
                all.extend(params.into_iter().map(|param| Invocation { policy, binding, place: Arc::clone(&place), param }));
            }
            Err(_) if policy.fails_open => {}
            Err(why) => {
                errors.push(Failure::new(&policy.name, Some(&binding.name), &format!("failed to configure binding: {why}"), false));
            }
        }
    }
}

impl Invocation<'_> {
    fn key(&self) -> String {
        let param = self.param.as_ref().map_or("", |param| param.key.as_str());
        format!("{}/{}/{param}", self.policy.name, self.binding.name)
    }

    fn params(&self) -> Option<&Value> {
        self.param.as_ref().map(|param| &*param.value)
    }

    fn fail(&self, why: &str, errors: &mut Vec<Failure>) {
        if !self.policy.fails_open {
            errors.push(Failure::new(&self.policy.name, Some(&self.binding.name), why, true));
        }
    }
}

impl MutatingPolicies {
    async fn invoke(
        &self,
        request: &mut Admission<'_>,
        invocation: &Invocation<'_>,
        world: &mut World,
        new: &mut Value,
        old: Option<&Value>,
        errors: &mut Vec<Failure>,
    ) -> Result<(), Status> {
        let (policy, place) = (invocation.policy, &*invocation.place);
        let mut case = match Subject::unstamped(request, place, Some(new), old).await {
            Ok(subject) => Case::to_change(request, place, subject),
            Err(_) if policy.fails_open => return Ok(()),
            Err(status) => {
                errors.push(Failure::new(&policy.name, None, &format!("failed to configure policy: {}", status.message), false));
                return Ok(());
            }
        };
        if let Some(conditions) = &policy.conditions {
            match conditions.ask(&case.view(world, invocation.params(), None)).await {
                Verdict::Match => {}
                Verdict::Failed(failed) if !policy.fails_open => {
                    invocation.fail(&aggregate(&failed), errors);
                    return Ok(());
                }
                Verdict::NoMatch(_) | Verdict::Failed(_) => return Ok(()),
            }
        }
        let (key, round) = (invocation.key(), request.reinvocation.round());
        if !request.policies.includes(round, &key) {
            return Ok(());
        }
        if policy.uses_namespace {
            world.need_namespace(request)?;
        }
        let mut changed = false;
        for mutation in &policy.evaluator.mutations {
            let started = request.core.env().instant();
            let outcome = self.apply(request, invocation, mutation, world, &mut case, new, old).await;
            let took = started.elapsed();
            let count = |error| self.shared.metrics.mutated(&policy.name, &invocation.binding.name, error, took);
            match outcome {
                Ok(one) => {
                    changed |= one;
                    count("no_error");
                }
                Err(Stop::Failed(why)) => {
                    count(error_type(&why));
                    invocation.fail(&why, errors);
                }
                Err(Stop::Status(status)) => {
                    count(error_type(&status.message));
                    return Err(status);
                }
            }
        }
        if changed {
            request.reinvocation.want();
        }
        request.policies.was_made(key, policy.evaluator.reinvocable, changed);
        Ok(())
    }

    /// One mutation. Returns whether it changed anything.
    #[expect(clippy::too_many_arguments, reason = "one request, one mutation, and what both work on")]
    async fn apply(
        &self,
        request: &mut Admission<'_>,
        invocation: &Invocation<'_>,
        mutation: &Mutation,
        world: &World,
        case: &mut Case,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<bool, Stop> {
        let place = &*invocation.place;
        let Some(live) = case.object() else { return Ok(false) };
        if let Some(why) = mutation.expression.mistake() {
            return Err(Stop::Failed(why.to_owned()));
        }
        let view = case.view(world, invocation.params(), world.namespace());
        let shown: &Admission<'_> = request;
        let made = view.run(|names| mutation.make(shown, invocation, live, names)).await?;
        if made == *live.0 {
            return Ok(false);
        }
        let changed = patch::adopt(request, place, made, new, old).await.map_err(Stop::Status)?;
        if changed {
            let subject = Subject::unstamped(request, place, Some(new), old).await.map_err(Stop::Status)?;
            if let Some(object) = subject.new {
                case.set_object(object.into_owned());
            }
        }
        Ok(changed)
    }
}

impl Mutation {
    /// `live` is the object as it is, and as it is printed.
    fn make(
        &self,
        request: &Admission<'_>,
        of: &Invocation<'_>,
        (live, printed): (&Value, &Value),
        names: &[(&'static str, Cel<'_>)],
    ) -> Result<Value, Stop> {
        let (scope, mut budget) = (Scope::new(&of.policy.variables, names, &[]), limits::PER_REQUEST);
        let run = scope.run(&self.expression, &mut budget).map_err(|_| Stop::Failed(OUT_OF_BUDGET.into()))?;
        let value = run.map_err(Stop::Failed)?;
        match self.sort {
            Sort::Configuration => patch::configured(request, &of.place, live, &value),
            Sort::JsonPatch => patch::patched(live, printed, &value),
        }
    }
}

/// Refuses the request where something went wrong: the first failure is told, all are listed.
fn refuse(request: &Admission<'_>, new: &Value, errors: &[Failure]) -> Result<(), Status> {
    let Some(first) = errors.first() else { return Ok(()) };
    let mut status = forbidden(request, Some(new), "");
    status.message.clone_from(&first.text);
    if first.is_invalid {
        status.reason = "Invalid".into();
    }
    errors.iter().for_each(|error| add_cause(&mut status, &error.text));
    Err(status)
}
