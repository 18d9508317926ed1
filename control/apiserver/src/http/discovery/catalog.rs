//! Every group and version that clients may ask for, whoever answers, in the order in which they are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kinds::KindRef;

use crate::aggregation::priority::{self, Priority};
use crate::aggregation::{Documents, Routes, Told};
use crate::http::Face;
use crate::registry::Table;

/// One moment of the registry, of the APIServices, and of what other servers said.
pub(super) struct Catalog {
    pub table: Arc<Table>,
    routes: Arc<Routes>,
    /// Of what other servers said.
    generation: u64,
    /// The first has the highest priority. Without the core group.
    pub groups: Vec<Group>,
    /// Rows by group and version, each list by the name of the resource.
    rows: HashMap<(String, String), Vec<KindRef>>,
    told: HashMap<(String, String), Arc<Told>>,
}

pub(super) struct Group {
    pub name: String,
    /// The preferred one first.
    pub versions: Vec<String>,
}

/// Who answers for a group and version.
pub(super) enum Source<'a> {
    /// This server.
    Own(&'a [KindRef]),
    /// Another one; None: it has said nothing yet.
    Other(Option<&'a Told>),
}

impl Catalog {
    pub(super) fn of(face: &Face) -> Self {
        let (table, routes) = (face.core.registry().table(), face.aggregation.routes(&face.core));
        let documents = face.aggregation.documents();
        let generation = documents.generation();
        let mut rows: HashMap<(String, String), Vec<KindRef>> = HashMap::new();
        for row in table.rows() {
            rows.entry((row.group.to_string(), row.version.to_string())).or_default().push(Arc::clone(row));
        }
        rows.values_mut().for_each(|rows| rows.sort_by(|a, b| a.resource.cmp(&b.resource)));
        let groups = groups(&table, &routes, &rows);
        let told = told(&routes, documents);
        Self { table, routes, generation, groups, rows, told }
    }

    /// Whether it is of this moment still.
    pub(super) fn is_current(&self, face: &Face) -> bool {
        Arc::ptr_eq(&self.table, &face.core.registry().table())
            && Arc::ptr_eq(&self.routes, &face.aggregation.routes(&face.core))
            && self.generation == face.aggregation.documents().generation()
    }

    pub(super) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    pub(super) fn source(&self, group: &str, version: &str) -> Option<Source<'_>> {
        let key = (group.to_owned(), version.to_owned());
        if self.routes.remotes.contains_key(&key) {
            return Some(Source::Other(self.told.get(&key).map(Arc::as_ref)));
        }
        self.rows.get(&key).map(|rows| Source::Own(rows))
    }
}

fn told(routes: &Routes, documents: &Documents) -> HashMap<(String, String), Arc<Told>> {
    routes.remotes.keys().filter_map(|key| Some((key.clone(), documents.of(&key.0, &key.1)?))).collect()
}

fn groups(table: &Table, routes: &Routes, rows: &HashMap<(String, String), Vec<KindRef>>) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Vec<(String, Priority)>> = BTreeMap::new();
    let all = rows.keys().chain(routes.remotes.keys().filter(|key| !rows.contains_key(*key)));
    for (group, version) in all.filter(|(group, _)| !group.is_empty()) {
        groups.entry(group).or_default().push((version.clone(), of(table, routes, group, version)));
    }
    let mut ordered: Vec<(i64, Group)> = groups
        .into_iter()
        .map(|(name, mut versions)| {
            priority::sort_versions(&mut versions);
            let highest = versions.iter().map(|(_, priority)| priority.group).max().unwrap_or_default();
            (highest, Group { name: name.to_owned(), versions: versions.into_iter().map(|(version, _)| version).collect() })
        })
        .collect();
    ordered.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name.cmp(&other.name)));
    ordered.into_iter().map(|(_, group)| group).collect()
}

/// What its APIService says, or what it will say.
fn of(table: &Table, routes: &Routes, group: &str, version: &str) -> Priority {
    let usual = || match table.is_built_in(group, version) {
        true => priority::built_in(group, version).unwrap_or(priority::REGISTRATION),
        false => priority::CUSTOM,
    };
    routes.priority(group, version).unwrap_or_else(usual)
}
