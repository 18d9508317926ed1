//! The hooks that are in force: compiled once for each version of a policy, found by the resource of a request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use client::Object;

use super::compiled::{Binding, Evaluator, Hook, Policy};
use crate::Core;
use crate::registry::Table;

/// One sort of policies.
pub(super) struct Source<E> {
    state: ArcSwap<State<E>>,
    /// Held while something is compiled, so that nobody does the same work beside.
    compiling: Mutex<()>,
}

struct State<E> {
    /// Of the newest changes among policies and bindings.
    revisions: (u64, u64),
    policies: HashMap<String, Arc<Policy<E>>>,
    bindings: HashMap<String, Arc<Binding>>,
    hooks: Arc<Hooks<E>>,
}

/// Policies that are bound, in the order of their names.
pub(super) struct Hooks<E> {
    all: Vec<Hook<E>>,
    /// Those that can be for a resource: group, resource, places in `all`.
    by_resource: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Those that are for any group or any resource.
    anywhere: Vec<usize>,
}

impl<E> Default for Hooks<E> {
    fn default() -> Self {
        Self { all: Vec::new(), by_resource: HashMap::new(), anywhere: Vec::new() }
    }
}

impl<E> Hooks<E> {
    pub(super) fn of(&self, group: &str, resource: &str) -> impl Iterator<Item = &Hook<E>> + use<'_, E> {
        let places = self.by_resource.get(group).and_then(|resources| resources.get(resource)).unwrap_or(&self.anywhere);
        places.iter().map(|at| &self.all[*at])
    }
}

impl<E: Evaluator> Default for Source<E> {
    fn default() -> Self {
        let nothing = State { revisions: (0, 0), policies: HashMap::new(), bindings: HashMap::new(), hooks: Arc::default() };
        Self { state: ArcSwap::from_pointee(nothing), compiling: Mutex::default() }
    }
}

impl<E: Evaluator> Source<E> {
    /// Those that a request has to pass now. Costs a look at two revisions unless something has changed.
    pub(super) fn hooks(&self, core: &Core) -> Arc<Hooks<E>> {
        let state = self.state.load();
        if state.revisions == revisions::<E>(core) {
            return Arc::clone(&state.hooks);
        }
        let _alone = self.compiling.lock().expect("no compiler of policies panics");
        let (before, now) = (self.state.load_full(), revisions::<E>(core));
        if before.revisions == now {
            return Arc::clone(&before.hooks);
        }
        // What is read may be newer than these revisions: then the next request reads again.
        let fresh = Arc::new(State::new(core, now, &before));
        self.state.store(Arc::clone(&fresh));
        Arc::clone(&fresh.hooks)
    }
}

fn revisions<E: Evaluator>(core: &Core) -> (u64, u64) {
    let of = |prefix: &str| core.cache.kind(prefix).map_or(0, |kind| kind.read().revision());
    (of(E::POLICIES), of(E::BINDINGS))
}

impl<E: Evaluator> State<E> {
    fn new(core: &Core, revisions: (u64, u64), before: &Self) -> Self {
        let policy = |object: &Arc<Object>| {
            let held = before.policies.get(&object.meta.name).filter(|held| held.version == object.meta.resource_version);
            held.map_or_else(|| Arc::new(Policy::new(&object.value())), Arc::clone)
        };
        let binding = |object: &Arc<Object>| {
            let held = before.bindings.get(&object.meta.name).filter(|held| held.version == object.meta.resource_version);
            held.map_or_else(|| Arc::new(Binding::new(&object.value())), Arc::clone)
        };
        let bindings: Vec<Arc<Binding>> = objects(core, E::BINDINGS).iter().map(binding).collect();
        let mut by_policy: BTreeMap<&str, Vec<Arc<Binding>>> = BTreeMap::new();
        for one in &bindings {
            by_policy.entry(&one.policy).or_default().push(Arc::clone(one));
        }
        let bound = |object: &&Arc<Object>| by_policy.contains_key(object.meta.name.as_str());
        let policies: Vec<Arc<Policy<E>>> = objects(core, E::POLICIES).iter().filter(bound).map(policy).collect();
        let hook = |policy: &Arc<Policy<E>>| Hook { policy: Arc::clone(policy), bindings: by_policy[policy.name.as_str()].clone() };
        let hooks = Arc::new(Hooks::new(policies.iter().map(hook).collect(), &core.registry().table()));
        Self {
            revisions,
            policies: policies.into_iter().map(|policy| (policy.name.clone(), policy)).collect(),
            bindings: bindings.into_iter().map(|binding| (binding.name.clone(), binding)).collect(),
            hooks,
        }
    }
}

/// In the order of their names.
fn objects(core: &Core, prefix: &str) -> Vec<Arc<Object>> {
    let Some(kind) = core.cache.kind(prefix) else { return Vec::new() };
    let (start, end) = crate::list::bounds(prefix, "");
    let ring = kind.read();
    ring.range(&start, &end).map(|(_, item)| Arc::clone(&item.object)).collect()
}

impl<E> Hooks<E> {
    fn new(all: Vec<Hook<E>>, table: &Table) -> Self {
        let mut anywhere = Vec::new();
        let mut named: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for (at, hook) in all.iter().enumerate() {
            match hook.policy.matching.resources(table) {
                None => anywhere.push(at),
                Some(resources) => resources.into_iter().for_each(|resource| named.entry(resource).or_default().push(at)),
            }
        }
        let mut by_resource: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
        for ((group, resource), mut places) in named {
            places.extend(&anywhere);
            places.sort_unstable();
            by_resource.entry(group).or_default().insert(resource, places);
        }
        Self { all, by_resource, anywhere }
    }
}
