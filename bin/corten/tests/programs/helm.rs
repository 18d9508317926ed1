//! Helm's commands in the order of a release's life.

use crate::machine::Machine;
use crate::session::{Row, Session};
use crate::toolchains::Program;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/helm/chart");
const INSTALL: &[&str] = &["install", "web", CHART, "-n", "shop", "--create-namespace", "--wait", "--timeout", "60s"];

const LIFE: &[Row] = &[
    (&["lint", CHART], &["1 chart(s) linted, 0 chart(s) failed"]),
    (INSTALL, &["STATUS: deployed", "web says Hello from Helm (1)."]),
    (&["test", "web", "-n", "shop", "--logs"], &["TEST SUITE:     web-test", "Phase:          Succeeded", "corten 0."]),
    // After the first: a dry run installs no definitions, and its manifest needs the custom kind.
    (&["install", "dry", CHART, "--dry-run=server"], &["kind: Deployment", "minor: \"37\"", "STATUS: pending-install"]),
    (&["list", "-A"], &["web", "shop", "deployed", "pages-1.2.3"]),
    (
        &["upgrade", "web", CHART, "-n", "shop", "--set", "replicas=3,greeting=Second,badge=silver", "--wait", "--timeout", "60s"],
        &["has been upgraded", "web says Second (2)."],
    ),
    (&["get", "manifest", "web", "-n", "shop"], &["metal: silver", "kept: \"before all else\"", "apps: \"true\""]),
    (&["get", "hooks", "web", "-n", "shop"], &["web-pre-upgrade", "web-test"]),
    (&["rollback", "web", "1", "-n", "shop", "--wait", "--timeout", "60s"], &["Rollback was a success!"]),
    (&["history", "web", "-n", "shop"], &["superseded", "Upgrade complete", "Rollback to 1"]),
    (&["status", "web", "-n", "shop"], &["REVISION: 3", "STATUS: deployed"]),
];

/// Pods that never become ready, and what the custom kind's schema refuses.
const NEVER_READY: &[&str] =
    &["upgrade", "web", CHART, "-n", "shop", "--set", "image=registry.invalid/none:1", "--atomic", "--timeout", "5s"];
const REFUSED: &[&str] = &["upgrade", "web", CHART, "-n", "shop", "--set", "badge=iron", "--atomic", "--timeout", "60s"];

const END: &[Row] = &[
    (&["upgrade", "--install", "web", CHART, "-n", "shop", "--set", "replicas=1", "--wait", "--timeout", "60s"], &["has been upgraded"]),
    (&["uninstall", "web", "-n", "shop", "--wait", "--timeout", "60s"], &["release \"web\" uninstalled"]),
    (&["list", "-n", "shop", "--all", "--short"], &[]),
];

pub(crate) fn run(machine: &Machine, program: &Program) {
    let mut helm = Session::new(machine, program.path());
    helm.rows(LIFE);
    helm.ends_with(1, NEVER_READY, &["release web failed, and has been rolled back due to atomic being set"]);
    helm.ends_with(1, REFUSED, &["spec.metal: Unsupported value: \"iron\": supported values: \"gold\", \"silver\"", "rolled back"]);
    helm.ends_with(1, &["install", "other", CHART, "-n", "shop", "--set", "replicas=-1"], &["at '/replicas': minimum: got -1, want 0"]);
    is_as_first(machine);
    helm.rows(END);
    helm.finish();
    is_gone(machine);
}

/// After everything that was rolled back.
fn is_as_first(machine: &Machine) {
    let mut kubectl = Session::new(machine, "kubectl");
    kubectl.shows(&["get", "deployment", "web", "-n", "shop", "-o", "jsonpath={.spec.replicas} {.status.readyReplicas}"], &["2 2"]);
    kubectl.shows(&["get", "configmap", "web", "-n", "shop", "-o", "jsonpath={.data.greeting}"], &["Hello from Helm"]);
    kubectl.shows(&["get", "badge", "web", "-n", "shop", "-o", "jsonpath={.spec}"], &["{\"metal\":\"gold\",\"size\":3}"]);
    kubectl.shows(&["get", "secrets", "-n", "shop", "-l", "owner=helm"], &["helm.sh/release.v1", "web.v1"]);
    kubectl.finish();
}

/// What hooks made stays, and so does the custom kind; the rest is gone.
fn is_gone(machine: &Machine) {
    let mut kubectl = Session::new(machine, "kubectl");
    kubectl.shows(&["wait", "--for=delete", "pod", "-l", "app.kubernetes.io/instance=web", "-n", "shop", "--timeout=60s"], &[]);
    kubectl.shows(&["get", "configmaps", "-n", "shop"], &["web-first", "web-last"]);
    kubectl.shows(&["get", "deployments,services,badges,secrets", "-n", "shop"], &["No resources found"]);
    kubectl.shows(&["get", "crd", "badges.helm.example.com"], &["badges.helm.example.com"]);
    kubectl.finish();
}
