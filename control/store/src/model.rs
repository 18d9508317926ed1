//! All backends against the simplest thing that could be right: one whole map per revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use env::Env;
use proptest::prelude::*;

use crate::contract::{Guard, Key, Op, Revision, Store, StoreError, Txn};
use crate::etcd_server::EtcdServer;
use crate::suite::{next, outline};
use crate::{Etcd, EtcdConfig, Log, LogConfig, Memory};

/// Value and revisions of create and last write.
type Live = (Bytes, Revision, Revision);

/// `states[r]` is everything at revision r; `events[r]` what commit r + 1 did.
#[derive(Default)]
struct Model {
    states: Vec<BTreeMap<Key, Live>>,
    events: Vec<Vec<String>>,
    oldest: u64,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![BTreeMap::new()], ..Self::default() }
    }

    fn now(&self) -> &BTreeMap<Key, Live> {
        self.states.last().unwrap()
    }

    fn modified(&self, key: &Key) -> Option<Revision> {
        self.now().get(key).map(|(_, _, modified)| *modified)
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Absent(key) => self.modified(key).is_none(),
            Guard::At(key, revision) => self.modified(key) == Some(*revision),
            Guard::Present(key) => self.modified(key).is_some(),
        }
    }

    /// The revision after the transaction; None if a guard does not hold.
    fn txn(&mut self, txn: &Txn) -> Option<Revision> {
        if !txn.guards.iter().all(|guard| self.holds(guard)) {
            return None;
        }
        let mut next = self.now().clone();
        let revision = Revision(self.states.len() as u64);
        let mut events = Vec::new();
        for op in &txn.ops {
            events.extend(apply(&mut next, op, revision));
        }
        if events.is_empty() {
            return Some(Revision(revision.0 - 1));
        }
        self.states.push(next);
        self.events.push(events);
        Some(revision)
    }
}

fn apply(state: &mut BTreeMap<Key, Live>, op: &Op, revision: Revision) -> Option<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    match op {
        Op::Put { key, value, .. } => {
            let before = state.get(key).cloned();
            let created = before.as_ref().map_or(revision, |(_, created, _)| *created);
            state.insert(key.clone(), (value.clone(), created, revision));
            Some(match before {
                Some((was, ..)) => format!("{} update {key}={} was {}", revision.0, text(value), text(&was)),
                None => format!("{} create {key}={}", revision.0, text(value)),
            })
        }
        Op::Delete { key } => {
            let (was, ..) = state.remove(key)?;
            Some(format!("{} delete {key} was {}", revision.0, text(&was)))
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Txn {
        guards: Vec<(u8, u8, u8)>,
        ops: Vec<(u8, Option<u16>)>,
    },
    /// Compacts to this share of what is kept, in 1/255.
    Compact(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let txn = (
        prop::collection::vec((0..3u8, 0..6u8, 0..3u8), 0..2),
        prop::collection::vec((0..6u8, prop::option::weighted(0.7, any::<u16>())), 0..4),
    )
        .prop_map(|(guards, ops)| Step::Txn { guards, ops });
    prop::collection::vec(prop_oneof![20 => txn, 1 => any::<u8>().prop_map(Step::Compact), 1 => Just(Step::Reopen)], 1..80)
}

fn key(number: u8) -> Key {
    ["/a", "/a/b", "/b", "/b\u{1}", "/b/c", "/ü"][usize::from(number)].into()
}

/// Guards that hold about as often as not.
fn to_txn(model: &Model, guards: &[(u8, u8, u8)], ops: &[(u8, Option<u16>)]) -> Txn {
    let guard = |&(kind, number, off): &(u8, u8, u8)| match kind {
        0 => Guard::Absent(key(number)),
        1 => Guard::Present(key(number)),
        _ => Guard::At(key(number), Revision(model.modified(&key(number)).map_or(0, |revision| revision.0) + u64::from(off / 2))),
    };
    let by_key: BTreeMap<u8, Option<u16>> = ops.iter().copied().collect();
    let op = |(number, value): (u8, Option<u16>)| match value {
        Some(value) => Op::Put { key: key(number), value: value.to_string().into(), rv_at: None, ttl_seconds: None },
        None => Op::Delete { key: key(number) },
    };
    Txn { guards: guards.iter().map(guard).collect(), ops: by_key.into_iter().map(op).collect() }
}

async fn check(store: &dyn Store, model: &Model) {
    assert_eq!(store.revision().0 as usize, model.states.len() - 1);
    let oldest = store.oldest().0;
    assert!(oldest <= model.oldest, "no more is forgotten than was asked for");
    for (revision, state) in model.states.iter().enumerate().skip(model.oldest as usize) {
        let range = store.range("/", "0", Some(Revision(revision as u64)), 0).await.unwrap();
        let found: BTreeMap<Key, Live> =
            range.entries.into_iter().map(|entry| (entry.key, (entry.value, entry.created, entry.modified))).collect();
        assert_eq!(&found, state, "at revision {revision}");
        if revision < model.events.len() {
            let mut watch = store.watch("", Revision(revision as u64)).await.unwrap();
            for events in &model.events[revision..] {
                assert_eq!(&outline(&next(&mut watch).await), events);
            }
        }
    }
    for key in (0..6).map(key) {
        let found = store.get(&key).await.unwrap().map(|entry| (entry.value, entry.created, entry.modified));
        assert_eq!(found.as_ref(), model.now().get(&key));
    }
}

async fn play(steps: Vec<Step>, mut store: Arc<dyn Store>, reopen: impl Fn(Arc<dyn Store>) -> Arc<dyn Store>) {
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Txn { guards, ops } => {
                let txn = to_txn(&model, &guards, &ops);
                match (store.txn(txn.clone()).await, model.txn(&txn)) {
                    (Ok(done), Some(revision)) => assert_eq!(done.revision, revision),
                    (Err(StoreError::Conflict { key, current }), None) => assert_eq!(current, model.modified(&key)),
                    (found, wanted) => panic!("{txn:?} gave {found:?}, not {wanted:?}"),
                }
            }
            Step::Compact(share) => {
                let kept = model.states.len() as u64 - 1 - model.oldest;
                model.oldest += kept * u64::from(share) / 255;
                store.compact(Revision(model.oldest)).await.unwrap();
                assert_eq!(store.oldest().0, model.oldest);
            }
            Step::Reopen => {
                check(&*store, &model).await;
                store = reopen(store);
            }
        }
    }
    check(&*store, &model).await;
}

fn on_runtime(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// Opens a store from within a runtime of several threads.
fn open_etcd(server: &EtcdServer) -> Arc<dyn Store> {
    let env = Env::real();
    let opening = Etcd::open(EtcdConfig::new(vec![server.url()]), &env);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(opening)).unwrap()
}

proptest! {
    // Each case has an etcd of its own.
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn etcd_is_the_model_also_after_restarts(steps in steps()) {
        let Some(server) = EtcdServer::plain() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            play(steps, open_etcd(&server), |store| {
                drop(store);
                open_etcd(&server)
            }).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_the_model(steps in steps()) {
        on_runtime(async { play(steps, Memory::new(), |store| store).await });
    }

    #[test]
    fn the_log_is_the_model_also_after_restarts(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 1024, snapshot_after_bytes: 1024, ..LogConfig::default() };
        let open = || Log::open(dir.path(), &Env::real(), config).unwrap() as Arc<dyn Store>;
        on_runtime(async {
            play(steps, open(), |store| {
                drop(store);
                open()
            }).await;
        });
    }
}
