//! The audit webhook: events go to a program outside, in batches.
//!
//! ```text
//! event ─► queue ─► batch (full, or old enough) ─► throttle ─► POST EventList ─ fails ─► again, with growing pauses ─► lost, counted
//! ```
//! | mode | who waits | what a failure does |
//! |---|---|---|
//! | `batch` | nobody | events are lost and counted |
//! | `blocking` | the request, until its event is there | the same |
//! | `blocking-strict` | the request | one that cannot be told when it comes is refused |
//!
//! The queue is bounded in events and in bytes; what finds it full is not sent and is counted (`apiserver_audit_error_total`). The end of
//! an answer that lasts is told without anybody waiting, whatever the mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use env::Env;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use schema::{DocExt, Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::event::Event;
use super::{Level, Plugin};

/// Bytes of bodies that waiting events may hold on to, all together.
const BYTES_MAX: usize = 64 << 20;
/// Batches on their way at the same time; upstream has no such bound.
const BATCHES_MAX: usize = 16;
/// Tries of one batch, and how its pauses grow.
const TRIES_MAX: u32 = 5;
const PAUSE_FACTOR: f64 = 1.5;
/// What is still waiting when the server stops is sent within this.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Takes an `audit.k8s.io/v1` `EventList`.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Err: it was not taken, whyever.
    async fn post(&self, list: Value) -> Result<(), String>;
}

/// Upstream's flags `--audit-webhook-…`.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    pub mode: Mode,
    /// The pause after the first failure.
    pub initial_backoff: Duration,
    /// Events that may wait.
    pub buffer_size: usize,
    pub batch_max_size: usize,
    pub batch_max_wait: Duration,
    pub throttle: Option<Throttle>,
    pub truncate: Option<Truncate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Batch,
    Blocking,
    BlockingStrict,
}

/// Batches a second, on average, and at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    pub qps: f64,
    pub burst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate {
    pub max_batch_bytes: usize,
    pub max_event_bytes: usize,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Batch,
            initial_backoff: Duration::from_secs(10),
            buffer_size: 10_000,
            batch_max_size: 400,
            batch_max_wait: Duration::from_secs(30),
            throttle: Some(Throttle { qps: 10.0, burst: 15 }),
            truncate: None,
        }
    }
}

/// The way to the program.
pub(crate) struct Webhook {
    mode: Mode,
    events: mpsc::Sender<Arc<Event>>,
    bytes: Arc<AtomicUsize>,
    sender: Arc<Sender>,
}

struct Sender {
    env: Env,
    config: WebhookConfig,
    sink: Arc<dyn Sink>,
    lost: Family<Plugin, Counter>,
}

impl Webhook {
    pub(super) fn start(env: &Env, config: WebhookConfig, sink: Arc<dyn Sink>, lost: Family<Plugin, Counter>) -> Self {
        let (events, waiting) = mpsc::channel(config.buffer_size.max(1));
        let (bytes, mode) = (Arc::new(AtomicUsize::new(0)), config.mode);
        let sender = Arc::new(Sender { env: env.clone(), config, sink, lost });
        let batcher = Batcher {
            sender: Arc::clone(&sender),
            waiting,
            bytes: Arc::clone(&bytes),
            on_their_way: Arc::new(Semaphore::new(BATCHES_MAX)),
        };
        env.spawn("audit-webhook", batcher.run());
        Self { mode, events, bytes, sender }
    }

    /// Nobody waits for it.
    pub(super) fn push(&self, event: Arc<Event>) {
        let weight = event.weight();
        if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > BYTES_MAX || self.events.try_send(event).is_err() {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.sender.lose("buffered", 1, "the audit webhook does not keep up");
        }
    }

    /// Tells of an event as the mode says. false: the request must not go on.
    pub(super) async fn tell(&self, event: Arc<Event>) -> bool {
        if self.mode == Mode::Batch {
            self.push(event);
            return true;
        }
        let taken = self.sender.send(&[event]).await;
        taken || self.mode == Mode::Blocking
    }
}

/// Makes batches of what waits.
struct Batcher {
    sender: Arc<Sender>,
    waiting: mpsc::Receiver<Arc<Event>>,
    bytes: Arc<AtomicUsize>,
    on_their_way: Arc<Semaphore>,
}

impl Batcher {
    /// Until the environment stops; what waits by then is still sent.
    async fn run(mut self) {
        let env = self.sender.env.clone();
        let stop = env.shutdown().clone();
        let mut bucket = self.sender.config.throttle.map(|throttle| Bucket::new(throttle, env.instant()));
        let is_over = |waiting: &mpsc::Receiver<_>| waiting.is_closed() && waiting.is_empty();
        while !stop.is_cancelled() && !is_over(&self.waiting) {
            let batch = self.collect(&stop).await;
            if batch.is_empty() {
                continue;
            }
            if let Some(bucket) = &mut bucket {
                let _ = stop.run_until_cancelled(bucket.turn(&env)).await;
            }
            let Some(place) = stop.run_until_cancelled(Arc::clone(&self.on_their_way).acquire_owned()).await else {
                return self.last_words(batch).await;
            };
            let sender = Arc::clone(&self.sender);
            env.spawn("audit-webhook-batch", async move {
                sender.send(&batch).await;
                drop(place);
            });
        }
        self.last_words(Vec::new()).await;
    }

