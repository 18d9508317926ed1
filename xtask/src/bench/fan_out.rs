//! `fan_out KUBECONFIG PID WATCHERS BURSTS UPDATES`: events of 1 KB to many watchers on ten TLS connections. The ConfigMaps
//! of a namespace are updated in bursts, and a burst is over when every watcher was told all of it. CPU is that of the
//! server's process alone; beside it stands the size of an event, since the two belong together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

const CONNECTIONS: usize = 10;
/// Updates under way at once.
const UPDATERS: u64 = 8;
const OBJECTS: u64 = 16;
/// With names, times and the frame's words an event is 1 KB.
const VALUE_LEN: usize = 706;
const PATIENCE: Duration = Duration::from_secs(60);
const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

/// What the watchers have been told.
#[derive(Default)]
struct Told {
    events: AtomicU64,
    bytes: AtomicU64,
    /// The count that ends the burst.
    goal: AtomicU64,
    reached: Notify,
    lost: AtomicU64,
}

#[expect(clippy::print_stdout, reason = "a command's data goes to stdout")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kubeconfig, numbers @ ..] = &words[..] else { bail!("usage: fan_out KUBECONFIG PID WATCHERS BURSTS UPDATES") };
    let numbers: Vec<u64> = numbers.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    let [pid, watchers, bursts, updates] = numbers[..] else { bail!("usage: fan_out KUBECONFIG PID WATCHERS BURSTS UPDATES") };
    let server = Server::read(&std::fs::read_to_string(kubeconfig).with_context(|| kubeconfig.clone())?)?;
    let writer = server.connect().await?;
    prepare(&server, &writer).await?;
    let told = Arc::new(Told::default());
    open_watches(&server, &told, watchers).await?;
    burst(&server, &writer, &told, watchers, updates).await?; // the first one warms up
    let (begun, cpu, events, bytes) = (now(), cpu_seconds(pid)?, told.events(), told.bytes());
    for _ in 0..bursts {
        burst(&server, &writer, &told, watchers, updates).await?;
    }
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(pid)? - cpu);
    let (events, bytes) = ((told.events() - events) as f64, (told.bytes() - bytes) as f64);
    println!(
        "fan-out watchers={watchers} updates={} deliveries={events} bytes_per_event={:.0} deliveries_per_s={:.0} deliveries_per_core_s={:.0}",
        bursts * updates,
        bytes / events,
        events / elapsed,
        events / cpu
    );
    Ok(())
}

impl Told {
    fn events(&self) -> u64 {
        self.events.load(Ordering::SeqCst)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    fn add(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        // An event is a line, and JSON has no bare newline.
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let events = self.events.fetch_add(lines, Ordering::SeqCst) + lines;
        if events >= self.goal.load(Ordering::SeqCst) {
            self.reached.notify_waiters();
        }
    }

    /// Resolves when the goal is reached.
    async fn wait(&self) {
        loop {
            let mut woken = std::pin::pin!(self.reached.notified());
            woken.as_mut().enable();
            if self.events() >= self.goal.load(Ordering::SeqCst) {
                return;
            }
            woken.await;
        }
    }
}

/// Where the API is and as whom we speak to it.
struct Server {
    authority: String,
    tls: TlsConnector,
}

impl Server {
    fn read(kubeconfig: &str) -> Result<Self> {
        let value = |key: &str| {
            let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
            line.map(str::trim).with_context(|| format!("no {key} in the kubeconfig"))
        };
        let pem = |key: &str| anyhow::Ok(base64::engine::general_purpose::STANDARD.decode(value(key)?)?);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem("certificate-authority-data")?).filter_map(Result::ok));
        let chain = CertificateDer::pem_slice_iter(&pem("client-certificate-data")?).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&pem("client-key-data")?)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let authority = value("server")?.strip_prefix("https://").context("the server speaks no https")?.to_owned();
        Ok(Self { authority, tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = tokio::net::TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let host = self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host).to_owned();
        let tls = self.tls.connect(ServerName::try_from(host)?, stream).await?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_connection_window_size(16 << 20).initial_stream_window_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(tls)).await?;
        spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: Method, path: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Request<Full<Bytes>>> {
        let builder = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        Ok(builder.header("content-type", content_type).header("accept", "application/json").body(Full::new(body.into()))?)
    }
}

