//! Whether an object is what a person calls ready, and waiting until it is.

use std::time::Duration;

use client::{Client, Options, Target, WatchKind};
use env::Env;
use futures::StreamExt;
use schema::{DocExt, Value};

use crate::{Failure, Kind};

/// None: ready. Some: what is missing.
pub fn missing(kind: &str, doc: &Value) -> Option<String> {
    match kind {
        "Deployment" | "ReplicaSet" => {
            let wanted = doc.i64_at("spec.replicas").unwrap_or(1);
            let (updated, available) =
                (doc.i64_at("status.updatedReplicas").unwrap_or_default(), doc.i64_at("status.availableReplicas").unwrap_or_default());
            let seen = doc.i64_at("status.observedGeneration").unwrap_or_default() >= doc.i64_at("metadata.generation").unwrap_or_default();
            let done = seen && available >= wanted && (kind == "ReplicaSet" || updated >= wanted);
            (!done).then(|| format!("{available} of {wanted} replicas available"))
        }
        "Pod" => {
            let phase = doc.str_at("status.phase");
            let ready = doc.items_at("status.conditions").iter().any(|one| one.str_at("type") == "Ready" && one.str_at("status") == "True");
            (!ready && phase != "Succeeded").then(|| format!("pod is {}", if phase.is_empty() { "Pending" } else { phase }))
        }
        "Node" => {
            let ready = doc.items_at("status.conditions").iter().any(|one| one.str_at("type") == "Ready" && one.str_at("status") == "True");
            (!ready).then(|| "the node has not reported Ready".into())
        }
        "Namespace" => (doc.str_at("status.phase") != "Active").then(|| "namespace is not active".into()),
        "EndpointSlice" => {
            let serves = doc.items_at("endpoints").iter().any(|one| one.at("conditions.ready") != Some(&Value::Bool(false)));
            (!serves).then(|| "no ready endpoint".into())
        }
        _ => None,
    }
}

/// Waits by watching. The failure says what was missing last.
pub async fn wait(env: &Env, client: &Client, kind: &str, target: &Target, deadline: Duration) -> Result<(), Failure> {
    let selector = format!("metadata.name={}", target.name);
    wait_for(
        env,
        client,
        kind,
        Target { name: String::new(), ..target.clone() },
        Options { field_selector: selector, ..Options::default() },
        &target.name,
        deadline,
    )
    .await
}

/// Waits until any object of the collection is ready.
pub async fn wait_for(
    env: &Env,
    client: &Client,
    kind: &str,
    collection: Target,
    options: Options,
    name: &str,
    deadline: Duration,
) -> Result<(), Failure> {
    let mut last = "it does not exist".to_owned();
    let waiting = async {
        loop {
            let list = client.list(collection.clone(), options.clone()).await?;
            for item in &list.items {
                match missing(kind, &item.value()) {
                    None => return Ok::<(), schema::Status>(()),
                    Some(what) => last = what,
                }
            }
            let mut events =
                client.watch(collection.clone(), Options { resource_version: Some(list.resource_version), ..options.clone() }).await?;
            while let Some(event) = events.next().await {
                let Ok(event) = event else { break };
                if matches!(event.kind, WatchKind::Added | WatchKind::Modified) {
                    match missing(kind, &event.object.value()) {
                        None => return Ok(()),
                        Some(what) => last = what,
                    }
                }
            }
            // A watch that the server ends is begun again; not faster than this.
            env.sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(deadline, waiting).await {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(_) => {
            Err(Failure::new(Kind::Timeout, format!("{} {name} is not ready after {} s: {last}", kind.to_lowercase(), deadline.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_deployment_is_ready_when_its_newest_generation_is() {
        let doc = |generation: i64, updated: i64, available: i64| json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {"observedGeneration": generation, "updatedReplicas": updated, "availableReplicas": available}});
        assert_eq!(missing("Deployment", &doc(2, 3, 3)), None);
        assert!(missing("Deployment", &doc(1, 3, 3)).is_some());
        assert_eq!(missing("Deployment", &doc(2, 3, 2)).unwrap(), "2 of 3 replicas available");
    }
}
