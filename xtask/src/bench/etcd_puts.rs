//! `etcd_puts PORT PID WRITERS SECONDS`: durable 1 KB puts over gRPC to an etcd on loopback, as the store's own benchmark
//! puts them: the same keys, sizes and number of writers. CPU is that of the server's process alone.
//!
//! The two messages of `etcdserverpb.KV/Put` are small enough to be written by hand.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Distinct keys that the writers share.
const KEYS: u64 = 20_000;
const VALUE_LEN: usize = 1024;
/// Go clients share few connections; one alone would be the bottleneck.
const CONNECTIONS: usize = 4;
const START: Duration = Duration::from_secs(20);

#[expect(clippy::print_stdout, reason = "a command's data goes to stdout")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let words: Vec<u64> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let [port, pid, writers, seconds] = words[..] else { anyhow::bail!("usage: etcd_puts PORT PID WRITERS SECONDS") };
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(port).await?);
    }
    let (begun, cpu) = (now(), cpu_seconds(pid)?);
    let stop = begun + Duration::from_secs(seconds);
    let tasks: Vec<_> =
        (0..writers).map(|writer| spawn(put_until(connections[writer as usize % CONNECTIONS].clone(), writer, stop))).collect();
    let mut puts = 0;
    for task in tasks {
        puts += task.await??;
    }
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(pid)? - cpu);
    println!("etcd {:.0} puts/s {:.1} CPU-us per put", puts as f64 / elapsed, cpu * 1e6 / puts.max(1) as f64);
    Ok(())
}

/// Asks until the server listens; it says so to nobody.
async fn connect(port: u64) -> Result<SendRequest<Full<Bytes>>> {
    let begun = now();
    let stream = loop {
        match tokio::net::TcpStream::connect(("127.0.0.1", port as u16)).await {
            Ok(stream) => break stream,
            Err(error) if begun.elapsed() > START => return Err(error).context("etcd does not listen"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    spawn(connection);
    Ok(sender)
}

async fn put_until(mut connection: SendRequest<Full<Bytes>>, writer: u64, stop: Instant) -> Result<u64> {
    let mut state = writer + 1;
    let value = [b'x'; VALUE_LEN];
    let mut puts = 0;
    while now() < stop {
        connection.ready().await?;
        put(&mut connection, &next_key(&mut state), &value).await?;
        puts += 1;
    }
    Ok(puts)
}

async fn put(connection: &mut SendRequest<Full<Bytes>>, key: &str, value: &[u8]) -> Result<()> {
    let request =
        http::Request::post("http://127.0.0.1/etcdserverpb.KV/Put").header("content-type", "application/grpc").header("te", "trailers");
    let response = connection.send_request(request.body(Full::new(message(key, value)))?).await?;
    // An error may come as headers alone.
    let early = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await?;
    let status = early.or_else(|| body.trailers()?.get("grpc-status").cloned());
    ensure!(status.as_ref().is_some_and(|status| status == "0"), "a put failed: {status:?}");
    Ok(())
}

/// `PutRequest{key = 1, value = 2}` in a gRPC frame.
fn message(key: &str, value: &[u8]) -> Bytes {
    let mut put = BytesMut::new();
    for (tag, bytes) in [(0x0a, key.as_bytes()), (0x12, value)] {
        put.put_u8(tag);
        let mut len = bytes.len();
        while len >= 0x80 {
            put.put_u8(len as u8 | 0x80);
            len >>= 7;
        }
        put.put_u8(len as u8);
        put.put_slice(bytes);
    }
    let mut frame = BytesMut::with_capacity(put.len() + 5);
    frame.put_u8(0);
    frame.put_u32(put.len() as u32);
    frame.put(put);
    frame.freeze()
}

/// Keys drawn by xorshift.
fn next_key(state: &mut u64) -> String {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    format!("/registry/pods/default/pod-{:08}", *state % KEYS)
}

fn cpu_seconds(pid: u64) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

#[expect(clippy::disallowed_methods, reason = "a measuring program of its own, outside the product")]
fn spawn<F: Future<Output: Send> + Send + 'static>(future: F) -> tokio::task::JoinHandle<F::Output> {
    tokio::spawn(future)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark asks the machine's clock")]
fn now() -> Instant {
    Instant::now()
}
