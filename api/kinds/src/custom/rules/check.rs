//! What is wrong with the rules of a definition: their forms everywhere, and, where nothing else is wrong with the schema,
//! what does not compile, costs too much, or asks for an old value where none can be known.

use std::sync::Arc;

use expressions::{Program, Schema};
use schema::{DocExt, FieldErrors, Map, Path, Value};

use super::compile::{Compiler, Rule, has_rules};
use super::correlate::Correlation;
use super::cost::{Cardinality, Found, Total, below};
use super::evaluate::{Spot, Trail, Walk};
use super::place::Place;
use super::{BUDGET, Rules, field_path};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const LIST: &str = "x-kubernetes-validations";

/// All errors of the rules in the `openAPIV3Schema` at `path`. `is_sound`: nothing else is wrong with it.
pub(crate) fn check(schema: &Value, is_sound: bool, path: &Path, errors: &mut FieldErrors) {
    let is_typed = is_sound && has_rules(schema);
    let mut checker =
        Checker { compiler: is_typed.then(|| Compiler::new(&Arc::new(Schema::parse(schema, true)))), total: Total::default() };
    let mut found = Found::default();
    let place = checker.compiler.as_ref().map(Compiler::root);
    checker.schema(schema, &Here { path: path.clone(), place, times: Some(1), uncorrelated: None }, &mut found);
    errors.0.extend(found.into_errors());
    checker.total.check(path, errors);
}

/// Defaults keep the rules that stand with them. The budget is one for all.
pub(crate) fn check_defaults(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    defaults(schema, path, &mut Walk { errors, warnings: Vec::new(), budget: BUDGET });
}

fn defaults(schema: &Value, path: &Path, walk: &mut Walk<'_>) {
    if !has_rules(schema) || walk.budget < 0 {
        return;
    }
    if let Some(default) = schema.get("default").filter(|default| !default.is_null())
        && let Some(rules) = Rules::of(schema, schema.bool_at("x-kubernetes-embedded-resource"))
    {
        let trail = &Trail::Base(&path.child("default"));
        rules.walk(walk, &Spot { new: default, old: Some(default), correlation: Correlation::none(), trail });
    }
    for name in ["items", "additionalProperties"] {
        if let Some(one) = schema.get(name).filter(|one| one.is_object()) {
            defaults(one, &path.child(name), walk);
        }
    }
    for (name, one) in schema.map_at("properties").into_iter().flat_map(Map::iter) {
        defaults(one, &path.child("properties").key(name), walk);
    }
}

struct Checker {
    /// None: expressions are not compiled.
    compiler: Option<Compiler>,
    total: Total,
}

/// Where the walk over a schema stands.
struct Here {
    path: Path,
    /// None where expressions are not asked: below `allOf` and its like.
    place: Option<Place>,
    times: Cardinality,
    /// The list above whose items cannot be followed from an old object to a new one.
    uncorrelated: Option<Path>,
}

impl Checker {
    fn schema(&mut self, schema: &Value, spot: &Here, found: &mut Found) {
        let before = found.forms.0.len();
        self.structure(schema, spot, found);
        for (path, nested) in alternatives(schema, &spot.path) {
            self.schema(nested, &Here { path, place: None, times: None, uncorrelated: spot.uncorrelated.clone() }, found);
        }
        let rules = schema.items_at(LIST);
        for (at, rule) in rules.iter().enumerate() {
            forms(rule, schema, &spot.path.child(LIST).index(at), &mut found.forms);
        }
        if found.forms.0.len() == before && !rules.is_empty() {
            self.expressions(schema, rules, spot, &mut found.expressions);
        }
    }

    fn structure(&mut self, schema: &Value, spot: &Here, found: &mut Found) {
        let times = below(schema, spot.times);
        let object = |name: &str| schema.get(name).filter(|one| one.is_object());
        if let Some(rest) = object("additionalProperties") {
            let place = spot.place.as_ref().map(Place::values);
            let path = spot.path.child("additionalProperties");
            self.schema(rest, &Here { path, place, times, uncorrelated: spot.uncorrelated.clone() }, found);
        }
        for (name, property) in schema.map_at("properties").into_iter().flat_map(Map::iter) {
            let place = self.property(spot, name, property);
            let path = spot.path.child("properties").key(name);
            self.schema(property, &Here { path, place, times, uncorrelated: spot.uncorrelated.clone() }, found);
        }
        if let Some(items) = object("items") {
            let lost = (schema.str_at("x-kubernetes-list-type") != "map").then(|| spot.path.clone());
            let uncorrelated = spot.uncorrelated.clone().or(lost);
            let place = spot.place.as_ref().map(Place::items);
            self.schema(items, &Here { path: spot.path.child("items"), place, times, uncorrelated }, found);
        }
    }

    fn property(&mut self, spot: &Here, name: &str, property: &Value) -> Option<Place> {
        let (place, compiler) = (spot.place.as_ref()?, self.compiler.as_mut()?);
        let known = place.property(name);
        if has_rules(property) && known.as_ref().and_then(Place::typed).is_none() {
            return Some(compiler.outside_place(property).0);
        }
        known
    }

