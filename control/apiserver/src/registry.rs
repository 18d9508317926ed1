//! Which resources are served, by group, version and plural. Built-in kinds stand in it from the start; custom kinds come and go.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use kinds::{Descriptor, KindRef};

/// Readers see one consistent table and never wait.
pub struct Registry {
    table: ArcSwap<Table>,
}

/// The rows and their indexes.
#[derive(Default)]
pub struct Table {
    rows: Vec<KindRef>,
    by_resource: HashMap<(String, String, String), KindRef>,
    by_kind: HashMap<(String, String), KindRef>,
    /// The descriptor of the stored version, by storage prefix.
    stored: HashMap<String, KindRef>,
}

impl Registry {
    pub fn new(kinds: Vec<KindRef>) -> Self {
        Self { table: ArcSwap::from_pointee(Table::of(kinds)) }
    }

    /// The table as it is now.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// By path: `("apps", "v1", "deployments")`.
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<KindRef> {
        let key = (group.to_owned(), version.to_owned(), resource.to_owned());
        self.table.load().by_resource.get(&key).cloned()
    }

    /// By document: `("apps/v1", "Deployment")`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<KindRef> {
        self.table.load().by_kind.get(&(api_version.to_owned(), kind.to_owned())).cloned()
    }

    /// Replaces all rows: custom kinds come and go this way.
    pub fn replace(&self, kinds: Vec<KindRef>) {
        self.table.store(Arc::new(Table::of(kinds)));
    }
}

impl Table {
    fn of(rows: Vec<KindRef>) -> Self {
        let mut table = Self::default();
        for row in &rows {
            let resource = (row.group.to_string(), row.version.to_string(), row.resource.to_string());
            table.by_resource.insert(resource, Arc::clone(row));
            table.by_kind.insert((row.api_version(), row.kind.to_string()), Arc::clone(row));
            if is_stored(row) {
                table.stored.entry(row.storage_prefix.to_string()).or_insert_with(|| Arc::clone(row));
            }
        }
        table.rows = rows;
        table
    }

    /// All rows, in the order of the kinds table.
    pub fn rows(&self) -> &[KindRef] {
        &self.rows
    }

    /// One descriptor per storage prefix, at the stored version.
    pub fn stored(&self) -> impl Iterator<Item = &KindRef> {
        self.stored.values()
    }

    /// The stored form of `kind`: itself, unless it is another version of it.
    pub fn stored_as(&self, kind: &KindRef) -> KindRef {
        self.stored.get(kind.storage_prefix.as_ref()).unwrap_or(kind).clone()
    }
}

/// A row that keeps objects in the store, at the version that is stored. Reviews and bindings have no prefix.
fn is_stored(row: &Descriptor) -> bool {
    !row.storage_prefix.is_empty() && row.version == row.stored_version
}
