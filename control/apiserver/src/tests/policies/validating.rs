use super::*;

#[tokio::test]
async fn a_policy_is_in_force_when_its_writes_are_answered_and_gone_when_it_is_deleted() {
    let cluster = Cluster::bare().await;
    validating(&cluster, "p", rule("object.metadata.name.startsWith('ok')")).await;
    let status = try_map(&cluster, "no").await.unwrap_err();
    let why = "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: object.metadata.name.startsWith('ok')";
    assert_eq!(status.message, format!("configmaps \"no\" is forbidden: {why}"));
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let details = status.details.unwrap();
    assert_eq!((details.name.as_str(), details.kind.as_str(), details.causes.len()), ("no", "configmaps", 1));
    assert_eq!((details.causes[0].message.as_str(), details.causes[0].reason.as_str()), (why, ""));
    try_map(&cluster, "ok").await.unwrap();
    let mut policy = cluster.get(policies("Validating").named("p")).await.unwrap();
    policy.set_at("spec.validations", json!([{"expression": "object.metadata.name.startsWith('no')"}]));
    cluster.update(policies("Validating").named("p"), policy).await.unwrap();
    try_map(&cluster, "no").await.unwrap();
    assert_eq!(try_map(&cluster, "ok2").await.unwrap_err().code, 422);
    cluster.delete(bindings("Validating").named("p-b"), Options::default()).await.unwrap();
    try_map(&cluster, "ok2").await.unwrap();
}

