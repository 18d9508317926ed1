//! The hooks that are in force: compiled once for each state of the configurations, ordered by their names.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Webhooks;
use super::hook::{Hook, Type, compile};
use crate::Core;

/// One sort of configurations.
pub(super) struct Source {
    ty: Type,
    state: ArcSwap<State>,
}

#[derive(Default)]
struct State {
    /// Of the newest change among the configurations.
    revision: u64,
    hooks: Arc<Vec<Hook>>,
}

impl Source {
    pub(super) fn new(ty: Type) -> Self {
        Self { ty, state: ArcSwap::default() }
    }

    /// Those that a request has to pass now. Costs a look at a revision unless a configuration has changed.
    pub(super) fn hooks(&self, core: &Core, shared: &Webhooks) -> Arc<Vec<Hook>> {
        let Some(configurations) = core.cache.kind(self.ty.prefix()) else { return Arc::default() };
        let ring = configurations.read();
        let (revision, known) = (ring.revision(), self.state.load());
        if known.revision == revision {
            return Arc::clone(&known.hooks);
        }
        let (start, end) = crate::list::bounds(self.ty.prefix(), "");
        let objects: Vec<_> = ring.range(&start, &end).map(|(_, item)| Arc::clone(&item.object)).collect();
        drop(ring);
        let hooks = Arc::new(objects.iter().flat_map(|object| compile(self.ty, &object.value(), shared)).collect());
        let fresh = Arc::new(State { revision, hooks });
        self.state.rcu(|held| if held.revision > revision { Arc::clone(held) } else { Arc::clone(&fresh) });
        Arc::clone(&fresh.hooks)
    }
}
