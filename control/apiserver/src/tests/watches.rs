use std::time::Duration;

use client::{WatchEvent, WatchKind};
use futures::StreamExt;
use schema::DocExt;
use store::Revision;

use super::*;
use crate::cache::cursor::Step;

fn from(version: &str) -> Options {
    Options { resource_version: Some(version.into()).filter(|version: &String| !version.is_empty()), ..Options::default() }
}

impl Cluster {
    async fn watch(&self, target: Target, options: Options) -> client::Watch {
        self.client().watch(target, options).await.unwrap()
    }

    fn version(&self) -> String {
        self.store.revision().0.to_string()
    }

    async fn label(&self, name: &str, label: &str) -> Value {
        self.patch(config_maps().named(name), Patch::Merge, json!({"metadata": {"labels": {"app": label}}})).await.unwrap()
    }
}

async fn next(watch: &mut client::Watch) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("an event is due").expect("the watch goes on").unwrap()
}

/// `ADDED a@7`
fn told(event: &WatchEvent) -> String {
    let kind = match event.kind {
        WatchKind::Added => "ADDED",
        WatchKind::Modified => "MODIFIED",
        WatchKind::Deleted => "DELETED",
        WatchKind::Bookmark => "BOOKMARK",
    };
    format!("{kind} {}@{}", event.object.meta.name, event.object.meta.resource_version)
}

async fn nothing(watch: &mut client::Watch) {
    let quiet = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
    assert!(quiet.is_err(), "{:?}", quiet.unwrap().map(|event| event.map(|event| told(&event))));
}

#[tokio::test]
async fn a_watch_tells_everything_after_its_revision() {
    let cluster = Cluster::bare().await;
    cluster.config_map("old", "x").await;
    let mut watch = cluster.watch(config_maps(), from(&cluster.version())).await;
    let start = cluster.store.revision().0;
    cluster.config_map("a", "x").await;
    cluster.create(Target::of("v1", "configmaps", "other"), json!({"metadata": {"name": "foreign"}})).await.unwrap();
    cluster.label("a", "y").await;
    cluster.delete(config_maps().named("a"), Options::default()).await.unwrap();
    assert_eq!(told(&next(&mut watch).await), format!("ADDED a@{}", start + 1));
    assert_eq!(told(&next(&mut watch).await), format!("MODIFIED a@{}", start + 3));
    let deleted = next(&mut watch).await;
    assert_eq!(told(&deleted), format!("DELETED a@{}", start + 4));
    assert_eq!(deleted.object.meta.labels["app"], "y", "the last state");
    nothing(&mut watch).await;
}

/// Gate: a label change yields synthetic DELETED and ADDED.
#[tokio::test]
async fn a_selector_sees_objects_come_and_go() {
    let cluster = Cluster::bare().await;
    let options = |selector: &str| Options { label_selector: selector.into(), ..from(&cluster.version()) };
    let mut x = cluster.watch(config_maps(), options("app in (x)")).await;
    let mut y = cluster.watch(config_maps(), options("app=y")).await;
    let start = cluster.store.revision().0;
    cluster.config_map("a", "x").await;
    cluster.label("a", "y").await;
    cluster.patch(config_maps().named("a"), Patch::Merge, json!({"data": {"k": "2"}})).await.unwrap();
    cluster.delete(config_maps().named("a"), Options::default()).await.unwrap();
    assert_eq!(told(&next(&mut x).await), format!("ADDED a@{}", start + 1));
    let left = next(&mut x).await;
    assert_eq!(told(&left), format!("DELETED a@{}", start + 2));
    assert_eq!(left.object.meta.labels["app"], "x", "the state that the watcher knew, at the revision of the change");
    nothing(&mut x).await;
    let seen = [next(&mut y).await, next(&mut y).await, next(&mut y).await];
    let seen: Vec<String> = seen.iter().map(told).collect();
    assert_eq!(seen, [format!("ADDED a@{}", start + 2), format!("MODIFIED a@{}", start + 3), format!("DELETED a@{}", start + 4)]);
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_with_the_state() {
    let cluster = Cluster::bare().await;
    cluster.config_map("b", "x").await;
    cluster.config_map("a", "x").await;
    for version in ["", "0"] {
        let mut watch = cluster.watch(config_maps(), from(version)).await;
        assert_eq!(next(&mut watch).await.object.meta.name, "a");
        assert_eq!(next(&mut watch).await.object.meta.name, "b");
        if version == "0" {
            assert_eq!(next(&mut watch).await.object.meta.name, "c");
        }
        nothing(&mut watch).await;
        let made = cluster.config_map(&format!("c{version}"), "x").await;
        assert_eq!(next(&mut watch).await.object.meta.uid, made.str_at("metadata.uid"));
    }
}

/// Gate: sendInitialEvents ends with the annotated bookmark, even when there is nothing.
#[tokio::test]
async fn the_initial_state_ends_with_an_annotated_bookmark() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let options = |selector: &str| Options {
        send_initial_events: Some(true),
        resource_version_match: "NotOlderThan".into(),
        allow_watch_bookmarks: true,
        label_selector: selector.into(),
        ..Options::default()
    };
    for (selector, initial) in [("app=x", 1), ("app=none", 0)] {
        let mut watch = cluster.watch(config_maps(), options(selector)).await;
        for _ in 0..initial {
            assert_eq!(next(&mut watch).await.kind, WatchKind::Added);
        }
        let bookmark = next(&mut watch).await;
        assert_eq!(
            bookmark.object.value(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "annotations": {"k8s.io/initial-events-end": "true"}, "resourceVersion": cluster.version()}})
        );
    }
    let refused = Options { send_initial_events: Some(true), ..Options::default() };
    assert_eq!(cluster.client().watch(config_maps(), refused).await.err().unwrap().code, 422);
}

