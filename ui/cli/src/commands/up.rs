//! `corten up`: from nothing to a served workload.

use std::path::PathBuf;
use std::time::Duration;

use client::{Client, Object, Options, Target};
use futures::StreamExt;
use kinds::core::{Node, Pod, Service};
use schema::{DocExt, Value};

use super::Context;
use crate::apply::{Applied, apply};
use crate::check::Level;
use crate::phases::Phases;
use crate::{Admin, Failure, Kind, StoreArgs, kubeconfig, manifest, out, ready};

const API_DEADLINE: Duration = Duration::from_secs(30);
const NODE_DEADLINE: Duration = Duration::from_secs(30);
const READY_AGAIN: Duration = Duration::from_secs(10);

/// Bring the cluster up and apply manifests
///
/// Returns when what the manifests create is ready. Running it again changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests: files, or folders of .yaml, .yml and .json files
    paths: Vec<PathBuf>,
    /// Stay in the foreground; Ctrl-C stops the cluster
    #[arg(long, conflicts_with = "paths")]
    foreground: bool,
    /// Seconds to wait for what the manifests create
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
    /// Leave ~/.kube/config alone
    #[arg(long)]
    no_kubeconfig: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub async fn run(cx: &Context<'_>, args: Args) -> Result<u8, Failure> {
    cx.require_root()?;
    // A typing error in a manifest should not wait for a cluster.
    let manifests = manifest::read(&args.paths)?;
    let phases = Phases::new(&cx.env, cx.invocation.colour);
    let running = cx.host.state(&cx.instance)?.is_some();
    phases.run("check", async { preflight(cx, running) }).await?;
    phases.run("prepare", async { cx.host.prepare(&cx.instance) }).await?;
    if args.store.store.is_some() {
        phases.run("store", cx.host.choose_store(&cx.instance, &args.store)).await?;
    }
    if args.foreground {
        return Ok(u8::try_from(cx.host.foreground(&cx.instance)).unwrap_or(1));
    }
    phases.run("start", async { if running { Ok(()) } else { cx.host.start(&cx.instance) } }).await?;
    let started = cx.env.now();
    // Those that outlived a keeper which was killed.
    let survivors = cx.host.state(&cx.instance)?.map_or(0, |state| state.containers as usize);
    let admin = cx.host.admin(&cx.instance)?;
    phases.run("api server ready", api_ready(cx, &admin.client)).await?;
    phases.run("node ready", node_ready(cx, &admin.client)).await?;
    if !running {
        phases.run("pods taken up", with_log(cx, "node", taken_up(&admin.client, started, survivors))).await?;
        phases.run("pods ready", ready_again(&admin.client)).await?;
    }
    if !args.no_kubeconfig {
        phases.run("kubeconfig", async { merge_kubeconfig(cx, &admin) }).await?;
    }
    let mut applied = Vec::new();
    if !manifests.is_empty() {
        applied = phases.run("apply", apply_all(&admin.client, &manifests)).await?;
        let deadline = Duration::from_secs(args.timeout);
        phases.run("ready", all_ready(cx, &admin.client, &applied, deadline)).await?;
    }
    finish(cx, &admin, &applied, &phases).await
}

fn preflight(cx: &Context<'_>, running: bool) -> Result<(), Failure> {
    let findings = super::check::findings(cx, running);
    for finding in findings.iter().filter(|finding| finding.level == Level::Warning) {
        out::talk(format!("warning: {}: {}", finding.name, finding.detail));
    }
    match findings.into_iter().find(|finding| finding.level == Level::Failure) {
        None => Ok(()),
        Some(finding) => Err(Failure::new(Kind::Machine, finding.detail).fix(finding.fix.unwrap_or_default())),
    }
}

