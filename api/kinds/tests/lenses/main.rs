//! Every field that a lens names exists in the facts of its type, with a type that fits; every fixture reads into its lens.

#![expect(clippy::print_stdout, reason = "a test says what it skips and counts")]

mod probe;

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use kinds::apps::{Deployment, ReplicaSet};
use kinds::coordination::Lease;
use kinds::core::{ConfigMap, Container, Endpoints, Event, Namespace, Node, ObjectReference, Pod, Secret, Service, ServiceAccount};
use kinds::discovery::EndpointSlice;
use kinds::rbac::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use schema::{Facts, Value};
use serde::de::DeserializeOwned;

/// One line a lens: what reads it and the definition that it looks at.
const LENSES: &[(&str, &str, fn(&str, &str))] = &[
    ("v1", "Pod", check::<Pod>),
    ("v1", "Node", check::<Node>),
    ("v1", "Service", check::<Service>),
    ("v1", "Endpoints", check::<Endpoints>),
    ("v1", "ConfigMap", check::<ConfigMap>),
    ("v1", "Secret", check::<Secret>),
    ("v1", "ServiceAccount", check::<ServiceAccount>),
    ("v1", "Namespace", check::<Namespace>),
    ("v1", "Event", check::<Event>),
    ("discovery.k8s.io/v1", "EndpointSlice", check::<EndpointSlice>),
    ("apps/v1", "Deployment", check::<Deployment>),
    ("apps/v1", "ReplicaSet", check::<ReplicaSet>),
    ("coordination.k8s.io/v1", "Lease", check::<Lease>),
    ("rbac.authorization.k8s.io/v1", "Role", check::<Role>),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", check::<ClusterRole>),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", check::<RoleBinding>),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", check::<ClusterRoleBinding>),
];

#[test]
fn lenses_name_fields_that_exist() {
    for (api_version, kind, check) in LENSES {
        check(api_version, kind);
    }
}

/// Parts that stand behind `flatten` or in several kinds.
#[test]
fn shared_parts_name_fields_that_exist() {
    for (definition, wrong) in [
        ("io.k8s.api.core.v1.Container", probe::run::<Container> as fn(schema::TypeId) -> Vec<String>),
        ("io.k8s.api.core.v1.EphemeralContainer", probe::run::<kinds::core::EphemeralContainer>),
        ("io.k8s.api.core.v1.ObjectReference", probe::run::<ObjectReference>),
    ] {
        let ty = Facts::builtin().definition(definition).expect("a definition of the release");
        assert_eq!(wrong(ty), [""; 0], "{definition}");
    }
}

fn check<T: DeserializeOwned + Debug>(api_version: &str, kind: &str) {
    let row = kinds::by_kind(api_version, kind).expect("a row");
    assert_eq!(probe::run::<T>(row.ty), [""; 0], "{kind}");
    if let Some(fixture) = fixture(api_version, kind) {
        serde_json::from_value::<T>(fixture).unwrap_or_else(|error| panic!("the fixture of {kind}: {error}"));
    }
}

fn fixture(api_version: &str, kind: &str) -> Option<Value> {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let file = format!("../../../shared/kubernetes-1.37/fixtures/{group}.{version}.{kind}.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    match fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("a JSON file")),
        Err(_) => {
            println!("skipped: {} is absent", path.display());
            None
        }
    }
}

#[test]
fn the_probe_finds_a_typo_and_a_wrong_type() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Wrong {
        paused: String,
        revision_histori_limit: i32,
    }
    let ty = Facts::builtin().definition("io.k8s.api.apps.v1.DeploymentSpec").expect("a definition of the release");
    let found = probe::run::<Wrong>(ty);
    assert!(found.iter().any(|text| text.contains("revisionHistoriLimit")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("invalid type: boolean")), "{found:?}");
}
