//! The node's heartbeat: a Lease in `kube-node-lease`, renewed every ten seconds, come what may.

use std::time::Duration;

use client::{Client, Patch, Target};
use env::Env;
use schema::{Status, json};

const NAMESPACE: &str = "kube-node-lease";
const RENEW_EVERY: Duration = Duration::from_secs(10);
const DURATION_SECONDS: i32 = 40;
/// A renewal that hangs must not cost the next one.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Renews until the environment shuts down.
pub(crate) async fn run(env: Env, client: Client, node: String) {
    let shutdown = env.shutdown().clone();
    let heart = Heart { env, client, node };
    shutdown.run_until_cancelled(heart.beat()).await;
}

struct Heart {
    env: Env,
    client: Client,
    node: String,
}

impl Heart {
    async fn beat(&self) {
        loop {
            let began = self.env.instant();
            let mut delay = RETRY_FIRST;
            while let Err(error) = self.renew_in_time().await {
                tracing::warn!(node = self.node, %error, "lease not renewed, trying again");
                self.env.sleep(delay).await;
                delay = (delay * 2).min(RETRY_MAX);
            }
            // Up to 4 % early, so that a thousand nodes spread out.
            let early = Duration::from_millis(self.env.random_below(400));
            tokio::time::sleep_until(began + RENEW_EVERY - early).await;
        }
    }

    async fn renew_in_time(&self) -> Result<(), Status> {
        let timed_out = |_| Status::timeout("the API server did not answer a lease renewal");
        tokio::time::timeout(TRY_TIMEOUT, self.renew()).await.map_err(timed_out)?
    }

    async fn renew(&self) -> Result<(), Status> {
        let spec = json!({"holderIdentity": self.node, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": schema::time::format_micro(self.env.now())});
        let leases = Target::of("coordination.k8s.io/v1", "leases", NAMESPACE);
        match self.client.patch(leases.clone().named(&self.node), Patch::Merge, &json!({"spec": spec})).await {
            Err(status) if status.is_not_found() => {}
            other => return other.map(|_| ()),
        }
        let node = self.client.get(Target::of("v1", "nodes", "").named(&self.node)).await?;
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": node.meta.uid});
        let metadata = json!({"name": self.node, "namespace": NAMESPACE, "ownerReferences": [owner]});
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec});
        self.client.create(leases, lease).await.map(|_| ())
    }
}
