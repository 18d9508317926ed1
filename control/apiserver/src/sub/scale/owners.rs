//! Who owns the replicas of an object, told through its scale: see [`schema::apply::scale`].

use std::collections::BTreeMap;

use kinds::KindRef;
use schema::apply::path::{self, Step};
use schema::apply::scale::Replicas;
use schema::apply::{ApplyError, FieldSet, Kind, Place, Write};
use schema::{DocExt, Facts, Status, Value, json, time};

use super::API_VERSION;
use crate::core::Call;
use crate::{failure, write};

pub(super) struct Owners {
    /// Where each served version has its replicas.
    paths: BTreeMap<String, path::Path>,
    /// The parent's version.
    api_version: String,
    manager: String,
    force: bool,
    now: String,
}

struct Scale;

impl Kind for Scale {
    fn shape(&self, api_version: &str) -> Option<Place<'_>> {
        Facts::builtin().kind(api_version, "Scale").map(Place::Object)
    }

    fn convert(&self, doc: &Value, api_version: &str) -> Option<Value> {
        (api_version == API_VERSION).then(|| doc.clone())
    }

    fn empty(&self, api_version: &str) -> Value {
        json!({"apiVersion": api_version, "kind": "Scale"})
    }

    fn prints_structs(&self) -> bool {
        true
    }
}

impl Owners {
    pub(super) fn of(call: &Call<'_>) -> Self {
        let table = call.core.registry().table();
        let versions = table.rows().iter().filter(|row| row.storage_prefix == call.kind.storage_prefix);
        let replicas = |row: &KindRef| super::replicas_path(row).split('.').map(Step::field).collect();
        Self {
            paths: versions.map(|row| (row.api_version(), replicas(row))).collect(),
            api_version: call.kind.api_version(),
            manager: call.options.field_manager.clone(),
            force: call.options.force,
            now: time::format(call.core.env().now()),
        }
    }

    /// Shows in a scale who owns the replicas of its parent.
    pub(super) fn lend(&self, parent: &Value, scale: &mut Value) {
        let entries = self.replicas().of_scale(parent);
        if !entries.is_null() {
            scale.set_at("metadata.managedFields", entries);
        }
    }

    /// The scale that replaces `live`, with who owns it then.
    pub(super) fn tell(&self, live: &Value, scale: Value) -> Result<Value, Status> {
        self.write(|write| write.update(live, scale))
    }

    pub(super) fn apply(&self, live: &Value, config: &Value) -> Result<Value, Status> {
        self.write(|write| write.apply(live, config, self.force))
    }

    /// Writes into the parent what has become of the scale's entries.
    pub(super) fn give_back(&self, parent: &mut Value, scale: &Value) -> Result<(), Status> {
        self.replicas().to_parent(parent, scale).map_err(failure::plain)
    }

    fn replicas(&self) -> Replicas<'_> {
        Replicas { paths: &self.paths, api_version: &self.api_version }
    }

    fn write<T>(&self, run: impl FnOnce(&Write<'_>) -> Result<T, ApplyError>) -> Result<T, Status> {
        let none = FieldSet::default();
        let scale = Write {
            kind: &Scale,
            api_version: API_VERSION,
            name: "Scale",
            manager: &self.manager,
            subresource: "scale",
            ignored: &none,
            now: &self.now,
        };
        run(&scale).map_err(|error| write::refused(&error))
    }
}
