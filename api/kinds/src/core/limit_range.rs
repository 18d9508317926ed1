//! LimitRange: bounds and defaults for what one pod or claim of a namespace may ask.

use crate::cells::NAME_AND_CREATED_AT;
use crate::kind::{Col, Kind, Meta};

/// Bounds and defaults for what one pod or claim of a namespace may ask.
pub struct LimitRange;

impl Kind for LimitRange {
    const META: Meta = Meta { short: &["limits"], ..Meta::namespaced("", "LimitRange", "limitranges") };
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;
}
