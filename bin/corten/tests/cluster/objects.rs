//! Objects without pods of their own: read in every form, made, changed, watched, explained, deleted.

use super::session::{Row, Session};

const READS: &[Row] = &[
    (&["version"], &["Server Version: ", "v1.37"]),
    // Colours stand between the words, also without a terminal.
    (&["cluster-info"], &["Kubernetes control plane", " is running at ", "https://127.0.0.1:"]),
    (&["api-versions"], &["apps/v1", "discovery.k8s.io/v1", "v1"]),
    (&["api-resources"], &["deployments", "deploy", "apps/v1", "true"]),
    (&["api-resources", "--namespaced=false", "-o", "name"], &["nodes", "clusterroles.rbac.authorization.k8s.io"]),
    (&["get", "nodes"], &["Ready"]),
    (&["get", "pods", "-o", "wide"], &["hello-", "1/1", "Running", "IP", "NODE"]),
    (&["get", "pods", "-A"], &["NAMESPACE", "default"]),
    (&["get", "all"], &["pod/hello-", "service/hello", "deployment.apps/hello", "replicaset.apps/hello-"]),
    (&["get", "deploy", "hello", "-o", "json"], &["\"kind\": \"Deployment\""]),
    (&["get", "deploy", "hello", "-o", "yaml"], &["kind: Deployment"]),
    (&["get", "deploy", "-o", "name"], &["deployment.apps/hello"]),
    (&["get", "deploy", "hello", "-o", "jsonpath={.spec.replicas}"], &["3"]),
    (&["get", "deploy", "hello", "-o", "go-template={{.metadata.name}}"], &["hello"]),
    (&["get", "pods", "-o", "custom-columns=N:.metadata.name,P:.status.phase"], &["Running"]),
    (&["get", "pods", "--sort-by=.metadata.name"], &["hello-"]),
    (&["get", "pods", "-l", "app=hello", "--no-headers"], &["hello-"]),
    (&["get", "pods", "-l", "app notin (hello)", "--field-selector=status.phase=Running"], &[]),
    (&["get", "pods", "--chunk-size=1", "-l", "app=hello", "--show-labels"], &["pod-template-hash="]),
    (&["get", "--raw", "/readyz"], &["ok"]),
    (&["get", "--raw", "/api/v1/namespaces/default/pods?limit=1"], &["\"kind\":\"PodList\"", "\"continue\":"]),
    (&["describe", "deploy", "hello"], &["StrategyType:", "RollingUpdate", "3 available"]),
    (&["describe", "pod", "-l", "app=hello", "--show-events"], &["Status:", "Running", "Started container"]),
    (&["describe", "node"], &["Capacity:", "cpu:", "Non-terminated Pods:"]),
    (&["describe", "svc", "hello"], &["NodePort", "Endpoints:"]),
    (&["describe", "configmap", "hello"], &["greeting:", "Hello from Corten"]),
    (&["describe", "namespace", "default"], &["kubernetes.io/metadata.name=default", "Active"]),
    (&["describe", "rs", "-l", "app=hello"], &["Controlled By:  Deployment/hello", "SuccessfulCreate"]),
    (
        &["get", "sa,cm,secret,svc,ep,endpointslices,leases", "-A"],
        &["serviceaccount/default", "configmap/kube-root-ca.crt", "endpoints/hello"],
    ),
    (&["events", "--for=deployment/hello"], &["ScalingReplicaSet"]),
    (&["auth", "can-i", "create", "pods"], &["yes"]),
    (&["auth", "can-i", "--list"], &["Resources", "*.*"]),
    (&["explain", "deployment.spec.strategy"], &["FIELDS:", "rollingUpdate"]),
    (&["explain", "pod.spec.containers.resources", "--recursive"], &["limits", "requests", "-required-"]),
    (&["get", "events"], &["LAST SEEN", "Started"]),
];