/// Gate: bookmarks only when asked for, in the space of the store's revisions.
#[tokio::test(start_paused = true)]
async fn bookmarks_come_about_once_a_minute_to_those_who_asked() {
    let cluster = Cluster::bare().await;
    let asked = Options { allow_watch_bookmarks: true, ..from(&cluster.version()) };
    let mut asked = cluster.watch(config_maps(), asked).await;
    let mut not_asked = cluster.watch(config_maps(), from(&cluster.version())).await;
    cluster.create(Target::of("v1", "secrets", "other"), json!({"metadata": {"name": "s"}})).await.unwrap();
    let bookmark = tokio::time::timeout(Duration::from_secs(90), asked.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(told(&bookmark), format!("BOOKMARK @{}", cluster.version()));
    assert!(tokio::time::timeout(Duration::from_secs(600), not_asked.next()).await.is_err());
    let silent = tokio::time::timeout(Duration::from_secs(600), asked.next()).await;
    assert!(silent.is_err(), "nothing happened, so there is nothing to tell");
}

#[tokio::test(start_paused = true)]
async fn watches_end_in_time() {
    let cluster = Cluster::bare().await;
    let begin = tokio::time::Instant::now();
    let mut short = cluster.watch(config_maps(), Options { timeout_seconds: Some(10), ..from(&cluster.version()) }).await;
    assert!(short.next().await.is_none());
    assert_eq!(begin.elapsed().as_secs(), 10);
    let mut long = cluster.watch(config_maps(), from(&cluster.version())).await;
    let begin = tokio::time::Instant::now();
    assert!(long.next().await.is_none());
    assert!((1_800..=3_600).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_stopping_server_ends_its_watches_with_a_bookmark() {
    let cluster = Cluster::bare().await;
    let mut watch = cluster.watch(config_maps(), Options { allow_watch_bookmarks: true, ..from(&cluster.version()) }).await;
    cluster.create(Target::of("v1", "secrets", "other"), json!({"metadata": {"name": "s"}})).await.unwrap();
    cluster.core.env().shutdown().cancel();
    assert_eq!(told(&next(&mut watch).await), format!("BOOKMARK @{}", cluster.version()));
    assert!(watch.next().await.is_none());
}

/// Gate: resume from RV after 10k writes, and across a restart.
#[tokio::test]
async fn a_watch_resumes_after_ten_thousand_writes_and_a_restart() {
    let cluster = Cluster::bare().await;
    let start = cluster.version();
    cluster.config_map("a", "x").await;
    for n in 0..10_000_u64 {
        let doc = Bytes::from(format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"b","namespace":"default","resourceVersion":""}},"data":{{"n":"{n}"}}}}"#
        ));
        let hole = doc.windows(2).position(|two| two == b"\"\"").unwrap() as u32 + 1;
        let put = store::Op::Put { key: "/configmaps/default/b".into(), value: doc, rv_at: Some(hole), ttl_seconds: None };
        cluster.store.txn(store::Txn { guards: Vec::new(), ops: vec![put] }).await.unwrap();
    }
    for cluster in [cluster.core.clone(), Cluster::on(Arc::clone(&cluster.store), Config::default()).await.core] {
        let client = Client::new(cluster.transport(UserInfo::new("admin", &[auth::MASTERS])));
        let mut watch = client.watch(config_maps(), from(&start)).await.unwrap();
        assert_eq!(next(&mut watch).await.object.meta.name, "a");
        for n in 0..10_000 {
            let event = next(&mut watch).await;
            assert_eq!(event.object.value().str_at("data.n"), n.to_string());
        }
    }
}

