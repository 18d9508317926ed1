//! The engine on a real etcd, and its faults. Every test has an etcd of its own, and skips where there is none.

mod faults;
mod relay;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Env;
use futures::future::join_all;

use super::*;
use crate::contract::EventKind;
use crate::etcd_server::EtcdServer;
use crate::suite::{self, delete, next, outline, put, put_op};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn config(server: &EtcdServer) -> EtcdConfig {
    EtcdConfig::new(vec![server.url()])
}

pub(super) async fn open(config: EtcdConfig) -> Arc<Etcd> {
    Etcd::open(config, &Env::real()).await.unwrap()
}

/// Runs a future on a thread that may block, from within a runtime.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    if EtcdServer::plain().is_none() {
        return;
    }
    let servers = Mutex::new(Vec::new());
    suite::run(|| {
        let server = EtcdServer::plain().expect("there is an etcd");
        let store = wait_for(open(config(&server)));
        servers.lock().unwrap().push(server);
        store
    })
    .await;
}

#[tokio::test]
async fn documents_lie_where_upstream_has_them_and_are_json() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    let document = "{\"metadata\":{\"resourceVersion\":\"\"}}";
    let op = Op::Put { key: "/pods/default/web".into(), value: document.into(), rv_at: Some(32), ttl_seconds: None };
    let done = store.txn(Txn { guards: vec![], ops: vec![op] }).await.unwrap();
    assert_eq!(done.values, ["{\"metadata\":{\"resourceVersion\":\"1\"}}"]);
    let there = raw_get(&store, "/registry/pods/default/web").await.unwrap();
    assert_eq!(str::from_utf8(&there).unwrap().trim_end(), document);
    assert_eq!(raw_get(&store, "/registry.corten/format").await.unwrap(), "corten 2");
}

#[tokio::test]
async fn folders_are_called_there_as_they_were_when_the_data_was_begun() {
    let Some(server) = EtcdServer::plain() else { return };
    let named = || EtcdConfig { folders: vec![("/nodes/".into(), "/minions/".into())], ..config(&server) };
    let store = open(named()).await;
    put(&*store, "/nodes/one", "x").await;
    assert_eq!(raw_get(&store, "/registry/minions/one").await.unwrap(), "x");
    assert_eq!(store.get("/nodes/one").await.unwrap().unwrap().value, "x");
    drop(store);
    let old = PutRequest { key: "/registry.corten/format".into(), value: "corten 1".into(), lease: 0 };
    let store = open(named()).await;
    assert_eq!(store.range("/", "0", None, 0).await.unwrap().entries[0].key, "/nodes/one".into());
    let _: HeaderOnly = store.replica.channel.call(PUT, &old).await.unwrap();
    drop(store);
    let store = open(named()).await;
    put(&*store, "/nodes/two", "x").await;
    assert_eq!(raw_get(&store, "/registry/nodes/two").await.unwrap(), "x", "an older format had no other names");
}

#[tokio::test]
async fn a_store_opened_again_has_the_state_and_the_history() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    for value in ["1", "2", "3"] {
        put(&*store, "/a", value).await;
    }
    store.compact(Revision(2)).await.unwrap();
    delete(&*store, "/a").await;
    drop(store);
    let store = open(config(&server)).await;
    assert_eq!((store.oldest(), store.revision()), (Revision(2), Revision(4)));
    let mut watch = store.watch("/", Revision(2)).await.unwrap();
    assert_eq!(outline(&next(&mut watch).await), ["3 update /a=3 was 2"]);
    assert_eq!(outline(&next(&mut watch).await), ["4 delete /a was 3"]);
}

#[tokio::test]
async fn two_stores_on_one_etcd_see_each_others_writes_in_one_order() {
    let Some(server) = EtcdServer::plain() else { return };
    let stores = [open(config(&server)).await, open(config(&server)).await];
    let mut watches = [stores[0].watch("/", Revision(0)).await.unwrap(), stores[1].watch("/", Revision(0)).await.unwrap()];
    join_all((0..100).map(|n| {
        let store = &stores[n % 2];
        async move { put(&**store, &format!("/k/{}", n % 5), &n.to_string()).await }
    }))
    .await;
    let told = stores[0].current().await.unwrap();
    assert_eq!((told, stores[1].current().await.unwrap()), (Revision(100), Revision(100)));
    for revision in 1..=100 {
        let (a, b) = (next(&mut watches[0]).await, next(&mut watches[1]).await);
        assert_eq!((a[0].revision, outline(&a)), (Revision(revision), outline(&b)));
    }
}

