//! Definitions and objects that are made to hurt: bounded time, bounded memory, an error in upstream's words.

use std::time::{Duration, Instant};

use super::*;

/// Generous: machines of tests are slow, and nothing here may take minutes.
const SECONDS_MAX: u64 = 60;

#[expect(clippy::disallowed_methods, reason = "that it ends in real time is the claim")]
fn in_time<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = run();
    assert!(start.elapsed() < Duration::from_secs(SECONDS_MAX), "{what} took {:?}", start.elapsed());
    made
}

fn rule(schema: Value, text: &str) -> Value {
    with_rule(schema, json!({"rule": text}))
}

fn list() -> Value {
    json!({"type": "array", "items": {"type": "integer"}})
}

#[test]
fn expressions_that_explode_are_refused_with_the_definition() {
    let nested = (0..200).fold("true".to_owned(), |inner, at| format!("self.all(x{at}, {inner})"));
    let wide = vec!["self[0] == 1"; 7_000].join(" && ");
    let deep = "(".repeat(100_000) + "true" + &")".repeat(100_000);
    let unary = "!".repeat(90_000) + "true";
    let brackets = "[".repeat(50_000);
    let cases = [
        (nested.as_str(), "estimated rule cost exceeds budget by factor of more than 100x"),
        ("self.all(a, self.all(b, self.all(c, a + b + c > 0)))", "exceeds budget by factor of more than 100x"),
        (deep.as_str(), "expression code point size exceeds limit: size: 200004, limit 100000"),
        (unary.as_str(), ""),
        (brackets.as_str(), "compilation failed: ERROR"),
        (wide.as_str(), ""),
        ("'a'.matches('((((a{1,1000}){1,1000}){1,1000}){1,1000})')", "compilation failed: ERROR"),
    ];
    for (text, want) in cases {
        let told = in_time(&text[..text.len().min(40)], || wrong(&rule(list(), text)));
        assert!(told.iter().any(|one| one.contains(want)) || want.is_empty(), "{}: {:.300}", &text[..text.len().min(40)], told.join("\n"));
    }
}

#[test]
fn a_definition_of_rules_alone_takes_its_time_and_no_more() {
    let rules: Vec<Value> = (0..5_000).map(|at| json!({"rule": format!("self.size() < {at} || self.exists(x, x == {at})")})).collect();
    let mut spec = list();
    spec["maxItems"] = json!(10);
    spec["x-kubernetes-validations"] = json!(rules);
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let told = in_time("5,000 rules", || wrong(&schema));
    assert!(told.is_empty(), "{:?}", told.first());
    let rules = in_time("compiling them", || Rules::compile(&schema)).unwrap();
    let mut errors = FieldErrors::default();
    in_time("asking them", || rules.evaluate(&json!({"spec": [1, 2, 3]}), None, &mut errors));
    assert_eq!(texts(&errors), ["spec: Invalid value: failed rule: self.size() < 0 || self.exists(x, x == 0)"]);
}

#[test]
fn deep_and_wide_schemas_are_walked_in_time() {
    let mut deep = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self != 'x'"}]});
    let mut doc = json!("x");
    for _ in 0..60 {
        deep = json!({"type": "object", "properties": {"n": deep}, "x-kubernetes-validations": [{"rule": "has(self.n)"}]});
        doc = json!({"n": doc});
    }
    assert_eq!(in_time("deep", || wrong(&deep)), Vec::<String>::new());
    let (told, ..) = in_time("deep document", || asked(&deep, &doc, Some(&json!({}))));
    assert_eq!(told.len(), 1);
    let wide: schema::Map<String, Value> = (0..20_000).map(|at| (format!("p{at}"), json!({"type": "string"}))).collect();
    let mut wide = object(json!(wide));
    wide["x-kubernetes-validations"] = json!([{"rule": "self.p1 != self.p2"}]);
    assert_eq!(in_time("wide", || wrong(&wide)), Vec::<String>::new());
}

#[test]
fn an_object_that_costs_too_much_ends_in_its_budget() {
    let schema = rule(list(), "self.all(a, self.all(b, a + b > 0))");
    let doc = json!({"spec": vec![1; 2_000]});
    let (told, _, cost) = in_time("quadratic", || asked(&schema, &doc, None));
    let want = "spec: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run \
                due to call cost exceeds limit for rule: self.all(a, self.all(b, a + b > 0))";
    assert_eq!(told, [want]);
    assert!(cost > 0);
    let costly = json!({"type": "string", "x-kubernetes-validations": [{"rule": "!self.contains('abcdefghij')"}]});
    let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": costly}}});
    let doc = json!({"l": vec!["x".repeat(10_000); 20_000]});
    let (told, ..) = in_time("many", || asked(&schema, &doc, None));
    assert_eq!(told.len(), 1, "the first that cannot be paid ends the walk");
    assert!(
        told[0].ends_with("validation failed due to running out of cost budget, no further validation rules will be run"),
        "{}",
        told[0]
    );
}

#[test]
fn patterns_that_explode_cost_what_they_cost() {
    let schema = rule(json!({"type": "string", "maxLength": 10_000}), "self.matches('^(a+)+$')");
    let doc = json!({"spec": "a".repeat(9_999) + "b"});
    let (told, ..) = in_time("nested repetition", || asked(&schema, &doc, None));
    assert_eq!(told.len(), 1);
    let schema = rule(object(json!({"p": {"type": "string"}})), "'x'.matches(self.p)");
    let doc = json!({"spec": {"p": "((x{1,900}){1,900}){1,900}"}});
    let (told, ..) = in_time("a document's own pattern", || asked(&schema, &doc, None));
    assert!(told[0].contains("evaluating rule: 'x'.matches(self.p)"), "{}", told[0]);
}

#[test]
fn unchanged_parts_are_compared_once() {
    let rules: Vec<Value> = (0..2_000).map(|at| json!({"rule": format!("size(self.text) == {at}")})).collect();
    let mut schema = object(json!({"text": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}}}));
    schema["x-kubernetes-validations"] = json!(rules);
    let doc = json!({"text": "x".repeat(2_500), "list": vec!["y".repeat(100); 20_000]});
    let (errors, warnings, _) = in_time("2,000 rules fail", || asked(&schema, &doc, Some(&doc.clone())));
    assert_eq!((errors.len(), warnings.len()), (0, 2_000));
}
