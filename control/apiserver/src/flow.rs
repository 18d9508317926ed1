//! Priority and fairness: every request over the network belongs to a flow, and every flow has its share.
//!
//! ```text
//! request ─► first FlowSchema that fits (precedence, name) ─► its PriorityLevel ─► a seat, a queue, or 429
//! ```
//!
//! Levels divide the server's concurrency by their shares. What a level can lend goes into a pool from which any level may take
//! within its borrowing limit, so that nobody's seats lie idle and everybody keeps a minimum. Within a level each flow (schema and
//! distinguisher) is dealt a few queues and waits in the shortest; queues take turns. Requests that last (watches, logs, exec, proxies)
//! are sorted but take no seat, and the components of this process are bounded by their own worker pools.
//!
//! | file | what |
//! |---|---|
//! | `seats.rs` | seats, the pool and the queues |
//! | `schema.rs` | which requests a schema fits |
//! | `bootstrap.rs` | the objects that every cluster has |
//! | `follow.rs` | the objects as they are now; the `Dangling` condition |

pub(crate) mod bootstrap;
mod follow;
mod schema;
mod seats;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ::schema::{DocExt, Value};
use arc_swap::ArcSwap;
use auth::Attributes;
use env::Env;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde::Deserialize;

pub(crate) use self::follow::start;
use self::schema::{FlowSchema, PriorityLevel};
use self::seats::{Limits, Pool, Queuing, Refused, Seat, Seats};
use crate::Config;

pub(crate) const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// A quarter of the time that a request may take: who waited longer would not be answered in time.
const PATIENCE: Duration = Duration::from_secs(15);
/// Seconds after which somebody refused may ask again.
pub(crate) const RETRY_AFTER: u64 = 1;

/// Sorts requests and hands out seats. Reading the rules takes no lock.
pub struct Flow {
    env: Env,
    rules: ArcSwap<Rules>,
    pool: Arc<Pool>,
    /// Seats of all levels together.
    concurrency: u32,
    metrics: Metrics,
}

/// The objects as they are now.
#[derive(Default)]
struct Rules {
    /// In the order in which they are tried.
    schemas: Vec<Arc<Sort>>,
    levels: HashMap<String, Level>,
}

/// A schema with its level: where a request belongs.
pub struct Sort {
    name: String,
    uid: String,
    precedence: i64,
    schema: FlowSchema,
    level: Level,
    counters: Counters,
}

#[derive(Clone)]
struct Level {
    uid: String,
    /// None: exempt, everybody gets in.
    seats: Option<Arc<Seats>>,
}

/// One object of either kind.
pub(crate) struct Held {
    pub name: String,
    pub uid: String,
    pub doc: Value,
}

/// A request that may run, until it is dropped.
pub struct Place {
    pub sort: Arc<Sort>,
    seat: Option<Seat>,
    counted: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counted {
            self.sort.counters.executing.dec();
        }
        drop(self.seat.take());
    }
}

impl Sort {
    pub fn schema_uid(&self) -> &str {
        &self.uid
    }

    pub fn level_uid(&self) -> &str {
        &self.level.uid
    }

    fn flow(&self, asked: &Attributes<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.name, self.schema.distinguisher(asked)).hash(&mut hasher);
        hasher.finish()
    }
}

impl Flow {
    /// Sorts by the bootstrap objects until it is told of others.
    pub fn new(config: &Config, env: &Env) -> Arc<Self> {
        let concurrency = u32::try_from(config.reads_in_flight_max + config.writes_in_flight_max).unwrap_or(u32::MAX);
        let flow = Self { env: env.clone(), rules: ArcSwap::default(), pool: Arc::default(), concurrency, metrics: Metrics::default() };
        flow.configure(Vec::new(), Vec::new());
        Arc::new(flow)
    }