/// Makes the objects; they may be there from an earlier run.
async fn prepare(server: &Server, writer: &SendRequest<Full<Bytes>>) -> Result<()> {
    for object in 0..OBJECTS {
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"fan-out-{object:02}","labels":{{"app":"fan-out","tier":"bench"}}}},"data":{{"round":"0","value":"{}"}}}}"#,
            "x".repeat(VALUE_LEN)
        );
        let mut writer = writer.clone();
        writer.ready().await?;
        let answer = writer.send_request(server.request(Method::POST, COLLECTION, "application/json", body)?).await?;
        ensure!([201, 409].contains(&answer.status().as_u16()), "POST {COLLECTION}: {}", answer.status());
        answer.into_body().collect().await?;
    }
    Ok(())
}

/// Watches what happens from now on, as many on each connection as on every other.
async fn open_watches(server: &Server, told: &Arc<Told>, watchers: u64) -> Result<()> {
    let list = server.request(Method::GET, &format!("{COLLECTION}?limit=1"), "application/json", Bytes::new())?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(server.connect().await?);
    }
    let answer = connections[0].send_request(list).await?.into_body().collect().await?.to_bytes();
    let list: serde_json::Value = serde_json::from_slice(&answer)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list without resourceVersion")?.to_owned();
    let path = format!("{COLLECTION}?watch=1&timeoutSeconds=600&resourceVersion={revision}");
    for watcher in 0..watchers {
        let sender = &mut connections[watcher as usize % CONNECTIONS];
        sender.ready().await?;
        let answer = sender.send_request(server.request(Method::GET, &path, "application/json", Bytes::new())?).await?;
        ensure!(answer.status() == 200, "watch {watcher}: {}", answer.status());
        let (mut body, told) = (answer.into_body(), Arc::clone(told));
        spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(bytes) = frame.data_ref() {
                    told.add(bytes);
                }
            }
            told.lost.fetch_add(1, Ordering::SeqCst);
        });
    }
    // The watches live on their streams; the senders may go only when the program does.
    connections.into_iter().for_each(std::mem::forget);
    Ok(())
}

/// Some updates as fast as they go, then until everybody knows of them.
async fn burst(server: &Server, writer: &SendRequest<Full<Bytes>>, told: &Told, watchers: u64, updates: u64) -> Result<()> {
    let begun = told.goal.load(Ordering::SeqCst);
    told.goal.store(begun + watchers * updates, Ordering::SeqCst);
    let updaters =
        (0..UPDATERS).map(|updater| update(server, writer.clone(), begun + updater, updates.div_ceil(UPDATERS), updater, updates));
    futures::future::try_join_all(updaters).await?;
    let waited = tokio::time::timeout(PATIENCE, told.wait()).await;
    let lost = told.lost.load(Ordering::SeqCst);
    ensure!(lost == 0, "{lost} watches ended");
    waited.map_err(|_| anyhow::anyhow!("{} of {} deliveries came", told.events(), begun + watchers * updates))
}

/// One updater's part of a burst: it has the objects whose number is its own modulo [`UPDATERS`] to itself.
async fn update(server: &Server, mut writer: SendRequest<Full<Bytes>>, salt: u64, rounds: u64, updater: u64, updates: u64) -> Result<()> {
    for round in 0..rounds {
        if round * UPDATERS + updater >= updates {
            break;
        }
        let object = (round * UPDATERS + updater) % OBJECTS;
        let body = format!(r#"{{"data":{{"round":"{salt}-{round}"}}}}"#);
        let path = format!("{COLLECTION}/fan-out-{object:02}");
        writer.ready().await?;
        let answer = writer.send_request(server.request(Method::PATCH, &path, "application/merge-patch+json", body)?).await?;
        ensure!(answer.status() == 200, "PATCH {path}: {}", answer.status());
        answer.into_body().collect().await?;
    }
    Ok(())
}

/// User and system time of a process, in seconds.
fn cpu_seconds(pid: u64) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a line of /proc")?.1.split_whitespace().collect();
    let ticks: Result<Vec<f64>, _> = fields[11..13].iter().map(|field| field.parse::<f64>()).collect();
    Ok(ticks?.into_iter().sum::<f64>() / 100.0)
}

#[expect(clippy::disallowed_methods, reason = "a measuring tool wants the machine's clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a measuring tool has no environment")]
fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}