const WRITES: &[Row] = &[
    (&["create", "configmap", "settings", "--from-literal=colour=red"], &["configmap/settings created"]),
    (&["create", "secret", "generic", "keys", "--from-literal=k=v"], &["secret/keys created"]),
    (&["create", "namespace", "team"], &["namespace/team created"]),
    (&["create", "serviceaccount", "worker", "-n", "team"], &["serviceaccount/worker created"]),
    (&["create", "token", "worker", "-n", "team"], &["ey"]),
    (&["create", "role", "reader", "-n", "team", "--verb=get", "--resource=pods"], &["created"]),
    (&["create", "rolebinding", "readers", "-n", "team", "--role=reader", "--serviceaccount=team:worker"], &["created"]),
    (&["auth", "can-i", "get", "pods", "-n", "team", "--as=system:serviceaccount:team:worker"], &["yes"]),
    (&["create", "deployment", "dry", "--image=busybox", "--dry-run=server", "-o", "yaml"], &["uid:", "progressDeadlineSeconds: 600"]),
    (&["label", "configmap", "settings", "tier=front"], &["labeled"]),
    (&["annotate", "configmap", "settings", "note=x"], &["configmap/settings annotate"]),
    (&["get", "configmap", "-l", "tier=front", "-L", "tier"], &["TIER", "front"]),
    (&["patch", "configmap", "settings", "-p", "{\"data\":{\"colour\":\"blue\"}}"], &["patched"]),
    (&["get", "configmap", "settings", "-o", "jsonpath={.data.colour}"], &["blue"]),
    (
        &["patch", "configmap", "settings", "--type=json", "-p", "[{\"op\":\"replace\",\"path\":\"/data/colour\",\"value\":\"black\"}]"],
        &["patched"],
    ),
    (&["patch", "configmap", "settings", "--type=merge", "-p", "{\"data\":{\"colour\":null,\"size\":\"ten\"}}"], &["patched"]),
    (&["get", "configmap", "settings", "-o", "jsonpath={.data}"], &["{\"size\":\"ten\"}"]),
];

const ENDS: &[Row] = &[
    (&["delete", "serviceaccount", "worker", "-n", "team"], &["deleted"]),
    (&["delete", "rolebindings,roles", "--all", "-n", "team"], &["\"readers\" deleted", "\"reader\" deleted"]),
    (&["delete", "namespace", "team", "--wait=false"], &["deleted"]),
    (&["wait", "--for=delete", "namespace/team", "--timeout=60s"], &[]),
    (&["delete", "configmap", "settings"], &["deleted"]),
    (&["delete", "secret", "keys"], &["deleted"]),
];

pub(crate) fn run(session: &mut Session<'_>) {
    session.rows(READS);
    session.rows(WRITES);
    applied_by_the_server(session);
    refusals(session);
    edit_and_watch(session);
    session.rows(ENDS);
    piped(session);
    manifests(session);
    node_commands(session);
}

/// Server-side apply: owners, a conflict, force, what is no more named; and taking over from `apply` of the client's side.
fn applied_by_the_server(session: &mut Session<'_>) {
    let map = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shared}}\ndata: {data}\n");
    let owners = ["get", "configmap", "shared", "-o", "jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation} {end}"];
    let server = ["apply", "--server-side", "-f", "-"];
    session.ends_with_fed(0, &map("{a: '1', b: '1'}"), &server, &["configmap/shared serverside-applied"]);
    session.ends_with_fed(1, &map("{a: '2', b: '1'}"), &["diff", "--server-side", "-f", "-"], &["-  a: \"1\"", "+  a: \"2\""]);
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let conflict = "Apply failed with 1 conflict: conflict with \"kubectl\": .data.a";
    session.ends_with_fed(1, &map("{a: '2'}"), &other, &[conflict, "--force-conflicts"]);
    let force = ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"];
    session.ends_with_fed(0, &map("{a: '2'}"), &force, &["configmap/shared serverside-applied"]);
    session.shows(&owners, &["kubectl/Apply other/Apply"]);
    session.shows(&["get", "configmap", "shared", "-o", "yaml", "--show-managed-fields"], &["managedFields:", "f:data:", "manager: other"]);
    session.ends_with_fed(0, &map("{}"), &server, &["serverside-applied"]);
    session.shows(&["get", "configmap", "shared", "-o", "jsonpath={.data}"], &["{\"a\":\"2\"}"]);
    session.shows(&["delete", "configmap", "shared"], &["deleted"]);
    session.ends_with_fed(0, &map("{a: '1'}"), &["apply", "-f", "-"], &["configmap/shared created"]);
    session.ends_with_fed(1, &map("{a: '2'}"), &["diff", "-f", "-"], &["+  a: \"2\""]);
    session.ends_with_fed(0, &map("{a: '2'}"), &server, &["serverside-applied"]);
    session.shows(&owners, &["kubectl/Apply"]);
    session.shows(&["delete", "configmap", "shared"], &["deleted"]);
}

