//! What was at a place before a change.

use std::cell::OnceCell;

use schema::Value;

/// The old value of a place, and whether it is the same as the new one: what a rule says against something that did not
/// change does not refuse the change.
#[derive(Clone, Debug)]
pub(super) struct Correlation<'a> {
    here: Option<Pair<'a>>,
    /// The nearest place above that has an old value.
    above: Option<Pair<'a>>,
    is_root: bool,
    /// Asked by each rule that fails here.
    unchanged: OnceCell<bool>,
}

type Pair<'a> = (&'a Value, &'a Value);

impl<'a> Correlation<'a> {
    /// Nothing was there: a create.
    pub(super) fn none() -> Self {
        Self::of(None, None)
    }

    fn of(here: Option<Pair<'a>>, above: Option<Pair<'a>>) -> Self {
        Self { here, above, is_root: false, unchanged: OnceCell::new() }
    }

    pub(super) fn root(new: &'a Value, old: &'a Value) -> Self {
        Self { is_root: true, ..Self::of(Some((new, old)), None) }
    }

    /// Of a member. `apiVersion` and `kind` differ unseen: both objects were converted to one version.
    pub(super) fn member(&self, name: &str) -> Self {
        match self.here {
            Some(_) if self.is_root && matches!(name, "apiVersion" | "kind") => Self::none(),
            Some((new, old)) => Self::of(new.get(name).zip(old.get(name)), self.here),
            None => Self::of(None, self.above),
        }
    }

    /// Of an item that was `old`.
    pub(super) fn item(&self, new: &'a Value, old: Option<&'a Value>) -> Self {
        match self.here {
            Some(_) => Self::of(old.map(|old| (new, old)), self.here),
            None => Self::of(None, self.above),
        }
    }

    pub(super) fn is_unchanged(&self) -> bool {
        *self.unchanged.get_or_init(|| self.here.or(self.above).is_some_and(|(new, old)| new == old))
    }
}
