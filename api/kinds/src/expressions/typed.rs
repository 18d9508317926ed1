//! Whether the expressions of a ValidatingAdmissionPolicy fit the kinds that it is about: what its status tells its author. It decides
//! nothing: a policy that does not fit is evaluated all the same.
//!
//! Each kind is taken by its schema, built-in ones from the facts table. Only kinds that the rules name outright are asked, ten at
//! most, and no subresources.

use std::collections::BTreeMap;

use expressions::{CompileError, Environment, Schema, Type};
use schema::facts::{Arity, Field, Shape};
use schema::{DocExt, Facts, TypeId, Value, json};

use super::admission::typed_environment;
use super::{VARIABLES_TYPE, remembered};
use crate::KindRef;

/// Kinds that one rule is asked about.
const KINDS_MAX: usize = 10;

/// `status.typeChecking.expressionWarnings` of a policy. `kinds` are those that are served.
pub fn warnings(policy: &Value, kinds: &[KindRef]) -> Vec<Value> {
    let params = param_kind(policy, kinds);
    let checks: Vec<Check> = matched(policy, kinds).into_iter().map(|kind| Check::new(policy, kind, params)).collect();
    let mut all = Vec::new();
    for (at, validation) in policy.items_at("spec.validations").iter().enumerate() {
        for member in ["expression", "messageExpression"] {
            let text = validation.str_at(member);
            let told: Vec<String> = checks.iter().filter_map(|check| check.complaint(text)).collect();
            if !text.is_empty() && !told.is_empty() {
                all.push(json!({"fieldRef": format!("spec.validations[{at}].{member}"), "warning": told.join("\n")}));
            }
        }
    }
    all
}

/// Groups of the kinds that a policy names, its parameters' among them: whoever looks for custom kinds need not read others.
pub fn groups(policy: &Value) -> Vec<&str> {
    let rules = policy.items_at("spec.matchConstraints.resourceRules").iter();
    let named = rules.flat_map(|rule| rule.items_at("apiGroups")).filter_map(Value::as_str);
    let params = policy.str_at("spec.paramKind.apiVersion").split_once('/').map(|(group, _)| group);
    named.chain(params).collect()
}

/// The kinds that the rules name, by group, version and kind.
fn matched<'k>(policy: &Value, kinds: &'k [KindRef]) -> Vec<&'k KindRef> {
    let mut all = BTreeMap::new();
    for rule in policy.items_at("spec.matchConstraints.resourceRules") {
        let (groups, versions) = (plain(rule, "apiGroups"), plain(rule, "apiVersions"));
        let (Some(groups), Some(versions)) = (groups, versions) else { continue };
        let resources: Vec<&str> = texts(rule, "resources").into_iter().filter(|text| !text.contains(['*', '/'])).collect();
        let is_named = |kind: &&KindRef| {
            groups.contains(&kind.group.as_ref())
                && versions.contains(&kind.version.as_ref())
                && resources.contains(&kind.resource.as_ref())
        };
        for kind in kinds.iter().filter(is_named).take(KINDS_MAX) {
            all.insert((kind.group.to_string(), kind.version.to_string(), kind.kind.to_string()), kind);
        }
    }
    all.into_values().collect()
}

/// A list that names everything it means; None where it has a `*`.
fn plain<'r>(rule: &'r Value, list: &str) -> Option<Vec<&'r str>> {
    let all = texts(rule, list);
    (!all.iter().any(|text| text.contains('*'))).then_some(all)
}

fn texts<'r>(rule: &'r Value, list: &str) -> Vec<&'r str> {
    rule.items_at(list).iter().filter_map(Value::as_str).collect()
}

fn param_kind<'k>(policy: &Value, kinds: &'k [KindRef]) -> Option<&'k KindRef> {
    let (api_version, kind) = (policy.str_at("spec.paramKind.apiVersion"), policy.str_at("spec.paramKind.kind"));
    kinds.iter().find(|one| one.kind == kind && one.api_version() == api_version)
}

/// What a policy may name where it is about one kind.
struct Check {
    about: String,
    environment: Environment,
}

impl Check {
    fn new(policy: &Value, kind: &KindRef, params: Option<&KindRef>) -> Self {
        let mut environment = typed_environment();
        let object = declare(&mut environment, kind);
        environment.variable("object", object.clone()).variable("oldObject", object);
        if policy.at("spec.paramKind").is_some_and(Value::is_object) {
            let ty = params.map_or(Type::Dyn, |params| declare(&mut environment, params));
            environment.variable("params", ty);
        }
        declare_variables(&mut environment, policy);
        Self { about: format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind), environment }
    }

    fn complaint(&self, text: &str) -> Option<String> {
        match self.environment.compile(text) {
            Err(CompileError::Issues(issues)) => Some(format!("{}: {issues}\n", self.about)),
            // A constant that has no value is no question of types.
            Err(CompileError::Constant(_)) | Ok(_) => None,
        }
    }
}

