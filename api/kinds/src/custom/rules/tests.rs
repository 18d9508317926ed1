//! Rules of schemas: golden documents, and what a definition's rules may be.

mod attacks;

use schema::json;
use schema::structural::{self, Structural, blocks_rules, rules_not_asked};

use super::*;

/// Evaluates as the kinds' strategy does; errors, warnings, cost.
fn asked(schema: &Value, new: &Value, old: Option<&Value>) -> (Vec<String>, Vec<String>, i64) {
    let mut errors = FieldErrors::default();
    let rules = Rules::compile(schema).expect("the schema has rules");
    let correlation = old.map_or_else(Correlation::none, |old| Correlation::root(new, old));
    let mut walk = Walk { errors: &mut errors, warnings: Vec::new(), budget: BUDGET };
    rules.walk(&mut walk, &Spot { new, old, correlation, trail: &Trail::Base(&Path::root()) });
    let (warnings, cost) = (walk.warnings, BUDGET - walk.budget);
    (texts(&errors), warnings, cost)
}

fn texts(errors: &FieldErrors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

/// What is wrong with the rules of a schema.
fn wrong(schema: &Value) -> Vec<String> {
    let (path, mut errors) = (Path::new("spec.validation.openAPIV3Schema"), FieldErrors::default());
    structural::check(schema, &path, &mut errors);
    if errors.is_empty() {
        check_defaults(schema, &path, &mut errors);
    }
    check(schema, errors.is_empty(), &path, &mut errors);
    texts(&errors)
}

#[test]
#[expect(clippy::print_stderr, reason = "a test says why it skips")]
fn documents_are_judged_as_upstream_judges_them() {
    let file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/crd.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        return eprintln!("skipped: no golden vectors at {}", file.display());
    };
    let mut seen = 0;
    for (at, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let schema = Structural::new(&line["schema"]);
        if !schema.has_rules {
            continue;
        }
        let mut errors = FieldErrors::default();
        let doc = &line["want"]["object"];
        schema.validate(doc, &Path::root(), &mut errors);
        schema.check_lists(doc, &Path::root(), &mut errors);
        let mut told = texts(&errors);
        // Whoever made the vectors asked rules only of what is valid otherwise.
        if errors.is_empty() {
            let (said, _, cost) = asked(&line["schema"], doc, line.get("old"));
            told.extend(said);
            assert!(line.get("celCost").is_none_or(|want| *want == cost), "line {}: cost {cost}, want {}", at + 1, line["celCost"]);
        }
        told.sort();
        assert_eq!(json!(told), line["want"]["errors"], "line {}", at + 1);
        let refused: Vec<String> = wrong(&line["schema"]).into_iter().filter(|text| !text.contains(": Forbidden: ")).collect();
        assert!(refused.is_empty(), "line {}: but for costs, {refused:?}", at + 1);
        seen += 1;
    }
    assert!(seen > 30, "only {seen} vectors have rules");
}

