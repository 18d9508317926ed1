//! Conversion webhooks, against a program that converts as its path says: `v1` has `spec.size`, `v2` has `spec.width` in words.

use client::request::List as Listed;
use tokio::time::Instant;

use super::*;
use crate::Step;

/// What the program makes of a review.
pub(super) async fn answer(path: &str, review: &Value) -> http::Response<Full<Bytes>> {
    let request = &review["request"];
    let wanted = request.str_at("desiredAPIVersion").to_owned();
    let mut objects: Vec<Value> = request.items_at("objects").iter().map(|object| convert(object.clone(), &wanted)).collect();
    let word = path.split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
    let mut result = json!({"status": "Success"});
    let (mut kind, mut uid) = ("ConversionReview", request["uid"].clone());
    match word.as_str() {
        "hang" => std::future::pending().await,
        "nojson" => return whole(200, "<html>".into()),
        "500" => return whole(500, "boom".into()),
        "redirect" => return http::Response::builder().status(307).header("location", "/convert").body(Full::default()).unwrap(),
        "big" => return whole(200, "x".repeat(10 << 20)),
        "failed" => result = json!({"status": "Failed", "message": "cannot do that"}),
        "mute" => result = json!({"status": "Failed"}),
        "kind" => kind = "AdmissionReview",
        "uid" => uid = json!("other"),
        "fewer" => drop(objects.pop()),
        "version" => each(&mut objects, "apiVersion", json!("example.com/v9")),
        "other" => each(&mut objects, "kind", json!("Gadget")),
        "rename" => each(&mut objects, "metadata.name", json!("renamed")),
        "forge" => each(&mut objects, "metadata.uid", json!("forged")),
        "headless" => objects.iter_mut().for_each(|object| drop(object.remove_at("metadata"))),
        "label" => each(&mut objects, "metadata.labels", json!({"a": "no such value!"})),
        "finalizer" => each(&mut objects, "metadata.finalizers", json!(["example.com/mine"])),
        "mark" => each(&mut objects, "metadata.labels", json!({"made": wanted.split('/').next_back()})),
        _ => {}
    }
    let response = json!({"uid": uid, "convertedObjects": objects, "result": result});
    whole(200, json!({"apiVersion": review["apiVersion"], "kind": kind, "response": response}).to_string())
}

fn whole(code: u16, body: String) -> http::Response<Full<Bytes>> {
    http::Response::builder().status(code).body(Full::new(Bytes::from(body))).unwrap()
}

fn each(objects: &mut [Value], path: &str, value: Value) {
    objects.iter_mut().for_each(|object| object.set_at(path, value.clone()));
}

fn convert(mut object: Value, wanted: &str) -> Value {
    let spec = object["spec"].clone();
    match wanted {
        "example.com/v2" if spec.get("size").is_some() => {
            object["spec"] = json!({"width": format!("{} cm", spec["size"]), "color": spec["color"]});
        }
        "example.com/v1" if spec.get("width").is_some() => {
            let size = spec.str_at("width").trim_end_matches(" cm").parse::<i64>().unwrap_or_default();
            object["spec"] = json!({"size": size, "color": spec["color"]});
        }
        _ => {}
    }
    if object["spec"]["color"].is_null() {
        object.remove_at("spec.color");
    }
    object["apiVersion"] = json!(wanted);
    object
}

fn definition(world: &World, path: &str, stored: &str) -> Value {
    let version = |name: &str, properties: Value| {
        let spec = json!({"type": "object", "properties": properties});
        json!({"name": name, "served": true, "storage": name == stored, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}})
    };
    let url = format!("https://127.0.0.1:{}{path}", world.program.port);
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                version("v1", json!({"size": {"type": "integer"}, "color": {"type": "string"}})),
                version("v2", json!({"width": {"type": "string"}, "color": {"type": "string"}})),
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": {"url": url, "caBundle": world.ca}, "conversionReviewVersions": ["v9", "v1", "v1beta1"]}},
        },
    })
}

