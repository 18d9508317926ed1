//! The same tests on the distributed engine: this program runs them again with a real etcd for each, and adds what only an
//! etcd can do to an API server. Where there is no etcd, they say so and skip.

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use store::etcd_server::{EtcdServer, is_installed};
use store::{Etcd, EtcdConfig, Memory};

use super::*;

/// `etcd`: every test's store is one.
const WHICH: &str = "CORTEN_TEST_STORE";

thread_local! {
    /// The etcds of this thread's test, which end with it.
    static SERVERS: RefCell<Vec<EtcdServer>> = const { RefCell::new(Vec::new()) };
}

/// An empty store of the backend that is tested.
pub(crate) async fn fresh_store() -> Arc<dyn Store> {
    #[expect(clippy::disallowed_methods, reason = "the test that runs this program again says so in its environment")]
    let which = std::env::var(WHICH).unwrap_or_default();
    if which != "etcd" {
        return Memory::new();
    }
    let server = EtcdServer::plain().expect("who asked for etcd saw that there is one");
    let store = open(&server).await;
    SERVERS.with_borrow_mut(|servers| servers.push(server));
    store
}

async fn open(server: &EtcdServer) -> Arc<Etcd> {
    Etcd::open(EtcdConfig::new(vec![server.url()]), &Env::real()).await.unwrap()
}

/// Tests whose clock stands still, which no etcd's does.
const PAUSED: [&str; 5] = [
    "bookmarks_come_about_once_a_minute_to_those_who_asked",
    "watches_end_in_time",
    "a_revision_of_the_future_is_waited_for_and_given_up",
    "a_pod_waits_a_little_for_the_account_of_a_new_namespace",
    "events_do_not_live_for_ever",
];

#[test]
fn the_tests_of_the_core_pass_on_etcd() {
    if !is_installed() {
        drop(EtcdServer::plain()); // says so
        return;
    }
    let rooms = ["admission", "create", "delete", "lists", "patch", "service", "sub", "update", "watches"];
    let skipped = PAUSED.iter().flat_map(|name| ["--skip", name]);
    #[expect(clippy::disallowed_methods, reason = "the test runs itself")]
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(rooms.map(|room| format!("tests::{room}::"))).args(["--skip", "http::"]).args(skipped).env(WHICH, "etcd");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    assert!(passed >= 50, "{passed} tests ran on etcd");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_etcd_costs_requests_and_nothing_else() {
    let Some(mut server) = EtcdServer::plain() else { return };
    let cluster = Cluster::on(open(&server).await, Config::default()).await;
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    let from_start = Options { resource_version: Some("0".into()), ..Options::default() };
    let mut watch = cluster.client().watch(config_maps(), from_start.clone()).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        for n in 0..30 {
            let name = format!("c-{round}-{n}");
            acknowledged.extend(create_if_it_can(&cluster, &name).await);
        }
        tokio::task::block_in_place(|| server.kill());
        assert!(create_if_it_can(&cluster, "while-it-is-away").await.is_none());
        assert!(cluster.list(config_maps(), Options::default()).await.unwrap_err().code >= 500, "nobody knows what is newest");
        let cached = cluster.list(config_maps(), from_start.clone()).await.unwrap();
        assert!(cached.items.len() >= acknowledged.len(), "what is known is still told");
        tokio::task::block_in_place(|| server.run());
    }
    let listed = cluster.list(config_maps(), Options::default()).await.unwrap();
    let listed = names(&listed.items);
    assert_eq!(acknowledged.len(), 60, "a server that is there takes every write");
    for name in &acknowledged {
        assert!(listed.contains(&name.as_str()), "{name} was acknowledged and is lost");
        let event = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(&event.object.meta.name, name, "the watch goes on, in order");
    }
}

/// None: it was refused as by a server that has lost its store.
async fn create_if_it_can(cluster: &Cluster, name: &str) -> Option<String> {
    match cluster.create(config_maps(), json!({"metadata": {"name": name}})).await {
        Ok(_) => Some(name.to_owned()),
        Err(status) => {
            assert!(matches!(status.code, 503 | 504), "{status}");
            None
        }
    }
}

#[tokio::test]
async fn two_servers_on_one_etcd_show_each_others_writes() {
    let Some(server) = EtcdServer::plain() else { return };
    let a = Cluster::on(open(&server).await, Config::default()).await;
    let b = Cluster::on(open(&server).await, Config::default()).await;
    a.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    for n in 0..20 {
        let (writer, reader) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let name = format!("c{n}");
        let made = writer.config_map(&name, "x").await;
        let read = reader.get(config_maps().named(&name)).await.unwrap();
        assert_eq!(read, made, "who asks for now sees what another was told");
        let mut changed = read.clone();
        changed["data"]["k"] = json!("changed");
        reader.update(config_maps().named(&name), changed.clone()).await.unwrap();
        let lost = writer.update(config_maps().named(&name), changed).await.unwrap_err();
        assert_eq!((lost.code, lost.reason.as_str()), (409, "Conflict"), "{lost}");
    }
}