/// A schema whose `spec` is `spec`, with one rule at it.
fn with_rule(spec: Value, rule: Value) -> Value {
    let mut spec = spec;
    spec["x-kubernetes-validations"] = json!([rule]);
    json!({"type": "object", "properties": {"spec": spec}})
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

const AT: &str = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";

/// What is wrong with one rule at an object with an integer `a`, a text `s` and a list `l`, without the sum over the schema.
fn wrong_rule(rule: &Value) -> Vec<String> {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let spec = object(json!({"a": {"type": "integer"}, "s": {"type": "string"}, "l": texts}));
    let told = wrong(&with_rule(spec, rule.clone()));
    let own = told.iter().filter(|text| !text.contains("contributed")).filter_map(|text| text.strip_prefix(AT));
    own.map(str::to_owned).collect()
}

#[test]
fn rules_of_a_definition_have_forms() {
    for (rule, want) in [
        (json!({"rule": "self.a > 0"}), ""),
        (json!({"rule": " "}), ".rule: Required value: rule is not specified"),
        (json!({"rule": "true", "message": " "}), ".message: Invalid value: \" \": message must be non-empty if specified"),
        (json!({"rule": "true", "message": "a\nb"}), ".message: Invalid value: \"a\\nb\": message must not contain line breaks"),
        (json!({"rule": "true\n&& true"}), ".message: Required value: message must be specified if rule contains line breaks"),
        (
            json!({"rule": "true", "messageExpression": " "}),
            ".messageExpression: Required value: messageExpression must be non-empty if specified",
        ),
        (
            json!({"rule": "true", "reason": "Nope"}),
            ".reason: Unsupported value: \"Nope\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \
             \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (json!({"rule": "true", "fieldPath": ".b"}), ".fieldPath: Invalid value: \".b\": fieldPath must be a valid path"),
        (json!({"rule": "true", "fieldPath": ".l[0]"}), ".fieldPath: Invalid value: \".l[0]\": fieldPath must be a valid path"),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            ".optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
        (json!({"rule": "!oldSelf.hasValue() || oldSelf.value().a == self.a", "optionalOldSelf": true}), ""),
    ] {
        assert_eq!(wrong_rule(&rule).concat(), want, "{rule}");
    }
}

#[test]
fn rules_of_a_definition_have_types_and_costs() {
    let printed = |rule: &str, computed: &str| {
        let members = ["\"Rule\":\"", rule, "\",\"Message\":\"\",\"MessageExpression\":\"", computed];
        ["{", &members.concat(), "\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}"].concat()
    };
    let dear = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let undefined = "compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b > 0\n | ....^";
    for (rule, want) in [
        (json!({"rule": "self.b > 0"}), format!(".rule: Invalid value: {}: {undefined}", printed("self.b \\u003e 0", ""))),
        (json!({"rule": "self.a"}), format!(".rule: Invalid value: {}: cel expression must evaluate to a bool", printed("self.a", ""))),
        (
            json!({"rule": "true", "messageExpression": "self.a"}),
            format!(".messageExpression: Invalid value: {}: messageExpression must evaluate to a string", printed("true", "self.a")),
        ),
        (
            json!({"rule": "self.l.all(x, self.l.all(y, x == y || x.contains(y)))"}),
            format!(".rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {dear}"),
        ),
    ] {
        assert_eq!(wrong_rule(&rule).concat(), want, "{rule}");
    }
}

#[test]
fn all_rules_together_have_a_limit() {
    let dear = json!({"type": "array", "items": {"type": "string", "maxLength": 64}, "maxItems": 12000,
        "x-kubernetes-validations": [{"rule": "self.all(x, x.contains('abcdefgh'))"}, {"rule": "self.all(x, self[0] != x)"}]});
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let lists: schema::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), dear.clone())).collect();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "array", "maxItems": 20, "items": object(json!(lists))}}});
    let told = wrong(&schema);
    let contributed = told.iter().filter(|text| {
        text.ends_with("].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema")
    });
    assert_eq!(contributed.count(), 4, "{told:#?}");
    let sum = "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema \
               exceeds budget by factor of";
    assert!(told.last().is_some_and(|text| text.starts_with(sum)), "{told:#?}");
}

#[test]
fn old_values_are_asked_for_where_they_can_be_known() {
    let rule = json!([{"rule": "self == oldSelf"}]);
    let item = || json!({"type": "object", "properties": {"k": {"type": "string"}}, "required": ["k"], "x-kubernetes-validations": rule});
    let list = |ty: &str| json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 5, "x-kubernetes-list-type": ty, "items": item()}}});
    let mut keyed = list("map");
    keyed["properties"]["l"]["x-kubernetes-list-map-keys"] = json!(["k"]);
    assert_eq!(wrong(&keyed), Vec::<String>::new());
    let told = wrong(&list("atomic"));
    let want = "oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[l]";
    assert!(told.len() == 1 && told[0].ends_with(want), "{told:?}");
}

#[test]
fn rules_below_alternatives_are_refused_and_defaults_keep_theirs() {
    let nested = json!({"type": "object", "properties": {"a": {"type": "integer", "allOf": [{"x-kubernetes-validations": [{"rule": "self > 0"}]}]}}});
    let want = "spec.validation.openAPIV3Schema.properties[a].allOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural";
    assert_eq!(wrong(&nested), [want]);
    let default = json!({"type": "object", "properties": {"a": {"type": "integer", "default": -1, "x-kubernetes-validations": [{"rule": "self > 0"}]}}});
    assert_eq!(wrong(&default), ["spec.validation.openAPIV3Schema.properties[a].default: Invalid value: -1: failed rule: self > 0"]);
}