#[tokio::test]
async fn messages_and_reasons_are_what_the_policy_says() {
    let cluster = Cluster::bare().await;
    for (index, (validation, code, reason, want)) in [
        (json!({"expression": "false", "message": " told "}), 422, "Invalid", "told"),
        (json!({"expression": "false", "message": "m", "messageExpression": "'no ' + object.metadata.name"}), 422, "Invalid", "no x"),
        (json!({"expression": "false", "message": "m", "messageExpression": "'a\\nb'"}), 422, "Invalid", "m"),
        (json!({"expression": "false", "message": "m", "messageExpression": "object.nope"}), 422, "Invalid", ""),
        (
            json!({"expression": "false", "messageExpression": "string(object.data.n)", "reason": "Forbidden"}),
            403,
            "Forbidden",
            "failed expression: false",
        ),
        (json!({"expression": " false ", "reason": "RequestEntityTooLarge"}), 413, "RequestEntityTooLarge", "failed expression: false"),
        (json!({"expression": "false", "reason": "Unauthorized"}), 401, "Unauthorized", "failed expression: false"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("p{index}");
        let policy = json!({"metadata": {"name": name}, "spec": {
            "matchConstraints": constraints("", "v1", "configmaps"), "validations": [validation]}});
        let made = cluster.create(policies("Validating"), policy).await;
        if want.is_empty() {
            assert!(made.unwrap_err().message.contains("must evaluate to string but got dyn"));
            continue;
        }
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
        made.unwrap();
        cluster.create(bindings("Validating"), binding).await.unwrap();
        let status = try_map(&cluster, "x").await.unwrap_err();
        let why = format!("configmaps \"x\" is forbidden: ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: {want}");
        assert_eq!((status.code, status.reason.as_str(), status.message), (code, reason, why));
        cluster.delete(bindings("Validating").named(&name), Options::default()).await.unwrap();
    }
}

#[tokio::test]
async fn actions_deny_warn_and_tell_the_audit_log() {
    let cluster = Cluster::bare().await;
    let spec = json!({
        "validations": [{"expression": "true"}, {"expression": "has(object.data.ok)", "message": "no ok"}],
        "auditAnnotations": [
            {"key": "name", "valueExpression": "'made ' + object.metadata.name"},
            {"key": "none", "valueExpression": "true ? null : null"},
        ],
    });
    bound(&cluster, "Validating", "p", spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let doc = json!({"metadata": {"name": "x"}, "data": {"k": "v"}});
    let (warnings, annotations) = told(&cluster, &cluster.admin, Verb::Create, config_maps(), doc.clone()).await;
    assert_eq!(warnings.unwrap(), ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': no ok"]);
    let failure = r#"[{"message":"no ok","policy":"p","binding":"p-b","expressionIndex":1,"validationActions":["Warn","Audit"]}]"#;
    let failed: Value = serde_json::from_str(&annotations[1].1).unwrap();
    assert_eq!(
        (annotations[1].0.as_str(), failed),
        ("validation.policy.admission.k8s.io/validation_failure", serde_json::from_str(failure).unwrap())
    );
    assert_eq!(annotations[0], ("p/name".to_owned(), "made x".to_owned()));
    assert_eq!(annotations.len(), 2);
    let fine = json!({"metadata": {"name": "y"}, "data": {"ok": "v"}});
    let (warnings, annotations) = told(&cluster, &cluster.admin, Verb::Create, config_maps(), fine).await;
    assert_eq!((warnings.unwrap().len(), annotations), (0, vec![("p/name".to_owned(), "made y".to_owned())]));
}

#[tokio::test]
async fn expressions_see_the_whole_request() {
    let cluster = Cluster::bare().await;
    let all = [
        "request.operation in ['CREATE', 'UPDATE', 'DELETE']",
        "request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps' && request.requestKind.version == 'v1'",
        "request.userInfo.username == 'admin' && request.userInfo.groups.exists(g, g == 'system:masters')",
        "request.namespace == 'default' && namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
        "request.operation != 'CREATE' || oldObject == null",
        "request.operation != 'UPDATE' || oldObject.data.k != object.data.k",
        "request.operation != 'DELETE' || object == null && oldObject.metadata.name == request.name",
        "!request.dryRun && variables.size > 0",
        "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()",
        "authorizer.requestResource.check('delete').allowed()",
        "!authorizer.serviceAccount('default', 'x').group('').resource('secrets').check('get').allowed()",
    ];
    let validations: Vec<Value> = all.iter().map(|text| json!({"expression": text})).collect();
    let variables = json!([{"name": "doc", "expression": "object == null ? oldObject : object"},
        {"name": "size", "expression": "variables.doc.data.size()"}]);
    validating(&cluster, "p", json!({"validations": validations, "variables": variables})).await;
    try_map(&cluster, "x").await.unwrap();
    let patch = |value: &str| json!({"data": {"k": value}});
    cluster.patch(config_maps().named("x"), Patch::Merge, patch("w")).await.unwrap();
    cluster.apply(config_maps().named("x"), "m", true, json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "z"}})).await.unwrap();
    let status = cluster.patch(config_maps().named("x"), Patch::Merge, json!({"data": {"l": "new"}})).await.unwrap_err();
    assert!(status.message.ends_with("failed expression: request.operation != 'UPDATE' || oldObject.data.k != object.data.k"), "{status}");
    cluster.delete(config_maps().named("x"), Options::default()).await.unwrap();
}

