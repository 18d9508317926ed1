//! APIService objects of the groups that this server answers itself: of built-in ones at the start, of custom ones as their
//! definitions come and go. Their label says that they are ours; whoever removes it, or brings an object of their own, keeps it.
//!
//! | there is | wanted: nothing | wanted: built-in | wanted: custom |
//! |---|---|---|---|
//! | nothing | – | made at the start | made |
//! | somebody's | – | – | – |
//! | ours, `onstart` | deleted at the start | mended at the start | mended at the start |
//! | ours, `true` | deleted | mended | mended |

use std::collections::BTreeSet;
use std::sync::Arc;

use client::informer::Change;
use client::{Client, Informer, Object, Options, Target};
use futures::StreamExt;
use schema::{DocExt, Status, Value, json};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::priority::{self, Priority};
use super::routes::ApiService;
use super::{API_VERSION, PREFIX, RESOURCE};
use crate::{Core, custom};

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";
const ALWAYS: &str = "true";
const BY_GROUP: &str = "group";
/// Writes under way at once: they share the store's commits.
const WRITES_AT_ONCE: usize = 16;

/// Group and version.
type Key = (String, String);

/// What is read of a definition.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Definition {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    group: String,
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
}

pub(super) fn start(core: &Arc<Core>, client: Client) {
    let registrar = Registrar { core: Arc::clone(core), client };
    let stopped = core.env().shutdown().clone();
    drop(core.env().spawn("group registration", async move {
        stopped.run_until_cancelled(registrar.run()).await;
    }));
}

struct Registrar {
    core: Arc<Core>,
    client: Client,
}

/// An object that ought to be there.
struct Wanted {
    priority: Priority,
    label: &'static str,
}

impl Registrar {
    async fn run(self) {
        let definitions = Target::of(custom::API_VERSION, custom::RESOURCE, "");
        let definitions = Informer::start(self.core.env(), self.client.clone(), definitions, Options::default(), &[(BY_GROUP, group)]);
        let services = Target::of(API_VERSION, RESOURCE, "");
        let services = Informer::start(self.core.env(), self.client.clone(), services, Options::default(), &[]);
        let (mut defined, mut registered) = (definitions.changes(), services.changes());
        definitions.synced().await;
        services.synced().await;
        let mut keys = self.everything(&definitions);
        let mut is_start = true;
        loop {
            self.settle(&definitions, std::mem::take(&mut keys), is_start).await;
            is_start = false;
            let all = tokio::select! {
                changed = defined.recv() => take(changed, &mut defined, &mut keys, versions),
                changed = registered.recv() => take(changed, &mut registered, &mut keys, own),
            };
            match all {
                Taken::Some => {}
                Taken::TooMany => keys = self.everything(&definitions),
                Taken::End => return,
            }
        }
    }

    /// Every group and version that there is or ought to be.
    fn everything(&self, definitions: &Informer) -> BTreeSet<Key> {
        let table = self.core.registry().table();
        let built_in = table.rows().iter().filter(|row| row.custom.is_none()).map(|row| (row.group.to_string(), row.version.to_string()));
        let custom = definitions.store.all();
        let custom = custom.iter().flat_map(|definition| versions(definition));
        let registered: Vec<Key> = self.registered().iter().flat_map(|object| own(object)).collect();
        built_in.chain(custom).chain(registered).collect()
    }

    fn registered(&self) -> Vec<Arc<Object>> {
        let Some(services) = self.core.cache.kind(PREFIX) else { return Vec::new() };
        let (start, end) = crate::list::bounds(PREFIX, "");
        services.read().range(&start, &end).map(|(_, item)| Arc::clone(&item.object)).collect()
    }

    async fn settle(&self, definitions: &Informer, keys: BTreeSet<Key>, is_start: bool) {
        let settled = keys.into_iter().map(|key| async move {
            match self.settle_one(definitions, &key, is_start).await {
                Err(status) if status.is_conflict() || status.is_already_exists() || status.is_not_found() => {} // its change brings us back
                Err(error) => tracing::error!(group = key.0, version = key.1, %error, "an APIService could not be registered"),
                Ok(()) => {}
            }
        });
        let settled: Vec<_> = settled.collect();
        futures::stream::iter(settled).buffer_unordered(WRITES_AT_ONCE).collect::<Vec<()>>().await;
    }

