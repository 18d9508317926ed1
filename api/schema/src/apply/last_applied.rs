//! Between client-side and server-side apply: `kubectl` alone takes over what its own annotation says that it applied, and
//! keeps that annotation up to date.

use super::conflict::Conflicts;
use super::managed::Managed;
use super::set::FieldSet;
use super::{ApplyError, Write, compare, typed};
use crate::{DocExt, Value, go};

const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Write<'_> {
    pub(super) fn applied_or_taken_over(
        &self,
        live: &Value,
        config: &Value,
        managed: Managed,
        force: bool,
    ) -> Result<(Value, Managed), ApplyError> {
        if self.manager != KUBECTL {
            return self.applied(live, config, managed, force);
        }
        let conflicts = match self.applied(live, config, managed.clone(), force) {
            Err(ApplyError::Conflict(conflicts)) => conflicts,
            outcome => return outcome,
        };
        let Some(allowed) = self.its_own(live) else { return Err(ApplyError::Conflict(conflicts)) };
        let left: Conflicts = conflicts.clone().without(&allowed);
        if conflicts.fields().difference(&allowed).is_empty() {
            return self.applied(live, config, managed, true);
        }
        Err(ApplyError::Conflict(left))
    }

    /// The fields of the annotation that are still as it says.
    fn its_own(&self, live: &Value) -> Option<FieldSet> {
        let text = annotation(live)?;
        let last: Value = serde_json::from_str(text).ok()?;
        let last = self.kind.convert(&last, self.api_version)?;
        let place = self.place().ok()?;
        typed::check(place, &last, true).ok()?;
        let changes = compare::changes(place, &last, live);
        let set = typed::fields(place, &last);
        Some(set.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
    }
}

/// Writes what was applied into an annotation that is there already.
pub(super) fn keep_up(manager: &str, object: &mut Value, config: &Value) -> Result<(), ApplyError> {
    if manager != KUBECTL || annotation(object).is_none_or(str::is_empty) {
        return Ok(());
    }
    let mut config = config.clone();
    config.remove_at("metadata.managedFields");
    if let Some(annotations) = config.at_mut("metadata.annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = String::from_utf8(go::json_bytes(&config)).expect("JSON is UTF-8");
    object["metadata"]["annotations"][ANNOTATION] = Value::String(text + "\n");
    Ok(())
}

fn annotation(doc: &Value) -> Option<&str> {
    doc.map_at("metadata.annotations")?.get(ANNOTATION)?.as_str()
}
