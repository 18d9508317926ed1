//! One property for every kind, verb and type of patch: the same chain in the same order.

use kinds::{KindRef, Verbs};

use super::*;
use crate::admission::{Admission, Plugin};

type Log = Arc<Mutex<Vec<(&'static str, usize)>>>;

/// Notes when it is its turn, then lets the plug-in behind it act.
struct Noted {
    index: usize,
    inner: Box<dyn Plugin>,
    log: Log,
}

impl Noted {
    fn note(&self, phase: &'static str) {
        self.log.lock().unwrap().push((phase, self.index));
    }
}

#[async_trait::async_trait]
impl Plugin for Noted {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        self.note("mutate");
        self.inner.mutate(request, new, old).await
    }

    async fn heed(&self, request: &mut Admission<'_>, old: &Value) -> Result<(), Status> {
        self.note("heed");
        self.inner.heed(request, old).await
    }

    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        self.note("validate");
        self.inner.validate(request, new, old).await
    }
}

/// A cluster whose chain tells what it does, and the number of its plug-ins.
async fn noted() -> (Cluster, Log, usize) {
    let log: Log = Arc::default();
    let (store, config) = (on_etcd::fresh_store().await, Config::default());
    let mut core =
        Core::new(Arc::clone(&store) as Arc<dyn Store>, Env::sim(7), config, auth::Chain::new(Vec::new()), kinds::all().to_vec());
    let mut count = 0;
    Arc::get_mut(&mut core).expect("nobody else has it yet").admission.behind(|(index, inner)| {
        count = index + 1;
        Box::new(Noted { index, inner, log: Arc::clone(&log) })
    });
    core.load().await.unwrap();
    let cluster = Cluster { core, store, admin: UserInfo::new("admin", &[auth::MASTERS]) };
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    with_account(&cluster).await;
    (cluster, log, count)
}

fn phase(name: &'static str, count: usize) -> Vec<(&'static str, usize)> {
    (0..count).map(|index| (name, index)).collect()
}

/// Mutation is passed whole; then either validation is, or the object was refused as invalid in between.
fn check(what: &str, answer: Result<Value, Status>, log: &Log, count: usize) -> bool {
    let noted = std::mem::take(&mut *log.lock().unwrap());
    let (mutated, rest) = noted.split_at(count.min(noted.len()));
    assert_eq!(mutated, phase("mutate", count), "{what}: {answer:?}");
    match answer {
        Err(status) if rest.is_empty() => assert_eq!(status.code, 422, "{what}: {status}"),
        _ => assert_eq!(rest, phase("validate", count), "{what}"),
    }
    !rest.is_empty()
}

