//! Every collection that there is: the built-in ones, and those of custom kinds as they come, change and go. Controllers
//! that follow everything ([`crate::Wiring::maps_every`]) are wired to a custom kind when its definition is established, and
//! let go of it with the definition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use client::informer::Change;
use client::{Informer, Object};
use env::Env;
use kinds::KindRef;
use kinds::custom::{Family, is_established};
use schema::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Informers;

const API_VERSION: &str = "apiextensions.k8s.io/v1";
const RESOURCE: &str = "customresourcedefinitions";

/// Wires one controller to a collection; ends when the token does.
pub(crate) type Hook = Arc<dyn Fn(&KindRef, Arc<Informer>, CancellationToken) + Send + Sync>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Collections {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hooks: Vec<Hook>,
    /// By the definition's name.
    live: HashMap<String, Live>,
    /// The definition's name, by group and kind.
    by_kind: HashMap<(String, String), String>,
    is_followed: bool,
}

/// A custom kind that is watched.
struct Live {
    kind: KindRef,
    informer: Arc<Informer>,
    ended: CancellationToken,
}

impl Collections {
    /// Every collection that can be watched and emptied, once each: of kinds with several served versions, the stored one.
    pub fn all(&self) -> Vec<KindRef> {
        let custom: Vec<KindRef> = self.state().live.values().map(|live| Arc::clone(&live.kind)).collect();
        built_in().chain(custom).collect()
    }

    /// The kind that an owner reference means, in the version that is watched where it is watched.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<KindRef> {
        if let Some(found) = kinds::by_kind(api_version, kind) {
            return Some(watched_form(found));
        }
        let (group, _) = api_version.split_once('/')?;
        let state = self.state();
        let name = state.by_kind.get(&(group.to_owned(), kind.to_owned()))?;
        state.live.get(name).map(|live| Arc::clone(&live.kind))
    }

    /// Calls `hook` for every custom kind that there is or will be. The first hook starts to follow the definitions.
    pub(crate) fn follow(&self, env: &Env, informers: &Informers, hook: Hook) {
        let mut state = self.state();
        state.live.values().for_each(|live| hook(&live.kind, Arc::clone(&live.informer), live.ended.clone()));
        state.hooks.push(hook);
        if std::mem::replace(&mut state.is_followed, true) {
            return;
        }
        let (this, informers, shutdown) = (self.clone(), informers.clone(), env.shutdown().clone());
        drop(env.spawn("collections", async move {
            shutdown.run_until_cancelled(this.run(&informers)).await;
        }));
    }

    async fn run(&self, informers: &Informers) {
        let definitions = informers.of(API_VERSION, RESOURCE);
        let mut changes = definitions.changes();
        definitions.synced().await;
        self.take_all(informers, &definitions.store.all());
        loop {
            match changes.recv().await {
                Ok(Change::Upsert { new, .. }) => self.take(informers, &new),
                Ok(Change::Delete { old }) => self.drop_kind(informers, &old.meta.name),
                Err(RecvError::Lagged(_)) => self.take_all(informers, &definitions.store.all()),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn take_all(&self, informers: &Informers, definitions: &[Arc<Object>]) {
        let there = |name: &String| definitions.iter().any(|definition| definition.meta.name == *name);
        let gone: Vec<String> = self.state().live.keys().filter(|name| !there(name)).cloned().collect();
        gone.iter().for_each(|name| self.drop_kind(informers, name));
        definitions.iter().for_each(|definition| self.take(informers, definition));
    }

    fn take(&self, informers: &Informers, definition: &Object) {
        let name = &definition.meta.name;
        let Some(kind) = watchable(definition) else { return self.drop_kind(informers, name) };
        let held = self.state().live.get(name).map(|live| live.kind.version.clone());
        if held.as_ref() == Some(&kind.version) {
            return;
        }
        if held.is_some() {
            self.drop_kind(informers, name);
        }
        let informer = informers.of(&kind.api_version(), &kind.resource);
        let mut state = self.state();
        let ended = CancellationToken::new();
        state.hooks.iter().for_each(|hook| hook(&kind, Arc::clone(&informer), ended.clone()));
        state.by_kind.insert((kind.group.to_string(), kind.kind.to_string()), name.clone());
        state.live.insert(name.clone(), Live { kind, informer, ended });
    }

    fn drop_kind(&self, informers: &Informers, name: &str) {
        let mut state = self.state();
        let Some(live) = state.live.remove(name) else { return };
        state.by_kind.remove(&(live.kind.group.to_string(), live.kind.kind.to_string()));
        live.ended.cancel();
        informers.end(&live.kind.api_version(), &live.kind.resource);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the collections panics")
    }
}

/// The built-in collections.
pub fn built_in() -> impl Iterator<Item = KindRef> {
    kinds::all().iter().filter(|kind| is_collection(kind)).cloned()
}

fn is_collection(kind: &KindRef) -> bool {
    (kind.verbs == kinds::Verbs::All || kind.resource == "services") && kind.version == kind.stored_version
}

fn watched_form(kind: &KindRef) -> KindRef {
    let same = |other: &&KindRef| other.group == kind.group && other.resource == kind.resource && is_collection(other);
    if is_collection(kind) { Arc::clone(kind) } else { kinds::all().iter().find(same).unwrap_or(kind).clone() }
}

/// A served version of an established definition: the stored one where that is served.
fn watchable(definition: &Object) -> Option<KindRef> {
    let doc: Value = definition.value();
    if !is_established(&doc) {
        return None;
    }
    let family = Family::new(&definition.raw, definition.revision(), None)?;
    let stored = family.served.iter().find(|kind| Arc::ptr_eq(kind, &family.stored));
    stored.or_else(|| family.served.first()).cloned()
}
