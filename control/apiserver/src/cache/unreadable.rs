//! Objects that are in the store and cannot be read: encrypted under a key that we lack, or damaged. They are in no list, so a list
//! that should have them fails instead of hiding them.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use store::Key;

/// Those of one kind. Almost always there are none.
#[derive(Default)]
pub struct Unreadable(RwLock<BTreeSet<Key>>);

impl Unreadable {
    pub fn has(&self, key: &str) -> bool {
        self.read().contains(key)
    }

    /// The first one within `[start, end)`.
    pub fn first_in(&self, start: &str, end: &str) -> Option<Key> {
        self.read().range::<str, _>((Bound::Included(start), Bound::Excluded(end))).next().cloned()
    }

    pub(super) fn add(&self, key: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key.into());
    }

    /// It is gone, or can be read by now.
    pub(super) fn remove(&self, key: &str) {
        if self.has(key) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        }
    }

    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeSet<Key>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
