//! Validation rules of CRDs, as the golden vectors of custom resources hold them: what each object's rules cost together,
//! and how many fail. It skips, and says so, where `../shared` is absent.

#![expect(clippy::print_stderr, reason = "a test says why it skips")]

use std::path::PathBuf;
use std::sync::Arc;

use expressions::{Environment, Schema, Type, Value, limits};
use serde_json::Value as Json;

#[test]
fn rules_cost_and_fail_as_upstream_has_it() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/crd.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: no golden vectors at {}", file.display());
        return;
    };
    let mut seen = 0;
    for (at, line) in text.lines().enumerate() {
        let line: Json = serde_json::from_str(line).expect("vectors are JSON lines");
        let Some(cost) = line["celCost"].as_u64() else { continue };
        let mut run = Run::default();
        run.node(&line["schema"], &line["want"]["object"], line.get("old"), true);
        let failed = line["want"]["errors"].as_array().map_or(0, Vec::len);
        assert_eq!((run.cost, run.failed.len()), (cost, failed), "line {}: {:?}, want {}", at + 1, run.failed, line["want"]["errors"]);
        seen += 1;
    }
    assert!(seen > 20, "only {seen} vectors have rules");
}

#[derive(Default)]
struct Run {
    cost: u64,
    failed: Vec<String>,
}

impl Run {
    fn node(&mut self, schema: &Json, object: &Json, old: Option<&Json>, root: bool) {
        if object.is_null() {
            return;
        }
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            self.rule(rule, schema, object, old, root);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = object.get(name) {
                self.node(property, value, old.and_then(|old| old.get(name)), false);
            }
        }
        for item in object.as_array().into_iter().flatten() {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            let same =
                |other: &&Json| keys.is_some_and(|keys| keys.iter().all(|key| other[key.as_str().unwrap()] == item[key.as_str().unwrap()]));
            let before = old.and_then(Json::as_array).and_then(|old| old.iter().find(same));
            self.node(&schema["items"], item, before, false);
        }
    }

    fn rule(&mut self, rule: &Json, schema: &Json, object: &Json, old: Option<&Json>, root: bool) {
        let text = rule["rule"].as_str().expect("a rule has a text");
        let typed = Arc::new(Schema::parse(schema, root));
        let mut environment = Environment::kubernetes();
        let ty = typed.declare(&mut environment, "self").expect("a rule's schema has a type");
        let optional = rule["optionalOldSelf"] == true;
        let old_type = if optional { Type::optional(ty.clone()) } else { ty.clone() };
        environment.variable("self", ty).variable("oldSelf", old_type).sizes(typed.clone());
        let program = environment.compile(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        assert!(program.estimated_cost().max < limits::ESTIMATED_PER_EXPRESSION, "{text}: {:?}", program.estimated_cost());
        if program.uses("oldSelf") && old.is_none() && !optional {
            return;
        }
        let value = |json| Value::typed(json, &typed).expect("the schema holds");
        let before = match (optional, old.map(value)) {
            (true, before) => before.map_or(Value::none(), Value::some),
            (false, before) => before.unwrap_or(Value::Null),
        };
        let variables = [("self", value(object)), ("oldSelf", before)];
        let evaluation = program.evaluate(&variables, limits::PER_CALL);
        self.cost += evaluation.cost;
        if matches!(evaluation.result, Ok(Value::Bool(true))) {
            return;
        }
        self.failed.push(format!("{text}: {:?}", evaluation.result));
        if let (Some(message), Ok(_)) = (rule["messageExpression"].as_str(), &evaluation.result) {
            let message = environment.compile(message).expect(message);
            self.cost += message.evaluate(&variables, limits::PER_CALL).cost;
        }
    }
}
