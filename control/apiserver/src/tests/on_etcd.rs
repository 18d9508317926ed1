//! The same tests on the distributed engine: this program runs them again with a real etcd for each, and adds what only an
//! etcd can do to an API server. Where there is no etcd, they say so and skip.

mod faults;
mod together;

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

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
    open_within(server, Duration::from_secs(5)).await
}

/// `deadline`: of each call to etcd.
async fn open_within(server: &EtcdServer, deadline: Duration) -> Arc<Etcd> {
    let config = EtcdConfig { deadline, folders: crate::folders::upstream(), ..EtcdConfig::new(vec![server.url()]) };
    Etcd::open(config, &Env::real()).await.unwrap()
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
