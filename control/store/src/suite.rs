//! The suite that every backend passes: `suite::run(|| backend).await` panics at the first broken promise.
//!
//! Each case gets a fresh, empty store. Expiry and history bounds need time and are tested beside their code.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use crate::contract::{Committed, Event, EventKind, Guard, Key, Op, Range, Revision, Store, StoreError, Txn, WatchStream};

/// Runs all cases, each on a store of its own made by `fresh`.
pub async fn run(fresh: impl Fn() -> Arc<dyn Store>) {
    starts_empty(&*fresh()).await;
    keeps_create_and_modify_revisions(&*fresh()).await;
    fills_the_hole(&*fresh()).await;
    holds_guards(&*fresh()).await;
    writes_all_or_nothing(&*fresh()).await;
    takes_no_revision_for_nothing(&*fresh()).await;
    pages_a_range(&*fresh()).await;
    shows_the_past(&*fresh()).await;
    forgets_what_is_compacted(&*fresh()).await;
    watches_in_commit_order(&*fresh()).await;
    watches_one_prefix(&*fresh()).await;
    resumes_from_any_kept_revision(&*fresh()).await;
    drops_a_watcher_that_compaction_overtakes(&*fresh()).await;
    lets_one_of_many_writers_win(fresh()).await;
    shows_every_watcher_every_write(fresh()).await;
}

async fn starts_empty(store: &dyn Store) {
    assert_eq!((store.revision(), store.oldest()), (Revision(0), Revision(0)));
    assert_eq!(store.get("/a").await.unwrap(), None);
    let range = store.range("/", "0", None, 0).await.unwrap();
    assert_eq!((range.entries.len(), range.revision, range.remaining), (0, Revision(0), 0));
}

async fn keeps_create_and_modify_revisions(store: &dyn Store) {
    put(store, "/a", "1").await;
    put(store, "/b", "1").await;
    put(store, "/a", "2").await;
    let a = store.get("/a").await.unwrap().unwrap();
    assert_eq!((&*a.key, &a.value[..], a.created, a.modified), ("/a", &b"2"[..], Revision(1), Revision(3)));
    delete(store, "/a").await;
    assert_eq!(store.get("/a").await.unwrap(), None);
    put(store, "/a", "3").await;
    let a = store.get("/a").await.unwrap().unwrap();
    assert_eq!((a.created, a.modified), (Revision(5), Revision(5)), "a key made again starts anew");
}

async fn fills_the_hole(store: &dyn Store) {
    put(store, "/other", "x").await;
    let with_hole = |key: &str| Op::Put { key: key.into(), value: Bytes::from_static(b"{\"rv\":\"\"}"), rv_at: Some(7), ttl_seconds: None };
    let done = store.txn(Txn { guards: vec![], ops: vec![with_hole("/a"), put_op("/b", "plain"), with_hole("/c")] }).await.unwrap();
    assert_eq!(done.revision, Revision(2));
    assert_eq!(done.values, ["{\"rv\":\"2\"}", "plain", "{\"rv\":\"2\"}"].map(Bytes::from));
    assert_eq!(store.get("/c").await.unwrap().unwrap().value, "{\"rv\":\"2\"}");
}

async fn holds_guards(store: &dyn Store) {
    put(store, "/a", "1").await;
    let (a, b): (Key, Key) = ("/a".into(), "/b".into());
    let refused = [
        (Guard::Absent(a.clone()), Some(Revision(1))),
        (Guard::At(a.clone(), Revision(7)), Some(Revision(1))),
        (Guard::At(b.clone(), Revision(1)), None),
        (Guard::Present(b.clone()), None),
    ];
    for (guard, current) in refused {
        let (Guard::Absent(key) | Guard::At(key, _) | Guard::Present(key)) = guard.clone();
        match guarded(store, vec![guard], put_op("/x", "never")).await {
            Err(StoreError::Conflict { key: named, current: found }) => assert_eq!((named, found), (key, current)),
            other => panic!("a guard that does not hold must conflict: {other:?}"),
        }
    }
    assert_eq!((store.revision(), store.get("/x").await.unwrap()), (Revision(1), None));
    guarded(store, vec![Guard::At(a.clone(), Revision(1)), Guard::Absent(b)], put_op("/a", "2")).await.unwrap();
    guarded(store, vec![Guard::Present(a.clone())], Op::Delete { key: a.clone() }).await.unwrap();
    guarded(store, vec![Guard::Absent(a)], put_op("/a", "3")).await.unwrap();
    assert_eq!(store.revision(), Revision(4));
}

