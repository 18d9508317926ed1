//! Resource quotas, charged in the transaction of the write that uses them: the last word before the store.
//!
//! ```text
//! write ─► which quotas concern it ─► gate of the namespace ─► charge ─► one transaction { object, status.used of each quota }
//!                                     (one at a time)                    guarded by each quota's revision and the fence
//! ```
//! The object and what it uses are committed together or not at all: no failure leaves anything charged, and no two writes,
//! also of two API servers, take the same rest. The gate decides nothing; it only spares writers of one process the races that
//! they would lose. The fence is a key of its own per namespace, written whenever a quota's limits come into force or change:
//! a write that was decided before it has seen that loses its guard and is decided again.
//!
//! What is given back (deletes, pods that end, shrinking) is counted by the quota controller.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use kinds::quota::{self, Counted, Write};
use kinds::{Descriptor, KindRef};
use schema::{DocExt, Status, Value};
use store::{Guard, Key, Op, Revision};
use tokio::sync::OwnedMutexGuard;

use crate::cache::item::Item;
use crate::core::{Call, Core};
use crate::{document, failure, list};

const QUOTAS: &str = "/resourcequotas/";
const FENCES: &str = "/fences/quota/";

/// What a write adds to its transaction. To be kept until that is committed.
#[derive(Default)]
pub struct Reserved {
    pub guards: Vec<Guard>,
    pub ops: Vec<Op>,
    pub gate: Option<OwnedMutexGuard<()>>,
}

/// Charges the quotas of the namespace with what `new` uses more than `old`. 403 where one would be exceeded.
pub(crate) async fn reserve(call: &Call<'_>, old: Option<&Value>, new: &Value) -> Result<Reserved, Status> {
    let kind = counted(&call.kind);
    let (subresource, namespace) = (call.target.subresource.as_str(), call.target.namespace.as_str());
    if !call.kind.is_namespaced() || !kind.grows_by(old.is_none(), subresource) {
        return Ok(Reserved::default());
    }
    let write = Write { kind, subresource, old, new, now: call.core.env.now() };
    let mut fence = call.core.cache.fences.guard(namespace); // before the quotas are read
    let mut quotas = concerned(call.core, namespace, &write);
    if quotas.is_empty() {
        return Ok(Reserved { guards: vec![fence], ..Reserved::default() });
    }
    if call.options.dry_run {
        return decide(call, &quotas, &write).map(|_| Reserved::default());
    }
    let gate = call.core.gates.enter(&format!("{QUOTAS}{namespace}")).await;
    call.core.cache.catch_up().await.map_err(|error| failure::of_store(&error))?;
    fence = call.core.cache.fences.guard(namespace);
    quotas = concerned(call.core, namespace, &write);
    let mut reserved = Reserved { guards: vec![fence], ops: Vec::new(), gate: Some(gate) };
    for (key, quota, used) in decide(call, &quotas, &write)? {
        reserved.guards.push(Guard::At(Arc::clone(&key), revision(quota)));
        reserved.ops.push(put(key, quota, &used));
    }
    Ok(reserved)
}

/// What a write of a quota itself adds: the fence, where other limits come into force.
pub(crate) fn fence(kind: &Descriptor, old: Option<&Value>, new: &Value) -> Option<Op> {
    let hard = |doc: &Value| doc.at("status.hard").cloned().unwrap_or_default();
    let is_changed = is_quota(kind) && hard(new) != old.map(hard).unwrap_or_default();
    let key: Key = format!("{FENCES}{}", new.str_at("metadata.namespace")).into();
    is_changed.then(|| Op::Put { key, value: Bytes::from_static(b"{}"), rv_at: None, ttl_seconds: None })
}

/// What goes with a namespace.
pub(crate) fn release(core: &Core, kind: &Descriptor, old: &Value) -> Vec<Op> {
    let is_namespace = kind.group.is_empty() && kind.resource == "namespaces";
    let name = old.str_at("metadata.name");
    if is_namespace && core.cache.fences.is_up(name) { vec![Op::Delete { key: format!("{FENCES}{name}").into() }] } else { Vec::new() }
}

fn counted(kind: &KindRef) -> Counted<'_> {
    Counted::new(&kind.group, &kind.resource)
}

fn is_quota(kind: &Descriptor) -> bool {
    kind.group.is_empty() && kind.resource == "resourcequotas"
}

/// A quota as the cache has it.
struct Held {
    key: Key,
    item: Arc<Item>,
    doc: Value,
}

fn concerned(core: &Core, namespace: &str, write: &Write<'_>) -> Vec<Held> {
    let Some(cache) = core.cache.kind(QUOTAS) else { return Vec::new() };
    let (start, end) = list::bounds(QUOTAS, namespace);
    let all: Vec<(Key, Arc<Item>)> = cache.read().range(&start, &end).map(|(key, item)| (Arc::clone(key), Arc::clone(item))).collect();
    let held = all.into_iter().map(|(key, item)| Held { key, doc: item.object.value(), item });
    held.filter(|held| quota::concerns(&held.doc, write.kind, write.new)).collect()
}

/// What each quota holds after the write; those that it takes nothing of are left out.
fn decide<'a>(call: &Call<'_>, quotas: &'a [Held], write: &Write<'_>) -> Result<Vec<(Key, &'a Held, kinds::Resources)>, Status> {
    let name = write.new.str_at("metadata.name");
    let forbidden = |why: String| Status::forbidden(&call.kind.group, &call.kind.resource, name, &why);
    if let Some(why) = quotas.iter().find_map(|held| quota::objection(&held.doc, write)) {
        return Err(forbidden(why));
    }
    let mut charged = Vec::new();
    for held in quotas {
        if let Some(used) = quota::charge(&held.doc, write).map_err(forbidden)? {
            charged.push((Arc::clone(&held.key), held, used));
        }
    }
    Ok(charged)
}

fn revision(held: &Held) -> Revision {
    Revision(held.item.object.revision())
}

fn put(key: Key, held: &Held, used: &kinds::Resources) -> Op {
    let mut doc = held.doc.clone();
    doc.set_at("status.used", quota::document(used));
    let encoded = document::encode(&doc);
    Op::Put { key, value: encoded.bytes, rv_at: Some(encoded.rv_at), ttl_seconds: None }
}

/// The fences that are up, with the revision of each, as far as the watch cache has seen.
#[derive(Default)]
pub struct Fences {
    up: RwLock<HashMap<Box<str>, Revision>>,
}

impl Fences {
    pub(crate) fn clear(&self) {
        self.up.write().expect("fences").clear();
    }

    /// Follows the store: `revision` is None for a delete. Other keys are none of its business.
    pub(crate) fn note(&self, key: &str, revision: Option<Revision>) {
        let Some(namespace) = key.strip_prefix(FENCES) else { return };
        let mut up = self.up.write().expect("fences");
        match revision {
            Some(revision) => drop(up.insert(namespace.into(), revision)),
            None => drop(up.remove(namespace)),
        }
    }

    fn is_up(&self, namespace: &str) -> bool {
        self.up.read().expect("fences").contains_key(namespace)
    }

    /// Holds as long as no other limits have come into force.
    fn guard(&self, namespace: &str) -> Guard {
        let key: Key = format!("{FENCES}{namespace}").into();
        match self.up.read().expect("fences").get(namespace) {
            Some(revision) => Guard::At(key, *revision),
            None => Guard::Absent(key),
        }
    }
}