    /// A place for a request; Err is a 429 of who belongs there. `lasts`: it takes no seat.
    pub async fn enter(&self, asked: &Attributes<'_>, lasts: bool) -> Result<Place, Arc<Sort>> {
        let sort = self.sort(asked);
        if lasts {
            return Ok(Place { sort, seat: None, counted: false });
        }
        let seat = match &sort.level.seats {
            None => None,
            Some(seats) => match seats.try_enter() {
                Some(seat) => Some(seat),
                None => Some(self.wait(&sort, seats, asked).await?),
            },
        };
        sort.counters.dispatched.inc();
        sort.counters.executing.inc();
        Ok(Place { sort, seat, counted: true })
    }

    async fn wait(&self, sort: &Arc<Sort>, seats: &Arc<Seats>, asked: &Attributes<'_>) -> Result<Seat, Arc<Sort>> {
        let since = self.env.instant();
        let entered = seats.enter(sort.flow(asked), PATIENCE).await;
        sort.counters.waited.observe(since.elapsed().as_secs_f64());
        entered.map_err(|why| {
            self.metrics.refused(&sort.counters.label, why);
            Arc::clone(sort)
        })
    }

    fn sort(&self, asked: &Attributes<'_>) -> Arc<Sort> {
        let rules = self.rules.load();
        let found = rules.schemas.iter().find(|sort| sort.schema.fits(asked));
        // Who is in no group at all is nobody's but the last one's.
        Arc::clone(found.or(rules.schemas.last()).expect("the mandatory schemas are always there"))
    }

    /// Sorts by these objects from now on; the mandatory ones are there even where they are not among them.
    pub(crate) fn configure(&self, mut schemas: Vec<Held>, mut levels: Vec<Held>) {
        let starting = schemas.is_empty() && levels.is_empty();
        for doc in bootstrap::objects() {
            let list = if doc.str_at("kind") == "FlowSchema" { &mut schemas } else { &mut levels };
            let name = doc.str_at("metadata.name");
            if (starting || bootstrap::is_mandatory(name)) && !list.iter().any(|held| held.name == name) {
                list.push(Held { name: name.to_owned(), uid: String::new(), doc });
            }
        }
        let levels = self.levels(&levels);
        let mut sorts: Vec<Arc<Sort>> = schemas.iter().filter_map(|held| self.compile(held, &levels)).collect();
        sorts.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        self.rules.store(Arc::new(Rules { schemas: sorts, levels }));
        // A seat that a level lost may have become the pool's.
        self.pool.serve();
    }

    fn compile(&self, held: &Held, levels: &HashMap<String, Level>) -> Option<Arc<Sort>> {
        let schema = FlowSchema::deserialize(&held.doc).ok()?;
        let level_name = schema.spec.priority_level_configuration.name.clone();
        let level = levels.get(&level_name)?.clone();
        let counters = self.metrics.of(Label { flow_schema: held.name.clone(), priority_level: level_name });
        let precedence = schema.spec.matching_precedence;
        Some(Arc::new(Sort { name: held.name.clone(), uid: held.uid.clone(), precedence, schema, level, counters }))
    }

    /// Divides the concurrency; levels that were there keep their seats and queues.
    fn levels(&self, held: &[Held]) -> HashMap<String, Level> {
        let known = self.rules.load();
        let specs: Vec<(&Held, PriorityLevel)> =
            held.iter().filter_map(|held| Some((held, PriorityLevel::deserialize(&held.doc).ok()?))).collect();
        let total: u64 = specs.iter().filter(|(_, level)| level.is_limited()).map(|(_, level)| level.shares()).sum();
        let (mut levels, mut lent) = (HashMap::new(), 0);
        for (held, level) in &specs {
            let seats = level.is_limited().then(|| {
                let (limits, nominal, lendable) = level.limits(self.concurrency, total);
                lent += lendable;
                self.metrics.nominal.get_or_create(&OfLevel { priority_level: held.name.clone() }).set(nominal.into());
                let seats = known.levels.get(&held.name).and_then(|level| level.seats.clone()).unwrap_or_else(|| Seats::new(&self.pool));
                seats.limit(&limits);
                seats
            });
            levels.insert(held.name.clone(), Level { uid: held.uid.clone(), seats });
        }
        let all = levels.values().filter_map(|level| level.seats.as_ref()).map(Arc::downgrade).collect();
        self.pool.resize(lent, all);
        levels
    }