async fn writes_all_or_nothing(store: &dyn Store) {
    put(store, "/a", "1").await;
    let ops = vec![put_op("/b", "2"), Op::Delete { key: "/a".into() }];
    let failed = store.txn(Txn { guards: vec![Guard::Absent("/a".into())], ops: ops.clone() }).await;
    assert!(matches!(failed, Err(StoreError::Conflict { .. })));
    assert!(store.get("/a").await.unwrap().is_some() && store.get("/b").await.unwrap().is_none());
    let mut watch = store.watch("/", Revision(1)).await.unwrap();
    assert_eq!(store.txn(Txn { guards: vec![], ops }).await.unwrap().revision, Revision(2));
    let events = next(&mut watch).await;
    assert_eq!(outline(&events), ["2 create /b=2", "2 delete /a was 1"], "one commit's events come together");
}

async fn takes_no_revision_for_nothing(store: &dyn Store) {
    put(store, "/a", "1").await;
    let only_guards = store.txn(Txn { guards: vec![Guard::Present("/a".into())], ops: vec![] }).await.unwrap();
    assert_eq!((only_guards.revision, only_guards.values.len()), (Revision(1), 0));
    assert_eq!(delete(store, "/none").await.revision, Revision(1));
    assert_eq!(store.revision(), Revision(1));
}

async fn pages_a_range(store: &dyn Store) {
    for key in ["/p/a", "/p/b", "/p/c", "/q/a"] {
        put(store, key, key).await;
    }
    delete(store, "/p/b").await;
    assert_eq!(keys(&store.range("/p/", "/p0", None, 0).await.unwrap()), ["/p/a", "/p/c"]);
    let first = store.range("/p/", "/r", None, 2).await.unwrap();
    assert_eq!((keys(&first), first.remaining, first.revision), (vec!["/p/a".into(), "/p/c".into()], 1, Revision(5)));
    let rest = store.range("/p/c\0", "/r", Some(first.revision), 2).await.unwrap();
    assert_eq!((keys(&rest), rest.remaining), (vec!["/q/a".into()], 0));
    for (start, end) in [("/r", "/p"), ("/p", "/p")] {
        assert_eq!(store.range(start, end, None, 0).await.unwrap().entries, [], "an empty interval is an empty page");
    }
}

async fn shows_the_past(store: &dyn Store) {
    put(store, "/a", "1").await;
    put(store, "/b", "1").await;
    put(store, "/a", "2").await;
    delete(store, "/b").await;
    put(store, "/b", "3").await;
    let mut shown = Vec::new();
    for revision in 0..=5 {
        let range = store.range("/", "0", Some(Revision(revision)), 0).await.unwrap();
        assert_eq!(range.revision, Revision(revision));
        shown.push(
            range
                .entries
                .iter()
                .map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)))
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    assert_eq!(shown, ["", "/a=1", "/a=1 /b=1", "/a=2 /b=1", "/a=2", "/a=2 /b=3"]);
    let future = store.range("/", "0", Some(Revision(6)), 0).await;
    assert!(matches!(future, Err(StoreError::Future { asked: Revision(6), current: Revision(5) })), "{future:?}");
}

async fn forgets_what_is_compacted(store: &dyn Store) {
    for value in ["1", "2", "3"] {
        put(store, "/a", value).await;
    }
    delete(store, "/a").await;
    put(store, "/b", "5").await;
    store.compact(Revision(3)).await.unwrap();
    assert_eq!((store.oldest(), store.revision()), (Revision(3), Revision(5)));
    let at_oldest = store.range("/", "0", Some(Revision(3)), 0).await.unwrap();
    assert_eq!(at_oldest.entries[0].value, "3", "the oldest kept revision is still whole");
    let compacted = store.range("/", "0", Some(Revision(2)), 0).await;
    assert!(matches!(compacted, Err(StoreError::Compacted { asked: Revision(2), oldest: Revision(3) })), "{compacted:?}");
    assert!(matches!(store.watch("/", Revision(2)).await.err(), Some(StoreError::Compacted { .. })));
    let mut watch = store.watch("/", Revision(3)).await.unwrap();
    assert_eq!(outline(&next(&mut watch).await), ["4 delete /a was 3"], "a delete keeps its last state across compaction");
    store.compact(Revision(1)).await.unwrap();
    assert_eq!(store.oldest(), Revision(3), "compaction never goes back");
    assert!(matches!(store.compact(Revision(6)).await, Err(StoreError::Future { .. })));
    store.compact(Revision(5)).await.unwrap();
    assert_eq!(keys(&store.range("/", "0", None, 0).await.unwrap()), ["/b"]);
}