fn definitions() -> Target {
    Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "")
}

fn widgets(version: &str) -> Target {
    Target::of(&format!("example.com/{version}"), "widgets", "default")
}

fn widget(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// A world in which the program converts as `path` says.
async fn world(path: &str) -> World {
    let world = World::start().await;
    crate::custom::start(&world.cluster.core);
    let definition = definition(&world, path, "v1");
    world.cluster.create(definitions(), definition).await.unwrap();
    world.established().await;
    world
}

impl World {
    async fn established(&self) {
        while self.cluster.core.registry().resource("example.com", "v2", "widgets").is_none() {
            tokio::task::yield_now().await;
        }
    }

    /// From now on the program is asked at `path`.
    async fn ask_at(&self, path: &str) {
        let url = json!({"url": format!("https://127.0.0.1:{}{path}", self.program.port), "caBundle": self.ca});
        let patch = json!({"spec": {"conversion": {"webhook": {"clientConfig": url}}}});
        self.cluster.patch(definitions().named("widgets.example.com"), Patch::Merge, patch).await.unwrap();
    }

    async fn widget(&self, name: &str, size: i64) -> Value {
        self.cluster.create(widgets("v1"), widget("v1", name, json!({"size": size}))).await.unwrap()
    }

    /// How many objects each review had since the last time.
    fn reviewed(&self) -> Vec<usize> {
        self.seen().iter().map(|(_, request)| request.items_at("objects").len()).collect()
    }
}

#[tokio::test]
async fn reads_and_writes_of_another_version_go_through_the_webhook() {
    let world = world("/convert").await;
    let cluster = &world.cluster;
    let made = cluster.create(widgets("v2"), widget("v2", "a", json!({"width": "7 cm", "odd": 1}))).await.unwrap();
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &json!({"width": "7 cm"})));
    let (path, request) = &world.seen()[0];
    assert_eq!((path.as_str(), request["desiredAPIVersion"].as_str()), ("/convert?timeout=30s", Some("example.com/v1")));
    let stored = cluster.store.get("/example.com/widgets/default/a").await.unwrap().unwrap();
    assert!(crate::document::is_of(&stored.value, "example.com", "v1"), "stored as v1: {:?}", stored.value);
    assert_eq!(cluster.get(widgets("v1").named("a")).await.unwrap()["spec"], json!({"size": 7}));
    let patched = cluster.patch(widgets("v2").named("a"), Patch::Merge, json!({"spec": {"width": "8 cm"}})).await.unwrap();
    assert_eq!((&patched["spec"]["width"], &patched["metadata"]["generation"]), (&json!("8 cm"), &json!(2)));
    assert_eq!(cluster.get(widgets("v1").named("a")).await.unwrap()["spec"]["size"], 8);
    let mut whole = cluster.get(widgets("v2").named("a")).await.unwrap();
    whole["spec"]["width"] = json!("9 cm");
    assert_eq!(cluster.update(widgets("v2").named("a"), whole).await.unwrap()["spec"]["width"], "9 cm");
    world.reviewed();
    for _ in 0..3 {
        assert_eq!(cluster.get(widgets("v2").named("a")).await.unwrap()["spec"]["width"], "9 cm");
    }
    assert_eq!(world.reviewed(), [0; 0], "what was converted once is kept");
    cluster.delete(widgets("v2").named("a"), Options::default()).await.unwrap();
    assert_eq!(cluster.get(widgets("v2").named("a")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_list_is_converted_in_bounded_chunks_and_once() {
    let world = world("/convert").await;
    for n in 0..5_000 {
        world.widget(&format!("w{n:04}"), n).await;
    }
    world.reviewed();
    let Listed { items, .. } = world.cluster.list(widgets("v2"), Options::default()).await.unwrap();
    assert_eq!((items.len(), items[4_999].value()["spec"]["width"].as_str()), (5_000, Some("4999 cm")));
    assert_eq!(world.reviewed(), [500; 10]);
    let pages = Options { limit: 10, label_selector: "none=here".into(), ..Options::default() };
    assert!(world.cluster.list(widgets("v2"), pages).await.unwrap().items.is_empty());
    assert_eq!(world.reviewed(), [0; 0]);
}

#[tokio::test]
async fn watchers_share_conversions_and_see_what_the_webhook_makes() {
    let world = world("/mark").await;
    let core = Arc::clone(&world.cluster.core);
    let options = Options { label_selector: "made=v2".into(), ..Options::default() };
    let mut cursors = Vec::new();
    for _ in 0..50 {
        cursors.push(core.watch(&world.cluster.admin, &widgets("v2"), &options).await.unwrap());
    }
    world.widget("a", 1).await;
    let watched = cursors.iter_mut().map(async |cursor| match cursor.next().await.unwrap() {
        Step::Events(events) => (events[0].kind, events[0].object(cursor.kind()).unwrap().value()["spec"]["width"].clone()),
        _ => panic!("no event"),
    });
    for told in futures::future::join_all(watched).await {
        assert_eq!(told, (client::WatchKind::Added, json!("1 cm")), "the label is the webhook's, not the object's");
    }
    assert_eq!(world.reviewed(), [1], "fifty watchers, one call");
    let gone = world.cluster.delete(widgets("v1").named("a"), Options::default()).await.unwrap();
    assert_eq!(gone["status"], "Success");
    let Step::Events(events) = cursors[0].next().await.unwrap() else { panic!("no event") };
    let last = events[0].object(cursors[0].kind()).unwrap();
    assert_eq!((events[0].kind, &last.value()["spec"]["width"]), (client::WatchKind::Deleted, &json!("1 cm")));
    assert!(last.revision() > 0 && last.revision() == core.revision(), "at the revision of the delete");
    let Listed { items, .. } = world.cluster.list(widgets("v1"), options).await.unwrap();
    assert!(items.is_empty());
}

#[tokio::test]
async fn owners_of_fields_keep_the_names_of_their_versions() {
    let world = world("/convert").await;
    let cluster = &world.cluster;
    cluster.apply(widgets("v1").named("a"), "one", false, widget("v1", "a", json!({"size": 1}))).await.unwrap();
    let two = widget("v2", "a", json!({"color": "red"}));
    let applied = cluster.apply(widgets("v2").named("a"), "two", false, two).await.unwrap();
    assert_eq!(applied["spec"], json!({"width": "1 cm", "color": "red"}));
    assert_eq!(owners(&applied), [r#"one Apply: {"f:spec":{"f:size":{}}}"#, r#"two Apply: {"f:spec":{"f:color":{}}}"#]);
    let clash = cluster.apply(widgets("v2").named("a"), "two", false, widget("v2", "a", json!({"width": "2 cm"}))).await.unwrap_err();
    assert_eq!(clash.code, 409, "{}", clash.message);
    assert_eq!(clash.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.size");
    let forced = cluster.apply(widgets("v2").named("a"), "two", true, widget("v2", "a", json!({"width": "2 cm"}))).await.unwrap();
    assert_eq!(forced["spec"], json!({"width": "2 cm"}));
    let bare = cluster.apply(widgets("v1").named("a"), "one", false, widget("v1", "a", json!({}))).await.unwrap();
    assert_eq!(bare["spec"], json!({"size": 2}), "what the other owns stays");
}

#[tokio::test]
async fn a_new_storage_version_is_reached_by_writing_again() {
    let world = world("/convert").await;
    let cluster = &world.cluster;
    world.widget("a", 1).await;
    let name = definitions().named("widgets.example.com");
    let mut changed = cluster.get(name.clone()).await.unwrap();
    for (at, stored) in [(0, false), (1, true)] {
        changed["spec"]["versions"][at]["storage"] = json!(stored);
    }
    let mut changed = cluster.update(name.clone(), changed).await.unwrap();
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    let before = cluster.get(widgets("v1").named("a")).await.unwrap();
    assert_eq!(before["spec"], json!({"size": 1}), "stored as v1 and served as it is");
    let after = cluster.update(widgets("v1").named("a"), before.clone()).await.unwrap();
    assert_ne!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"], "nothing changed but how it is stored");
    assert_eq!((&after["spec"], &after["metadata"]["generation"]), (&before["spec"], &before["metadata"]["generation"]));
    let stored = cluster.store.get("/example.com/widgets/default/a").await.unwrap().unwrap();
    assert!(crate::document::is_of(&stored.value, "example.com", "v2"));
    let again = cluster.update(widgets("v1").named("a"), after.clone()).await.unwrap();
    assert_eq!(again["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"], "the second time it is nothing");
    changed["status"]["storedVersions"] = json!(["v2"]);
    let trimmed = cluster.update(name.clone().sub("status"), changed).await.unwrap();
    assert_eq!(trimmed["status"]["storedVersions"], json!(["v2"]));
    let restarted = Cluster::on(Arc::clone(&cluster.store), Config::default()).await;
    assert_eq!(restarted.get(widgets("v1").named("a")).await.unwrap()["spec"], json!({"size": 1}));
}

#[tokio::test]
async fn a_webhook_that_fails_or_lies_is_told_in_upstreams_words() {
    let world = world("/convert").await;
    world.widget("a", 1).await;
    let about = "conversion webhook for example.com/v1, Kind=Widget ";
    for (path, want) in [
        ("/nojson", "failed: couldn't get version/kind; json parse error: "),
        ("/500", "failed: an error on the server (\"boom\") has prevented the request from succeeding"),
        ("/redirect", "failed: the server responded with the status code 307 but did not return more information"),
        ("/big", "the answer is too large: at most 8388608 bytes are read"),
        ("/failed", "failed: cannot do that"),
        ("/mute", "failed: response.result.status was 'Failed', not 'Success'"),
        ("/kind", "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got"),
        ("/uid", "failed: expected response.uid=\""),
        ("/fewer", "returned 0 objects, expected 1"),
        ("/version", "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v9)"),
        ("/other", "returned invalid object at index 0: invalid kind (expected Widget, received Gadget)"),
        ("/rename", "returned invalid object: must have the same name: a != renamed"),
        ("/forge", "returned invalid object: must have the same UID: "),
        ("/headless", "returned invalid object: must have the same name: a != "),
        ("/label", "returned invalid metadata: metadata.labels: Invalid value: \"no such value!\": "),
    ] {
        world.ask_at(path).await;
        let error = world.cluster.get(widgets("v2").named("a")).await.unwrap_err();
        assert_eq!(error.code, 500, "{path}: {}", error.message);
        assert!(error.message.starts_with(about) && error.message.contains(want), "{path}: {}", error.message);
        let error = world.cluster.list(widgets("v2"), Options::default()).await.unwrap_err();
        assert!(error.message.starts_with(about), "{path}: {}", error.message);
        let refused = world.cluster.create(widgets("v2"), widget("v2", "b", json!({"width": "1 cm"}))).await.unwrap_err();
        assert!(refused.message.starts_with("conversion webhook for example.com/v2, Kind=Widget "), "{path}: {}", refused.message);
        world.cluster.get(widgets("v1").named("a")).await.expect("the stored version asks nobody");
        assert_eq!(world.cluster.get(widgets("v1").named("b")).await.unwrap_err().code, 404, "nothing was stored");
    }
    world.ask_at("/finalizer").await;
    let doc = world.cluster.get(widgets("v2").named("a")).await.unwrap();
    assert_eq!((doc.at("metadata.finalizers"), doc["spec"]["width"].as_str()), (None, Some("1 cm")), "metadata is not the webhook's");
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_nobody_else() {
    let world = world("/hang").await;
    world.cluster.core.cache.conversions().set_timeout(Duration::from_secs(1));
    let core = Arc::clone(&world.cluster.core);
    let mut stuck = core.watch(&world.cluster.admin, &widgets("v2"), &Options::default()).await.unwrap();
    let mut free = core.watch(&world.cluster.admin, &widgets("v1"), &Options::default()).await.unwrap();
    world.widget("a", 1).await;
    let started = Instant::now();
    let hung = async {
        let Err(status) = stuck.next().await else { panic!("nobody converted it") };
        (status, started.elapsed())
    };
    let others = async {
        for n in 0..20 {
            world.widget(&format!("b{n}"), n).await;
        }
        let mut seen = 0;
        while seen < 21 {
            let Step::Events(events) = free.next().await.unwrap() else { panic!("no event") };
            seen += events.len();
        }
        assert_eq!(world.cluster.list(widgets("v1"), Options::default()).await.unwrap().items.len(), 21);
        started.elapsed()
    };
    let ((status, hung), others) = tokio::join!(hung, others);
    let want = format!("Post \"https://127.0.0.1:{}/hang?timeout=1s\": context deadline exceeded", world.program.port);
    assert!(status.message.ends_with(&want), "{}", status.message);
    assert!(others < Duration::from_millis(900), "others went on: {others:?}");
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&hung), "{hung:?}");
    world.ask_at("/convert").await;
    assert_eq!(world.cluster.get(widgets("v2").named("a")).await.unwrap()["spec"]["width"], "1 cm", "a failure is not kept");
}

#[tokio::test]
async fn v1beta1_is_spoken_where_it_comes_first() {
    let world = world("/convert").await;
    let patch = json!({"spec": {"conversion": {"webhook": {"conversionReviewVersions": ["v1beta1", "v1"]}}}});
    world.cluster.patch(definitions().named("widgets.example.com"), Patch::Merge, patch).await.unwrap();
    world.widget("a", 1).await;
    assert_eq!(world.cluster.get(widgets("v2").named("a")).await.unwrap()["spec"]["width"], "1 cm");
    let unknown = json!({"spec": {"conversion": {"webhook": {"conversionReviewVersions": ["v9"]}}}});
    let refused = world.cluster.patch(definitions().named("widgets.example.com"), Patch::Merge, unknown).await.unwrap_err();
    assert!(refused.message.contains("spec.conversion.webhook.conversionReviewVersions: Invalid value: "), "{}", refused.message);
}

#[tokio::test]
async fn a_service_converts_at_its_ready_endpoints() {
    let world = world("/convert").await;
    world.cluster.core.cache.conversions().set_dial(Arc::new(faults::ToProgram(world.program.port)));
    world.widget("a", 1).await;
    let service = json!({"metadata": {"name": "front"}, "spec": {"selector": {"app": "front"}, "ports": [{"name": "tls", "port": 443, "targetPort": 8443}]}});
    world.cluster.create(Target::of("v1", "services", "default"), service).await.unwrap();
    let config = json!({"url": null, "service": {"namespace": "default", "name": "front", "path": "/convert"}, "caBundle": world.ca});
    let patch = json!({"spec": {"conversion": {"webhook": {"clientConfig": config}}}});
    world.cluster.patch(definitions().named("widgets.example.com"), Patch::Merge, patch).await.unwrap();
    let error = world.cluster.get(widgets("v2").named("a")).await.unwrap_err();
    let want = "Post \"https://front.default.svc:443/convert?timeout=30s\": no endpoints available for service \"front\"";
    assert!(error.message.ends_with(want), "{}", error.message);
    let slice = json!({"metadata": {"name": "front-1", "labels": {"kubernetes.io/service-name": "front"}}, "addressType": "IPv4",
        "ports": [{"name": "tls", "port": 8443}], "endpoints": [{"addresses": ["192.0.2.10"]}]});
    world.cluster.create(Target::of("discovery.k8s.io/v1", "endpointslices", "default"), slice).await.unwrap();
    assert_eq!(world.cluster.get(widgets("v2").named("a")).await.unwrap()["spec"]["width"], "1 cm");
}
