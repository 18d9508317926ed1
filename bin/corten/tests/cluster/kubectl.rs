//! An unmodified kubectl, several minors, against a running cluster: each command and what its output must show.

use crate::HELLO;
use crate::machine::Machine;

/// (arguments, what the output must contain)
type Row = (&'static [&'static str], &'static [&'static str]);

/// In order: later rows build on earlier ones.
const ROWS: &[Row] = &[
    (&["version"], &["Server Version: v1.37"]),
    (&["cluster-info"], &["Kubernetes control plane", "is running at https://"]),
    (&["api-versions"], &["apps/v1", "discovery.k8s.io/v1", "v1"]),
    (&["api-resources"], &["deployments", "deploy", "apps/v1", "true"]),
    (&["get", "nodes"], &["Ready"]),
    (&["get", "pods", "-o", "wide"], &["hello-", "1/1", "Running", "IP", "NODE"]),
    (&["get", "pods", "-A"], &["NAMESPACE", "default"]),
    (&["get", "deploy", "hello", "-o", "json"], &["\"kind\": \"Deployment\""]),
    (&["get", "deploy", "hello", "-o", "yaml"], &["kind: Deployment"]),
    (&["get", "deploy", "-o", "name"], &["deployment.apps/hello"]),
    (&["get", "deploy", "hello", "-o", "jsonpath={.spec.replicas}"], &["3"]),
    (&["get", "deploy", "hello", "-o", "go-template={{.metadata.name}}"], &["hello"]),
    (&["get", "pods", "-o", "custom-columns=N:.metadata.name,P:.status.phase"], &["Running"]),
    (&["get", "pods", "--sort-by=.metadata.name"], &["hello-"]),
    (&["get", "pods", "-l", "app=hello", "--no-headers"], &["hello-"]),
    (&["describe", "deploy", "hello"], &["StrategyType:", "RollingUpdate", "3 available"]),
    (&["describe", "pod", "-l", "app=hello"], &["Status:", "Running", "Started container"]),
    (&["describe", "node"], &["Capacity:", "cpu:", "Non-terminated Pods:"]),
    (&["describe", "svc", "hello"], &["NodePort", "Endpoints:"]),
    (&["create", "configmap", "settings", "--from-literal=colour=red"], &["configmap/settings created"]),
    (&["create", "secret", "generic", "keys", "--from-literal=k=v"], &["secret/keys created"]),
    (&["create", "namespace", "team"], &["namespace/team created"]),
    (&["create", "deployment", "web", "--image=corten.local/hello", "--replicas=2"], &["deployment.apps/web created"]),
    (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]),
    (&["scale", "deploy", "web", "--replicas=3"], &["scaled"]),
    (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]),
    (&["set", "env", "deploy/web", "GREETING=second"], &["env updated"]),
    (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]),
    (&["rollout", "history", "deploy/web"], &["REVISION", "1", "2"]),
    (&["rollout", "undo", "deploy/web", "--to-revision=1"], &["rolled back"]),
    (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]),
    (&["rollout", "pause", "deploy/web"], &["paused"]),
    (&["rollout", "resume", "deploy/web"], &["resumed"]),
    (&["rollout", "restart", "deploy/web"], &["restarted"]),
    (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]),
    (&["set", "image", "deploy/web", "hello=corten.local/hello:latest"], &["image updated"]),
    (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]),
    (&["expose", "deploy", "web", "--port=80", "--target-port=8080", "--name=web"], &["service/web exposed"]),
    (&["run", "one", "--image=corten.local/hello", "--restart=Never"], &["pod/one created"]),
    (&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"], &["condition met"]),
    (&["logs", "one"], &["hello from one"]),
    (&["logs", "one", "--tail=1", "--timestamps"], &["Z hello from one"]),
    (&["exec", "one", "--", "/corten", "version"], &["corten 0."]),
    (&["label", "pod", "one", "tier=front"], &["labeled"]),
    (&["annotate", "pod", "one", "note=x"], &["annotated"]),
    (&["patch", "configmap", "settings", "-p", "{\"data\":{\"colour\":\"blue\"}}"], &["patched"]),
    (&["get", "configmap", "settings", "-o", "jsonpath={.data.colour}"], &["blue"]),
    (&["auth", "can-i", "create", "pods"], &["yes"]),
    (&["explain", "deployment.spec.strategy"], &["FIELDS:", "rollingUpdate"]),
    (&["get", "events"], &["LAST SEEN", "Started"]),
    (&["delete", "pod", "one", "--grace-period=1"], &["deleted"]),
    (&["delete", "deploy,svc", "web"], &["deleted"]),
    (&["delete", "namespace", "team"], &["deleted"]),
    (&["delete", "configmap", "settings"], &["deleted"]),
    (&["delete", "secret", "keys"], &["deleted"]),
];