/// Each variable knows those before it. One that does not compile is dyn: its own place tells of it.
fn declare_variables(environment: &mut Environment, policy: &Value) {
    let mut known: Vec<(&str, Type)> = Vec::new();
    for variable in policy.items_at("spec.variables") {
        environment.object_type(VARIABLES_TYPE, known.iter().cloned()).variable("variables", Type::object(VARIABLES_TYPE));
        let program = environment.compile(variable.str_at("expression"));
        known.push((variable.str_at("name"), program.map_or(Type::Dyn, |program| remembered(program.output()))));
    }
    environment.object_type(VARIABLES_TYPE, known).variable("variables", Type::object(VARIABLES_TYPE));
}

fn declare(environment: &mut Environment, kind: &KindRef) -> Type {
    let document = match &kind.custom {
        Some(custom) => with_metadata(custom.schema_document()),
        None => of_type(kind.ty, &mut Vec::new()),
    };
    Schema::parse(&document, true).declare(environment, &kind.kind).unwrap_or(Type::Dyn)
}

/// A custom kind's schema as it is published: with the metadata of every object.
fn with_metadata(mut document: Value) -> Value {
    let metadata = Facts::builtin().definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    if let Some(ty) = metadata
        && document["type"] == "object"
    {
        document.set_at("properties.metadata", of_type(ty, &mut Vec::new()));
    }
    document
}

/// A built-in type as a schema. One within itself is an object without fields.
fn of_type(ty: TypeId, within: &mut Vec<TypeId>) -> Value {
    if within.contains(&ty) {
        return json!({"type": "object"});
    }
    within.push(ty);
    let fields = &Facts::builtin().get(ty).fields;
    let properties: schema::Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), of_field(field, within))).collect();
    within.pop();
    json!({"type": "object", "properties": properties})
}

fn of_field(field: &Field, within: &mut Vec<TypeId>) -> Value {
    let one = of_shape(field.shape, within);
    match field.arity {
        Arity::One => one,
        Arity::List => json!({"type": "array", "items": one}),
        Arity::Map => json!({"type": "object", "additionalProperties": one}),
        Arity::MapOfList => json!({"type": "object", "additionalProperties": {"type": "array", "items": one}}),
    }
}

fn of_shape(shape: Shape, within: &mut Vec<TypeId>) -> Value {
    match shape {
        Shape::String | Shape::Duration => json!({"type": "string"}),
        Shape::Int32 | Shape::Int64 => json!({"type": "integer"}),
        Shape::Number => json!({"type": "number"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        // A quantity is a text or a number: what is asked of it shows when it is there.
        Shape::Quantity | Shape::IntOrString => json!({"x-kubernetes-int-or-string": true}),
        Shape::Any | Shape::FieldsV1 => json!({"type": "object"}),
        Shape::Object(ty) => of_type(ty, within),
        Shape::SchemaOrArray(_) | Shape::SchemaOrBool(_) | Shape::SchemaOrStrings(_) => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(resources: Value, spec: Value) -> Value {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": resources});
        let mut doc = json!({"spec": spec});
        doc.set_at("spec.matchConstraints", json!({"resourceRules": [rule]}));
        doc
    }

    fn told(policy: &Value) -> Vec<(String, String)> {
        let all = warnings(policy, crate::all());
        all.iter().map(|one| (one.str_at("fieldRef").to_owned(), one.str_at("warning").to_owned())).collect()
    }

    #[test]
    fn each_kind_that_does_not_fit_is_told_in_upstreams_words() {
        let doc = policy(
            json!(["replicasets", "deployments"]),
            json!({"validations": [
                {"expression": "object.replicas > 1"},
                {"expression": "object.spec.replicas > 1", "messageExpression": "'at ' + object.spec.replicas"},
                {"expression": "object.metadata.creationTimestamp.getFullYear() > 2000 && object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] == '1')"},
            ]}),
        );
        let one = "Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n";
        let warning = format!("apps/v1, {one}\napps/v1, {}", one.replace("Deployment", "ReplicaSet"));
        let all = told(&doc);
        assert_eq!(all[0], ("spec.validations[0].expression".into(), warning));
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[1].0 == "spec.validations[1].messageExpression" && all[1].1.contains("no matching overload for '_+_'"), "{all:?}");
    }

    #[test]
    fn variables_and_params_have_types_too() {
        let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "variables": [{"name": "size", "expression": "object.spec.replicas"}, {"name": "double", "expression": "variables.size * 2"},
                {"name": "spec", "expression": "object.spec"}],
            "validations": [{"expression": "variables.double == params.data['n']"}, {"expression": "variables.spec.nope == 1"}, {"expression": "params.nope == ''"}]});
        let all = told(&policy(json!(["deployments"]), spec));
        let places: Vec<&str> = all.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["spec.validations[0].expression", "spec.validations[2].expression"], "{all:?}");
        assert!(all[0].1.contains("found no matching overload for '_==_' applied to '(int, string)'"), "{all:?}");
    }

    #[test]
    fn wildcards_and_subresources_are_not_asked() {
        for resources in [json!(["*"]), json!(["deployments/scale"]), json!(["nopes"])] {
            assert_eq!(told(&policy(resources.clone(), json!({"validations": [{"expression": "object.nope"}]}))), [], "{resources}");
        }
    }
}
