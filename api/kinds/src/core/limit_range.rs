//! LimitRange: bounds and defaults for what one pod or claim of a namespace may ask.

use schema::{DocExt, Value};

use crate::cells::NAME_AND_CREATED_AT;
use crate::kind::{Col, Kind, Meta};

/// Bounds and defaults for what one pod or claim of a namespace may ask.
pub struct LimitRange;

impl Kind for LimitRange {
    const META: Meta = Meta { short: &["limits"], ..Meta::namespaced("", "LimitRange", "limitranges") };
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;

    /// For containers: the default limit is the maximum, the default request the default limit, or the minimum.
    fn fill_defaults(doc: &mut Value) {
        for item in doc.items_at_mut("spec.limits").iter_mut().filter(|item| item.str_at("type") == "Container") {
            for (member, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                let mut amounts = item.map_at(member).cloned().unwrap_or_default();
                for (resource, amount) in item.map_at(from).cloned().unwrap_or_default() {
                    amounts.entry(resource).or_insert(amount);
                }
                if !amounts.is_empty() {
                    item.set_at(member, amounts);
                }
            }
        }
    }
}
