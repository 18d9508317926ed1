//! `drain` against a disruption budget: it waits where the budget says so, and goes on when it is let. The last theme: it empties
//! the one node.

use super::session::Session;

pub(crate) fn run(session: &mut Session<'_>) {
    let node = session.value(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    session.shows(&["create", "deployment", "guarded", "--image=corten.local/hello", "--replicas=2"], &["created"]);
    session.shows(&["create", "pdb", "guarded", "--selector=app=guarded", "--min-available=2"], &["guarded created"]);
    session.shows(&["rollout", "status", "deploy/guarded", "--timeout=60s"], &["successfully rolled out"]);
    let counted = "--for=jsonpath={.status.currentHealthy}=2";
    session.shows(&["wait", counted, "pdb/guarded", "--timeout=30s"], &["condition met"]);
    session.ends_with(
        1,
        &["drain", &node, "--pod-selector=app=guarded", "--timeout=2s"],
        &["Cannot evict pod as it would violate the pod's disruption budget.", "global timeout reached: 2s"],
    );
    session.shows(&["get", "pdb", "guarded"], &["MIN AVAILABLE", "ALLOWED DISRUPTIONS", "2"]);
    session.shows(&["get", "pods", "-l", "app=guarded", "--field-selector=status.phase=Running", "-o", "name"], &["pod/guarded-"]);
    session.shows(&["patch", "pdb", "guarded", "-p", "{\"spec\":{\"minAvailable\":0}}"], &["patched"]);
    session.shows(&["drain", &node, "--pod-selector=app=guarded", "--timeout=60s"], &["evicted", "drained"]);
    session.shows(&["get", "pods", "-l", "app=guarded"], &["Pending"]);
    let all = ["drain", &node, "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"];
    session.shows(&all, &["evicting pod default/hello-", "drained"]);
    session.shows(&["get", "pods", "-n", "kube-system"], &["kube-apiserver-", "Running"]);
    session.shows(&["uncordon", &node], &["uncordoned"]);
    session.shows(&["rollout", "status", "deploy/hello", "--timeout=60s"], &["successfully rolled out"]);
    session.shows(&["delete", "deploy,pdb", "guarded"], &["\"guarded\" deleted"]);
}