#[tokio::test]
async fn conditions_constraints_and_bindings_say_which_requests_are_meant() {
    let cluster = Cluster::bare().await;
    let spec = json!({
        "validations": [{"expression": "false"}],
        "matchConditions": [{"name": "not-free", "expression": "!object.metadata.name.startsWith('free')"}],
        "matchConstraints": {
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
            "excludeResourceRules": [{"apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "resourceNames": ["left-out"]}],
            "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        },
    });
    let only = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"], "resourceNames": ["meant", "free", "left-out", "skipped"]}]});
    bound(&cluster, "Validating", "p", spec, json!({"matchResources": only})).await;
    assert_eq!(try_map(&cluster, "meant").await.unwrap_err().code, 422);
    for name in ["free", "left-out", "unbound"] {
        try_map(&cluster, name).await.unwrap_or_else(|status| panic!("{name}: {status}"));
    }
    let labelled = json!({"metadata": {"name": "skipped", "labels": {"skip": "x"}}});
    cluster.create(config_maps(), labelled).await.unwrap();
    let other = Target::of("v1", "configmaps", "other");
    cluster.create(other, json!({"metadata": {"name": "meant"}})).await.unwrap();
    let secret = json!({"metadata": {"name": "meant"}});
    cluster.create(Target::of("v1", "secrets", "default"), secret).await.unwrap();
}

#[tokio::test]
async fn other_versions_of_a_resource_are_matched_where_the_policy_wants_it() {
    let cluster = Cluster::bare().await;
    for (policy, matched) in [("Equivalent", true), ("Exact", false)] {
        let mut wanted = constraints("autoscaling", "v1", "horizontalpodautoscalers");
        wanted["matchPolicy"] = json!(policy);
        let name = policy.to_lowercase();
        let rule = json!({"validations": [{"expression": "request.kind.version == 'v1' && request.requestKind.version == 'v2' && !has(object.spec.metrics) && object.spec.targetCPUUtilizationPercentage > 50"}], "matchConstraints": wanted});
        validating(&cluster, &name, rule).await;
        let metric = |percent: i64| json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}]);
        let scaler = |name: &str, percent: i64| {
            json!({"metadata": {"name": name}, "spec": {"maxReplicas": 3, "metrics": metric(percent),
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
        };
        let target = || Target::of("autoscaling/v2", "horizontalpodautoscalers", "default");
        cluster.create(target(), scaler(&format!("{name}-much"), 60)).await.unwrap();
        assert_eq!(cluster.create(target(), scaler(&format!("{name}-few"), 40)).await.is_err(), matched, "{policy}");
        cluster.delete(bindings("Validating").named(&format!("{name}-b")), Options::default()).await.unwrap();
    }
}

#[tokio::test]
async fn subresources_are_asked_by_name_and_policies_can_always_be_mended() {
    let cluster = Cluster::bare().await;
    cluster.create(Target::of("apps/v1", "deployments", "default"), deployment("d")).await.unwrap();
    let everything = json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]});
    let said = "request.kind.kind + ' ' + request.resource.resource + '/' + request.?subResource.orValue('')";
    let spec = json!({"matchConstraints": everything, "validations": [{"expression": "false", "messageExpression": said}]});
    validating(&cluster, "all", spec).await;
    let deployments = || Target::of("apps/v1", "deployments", "default").named("d");
    let replicas = json!({"spec": {"replicas": 2}});
    let status = json!({"status": {"replicas": 1}});
    for (target, patch, want) in [
        (deployments(), &replicas, "Deployment deployments/"),
        (deployments().sub("status"), &status, "Deployment deployments/status"),
        (deployments().sub("scale"), &replicas, "Scale deployments/scale"),
    ] {
        let refused = cluster.patch(target, Patch::Merge, patch.clone()).await.unwrap_err();
        assert_eq!(refused.message.rsplit(": ").next(), Some(want));
    }
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    cluster.create(Target::of("authorization.k8s.io/v1", "selfsubjectaccessreviews", ""), review).await.unwrap();
    let webhooks = Target::of(GROUP, "validatingwebhookconfigurations", "");
    let refused = cluster.create(webhooks, json!({"metadata": {"name": "w"}})).await.unwrap_err();
    assert!(refused.message.contains("denied request: ValidatingWebhookConfiguration"), "{refused}");
    cluster.delete(bindings("Validating").named("all-b"), Options::default()).await.unwrap();
    try_map(&cluster, "x").await.unwrap();
}

fn deployment(name: &str) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
}

#[tokio::test]
async fn what_gos_types_always_print_is_there_to_be_asked() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let spec = json!({"matchConstraints": constraints("", "v1", "pods"),
        "validations": [{"expression": "object.spec.containers.all(c, !has(c.resources.limits)) && has(object.status)"}]});
    validating(&cluster, "p", spec).await;
    cluster.create(pods(), pod("a")).await.unwrap();
}

