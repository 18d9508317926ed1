//! What `kubectl get pods` shows. STATUS is computed: scripts read it, so every branch is upstream's.

use env::Env;
use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME, age_text, condition, or_none};
use crate::kind::Col;
use crate::rules::is_given;

pub(super) const COLUMNS: &[Col] = &[
    NAME,
    Col::of("Ready", |doc| json!(Summary::of(doc).ready())),
    Col::of("Status", |doc| json!(Summary::of(doc).reason)),
    Col::timed("Restarts", |doc, env| json!(Summary::of(doc).restarts(env))),
    AGE,
    Col::of("IP", |doc| or_none(super::pod_ips(doc).first().copied().unwrap_or_default())).wide(),
    Col::of("Node", |doc| or_none(doc.str_at("spec.nodeName"))).wide(),
    Col::of("Nominated Node", |doc| or_none(doc.str_at("status.nominatedNodeName"))).wide(),
    Col::of("Readiness Gates", readiness_gates).wide(),
];

/// What the statuses of the containers come to.
#[derive(Default)]
struct Summary {
    total: usize,
    ready_count: usize,
    reason: String,
    restart_count: i64,
    /// RFC 3339, `""` where nothing restarted.
    last_restart: String,
}

impl Summary {
    fn of(doc: &Value) -> Self {
        let sidecars = doc.items_at("spec.initContainers").iter().filter(|container| is_sidecar(container)).count();
        let total = doc.items_at("spec.containers").len() + sidecars;
        let mut summary = Self { total, reason: pod_reason(doc), ..Self::default() };
        let sidecar_restarts = summary.add_init_containers(doc);
        if let Some((count, last)) = sidecar_restarts {
            (summary.restart_count, summary.last_restart) = (count, last);
            summary.add_containers(doc);
        }
        summary.note_deletion(doc);
        summary
    }

    fn ready(&self) -> String {
        format!("{}/{}", self.ready_count, self.total)
    }

    /// `3 (5m ago)`
    fn restarts(&self, env: &Env) -> String {
        match (self.restart_count, self.last_restart.as_str()) {
            (0, _) | (_, "") => self.restart_count.to_string(),
            (count, last) => format!("{count} ({} ago)", age_text(last, env)),
        }
    }

    /// Goes through the init containers until one is not done. None: the pod still initialises; else the sidecars'
    /// restarts, from which the count starts anew.
    fn add_init_containers(&mut self, doc: &Value) -> Option<(i64, String)> {
        let (mut count, mut last) = (0, String::new());
        let mut initializing = false;
        for (at, status) in doc.items_at("status.initContainerStatuses").iter().enumerate() {
            self.add_restarts(status);
            let sidecar = init_container(doc, status.str_at("name")).is_some_and(is_sidecar);
            if sidecar {
                count += status.i64_at("restartCount").unwrap_or_default();
                later(&mut last, status.str_at("lastState.terminated.finishedAt"));
            }
            let terminated = status.at("state.terminated").filter(|state| state.is_object());
            if terminated.is_some_and(|state| state.i64_at("exitCode").unwrap_or_default() == 0) {
                continue;
            }
            if sidecar && status.bool_at("started") {
                self.ready_count += usize::from(status.bool_at("ready"));
                continue;
            }
            self.reason = init_reason(doc, status, at);
            initializing = true;
            break;
        }
        (!initializing || condition(doc, "Initialized") == "True").then_some((count, last))
    }

