//! The walk over an object: at each place that has rules each is asked, and what it says against the value is told.

use std::collections::HashMap;

use expressions::{Evaluation, Fault, Program, Schema, Value as Cel, limits};
use schema::field::{FieldError, Reason};
use schema::{FieldErrors, Map, Path, Value};

use super::compile::{Node, Rule};
use super::correlate::Correlation;

/// One object's walk.
pub(super) struct Walk<'e> {
    pub errors: &'e mut FieldErrors,
    pub warnings: Vec<String>,
    /// Negative: it ran out, nothing more is asked.
    pub budget: i64,
}

/// Where the walk stands.
pub(super) struct Spot<'a> {
    pub new: &'a Value,
    pub old: Option<&'a Value>,
    pub correlation: Correlation<'a>,
    pub trail: &'a Trail<'a>,
}

/// The way from the root; a path is made of it only for an error.
pub(super) enum Trail<'a> {
    Base(&'a Path),
    Child(&'a Trail<'a>, &'a str),
    Key(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl Trail<'_> {
    fn path(&self) -> Path {
        match self {
            Self::Base(path) => (*path).clone(),
            Self::Child(parent, name) => parent.path().child(name),
            Self::Key(parent, key) => parent.path().key(key),
            Self::Index(parent, at) => parent.path().index(*at),
        }
    }
}

/// Upstream has no path for the root.
fn told(path: Path) -> Path {
    if path == Path::root() { Path::new("<nil>") } else { path }
}

const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

impl Walk<'_> {
    pub(super) fn node(&mut self, node: &Node, typed: &Schema, spot: &Spot<'_>) {
        if spot.new.is_null() || self.budget < 0 {
            return;
        }
        let typed = node.own.as_deref().unwrap_or(typed);
        self.rules(node, typed, spot);
        match spot.new {
            Value::Array(items) => self.items(node, typed, items, spot),
            Value::Object(members) => self.members(node, typed, members, spot),
            _ => {}
        }
    }

    fn members(&mut self, node: &Node, typed: &Schema, members: &Map<String, Value>, spot: &Spot<'_>) {
        for (name, child) in &node.properties {
            let Some(new) = members.get(&**name) else { continue };
            let trail = Trail::Child(spot.trail, name);
            let typed = typed.property(name).unwrap_or(typed);
            self.node(child, typed, &spot.member(name, new, &trail));
        }
        if let (Some(rest), Some(typed)) = (&node.rest, typed.values()) {
            for (key, new) in members {
                let trail = Trail::Key(spot.trail, key);
                self.node(rest, typed, &spot.member(key, new, &trail));
            }
        }
    }

    fn items(&mut self, node: &Node, typed: &Schema, items: &[Value], spot: &Spot<'_>) {
        let (Some(child), Some(typed)) = (&node.items, typed.items()) else { return };
        let known = Known::of(node, spot.old);
        for (at, new) in items.iter().enumerate() {
            let old = known.get(new);
            let trail = Trail::Index(spot.trail, at);
            self.node(child, typed, &Spot { new, old, correlation: spot.correlation.item(new, old), trail: &trail });
        }
    }

    fn rules(&mut self, node: &Node, typed: &Schema, spot: &Spot<'_>) {
        if node.rules.is_empty() {
            return;
        }
        if self.budget <= 0 {
            return self.end(node, spot, OUT_OF_BUDGET);
        }
        let values = Values { new: Cel::typed(spot.new, typed), old: spot.old.map(|old| Cel::typed(old, typed)) };
        for rule in &node.rules {
            if self.budget < 0 {
                return;
            }
            match &rule.program {
                None => {}
                Some(Err(wrong)) => self.invalid(node, spot, &format!("rule compile error: {wrong}")),
                Some(Ok(_)) if rule.uses_old && spot.old.is_none() && !rule.optional_old => {}
                Some(Ok(program)) => self.rule(node, rule, program, &values, spot),
            }
        }
    }

    fn rule(&mut self, node: &Node, rule: &Rule, program: &Program, values: &Values<'_>, spot: &Spot<'_>) {
        let evaluation = values.run(program, rule.optional_old);
        if !self.pay(evaluation.cost) {
            return self.end(node, spot, OUT_OF_BUDGET);
        }
        match evaluation.result {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => self.broken(node, rule, values, spot),
            Err(fault) if fault.is_out_of_budget() => {
                let why =
                    format!("'{fault}': no further validation rules will be run due to call cost exceeds limit for rule: {}", rule.shown());
                self.end(node, spot, &why);
            }
            Err(fault) => self.invalid(node, spot, &rule.fault(&fault)),
        }
    }

    /// A rule that does not hold.
    fn broken(&mut self, node: &Node, rule: &Rule, values: &Values<'_>, spot: &Spot<'_>) {
        let message = match rule.message_program.as_ref().and_then(|program| program.as_ref().ok()) {
            None => Ok(None),
            Some(program) => self.message(rule, values.run(program, false)),
        };
        let error = match message {
            Ok(computed) => rule.error(spot, computed.unwrap_or_else(|| rule.message_or_default())),
            Err(why) => {
                self.budget = -1;
                FieldError { path: rule.path(spot), reason: Reason::Invalid, message: invalid(node, &why) }
            }
        };
        if !rule.uses_old && spot.correlation.is_unchanged() {
            self.warnings.push(error.to_string());
        } else {
            self.errors.0.push(error);
        }
    }

    /// What a `messageExpression` says; None where that is no message. The error ends the walk.
    fn message(&mut self, rule: &Rule, evaluation: Evaluation<'_>) -> Result<Option<String>, String> {
        if !self.pay(evaluation.cost) {
            let why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            return Err(why.into());
        }
        match evaluation.result {
            Ok(value) => {
                let text = value.as_str().map(str::trim).unwrap_or_default();
                let good = !text.is_empty() && text.len() <= limits::MESSAGE_BYTES_MAX && !text.contains('\n');
                Ok(good.then(|| text.to_owned()))
            }
            Err(fault) if fault.is_out_of_budget() => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                rule.message_expression
            )),
            Err(_) => Ok(None),
        }
    }

    /// Whether there was enough.
    fn pay(&mut self, cost: u64) -> bool {
        let left = i64::try_from(cost).ok().and_then(|cost| self.budget.checked_sub(cost)).filter(|left| *left >= 0);
        self.budget = left.unwrap_or(-1);
        left.is_some()
    }

    fn invalid(&mut self, node: &Node, spot: &Spot<'_>, why: &str) {
        self.errors.add(&told(spot.trail.path()), Reason::Invalid, invalid(node, why));
    }

    /// The last that is told.
    fn end(&mut self, node: &Node, spot: &Spot<'_>, why: &str) {
        self.invalid(node, spot, why);
        self.budget = -1;
    }
}

