//! `x-kubernetes-validations`: expressions that every object of a custom kind must keep.
//!
//! ```text
//! definition written ─► check: forms, types against the schema, estimated cost (per rule, per schema)
//! first object       ─► Rules: the schema's places that have rules below them, each with its programs
//! object written     ─► evaluate: one walk over those places alone; a budget per call and per object
//! ```
//! A rule that names `oldSelf` is asked only where there is an old value at the same place: lists are followed by their map keys,
//! other lists not at all. What a rule says against a part that did not change is a warning, no error.
//!
//! | file | what |
//! |---|---|
//! | `check.rs` | what is wrong with the rules of a definition |
//! | `compile.rs`, `place.rs` | the rules of one place, compiled against its part of the schema |
//! | `field_path.rs` | `fieldPath` |
//! | `cost.rs` | estimates against their limits |
//! | `evaluate.rs`, `correlate.rs` | the walk over an object; what was there before |

mod check;
mod compile;
mod correlate;
mod cost;
mod evaluate;
mod field_path;
mod place;

use std::sync::Arc;

use expressions::{Schema, limits};
use schema::{FieldErrors, Path, Value};

pub(crate) use self::check::{check, check_defaults};
use self::compile::{Compiler, Node};
use self::correlate::Correlation;
use self::evaluate::{Spot, Trail, Walk};

/// What all rules may cost for one object.
const BUDGET: i64 = limits::PER_REQUEST as i64;

/// The rules of one schema.
pub struct Rules {
    /// How documents are read.
    typed: Arc<Schema>,
    root: Node,
}

impl Rules {
    /// The rules of an `openAPIV3Schema`; None where it has none. What does not compile is told by every object that comes so
    /// far: it was refused when the definition was written.
    pub fn compile(schema: &Value) -> Option<Self> {
        Self::of(schema, true)
    }

    /// The same for a part of a schema; `is_resource`: it is a whole object.
    fn of(schema: &Value, is_resource: bool) -> Option<Self> {
        let typed = Arc::new(Schema::parse(schema, is_resource));
        let root = Compiler::new(&typed).tree(schema)?;
        Some(Self { typed, root })
    }

    /// What the rules say against a new or changed document. Returns what they would say of parts that did not change.
    pub fn evaluate(&self, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) -> Vec<String> {
        // Where no rule names the old value, it is only looked for when one fails.
        if old.is_some() && !self.root.uses_old && self.says(new, None).0.is_empty() {
            return Vec::new();
        }
        let (said, warnings) = self.says(new, old);
        errors.0.extend(said.0);
        warnings
    }

    fn says(&self, new: &Value, old: Option<&Value>) -> (FieldErrors, Vec<String>) {
        let mut errors = FieldErrors::default();
        let correlation = old.map_or_else(Correlation::none, |old| Correlation::root(new, old));
        let mut walk = Walk { errors: &mut errors, warnings: Vec::new(), budget: BUDGET };
        self.walk(&mut walk, &Spot { new, old, correlation, trail: &Trail::Base(&Path::root()) });
        let warnings = walk.warnings;
        (errors, warnings)
    }

    fn walk(&self, walk: &mut Walk<'_>, spot: &Spot<'_>) {
        expressions::together(|| walk.node(&self.root, &self.typed, spot));
    }
}

#[cfg(test)]
mod tests;