    /// Upstream's names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let metrics = &self.metrics;
        registry.register("apiserver_flowcontrol_dispatched_requests", "Requests that got in", metrics.dispatched.clone());
        registry.register("apiserver_flowcontrol_rejected_requests", "Requests that were refused", metrics.rejected.clone());
        registry.register("apiserver_flowcontrol_current_executing_requests", "Requests that run", metrics.executing.clone());
        registry.register("apiserver_flowcontrol_current_executing_seats", "Seats taken", metrics.seats.clone());
        registry.register("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait", metrics.waiting.clone());
        registry.register("apiserver_flowcontrol_nominal_limit_seats", "Seats of a level", metrics.nominal.clone());
        registry.register("apiserver_flowcontrol_request_wait_duration_seconds", "Time in a queue", metrics.waited.clone());
    }

    /// Brings the gauges up to date that are counted by the seats themselves.
    pub(crate) fn measure(&self) {
        for (name, level) in &self.rules.load().levels {
            let Some(seats) = &level.seats else { continue };
            let label = OfLevel { priority_level: name.clone() };
            self.metrics.seats.get_or_create(&label).set(seats.taken().into());
            self.metrics.waiting.get_or_create(&label).set(i64::try_from(seats.waiting()).unwrap_or(i64::MAX));
        }
    }
}

impl PriorityLevel {
    fn is_limited(&self) -> bool {
        self.spec.ty != "Exempt"
    }

    fn shares(&self) -> u64 {
        self.spec.limited.shares.nominal_concurrency_shares.unwrap_or(30).into()
    }

    /// What it may hold, its nominal seats, and how many of them it lends.
    fn limits(&self, concurrency: u32, total_shares: u64) -> (Limits, u32, u32) {
        let limited = &self.spec.limited;
        let nominal = (u64::from(concurrency) * self.shares()).div_ceil(total_shares.max(1));
        let percent = |percent: u32| (nominal * u64::from(percent) + 50) / 100;
        let lendable = percent(limited.shares.lendable_percent.unwrap_or(0)).min(nominal);
        let borrowing = limited.borrowing_limit_percent.map_or(u64::from(concurrency), percent);
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let limits = Limits { own: small(nominal - lendable), from_pool: small(lendable + borrowing), queuing: self.queuing() };
        (limits, small(nominal), small(lendable))
    }

    fn queuing(&self) -> Option<Queuing> {
        let response = &self.spec.limited.limit_response;
        if response.ty != "Queue" {
            return None;
        }
        let given = response.queuing.as_ref();
        Some(Queuing {
            queues: given.and_then(|given| given.queues).unwrap_or(64).max(1),
            hand: given.and_then(|given| given.hand_size).unwrap_or(8),
            length_max: given.and_then(|given| given.queue_length_limit).unwrap_or(50),
        })
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    flow_schema: String,
    priority_level: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfLevel {
    priority_level: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refusal {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

struct Metrics {
    dispatched: Family<Label, Counter>,
    rejected: Family<Refusal, Counter>,
    executing: Family<Label, Gauge>,
    waited: Family<Label, Histogram, fn() -> Histogram>,
    seats: Family<OfLevel, Gauge>,
    waiting: Family<OfLevel, Gauge>,
    nominal: Family<OfLevel, Gauge>,
}

/// Those of one schema: looked up once, so that a request touches nothing but its own numbers.
struct Counters {
    label: Label,
    dispatched: Counter,
    executing: Gauge,
    waited: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            executing: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 4.0, 9))),
            seats: Family::default(),
            waiting: Family::default(),
            nominal: Family::default(),
        }
    }
}

impl Metrics {
    fn of(&self, label: Label) -> Counters {
        Counters {
            dispatched: self.dispatched.get_or_create_owned(&label),
            executing: self.executing.get_or_create_owned(&label),
            waited: self.waited.get_or_create_owned(&label),
            label,
        }
    }

