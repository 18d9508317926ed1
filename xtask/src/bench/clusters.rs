//! The rows that a whole cluster answers: start, idle, pods, exec, Services, rollouts, scheduling, lists and watches.
//! Clients are the tools beside the workspace, which measure any cluster; the peer of most rows is a real Kubernetes that
//! they measured.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::findings::Findings;
use super::lab::{Cluster, Lab, PATIENCE, cpu_seconds, pss_mib, tell, text};
use super::text::{after, before, line, median};
use crate::process::{output, program};

const INSTANCE: &str = "bench";
const COLD_ROUNDS: usize = 3;
/// Its token, as its own README has it.
const PEER_TOKEN: &str = "golden-token";
const PEER_PORT: &str = "26443";

/// From exec of `corten up` on an empty store, images and keys present as the peer's were.
pub(crate) fn cold(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    const FIGURES: [(&str, &str); 4] = [
        ("cold.api-ready", "readyz "),
        ("cold.node-ready", "node Ready "),
        ("cold.first-pod", "first pod Running "),
        ("cold.first-dns", "DNS answer in a pod "),
    ];
    let cluster = lab.cluster(INSTANCE)?;
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..COLD_ROUNDS {
        cluster.corten(&["down"])?;
        std::fs::remove_dir_all(cluster.root.join("control/store"))?;
        let begun = since_epoch()?;
        let mut up = cluster.start()?;
        let said = cluster.bench_of(&[], &["cold", &begun.as_nanos().to_string()], PATIENCE);
        up.wait()?;
        for (values, (_, words)) in times.iter_mut().zip(FIGURES) {
            values.push(after(line(said.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?, &["ms since exec"])?, words)? / 1000.0);
        }
    }
    for (values, (name, _)) in times.into_iter().zip(FIGURES) {
        findings.value(name, median(values).context("a round")?);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the tool wants the moment of exec by the wall clock")]
fn since_epoch() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// examples/hello runs; nobody asks anything.
pub(crate) fn idle(lab: &Lab, options: &Options, findings: &mut Findings) -> Result<()> {
    let cluster = lab.cluster(INSTANCE)?;
    cluster.up(&[text(&lab.workspace().join("examples/hello"))])?;
    let pids: Vec<u32> = cluster.pids()?.into_values().collect();
    // What the start itself costs is not idling.
    std::thread::sleep(Duration::from_secs(5));
    let cpu = || pids.iter().map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>();
    let before = cpu()?;
    std::thread::sleep(options.idle);
    findings.value("idle.cpu", 100.0 * (cpu()? - before) / options.idle.as_secs_f64());
    findings.value("idle.pss", pids.iter().map(|pid| pss_mib(*pid)).sum::<Result<f64>>()?);
    Ok(())
}

/// One every 100 ms.
pub(crate) fn pods(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = lab.cluster(INSTANCE)?.bench(&["start", "50", "100"], PATIENCE)?;
    let running = line(&said, &["start", "running"])?;
    findings.value("pods.running-p50", after(running, "p50=")?);
    findings.value("pods.running-p99", after(running, "p99=")?);
    findings.value("pods.cpu", our_cpu(line(&said, &["start", "CPU-s/pod"])?)?);
    Ok(())
}

fn our_cpu(line: &str) -> Result<f64> {
    ["keeper=", "control=", "node="].iter().map(|part| after(line, part)).sum()
}

pub(crate) fn batch(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = lab.cluster(INSTANCE)?.bench(&["batch", "100"], PATIENCE)?;
    findings.value("batch.running", after(line(&said, &["batch", "all running"])?, "all running")?);
    findings.value("batch.gone", after(line(&said, &["batch-delete", "all gone"])?, "all gone")?);
    Ok(())
}

pub(crate) fn exit(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = lab.cluster(INSTANCE)?.bench(&["exit", "10"], PATIENCE)?;
    findings.value("exit.status", after(line(&said, &["terminated status seen"])?, "p50=")?);
    Ok(())
}

pub(crate) fn exec(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = lab.cluster(INSTANCE)?.bench(&["exec", "50"], PATIENCE)?;
    findings.value("exec.true", after(line(&said, &["websocket"])?, "p50=")?);
    Ok(())
}

pub(crate) fn rollout(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = lab.cluster(INSTANCE)?.bench(&["rollout", "100", "50"], PATIENCE)?;
    findings.value("rollout.available", after(line(&said, &["all available in"])?, "all available in")?);
    findings.value("rollout.update", after(line(&said, &["rolling update of 50", "maxUnavailable 25%"])?, "maxUnavailable 25%:")?);
    Ok(())
}

/// A change among 2,000 Services to connections that reach the new endpoint. Only the default instance's range holds as many.
pub(crate) fn service(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let cluster = lab.cluster("corten")?;
    let said = cluster.bench(&["svc", "2000", "8", "10.244.0.1"], PATIENCE)?;
    findings.value("service.change", after(line(&said, &["change → effective"])?, "p50=")?);
    Ok(())
}

/// Created by 16 clients, durably bound; nodes are objects only.
pub(crate) fn sched(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    for (nodes, rate, cpu) in [("1000", "sched.rate-1000", "sched.cpu-1000"), ("5000", "sched.rate-5000", "sched.cpu-5000")] {
        let said = lab.cluster(INSTANCE)?.bench(&["sched", nodes, "5000"], PATIENCE)?;
        findings.value(rate, 5000.0 / after(line(&said, &["all bound in"])?, "all bound in")?);
        // CPU-seconds per 1,000 pods are CPU-milliseconds per pod.
        findings.value(cpu, after(line(&said, &["CPU-s/1000 pods"])?, "control=")?);
    }
    Ok(())
}

/// Lists of 5,000 pods as JSON, consistent, by one client; the same objects on both sides.
pub(crate) fn list(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    const SUITE: [&str; 3] = ["-items", "^(create64-pod-json|list-pod)$", "suite"];
    let cluster = lab.cluster(INSTANCE)?;
    prepare_namespace(&cluster)?;
    findings.value("list.cpu", cpu_per_mb(&cluster.load(&[], &SUITE, PATIENCE * 2)?)?);
    drop(cluster);
    match Peer::start(lab) {
        Ok(peer) => findings.peer("list.cpu", cpu_per_mb(&peer.load(lab, &SUITE)?)?),
        Err(error) => tell(&format!("list: the peer's figure is the reference page's: {error:#}")),
    }
    Ok(())
}

/// Pods need their namespace's service account, which a controller makes.
fn prepare_namespace(cluster: &Cluster) -> Result<()> {
    cluster.bench_of(&["-ns", "load"], &["clean-svc"], PATIENCE).map(drop)
}

/// CPU-ms per MB. The suite prints CPU-s per 1,000 lists and MB/s at lists/s.
fn cpu_per_mb(said: &str) -> Result<f64> {
    let lists = line(said, &["list5000-pod-json-consistent-c1"])?;
    ensure!(after(lists, "err=")? == 0.0, "failed requests: {lists}");
    let mb_per_list = before(lists, " MB/s")? / before(lists, "/s  p50")?;
    Ok(after(lists, "cpu-s/1000: server")? / mb_per_list)
}

/// 1,000 watchers of pods on ten TLS connections: one updater for latency and memory, eight for the rate;
/// then events of 1 KB in bursts.
pub(crate) fn watch(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let cluster = lab.cluster(INSTANCE)?;
    prepare_namespace(&cluster)?;
    let one = cluster.load(&[], &["watch", "pod", "1000", "500", "1"], PATIENCE)?;
    let one = line(&one, &["watch-pod-1000-w1"])?;
    findings.value("watch.p99", after(one, "p99")?);
    findings.value("watch.memory", after(one, "kib_per_watch_server=")?);
    let eight = cluster.load(&[], &["watch", "pod", "1000", "1000", "8"], PATIENCE)?;
    findings.value("watch.deliveries", after(line(&eight, &["watch-pod-1000-w8"])?, "events_per_cpu_s_server=")?);
    let small = cluster.fan_out(&["1000", "20", "100"])?;
    findings.value("watch.deliveries-1k", after(line(&small, &["fan-out"])?, "deliveries_per_core_s=")?);
    Ok(())
}

/// The upstream API server stack with its etcd, built once into `target/bench`.
struct Peer {
    script: PathBuf,
    folder: PathBuf,
    pids: String,
}

impl Peer {
    fn start(lab: &Lab) -> Result<Self> {
        let script = lab.shared("tools/peer-apiserver/peer")?;
        let folder = lab.workspace().join("target/bench/peer-apiserver");
        if !folder.join("bin/apisrv").exists() {
            tell("building the peer's API server (minutes, once)");
            output(program("bash", &[text(&script), "build", text(&folder)]), Duration::from_secs(1200))?;
        }
        let mut peer = Self { script, folder, pids: String::new() };
        // The servers inherit its output: without a file the pipe would stay open as long as they run.
        let said = peer.folder.join("started");
        let start = format!("bash {} start {} {PEER_PORT} > {}", text(&peer.script), text(&peer.folder), text(&said));
        output(program("bash", &["-c", &start]), PATIENCE)?;
        let said = std::fs::read_to_string(said)?;
        peer.pids =
            said.split_whitespace().filter(|word| word.starts_with("server=") || word.starts_with("etcd=")).collect::<Vec<_>>().join(",");
        Ok(peer)
    }

    fn load(&self, lab: &Lab, words: &[&str]) -> Result<String> {
        let url = format!("https://127.0.0.1:{PEER_PORT}");
        let fixed = ["-url", &url, "-token", PEER_TOKEN, "-pids", &self.pids, "-max", "60s"];
        let all: Vec<&str> = fixed.iter().chain(words).copied().collect();
        output(program(text(lab.load()?), &all), PATIENCE * 3)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Err(error) = output(program("bash", &[text(&self.script), "stop", text(&self.folder)]), PATIENCE) {
            tell(&format!("the peer's API server: {error:#}"));
        }
        let _ = std::fs::remove_dir_all(Path::new(&self.folder).join("data"));
    }
}
