//! Gates: writers that would take from the same thing go one after the other. A gate decides nothing, guards of the transactions
//! do; it spares writers of one process the races that all but one of them would lose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::OwnedMutexGuard;

/// One gate for each thing that somebody takes from now.
#[derive(Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<Box<str>, Weak<tokio::sync::Mutex<()>>>>,
}

impl Gates {
    /// First come, first served; the way is free again when the guard is dropped.
    pub(crate) async fn enter(&self, thing: &str) -> OwnedMutexGuard<()> {
        self.gate(thing).lock_owned().await
    }

    fn gate(&self, thing: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.gates.lock().expect("nobody panics while holding the gates");
        if let Some(gate) = gates.get(thing).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        gates.insert(thing.into(), Arc::downgrade(&gate));
        gate
    }
}
