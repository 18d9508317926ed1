use store::Revision;

use super::*;

async fn page(cluster: &Cluster, limit: u64, token: &str) -> Result<List, Status> {
    cluster.list(config_maps(), Options { limit, continue_token: token.into(), ..Options::default() }).await
}

/// Gate: list RV == store revision, and non-zero on an empty collection.
#[tokio::test]
async fn a_list_carries_the_stores_revision_also_when_empty() {
    let cluster = Cluster::bare().await;
    let empty = cluster.list(config_maps(), Options::default()).await.unwrap();
    assert!(empty.items.is_empty());
    assert_eq!(empty.resource_version, cluster.store.revision().0.to_string());
    assert_ne!(empty.resource_version, "0");
    cluster.config_map("a", "x").await;
    cluster.create(Target::of("v1", "secrets", "other"), json!({"metadata": {"name": "s"}})).await.unwrap();
    let list = cluster.list(config_maps(), Options::default()).await.unwrap();
    assert_eq!(list.resource_version, cluster.store.revision().0.to_string());
    assert_eq!(names(&list.items), ["a"]);
}

#[tokio::test]
async fn lists_are_in_key_order_and_within_their_namespace() {
    let cluster = Cluster::bare().await;
    for name in ["b", "a", "c"] {
        cluster.config_map(name, "x").await;
    }
    cluster.create(Target::of("v1", "configmaps", "other"), json!({"metadata": {"name": "0"}})).await.unwrap();
    assert_eq!(names(&cluster.list(config_maps(), Options::default()).await.unwrap().items), ["a", "b", "c"]);
    assert_eq!(names(&cluster.list(Target::of("v1", "configmaps", ""), Options::default()).await.unwrap().items), ["a", "b", "c", "0"]);
    let named = Options { field_selector: "metadata.name=b".into(), ..Options::default() };
    assert_eq!(names(&cluster.list(config_maps(), named.clone()).await.unwrap().items), ["b"]);
    assert_eq!(names(&cluster.list(Target::of("v1", "configmaps", ""), named).await.unwrap().items), ["b"]);
    assert_eq!(names(&cluster.list(config_maps().named("c"), Options::default()).await.unwrap().items), ["c"]);
}

#[tokio::test]
async fn pages_show_the_revision_of_the_first() {
    let cluster = Cluster::bare().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.config_map(name, "x").await;
    }
    let first = page(&cluster, 2, "").await.unwrap();
    assert_eq!((names(&first.items), first.remaining), (vec!["a", "b"], Some(3)));
    cluster.delete(config_maps().named("c"), Options::default()).await.unwrap();
    cluster.config_map("bb", "x").await;
    let second = page(&cluster, 2, &first.continue_token).await.unwrap();
    assert_eq!((names(&second.items), second.remaining), (vec!["c", "d"], Some(1)));
    assert_eq!(second.resource_version, first.resource_version);
    let third = page(&cluster, 2, &second.continue_token).await.unwrap();
    assert_eq!((names(&third.items), third.continue_token.as_str(), third.remaining), (vec!["e"], "", None));
    let rest = page(&cluster, 0, &first.continue_token).await.unwrap();
    assert_eq!(names(&rest.items), ["c", "d", "e"]);
}

#[tokio::test]
async fn pages_of_a_selector_hold_matches_only() {
    let cluster = Cluster::bare().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
        cluster.config_map(name, label).await;
    }
    let options =
        |token: &str| Options { limit: 2, label_selector: "app in (x)".into(), continue_token: token.into(), ..Options::default() };
    let first = cluster.list(config_maps(), options("")).await.unwrap();
    assert_eq!((names(&first.items), first.remaining), (vec!["a", "c"], None));
    let second = cluster.list(config_maps(), options(&first.continue_token)).await.unwrap();
    assert_eq!((names(&second.items), second.continue_token.as_str()), (vec!["e"], ""));
}

/// Gate: 410 with an inconsistent token when the pinned revision is compacted.
#[tokio::test]
async fn an_expired_page_comes_with_a_token_for_the_rest() {
    let cluster = Cluster::bare().await;
    for name in ["a", "b", "c"] {
        cluster.config_map(name, "x").await;
    }
    let first = page(&cluster, 1, "").await.unwrap();
    cluster.config_map("d", "x").await;
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let expired = page(&cluster, 1, &first.continue_token).await.unwrap_err();
    assert!(expired.is_expired());
    assert!(expired.message.starts_with("The provided continue parameter is too old"), "{expired}");
    let rest = page(&cluster, 0, &expired.metadata.continue_token).await.unwrap();
    assert_eq!(names(&rest.items), ["b", "c", "d"]);
    let exact = Options { resource_version: Some("2".into()), resource_version_match: "Exact".into(), ..Options::default() };
    let status = cluster.list(config_maps(), exact).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (410, "The resourceVersion for the provided list is too old."));
}