/// The first connections fail until the server listens: that is no failure yet.
async fn api_ready(cx: &Context<'_>, client: &Client) -> Result<(), Failure> {
    let begun = cx.env.instant();
    let namespace = Target::of("v1", "namespaces", "").named("default");
    let answered = async {
        let mut pause = Duration::from_millis(2);
        loop {
            let outcome = ready::wait(&cx.env, client, "Namespace", &namespace, API_DEADLINE).await;
            if outcome.is_ok() || begun.elapsed() >= API_DEADLINE {
                return outcome;
            }
            cx.env.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    };
    with_log(cx, "control", answered).await
}

async fn node_ready(cx: &Context<'_>, client: &Client) -> Result<(), Failure> {
    let nodes = Target::of("v1", "nodes", "");
    with_log(cx, "node", ready::wait_for(&cx.env, client, "Node", nodes, Options::default(), "of this machine", NODE_DEADLINE)).await
}

/// After a stop the API still shows the containers of before, and Services lead to them: nothing is ready until the node has
/// said otherwise of each that does not run on.
async fn taken_up(client: &Client, started: jiff::Timestamp, survivors: usize) -> Result<(), Failure> {
    let pods = Target::of("v1", "pods", "");
    let waiting = async {
        loop {
            let list = client.list(pods.clone(), Options::default()).await?;
            let mut shown = 0;
            for pod in &list.items {
                shown += of_before(&*pod.lens::<Pod>()?, started);
            }
            if shown <= survivors {
                return Ok::<(), Failure>(());
            }
            let options = Options { resource_version: Some(list.resource_version), ..Options::default() };
            client.watch(pods.clone(), options).await?.next().await;
        }
    };
    match tokio::time::timeout(NODE_DEADLINE, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(Kind::Timeout, format!("the node has not taken up its pods after {} s", NODE_DEADLINE.as_secs()))),
    }
}

/// Pods that a node has taken up come back at their own pace: what was served before a stop is served again when `up` returns. A
/// pod that is not ready after [`READY_AGAIN`] may have been so before the stop too: `status` shows it, and nothing failed.
async fn ready_again(client: &Client) -> Result<(), Failure> {
    let pods = Target::of("v1", "pods", "");
    let waiting = async {
        loop {
            let list = client.list(pods.clone(), Options::default()).await?;
            if !list.items.iter().any(|pod| comes_back(&pod.value())) {
                return Ok::<(), Failure>(());
            }
            let options = Options { resource_version: Some(list.resource_version), ..Options::default() };
            client.watch(pods.clone(), options).await?.next().await;
        }
    };
    tokio::time::timeout(READY_AGAIN, waiting).await.unwrap_or(Ok(()))
}

/// Whether it has a node and may still become ready.
fn comes_back(pod: &Value) -> bool {
    let placed = !pod.str_at("spec.nodeName").is_empty() && pod.str_at("metadata.deletionTimestamp").is_empty();
    placed && pod.str_at("status.phase") != "Failed" && ready::missing("Pod", pod).is_some()
}

/// How many containers it shows that run since before `started`: most often they were stopped with the cluster.
fn of_before(pod: &Pod, started: jiff::Timestamp) -> usize {
    let running = pod.status.container_statuses.iter().filter_map(|status| status.state.running.as_ref());
    let since = running.filter_map(|running| schema::time::parse(running.started_at.as_deref()?));
    since.filter(|since| since.as_second() < started.as_second()).count()
}

/// Adds the last lines of the part's log to a failure.
async fn with_log(cx: &Context<'_>, part: &str, phase: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    phase.await.map_err(|failure| {
        let lines = super::logs::tail(&cx.instance.log_dir().join(format!("{part}.log")), 10);
        let fix = format!("read all of it with `corten logs {part}`");
        failure.log(lines).fix(fix)
    })
}

fn merge_kubeconfig(cx: &Context<'_>, admin: &Admin) -> Result<(), Failure> {
    let (path, current) = kubeconfig::merge(cx.invocation, &admin.entry)?;
    if !current {
        out::talk(format!(
            "context {:?} is in {}; select it with: kubectl config use-context {}",
            admin.entry.name,
            path.display(),
            admin.entry.name
        ));
    }
    Ok(())
}

async fn apply_all(client: &Client, manifests: &[manifest::Manifest]) -> Result<Vec<Applied>, Failure> {
    let mut applied = Vec::new();
    for manifest in manifests {
        let one = apply(client, manifest).await?;
        one.warnings.iter().for_each(|warning| out::talk(format!("warning: {}: {warning}", one.name())));
        out::talk(format!("  {} {}", one.name(), one.outcome));
        applied.push(one);
    }
    Ok(applied)
}

async fn all_ready(cx: &Context<'_>, client: &Client, applied: &[Applied], deadline: Duration) -> Result<(), Failure> {
    for one in applied {
        let outcome = match one.kind.as_str() {
            "Service" => service_ready(cx, client, one, deadline).await,
            kind => ready::wait(&cx.env, client, kind, &one.target, deadline).await,
        };
        if let Err(failure) = outcome {
            let mut why = why(client, &one.target.namespace).await;
            why.extend(pressed_nodes(client).await);
            return Err(failure.log(why).fix(format!("kubectl -n {} describe pods", one.target.namespace)));
        }
    }
    Ok(())
}

