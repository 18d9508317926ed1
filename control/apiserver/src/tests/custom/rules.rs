//! `x-kubernetes-validations`: what a definition may say, and what becomes of writes that break a rule.

use super::*;

/// The definition with rules at its `spec` and at its root.
fn ruled(rules: Value) -> Value {
    let mut definition = definition();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["x-kubernetes-validations"] = rules;
    definition
}

fn rules() -> Value {
    json!([
        {"rule": "self.size >= oldSelf.size", "message": "never shrinks"},
        {"rule": "self.size < 10", "messageExpression": "'size ' + string(self.size) + ' is too large'", "fieldPath": ".size", "reason": "FieldValueForbidden"},
        {"rule": "!oldSelf.hasValue() || oldSelf.value().color == self.color", "optionalOldSelf": true, "message": "the color stays"},
    ])
}

fn with_bounds(mut definition: Value) -> Value {
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"]["maxLength"] = json!(20);
    definition
}

/// Without the expensive message.
fn affordable(mut rules: Value) -> Value {
    rules[1]["messageExpression"] = json!("'size %d is too large'.format([self.size])");
    rules
}

#[tokio::test]
async fn every_write_keeps_the_rules_of_its_schema() {
    let cluster = world().await;
    defined(&cluster, with_bounds(ruled(affordable(rules())))).await;
    let why = |name: &str, text: &str| (422, format!("Widget.example.com {name:?} is invalid: {text}"));
    let told = |status: Status| (status.code, status.message);
    let bad = cluster.create(widgets(), widget("a", json!({"size": 12}))).await.unwrap_err();
    assert_eq!(told(bad.clone()), why("a", "spec.size: Forbidden: size 12 is too large"));
    let cause = &bad.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldValueForbidden", "spec.size"));
    cluster.create(widgets(), widget("a", json!({"size": 5}))).await.unwrap();
    let patch = |spec: Value| cluster.patch(widgets().named("a"), Patch::Merge, json!({"spec": spec}));
    assert_eq!(told(patch(json!({"size": 4})).await.unwrap_err()), why("a", "spec: Invalid value: never shrinks"));
    let both = "[spec.size: Forbidden: size 11 is too large, spec: Invalid value: the color stays]";
    assert_eq!(told(patch(json!({"size": 11, "color": "blue"})).await.unwrap_err()), why("a", both));
    let json_patch = json!([{"op": "replace", "path": "/spec/size", "value": 3}]);
    assert_eq!(cluster.patch(widgets().named("a"), Patch::Json, json_patch).await.unwrap_err().code, 422);
    let mut doc = cluster.get(widgets().named("a")).await.unwrap();
    doc["spec"]["size"] = json!(1);
    assert_eq!(told(cluster.update(widgets().named("a"), doc).await.unwrap_err()), why("a", "spec: Invalid value: never shrinks"));
    patch(json!({"size": 6})).await.unwrap();
}

#[tokio::test]
async fn what_a_definition_cannot_promise_is_refused_with_it() {
    let cluster = world().await;
    let at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations";
    for (rules, want) in [
        (json!([{"rule": "self.nope > 1"}]), vec!["undefined field 'nope'"]),
        (json!([{"rule": "self.size"}]), vec!["cel expression must evaluate to a bool"]),
        (
            rules(),
            vec![
                "[1].messageExpression: Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x",
                "contributed",
            ],
        ),
        (json!([{"rule": "self.color.matches('(')"}]), vec!["[0].rule: Invalid value"]),
    ] {
        // Two versions with schemas of their own would be told each at its place: here all say the same.
        let mut definition = ruled(rules.clone());
        definition["spec"]["versions"].as_array_mut().unwrap().truncate(1);
        let status = cluster.create(definitions(), definition).await.unwrap_err();
        assert_eq!(status.code, 422, "{rules}");
        let found = |part: &&str| status.message.contains(at) && status.message.contains(*part);
        assert!(want.iter().all(found), "{rules}: {}", status.message);
    }
}

#[tokio::test]
async fn a_tightened_rule_lets_pass_what_did_not_change_and_says_so() {
    let cluster = world().await;
    let mut made = defined(&cluster, definition()).await;
    cluster.create(widgets(), widget("a", json!({"size": 20, "color": "red"}))).await.unwrap();
    let schema = &mut made["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["size"]["x-kubernetes-validations"] = json!([{"rule": "self < 10", "message": "below ten"}]);
    schema["properties"]["spec"]["properties"]["color"]["enum"] = json!(["red", "blue"]);
    cluster.update(definitions().named("widgets.example.com"), made).await.unwrap();
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    let patch = Body::Patch { kind: Patch::Merge, bytes: label.to_string().into() };
    let answer = cluster.call(Verb::Patch, widgets().named("a"), Options::default(), patch).await.unwrap();
    assert_eq!(answer.warnings, ["spec.size: Invalid value: 20: below ten"]);
    let bad = cluster.patch(widgets().named("a"), Patch::Merge, json!({"spec": {"size": 21}})).await.unwrap_err();
    assert!(bad.message.ends_with("spec.size: Invalid value: 21: below ten"), "{}", bad.message);
    let bad = cluster.patch(widgets().named("a"), Patch::Merge, json!({"spec": {"color": "odd"}})).await.unwrap_err();
    assert!(bad.message.contains("spec.color: Unsupported value: \"odd\""), "the schema itself holds for what changes: {}", bad.message);
}

#[tokio::test]
async fn rules_of_the_status_are_asked_when_the_status_is_written() {
    let cluster = world().await;
    let mut definition = definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "!has(self.status) || !has(self.status.replicas) || self.status.replicas <= self.spec.size", "message": "too many"}]);
    defined(&cluster, definition).await;
    cluster.create(widgets(), widget("a", json!({"size": 1}))).await.unwrap();
    let write = |replicas: i64| cluster.patch(widgets().named("a").sub("status"), Patch::Merge, json!({"status": {"replicas": replicas}}));
    let bad = write(2).await.unwrap_err();
    assert_eq!(bad.message, "Widget.example.com \"a\" is invalid: <nil>: Invalid value: too many");
    write(1).await.unwrap();
}

#[tokio::test]
async fn rules_hold_from_the_revision_of_their_definition_and_after_a_restart() {
    let cluster = world().await;
    let mut made = defined(&cluster, definition()).await;
    cluster.create(widgets(), widget("a", json!({"size": 20}))).await.unwrap();
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
        json!([{"rule": "self.size < 10"}]);
    cluster.update(definitions().named("widgets.example.com"), made).await.unwrap();
    let refused = cluster.create(widgets(), widget("b", json!({"size": 20}))).await.unwrap_err();
    assert!(refused.message.ends_with("spec: Invalid value: failed rule: self.size < 10"), "{}", refused.message);
    let again = Cluster::on(Arc::clone(&cluster.store), Config::default()).await;
    assert_eq!(again.create(widgets(), widget("b", json!({"size": 20}))).await.unwrap_err().code, 422);
    again.create(widgets(), widget("c", json!({"size": 2}))).await.unwrap();
}