    fn refused(&self, label: &Label, why: Refused) {
        let Label { flow_schema, priority_level } = label.clone();
        self.rejected.get_or_create(&Refusal { flow_schema, priority_level, reason: why.word() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use ::schema::json;
    use auth::UserInfo;

    use super::*;

    fn flow() -> Arc<Flow> {
        Flow::new(&Config::default(), &Env::sim(1))
    }

    #[test]
    fn the_bootstrap_objects_sort_as_upstreams_do() {
        let flow = flow();
        let user = |name: &str, groups: &[&str]| UserInfo::new(name, groups);
        let (admin, ann) = (user("admin", &["system:masters", "system:authenticated"]), user("ann", &["system:authenticated"]));
        let (node, nobody) =
            (user("system:node:a", &["system:nodes", "system:authenticated"]), user("system:anonymous", &["system:unauthenticated"]));
        let (account, system) = (auth::service_account_user("d", "bot", ""), auth::service_account_user("kube-system", "bot", ""));
        let leases = |user, verb| Attributes { namespace: "x", ..Attributes::resource(user, verb, "coordination.k8s.io", "v1", "leases") };
        for (asked, want) in [
            (Attributes::resource(&admin, "list", "", "v1", "pods"), "exempt"),
            (Attributes::path(&nobody, "get", "/readyz"), "probes"),
            (Attributes::path(&nobody, "get", "/version"), "global-default"),
            (leases(&user("system:kube-scheduler", &["system:authenticated"]), "update"), "system-leader-election"),
            (leases(&node, "update"), "system-node-high"),
            (Attributes::resource(&node, "get", "", "v1", "nodes"), "system-node-high"),
            (Attributes::resource(&node, "list", "", "v1", "pods"), "system-nodes"),
            (leases(&system, "list"), "kube-system-service-accounts"),
            (leases(&account, "update"), "service-accounts"),
            (Attributes::resource(&ann, "list", "", "v1", "pods"), "global-default"),
            (Attributes::resource(&user("x", &[]), "list", "", "v1", "pods"), "catch-all"),
        ] {
            assert_eq!(flow.sort(&asked).name, want, "{asked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_of_ones_own_limits_and_is_left_again() {
        let flow = flow();
        let held = |kind: &str, spec: Value| Held { name: "mine".into(), uid: format!("{kind}-uid"), doc: json!({"spec": spec}) };
        let schema = || {
            held(
                "schema",
                json!({"priorityLevelConfiguration": {"name": "mine"}, "matchingPrecedence": 10, "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "ann"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}),
            )
        };
        let limited = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}});
        let ann = UserInfo::new("ann", &["system:authenticated"]);
        let asked = Attributes::resource(&ann, "list", "", "v1", "pods");
        flow.configure(vec![schema()], vec![held("level", limited)]);
        let refused = flow.enter(&asked, false).await.err().unwrap();
        assert_eq!((refused.schema_uid(), refused.level_uid()), ("schema-uid", "level-uid"));
        assert!(flow.enter(&asked, true).await.is_ok(), "what lasts takes no seat");
        let mut text = String::new();
        let mut registry = Registry::default();
        flow.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line =
            r#"apiserver_flowcontrol_rejected_requests_total{flow_schema="mine",priority_level="mine",reason="concurrency-limit"} 1"#;
        assert!(text.contains(line), "{text}");
        flow.configure(vec![schema()], Vec::new());
        assert_eq!(flow.sort(&asked).name, "catch-all", "a schema without its level counts for nothing");
    }

    #[test]
    fn levels_divide_the_concurrency_by_their_shares() {
        let level: PriorityLevel = serde_json::from_value(json!({"spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 100, "lendablePercent": 90, "borrowingLimitPercent": 10, "limitResponse": {"type": "Queue"}}}}))
        .unwrap();
        let (limits, nominal, lendable) = level.limits(600, 245);
        assert_eq!((nominal, lendable), (245, 221));
        assert_eq!(limits, Limits { own: 24, from_pool: 246, queuing: Some(Queuing { queues: 64, hand: 8, length_max: 50 }) });
    }
}
