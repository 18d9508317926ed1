//! `kube-system/extension-apiserver-authentication`: whom other API servers are to believe, clients with certificates and us.
//! What stands there already stays: other API servers may have put their authorities there.

use std::collections::BTreeSet;

use client::{Client, Informer, Options, Target};
use env::Env;
use schema::{DocExt, Status, Value, json};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The authorities, as PEM.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Of clients' certificates.
    pub client_ca: String,
    /// Of the certificate that this server shows to others.
    pub front_proxy_ca: String,
    /// Its common name.
    pub front_proxy_name: String,
}

impl Trust {
    pub(super) fn keep(self, env: &Env, client: Client) {
        let target = Target::of("v1", "configmaps", NAMESPACE);
        let options = Options { field_selector: format!("metadata.name={NAME}"), ..Options::default() };
        let informer = Informer::start(env, client.clone(), target, options, &[]);
        let stopped = env.shutdown().clone();
        drop(env.spawn("extension trust", async move {
            stopped.run_until_cancelled(self.run(&informer, &client)).await;
        }));
    }

    async fn run(self, informer: &Informer, client: &Client) {
        let mut changes = informer.changes();
        informer.synced().await;
        loop {
            let held = informer.store.get(&format!("{NAMESPACE}/{NAME}")).map(|object| object.value());
            match self.write(client, held).await {
                Err(status) if !status.is_conflict() && !status.is_already_exists() => {
                    tracing::error!(%status, "{NAMESPACE}/{NAME} could not be written; other API servers cannot know whom to believe");
                }
                _ => {}
            }
            if matches!(changes.recv().await, Err(tokio::sync::broadcast::error::RecvError::Closed)) {
                return;
            }
        }
    }

    async fn write(&self, client: &Client, held: Option<Value>) -> Result<(), Status> {
        let target = Target::of("v1", "configmaps", NAMESPACE);
        let Some(mut doc) = held else {
            let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": self.data(&json!({}))});
            return client.create(target, doc).await.map(|_| ());
        };
        let data = self.data(doc.get("data").unwrap_or(&Value::Null));
        if doc.get("data") == Some(&data) {
            return Ok(());
        }
        doc.set_at("data", data);
        client.update(target.named(NAME), doc).await.map(|_| ())
    }

    /// Ours and what is there.
    fn data(&self, held: &Value) -> Value {
        let text = |name: &str| held.get(name).and_then(Value::as_str).unwrap_or_default();
        let list = |name: &str, own: &str| {
            let mut all: Vec<String> = serde_json::from_str(text(name)).unwrap_or_default();
            if !all.iter().any(|one| one == own) {
                all.push(own.to_owned());
            }
            json!(json!(all).to_string())
        };
        json!({
            "client-ca-file": bundle(text("client-ca-file"), &self.client_ca),
            "requestheader-allowed-names": list("requestheader-allowed-names", &self.front_proxy_name),
            "requestheader-client-ca-file": bundle(text("requestheader-client-ca-file"), &self.front_proxy_ca),
            "requestheader-extra-headers-prefix": list("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            "requestheader-group-headers": list("requestheader-group-headers", "X-Remote-Group"),
            "requestheader-uid-headers": list("requestheader-uid-headers", "X-Remote-Uid"),
            "requestheader-username-headers": list("requestheader-username-headers", "X-Remote-User"),
        })
    }
}

/// The certificates of both, each once.
fn bundle(held: &str, own: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----\n";
    let own = if own.ends_with('\n') { own.to_owned() } else { format!("{own}\n") };
    let (all, mut seen) = (format!("{held}{own}"), BTreeSet::new());
    all.split_inclusive(END).filter(|one| one.ends_with(END) && seen.insert(one.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_put_there_stays() {
        let pem = |name: &str| format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n");
        let trust = Trust { client_ca: pem("ours"), front_proxy_ca: pem("front"), front_proxy_name: "front-proxy-client".into() };
        let first = trust.data(&json!({}));
        assert_eq!(first["requestheader-allowed-names"], "[\"front-proxy-client\"]");
        assert_eq!(trust.data(&first), first, "a second time it is the same");
        let mut others = first.clone();
        others["client-ca-file"] = json!(pem("theirs"));
        others["requestheader-username-headers"] = json!("[\"X-User\"]");
        let both = trust.data(&others);
        assert_eq!(both["client-ca-file"], json!(format!("{}{}", pem("theirs"), pem("ours"))));
        assert_eq!(both["requestheader-username-headers"], "[\"X-User\",\"X-Remote-User\"]");
    }
}