#[test]
fn kubectl_1_31_works_unchanged() {
    run("kubectl.1.31", "k31");
}

#[test]
fn kubectl_1_33_works_unchanged() {
    run("kubectl.1.33", "k33");
}

fn run(program: &str, name: &str) {
    let Some(path) = find(program) else {
        eprintln!("skipped: no {program} on this machine");
        return;
    };
    let Some(machine) = Machine::new(name, &[]) else { return };
    machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up");
    let mut wrong = Vec::new();
    for (args, wanted) in ROWS {
        let outcome = machine.kubectl_of(&path, args);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        let missing: Vec<_> = wanted.iter().filter(|part| !text.contains(**part)).collect();
        if !outcome.success || !missing.is_empty() {
            wrong.push(format!("{program} {}\n  lacks {missing:?} in: {text}", args.join(" ")));
        }
    }
    manifests(&machine, &path, &mut wrong);
    node_commands(&machine, &path, &mut wrong);
    assert!(wrong.is_empty(), "{} of {} commands:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
    machine.reset_leaves_nothing();
}

/// apply, replace and delete of files.
fn manifests(machine: &Machine, kubectl: &str, wrong: &mut Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("map.yaml");
    let path = file.to_str().unwrap();
    let mut step = |text: &str, args: &[&str], wanted: &str| {
        std::fs::write(&file, text).unwrap();
        let outcome = machine.kubectl_of(kubectl, args);
        if !outcome.stdout.contains(wanted) {
            wrong.push(format!("{}\n  lacks {wanted:?} in: {}{}", args.join(" "), outcome.stdout, outcome.stderr));
        }
    };
    let map = |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: applied}}\ndata: {{a: {value:?}}}\n");
    step(&map("1"), &["apply", "-f", path], "configmap/applied created");
    step(&map("1"), &["apply", "-f", path], "configmap/applied unchanged");
    step(&map("2"), &["apply", "-f", path], "configmap/applied configured");
    step(&map("3"), &["replace", "-f", path], "configmap/applied replaced");
    step(&map("3"), &["delete", "-f", path], "configmap \"applied\" deleted");
}

/// taint, cordon and uncordon of the one node.
fn node_commands(machine: &Machine, kubectl: &str, wrong: &mut Vec<String>) {
    let node = machine.kubectl_of(kubectl, &["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).expect_ok("the node");
    for (args, wanted) in [
        (vec!["cordon", node.as_str()], "cordoned"),
        (vec!["get", "nodes"], "SchedulingDisabled"),
        (vec!["uncordon", node.as_str()], "uncordoned"),
        (vec!["taint", "nodes", node.as_str(), "a=b:NoSchedule"], "tainted"),
        (vec!["taint", "nodes", node.as_str(), "a:NoSchedule-"], "untainted"),
    ] {
        let outcome = machine.kubectl_of(kubectl, &args);
        if !outcome.stdout.contains(wanted) {
            wrong.push(format!("{}\n  lacks {wanted:?} in: {}{}", args.join(" "), outcome.stdout, outcome.stderr));
        }
    }
}

/// In PATH, or beside what `kubectl` there leads to.
fn find(program: &str) -> Option<String> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let beside = folders.iter().filter_map(|folder| folder.join("kubectl").canonicalize().ok()?.parent().map(std::path::Path::to_owned));
    let all: Vec<_> = folders.iter().cloned().chain(beside).collect();
    all.into_iter().map(|folder| folder.join(program)).find(|path| path.exists()).map(|path| path.to_string_lossy().into_owned())
}
