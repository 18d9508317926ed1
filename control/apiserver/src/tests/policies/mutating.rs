use super::*;

fn configuration(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

fn of(mutations: &[Value]) -> Value {
    json!({"mutations": mutations})
}

fn label(name: &str, value: &str) -> Value {
    configuration(&format!("Object{{metadata: Object.metadata{{labels: {{'{name}': {value}}}}}}}"))
}

fn labels(doc: &Value) -> Value {
    doc.at("metadata.labels").cloned().unwrap_or_default()
}

#[tokio::test]
async fn configurations_and_patches_change_what_comes_in() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let side =
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'side', image: 'side:1', restartPolicy: 'Always'}]}}";
    let more = "[JSONPatch{op: 'test', path: '/spec/containers/0/name', value: 'c'}, \
        JSONPatch{op: 'add', path: '/metadata/labels', value: {'a/b': 'x'}}, \
        JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('c/d'), value: string(object.spec.initContainers.size())}]";
    let spec = merged(of(&[configuration(side), patch(more)]), &json!({"matchConstraints": constraints("", "v1", "pods")}));
    mutating(&cluster, "p", spec).await;
    let made = cluster.create(pods(), pod("a")).await.unwrap();
    assert_eq!(labels(&made), json!({"a/b": "x", "c/d": "1"}), "a mutation sees what the one before it made");
    let init = &made.items_at("spec.initContainers")[0];
    assert_eq!(
        (init.str_at("name"), init.str_at("restartPolicy"), init.str_at("terminationMessagePath")),
        ("side", "Always", "/dev/termination-log")
    );
    assert_eq!(made.items_at("spec.containers").len(), 1);
}

#[tokio::test]
async fn a_test_that_fails_changes_nothing_and_other_faults_refuse() {
    let cluster = Cluster::bare().await;
    mutating(&cluster, "a", of(&[patch("[JSONPatch{op: 'test', path: '/data/k', value: 'w'}, JSONPatch{op: 'remove', path: '/data'}]")]))
        .await;
    assert_eq!(try_map(&cluster, "a").await.unwrap()["data"], json!({"k": "v"}));
    for (name, mutation, want) in [
        (
            "b",
            patch("[JSONPatch{op: 'remove', path: '/none/x'}]"),
            "JSON Patch: remove operation does not apply: doc is missing path: \"/none/x\": missing value",
        ),
        (
            "c",
            configuration("Object{metadata: Object.spec{}}"),
            "type mismatch: unexpected type name \"Object.spec\", expected \"Object.metadata\", which matches field name path from root Object type",
        ),
        (
            "d",
            configuration("Object{nope: 1}"),
            "error applying patch: failed to convert patch object to typed object: .nope: field not declared in schema",
        ),
        (
            "e",
            configuration("Object{data: {'k': object.nope}}"),
            "expression 'Object{data: {'k': object.nope}}' resulted in error: no such key: nope",
        ),
    ] {
        mutating(&cluster, name, of(std::slice::from_ref(&mutation))).await;
        let status = try_map(&cluster, "x").await.unwrap_err();
        let want = format!("policy '{name}' with binding '{name}-b' denied request: {want}");
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (403, "Invalid", want.as_str()));
        assert_eq!(status.details.unwrap().causes[0].message, want);
        let open = json!({"spec": {"failurePolicy": "Ignore"}});
        cluster.patch(policies("Mutating").named(name), Patch::Merge, open).await.unwrap();
        try_map(&cluster, &format!("open-{name}")).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_policy_makes_must_be_of_its_kind_and_valid() {
    let cluster = Cluster::bare().await;
    mutating(&cluster, "a", of(&[patch("[JSONPatch{op: 'add', path: '/nope', value: 1}]")])).await;
    let status = try_map(&cluster, "x").await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (500, "Internal error occurred: strict decoding error: unknown field \"nope\""));
    cluster.delete(bindings("Mutating").named("a-b"), Options::default()).await.unwrap();
    mutating(&cluster, "b", of(&[configuration("Object{data: {'no such key!': 'x'}}")])).await;
    assert_eq!(try_map(&cluster, "x").await.unwrap_err().code, 422);
    cluster.delete(bindings("Mutating").named("b-b"), Options::default()).await.unwrap();
    // What the server alone says stays as it is.
    mutating(&cluster, "c", of(&[patch("[JSONPatch{op: 'add', path: '/metadata/uid', value: 'forged'}]")])).await;
    assert_ne!(try_map(&cluster, "x").await.unwrap().str_at("metadata.uid"), "forged");
}

