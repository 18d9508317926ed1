//! Keeps the sorting current with the stored objects, and tells in each FlowSchema's status whether its level exists.

use std::sync::Arc;

use ::schema::time;
use ::schema::{DocExt, Status, Value, json};
use client::{Client, Informer, Object, Options, Patch, Target};
use env::Env;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::schema::FlowSchema;
use super::{API_VERSION, Flow, Held};

/// Starts the task. `client` reads both kinds and writes the status of schemas.
pub(crate) fn start(env: &Env, client: Client, flow: Arc<Flow>) {
    let of = |resource| Informer::start(env, client.clone(), Target::of(API_VERSION, resource, ""), Options::default(), &[]);
    let follower = Follower { env: env.clone(), schemas: of("flowschemas"), levels: of("prioritylevelconfigurations"), client, flow };
    let stop = env.shutdown().clone();
    env.spawn("flow-control", async move {
        stop.run_until_cancelled(follower.run()).await;
    });
}

struct Follower {
    env: Env,
    schemas: Arc<Informer>,
    levels: Arc<Informer>,
    client: Client,
    flow: Arc<Flow>,
}

impl Follower {
    async fn run(self) {
        let (mut schemas, mut levels) = (self.schemas.changes(), self.levels.changes());
        self.schemas.synced().await;
        self.levels.synced().await;
        loop {
            self.flow.configure(held(&self.schemas), held(&self.levels));
            self.tell_dangling().await;
            let goes_on = tokio::select! {
                goes_on = changed(&mut schemas) => goes_on,
                goes_on = changed(&mut levels) => goes_on,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn tell_dangling(&self) {
        for object in self.schemas.store.all() {
            let Some(patch) = self.dangling(&object) else { continue };
            let target = Target { subresource: "status".into(), ..Target::of(API_VERSION, "flowschemas", "").named(&object.meta.name) };
            match self.client.patch(target, Patch::Merge, &patch).await {
                Err(status) if !is_gone(&status) => {
                    tracing::debug!(schema = %object.meta.name, error = %status, "the status of a flow schema stays as it is")
                }
                _ => {}
            }
        }
    }

    /// The patch of a status that does not say what is.
    fn dangling(&self, object: &Object) -> Option<Value> {
        let schema = object.lens::<FlowSchema>().ok()?;
        let level = &schema.spec.priority_level_configuration.name;
        let found = self.levels.store.get(level).is_some();
        let (status, reason, end) = if found { ("False", "Found", "it exists") } else { ("True", "NotFound", "there is no such object") };
        if schema.status.conditions.iter().any(|one| one.ty == "Dangling" && one.status == status) {
            return None;
        }
        let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and {end}");
        let own = json!({"type": "Dangling", "status": status, "lastTransitionTime": time::format(self.env.now()), "reason": reason, "message": message});
        let doc = object.value();
        let others = doc.items_at("status.conditions").iter().filter(|one| one.str_at("type") != "Dangling").cloned();
        Some(
            json!({"metadata": {"resourceVersion": object.meta.resource_version}, "status": {"conditions": others.chain([own]).collect::<Vec<_>>()}}),
        )
    }
}

fn is_gone(status: &Status) -> bool {
    matches!(status.code, 404 | 409)
}

fn held(informer: &Informer) -> Vec<Held> {
    let one = |object: Arc<Object>| Held { name: object.meta.name.clone(), uid: object.meta.uid.clone(), doc: object.value() };
    informer.store.all().into_iter().map(one).collect()
}

/// Resolves after a change and all that came with it; false when there will be none any more.
async fn changed(changes: &mut Receiver<client::Change>) -> bool {
    match changes.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {
            while changes.try_recv().is_ok() {}
            true
        }
        Err(RecvError::Closed) => false,
    }
}
