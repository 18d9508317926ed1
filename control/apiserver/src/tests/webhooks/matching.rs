use super::*;

/// Whether a webhook with these members was asked about the creation of a config map `a` with the label `app: web`.
async fn is_asked(world: &World, members: &[(&str, Value)]) -> bool {
    world.validating("v", &[with(world.hook("x.example.com", "/deny"), members)]).await;
    let doc = json!({"metadata": {"name": "a", "labels": {"app": "web"}}});
    let created = world.cluster.create(config_maps(), doc).await;
    world.remove("Validating", "v").await;
    if created.is_ok() {
        world.cluster.delete(config_maps().named("a"), Options::default()).await.unwrap();
    }
    world.seen();
    created.is_err()
}

fn rule(groups: &str, versions: &str, operations: &str, resources: &str, scope: &str) -> Value {
    json!([{"apiGroups": [groups], "apiVersions": [versions], "operations": [operations], "resources": [resources], "scope": scope}])
}

#[tokio::test]
async fn rules_select_by_group_version_operation_resource_and_scope() {
    let world = World::start().await;
    for (rules, want) in [
        (rule("", "v1", "CREATE", "configmaps", "*"), true),
        (rule("*", "*", "*", "*", "*"), true),
        (rule("*", "*", "*", "*/*", "*"), true),
        (rule("", "v1", "CREATE", "configmaps/*", "*"), true),
        (rule("", "v1", "CREATE", "configmaps/status", "*"), false),
        (rule("apps", "v1", "CREATE", "configmaps", "*"), false),
        (rule("", "v2", "CREATE", "configmaps", "*"), false),
        (rule("", "v1", "UPDATE", "configmaps", "*"), false),
        (rule("", "v1", "CREATE", "secrets", "*"), false),
        (rule("", "v1", "CREATE", "configmaps", "Namespaced"), true),
        (rule("", "v1", "CREATE", "configmaps", "Cluster"), false),
    ] {
        assert_eq!(is_asked(&world, &[("rules", rules.clone())]).await, want, "{rules}");
    }
}

#[tokio::test]
async fn selectors_look_at_the_namespace_and_at_the_object() {
    let world = World::start().await;
    let labels = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    for (member, selector, want) in [
        ("namespaceSelector", labels("kubernetes.io/metadata.name", "default"), true),
        ("namespaceSelector", labels("kubernetes.io/metadata.name", "other"), false),
        ("objectSelector", labels("app", "web"), true),
        ("objectSelector", labels("app", "db"), false),
        ("objectSelector", json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), true),
    ] {
        assert_eq!(is_asked(&world, &[(member, selector.clone())]).await, want, "{member} {selector}");
    }
}

#[tokio::test]
async fn an_update_is_asked_about_when_the_old_or_the_new_object_is_selected() {
    let world = World::start().await;
    world.cluster.config_map("a", "web").await;
    let hook = with(world.hook("x.example.com", "/allow"), &[("objectSelector", json!({"matchLabels": {"app": "web"}}))]);
    world.validating("v", &[hook]).await;
    for (label, want) in [("db", 1), ("db2", 0), ("web", 1)] {
        world.cluster.patch(config_maps().named("a"), Patch::Merge, json!({"metadata": {"labels": {"app": label}}})).await.unwrap();
        assert_eq!(world.seen().len(), want, "to {label}");
    }
}

#[tokio::test]
async fn a_namespace_is_selected_by_its_own_labels_and_is_of_the_cluster() {
    let world = World::start().await;
    let namespaces = || Target::of("v1", "namespaces", "");
    let only = json!({"matchLabels": {"guarded": "yes"}});
    let hook = with(
        world.hook("x.example.com", "/allow"),
        &[("namespaceSelector", only), ("rules", rule("", "v1", "*", "namespaces", "Cluster"))],
    );
    world.validating("v", &[hook]).await;
    world.cluster.create(namespaces(), json!({"metadata": {"name": "plain"}})).await.unwrap();
    assert!(world.seen().is_empty());
    world.cluster.create(namespaces(), json!({"metadata": {"name": "guarded", "labels": {"guarded": "yes"}}})).await.unwrap();
    let (_, request) = world.seen().remove(0);
    assert_eq!((request.str_at("name"), request.str_at("namespace")), ("guarded", "guarded"));
    world.cluster.delete(namespaces().named("guarded"), Options::default()).await.unwrap();
    assert_eq!(world.seen().len(), 1);
    let nodes = with(
        world.hook("x.example.com", "/allow"),
        &[("namespaceSelector", json!({"matchLabels": {"a": "b"}})), ("rules", rule("", "v1", "*", "nodes", "*"))],
    );
    world.validating("w", &[nodes]).await;
    world.cluster.create(Target::of("v1", "nodes", ""), json!({"metadata": {"name": "n"}})).await.unwrap();
    assert_eq!(world.seen().len(), 1, "what is of the cluster and no namespace is never left out by namespaces");
}

