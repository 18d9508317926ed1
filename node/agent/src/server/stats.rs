//! What the node and its pods use: the summary, and metrics in Prometheus' text form.

use std::fmt::Write;
use std::sync::Arc;

use contract::Stats;
use schema::{Value, json};

use crate::context::Context;
use crate::machine;
use crate::registry::PodEntry;

struct Used {
    pod: Arc<PodEntry>,
    containers: Vec<(String, Stats)>,
}

async fn used(cx: &Context) -> Vec<Used> {
    let mut all = Vec::new();
    for pod in cx.registry.all() {
        let mut containers = Vec::new();
        for container in &pod.containers {
            let Some(id) = &container.running_id else { continue };
            // It may have ended just now.
            if let Ok(stats) = cx.drivers.runtime.stats(id).await {
                containers.push((container.name.clone(), stats));
            }
        }
        all.push(Used { pod, containers });
    }
    all
}

/// `/stats/summary`
pub(super) async fn summary(cx: &Context) -> Value {
    let time = schema::time::format(cx.env.now());
    let cpu = |stats: &Stats| json!({"time": time, "usageCoreNanoSeconds": stats.cpu_nanos});
    let memory = |stats: &Stats| json!({"time": time, "usageBytes": stats.memory_bytes, "workingSetBytes": stats.working_set_bytes, "rssBytes": stats.rss_bytes});
    let pods: Vec<Value> = used(cx)
        .await
        .iter()
        .map(|used| {
            let meta = &used.pod.pod.metadata;
            let total = sum(used.containers.iter().map(|(_, stats)| stats));
            let containers: Vec<Value> = used.containers.iter().map(|(name, stats)| json!({"name": name, "startTime": used.pod.status.start_time, "cpu": cpu(stats), "memory": memory(stats)})).collect();
            json!({
                "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}, "startTime": used.pod.status.start_time,
                "containers": containers, "cpu": cpu(&total), "memory": memory(&total), "process_stats": {"process_count": total.pids},
            })
        })
        .collect();
    let (free, total) = machine::disk(&cx.config.instance.node_dir()).unwrap_or_default();
    let available = machine::memory_available().unwrap_or_default();
    let node = json!({
        "nodeName": cx.config.node_name,
        "cpu": {"time": time, "usageCoreNanoSeconds": machine::cpu_nanos()},
        "memory": {"time": time, "availableBytes": available, "workingSetBytes": cx.capacity.memory_bytes.saturating_sub(available)},
        "fs": {"time": time, "availableBytes": free, "capacityBytes": total, "usedBytes": total.saturating_sub(free)},
    });
    json!({"node": node, "pods": pods})
}

fn sum<'a>(all: impl Iterator<Item = &'a Stats>) -> Stats {
    all.fold(Stats::default(), |sum, one| Stats {
        cpu_nanos: sum.cpu_nanos + one.cpu_nanos,
        memory_bytes: sum.memory_bytes + one.memory_bytes,
        working_set_bytes: sum.working_set_bytes + one.working_set_bytes,
        rss_bytes: sum.rss_bytes + one.rss_bytes,
        pids: sum.pids + one.pids,
    })
}

/// `/metrics`: the agent itself.
pub(super) fn metrics(cx: &Context) -> String {
    let pods = cx.registry.all();
    let containers = pods.iter().flat_map(|pod| &pod.containers).filter(|container| container.running_id.is_some()).count();
    format!(
        "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n\
         # HELP kubelet_running_containers Number of containers currently running\n# TYPE kubelet_running_containers gauge\n\
         kubelet_running_containers{{container_state=\"running\"}} {containers}\n\
         # HELP kubelet_node_name The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\nkubelet_node_name{{node={:?}}} 1\n",
        pods.iter().filter(|pod| pod.sandbox_ready).count(),
        cx.config.node_name,
    )
}

/// `/metrics/resource`: what autoscalers and `kubectl top` read.
pub(super) async fn resource_metrics(cx: &Context) -> String {
    let mut cpu = String::from(
        "# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds\n# TYPE container_cpu_usage_seconds_total counter\n",
    );
    let mut memory = String::from(
        "# HELP container_memory_working_set_bytes Current working set of the container in bytes\n# TYPE container_memory_working_set_bytes gauge\n",
    );
    for used in used(cx).await {
        let meta = &used.pod.pod.metadata;
        for (name, stats) in &used.containers {
            let labels = format!("container={name:?},namespace={:?},pod={:?}", meta.namespace, meta.name);
            let _ = writeln!(cpu, "container_cpu_usage_seconds_total{{{labels}}} {}", stats.cpu_nanos as f64 / 1e9);
            let _ = writeln!(memory, "container_memory_working_set_bytes{{{labels}}} {}", stats.working_set_bytes);
        }
    }
    let available = machine::memory_available().unwrap_or_default();
    format!(
        "{cpu}{memory}# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds\n\
         # TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {}\n\
         # HELP node_memory_working_set_bytes Current working set of the node in bytes\n# TYPE node_memory_working_set_bytes gauge\n\
         node_memory_working_set_bytes {}\n",
        machine::cpu_nanos() as f64 / 1e9,
        cx.capacity.memory_bytes.saturating_sub(available),
    )
}