    /// The next batch: full, or as old as it may get since this was asked.
    async fn collect(&mut self, stop: &tokio_util::sync::CancellationToken) -> Vec<Arc<Event>> {
        let config = &self.sender.config;
        let (size, deadline) = (config.batch_max_size.max(1), self.sender.env.instant() + config.batch_max_wait);
        let mut batch = Vec::new();
        while batch.len() < size {
            let next = tokio::time::timeout_at(deadline, self.waiting.recv());
            let Some(Ok(Some(event))) = stop.run_until_cancelled(next).await else { break };
            self.bytes.fetch_sub(event.weight(), Ordering::Relaxed);
            batch.push(event);
        }
        batch
    }

    async fn last_words(mut self, mut batch: Vec<Arc<Event>>) {
        while let Ok(event) = self.waiting.try_recv() {
            batch.push(event);
        }
        for part in batch.chunks(self.sender.config.batch_max_size.max(1)) {
            let sent = tokio::time::timeout(LAST_WORDS, self.sender.once(part)).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.sender.lose("webhook", part.len(), "the server stops");
            }
        }
    }
}

impl Sender {
    /// Sends a batch, in parts where it is too large, each until it is taken or there is no try left.
    async fn send(&self, batch: &[Arc<Event>]) -> bool {
        let mut all_taken = true;
        for list in self.lists(batch) {
            all_taken &= self.post(list).await;
        }
        all_taken
    }

    async fn once(&self, batch: &[Arc<Event>]) -> Result<(), String> {
        for list in self.lists(batch) {
            self.sink.post(list).await?;
        }
        Ok(())
    }

    async fn post(&self, list: Value) -> bool {
        let mut pause = self.config.initial_backoff;
        for tries_left in (0..TRIES_MAX).rev() {
            match self.sink.post(list.clone()).await {
                Ok(()) => return true,
                Err(why) if tries_left == 0 || self.env.shutdown().is_cancelled() => {
                    self.lose("webhook", list.items_at("items").len(), &why);
                    return false;
                }
                Err(why) => tracing::debug!(why, "the audit webhook is asked again"),
            }
            let jitter = 1.0 + self.env.random_below(200) as f64 / 1_000.0;
            let _ = self.env.shutdown().run_until_cancelled(self.env.sleep(pause.mul_f64(jitter))).await;
            pause = pause.mul_f64(PAUSE_FACTOR);
        }
        false
    }

    /// `EventList`s that are not too large.
    fn lists(&self, batch: &[Arc<Event>]) -> Vec<Value> {
        let events = batch.iter().map(|event| event.to_value());
        let Some(truncate) = self.config.truncate else { return vec![list(events.collect())] };
        let (mut lists, mut items, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (event, source) in events.zip(batch) {
            let Some((event, size)) = shortened(event, source.asked.level, truncate.max_event_bytes) else {
                self.lose("truncate", 1, "an event is too large even without its bodies");
                continue;
            };
            if !items.is_empty() && bytes + size > truncate.max_batch_bytes {
                lists.push(list(std::mem::take(&mut items)));
                bytes = 0;
            }
            bytes += size;
            items.push(event);
        }
        if !items.is_empty() {
            lists.push(list(items));
        }
        lists
    }

    fn lose(&self, plugin: &'static str, count: usize, why: &str) {
        self.lost.get_or_create(&Plugin { plugin }).inc_by(count as u64);
        tracing::error!(plugin, count, why, "audit events are lost");
    }
}

fn list(items: Vec<Value>) -> Value {
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items})
}

/// An event of at most `bytes_max`, without its bodies if need be, and its size.
fn shortened(mut event: Value, level: Level, bytes_max: usize) -> Option<(Value, usize)> {
    let size = |event: &Value| event.to_string().len();
    let whole = size(&event);
    if whole <= bytes_max || level < Level::Request {
        return (whole <= bytes_max).then_some((event, whole));
    }
    for member in ["requestObject", "responseObject"] {
        event.remove_at(member);
    }
    if !event.at("annotations").is_some_and(Value::is_object) {
        event["annotations"] = json!({});
    }
    event["annotations"]["audit.k8s.io/truncated"] = json!("true");
    let left = size(&event);
    (left <= bytes_max).then_some((event, left))
}

/// A bucket of tokens, one for each batch.
struct Bucket {
    throttle: Throttle,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(throttle: Throttle, now: Instant) -> Self {
        Self { throttle, tokens: f64::from(throttle.burst), filled: now }
    }

