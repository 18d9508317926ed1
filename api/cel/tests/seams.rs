//! What programs reach outside of their documents, and what they make for others: authorizers, lazy variables, mutations.

use std::sync::{Arc, Mutex, OnceLock};

use expressions::seam::{Authorizer, Decision, LazyFields, Question};
use expressions::{Environment, Evaluation, Fault, Program, Type, Value, limits};
use serde_json::{Value as Json, json};

fn run<'a>(program: &'a Program, variables: &[(&str, Value<'a>)]) -> Evaluation<'a> {
    program.evaluate(variables, limits::PER_CALL)
}

fn made(environment: &Environment, text: &str, document: &Json) -> Json {
    let program = environment.compile(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
    let evaluation = run(&program, &[("object", Value::json(document))]);
    evaluation.result.unwrap_or_else(|fault| panic!("{text}: {fault}")).to_json().expect(text)
}

/// Allows whoever may `get`, and remembers what it was asked.
#[derive(Debug, Default)]
struct Recorder {
    user: String,
    asked: Arc<Mutex<Vec<(String, Question)>>>,
}

impl Authorizer for Recorder {
    fn decide(&self, question: &Question) -> Decision {
        self.asked.lock().unwrap().push((self.user.clone(), question.clone()));
        let verb = match question {
            Question::Path { verb, .. } => verb,
            Question::Resource(resource) => &resource.verb,
        };
        Decision { allowed: verb == "get", reason: format!("because {verb}"), error: None }
    }

    fn for_service_account(&self, namespace: &str, name: &str) -> Result<Arc<dyn Authorizer>, Fault> {
        Ok(Arc::new(Self { user: format!("{namespace}/{name}"), asked: self.asked.clone() }))
    }
}

#[test]
fn an_authorizer_is_asked_what_the_expression_says() {
    let mut environment = Environment::kubernetes();
    environment.variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
    let recorder = Recorder::default();
    let asked = recorder.asked.clone();
    let authorizer: Arc<dyn Authorizer> = Arc::new(recorder);
    for (text, want, cost) in [
        ("authorizer.path('/healthz').check('get').allowed()", Ok(true), 350_003),
        (
            "authorizer.group('apps').resource('deployments').namespace('x').name('y').check('list').reason() == 'because list'",
            Ok(true),
            350_008,
        ),
        ("authorizer.serviceAccount('ns', 'sa').group('').resource('pods').subresource('log').check('get').allowed()", Ok(true), 350_006),
        ("authorizer.path('').check('get').allowed()", Err("path must not be empty"), 350_003),
        (
            "authorizer.serviceAccount('ns', 'S_A').group('').resource('pods').check('get').errored()",
            Err("Invalid service account name"),
            350_005,
        ),
    ] {
        let program = environment.compile(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let evaluation = run(&program, &[("authorizer", Value::Authorizer(authorizer.clone()))]);
        let got = evaluation.result.map(|value| value.as_bool() == Some(true)).map_err(|fault| fault.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{text}");
        assert_eq!(evaluation.cost, cost, "{text}");
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0], (String::new(), Question::Path { path: "/healthz".into(), verb: "get".into() }));
    let Question::Resource(deployments) = &asked[1].1 else { panic!("{:?}", asked[1]) };
    assert_eq!(
        (&*deployments.group, &*deployments.resource, &*deployments.namespace, &*deployments.name),
        ("apps", "deployments", "x", "y")
    );
    assert_eq!(asked[2].0, "ns/sa");
    assert_eq!(asked.len(), 3, "broken questions are not asked");
}

#[test]
fn three_checks_are_one_too_many() {
    let mut environment = Environment::kubernetes();
    environment.variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
    let check = "authorizer.path('/x').check('get').allowed()";
    let program = environment.compile(&format!("{check} && {check} && {check}")).unwrap();
    let authorizer: Arc<dyn Authorizer> = Arc::new(Recorder::default());
    let evaluation = run(&program, &[("authorizer", Value::Authorizer(authorizer))]);
    assert!(evaluation.result.unwrap_err().is_out_of_budget());
}

/// `variables.x` as a policy has it: a program, run when it is first read.
#[derive(Debug)]
struct Variables<'a> {
    program: &'a Program,
    object: &'a Json,
    count: OnceLock<Value<'a>>,
    runs: Mutex<u32>,
}

impl LazyFields for Variables<'_> {
    fn type_name(&self) -> &str {
        "kubernetes.variables"
    }

    fn field<'s>(&'s self, name: &str) -> Option<Result<Value<'s>, Fault>> {
        if name != "count" {
            return None;
        }
        let value = self.count.get_or_init(|| {
            *self.runs.lock().unwrap() += 1;
            run(self.program, &[("object", Value::json(self.object))]).result.unwrap_or(Value::Null)
        });
        Some(Ok(value.clone()))
    }
}