fn refusals(session: &mut Session<'_>) {
    for (args, wanted) in [
        (&["get", "configmap", "nowhere"][..], "Error from server (NotFound): configmaps \"nowhere\" not found"),
        (&["create", "configmap", "settings"], "configmaps \"settings\" already exists"),
        (&["create", "configmap", "Settings"], "a lowercase RFC 1123 subdomain"),
        (&["get", "pods", "--as=nobody"], "User \"nobody\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
        (
            &["patch", "configmap", "settings", "--type=json", "-p", "[{\"op\":\"test\",\"path\":\"/data/size\",\"value\":\"x\"}]"],
            "test failed",
        ),
        (&["get", "--raw", "/nowhere"], "Error from server (NotFound)"),
        (&["get", "nowhere"], "the server doesn't have a resource type \"nowhere\""),
        (
            &["create", "deployment", "less", "--image=busybox", "--replicas=-1"],
            "Deployment.apps \"less\" is invalid: spec.replicas: Invalid value: -1",
        ),
        (&["wait", "--for=delete", "configmap/settings", "--timeout=1s"], "timed out waiting for the condition"),
        (&["create", "-f", "/nowhere.yaml"], "does not exist"),
    ] {
        session.ends_with(1, args, &[wanted]);
    }
}

fn edit_and_watch(session: &mut Session<'_>) {
    let watch = session.start(&["get", "configmap", "settings", "-w", "-o", "jsonpath={.data.size}{\"\\n\"}"]);
    session.holds("get -w shows what is", watch.line_with("ten").is_some());
    session.edits(&["edit", "configmap", "settings"], "ten", "twelve", &["configmap/settings edited"]);
    session.holds("get -w shows the change", watch.line_with("twelve").is_some());
    session.edits(&["edit", "configmap", "settings"], "none", "some", &["Edit cancelled, no changes made"]);
}

/// Manifests on the standard input: what is made, and what is refused.
fn piped(session: &mut Session<'_>) {
    let map = |field: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: piped}}\n{field}: {{a: b}}\n");
    session.ends_with_fed(0, &map("data"), &["apply", "-f", "-"], &["configmap/piped created"]);
    session.ends_with_fed(1, &map("dataa"), &["apply", "-f", "-"], &["strict decoding error: unknown field \"dataa\""]);
    session.ends_with_fed(0, &map("data"), &["delete", "-f", "-"], &["configmap \"piped\" deleted"]);
}

/// apply, diff, replace and delete of files and folders.
fn manifests(session: &mut Session<'_>) {
    let folder = session.machine.folder().join("manifests");
    std::fs::create_dir_all(&folder).expect("our own folder");
    let file = folder.join("map.yaml");
    let map = |name: &str, value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: {value:?}}}\n");
    std::fs::write(folder.join("second.yaml"), map("second", "1")).expect("our own folder");
    let (path, all) = (file.to_string_lossy().into_owned(), folder.to_string_lossy().into_owned());
    for (value, code, args, wanted) in [
        ("1", 0, &["apply", "-f", &path][..], "configmap/applied created"),
        ("1", 0, &["apply", "-f", &path], "configmap/applied unchanged"),
        ("2", 1, &["diff", "-f", &path], "+  a: \"2\""),
        ("2", 0, &["apply", "-f", &path], "configmap/applied configured"),
        ("3", 0, &["replace", "-f", &path], "configmap/applied replaced"),
        ("4", 0, &["replace", "--force", "-f", &path], "configmap/applied replaced"),
        ("5", 0, &["apply", "-f", &all], "configmap/second created"),
        ("5", 0, &["delete", "-f", &all], "configmap \"applied\" deleted"),
    ] {
        std::fs::write(&file, map("applied", value)).expect("our own folder");
        session.ends_with(code, args, &[wanted]);
    }
}

/// taint, cordon and uncordon of the one node.
fn node_commands(session: &mut Session<'_>) {
    let node = session.value(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    for (args, wanted) in [
        (&["cordon", node.as_str()][..], "cordoned"),
        (&["get", "nodes"], "SchedulingDisabled"),
        (&["uncordon", node.as_str()], "uncordoned"),
        (&["drain", node.as_str(), "--force", "--dry-run=server"], "drained (server dry run)"),
        (&["uncordon", node.as_str()], "already uncordoned"),
        (&["taint", "nodes", node.as_str(), "a=b:NoSchedule"], "tainted"),
        (&["taint", "nodes", node.as_str(), "a:NoSchedule-"], "untainted"),
    ] {
        session.shows(args, &[wanted]);
    }
}
