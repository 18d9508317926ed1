//! `corten status`: parts, node, pods, addresses, memory.

use client::{Options, Target};
use kinds::core::{Node, Pod};
use schema::{Value, json};

use super::{Context, Output};
use crate::{Failure, State, memory, out};

/// What marks a pod that only shows a part of the system.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Show the cluster's processes, node, pods and memory
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(cx: &Context<'_>, args: &Args) -> Result<u8, Failure> {
    let state = cx.require_running()?;
    let cluster = cluster(cx).await;
    match args.output {
        Output::Json => out::line(json(cx, &state, cluster.as_ref())),
        Output::Text => text(cx, &state, cluster.as_ref()),
    }
    Ok(match cluster {
        Ok(_) => 0,
        Err(_) => 1,
    })
}

/// What the API says.
struct Cluster {
    nodes: Vec<(String, bool)>,
    /// (all, running), without the mirrors of the system's own parts: those are shown as processes.
    pods: (usize, usize),
}

async fn cluster(cx: &Context<'_>) -> Result<Cluster, Failure> {
    let client = cx.host.admin(&cx.instance)?.client;
    let nodes = client.list(Target::of("v1", "nodes", ""), Options::default()).await?.items;
    let pods = client.list(Target::of("v1", "pods", ""), Options::default()).await?.items;
    let ready = |node: &Node| node.status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True");
    let nodes =
        nodes.iter().map(|node| node.lens::<Node>().map(|lens| (lens.metadata.name.clone(), ready(&lens)))).collect::<Result<_, _>>()?;
    let pods: Vec<_> = pods.iter().filter(|pod| !pod.meta.annotations.contains_key(MIRROR)).collect();
    let running = pods.iter().filter(|pod| pod.lens::<Pod>().is_ok_and(|pod| pod.status.phase == "Running")).count();
    Ok(Cluster { nodes, pods: (pods.len(), running) })
}

fn total_memory(state: &State) -> u64 {
    state.processes.iter().filter_map(|process| memory::pss(process.pid?)).sum()
}

fn json(cx: &Context<'_>, state: &State, cluster: Result<&Cluster, &Failure>) -> Value {
    let processes: Vec<Value> = state
        .processes
        .iter()
        .map(|process| json!({"name": process.name, "pid": process.pid, "restarts": process.restarts, "lastExit": process.last_exit, "pssBytes": process.pid.and_then(memory::pss)}))
        .collect();
    let mut doc = json!({
        "instance": cx.instance.name, "root": cx.instance.root, "api": api(cx), "dns": cx.instance.dns_ip(),
        "processes": processes, "containers": state.containers, "pssBytes": total_memory(state),
    });
    match cluster {
        Ok(cluster) => {
            doc["nodes"] = cluster.nodes.iter().map(|(name, ready)| json!({"name": name, "ready": ready})).collect();
            doc["pods"] = json!({"total": cluster.pods.0, "running": cluster.pods.1});
        }
        Err(failure) => doc["error"] = json!(failure.what),
    }
    doc
}

fn api(cx: &Context<'_>) -> String {
    format!("https://127.0.0.1:{}", cx.instance.api_port())
}

fn text(cx: &Context<'_>, state: &State, cluster: Result<&Cluster, &Failure>) {
    let mut rows = vec![["PROCESS", "PID", "RESTARTS", "MEMORY"].map(str::to_owned).to_vec()];
    for process in &state.processes {
        let pid = process.pid.map_or("-".into(), |pid| pid.to_string());
        let pss = process.pid.and_then(memory::pss).map_or("-".into(), out::size);
        rows.push(vec![process.name.clone(), pid, process.restarts.to_string(), pss]);
    }
    out::line(out::table(&rows));
    out::line("");
    let mut facts = vec![vec!["api".into(), api(cx)], vec!["dns".into(), cx.instance.dns_ip().to_string()]];
    match cluster {
        Ok(cluster) => {
            let nodes = cluster.nodes.iter().map(|(name, ready)| format!("{name} {}", if *ready { "Ready" } else { "NotReady" }));
            facts.push(vec!["nodes".into(), nodes.collect::<Vec<_>>().join(", ")]);
            facts.push(vec!["pods".into(), format!("{} running of {}", cluster.pods.1, cluster.pods.0)]);
        }
        Err(failure) => facts.push(vec!["error".into(), failure.what.clone()]),
    }
    facts.push(vec!["containers".into(), state.containers.to_string()]);
    facts.push(vec!["memory".into(), format!("{} (PSS of all our processes)", out::size(total_memory(state)))]);
    facts.push(vec!["state".into(), cx.instance.root.display().to_string()]);
    out::line(out::table(&facts));
}