#[tokio::test]
async fn an_equivalent_resource_is_shown_in_the_version_of_the_rule() {
    let world = World::start().await;
    let hpas = |version: &str| Target::of(&format!("autoscaling/{version}"), "horizontalpodautoscalers", "default");
    let rules = rule("autoscaling", "v1", "*", "horizontalpodautoscalers", "*");
    let exact = with(world.hook("x.example.com", "/allow/exact"), &[("rules", rules.clone()), ("matchPolicy", json!("Exact"))]);
    world.mutating("m", &[exact, with(world.hook("y.example.com", "/label-x"), &[("rules", rules)])]).await;
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let hpa = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": [metric], "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let made = world.cluster.create(hpas("v2"), hpa).await.unwrap();
    assert_eq!((made.str_at("apiVersion"), labels(&made).len(), &made["spec"]["metrics"]), ("autoscaling/v2", 1, &json!([metric])));
    let (path, request) = world.seen().remove(0);
    assert!(path.starts_with("/label-x"), "the exact one was not asked: {path}");
    assert_eq!(
        (request.str_at("kind.version"), request.str_at("requestKind.version"), request.str_at("resource.version")),
        ("v1", "v2", "v1")
    );
    assert_eq!(request.i64_at("object.spec.targetCPUUtilizationPercentage"), Some(50));
}

#[tokio::test]
async fn what_is_answered_and_not_stored_is_asked_about_once() {
    let world = World::start().await;
    with_account(&world.cluster).await;
    let every = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]);
    world.cluster.create(pods(), pod("a")).await.unwrap();
    world.cluster.create(pods(), pod("b")).await.unwrap();
    world.validating("v", &[with(world.hook("x.example.com", "/allow"), &[("rules", every)])]).await;
    let cluster = &world.cluster;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    cluster.create(pods().named("a").sub("binding"), binding).await.unwrap();
    cluster.create(pods().named("b").sub("eviction"), json!({"metadata": {"name": "b"}})).await.unwrap();
    let review = json!({"spec": {"user": "jane", "nonResourceAttributes": {"path": "/", "verb": "get"}}});
    cluster.create(Target::of("authorization.k8s.io/v1", "subjectaccessreviews", ""), review).await.unwrap();
    let token = cluster
        .create(Target::of("v1", "serviceaccounts", "default").named("default").sub("token"), json!({"spec": {"audiences": []}}))
        .await;
    assert_eq!(token.unwrap_err().code, 503, "nobody issues tokens here");
    let patch = json!({"status": {"phase": "Running"}});
    cluster.patch(pods().named("a").sub("status"), Patch::Merge, patch).await.unwrap();
    let told: Vec<String> = world
        .seen()
        .iter()
        .map(|(_, request)| {
            let at = |path: &str| request.str_at(path).to_owned();
            format!("{} {}/{} {} {}", at("operation"), at("resource.resource"), at("subResource"), at("kind.kind"), at("name"))
        })
        .collect();
    let want = [
        "CREATE pods/binding Binding a",
        "CREATE pods/eviction Eviction b",
        "CREATE subjectaccessreviews/ SubjectAccessReview ",
        "CREATE serviceaccounts/token TokenRequest default",
        "UPDATE pods/status Pod a",
    ];
    assert_eq!(told, want);
}