async fn watches_in_commit_order(store: &dyn Store) {
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    put(store, "/a", "1").await;
    put(store, "/a", "2").await;
    delete(store, "/a").await;
    put(store, "/a", "4").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(outline(&next(&mut watch).await));
    }
    assert_eq!(seen, ["1 create /a=1", "2 update /a=2 was 1", "3 delete /a was 2", "4 create /a=4"]);
}

async fn watches_one_prefix(store: &dyn Store) {
    let mut watch = store.watch("/p/", Revision(0)).await.unwrap();
    put(store, "/q/a", "1").await;
    store.txn(Txn { guards: vec![], ops: vec![put_op("/p/a", "2"), put_op("/q/b", "2"), put_op("/p/b", "2")] }).await.unwrap();
    assert_eq!(outline(&next(&mut watch).await), ["2 create /p/a=2", "2 create /p/b=2"]);
}

async fn resumes_from_any_kept_revision(store: &dyn Store) {
    for value in 1..=20 {
        put(store, "/a", &value.to_string()).await;
    }
    for from in 0..=20 {
        let mut watch = store.watch("/", Revision(from)).await.unwrap();
        let live = from == 20;
        if live {
            put(store, "/a", "21").await;
        }
        assert_eq!(next(&mut watch).await[0].revision, Revision(from + 1));
    }
    let future = store.watch("/", Revision(99)).await.err();
    assert!(matches!(future, Some(StoreError::Future { .. })), "{future:?}");
}

async fn drops_a_watcher_that_compaction_overtakes(store: &dyn Store) {
    put(store, "/a", "1").await;
    let mut slow = store.watch("/", Revision(0)).await.unwrap();
    for value in ["2", "3"] {
        put(store, "/a", value).await;
    }
    store.compact(Revision(3)).await.unwrap();
    let end = slow.next().await;
    assert!(matches!(end, Some(Err(StoreError::Lagged))), "{end:?}");
    assert!(slow.next().await.is_none(), "the error is the last item");
}

async fn lets_one_of_many_writers_win(store: Arc<dyn Store>) {
    for round in 0..10 {
        let key: Key = format!("/race/{round}").into();
        let claims = (0..32).map(|writer| guarded(&*store, vec![Guard::Absent(key.clone())], put_op(&key, &writer.to_string())));
        let won = join_all(claims).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(won, 1, "exactly one create of {key} succeeds");
    }
}

async fn shows_every_watcher_every_write(store: Arc<dyn Store>) {
    let mut watches = Vec::new();
    for _ in 0..20 {
        watches.push(store.watch("/", Revision(0)).await.unwrap());
    }
    let writes = join_all((0..200).map(|n| {
        let store = store.clone();
        async move { put(&*store, &format!("/k/{}", n % 7), &n.to_string()).await.revision }
    }));
    let mut committed = writes.await;
    committed.sort_unstable();
    assert_eq!(committed, (1..=200).map(Revision).collect::<Vec<_>>(), "revisions have no gap");
    for mut watch in watches {
        for want in 1..=200 {
            assert_eq!(next(&mut watch).await[0].revision, Revision(want));
        }
    }
}

pub(crate) async fn put(store: &dyn Store, key: &str, value: &str) -> Committed {
    store.txn(Txn { guards: vec![], ops: vec![put_op(key, value)] }).await.expect("an unguarded put succeeds")
}

pub(crate) async fn delete(store: &dyn Store, key: &str) -> Committed {
    store.txn(Txn { guards: vec![], ops: vec![Op::Delete { key: key.into() }] }).await.expect("an unguarded delete succeeds")
}

async fn guarded(store: &dyn Store, guards: Vec<Guard>, op: Op) -> Result<Committed, StoreError> {
    store.txn(Txn { guards, ops: vec![op] }).await
}

pub(crate) fn put_op(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), rv_at: None, ttl_seconds: None }
}

pub(crate) async fn next(watch: &mut WatchStream) -> Arc<[Event]> {
    watch.next().await.expect("the watch goes on").expect("the watch keeps up")
}

fn keys(range: &Range) -> Vec<String> {
    range.entries.iter().map(|entry| entry.key.to_string()).collect()
}

/// `2 update /a=2 was 1`
pub(crate) fn outline(events: &[Event]) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let line = |event: &Event| {
        let kind = match event.kind {
            EventKind::Create => "create",
            EventKind::Update => "update",
            EventKind::Delete => "delete",
        };
        let value = if event.kind == EventKind::Delete { String::new() } else { format!("={}", text(&event.value)) };
        let was = event.previous.as_ref().map_or(String::new(), |previous| format!(" was {}", text(previous)));
        format!("{} {kind} {}{value}{was}", event.revision.0, event.key)
    };
    events.iter().map(line).collect()
}