/// A Service that selects pods is ready when one of them serves.
async fn service_ready(cx: &Context<'_>, client: &Client, one: &Applied, deadline: Duration) -> Result<(), Failure> {
    let service = client.get(one.target.clone()).await?.lens::<Service>()?;
    if service.spec.selector.is_empty() || service.spec.r#type == "ExternalName" {
        return Ok(());
    }
    let slices = Target::of("discovery.k8s.io/v1", "endpointslices", &one.target.namespace);
    let options = Options { label_selector: format!("kubernetes.io/service-name={}", one.target.name), ..Options::default() };
    ready::wait_for(&cx.env, client, "EndpointSlice", slices, options, &one.target.name, deadline).await
}

/// The last warning events of the namespace: most often they are the reason.
async fn why(client: &Client, namespace: &str) -> Vec<String> {
    let events =
        client.list(Target::of("v1", "events", namespace), Options { field_selector: "type=Warning".into(), ..Options::default() }).await;
    let Ok(events) = events else { return Vec::new() };
    let text = |event: &std::sync::Arc<Object>| {
        let event = event.lens::<kinds::core::Event>().ok()?;
        Some(format!("{} {}: {}: {}", event.involved_object.kind, event.involved_object.name, event.reason, event.message))
    };
    let mut lines: Vec<String> = events.items.iter().filter_map(text).collect();
    lines.split_off(lines.len().saturating_sub(10))
}

/// What ails nodes: pods that find no place name the taint at most, not its cause.
async fn pressed_nodes(client: &Client) -> Vec<String> {
    let Ok(nodes) = client.list(Target::of("v1", "nodes", ""), Options::default()).await else { return Vec::new() };
    nodes.items.iter().flat_map(|node| pressures(&node.value())).collect()
}

fn pressures(node: &Value) -> Vec<String> {
    let ails = |condition: &&Value| (condition.str_at("type") == "Ready") != (condition.str_at("status") == "True");
    let text =
        |condition: &Value| format!("Node {}: {}: {}", node.str_at("metadata.name"), condition.str_at("type"), condition.str_at("message"));
    node.items_at("status.conditions").iter().filter(ails).map(text).collect()
}

async fn finish(cx: &Context<'_>, admin: &Admin, applied: &[Applied], phases: &Phases) -> Result<u8, Failure> {
    out::talk(format!("up in {}", phases.total()));
    for one in applied.iter().filter(|one| one.kind == "Service") {
        for address in addresses(&admin.client, one).await? {
            out::line(address);
        }
    }
    if applied.is_empty() {
        out::talk(format!("kubectl --context {} get nodes", admin.entry.name));
        out::talk(format!("stop: corten{} down", instance_flag(cx)));
    }
    Ok(0)
}

fn instance_flag(cx: &Context<'_>) -> String {
    if cx.instance.name == stdx::instance::DEFAULT { String::new() } else { format!(" --instance {}", cx.instance.name) }
}

/// `hello   http://10.96.3.4:80   http://127.0.0.1:30123`
async fn addresses(client: &Client, one: &Applied) -> Result<Vec<String>, Failure> {
    let service = client.get(one.target.clone()).await?.lens::<Service>()?;
    let node = client.list(Target::of("v1", "nodes", ""), Options::default()).await?;
    let node = node.items.first().map(|node| node.lens::<Node>()).transpose()?;
    let node_ip = node.as_ref().and_then(|node| {
        node.status.addresses.iter().find(|address| address.r#type == "InternalIP").map(|address| address.address.clone())
    });
    let line = service.spec.ports.iter().filter(|_| service.spec.cluster_ip.parse::<std::net::IpAddr>().is_ok()).map(|port| {
        let scheme = if port.port == 443 { "https" } else { "http" };
        let mut line = format!("{}   {scheme}://{}:{}", service.metadata.name, service.spec.cluster_ip, port.port);
        if let Some(ip) = node_ip.as_ref().filter(|_| port.node_port > 0) {
            line.push_str(&format!("   {scheme}://{ip}:{}", port.node_port));
        }
        line
    });
    Ok(line.collect())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_node_under_pressure_is_named_and_a_sound_one_is_not() {
        let node = |ready: &str, disk: &str| {
            json!({"metadata": {"name": "n"}, "status": {"conditions": [
                {"type": "DiskPressure", "status": disk, "message": "kubelet has disk pressure"},
                {"type": "Ready", "status": ready, "message": "container runtime is down"}]}})
        };
        assert_eq!(pressures(&node("True", "False")), Vec::<String>::new());
        assert_eq!(pressures(&node("True", "True")), ["Node n: DiskPressure: kubelet has disk pressure"]);
        assert_eq!(pressures(&node("False", "False")), ["Node n: Ready: container runtime is down"]);
    }
}
