//! What a durable put costs: through the store, and through a bare log that keeps nothing and checks nothing.
//!
//! Both take the same writers, keys and 1 KB values on the same disk; CPU is that of the whole process, clients included.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use env::Env;
use tokio::time::Instant;

use crate::{Log, LogConfig, Op, Store, Txn};

/// Distinct keys that the writers share.
const KEYS: u64 = 20_000;
const VALUE_LEN: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub puts: u64,
    pub puts_per_second: f64,
    pub cpu_us_per_put: f64,
    pub p50_us: u32,
    pub p99_us: u32,
}

impl Figures {
    fn new(mut latencies_us: Vec<u32>, elapsed: Duration, cpu: Duration) -> Self {
        latencies_us.sort_unstable();
        let puts = latencies_us.len() as u64;
        let percentile = |percent: usize| latencies_us.get(latencies_us.len() * percent / 100).copied().unwrap_or(0);
        Self {
            puts,
            puts_per_second: puts as f64 / elapsed.as_secs_f64(),
            cpu_us_per_put: cpu.as_secs_f64() * 1e6 / puts.max(1) as f64,
            p50_us: percentile(50),
            p99_us: percentile(99),
        }
    }
}

/// `writers` tasks put 1 KB values for `duration`, each waiting for its put to be durable. `dir` is empty or new.
pub fn durable_puts(dir: &Path, writers: usize, duration: Duration) -> Result<Figures, crate::OpenError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let env = Env::real();
        let log = Log::open(dir, &env, LogConfig::default())?;
        let (start, cpu) = (env.instant(), cpu_time());
        let tasks: Vec<_> =
            (0..writers).map(|writer| env.spawn("bench-writer", put_until(log.clone(), writer as u64, start + duration))).collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.expect("a writer does not panic"));
        }
        Ok(Figures::new(latencies, start.elapsed(), cpu_time() - cpu))
    })
}

/// How long the store in `dir` takes to open, and how many bytes of log and snapshot it reads.
pub fn open_again(dir: &Path) -> Result<(Duration, u64), crate::OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let _inside = runtime.enter();
    let bytes =
        std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).sum();
    let start = now();
    let log = Log::open(dir, &Env::real(), LogConfig::default())?;
    let elapsed = start.elapsed();
    drop(log);
    Ok((elapsed, bytes))
}

async fn put_until(log: Arc<impl Store>, writer: u64, stop: Instant) -> Vec<u32> {
    let mut keys = Keys(writer + 1);
    let mut value = vec![b'x'; VALUE_LEN];
    value[..24].copy_from_slice(b"{\"resourceVersion\":\"\"   ");
    let value = Bytes::from(value);
    let mut latencies = Vec::new();
    loop {
        let before = now();
        if before >= stop {
            return latencies;
        }
        let put = Op::Put { key: keys.next().into(), value: value.clone(), rv_at: Some(20), ttl_seconds: None };
        log.txn(Txn { guards: Vec::new(), ops: vec![put] }).await.expect("a put succeeds");
        latencies.push(before.elapsed().as_micros() as u32);
    }
}

/// The same puts into the etcd at `url`: with the engine, and as bare calls that know no feed.
pub fn etcd_puts(url: &str, writers: usize, duration: Duration) -> Result<(Figures, Figures), crate::EtcdError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let env = Env::real();
        let store = crate::Etcd::open(crate::EtcdConfig::new(vec![url.to_owned()]), &env).await?;
        let (start, cpu) = (env.instant(), cpu_time());
        let bare = at_once(&env, writers, |writer| bare_etcd_puts(store.clone(), writer, start + duration)).await;
        let bare = Figures::new(bare, start.elapsed(), cpu_time() - cpu);
        store.current().await.map_err(|error| crate::EtcdError::Unusable(error.to_string()))?;
        let (start, cpu) = (env.instant(), cpu_time());
        let engine = at_once(&env, writers, |writer| put_until(store.clone(), writer, start + duration)).await;
        Ok((Figures::new(engine, start.elapsed(), cpu_time() - cpu), bare))
    })
}

async fn at_once<F>(env: &Env, writers: usize, work: impl Fn(u64) -> F) -> Vec<u32>
where
    F: Future<Output = Vec<u32>> + Send + 'static,
{
    let tasks: Vec<_> = (0..writers).map(|writer| env.spawn("bench-writer", work(writer as u64))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a writer does not panic"));
    }
    latencies
}

/// Beside the prefix, so that the feed has nothing to tell.
async fn bare_etcd_puts(store: Arc<crate::Etcd>, writer: u64, stop: Instant) -> Vec<u32> {
    let mut keys = Keys(writer + 1);
    let value = Bytes::from(vec![b'x'; VALUE_LEN]);
    let mut latencies = Vec::new();
    loop {
        let before = now();
        if before >= stop {
            return latencies;
        }
        store.bare_put(&format!("/bare{}", keys.next()), &value).await.expect("a put succeeds");
        latencies.push(before.elapsed().as_micros() as u32);
    }
}

/// The floor: threads hand records to one that appends whatever has come to a file, syncs it and answers.
pub fn bare_log(dir: &Path, writers: usize, duration: Duration) -> io::Result<Figures> {
    std::fs::create_dir_all(dir)?;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("bare.log"))?;
    let (records, queue) = mpsc::channel::<(String, Vec<u8>, mpsc::SyncSender<()>)>();
    let (start, cpu) = (now(), cpu_time());
    let clients: Vec<_> = (0..writers)
        .map(|writer| {
            let records = records.clone();
            std::thread::spawn(move || put_bare(&records, writer as u64, start + duration))
        })
        .collect();
    drop(records);
    let (mut bytes, mut revision) = (Vec::new(), 0u64);
    while let Ok(first) = queue.recv() {
        bytes.clear();
        let mut waiting = Vec::new();
        for (key, value, reply) in std::iter::once(first).chain(queue.try_iter()) {
            revision += 1;
            append_bare(&mut bytes, revision, &key, &value);
            waiting.push(reply);
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        for reply in waiting {
            let _ = reply.send(()); // the client may have ended
        }
    }
    let latencies = clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect();
    Ok(Figures::new(latencies, start.elapsed(), cpu_time() - cpu))
}

fn put_bare(records: &mpsc::Sender<(String, Vec<u8>, mpsc::SyncSender<()>)>, writer: u64, stop: Instant) -> Vec<u32> {
    let mut keys = Keys(writer + 1);
    let value = vec![b'x'; VALUE_LEN];
    let (reply, answer) = mpsc::sync_channel(1);
    let mut latencies = Vec::new();
    loop {
        let before = now();
        if before >= stop {
            return latencies;
        }
        if records.send((keys.next(), value.clone(), reply.clone())).is_err() || answer.recv().is_err() {
            return latencies; // the log's thread ended with an error that it returns
        }
        latencies.push(before.elapsed().as_micros() as u32);
    }
}

fn append_bare(bytes: &mut Vec<u8>, revision: u64, key: &str, value: &[u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), value);
    bytes.extend_from_slice(&((key.len() + value.len()) as u32).to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&revision.to_le_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
}

/// Keys drawn by xorshift.
struct Keys(u64);

impl Keys {
    fn next(&mut self) -> String {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        format!("/registry/pods/default/pod-{:08}", self.0 % KEYS)
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn now() -> Instant {
    Instant::now()
}