#[tokio::test]
async fn a_revision_can_be_asked_for() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let then = cluster.store.revision();
    cluster.config_map("b", "x").await;
    let options = |version: &str, how: &str, limit| Options {
        resource_version: Some(version.into()),
        resource_version_match: how.into(),
        limit,
        ..Options::default()
    };
    let list = |options| cluster.list(config_maps(), options);
    let Revision(then) = then;
    let then = then.to_string();
    let exact = list(options(&then, "Exact", 0)).await.unwrap();
    assert_eq!((names(&exact.items), &exact.resource_version), (vec!["a"], &then));
    assert_eq!(names(&list(options(&then, "", 1)).await.unwrap().items), ["a"]);
    for how in ["", "NotOlderThan"] {
        let list = list(options(&then, how, 0)).await.unwrap();
        assert_eq!((names(&list.items), list.resource_version), (vec!["a", "b"], cluster.store.revision().0.to_string()));
    }
    assert_eq!(names(&list(options("0", "", 0)).await.unwrap().items), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_the_future_is_waited_for_and_given_up() {
    let cluster = Cluster::bare().await;
    let now = cluster.store.revision().0;
    let options = Options { resource_version: Some("999999999".into()), ..Options::default() };
    let status = cluster.list(config_maps(), options.clone()).await.unwrap_err();
    assert_eq!((status.code, status.message), (504, format!("Timeout: Too large resource version: 999999999, current: {now}")));
    let got = cluster.call(Verb::Get, config_maps().named("x"), options, Body::None).await.err().unwrap();
    assert_eq!(got.code, 504);
    let soon = Options { resource_version: Some((now + 1).to_string()), ..Options::default() };
    let (list, _) = tokio::join!(cluster.list(config_maps(), soon), cluster.config_map("a", "x"));
    assert_eq!(names(&list.unwrap().items), ["a"]);
}

#[tokio::test]
async fn meaningless_questions_are_refused() {
    let cluster = Cluster::bare().await;
    let options = |version: &str, how: &str, token: &str| Options {
        resource_version: Some(version.into()).filter(|version: &String| !version.is_empty()),
        resource_version_match: how.into(),
        continue_token: token.into(),
        ..Options::default()
    };
    let token = crate::page::Continue { revision: Some(1), start: "a\0".into() }.encode();
    let cases = [
        (
            options("abc", "", ""),
            400,
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            options("", "Exact", ""),
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            options("0", "Exact", ""),
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            options("5", "Around", ""),
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Around\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        ),
        (options("1", "", &token), 400, "specifying resource version is not allowed when using continue"),
        (options("", "", "e30"), 400, "invalid continue token: continue key is not valid: server does not recognize this encoded version "),
    ];
    for (options, code, message) in cases {
        let status = cluster.list(config_maps(), options).await.unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

/// Gate: an absent boolean field is "false", an absent text "".
#[tokio::test]
async fn absent_fields_are_selected_by_their_zero_value() {
    let cluster = Cluster::bare().await;
    let nodes = || Target::of("v1", "nodes", "");
    cluster.create(nodes(), json!({"metadata": {"name": "free"}})).await.unwrap();
    cluster.create(nodes(), json!({"metadata": {"name": "cordoned"}, "spec": {"unschedulable": true}})).await.unwrap();
    let select = |field: &str| Options { field_selector: field.into(), ..Options::default() };
    let found = |target, field| {
        let cluster = &cluster;
        async move { names(&cluster.list(target, select(field)).await.unwrap().items).join(" ") }
    };
    assert_eq!(found(nodes(), "spec.unschedulable=false").await, "free");
    assert_eq!(found(nodes(), "spec.unschedulable=true").await, "cordoned");
    with_account(&cluster).await;
    cluster.create(pods(), pod("unbound")).await.unwrap();
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = json!("free");
    cluster.create(pods(), bound).await.unwrap();
    assert_eq!(found(pods(), "spec.nodeName=").await, "unbound");
    assert_eq!(found(pods(), "spec.nodeName=free").await, "bound");
    assert_eq!(found(Target::of("v1", "pods", ""), "spec.nodeName=free").await, "bound");
    assert_eq!(found(Target::of("v1", "pods", "other"), "spec.nodeName=free").await, "");
    assert_eq!(found(pods(), "spec.nodeName!=free").await, "unbound");
    let status = cluster.list(pods(), select("spec.nope=1")).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (400, "field label not supported: spec.nope"));
    let status = cluster.list(config_maps(), select("spec.nope=1")).await.unwrap_err();
    assert_eq!(status.message, "\"spec.nope\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
}

#[tokio::test]
async fn another_version_of_a_kind_shows_the_same_objects() {
    let cluster = Cluster::bare().await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "type": "Normal"});
    cluster.create(Target::of("v1", "events", "default"), event).await.unwrap();
    let list = cluster.list(Target::of("events.k8s.io/v1", "events", "default"), Options::default()).await.unwrap();
    let doc = list.items[0].value();
    assert_eq!(doc["apiVersion"], "events.k8s.io/v1");
    assert_eq!(doc["regarding"]["name"], "p");
    assert_eq!(doc["metadata"]["resourceVersion"], list.items[0].meta.resource_version);
}

#[tokio::test]
async fn a_kind_that_keeps_nothing_lists_nothing() {
    let cluster = Cluster::bare().await;
    let list = cluster.list(Target::of("v1", "componentstatuses", ""), Options::default()).await.unwrap();
    assert!(list.items.is_empty());
    let status = cluster.get(Target::of("v1", "componentstatuses", "").named("x")).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (404, "componentstatuses \"x\" not found"));
}
