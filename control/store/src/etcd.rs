//! The distributed engine: etcd (3.4 or later) keeps the data, we keep a picture of it.
//!
//! ```text
//! txn ─> one etcd Txn, guards as compares ─> committed there ─> the watch shows it ─> answered
//! get, range, watch ─> the picture (replica.rs), as with the other backends: in memory, with history
//! current ─> a read that a majority of etcd agrees on ─> the watch shows it ─> answered
//! ```
//! What is promised: what was acknowledged is in etcd; what anybody else writes there is told in order; no event is lost
//! or told twice when members die, pause or are cut off, since watching goes on one revision after the last one seen;
//! where etcd has forgotten what came then, watchers are told to list again. A write that went unanswered is said to be
//! uncertain ([`StoreError::Uncertain`]) and not asked again. Reads of the picture go on whatever etcd does.

mod channel;
mod failure;
mod folders;
mod grpc;
mod layout;
mod leases;
mod messages;
mod replica;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use env::Env;
use tokio::sync::Mutex;

pub use self::channel::TlsFiles;
use self::channel::{Channel, Endpoint};
use self::grpc::CallError;
use self::layout::{FORMAT, Layout, PREFIX};
use self::leases::Leases;
use self::messages::{
    COMPACT, CompactRequest, Compare, HeaderOnly, KeyValue, PUT, PutRequest, RangeRequest, RequestOp, STATUS, StatusRequest,
    StatusResponse, TXN, Test, TxnRequest, TxnResponse,
};
use self::replica::{Replica, format_entry};
use crate::contract::{Committed, Entry, Guard, Key, Op, Range, Revision, Store, StoreError, Txn, WatchStream};
use crate::history::{self, HistoryConfig};
use crate::hole;
use crate::mvcc::{assert_well_formed, fill_hole};

/// Where etcd is and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// The members' client URLs (`https://10.0.0.1:2379`), at least one.
    pub endpoints: Vec<String>,
    /// For https.
    pub tls: Option<TlsFiles>,
    /// In front of every key.
    pub prefix: String,
    /// Folders that have another name there: (`/nodes/`, `/minions/`). They must stay the same for as long as the data lives.
    pub folders: Vec<(String, String)>,
    /// For each attempt of a call.
    pub deadline: Duration,
    pub history: HistoryConfig,
}

impl EtcdConfig {
    /// The usual prefix and bounds.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            prefix: PREFIX.into(),
            folders: Vec::new(),
            deadline: Duration::from_secs(5),
            history: HistoryConfig::default(),
        }
    }
}

/// Why etcd cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("{0}")]
    Endpoint(String),
    #[error("etcd cannot be used: {0}")]
    Unusable(String),
    #[error("etcd at {etcd} is version {found}; 3.4 or later is needed")]
    TooOld { etcd: String, found: String },
    #[error("etcd at {etcd} has keys below {prefix}/ that no corten wrote; choose another prefix or an empty etcd")]
    Foreign { etcd: String, prefix: String },
    #[error("etcd at {etcd} has the format {found:?} below {prefix}, this build knows up to {FORMAT}; start the version that wrote it")]
    Newer { etcd: String, prefix: String, found: String },
}

impl From<CallError> for EtcdError {
    fn from(error: CallError) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// A store in an etcd cluster.
pub struct Etcd {
    replica: Arc<Replica>,
    env: Env,
    leases: Leases,
    clock: Clock,
}

impl Etcd {
    /// Connects, loads, and starts the tasks that follow etcd and bound its history.
    pub async fn open(config: EtcdConfig, env: &Env) -> Result<Arc<Self>, EtcdError> {
        let channel = connect(&config)?;
        let status = check_version(&channel).await?;
        let layout = settle(&channel, &config).await?;
        let replica = Replica::load(channel, layout, status.header.cluster_id, env, config.history.bytes_max, config.deadline).await?;
        let store = Arc::new(Self { replica: Arc::new(replica), env: env.clone(), leases: Leases::default(), clock: Clock::default() });
        env.spawn("store-feed", Arc::clone(&store.replica).run());
        let newest = format_entry(&store.replica.channel, &store.replica.layout).await?.header.revision;
        store.replica.catch_up(newest).await.map_err(|error| EtcdError::Unusable(error.to_string()))?;
        store.bound_history(config.history);
        Ok(store)
    }