#[tokio::test]
async fn every_kind_verb_and_patch_passes_the_same_chain_in_the_same_order() {
    let (cluster, log, count) = noted().await;
    let mut whole = 0;
    for kind in kinds::all().iter().filter(|kind| kind.verbs == Verbs::All) {
        let namespace = if kind.is_namespaced() { "default" } else { "" };
        let target = Target::of(&kind.api_version(), &kind.resource, namespace);
        let what = |verb: &str| format!("{verb} of {}", kind.qualified());
        log.lock().unwrap().clear();
        let doc = ownership::smallest(kind).unwrap_or_else(|| json!({"metadata": {"name": "x"}}));
        let name = doc.str_at("metadata.name").to_owned();
        let created = cluster.create(target.clone(), doc).await;
        whole += usize::from(check(&what("create"), created.clone(), &log, count));
        if created.is_err() {
            plant(&cluster, kind, namespace, &name).await;
        }
        let named = || target.clone().named(&name);
        let labels = json!({"metadata": {"labels": {"x": "y"}}});
        let operations = json!([{"op": "add", "path": "/metadata/labels", "value": {"x": "z"}}]);
        let updated = cluster.get(named()).await.map(|doc| with(doc, &[("metadata.labels", json!({"x": "w"}))])).unwrap();
        whole += usize::from(check(&what("update"), cluster.update(named(), updated).await, &log, count));
        whole += usize::from(check(&what("merge patch"), cluster.patch(named(), Patch::Merge, labels.clone()).await, &log, count));
        whole += usize::from(check(&what("json patch"), cluster.patch(named(), Patch::Json, operations).await, &log, count));
        whole += usize::from(check(&what("strategic patch"), cluster.patch(named(), Patch::Strategic, labels).await, &log, count));
        let config = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"labels": {"applied": "y"}}});
        whole += usize::from(check(&what("apply"), cluster.apply(named(), "m", true, config).await, &log, count));
        for sub in kind.subresources.iter().filter(|sub| sub.verbs.contains(&"patch") && is_part(kind, sub)) {
            let (target, what) = (named().sub(&sub.name), what(&format!("patch of {}", sub.name)));
            let patch =
                if sub.name == "scale" { json!({"spec": {"replicas": 2}}) } else { json!({"metadata": {"annotations": {"a": "b"}}}) };
            check(&what, cluster.patch(target, Patch::Merge, patch).await, &log, count);
        }
        let background = client::Delete { propagation_policy: Some("Background".into()), ..Default::default() };
        let options = Options { delete: background, ..Options::default() };
        cluster.delete(named(), options).await.unwrap_or_else(|status| panic!("{}: {status}", what("delete")));
        let noted = std::mem::take(&mut *log.lock().unwrap());
        assert_eq!(noted, [phase("heed", count), phase("validate", count)].concat(), "{}", what("delete"));
    }
    assert!(whole >= 180, "many went through validation as well: {whole}");
}

/// A part of the object itself, rather than something that is asked of it.
fn is_part(kind: &KindRef, sub: &kinds::Subresource) -> bool {
    sub.name == "status" || (sub.name == "scale" && kind.resource != "replicationcontrollers")
}

#[tokio::test]
async fn custom_objects_and_collections_pass_it_too() {
    let (cluster, log, count) = noted().await;
    crate::custom::start(&cluster.core);
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version =
        json!({"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
    custom::defined(&cluster, definition).await;
    let widgets = || Target::of("example.com/v1", "widgets", "default");
    let widget = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}});
    log.lock().unwrap().clear();
    assert!(check("create", cluster.create(widgets(), widget("a")).await, &log, count));
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    let status = json!({"status": {"x": "y"}});
    assert!(check("merge patch", cluster.patch(widgets().named("a"), Patch::Merge, labels).await, &log, count));
    assert!(check("status", cluster.patch(widgets().named("a").sub("status"), Patch::Merge, status).await, &log, count));
    assert!(check("apply", cluster.apply(widgets().named("b"), "m", false, widget("b")).await, &log, count));
    cluster.call(Verb::DeleteCollection, widgets(), Options::default(), Body::None).await.unwrap();
    let noted = std::mem::take(&mut *log.lock().unwrap());
    let one = [phase("heed", count), phase("validate", count)].concat();
    assert_eq!(noted, [one.clone(), one].concat(), "each object of a collection is asked for alone");
}

/// Puts an object into the store that nobody has judged.
async fn plant(cluster: &Cluster, kind: &KindRef, namespace: &str, name: &str) {
    let mut metadata = json!({"name": name, "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    let stored = cluster.core.registry().table().stored_as(kind);
    let doc = json!({"apiVersion": stored.api_version(), "kind": stored.kind, "metadata": metadata});
    let encoded = crate::document::encode(&doc);
    let key = crate::core::key(kind, namespace, name).into();
    let put = store::Op::Put { key, value: encoded.bytes, rv_at: Some(encoded.rv_at), ttl_seconds: None };
    let committed = cluster.store.txn(store::Txn { guards: Vec::new(), ops: vec![put] }).await.unwrap();
    cluster.core.cache.wait(committed.revision.0).await.unwrap();
}
