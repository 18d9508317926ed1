//! The rows that one part answers alone: runtime, store, links and Services in the kernel, layers, expressions. The measuring code lives
//! in the parts' own crates, as examples; here they are built, run and read.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Options;
use super::findings::Findings;
use super::lab::{Lab, PATIENCE, is_root, tell, text};
use super::text::{after, before, line, median};
use crate::process::{output, program};

const WRITERS: &str = "64";
const SECONDS: &str = "3";
const TURNS: usize = 3;

/// The same bundle by turns; the peers that this machine has.
pub(crate) fn runtime(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    ensure!(is_root(), "needs root");
    let mut bench = program(text(&lab.kernel_tests()?), &["bench", "40"]);
    // The floor's writable layer is in memory: so is everybody's.
    bench.env("TMPDIR", "/dev/shm");
    let said = output(bench, PATIENCE * 3)?;
    let (together, spaced) = times(&said, "corten: sandbox + container")?;
    for (peer, name_together, name_spaced) in [
        ("crun", "runtime.together", "runtime.spaced"),
        ("runc", "runtime.together-runc", "runtime.spaced-runc"),
        ("floor.c", "runtime.together-floor", "runtime.spaced-floor"),
    ] {
        findings.value(name_together, together);
        findings.value(name_spaced, spaced);
        match times(&said, peer) {
            Ok((together, spaced)) => {
                findings.peer(name_together, together);
                findings.peer(name_spaced, spaced);
            }
            Err(_) => tell(&format!("runtime: no {peer} here; its figure is the reference page's")),
        }
    }
    Ok(())
}

/// The two medians at the end of the contestant's line.
fn times(said: &str, contestant: &str) -> Result<(f64, f64)> {
    let row =
        said.lines().find_map(|line| line.strip_prefix(contestant)).with_context(|| format!("no line of {contestant} in:\n{said}"))?;
    let mut figures = row.split_whitespace().map(str::parse::<f64>);
    match (figures.next(), figures.next()) {
        (Some(Ok(together)), Some(Ok(spaced))) => Ok((together, spaced)),
        _ => anyhow::bail!("{contestant} has no two figures: {row:?}"),
    }
}

/// Durable 1 KB puts by 64 writers on one disk: ours, the bare log, and etcd over gRPC, by turns, since what else writes to
/// the disk moves every rate.
pub(crate) fn store(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let bench = lab.example("store", "store_bench")?;
    let [mut cpu, mut rate, mut bare, mut etcd_cpu, mut etcd_rate] = <[Vec<f64>; 5]>::default();
    let mut no_etcd = None;
    for _ in 0..TURNS {
        let said = output(program(text(&bench), &[WRITERS, SECONDS, text(lab.folder())]), PATIENCE)?;
        let ours = line(&said, &["store ", "puts/s"])?;
        cpu.push(before(ours, " CPU-us per put")?);
        rate.push(before(ours, " puts/s")?);
        bare.push(before(line(&said, &["bare log ", "puts/s"])?, " CPU-us per put")?);
        match etcd(lab) {
            Ok((cpu, rate)) => {
                etcd_cpu.push(cpu);
                etcd_rate.push(rate);
            }
            Err(error) => no_etcd = Some(error),
        }
    }
    if let Some(error) = no_etcd {
        tell(&format!("store: etcd's figure is the reference page's: {error:#}"));
    }
    for (name, values) in [("store.cpu", &cpu), ("store.cpu-bare", &cpu), ("store.rate", &rate)] {
        findings.value(name, median(values.clone()).context("no turn")?);
    }
    for (name, values) in [("store.cpu", etcd_cpu), ("store.rate", etcd_rate), ("store.cpu-bare", bare)] {
        if let Some(value) = median(values) {
            findings.peer(name, value);
        }
    }
    Ok(())
}

/// CPU-µs per put of the server alone, and puts per second.
fn etcd(lab: &Lab) -> Result<(f64, f64)> {
    let puts = lab.example("xtask", "etcd_puts")?;
    let server = Etcd::start(lab)?;
    let said = output(program(text(&puts), &[&server.port.to_string(), &server.child.id().to_string(), WRITERS, SECONDS]), PATIENCE)?;
    let figures = line(&said, &["puts/s"])?;
    Ok((before(figures, " CPU-us per put")?, before(figures, " puts/s")?))
}

struct Etcd {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Etcd {
    fn start(lab: &Lab) -> Result<Self> {
        let (port, peers) = (free_port()?, free_port()?);
        let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
        let members = format!("default={peers}");
        let folder = lab.folder().join("etcd");
        let mut etcd = program(
            "etcd",
            &[
                "--data-dir",
                text(&folder),
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
                "--initial-cluster",
                &members,
                "--log-level",
                "error",
            ],
        );
        let child = etcd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("needs etcd-server")?;
        Ok(Self { child, port, folder })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Pod links, and Services in the kernel, each in a network namespace of its own.
pub(crate) fn link(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    ensure!(is_root(), "needs root");
    let links = output(program(text(&lab.example("podnet", "pod_link")?), &["200"]), PATIENCE)?;
    findings.value("link.pod", after(line(&links, &["pod link:"])?, "p50=")? / 1000.0);
    let services = output(program(text(&lab.example("services", "service_load")?), &["10000"]), PATIENCE)?;
    findings.value("link.load", after(line(&services, &["cold load:"])?, "x 5 in")?);
    findings.value("link.endpoint", after(line(&services, &["one endpoint"])?, "p50=")? / 1000.0);
    Ok(())
}

/// A thousand definitions, and everything that looks after them in one process.
pub(crate) fn crds(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = output(program(text(&lab.example("harness", "definitions")?), &["1000"]), PATIENCE)?;
    findings.value("crds.memory", after(&said, "memory_mb=")?);
    findings.value("crds.served", after(&said, "last_served_s=")?);
    Ok(())
}

/// The slowest of the rules that policies and schemas usually hold, on a pod of 4 KB.
pub(crate) fn cel(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    let said = output(program(text(&lab.example("expressions", "rule_bench")?), &[]), Duration::from_secs(60))?;
    findings.value("cel.rule", after(&said, "slowest:")?);
    let said = output(program(text(&lab.example("kinds", "rules_bench")?), &[]), Duration::from_secs(60))?;
    findings.value("cel.object", after(&said, "slowest:")?);
    Ok(())
}

/// An archive of 10,000 files to a mounted root.
pub(crate) fn layer(lab: &Lab, _: &Options, findings: &mut Findings) -> Result<()> {
    ensure!(is_root(), "needs root");
    let said = output(program(text(&lab.example("images", "images_bench")?), &[text(lab.folder())]), Duration::from_secs(180))?;
    let times =
        said.lines().filter(|line| line.contains("archive to root")).map(|line| after(line, "root:")).collect::<Result<Vec<_>>>()?;
    findings.value("layer.root", median(times).context("no round")?);
    Ok(())
}