    /// Whether [`Etcd::open`] could succeed. Writes nothing.
    pub async fn probe(config: EtcdConfig) -> Result<(), EtcdError> {
        let channel = connect(&config)?;
        check_version(&channel).await?;
        let unknown = Layout::new(&config.prefix, 0);
        match format_entry(&channel, &unknown).await?.kvs.first() {
            Some(found) => known_layout(&channel, &config, found).map(drop),
            None => Ok(()),
        }
    }

    fn bound_history(&self, config: HistoryConfig) {
        let replica = Arc::clone(&self.replica);
        let compact = move |to| {
            let replica = Arc::clone(&replica);
            async move {
                if let Err(error) = compact_etcd(&replica, to).await {
                    tracing::warn!(%error, "etcd keeps its history until the next round");
                }
                replica.hub.compact(to).await
            }
        };
        self.env.spawn("store-history", history::keep_bounded(self.env.clone(), Arc::clone(&self.replica.hub), config, compact));
    }

    /// Returns when the store has stopped for good, with the reason: the process should end and be started again.
    pub async fn failed(&self) -> StoreError {
        self.replica.hub.closed.cancelled().await;
        self.replica.stopped()
    }

    /// One put of any key, unanswered by the feed: what the bench holds the engine beside.
    pub(crate) async fn bare_put(&self, key: &str, value: &Bytes) -> Result<(), StoreError> {
        let put = PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.clone(), lease: 0 };
        self.replica.channel.call::<HeaderOnly>(PUT, &put).await.map(drop).map_err(failure::of_write)
    }

    async fn request(&self, txn: &Txn) -> Result<TxnRequest, StoreError> {
        let layout = &self.replica.layout;
        let mut success = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            success.push(match op {
                Op::Delete { key } => RequestOp::Delete(layout.stored_key(key)),
                Op::Put { key, value, rv_at, ttl_seconds } => {
                    let too_large = || StoreError::TooLarge(format!("{key} has {} bytes", value.len()));
                    let value = hole::enclose(value, *rv_at).ok_or_else(too_large)?;
                    RequestOp::Put(PutRequest { key: layout.stored_key(key), value, lease: self.lease(*ttl_seconds).await? })
                }
            });
        }
        let compare = txn.guards.iter().map(|guard| compare(layout, guard)).collect();
        let look = |guard: &Guard| RangeRequest { key: layout.stored_key(guarded(guard)), keys_only: true, ..RangeRequest::default() };
        let failure = txn.guards.iter().map(|guard| RequestOp::Range(look(guard))).collect();
        Ok(TxnRequest { compare, success, failure })
    }

    async fn lease(&self, ttl_seconds: Option<u32>) -> Result<i64, StoreError> {
        let Some(ttl_seconds) = ttl_seconds else { return Ok(0) };
        self.leases.take(&self.replica.channel, &self.env, ttl_seconds).await.map_err(failure::of_read)
    }

    /// Sends a transaction; one that names a lease which etcd has lost goes out once more, with another.
    async fn send(&self, txn: &Txn) -> Result<TxnResponse, StoreError> {
        let request = self.request(txn).await?;
        match self.replica.channel.call(TXN, &request).await {
            Err(error) if failure::is_lost_lease(&error) => {}
            outcome => return outcome.map_err(failure::of_write),
        }
        for op in &request.success {
            if let RequestOp::Put(put) = op {
                self.leases.forget(put.lease).await;
            }
        }
        let again = self.request(txn).await?;
        self.replica.channel.call(TXN, &again).await.map_err(failure::of_write)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.replica.hub.stop(StoreError::Failed("it was closed".into()));
    }
}