#[tokio::test]
async fn connections_pass_policies_too() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let spec = json!({"matchConstraints": constraints("", "v1", "pods/exec"),
        "validations": [{"expression": "request.operation == 'CONNECT' && object.container == 'c'", "message": "only c"}]});
    validating(&cluster, "p", spec).await;
    cluster.create(pods(), pod("a")).await.unwrap();
    let target = pods().named("a").sub("exec");
    for (container, fine) in [("c", true), ("d", false)] {
        let mut doc = json!({"apiVersion": "v1", "kind": "PodExecOptions", "container": container, "command": ["sh"]});
        let annotations = crate::admission::Annotations::default();
        let answer = cluster.core.connect(&cluster.admin, &target, &mut doc, &annotations).await;
        assert_eq!(answer.is_ok(), fine, "{answer:?}");
    }
}

/// Everybody may do everything but read config maps.
struct Blind;

#[async_trait::async_trait]
impl auth::Authorizer for Blind {
    async fn authorize(&self, asked: &auth::Attributes<'_>) -> auth::Decision {
        let reason = String::new();
        let reads = matches!(asked.verb, "get" | "list") && matches!(asked.resource, "configmaps" | "*");
        if reads { auth::Decision::NoOpinion { reason } } else { auth::Decision::Allow { reason } }
    }
    async fn rules_for(&self, _: &UserInfo, _: &str) -> auth::Rules {
        auth::Rules::default()
    }
    async fn missing(&self, _: &UserInfo, _: &str, _: &[auth::PolicyRule]) -> Vec<auth::PolicyRule> {
        Vec::new()
    }
    async fn role_rules(&self, _: &str, _: &str, _: &str) -> Option<Vec<auth::PolicyRule>> {
        None
    }
}

#[tokio::test]
async fn who_writes_a_policy_must_be_able_to_read_its_parameters() {
    let store = on_etcd::fresh_store().await;
    let core = Core::new(Arc::clone(&store), Env::sim(7), Config::default(), Arc::new(Blind), kinds::all().to_vec());
    core.load().await.unwrap();
    let admin = Cluster { core: Arc::clone(&core), store: Arc::clone(&store), admin: UserInfo::new("admin", &[auth::MASTERS]) };
    let editor = Cluster { core, store, admin: UserInfo::new("ed", &["dev"]) };
    let policy = |kind: &str| {
        json!({"metadata": {"name": "p"}, "spec": {"paramKind": {"apiVersion": "v1", "kind": kind},
            "matchConstraints": constraints("", "v1", "configmaps"), "validations": [{"expression": "params == null"}]}})
    };
    let refused = editor.create(policies("Validating"), policy("ConfigMap")).await.unwrap_err();
    let want = "spec.paramKind: Forbidden: user &{ed  [dev] map[]} must have \"get\" permission on all objects of the referenced paramKind \
                (kind=ConfigMap, apiVersion=v1)";
    assert_eq!((refused.code, refused.message.ends_with(want)), (422, true), "{refused}");
    admin.create(policies("Validating"), policy("ConfigMap")).await.unwrap();
    let binding = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"],
            "paramRef": {"name": "x", "namespace": "default", "parameterNotFoundAction": "Deny"}}})
    };
    let refused = editor.create(bindings("Validating"), binding("p")).await.unwrap_err();
    let want = "spec.paramRef: Forbidden: user &{ed  [dev] map[]} does not have \"get\" permission on the object referenced by paramRef";
    assert!(refused.message.ends_with(want), "{refused}");
    assert_eq!(editor.create(bindings("Validating"), binding("nobody")).await.unwrap_err().code, 422, "of an unknown kind: all of them");
    admin.create(bindings("Validating"), binding("p")).await.unwrap();
}
