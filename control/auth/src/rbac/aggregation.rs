//! ClusterRoles made of ClusterRoles: keeps the rules of each role that has an aggregationRule equal to the union of the
//! rules of the roles that it selects by label. Runs beside the authorizer, because the default `admin`, `edit` and `view` are such.

use std::sync::Arc;

use client::{Client, Informer, Object, Target};
use env::Env;
use kinds::rbac::{ClusterRole, PolicyRule};
use schema::{LabelSelector, Status};
use tokio::sync::broadcast::error::RecvError;

/// Starts the task. `client` may write cluster roles and escalate.
pub fn start(env: &Env, client: Client, roles: Arc<Informer>) {
    let (stop, retry) = (env.shutdown().clone(), env.clone());
    env.spawn("clusterrole-aggregation", async move {
        stop.run_until_cancelled(run(retry, client, roles)).await;
    });
}

async fn run(env: Env, client: Client, roles: Arc<Informer>) {
    let mut changes = roles.changes();
    roles.synced().await;
    loop {
        let failed = sweep(&client, &roles).await;
        if failed {
            env.sleep(std::time::Duration::from_secs(1)).await;
            continue;
        }
        match changes.recv().await {
            Ok(_) | Err(RecvError::Lagged(_)) => while changes.try_recv().is_ok() {},
            Err(RecvError::Closed) => return,
        }
    }
}

/// Writes every aggregate whose rules are not what they should be; returns whether a write failed.
async fn sweep(client: &Client, roles: &Informer) -> bool {
    let mut all = roles.store.all();
    all.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    let mut failed = false;
    for (name, rules) in stale(&all) {
        if let Err(error) = write(client, &name, &rules).await {
            tracing::warn!(role = %name, %error, "aggregating the cluster role failed");
            failed = true;
        }
    }
    failed
}

/// Aggregates with other rules than the union of what they select.
fn stale(all: &[Arc<Object>]) -> Vec<(String, Vec<PolicyRule>)> {
    all.iter()
        .filter_map(|object| {
            let role = object.lens::<ClusterRole>().ok()?;
            let rules = aggregated(object, &role, all)?;
            (rules != role.rules).then(|| (object.meta.name.clone(), rules))
        })
        .collect()
}

fn aggregated(object: &Object, role: &ClusterRole, all: &[Arc<Object>]) -> Option<Vec<PolicyRule>> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in &role.aggregation_rule.as_ref()?.cluster_role_selectors {
        let Ok(selector) = LabelSelector::from_value(selector) else { continue };
        let selected = all.iter().filter(|one| one.meta.name != object.meta.name && selector.matches(&one.meta.labels));
        for part in selected.filter_map(|one| one.lens::<ClusterRole>().ok()) {
            let fresh: Vec<PolicyRule> = part.rules.iter().filter(|rule| !rules.contains(rule)).cloned().collect();
            rules.extend(fresh);
        }
    }
    Some(rules)
}

async fn write(client: &Client, name: &str, rules: &[PolicyRule]) -> Result<(), Status> {
    let target = Target::of("rbac.authorization.k8s.io/v1", "clusterroles", "").named(name);
    let mut doc = match client.get(target.clone()).await {
        Err(status) if status.is_not_found() => return Ok(()),
        found => found?.value(),
    };
    doc["rules"] = serde_json::to_value(rules).map_err(Status::internal)?;
    client.update(target, doc).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn object(name: &str, labels: schema::Value, aggregates: Option<&str>, verb: Option<&str>) -> Arc<Object> {
        let mut doc = json!({"kind": "ClusterRole", "metadata": {"name": name, "labels": labels}});
        if let Some(label) = aggregates {
            doc["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        if let Some(verb) = verb {
            doc["rules"] = json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]);
        }
        Object::from_value(&doc).unwrap()
    }

    #[test]
    fn an_aggregate_is_the_union_of_what_it_selects() {
        let all = [
            object("view", json!({"to-edit": "true"}), Some("to-view"), Some("get")),
            object("edit", json!({}), Some("to-edit"), None),
            object("part", json!({"to-view": "true"}), None, Some("get")),
            object("other", json!({"to-edit": "true"}), None, Some("delete")),
        ];
        let stale = stale(&all);
        assert_eq!(stale.len(), 1, "view is already right: {stale:?}");
        assert_eq!(stale[0].0, "edit");
        assert_eq!(stale[0].1.iter().map(|rule| rule.verbs[0].as_str()).collect::<Vec<_>>(), ["get", "delete"]);
    }
}
