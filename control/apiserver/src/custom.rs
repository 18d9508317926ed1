//! What custom kinds ask of the server beyond what every kind does.
//!
//! ```text
//! definition is written ─► feeder: family in the registry, cache for its objects   (cache.rs, in the order of the store)
//!                       └► names are compared with the group's, conditions written  (names.rs)
//! definition is deleted ─► objects deleted, nothing new made, finalizer taken off   (cleanup.rs)
//! ```
//! A kind is served from the very revision that says that it is established, so nobody who reads that is told 404. Writes of
//! its objects are guarded by the definition they were computed from: none slips in after the last one was cleaned up.

mod cleanup;
mod names;

use std::sync::Arc;

use client::{Client, Informer, Object, Options, Target};
use kinds::{Descriptor, KindRef};
use schema::{Status, json};
use store::{Guard, Key, Revision};
use tokio::sync::broadcast::error::RecvError;

use crate::Core;
use crate::cache::DEFINITIONS;
use crate::core::{Call, no_such_resource};

pub(crate) const API_VERSION: &str = "apiextensions.k8s.io/v1";
pub(crate) const RESOURCE: &str = "customresourcedefinitions";
const BY_GROUP: &str = "group";

/// 403 while the definition is on its way out.
pub(crate) fn check_creatable(kind: &Descriptor, name: &str) -> Result<(), Status> {
    match &kind.custom {
        Some(custom) if custom.is_terminating => {
            let why = "create not allowed while custom resource definition is terminating";
            Err(Status::forbidden(&kind.group, &kind.resource, name, why))
        }
        _ => Ok(()),
    }
}

/// What a write of a custom object relies on.
pub(crate) enum Held {
    /// Nothing, or that its definition stays what it is.
    Firm(Option<Guard>),
    /// The definition is another one by now.
    Moved(Key),
}

/// The guard of a write of `call.kind`.
pub(crate) fn guard(call: &Call<'_>) -> Result<Held, Status> {
    let Some(custom) = &call.kind.custom else { return Ok(Held::Firm(None)) };
    let key: Key = Arc::from(&*custom.definition);
    let definitions = call.core.cache.kind(DEFINITIONS);
    let definition = definitions.and_then(|definitions| definitions.get(&key)).ok_or_else(no_such_resource)?;
    let family = call.core.registry.family(&definition.object.meta.name).ok_or_else(no_such_resource)?;
    if !family.all().any(|kind| Arc::ptr_eq(kind, &call.kind)) {
        return Ok(Held::Moved(key));
    }
    Ok(Held::Firm(Some(Guard::At(key, Revision(definition.object.revision())))))
}

/// Starts to accept names and to clean up.
pub(crate) fn start(core: &Arc<Core>) {
    let user = auth::loopback_user();
    let client = Client::new(core.transport(user));
    let keeper = Keeper { core: Arc::clone(core), client };
    let stopped = core.env.shutdown().clone();
    drop(core.env.spawn("definitions", async move {
        stopped.run_until_cancelled(keeper.run()).await;
    }));
}

/// Looks after the definitions.
#[derive(Clone)]
struct Keeper {
    core: Arc<Core>,
    client: Client,
}

impl Keeper {
    async fn run(self) {
        let target = Target::of(API_VERSION, RESOURCE, "");
        let informer = Informer::start(&self.core.env, self.client.clone(), target, Options::default(), &[(BY_GROUP, group)]);
        let mut changes = informer.changes();
        informer.synced().await;
        let mut cleaned = cleanup::Started::default();
        for definition in informer.store.all() {
            self.look_at(&informer, &definition, &mut cleaned).await;
        }
        loop {
            match changes.recv().await {
                // Names that were in the way may be free now.
                Ok(change) => {
                    for peer in peers(&informer, change.object()) {
                        self.look_at(&informer, &peer, &mut cleaned).await;
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    for definition in informer.store.all() {
                        self.look_at(&informer, &definition, &mut cleaned).await;
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn look_at(&self, informer: &Informer, definition: &Arc<Object>, cleaned: &mut cleanup::Started) {
        if definition.meta.is_deleting() {
            cleaned.clean(self, definition);
            return;
        }
        let group = group(definition).pop().unwrap_or_default();
        let others: Vec<Arc<Object>> = informer.store.select(BY_GROUP, &group, |other| other.meta.name != definition.meta.name);
        let mut doc = definition.value();
        if names::judge(&mut doc, &others, self.core.env.now()) {
            self.write_status(doc).await;
        }
    }

    /// A conflict is no failure: whatever was faster brings the next look.
    async fn write_status(&self, doc: schema::Value) {
        let name = doc["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let target = Target::of(API_VERSION, RESOURCE, "").named(&name).sub("status");
        match self.client.update(target, doc).await {
            Ok(_) => {}
            Err(status) if status.is_conflict() || status.is_not_found() => {}
            Err(error) => tracing::error!(name, %error, "the conditions of a custom resource definition could not be written"),
        }
    }
}

/// The definition that changed, and those of its group that wait for a name.
fn peers(informer: &Informer, changed: &Arc<Object>) -> Vec<Arc<Object>> {
    let group = group(changed).pop().unwrap_or_default();
    let waits = |other: &Object| other.meta.name == changed.meta.name || !names::is_accepted(other);
    informer.store.select(BY_GROUP, &group, waits)
}

fn group(definition: &Object) -> Vec<String> {
    names::group(definition)
}

/// The kind's objects, for a reader of this process.
pub(crate) fn stored_kind(core: &Core, name: &str) -> Option<KindRef> {
    core.registry.family(name).map(|family| Arc::clone(&family.stored))
}

/// A merge patch that leaves these finalizers.
fn finalizers_patch(definition: &schema::Value, finalizers: &[String]) -> schema::Value {
    let kept = if finalizers.is_empty() { schema::Value::Null } else { json!(finalizers) };
    json!({"metadata": {"finalizers": kept, "resourceVersion": definition["metadata"]["resourceVersion"]}})
}