#[tokio::test]
async fn conditions_decide_which_requests_are_asked_about() {
    let world = World::start().await;
    for (expressions, want) in [
        (&["object.metadata.name == 'a'"][..], true),
        (&["object.metadata.name == 'b'"], false),
        (&["oldObject == null && request.operation == 'CREATE' && !request.dryRun"], true),
        (&["request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps' && request.namespace == 'default'"], true),
        (&["request.userInfo.username == 'nobody'"], false),
        (&["'system:masters' in request.userInfo.groups"], true),
        (&["authorizer.group('').resource('secrets').namespace('default').check('delete').allowed()"], true),
        (&["authorizer.requestResource.check('create').allowed()", "authorizer.path('/healthz').check('get').allowed()"], true),
        (&["!authorizer.serviceAccount('default', 'default').group('').resource('secrets').check('get').allowed()"], true),
        (&["object.metadata.labels.nope == 'x'", "object.metadata.name == 'b'"], false),
        (&["namespaceObject == null"], true),
    ] {
        let conditions = expressions.iter().enumerate().map(|(at, text)| json!({"name": format!("c{at}"), "expression": text}));
        assert_eq!(is_asked(&world, &[("matchConditions", conditions.collect())]).await, want, "{expressions:?}");
    }
}

#[tokio::test]
async fn conditions_that_fail_do_as_the_policy_says() {
    let world = World::start().await;
    let condition = json!([{"name": "mine", "expression": "object.nope.x == 'a'"}, {"name": "true", "expression": "true"}]);
    let hook = with(world.hook("x.example.com", "/deny"), &[("matchConditions", condition)]);
    world.validating("v", std::slice::from_ref(&hook)).await;
    let want = "configmaps \"a\" is forbidden: expression 'object.nope.x == 'a'' resulted in error: no such key: nope";
    assert_eq!(message(world.create("a").await), (403, want.to_owned()));
    world.remove("Validating", "v").await;
    world.validating("v", &[with(hook, &[("failurePolicy", json!("Ignore"))])]).await;
    world.create("a").await.unwrap();
    assert!(world.seen().is_empty(), "one that fails open is left out");
}

#[tokio::test]
async fn conditions_that_cost_too_much_end_in_their_budget() {
    let world = World::start().await;
    let bomb = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, \
                [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0))))))";
    let condition = |at: usize| json!({"name": format!("c{at}"), "expression": bomb});
    world.validating("v", &[with(world.hook("x.example.com", "/deny"), &[("matchConditions", json!([condition(0)]))])]).await;
    let (code, text) = message(world.create("a").await);
    assert!(code == 403 && text.ends_with("resulted in error: operation cancelled: actual cost limit exceeded"), "{code} {text}");
    world.remove("Validating", "v").await;
    let three: Vec<Value> = (0..3).map(condition).collect();
    world.validating("v", &[with(world.hook("x.example.com", "/deny"), &[("matchConditions", json!(three))])]).await;
    let want =
        "configmaps \"a\" is forbidden: validation failed due to running out of cost budget, no further validation rules will be run";
    assert_eq!(message(world.create("a").await), (403, want.to_owned()));
}

#[tokio::test]
async fn conditions_that_do_not_compile_are_errors_of_the_configuration() {
    let world = World::start().await;
    for (condition, want) in [
        (
            json!({"name": "c", "expression": "object.x =="}),
            "webhooks[0].matchConditions[0].expression: Invalid value: \"object.x ==\": compilation failed: ERROR: <input>:1:12: Syntax error",
        ),
        (json!({"name": "c", "expression": "'x'"}), "Invalid value: \"'x'\": must evaluate to bool but got string"),
        (json!({"name": "c", "expression": "params == null"}), "undeclared reference to 'params'"),
        (json!({"name": "c", "expression": " "}), "webhooks[0].matchConditions[0].expression: Required value"),
        (json!({"name": "c", "expression": "(".repeat(5_000)}), "compilation failed: ERROR: <input>"),
    ] {
        let hook = with(world.hook("x.example.com", "/deny"), &[("matchConditions", json!([condition]))]);
        let document = json!({"metadata": {"name": "v"}, "webhooks": [hook]});
        let target = Target::of("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "");
        let (code, text) = message(world.cluster.create(target, document).await);
        assert!(code == 422 && text.contains(want), "{code} {text}");
    }
}