    fn add_containers(&mut self, doc: &Value) {
        let mut has_running = false;
        for status in doc.items_at("status.containerStatuses").iter().rev() {
            self.add_restarts(status);
            let waiting = status.str_at("state.waiting.reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(terminated) = status.at("state.terminated").filter(|state| state.is_object()) {
                self.reason = end_of(terminated);
            } else if status.bool_at("ready") && is_given(status, "state.running") {
                has_running = true;
                self.ready_count += 1;
            }
        }
        if self.reason == "Completed" && has_running {
            self.reason = if condition(doc, "Ready") == "True" { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restart_count += status.i64_at("restartCount").unwrap_or_default();
        later(&mut self.last_restart, status.str_at("lastState.terminated.finishedAt"));
    }

    fn note_deletion(&mut self, doc: &Value) {
        if doc.str_at("metadata.deletionTimestamp").is_empty() {
            return;
        }
        if doc.str_at("status.reason") == "NodeLost" {
            self.reason = "Unknown".to_owned();
        } else if !matches!(doc.str_at("status.phase"), "Succeeded" | "Failed") {
            self.reason = "Terminating".to_owned();
        }
    }
}

/// Before the containers have a say.
fn pod_reason(doc: &Value) -> String {
    let gated = |condition: &Value| condition.str_at("type") == "PodScheduled" && condition.str_at("reason") == "SchedulingGated";
    if doc.items_at("status.conditions").iter().any(gated) {
        return "SchedulingGated".to_owned();
    }
    let reason = doc.str_at("status.reason");
    if reason.is_empty() { doc.str_at("status.phase") } else { reason }.to_owned()
}

fn init_reason(doc: &Value, status: &Value, at: usize) -> String {
    if let Some(terminated) = status.at("state.terminated").filter(|state| state.is_object()) {
        return format!("Init:{}", end_of(terminated));
    }
    match status.str_at("state.waiting.reason") {
        "" | "PodInitializing" => format!("Init:{at}/{}", doc.items_at("spec.initContainers").len()),
        reason => format!("Init:{reason}"),
    }
}

/// Why a container ended, in one word.
fn end_of(terminated: &Value) -> String {
    let signal = terminated.i64_at("signal").unwrap_or_default();
    match terminated.str_at("reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", terminated.i64_at("exitCode").unwrap_or_default()),
        reason => reason.to_owned(),
    }
}

fn init_container<'a>(doc: &'a Value, name: &str) -> Option<&'a Value> {
    doc.items_at("spec.initContainers").iter().find(|container| container.str_at("name") == name)
}

fn is_sidecar(container: &Value) -> bool {
    container.str_at("restartPolicy") == "Always"
}

/// Timestamps of one format order as texts.
fn later(last: &mut String, timestamp: &str) {
    if timestamp > last.as_str() {
        timestamp.clone_into(last);
    }
}

/// `1/2`: how many of the pod's gates are open.
fn readiness_gates(doc: &Value) -> Value {
    let gates = doc.items_at("spec.readinessGates");
    if gates.is_empty() {
        return json!("<none>");
    }
    let open = gates.iter().filter(|gate| condition(doc, gate.str_at("conditionType")) == "True").count();
    json!(format!("{open}/{}", gates.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(doc: &Value) -> (String, String) {
        let summary = Summary::of(doc);
        (summary.ready(), summary.reason)
    }

    #[test]
    fn a_started_sidecar_counts_as_ready_while_the_next_init_step_runs() {
        let doc = json!({
            "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "s", "started": true, "ready": true, "state": {"running": {}}},
                {"name": "i", "state": {"running": {}}},
            ]},
        });
        assert_eq!(status(&doc), ("1/2".to_owned(), "Init:1/2".to_owned()));
    }

    #[test]
    fn a_deleted_pod_terminates_unless_it_has_ended() {
        let mut doc = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
        assert_eq!(status(&doc).1, "Terminating");
        doc.set_at("status.phase", "Succeeded");
        assert_eq!(status(&doc).1, "Succeeded");
        doc.set_at("status.reason", "NodeLost");
        assert_eq!(status(&doc).1, "Unknown");
    }

    #[test]
    fn a_gated_pod_says_so() {
        let doc = json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}});
        assert_eq!(status(&doc).1, "SchedulingGated");
    }

    #[test]
    fn restarts_tell_when_the_last_one_was() {
        let env = Env::real();
        let five_minutes_ago = schema::time::format(env.now() - std::time::Duration::from_secs(300));
        let doc =
            json!({"status": {"containerStatuses": [{"restartCount": 3, "lastState": {"terminated": {"finishedAt": five_minutes_ago}}}]}});
        assert_eq!(Summary::of(&doc).restarts(&env), "3 (5m ago)");
    }
}