#[test]
fn what_did_not_change_is_a_warning() {
    let positive = || json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "positive"}]});
    let item = json!({"type": "object", "properties": {"k": {"type": "string"}, "n": positive()}});
    let keyed = json!({"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]});
    let schema = json!({"type": "object", "properties": {"spec": object(json!({
        "a": positive(), "b": positive(), "keyed": keyed, "plain": {"type": "array", "items": positive()},
        "never": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf", "message": "grows"}]},
    }))}});
    let old = json!({"spec": {"a": -1, "b": 1, "keyed": [{"k": "x", "n": -1}, {"k": "y", "n": 1}], "plain": [-1, 1], "never": 1}});
    let new = json!({"spec": {"a": -1, "b": -2, "keyed": [{"k": "y", "n": -3}, {"k": "x", "n": -1}], "plain": [-1, 2], "never": 1}});
    let (errors, warnings, _) = asked(&schema, &new, Some(&old));
    assert_eq!(
        errors,
        [
            "spec.b: Invalid value: -2: positive",
            "spec.keyed[0].n: Invalid value: -3: positive",
            "spec.never: Invalid value: 1: grows",
            "spec.plain[0]: Invalid value: -1: positive",
        ]
    );
    assert_eq!(warnings, ["spec.a: Invalid value: -1: positive", "spec.keyed[1].n: Invalid value: -1: positive"]);
    let (errors, warnings, _) = asked(&schema, &old, Some(&old));
    assert_eq!((errors.len(), warnings.len()), (1, 3), "all but the one that asks for the old value: {errors:?} {warnings:?}");
}

#[test]
fn errors_have_a_reason_a_place_and_a_message() {
    let schema = |rule: Value| {
        with_rule(object(json!({"a": {"type": "integer"}, "m": {"type": "object", "additionalProperties": {"type": "string"}}})), rule)
    };
    let doc = json!({"spec": {"a": 3, "m": {"k": "v"}}});
    for (rule, want) in [
        (json!({"rule": "false", "message": " no "}), "spec: Invalid value: no"),
        (json!({"rule": "false", "reason": "FieldValueRequired", "fieldPath": ".m"}), "spec.m: Required value: failed rule: false"),
        (json!({"rule": "false", "reason": "FieldValueDuplicate"}), "spec: Duplicate value"),
        (json!({"rule": "false", "reason": "FieldValueForbidden", "fieldPath": ".m['k']"}), "spec.m[k]: Forbidden: failed rule: false"),
        (json!({"rule": "false", "messageExpression": "'a is ' + string(self.a)"}), "spec: Invalid value: a is 3"),
        (json!({"rule": "false", "message": "plain", "messageExpression": "'a\\nb'"}), "spec: Invalid value: plain"),
        (json!({"rule": "false", "message": "plain", "messageExpression": "self.m['nope']"}), "spec: Invalid value: plain"),
        (
            json!({"rule": "self.m['nope'] == 'a'"}),
            "spec: Invalid value: \"object\": no such key: nope evaluating rule: self.m['nope'] == 'a'",
        ),
        (
            json!({"rule": "1 / (self.a - 3) == 1"}),
            "spec: Invalid value: \"object\": division by zero evaluating rule: 1 / (self.a - 3) == 1",
        ),
    ] {
        assert_eq!(asked(&schema(rule.clone()), &doc, None).0, [want], "{rule}");
    }
}

#[test]
fn members_that_no_identifier_spells_have_rules_too() {
    let named = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('x')"}]});
    let schema = json!({"type": "object", "properties": {"1st": named, "a b": object(json!({"c-d": named}))}});
    assert_eq!(wrong(&schema), Vec::<String>::new());
    let told = asked(&schema, &json!({"1st": "y", "a b": {"c-d": "z"}}), None).0;
    let why = |value: &str| format!("Invalid value: \"{value}\": failed rule: self.startsWith('x')");
    assert_eq!(told, [format!("1st: {}", why("y")), format!("a b.c-d: {}", why("z"))]);
}

#[test]
fn rules_are_not_asked_of_what_is_invalid_otherwise() {
    let mut errors = FieldErrors::default();
    let schema = Structural::new(
        &json!({"type": "object", "properties": {"a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}}}),
    );
    schema.validate(&json!({"a": "x"}), &Path::root(), &mut errors);
    assert!(errors.0.iter().any(|error| blocks_rules(error.reason)));
    rules_not_asked(&mut errors);
    assert!(texts(&errors)[1].starts_with("<nil>: Invalid value: null: some validation rules were not checked"), "{errors:?}");
}
