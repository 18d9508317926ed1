use super::*;

#[tokio::test]
async fn a_denial_refuses_every_verb_with_upstreams_sentence() {
    let world = World::start().await;
    let map = world.create("a").await.unwrap();
    world.create("b").await.unwrap();
    world.validating("v", &[world.hook("x.example.com", "/deny")]).await;
    let cluster = &world.cluster;
    let named = || config_maps().named("a");
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    let operations = json!([{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]);
    let delete_all = cluster.call(Verb::DeleteCollection, config_maps(), Options::default(), Body::None).await.and_then(object);
    for (what, answer) in [
        ("create", world.create("c").await),
        ("update", cluster.update(named(), with(map.clone(), &[("data.k", json!("w"))])).await),
        ("json patch", cluster.patch(named(), Patch::Json, operations).await),
        ("merge patch", cluster.patch(named(), Patch::Merge, labels.clone()).await),
        ("strategic patch", cluster.patch(named(), Patch::Strategic, labels).await),
        ("delete", cluster.delete(named(), Options::default()).await),
        ("deletecollection", delete_all),
    ] {
        let want = (403, "admission webhook \"x.example.com\" denied the request: no such luck".to_owned());
        assert_eq!(message(answer), want, "{what}");
    }
    let operations: Vec<String> = world.seen().iter().map(|(_, request)| request.str_at("operation").to_owned()).collect();
    assert_eq!(operations, ["DELETE", "CREATE", "UPDATE", "UPDATE", "UPDATE", "UPDATE", "DELETE"]);
    assert_eq!(cluster.get(named()).await.unwrap(), map, "nothing has changed");
    world.remove("Validating", "v").await;
    world.validating("v", &[world.hook("x.example.com", "/mute")]).await;
    let want = (400, "admission webhook \"x.example.com\" denied the request without explanation".to_owned());
    assert_eq!(message(world.create("c").await), want);
}

#[tokio::test]
async fn a_review_says_who_what_and_how() {
    let world = World::start().await;
    world.validating("v", &[world.hook("x.example.com", "/allow")]).await;
    let mut user = UserInfo::new("jane", &[auth::MASTERS, "dev"]);
    user.uid = "u1".into();
    user.extra.insert("scope".into(), vec!["a".into(), "b".into()]);
    let options = Options { field_manager: "kubectl".into(), ..Options::default() };
    let body = Body::Value(json!({"metadata": {"generateName": "a-"}, "data": {"k": "v"}}));
    let request = Request { verb: Verb::Create, target: config_maps(), options, body };
    let made = object(world.cluster.core.call(&user, request).await.unwrap()).unwrap();
    let (path, mut review) = world.seen().remove(0);
    assert_eq!(path, "/allow?timeout=2s");
    assert_eq!(review["uid"].as_str().unwrap().len(), 36);
    review["uid"] = Value::Null;
    let name = made.str_at("metadata.name").to_owned();
    assert_eq!(review["object"].str_at("metadata.uid"), made.str_at("metadata.uid"), "one that validates sees what is stored");
    review["object"] = Value::Null;
    let (kind, resource) =
        (json!({"group": "", "version": "v1", "kind": "ConfigMap"}), json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(
        review,
        json!({"uid": null, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource, "name": name,
            "namespace": "default", "operation": "CREATE", "object": null, "oldObject": null, "dryRun": false,
            "userInfo": {"username": "jane", "uid": "u1", "groups": [auth::MASTERS, "dev"], "extra": {"scope": ["a", "b"]}},
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"}})
    );
    let delete = client::Delete { grace_period_seconds: Some(0), propagation_policy: Some("Background".into()), ..Default::default() };
    world.cluster.delete(config_maps().named(&name), Options { delete, ..Options::default() }).await.unwrap();
    let (_, review) = world.seen().remove(0);
    assert_eq!((&review["object"], review["oldObject"].str_at("metadata.name")), (&Value::Null, name.as_str()));
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 0, "propagationPolicy": "Background"});
    assert_eq!((review.str_at("operation"), &review["options"]), ("DELETE", &options));
}

#[tokio::test]
async fn those_that_validate_are_asked_at_once() {
    let world = World::start().await;
    let hooks: Vec<Value> = (0..8).map(|n| world.hook(&format!("x{n}.example.com"), "/slow")).collect();
    world.validating("v", &hooks).await;
    let started = tokio::time::Instant::now();
    world.create("a").await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(1_500), "eight times 300 ms one after the other: {:?}", started.elapsed());
    assert_eq!(world.seen().len(), 8);
}

#[tokio::test]
async fn warnings_and_audit_annotations_are_passed_on() {
    let world = World::start().await;
    world
        .validating(
            "v",
            &[world.hook("x.example.com", "/warn"), with(world.hook("y.example.com", "/500"), &[("failurePolicy", json!("Ignore"))])],
        )
        .await;
    world.mutating("m", &[world.hook("z.example.com", "/label-a")]).await;
    let annotations = crate::admission::Annotations::default();
    let request = Request {
        verb: Verb::Create,
        target: config_maps(),
        options: Options::default(),
        body: Body::Value(json!({"metadata": {"name": "a"}})),
    };
    let answer = world.cluster.core.call_annotated(&world.cluster.admin, request, &annotations).await.unwrap();
    assert_eq!(answer.warnings, ["mind the gap"]);
    let noted: BTreeMap<String, String> = annotations.take().into_iter().collect();
    let want = [
        ("failed-open.validating.webhook.admission.k8s.io/round_0_index_1", "y.example.com"),
        ("mutation.webhook.admission.k8s.io/round_0_index_0", r#"{"configuration":"m","mutated":true,"webhook":"z.example.com"}"#),
        ("x.example.com/seen", "yes"),
    ];
    assert_eq!(noted, want.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn a_dry_run_is_told_to_those_without_side_effects() {
    let world = World::start().await;
    let dry = |name: &str| {
        let body = Body::Value(json!({"metadata": {"name": name}}));
        world.cluster.call(Verb::Create, config_maps(), Options { dry_run: true, ..Options::default() }, body)
    };
    world.validating("v", &[with(world.hook("x.example.com", "/allow"), &[("sideEffects", json!("NoneOnDryRun"))])]).await;
    dry("a").await.unwrap();
    let (_, review) = world.seen().remove(0);
    assert_eq!((&review["dryRun"], &review["options"]["dryRun"]), (&json!(true), &json!(["All"])));
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn a_configuration_is_in_force_when_it_is_written_and_never_holds_itself() {
    let world = World::start().await;
    let every = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]);
    world.validating("v", &[with(world.hook("x.example.com", "/deny"), &[("rules", every)])]).await;
    assert_eq!(message(world.create("a").await).0, 403);
    world.remove("Validating", "v").await;
    world.create("a").await.unwrap();
    assert_eq!(world.seen().len(), 1, "the configuration could be removed without being asked about");
}

#[tokio::test]
async fn the_older_version_of_reviews_is_spoken_where_a_webhook_knows_no_other() {
    let world = World::start().await;
    let old = with(world.hook("x.example.com", "/uid"), &[("admissionReviewVersions", json!(["v0", "v1beta1", "v1"]))]);
    world.validating("v", &[old]).await;
    world.create("a").await.unwrap();
}