/// Gate: 410 when the revision is compacted; older than the ring but not compacted resumes from the store.
#[tokio::test]
async fn a_revision_from_before_the_ring_is_replayed_or_gone() {
    let cluster = Cluster::bare().await;
    let start = cluster.version();
    for n in 0..3_000 {
        cluster.patch_direct(n).await;
    }
    let small = Config { ring_bytes_max: 64 << 10, ..Config::default() };
    let restarted = Cluster::on(Arc::clone(&cluster.store), small).await;
    let mut watch = restarted.watch(config_maps(), from(&start)).await;
    for n in 0..3_000 {
        assert_eq!(next(&mut watch).await.object.value().str_at("data.n"), n.to_string());
    }
    cluster.patch_direct(3_000).await;
    assert_eq!(next(&mut watch).await.object.value().str_at("data.n"), "3000");
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let status = restarted.client().watch(config_maps(), from(&start)).await.err().unwrap();
    assert!(status.is_expired() && status.message.starts_with("too old resource version: "), "{status}");
    let mut future = restarted.watch(config_maps(), from("999999999")).await;
    nothing(&mut future).await;
    let status = restarted.client().watch(config_maps(), from("abc")).await.err().unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (500, "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax")
    );
}

impl Cluster {
    /// Writes config map `b` past the core, which is much faster.
    async fn patch_direct(&self, n: u64) {
        let doc = Bytes::from(format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"b","namespace":"default","resourceVersion":""}},"data":{{"n":"{n}","x":"{}"}}}}"#,
            "x".repeat(400)
        ));
        let hole = doc.windows(2).position(|two| two == b"\"\"").unwrap() as u32 + 1;
        let put = store::Op::Put { key: "/configmaps/default/b".into(), value: doc, rv_at: Some(hole), ttl_seconds: None };
        let Revision(revision) = self.store.txn(store::Txn { guards: Vec::new(), ops: vec![put] }).await.unwrap().revision;
        self.core.cache.wait(revision).await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_watcher_is_told_so_and_nothing_is_dropped_silently() {
    let cluster = Cluster::with(Config { ring_bytes_max: 64 << 10, ..Config::default() }).await;
    let mut cursor = cluster.core.watch(&cluster.admin, &config_maps(), &from(&cluster.version())).await.unwrap();
    let foreign = cluster.core.watch(&cluster.admin, &Target::of("v1", "configmaps", "other"), &from(&cluster.version())).await.unwrap();
    let mut foreign = foreign;
    for n in 0..3_000 {
        cluster.patch_direct(n).await;
    }
    let status = loop {
        match cursor.next().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code, 410);
    assert!(matches!(cursor.next().await, Ok(Step::End)));
    let quiet = tokio::time::timeout(Duration::from_millis(20), foreign.next()).await;
    assert!(quiet.is_err(), "foreign events neither wake a watcher nor push it off the ring");
}

#[tokio::test]
async fn a_node_sees_its_own_pods_and_their_leaving() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let options = |node: &str| Options { field_selector: format!("spec.nodeName={node}"), ..from(&cluster.version()) };
    let mut mine = cluster.watch(Target::of("v1", "pods", ""), options("n1")).await;
    let mut other = cluster.watch(Target::of("v1", "pods", ""), options("n2")).await;
    let mut unbound = cluster.watch(Target::of("v1", "pods", ""), options("")).await;
    cluster.create(pods(), pod("a")).await.unwrap();
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    cluster.call(Verb::Create, pods().named("a").sub("binding"), Options::default(), Body::Value(binding)).await.unwrap();
    cluster.patch(pods().named("a").sub("status"), Patch::Merge, json!({"status": {"phase": "Running"}})).await.unwrap();
    let seen = [next(&mut mine).await, next(&mut mine).await];
    assert_eq!(seen.map(|event| event.kind), [WatchKind::Added, WatchKind::Modified]);
    let seen = [next(&mut unbound).await, next(&mut unbound).await];
    assert_eq!(seen.map(|event| event.kind), [WatchKind::Added, WatchKind::Deleted]);
    nothing(&mut other).await;
}

