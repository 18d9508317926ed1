//! The kinds of `events.k8s.io`.

pub mod event;

pub use self::event::Event;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<Event>()]
}
