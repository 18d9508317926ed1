//! ServiceAccount: every pod runs as an account of its namespace and finds that account's token, the cluster's CA and its
//! namespace in a projected volume.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::Object;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct ServiceAccount;

const ACCOUNTS: &str = "/serviceaccounts/";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Time that a bound token lives; the extra seconds tell it from tokens that somebody asked for.
const TOKEN_SECONDS: i64 = 3_607;
/// A namespace that has just been made gets its default account from a controller: a pod may wait so long for it.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(2);

#[async_trait]
impl Plugin for ServiceAccount {
    async fn mutate(&self, request: &mut Admission<'_>, pod: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is_object("", "pods") {
            return Ok(());
        }
        if pod.at("metadata.annotations").and_then(|annotations| annotations.get(MIRROR)).is_some() {
            return check_mirror(request, pod);
        }
        pod.default_at("spec.serviceAccountName", "default");
        if pod.str_at("spec.serviceAccountName").is_empty() {
            pod.set_at("spec.serviceAccountName", "default");
        }
        let name = pod.str_at("spec.serviceAccountName").to_owned();
        pod.set_at("spec.serviceAccount", name.as_str());
        let account = account(request, &name).await?.value();
        if mounts_token(pod, &account) {
            mount(request, pod);
        }
        if pod.items_at("spec.imagePullSecrets").is_empty() && !account.items_at("imagePullSecrets").is_empty() {
            pod.set_at("spec.imagePullSecrets", account.items_at("imagePullSecrets").to_vec());
        }
        Ok(())
    }
}

/// A mirror pod shows what runs anyway; it may not draw on the API.
fn check_mirror(request: &Admission<'_>, pod: &Value) -> Result<(), Status> {
    if !pod.str_at("spec.serviceAccountName").is_empty() {
        return Err(request.forbidden("a mirror pod may not reference service accounts"));
    }
    let secrets = pod.items_at("spec.volumes").iter().any(|volume| volume.get("secret").is_some() || volume.get("projected").is_some());
    if secrets { Err(request.forbidden("a mirror pod may not reference secrets")) } else { Ok(()) }
}

/// The account, waiting a little for the default one of a new namespace.
async fn account(request: &Admission<'_>, name: &str) -> Result<Arc<Object>, Status> {
    let missing = || {
        let namespace = request.namespace;
        request.forbidden(&format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"))
    };
    let accounts = request.core.cache.kind(ACCOUNTS).ok_or_else(missing)?;
    let key = format!("{ACCOUNTS}{}/{name}", request.namespace);
    if let Some(item) = accounts.get(&key) {
        return Ok(Arc::clone(&item.object));
    }
    if name != "default" {
        return Err(missing());
    }
    let appears = accounts.appears(&key);
    let item = tokio::time::timeout(DEFAULT_ACCOUNT_WAIT, appears).await.map_err(|_| missing())?;
    Ok(Arc::clone(&item.object))
}

/// The pod decides, then the account, else yes.
fn mounts_token(pod: &Value, account: &Value) -> bool {
    let own = |doc: &Value, path: &str| doc.at(path).and_then(Value::as_bool);
    own(pod, "spec.automountServiceAccountToken").or_else(|| own(account, "automountServiceAccountToken")).unwrap_or(true)
}

/// Adds the token volume and mounts it wherever nothing else is mounted there.
fn mount(request: &Admission<'_>, pod: &mut Value) {
    let existing = pod.items_at("spec.volumes").iter().map(|volume| volume.str_at("name")).find(|name| name.starts_with(VOLUME_PREFIX));
    let name = existing.map_or_else(|| format!("{VOLUME_PREFIX}{}", request.core.env.suffix(5)), str::to_owned);
    let mut used = false;
    for list in ["spec.initContainers", "spec.containers"] {
        for container in pod.items_at_mut(list) {
            let taken = container.items_at("volumeMounts").iter().any(|mount| mount.str_at("mountPath") == MOUNT);
            if !taken {
                let mut mounts = container.items_at("volumeMounts").to_vec();
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT}));
                container.set_at("volumeMounts", mounts);
                used = true;
            }
        }
    }
    let have = pod.items_at("spec.volumes").iter().any(|volume| volume.str_at("name") == name);
    if used && !have {
        let mut volumes = pod.items_at("spec.volumes").to_vec();
        volumes.push(token_volume(&name));
        pod.set_at("spec.volumes", volumes);
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}
