//! Which resources are served, by group, version and plural. Built-in kinds stand in it from the start; custom kinds come,
//! change and go with their definitions, a family of versions at a time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use kinds::custom::Family;
use kinds::{Descriptor, KindRef};

/// Readers see one consistent table and never wait.
pub struct Registry {
    table: ArcSwap<Table>,
}

/// What is served at one moment.
#[derive(Default)]
pub struct Table {
    built_in: Arc<BuiltIn>,
    /// By the definition's name: `widgets.example.com`.
    families: HashMap<Arc<str>, Arc<Family>>,
    /// The same by kind: `Widget.example.com`.
    by_kind: HashMap<Arc<str>, Arc<Family>>,
    rows: OnceLock<Vec<KindRef>>,
}

/// The rows that never change, and their indexes.
#[derive(Default)]
struct BuiltIn {
    rows: Vec<KindRef>,
    by_resource: HashMap<(String, String, String), KindRef>,
    by_kind: HashMap<(String, String), KindRef>,
    versions: HashSet<(String, String)>,
    /// The descriptor of the stored version, by storage prefix.
    stored: HashMap<String, KindRef>,
}

impl Registry {
    pub fn new(kinds: Vec<KindRef>) -> Self {
        let table = Table { built_in: Arc::new(BuiltIn::of(kinds)), ..Table::default() };
        Self { table: ArcSwap::from_pointee(table) }
    }

    /// The table as it is now.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// By path: `("apps", "v1", "deployments")`.
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<KindRef> {
        self.table.load().resource(group, version, resource)
    }

    /// By document: `("apps/v1", "Deployment")`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<KindRef> {
        self.table.load().kind(api_version, kind)
    }

    /// The family of a definition, by the definition's name.
    pub fn family(&self, name: &str) -> Option<Arc<Family>> {
        self.table.load().families.get(name).cloned()
    }

    /// Serves a family in place of the one of its name. Only the cache's feeder calls this, in the order of the store.
    pub fn serve(&self, family: Family) {
        let mut table = self.table.load().successor();
        table.put(Arc::new(family));
        self.table.store(Arc::new(table));
    }

    /// Ends to serve a definition's kinds.
    pub fn withdraw(&self, name: &str) -> Option<Arc<Family>> {
        let mut table = self.table.load().successor();
        let family = table.take(name)?;
        self.table.store(Arc::new(table));
        Some(family)
    }
}

impl Table {
    /// The same without what is derived.
    fn successor(&self) -> Self {
        Self { built_in: Arc::clone(&self.built_in), families: self.families.clone(), by_kind: self.by_kind.clone(), rows: OnceLock::new() }
    }

    fn put(&mut self, family: Arc<Family>) {
        self.take(&family.name);
        self.by_kind.insert(kind_key(&family.stored.group, &family.stored.kind).into(), Arc::clone(&family));
        self.families.insert(Arc::from(&*family.name), family);
    }

    fn take(&mut self, name: &str) -> Option<Arc<Family>> {
        let family = self.families.remove(name)?;
        self.by_kind.remove(kind_key(&family.stored.group, &family.stored.kind).as_str());
        Some(family)
    }

    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<KindRef> {
        let key = (group.to_owned(), version.to_owned(), resource.to_owned());
        let custom = || self.families.get(format!("{resource}.{group}").as_str()).and_then(|family| served(family, version));
        self.built_in.by_resource.get(&key).cloned().or_else(custom)
    }

    pub fn kind(&self, api_version: &str, kind: &str) -> Option<KindRef> {
        let custom = || {
            let (group, version) = api_version.split_once('/')?;
            self.by_kind.get(kind_key(group, kind).as_str()).and_then(|family| served(family, version))
        };
        self.built_in.by_kind.get(&(api_version.to_owned(), kind.to_owned())).cloned().or_else(custom)
    }

    /// All rows: the built-in ones in the order of the kinds table, then the custom ones by the name of their definition.
    pub fn rows(&self) -> &[KindRef] {
        self.rows.get_or_init(|| {
            let mut families: Vec<&Arc<Family>> = self.families.values().collect();
            families.sort_by(|a, b| a.name.cmp(&b.name));
            self.built_in.rows.iter().chain(families.into_iter().flat_map(|family| &family.served)).cloned().collect()
        })
    }

    /// Whether built-in kinds are served in this group and version.
    pub fn is_built_in(&self, group: &str, version: &str) -> bool {
        self.built_in.versions.contains(&(group.to_owned(), version.to_owned()))
    }

    /// One descriptor per storage prefix of the built-in kinds, at the stored version.
    pub fn stored(&self) -> impl Iterator<Item = &KindRef> {
        self.built_in.stored.values()
    }

    /// The family of a definition, by the definition's name.
    pub fn family(&self, name: &str) -> Option<&Arc<Family>> {
        self.families.get(name)
    }

    /// The families of custom kinds, in no order.
    pub fn families(&self) -> impl Iterator<Item = &Arc<Family>> {
        self.families.values()
    }

    /// The stored form of `kind`: itself, unless it is another version of it.
    pub fn stored_as(&self, kind: &KindRef) -> KindRef {
        if kind.custom.is_some() {
            return self.families.get(kind.qualified().as_str()).map_or_else(|| Arc::clone(kind), |family| Arc::clone(&family.stored));
        }
        self.built_in.stored.get(kind.storage_prefix.as_ref()).unwrap_or(kind).clone()
    }
}

fn served(family: &Family, version: &str) -> Option<KindRef> {
    family.served.iter().find(|kind| kind.version == version).cloned()
}

fn kind_key(group: &str, kind: &str) -> String {
    format!("{kind}.{group}")
}

impl BuiltIn {
    fn of(rows: Vec<KindRef>) -> Self {
        let mut table = Self::default();
        for row in &rows {
            let resource = (row.group.to_string(), row.version.to_string(), row.resource.to_string());
            table.versions.insert((row.group.to_string(), row.version.to_string()));
            table.by_resource.insert(resource, Arc::clone(row));
            table.by_kind.insert((row.api_version(), row.kind.to_string()), Arc::clone(row));
            if is_stored(row) {
                table.stored.entry(row.storage_prefix.to_string()).or_insert_with(|| Arc::clone(row));
            }
        }
        table.rows = rows;
        table
    }
}

/// A row that keeps objects in the store, at the version that is stored. Reviews and bindings have no prefix.
fn is_stored(row: &Descriptor) -> bool {
    !row.storage_prefix.is_empty() && row.version == row.stored_version
}
