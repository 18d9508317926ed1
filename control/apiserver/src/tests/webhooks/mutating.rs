use super::*;

#[tokio::test]
async fn those_that_mutate_are_asked_in_order_and_each_sees_what_came_before() {
    let world = World::start().await;
    world.mutating("b", &[world.hook("x.example.com", "/label-b1"), world.hook("y.example.com", "/label-b2")]).await;
    world.mutating("a", &[world.hook("x.example.com", "/label-a")]).await;
    let made = world.create("a").await.unwrap();
    assert_eq!(labels(&made).into_keys().collect::<Vec<_>>(), ["a", "b1", "b2"]);
    let seen = world.seen();
    let shown: Vec<Vec<String>> = seen.iter().map(|(_, request)| labels(&request["object"]).into_keys().collect()).collect();
    assert_eq!(shown, [vec![], vec!["a".to_owned()], vec!["a".to_owned(), "b1".to_owned()]]);
    let plain = made.str_at("metadata.uid");
    assert!(!plain.is_empty() && seen[0].1["object"].at("metadata.uid").is_none(), "a uid is made after them");
}

#[tokio::test]
async fn what_the_server_alone_says_stays_and_unknown_members_go() {
    let world = World::start().await;
    world.mutating("m", &[world.hook("x.example.com", "/forge")]).await;
    let made = world.create("a").await.unwrap();
    assert_ne!(made.str_at("metadata.uid"), "forged");
    assert!(made.get("none").is_none());
    let changed = world.cluster.update(config_maps().named("a"), with(made.clone(), &[("data.k", json!("w"))])).await;
    assert_eq!(changed.unwrap_err().message, "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"forged\": field is immutable");
}

#[tokio::test]
async fn owners_that_a_webhook_broke_stay_and_the_caller_is_told() {
    let world = World::start().await;
    world.mutating("m", &[world.hook("x.example.com", "/disown")]).await;
    let body = Body::Value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
    let request = Request { verb: Verb::Create, target: config_maps(), options: Options::default(), body };
    let answer = world.cluster.core.call(&world.cluster.admin, request).await.unwrap();
    let made = world.cluster.get(config_maps().named("a")).await.unwrap();
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Update");
    let [warning] = answer.warnings.as_slice() else { panic!("{:?}", answer.warnings) };
    assert!(warning.ends_with("please fix your requests: operation must be `Apply` or `Update`"), "{warning}");
}

#[tokio::test]
async fn a_webhook_may_name_what_is_created() {
    let world = World::start().await;
    world.mutating("m", &[world.hook("x.example.com", "/rename-chosen")]).await;
    let made = world.cluster.create(config_maps(), json!({"metadata": {"generateName": "some-"}})).await.unwrap();
    assert_eq!(made.str_at("metadata.name"), "chosen");
    assert_eq!(world.cluster.get(config_maps().named("chosen")).await.unwrap(), made);
    let (_, request) = world.seen().remove(0);
    assert!(request.get("name").is_none() && request["object"].at("metadata.name").is_none(), "{request}");
}

#[tokio::test]
async fn what_a_webhook_adds_gets_defaults_and_the_servers_plugins_see_it() {
    let world = World::start().await;
    with_account(&world.cluster).await;
    let pods_rule = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
    world.mutating("m", &[with(world.hook("x.example.com", "/sidecar"), &[("rules", pods_rule)])]).await;
    let doc = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = world.cluster.create(pods(), doc).await.unwrap();
    let side = &made.items_at("spec.containers")[1];
    assert_eq!(
        (side.str_at("name"), side.str_at("terminationMessagePath"), side.str_at("imagePullPolicy")),
        ("side", "/dev/termination-log", "Always")
    );
    assert_eq!(side.items_at("volumeMounts").len(), 1, "the account's token came in the second round: {side}");
    assert_eq!((made.items_at("spec.volumes").len(), made.items_at("spec.tolerations").len()), (1, 2));
    assert_eq!(world.seen().len(), 1, "it did not ask to be asked again");
}

#[tokio::test]
async fn who_wants_to_is_asked_again_when_the_object_changed_after_them() {
    let world = World::start().await;
    let again = json!("IfNeeded");
    let early = with(world.hook("early.example.com", "/allow/early"), &[("reinvocationPolicy", again.clone())]);
    let never = world.hook("never.example.com", "/allow/never");
    let changer = world.hook("changer.example.com", "/label-x");
    let late = with(world.hook("late.example.com", "/allow/late"), &[("reinvocationPolicy", again)]);
    world.mutating("m", &[early, never, changer, late]).await;
    world.create("a").await.unwrap();
    assert_eq!(world.paths(), ["/allow/early", "/allow/never", "/label-x", "/allow/late", "/allow/early"]);
    world.cluster.update(config_maps().named("a"), json!({"metadata": {"name": "a", "labels": {"x": "yes"}}})).await.unwrap();
    assert_eq!(world.paths(), ["/allow/early", "/allow/never", "/label-x", "/allow/late"], "nothing was changed this time");
}

#[tokio::test]
async fn those_that_mutate_hear_of_deletes_and_can_only_refuse_them() {
    let world = World::start().await;
    world.create("a").await.unwrap();
    world.mutating("m", &[world.hook("x.example.com", "/deny")]).await;
    let gone = world.cluster.delete(config_maps().named("a"), Options::default()).await;
    assert_eq!(message(gone).1, "admission webhook \"x.example.com\" denied the request: no such luck");
    world.remove("Mutating", "m").await;
    world.mutating("m", &[world.hook("x.example.com", "/label-x")]).await;
    let gone = world.cluster.delete(config_maps().named("a"), Options::default()).await;
    let want = "Internal error occurred: admission webhook \"x.example.com\" attempted to modify the object, which is not supported for this operation";
    assert_eq!(message(gone).1, want);
}

#[tokio::test]
async fn a_scale_is_asked_about_as_a_scale() {
    let world = World::start().await;
    let sets = || Target::of("apps/v1", "replicasets", "default");
    let set = json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    world.cluster.create(sets(), set).await.unwrap();
    let rule = json!([{"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*/scale"]}]);
    world.mutating("m", &[with(world.hook("x.example.com", "/replicas-7"), &[("rules", rule)])]).await;
    let scaled = world.cluster.patch(sets().named("a").sub("scale"), Patch::Merge, json!({"spec": {"replicas": 3}})).await.unwrap();
    assert_eq!(scaled.i64_at("spec.replicas"), Some(7));
    let (_, request) = world.seen().remove(0);
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (request.str_at("subResource"), request.i64_at("object.spec.replicas"), request.i64_at("oldObject.spec.replicas")),
        ("scale", Some(3), Some(1))
    );
    assert_eq!(world.cluster.get(sets().named("a")).await.unwrap().i64_at("spec.replicas"), Some(7));
    assert!(world.seen().is_empty(), "the set itself is not asked about");
}