    async fn settle_one(&self, definitions: &Informer, key: &Key, is_start: bool) -> Result<(), Status> {
        let wanted = self.wanted(definitions, key);
        let name = format!("{}.{}", key.1, key.0);
        let held = self.core.cache.kind(PREFIX).and_then(|services| services.get(&format!("{PREFIX}{name}")));
        let target = Target::of(API_VERSION, RESOURCE, "");
        let Some(held) = held else {
            return match wanted {
                Some(wanted) if is_start || wanted.label == ALWAYS => self.client.create(target, wanted.document(key)).await.map(|_| ()),
                _ => Ok(()),
            };
        };
        let is_ours = match held.object.meta.labels.get(LABEL).map(String::as_str) {
            Some(ALWAYS) => true,
            Some(ON_START) => is_start,
            _ => false,
        };
        match wanted {
            None if is_ours => self.client.delete(target.named(&name), Options::default()).await,
            Some(wanted) if is_ours && (is_start || wanted.label == ALWAYS) => {
                let (mut doc, ought) = (held.object.value(), wanted.document(key));
                if doc["spec"] == ought["spec"] {
                    return Ok(());
                }
                doc["spec"] = ought["spec"].clone();
                self.client.update(target.named(&name), doc).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    fn wanted(&self, definitions: &Informer, key: &Key) -> Option<Wanted> {
        if self.core.registry().table().is_built_in(&key.0, &key.1) {
            return priority::built_in(&key.0, &key.1).map(|priority| Wanted { priority, label: ON_START });
        }
        let serves = |definition: &Object| {
            let definition = definition.lens::<Definition>();
            definition.is_ok_and(|definition| definition.spec.versions.iter().any(|version| version.served && version.name == key.1))
        };
        let is_served = !definitions.store.select(BY_GROUP, &key.0, serves).is_empty();
        is_served.then_some(Wanted { priority: priority::CUSTOM, label: ALWAYS })
    }
}

impl Wanted {
    fn document(&self, (group, version): &Key) -> Value {
        let mut doc = json!({
            "apiVersion": API_VERSION, "kind": "APIService", "metadata": {"name": format!("{version}.{group}"), "labels": {LABEL: self.label}},
            "spec": {"version": version, "groupPriorityMinimum": self.priority.group, "versionPriority": self.priority.version},
        });
        if !group.is_empty() {
            doc.set_at("spec.group", group.as_str());
        }
        doc
    }
}

/// What a look at changes comes to.
enum Taken {
    Some,
    TooMany,
    End,
}

/// Takes the keys of a change and of all that are here already.
fn take(
    first: Result<Change, RecvError>,
    changes: &mut Receiver<Change>,
    keys: &mut BTreeSet<Key>,
    keys_of: fn(&Object) -> Vec<Key>,
) -> Taken {
    let mut next = match first {
        Ok(change) => Some(change),
        Err(RecvError::Lagged(_)) => return Taken::TooMany,
        Err(RecvError::Closed) => return Taken::End,
    };
    while let Some(change) = next {
        match &change {
            Change::Upsert { old, new } => keys.extend(old.iter().chain([new]).flat_map(|object| keys_of(object))),
            Change::Delete { old } => keys.extend(keys_of(old)),
        }
        next = match changes.try_recv() {
            Ok(change) => Some(change),
            Err(TryRecvError::Lagged(_)) => return Taken::TooMany,
            Err(_) => None,
        };
    }
    Taken::Some
}

fn group(definition: &Object) -> Vec<String> {
    definition.lens::<Definition>().map(|definition| vec![definition.spec.group.clone()]).unwrap_or_default()
}

fn versions(definition: &Object) -> Vec<Key> {
    let Ok(definition) = definition.lens::<Definition>() else { return Vec::new() };
    definition.spec.versions.iter().map(|version| (definition.spec.group.clone(), version.name.clone())).collect()
}

/// The group and version of an APIService.
fn own(service: &Object) -> Vec<Key> {
    service.lens::<ApiService>().map(|service| vec![(service.spec.group.clone(), service.spec.version.clone())]).unwrap_or_default()
}