    /// Waits until a batch may go.
    async fn turn(&mut self, env: &Env) {
        let now = env.instant();
        let gained = now.duration_since(self.filled).as_secs_f64() * self.throttle.qps;
        (self.tokens, self.filled) = ((self.tokens + gained).min(f64::from(self.throttle.burst)), now);
        if self.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.throttle.qps);
            env.sleep(wait).await;
            (self.tokens, self.filled) = (1.0, env.instant());
        }
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::event::tests::event;
    use super::*;

    /// Refuses as often as it is told to, then takes.
    #[derive(Default)]
    struct Program {
        refusals: AtomicUsize,
        taken: Mutex<Vec<Value>>,
    }

    #[async_trait]
    impl Sink for Program {
        async fn post(&self, list: Value) -> Result<(), String> {
            let refuses = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if refuses {
                return Err("no".into());
            }
            self.taken.lock().unwrap().push(list);
            Ok(())
        }
    }

    impl Program {
        fn sizes(&self) -> Vec<usize> {
            self.taken.lock().unwrap().iter().map(|list| list.items_at("items").len()).collect()
        }
    }

    fn started(config: WebhookConfig) -> (Webhook, Arc<Program>, Env, Family<Plugin, Counter>) {
        let (env, program, lost) = (Env::sim(1), Arc::new(Program::default()), Family::default());
        (Webhook::start(&env, config, Arc::clone(&program) as _, lost.clone()), program, env, lost)
    }

    fn lost(of: &Family<Plugin, Counter>, plugin: &'static str) -> u64 {
        of.get_or_create_owned(&Plugin { plugin }).get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full_or_old() {
        let config = WebhookConfig { batch_max_size: 3, ..WebhookConfig::default() };
        let (webhook, program, _env, lost_of) = started(config);
        for _ in 0..7 {
            assert!(webhook.tell(Arc::new(event(Level::Metadata))).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(program.sizes(), [3, 3]);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((program.sizes(), lost(&lost_of, "buffered")), (vec![3, 3, 1], 0));
        let first = program.taken.lock().unwrap()[0].clone();
        assert_eq!(
            (first.str_at("kind"), first.str_at("apiVersion"), first.items_at("items")[0].str_at("auditID")),
            ("EventList", "audit.k8s.io/v1", "id")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_refused_goes_again_and_is_counted_in_the_end() {
        let config = WebhookConfig { batch_max_size: 1, initial_backoff: Duration::from_secs(1), ..WebhookConfig::default() };
        let (webhook, program, _env, lost_of) = started(config);
        program.refusals.store(4, Ordering::SeqCst);
        webhook.push(Arc::new(event(Level::Metadata)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((program.sizes(), lost(&lost_of, "webhook")), (vec![1], 0));
        program.refusals.store(5, Ordering::SeqCst);
        webhook.push(Arc::new(event(Level::Metadata)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((program.sizes(), lost(&lost_of, "webhook")), (vec![1], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_loses_what_comes_and_says_so() {
        let throttle = Some(Throttle { qps: 0.001, burst: 1 });
        let config = WebhookConfig { buffer_size: 2, batch_max_size: 1, throttle, ..WebhookConfig::default() };
        let (webhook, program, _env, lost_of) = started(config);
        for _ in 0..20 {
            webhook.push(Arc::new(event(Level::Metadata)));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(program.sizes(), [1], "the second one waits for its turn");
        assert_eq!(lost(&lost_of, "buffered"), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn strict_modes_wait_and_say_whether_the_request_may_go_on() {
        for (mode, want) in [(Mode::Blocking, true), (Mode::BlockingStrict, false)] {
            let (webhook, program, _env, lost_of) = started(WebhookConfig { mode, ..WebhookConfig::default() });
            assert!(webhook.tell(Arc::new(event(Level::Metadata))).await);
            assert_eq!(program.sizes(), [1], "it is there when the request goes on");
            program.refusals.store(TRIES_MAX as usize, Ordering::SeqCst);
            assert_eq!(webhook.tell(Arc::new(event(Level::Metadata))).await, want);
            assert_eq!(lost(&lost_of, "webhook"), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_sent_when_the_server_stops() {
        let (webhook, program, env, _) = started(WebhookConfig::default());
        webhook.push(Arc::new(event(Level::Metadata)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        webhook.push(Arc::new(event(Level::Metadata)));
        env.stop(Duration::from_secs(9)).await;
        assert_eq!(program.sizes().iter().sum::<usize>(), 2);
    }

    #[test]
    fn what_is_too_large_loses_its_bodies_and_then_its_place() {
        let whole = json!({"auditID": "x", "requestObject": "a".repeat(200), "annotations": {"k": "v"}});
        let (event, _) = shortened(whole.clone(), Level::Request, 150).unwrap();
        assert_eq!(event, json!({"auditID": "x", "annotations": {"k": "v", "audit.k8s.io/truncated": "true"}}));
        assert_eq!(shortened(whole.clone(), Level::Request, 20), None);
        assert_eq!(shortened(whole.clone(), Level::Metadata, 150), None);
        assert!(shortened(whole.clone(), Level::Metadata, 500).is_some_and(|(event, _)| event == whole));
    }
}