#[tokio::test]
async fn one_object_can_be_watched() {
    let cluster = Cluster::bare().await;
    let mut watch = cluster.watch(config_maps().named("a"), from(&cluster.version())).await;
    cluster.config_map("b", "x").await;
    cluster.config_map("a", "x").await;
    assert_eq!(next(&mut watch).await.object.meta.name, "a");
    nothing(&mut watch).await;
}

/// Writers see their own writes, and a list begins where a watch goes on: nothing lost, nothing doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn list_and_watch_join_without_a_seam_under_load() {
    let cluster = Arc::new(Cluster::bare().await);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let cluster = Arc::clone(&cluster);
            let env = cluster.core.env().clone();
            env.spawn("writer", async move {
                for n in 0..100 {
                    cluster.config_map(&format!("w{writer}-{n}"), "x").await;
                    if n % 3 == 0 {
                        cluster.delete(config_maps().named(&format!("w{writer}-{n}")), Options::default()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let list = cluster.list(config_maps(), Options::default()).await.unwrap();
        let mut seen: std::collections::BTreeSet<String> = list.items.iter().map(|object| object.meta.name.clone()).collect();
        let mut watch = cluster.watch(config_maps(), from(&list.resource_version)).await;
        for _ in 0..5 {
            let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), watch.next()).await else { break };
            let event = event.unwrap();
            let name = event.object.meta.name.clone();
            match event.kind {
                WatchKind::Added => assert!(seen.insert(name), "doubled"),
                WatchKind::Deleted => assert!(seen.remove(&name), "lost"),
                _ => {}
            }
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(cluster.list(config_maps(), Options::default()).await.unwrap().items.len(), 4 * 66);
}

/// A model: whatever happens, who follows a watch knows what a list shows, for every selector.
#[tokio::test]
async fn a_follower_always_knows_what_a_list_shows() {
    for seed in 0..8 {
        let cluster = Cluster::bare().await;
        let env = Env::sim(seed);
        let selectors = ["", "app=x", "app!=x", "app in (x,y)", "!app"];
        let mut followers = Vec::new();
        for selector in selectors {
            let options = |extra: Options| Options { label_selector: selector.into(), ..extra };
            let list = cluster.list(config_maps(), options(Options::default())).await.unwrap();
            let watch = cluster.watch(config_maps(), options(from(&list.resource_version))).await;
            followers.push((selector, std::collections::BTreeMap::<String, String>::new(), watch));
        }
        for _ in 0..60 {
            let name = ["a", "b", "c"][env.random_below(3) as usize];
            let label = ["x", "y", "z"][env.random_below(3) as usize];
            let one = || config_maps().named(name);
            let _ = match env.random_below(4) {
                0 => cluster.create(config_maps(), json!({"metadata": {"name": name, "labels": {"app": label}}})).await,
                1 => cluster.patch(one(), Patch::Merge, json!({"metadata": {"labels": {"app": label}}})).await,
                2 => cluster.patch(one(), Patch::Merge, json!({"metadata": {"labels": null}, "data": {"n": env.uuid()}})).await,
                _ => cluster.delete(one(), Options::default()).await,
            };
            if env.random_below(5) == 0 {
                for follower in &mut followers {
                    agree(&cluster, follower, seed).await;
                }
            }
        }
        for follower in &mut followers {
            agree(&cluster, follower, seed).await;
        }
    }
}

/// Follows as far as there is something to hear, then compares with a list.
async fn agree(
    cluster: &Cluster,
    (selector, known, watch): &mut (&str, std::collections::BTreeMap<String, String>, client::Watch),
    seed: u64,
) {
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(1), watch.next()).await {
        let event = event.unwrap().unwrap();
        let (name, version) = (event.object.meta.name.clone(), event.object.meta.resource_version.clone());
        let had = known.contains_key(&name);
        match event.kind {
            WatchKind::Added => assert!(!had, "seed {seed} {selector}: {name} was known"),
            WatchKind::Modified | WatchKind::Deleted => assert!(had, "seed {seed} {selector}: {name} was not known"),
            WatchKind::Bookmark => panic!("nobody asked"),
        }
        match event.kind {
            WatchKind::Deleted => drop(known.remove(&name)),
            _ => drop(known.insert(name, version)),
        }
    }
    let list = cluster.list(config_maps(), Options { label_selector: (*selector).into(), ..Options::default() }).await.unwrap();
    let shown: std::collections::BTreeMap<String, String> =
        list.items.iter().map(|object| (object.meta.name.clone(), object.meta.resource_version.clone())).collect();
    assert_eq!(*known, shown, "seed {seed} {selector}");
}
