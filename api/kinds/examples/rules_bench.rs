//! What the rules of a custom kind add to the write of a 4 KB object, once they are compiled: microseconds per object, for each
//! rule alone in the walk over the object, and the slowest.

#![expect(clippy::print_stdout, reason = "a benchmark's result")]

use kinds::custom::rules::Rules;
use schema::{FieldErrors, Value, json};

/// Where a rule stands (`""`: at `spec`), and what it says.
const RULES: &[(&str, &str)] = &[
    ("", "self.replicas <= 5"),
    ("", "self.minimum <= self.maximum && self.replicas >= self.minimum"),
    ("", "!has(oldSelf.zone) || self.zone == oldSelf.zone"),
    ("", "self.parts.all(p, p.limits.memory != '' && p.image.startsWith('registry.example.com/'))"),
    ("", "self.parts.exists(p, p.name == 'sidecar') && self.parts.map(p, p.name).isSorted()"),
    ("parts", "self.image.matches('^[a-z0-9./-]+:[a-z0-9.-]+$')"),
    ("parts", "quantity(self.limits.memory).isLessThan(quantity('4Gi'))"),
    ("parts", "self.settings.all(s, s.name.startsWith('SETTING_'))"),
];

const ROUNDS: u32 = 20_000;

fn main() {
    let object = object();
    println!("object: {} bytes", object.to_string().len());
    let mut slowest = 0.0_f64;
    for (place, rule) in RULES {
        let micros = micros(&schema(place, rule), &object);
        println!("{micros:.3} us  {rule}");
        slowest = slowest.max(micros);
    }
    println!("slowest: {slowest:.3}");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn micros(schema: &Value, object: &Value) -> f64 {
    let rules = Rules::compile(schema).expect("the schema has a rule");
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        let mut errors = FieldErrors::default();
        rules.evaluate(object, Some(object), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

fn schema(place: &str, rule: &str) -> Value {
    let text = json!({"type": "string", "maxLength": 200});
    let number = json!({"type": "integer"});
    let of = |properties: Value| json!({"type": "object", "properties": properties});
    let setting = of(json!({"name": text, "value": text}));
    let part = of(json!({
        "name": text, "image": text, "limits": of(json!({"cpu": text, "memory": text})), "command": {"type": "array", "items": text},
        "settings": {"type": "array", "maxItems": 20, "items": setting},
    }));
    let list =
        json!({"type": "array", "maxItems": 5, "items": part, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]});
    let mut spec = of(json!({"replicas": number, "minimum": number, "maximum": number, "zone": text, "parts": list}));
    let at = if place.is_empty() { &mut spec } else { &mut spec["properties"][place]["items"] };
    at["x-kubernetes-validations"] = json!([{"rule": rule}]);
    of(json!({"spec": spec}))
}

fn object() -> Value {
    let settings: Vec<Value> =
        (0..18).map(|at| json!({"name": format!("SETTING_{at}"), "value": format!("value number {at} of the part, in words")})).collect();
    let part = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "limits": {"cpu": "500m", "memory": "512Mi"},
            "command": ["/usr/bin/app", "--listen", ":8080", "--log", "json"], "settings": settings,
        })
    };
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "web", "namespace": "production", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "minimum": 1, "maximum": 5, "zone": "a", "parts": [part("main"), part("sidecar")]},
    })
}
