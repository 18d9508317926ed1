//! Publishes the cluster's CA certificate as the ConfigMap `kube-root-ca.crt` in every namespace.

use async_trait::async_trait;
use client::Target;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, json};

pub const NAME: &str = "root-ca-cert-publisher";
const MAP: &str = "kube-root-ca.crt";

pub struct RootCa {
    /// PEM.
    pub certificate: String,
}

#[async_trait]
impl Controller for RootCa {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", "namespaces");
        wiring.maps("v1", "configmaps", |map| if map.meta.name == MAP { vec![map.meta.namespace.clone()] } else { Vec::new() });
    }

    async fn reconcile(&self, cx: &Cx, namespace: &str) -> Result<Action, Retry> {
        if cx.get("v1", "namespaces", namespace).is_none_or(|held| held.meta.is_deleting()) {
            return Ok(Action::AwaitChange);
        }
        let target = Target::of("v1", "configmaps", namespace);
        let data = json!({"ca.crt": self.certificate});
        match cx.get("v1", "configmaps", &format!("{namespace}/{MAP}")) {
            Some(held) if held.value().at("data") == Some(&data) => {}
            Some(held) => {
                let mut doc = held.value();
                doc.set_at("data", data);
                cx.client.update(target.named(MAP), doc).await?;
            }
            None => {
                let why = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
                           service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
                let doc = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                    "metadata": {"name": MAP, "namespace": namespace, "annotations": {"kubernetes.io/description": why}},
                });
                crate::create_if_absent(cx, target, doc).await?;
            }
        }
        Ok(Action::AwaitChange)
    }
}
