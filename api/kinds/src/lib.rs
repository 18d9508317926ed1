//! Everything that the system knows about each resource type: one file a kind, one row in [`all`].
//!
//! Routes, discovery, OpenAPI, storage prefixes, table columns, short names, the owner graph and the "for every kind"
//! tests iterate the table. A custom resource makes the same [`Descriptor`] at run time.
//!
//! | module | what |
//! |---|---|
//! | [`core`], [`apps`], [`rbac`] … | one folder a group, one file a kind: lens, facts, columns, defaults, rules |
//! | [`kind`] | how such a file is written, and what all kinds share |
//! | [`custom`] | kinds that users bring |
//! | [`descriptor`] | what the generic core sees of a kind |
//! | [`lens`] | what typed views share: null as in Go, quantities, numbers that may be names |
//! | [`disruption`] | the condition of a disruption budget, for evictions and the controller |
//! | [`quota`] | what objects use of resource quotas: for admission, which takes, and the controller, which counts again |
//! | [`expressions`] | CEL expressions of objects: what they may name, and their compiler |
//! | [`unacted`] | what is stored but not acted on yet: Warning headers and the README's table |

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
mod cells;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod descriptor;
pub mod discovery;
pub mod disruption;
pub mod events;
pub mod expressions;
pub mod flowcontrol;
pub mod kind;
pub mod lens;
pub mod networking;
pub mod node;
pub mod policy;
pub mod quota;
pub mod rbac;
pub mod resource;
mod rules;
pub mod scheduling;
pub mod storage;
pub mod storagemigration;
mod unacted;
mod workload;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

pub use descriptor::{Acts, Column, Descriptor, FieldLookup, KindRef, Scope, Strategy, Subresource, Text, Verbs, WriteContext};
pub use lens::{IntOrString, Resources};
pub use unacted::{Unacted, What, markdown as unacted_markdown, unacted};

/// One line a group, in the order of discovery.
const GROUPS: &[fn() -> Vec<Descriptor>] = &[
    core::rows,
    apiregistration::rows,
    apps::rows,
    events::rows,
    authentication::rows,
    authorization::rows,
    autoscaling::rows,
    batch::rows,
    certificates::rows,
    networking::rows,
    policy::rows,
    rbac::rows,
    storage::rows,
    admissionregistration::rows,
    apiextensions::rows,
    scheduling::rows,
    coordination::rows,
    node::rows,
    discovery::rows,
    resource::rows,
    flowcontrol::rows,
    storagemigration::rows,
];

struct Table {
    rows: Vec<KindRef>,
    by_resource: HashMap<(String, String, String), usize>,
    by_kind: HashMap<(String, String), usize>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows: Vec<KindRef> = GROUPS.iter().flat_map(|rows| rows()).map(Arc::new).collect();
        let resource = |row: &Descriptor| (row.group.to_string(), row.version.to_string(), row.resource.to_string());
        let by_resource = rows.iter().enumerate().map(|(at, row)| (resource(row), at)).collect();
        let by_kind = rows.iter().enumerate().map(|(at, row)| ((row.api_version(), row.kind.to_string()), at)).collect();
        Table { rows, by_resource, by_kind }
    })
}

/// Every built-in kind at every served version.
pub fn all() -> &'static [KindRef] {
    &table().rows
}

/// The kind behind `/apis/<group>/<version>/<resource>`; the core group is `""`.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static KindRef> {
    let key = (group.to_owned(), version.to_owned(), resource.to_owned());
    table().by_resource.get(&key).map(|&at| &table().rows[at])
}

/// The kind of a document by its `apiVersion` (`apps/v1`) and `kind`.
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static KindRef> {
    let key = (api_version.to_owned(), kind.to_owned());
    table().by_kind.get(&key).map(|&at| &table().rows[at])
}