#[tokio::test]
async fn who_asks_for_now_sees_what_another_was_told() {
    let Some(server) = EtcdServer::plain() else { return };
    let (a, b) = (open(config(&server)).await, open(config(&server)).await);
    for round in 1..=50 {
        let written = put(&*a, "/x", &round.to_string()).await.revision;
        assert!(b.current().await.unwrap() >= written);
        assert_eq!(b.get("/x").await.unwrap().unwrap().value, round.to_string());
    }
    // A guard that fails because of the other's write: who reads again after it reads that write.
    put(&*a, "/x", "last").await;
    let lost = b.txn(Txn { guards: vec![Guard::Absent("/x".into())], ops: vec![put_op("/x", "never")] }).await;
    assert!(matches!(lost, Err(StoreError::Conflict { current: Some(Revision(51)), .. })), "{lost:?}");
    assert_eq!(b.get("/x").await.unwrap().unwrap().value, "last");
}

#[tokio::test]
async fn keys_of_others_make_gaps_and_nothing_else() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    put(&*store, "/a", "1").await;
    raw_put(&store, "/elsewhere/a", "x").await;
    raw_put(&store, "/registryx/a", "x").await;
    assert_eq!(store.current().await.unwrap(), Revision(1), "now is where our last event is");
    raw_put(&store, "/registry/b", "theirs").await;
    let last = put(&*store, "/a", "2").await.revision;
    assert_eq!(outline(&next(&mut watch).await), ["1 create /a=1"]);
    let theirs = next(&mut watch).await;
    assert_eq!((&*theirs[0].key, &theirs[0].value[..], theirs[0].kind), ("/b", &b"theirs"[..], EventKind::Create));
    assert_eq!(next(&mut watch).await[0].revision, last);
    let past = store.range("/", "0", Some(theirs[0].revision), 0).await.unwrap();
    assert_eq!(past.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["/a", "/b"]);
}

#[tokio::test]
async fn expired_keys_are_deleted_by_etcd_and_written_ones_stay() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    let with_ttl = |key: &str, ttl_seconds| Txn {
        guards: vec![],
        ops: vec![Op::Put { key: key.into(), value: "x".into(), rv_at: None, ttl_seconds }],
    };
    for (key, ttl) in [("/short", Some(2)), ("/renewed", Some(2)), ("/never", None), ("/long", Some(3_600)), ("/long2", Some(3_600))] {
        store.txn(with_ttl(key, ttl)).await.unwrap();
    }
    store.txn(with_ttl("/renewed", None)).await.unwrap();
    let mut watch = store.watch("/", store.revision()).await.unwrap();
    let expired = tokio::time::timeout(PATIENCE, next(&mut watch)).await.unwrap();
    assert_eq!((expired[0].kind, &*expired[0].key), (EventKind::Delete, "/short"));
    let left = store.range("/", "0", None, 0).await.unwrap();
    assert_eq!(left.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["/long", "/long2", "/never", "/renewed"]);
}

#[tokio::test]
async fn a_large_transaction_is_refused_and_a_large_history_comes_whole() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    let huge = store.txn(Txn { guards: vec![], ops: vec![put_op("/huge", &"x".repeat(3 << 20))] }).await;
    assert!(matches!(huge, Err(StoreError::TooLarge(_))), "{:?}", huge.map(|done| done.revision));
    // Each nearly as large as etcd takes: the answers of a watch from the start come in fragments.
    let large = "y".repeat(700 << 10);
    for n in 0..8 {
        let ops = vec![put_op(&format!("/large/{n}/a"), &large), put_op(&format!("/large/{n}/b"), &large)];
        store.txn(Txn { guards: vec![], ops }).await.unwrap();
    }
    let again = open(config(&server)).await;
    let mut watch = again.watch("/", Revision(0)).await.unwrap();
    for revision in 1..=8 {
        let events = next(&mut watch).await;
        assert_eq!((events.len(), events[0].revision, events[1].value.len()), (2, Revision(revision), large.len()));
    }
}

#[tokio::test]
async fn what_is_not_ours_or_newer_is_refused_and_left_as_it_is() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    let at = |prefix: &str| EtcdConfig { prefix: prefix.into(), ..config(&server) };
    raw_put(&store, "/theirs/pods/a", "x").await;
    raw_put(&store, "/newer.corten/format", "corten 3").await;
    for (prefix, want) in
        [("/theirs", "has keys below /theirs/ that no corten wrote"), ("/newer", "has the format \"corten 3\" below /newer")]
    {
        let refused = Etcd::open(at(prefix), &Env::real()).await.err().unwrap().to_string();
        assert!(refused.contains(want), "{refused}");
    }
    assert_eq!(raw_get(&store, "/theirs.corten/format").await, None);
}

async fn raw_get(store: &Etcd, key: &str) -> Option<Bytes> {
    let request = RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..RangeRequest::default() };
    let found: messages::RangeResponse = store.replica.channel.call(messages::RANGE, &request).await.unwrap();
    found.kvs.into_iter().next().map(|kv| kv.value)
}

/// As any other program would.
pub(super) async fn raw_put(store: &Etcd, key: &str, value: &str) {
    let [key, value] = [key, value].map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let _: HeaderOnly = store.replica.channel.call(PUT, &PutRequest { key, value, lease: 0 }).await.unwrap();
}