fn connect(config: &EtcdConfig) -> Result<Channel, EtcdError> {
    let endpoints: Result<Vec<_>, _> = config.endpoints.iter().map(|text| Endpoint::parse(text)).collect();
    let endpoints = endpoints.map_err(EtcdError::Endpoint)?;
    if endpoints.is_empty() {
        return Err(EtcdError::Endpoint("no etcd endpoint; write them like https://10.0.0.1:2379".into()));
    }
    Ok(Channel::new(endpoints, config.tls.clone(), config.deadline))
}

async fn check_version(channel: &Channel) -> Result<StatusResponse, EtcdError> {
    let status: StatusResponse = channel.call(STATUS, &StatusRequest).await?;
    let mut numbers = status.version.split('.').map_while(|part| part.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(3), Some(4)) {
        return Err(EtcdError::TooOld { etcd: channel.name(), found: status.version });
    }
    for alarm in &status.errors {
        tracing::warn!(etcd = channel.name(), alarm, "etcd tells of an error");
    }
    Ok(status)
}

/// Finds or makes the format key, the first of all our keys.
async fn settle(channel: &Channel, config: &EtcdConfig) -> Result<Layout, EtcdError> {
    let unknown = Layout::new(&config.prefix, 0);
    if let Some(found) = format_entry(channel, &unknown).await?.kvs.into_iter().next() {
        return known_layout(channel, config, &found);
    }
    let key = unknown.format_key();
    let (start, end) = unknown.documents();
    let absent = |key, end| Compare { key, end, test: Test::CreatedAt(0) };
    let request = TxnRequest {
        compare: vec![absent(key.clone(), Bytes::new()), absent(start, end)],
        success: vec![RequestOp::Put(PutRequest { key: key.clone(), value: layout::format_text(), lease: 0 })],
        failure: vec![RequestOp::Range(RangeRequest { key, ..RangeRequest::default() })],
    };
    let answer: TxnResponse = channel.call(TXN, &request).await?;
    if answer.succeeded {
        return Ok(Layout::new(&config.prefix, answer.header.revision).with_folders(&config.folders, FORMAT));
    }
    match answer.responses.first().and_then(|response| response.range.kvs.first()) {
        Some(found) => known_layout(channel, config, found), // another was faster
        None => Err(EtcdError::Foreign { etcd: channel.name(), prefix: config.prefix.clone() }),
    }
}

fn known_layout(channel: &Channel, config: &EtcdConfig, format: &KeyValue) -> Result<Layout, EtcdError> {
    match layout::parse_format(&format.value) {
        Some(number) if number <= FORMAT => Ok(Layout::new(&config.prefix, format.create_revision).with_folders(&config.folders, number)),
        _ => {
            let found = String::from_utf8_lossy(&format.value).into_owned();
            Err(EtcdError::Newer { etcd: channel.name(), prefix: config.prefix.clone(), found })
        }
    }
}

fn guarded(guard: &Guard) -> &Key {
    let (Guard::Absent(key) | Guard::At(key, _) | Guard::Present(key)) = guard;
    key
}

fn compare(layout: &Layout, guard: &Guard) -> Compare {
    let test = match guard {
        Guard::Absent(_) => Test::CreatedAt(0),
        Guard::At(_, revision) => Test::ModifiedAt(layout.stored_revision(*revision)),
        Guard::Present(_) => Test::CreatedAfter(0),
    };
    Compare { key: layout.stored_key(guarded(guard)), end: Bytes::new(), test }
}