#[tokio::test]
async fn a_created_object_is_seen_before_the_server_stamps_it() {
    let cluster = Cluster::bare().await;
    mutating(&cluster, "p", of(&[label("seen", "has(object.metadata.uid) || has(object.metadata.name) ? 'stamped' : 'plain'")])).await;
    let doc = json!({"metadata": {"generateName": "x-"}});
    let made = cluster.create(config_maps(), doc).await.unwrap();
    assert_eq!(labels(&made), json!({"seen": "plain"}));
    assert!(made.str_at("metadata.name").starts_with("x-") && !made.str_at("metadata.uid").is_empty());
}

#[tokio::test]
async fn policies_with_params_are_made_once_for_each() {
    let cluster = Cluster::bare().await;
    let reference = json!({"paramRef": {"selector": {}, "namespace": "other", "parameterNotFoundAction": "Allow"}});
    let expression = "Object{metadata: Object.metadata{labels: {'of-' + params.metadata.name: params.data.v}}}";
    let spec = merged(
        of(&[configuration(expression)]),
        &json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": constraints("", "v1", "secrets")}),
    );
    bound(&cluster, "Mutating", "p", spec, reference).await;
    for (name, value) in [("a", "1"), ("b", "2")] {
        let map = json!({"metadata": {"name": name}, "data": {"v": value}});
        cluster.create(Target::of("v1", "configmaps", "other"), map).await.unwrap();
    }
    let made = cluster.create(Target::of("v1", "secrets", "default"), json!({"metadata": {"name": "s"}})).await.unwrap();
    assert_eq!(labels(&made), json!({"of-a": "1", "of-b": "2"}));
}

#[tokio::test]
async fn who_wants_to_sees_what_came_after_once() {
    for (again, want) in [("Never", "0"), ("IfNeeded", "1")] {
        let cluster = Cluster::bare().await;
        let count = label("count", "has(object.metadata.labels) ? string(object.metadata.labels.size()) : '0'");
        mutating(&cluster, "a", merged(of(&[count]), &json!({"reinvocationPolicy": again}))).await;
        mutating(&cluster, "b", of(&[label("later", "'x'")])).await;
        let made = try_map(&cluster, "x").await.unwrap();
        assert_eq!(made.str_at("metadata.labels.later"), "x");
        // 0 at first; then `count` itself and `later` are there.
        let want = if want == "1" { "2" } else { "0" };
        assert_eq!(made.str_at("metadata.labels.count"), want, "{again}");
    }
}

#[tokio::test]
async fn conditions_and_variables_serve_mutations_and_deletes_pass_by() {
    let cluster = Cluster::bare().await;
    let spec = json!({"variables": [{"name": "who", "expression": "request.userInfo.username"}],
        "matchConditions": [{"name": "c", "expression": "request.operation != 'DELETE' && object.metadata.name != 'free'"}],
        "mutations": [label("by", "variables.who + (namespaceObject.metadata.name == 'default' ? '-here' : '')")]});
    mutating(&cluster, "p", spec).await;
    assert_eq!(labels(&try_map(&cluster, "x").await.unwrap()), json!({"by": "admin-here"}));
    assert_eq!(labels(&try_map(&cluster, "free").await.unwrap()), Value::Null);
    cluster.delete(config_maps().named("x"), Options::default()).await.unwrap();
}

#[tokio::test]
async fn custom_objects_follow_their_schema() {
    let cluster = custom::world().await;
    let ports = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
        "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}, "kind": {"type": "string", "default": "tcp"}}}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"ports": ports, "list": {"type": "array", "items": {"type": "string"}}}}}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    custom::defined(&cluster, definition).await;
    let add = "Object{spec: Object.spec{ports: [Object.spec.ports{name: 'b', port: 2}]}}";
    mutating(&cluster, "p", merged(of(&[configuration(add)]), &json!({"matchConstraints": constraints("example.com", "v1", "widgets")})))
        .await;
    let widget = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"ports": [{"name": "a", "port": 1}]}});
    let widgets = || Target::of("example.com/v1", "widgets", "default");
    let made = cluster.create(widgets(), widget("w")).await.unwrap();
    assert_eq!(made["spec"]["ports"], json!([{"name": "a", "port": 1, "kind": "tcp"}, {"name": "b", "port": 2, "kind": "tcp"}]));
    let whole = "Object{spec: Object.spec{list: ['x']}}";
    mutating(&cluster, "q", merged(of(&[configuration(whole)]), &json!({"matchConstraints": constraints("example.com", "v1", "widgets")})))
        .await;
    let status = cluster.create(widgets(), widget("v")).await.unwrap_err();
    assert!(
        status
            .message
            .ends_with("error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.list"),
        "{status}"
    );
}