#[test]
fn variables_are_worked_out_once_and_only_when_read() {
    let object = json!({"items": [1, 2, 3]});
    let mut environment = Environment::kubernetes();
    environment.variable("object", Type::Dyn);
    let count = environment.compile("object.items.size()").unwrap();
    environment
        .object_type("kubernetes.variables", [("count", count.output().clone())])
        .variable("variables", Type::object("kubernetes.variables"));
    for (text, runs) in [("variables.count + variables.count == 6", 1), ("true || variables.count > 1", 0)] {
        let lazy = Variables { program: &count, object: &object, count: OnceLock::new(), runs: Mutex::new(0) };
        let program = environment.compile(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let evaluation = run(&program, &[("object", Value::json(&object)), ("variables", Value::Lazy(&lazy))]);
        assert!(matches!(evaluation.result, Ok(Value::Bool(true))), "{text}: {:?}", evaluation.result);
        assert_eq!(*lazy.runs.lock().unwrap(), runs, "{text}");
    }
    let wrong = environment.compile("variables.nope").unwrap_err().to_string();
    assert!(wrong.contains("undefined field 'nope'"), "{wrong}");
}

#[test]
fn mutations_make_objects_and_patches() {
    let mut environment = Environment::kubernetes_mutations();
    environment.variable("object", Type::Dyn);
    let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}});
    for (text, want) in [
        (
            "Object{metadata: Object.metadata{labels: {'app': object.metadata.name}}, spec: Object.spec{replicas: object.spec.replicas + 1}}",
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"replicas": 3}}),
        ),
        (
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: 'x'}]",
            json!([{"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "x"}]),
        ),
        ("Object{spec: Object.spec{?paused: object.spec.?paused, ?replicas: object.spec.?replicas}}", json!({"spec": {"replicas": 2}})),
        ("Object{spec: Object.spec{__namespace__: 'x'}}", json!({"spec": {"namespace": "x"}})),
    ] {
        assert_eq!(made(&environment, text, &object), want, "{text}");
    }
    let wrong = environment.compile("JSONPatch{op: 1, nope: 2}").unwrap_err().to_string();
    assert!(wrong.contains("expected type of field 'op' is 'string' but provided type is 'int'"), "{wrong}");
    assert!(wrong.contains("undefined field 'nope'"), "{wrong}");
    assert!(Environment::kubernetes().compile("Object{}").is_err(), "only mutations have it");
}

#[test]
fn our_own_expressions_have_more() {
    let mut environment = Environment::extended();
    environment.variable("object", Type::Dyn);
    for (text, want) in [
        ("cel.bind(x, object.n, x * x)", json!(9)),
        ("math.greatest(1, object.n, 2)", json!(3)),
        ("math.least([3.5, 2.5, 4.0])", json!(2.5)),
        ("base64.encode(b'hello') + string(base64.decode('aGk='))", json!("aGVsbG8=hi")),
        ("math.bitAnd(6, 3) + math.bitShiftLeft(1, 4) + math.abs(-2)", json!(20)),
        ("math.round(1.5) + math.floor(-1.5) + math.sqrt(16)", json!(4.0)),
    ] {
        assert_eq!(made(&environment, text, &json!({"n": 3})), want, "{text}");
    }
}

#[test]
fn a_typed_object_is_read_under_its_schema() {
    let schema = expressions::Schema::parse(
        &json!({"type": "object", "properties": {
            "when": {"type": "string", "format": "date-time"}, "data": {"type": "string", "format": "byte"}, "for": {"type": "string"},
            "a-b": {"type": "integer"}, "any": {"x-kubernetes-int-or-string": true}, "maybe": {"type": "string", "nullable": true},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "number"}},
        }}),
        false,
    );
    let mut environment = Environment::kubernetes();
    let ty = schema.declare(&mut environment, "self").unwrap();
    environment.variable("self", ty);
    let object = json!({
        "when": "2020-01-01T00:00:00Z", "data": "aGk=", "for": "x", "a-b": 1, "any": "50%", "maybe": null,
        "set": ["a", "b"], "map": {"x": 1}, "undeclared": true,
    });
    for text in [
        "self.when.getFullYear() == 2020 && string(self.data) == 'hi' && self.__for__ == 'x' && self.a__dash__b == 1",
        "type(self.any) == string && !has(self.maybe)",
        "self.set == ['b', 'a'] && self.set + ['b', 'c'] == ['a', 'b', 'c']",
        "self.map.x == 1.0 && self.map.all(k, self.map[k] > 0.5)",
        "self == self && self.set.exists(x, x == 'a')",
    ] {
        let program = environment.compile(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let evaluation = run(&program, &[("self", Value::typed(&object, &schema).unwrap())]);
        assert!(matches!(evaluation.result, Ok(Value::Bool(true))), "{text}: {:?}", evaluation.result);
    }
    for (text, want) in [("self.undeclared", "undefined field 'undeclared'"), ("self.a__dash__b == 'x'", "found no matching overload")] {
        let wrong = environment.compile(text).unwrap_err().to_string();
        assert!(wrong.contains(want), "{text}: {wrong}");
    }
}