/// The first guard that did not hold, by what the refused transaction found instead.
fn conflict(layout: &Layout, guards: &[Guard], answer: &TxnResponse) -> StoreError {
    let found = guards.iter().zip(&answer.responses).map(|(guard, response)| {
        let current = response.range.kvs.first().map(|kv| layout.revision(kv.mod_revision));
        (guard, current)
    });
    let failed = found.into_iter().find(|(guard, current)| match guard {
        Guard::Absent(_) => current.is_some(),
        Guard::At(_, revision) => *current != Some(*revision),
        Guard::Present(_) => current.is_none(),
    });
    match failed {
        Some((guard, current)) => StoreError::Conflict { key: guarded(guard).clone(), current },
        None => StoreError::Failed("etcd refused a transaction whose guards hold".into()),
    }
}

/// What was written, as readers see it.
fn values(ops: Vec<Op>, revision: Revision) -> Vec<Bytes> {
    let put = |op| match op {
        Op::Put { value, rv_at, .. } => Some(fill_hole(value, rv_at, revision)),
        Op::Delete { .. } => None,
    };
    ops.into_iter().filter_map(put).collect()
}

/// Forgets history in etcd; that somebody else did so before is fine.
async fn compact_etcd(replica: &Replica, to: Revision) -> Result<(), StoreError> {
    let request = CompactRequest(replica.layout.stored_revision(to));
    match replica.channel.call::<HeaderOnly>(COMPACT, &request).await {
        Err(error) if !failure::is_compacted(&error) => Err(failure::of_read(error)),
        _ => Ok(()),
    }
}

/// Asks for etcd's newest revision: one question for all who came before it went out.
#[derive(Default)]
struct Clock {
    tickets: AtomicU64,
    /// The last ticket that was covered, and by which answer.
    answered: Mutex<(u64, Option<Result<i64, StoreError>>)>,
}

impl Clock {
    async fn ask(&self, replica: &Replica) -> Result<i64, StoreError> {
        let ticket = self.tickets.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if let (covered, Some(answer)) = &*answered
            && *covered >= ticket
        {
            return answer.clone();
        }
        let covered = self.tickets.load(Ordering::SeqCst);
        let answer = format_entry(&replica.channel, &replica.layout).await.map_err(failure::of_read);
        let answer = answer.map(|found| found.header.revision);
        *answered = (covered, Some(answer.clone()));
        answer
    }
}

#[async_trait]
impl Store for Etcd {
    fn revision(&self) -> Revision {
        self.replica.hub.revision()
    }

    async fn current(&self) -> Result<Revision, StoreError> {
        let newest = self.clock.ask(&self.replica).await?;
        self.replica.reach(newest, false).await?;
        Ok(self.revision())
    }

    fn oldest(&self) -> Revision {
        self.replica.hub.read().oldest()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.replica.hub.read().get(key))
    }

    async fn range(&self, start: &str, end: &str, at: Option<Revision>, limit: usize) -> Result<Range, StoreError> {
        self.replica.hub.read().range(start, end, at, limit)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        assert_well_formed(&txn);
        if let Some(why) = self.replica.hub.stopped() {
            return Err(why.clone());
        }
        let answer = self.send(&txn).await?;
        let (layout, at) = (&self.replica.layout, answer.header.revision);
        if !answer.succeeded {
            self.replica.reach(at, false).await?; // so that who reads again reads what made it fail
            return Err(conflict(layout, &txn.guards, &answer));
        }
        let has_written = txn.ops.iter().any(|op| matches!(op, Op::Put { .. })) || answer.responses.iter().any(|one| one.deleted);
        if !has_written {
            self.replica.reach(at, false).await?;
            return Ok(Committed { revision: self.revision(), values: Vec::new() });
        }
        let shown = self.replica.reach(at, true).await;
        shown.map_err(|error| StoreError::Uncertain(format!("it was written, but does not show yet: {error}")))?;
        let revision = layout.revision(at);
        Ok(Committed { revision, values: values(txn.ops, revision) })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        self.replica.hub.watch(prefix, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let (oldest, current) = (self.oldest(), self.revision());
        if revision > current {
            return Err(StoreError::Future { asked: revision, current });
        }
        if revision > oldest {
            compact_etcd(&self.replica, revision).await?;
        }
        self.replica.hub.compact(revision).await
    }
}
