//! Keeps the service account `default` in every namespace that is not on its way out.

use async_trait::async_trait;
use client::Target;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::json;

pub const NAME: &str = "service-account-controller";

pub struct ServiceAccounts;

#[async_trait]
impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", "namespaces");
        wiring.maps("v1", "serviceaccounts", |account| vec![account.meta.namespace.clone()]);
    }

    async fn reconcile(&self, cx: &Cx, namespace: &str) -> Result<Action, Retry> {
        let active = cx.get("v1", "namespaces", namespace).is_some_and(|held| !held.meta.is_deleting());
        if !active || cx.get("v1", "serviceaccounts", &format!("{namespace}/default")).is_some() {
            return Ok(Action::AwaitChange);
        }
        let doc = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
        crate::create_if_absent(cx, Target::of("v1", "serviceaccounts", namespace), doc).await?;
        Ok(Action::AwaitChange)
    }
}