/// What is wrong with asking, told with the type in the place of a value.
fn invalid(node: &Node, why: &str) -> String {
    format!("Invalid value: {:?}: {why}", node.ty)
}

impl<'a> Spot<'a> {
    fn member<'s>(&'s self, name: &str, new: &'s Value, trail: &'s Trail<'s>) -> Spot<'s>
    where
        'a: 's,
    {
        let old = self.old.and_then(|old| old.get(name)).filter(|old| !old.is_null());
        Spot { new, old, correlation: self.correlation.member(name), trail }
    }
}

/// `self` and `oldSelf` of one place.
struct Values<'a> {
    new: Result<Cel<'a>, Fault>,
    old: Option<Result<Cel<'a>, Fault>>,
}

impl<'a> Values<'a> {
    fn run(&self, program: &'a Program, optional_old: bool) -> Evaluation<'a> {
        let failed = |fault: &Fault| Evaluation { result: Err(fault.clone()), cost: 0 };
        let new = match &self.new {
            Ok(value) => value.clone(),
            Err(fault) => return failed(fault),
        };
        let old = match (&self.old, optional_old) {
            (Some(Ok(value)), false) => Some(value.clone()),
            (Some(Ok(value)), true) => Some(Cel::some(value.clone())),
            (Some(Err(fault)), _) if program.uses("oldSelf") => return failed(fault),
            (None, true) => Some(Cel::none()),
            _ => None,
        };
        let variables = [Some(("self", new)), old.map(|old| ("oldSelf", old))];
        let variables: Vec<(&str, Cel<'_>)> = variables.into_iter().flatten().collect();
        program.evaluate(&variables, limits::PER_CALL)
    }
}

impl Rule {
    /// The rule in words, or as it is.
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }

    fn message_or_default(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.shown()) } else { self.message.trim().to_owned() }
    }

    fn fault(&self, fault: &Fault) -> String {
        if fault.message().starts_with("no such overload") {
            let why = "call arguments did not match a supported operator, function or macro signature for rule";
            return format!("'{fault}': {why}: {}", self.shown());
        }
        format!("{fault} evaluating rule: {}", self.shown())
    }

    fn path(&self, spot: &Spot<'_>) -> Path {
        let path = spot.trail.path();
        told(self.field_path.as_ref().map_or_else(|| path.clone(), |below| path.child(below)))
    }

    fn error(&self, spot: &Spot<'_>, detail: String) -> FieldError {
        let mut errors = FieldErrors::default();
        let (path, value) = (self.path(spot), spot.new);
        match self.reason.as_str() {
            "FieldValueForbidden" => errors.forbidden(&path, &detail),
            "FieldValueRequired" => errors.required(&path, &detail),
            "FieldValueDuplicate" if is_large(value) => errors.add(&path, Reason::Duplicate, "Duplicate value".into()),
            "FieldValueDuplicate" => errors.duplicate(&path, value.clone()),
            _ if is_large(value) => errors.invalid_omitted(&path, &detail),
            _ => errors.invalid(&path, value.clone(), &detail),
        }
        errors.0.remove(0)
    }
}

/// Objects and lists are not told.
fn is_large(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// The items of an old list with keys.
enum Known<'a> {
    Nothing,
    ByKey(&'a [(Box<str>, Option<Value>)], HashMap<String, &'a Value>),
}

impl<'a> Known<'a> {
    fn of(node: &'a Node, old: Option<&'a Value>) -> Self {
        let (Some(keys), Some(items)) = (&node.keys, old.and_then(Value::as_array)) else { return Self::Nothing };
        Self::ByKey(keys, items.iter().map(|item| (identity(keys, item), item)).collect())
    }

    fn get(&self, item: &Value) -> Option<&'a Value> {
        match self {
            Self::Nothing => None,
            Self::ByKey(keys, items) => items.get(&identity(keys, item)).copied(),
        }
    }
}

/// What tells an item from the others, as text.
fn identity(keys: &[(Box<str>, Option<Value>)], item: &Value) -> String {
    let key = |(name, default): &(Box<str>, Option<Value>)| item.get(&**name).or(default.as_ref()).map(ToString::to_string);
    keys.iter().map(|one| key(one).unwrap_or_default()).collect::<Vec<_>>().join("\u{0}")
}