    /// The expressions of one place.
    fn expressions(&mut self, schema: &Value, rules: &[Value], spot: &Here, errors: &mut FieldErrors) {
        let (Some(place), Some(compiler)) = (&spot.place, &mut self.compiler) else { return };
        let path = spot.path.child(LIST);
        let Some(typed) = place.typed().filter(|_| place.ty().is_some()) else {
            let why = "Internal error: internal error: failed to construct type information for x-kubernetes-validations rules: \
                       unable to convert structural schema to CEL declarations";
            return errors.add(&path, schema::field::Reason::Internal, why.into());
        };
        let times = spot.times.unwrap_or_else(|| typed.max_cardinality());
        let compiled = compiler.rules(schema, place);
        for (at, (rule, given)) in compiled.iter().zip(rules).enumerate() {
            self.expression(rule, given, times, &path.index(at), spot, errors);
        }
    }

    fn expression(&mut self, rule: &Rule, given: &Value, times: u64, path: &Path, spot: &Here, errors: &mut FieldErrors) {
        let cost = |program: Option<&Program>| program.map_or(0, |program| program.estimated_cost().max);
        let (at_rule, at_message) = (path.child("rule"), path.child("messageExpression"));
        let program = rule.program.as_ref().map(Result::as_ref);
        self.total.count("rule", cost(program.and_then(Result::ok)).saturating_mul(times), &at_rule, errors);
        if let Some(Err(wrong)) = program {
            errors.add(&at_rule, schema::field::Reason::Invalid, format!("Invalid value: {}: {wrong}", as_upstream(given)));
        }
        match &rule.message_program {
            None => {}
            Some(Ok(program)) => self.total.count("messageExpression", cost(Some(program)), &at_message, errors),
            Some(Err(wrong)) => {
                errors.add(&at_message, schema::field::Reason::Invalid, format!("Invalid value: {}: {wrong}", as_upstream(given)));
            }
        }
        match (&spot.uncorrelated, rule.uses_old) {
            (Some(list), true) => {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
                errors.invalid(&at_rule, given.str_at("rule"), &why);
            }
            (_, false) if given.get("optionalOldSelf").is_some_and(Value::is_boolean) => {
                let why = "may not be set if oldSelf is not used in rule";
                errors.invalid(&path.child("optionalOldSelf"), rule.optional_old, why);
            }
            _ => {}
        }
    }
}

/// The schemas that limit values without describing them.
fn alternatives<'a>(schema: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    let not = schema.get("not").filter(|not| not.is_object()).map(|not| (path.child("not"), not));
    let lists = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(|list| {
        let items = schema.items_at(list).iter().enumerate();
        items.map(move |(at, one)| (path.child(list).index(at), one))
    });
    not.into_iter().chain(lists).collect()
}

/// A rule's texts, without what they mean.
fn forms(rule: &Value, schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let has_breaks = |text: &str| text.contains(['\n', '\r']);
    let (text, message) = (rule.str_at("rule").trim(), rule.str_at("message"));
    if text.is_empty() {
        errors.required(&path.child("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&path.child("message"), message, "message must be non-empty if specified");
    } else if has_breaks(message.trim()) {
        errors.invalid(&path.child("message"), message, "message must not contain line breaks");
    } else if has_breaks(text) && message.trim().is_empty() {
        errors.required(&path.child("message"), "message must be specified if rule contains line breaks");
    }
    let computed = rule.str_at("messageExpression");
    if !computed.is_empty() && computed.trim().is_empty() {
        errors.required(&path.child("messageExpression"), "messageExpression must be non-empty if specified");
    }
    if let Some(reason) = rule.get("reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason)) {
        errors.not_supported(&path.child("reason"), reason, &REASONS);
    }
    let (place, at) = (rule.str_at("fieldPath"), path.child("fieldPath"));
    if !place.is_empty() && place.trim().is_empty() {
        errors.invalid(&at, place, "fieldPath must be non-empty if specified");
    }
    if has_breaks(place) {
        errors.invalid(&at, place, "fieldPath must not contain line breaks");
    }
    if field_path::normalized(place, schema).is_err() {
        errors.invalid(&at, place, "fieldPath must be a valid path");
    }
}

/// A rule as upstream prints it: its own form, in Go's JSON.
fn as_upstream(rule: &Value) -> String {
    let text = |name: &str| Value::from(rule.str_at(name)).to_string();
    let other = |name: &str| rule.get(name).cloned().unwrap_or_default().to_string();
    let members = [
        ("Rule", text("rule")),
        ("Message", text("message")),
        ("MessageExpression", text("messageExpression")),
        ("Reason", other("reason")),
        ("FieldPath", text("fieldPath")),
        ("OptionalOldSelf", other("optionalOldSelf")),
    ];
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    let printed = ["{", &members.join(","), "}"].concat();
    printed.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
