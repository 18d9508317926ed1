//! What kubectl does inside pods, and what a program finds there: volumes, names, its token.

use super::session::{Row, Session};

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: colours}
data: {colour: red}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {key: treasure}
---
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: first, image: busybox, command: [sh, -c, "echo first >> /work/order"], volumeMounts: [{name: work, mountPath: /work}]}
  - {name: second, image: busybox, command: [sh, -c, "echo second >> /work/order"], volumeMounts: [{name: work, mountPath: /work}]}
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "while true; do echo tick; sleep 1; done"]
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    resources: {limits: {memory: 64Mi}}
    volumeMounts:
    - {name: work, mountPath: /work}
    - {name: colours, mountPath: /colours}
    - {name: hidden, mountPath: /hidden}
    - {name: about, mountPath: /about}
  - {name: side, image: busybox, command: [sh, -c, "echo side here; exec sleep 100000"]}
  volumes:
  - {name: work, emptyDir: {}}
  - {name: colours, configMap: {name: colours}}
  - {name: hidden, secret: {secretName: hidden}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: brief}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: busybox, command: [sh, -c, "echo begun; until [ -e /go ]; do sleep 0.1; done; echo done"]}
"#;

const FOUND: &[Row] = &[
    (&["exec", "box", "-c", "main", "--", "cat", "/work/order"], &["first\nsecond\n"]),
    (&["exec", "box", "-c", "main", "--", "cat", "/colours/colour", "/hidden/key", "/about/labels"], &["redtreasureapp=\"box\""]),
    (&["exec", "box", "-c", "main", "--", "sh", "-c", "echo $MEMORY $POD_IP"], &["64 172."]),
    (&["exec", "box", "--", "cat", "/etc/resolv.conf"], &["search default.svc.cluster.local", "ndots:5"]),
    (&["exec", "box", "--", "nslookup", "hello.default.svc.cluster.local"], &["Name:\thello.default.svc.cluster.local", "Address: 172."]),
    (&["exec", "box", "--", "wget", "-qO-", "http://hello"], &["pod: hello-"]),
    (
        &["exec", "box", "--", "sh", "-c", ASK_API],
        &["\"gitVersion\": \"v1.37", "\"reason\": \"Forbidden\"", "system:serviceaccount:default:default"],
    ),
    (&["label", "pod", "box", "tier=front"], &["labeled"]),
    (
        &["exec", "box", "--", "sh", "-c", "for i in $(seq 300); do grep tier /about/labels && exit; sleep 0.1; done; exit 1"],
        &["tier=\"front\""],
    ),
    (&["patch", "configmap", "colours", "-p", "{\"data\":{\"colour\":\"blue\"}}"], &["patched"]),
    (&["exec", "box", "--", "sh", "-c", "for i in $(seq 300); do grep blue /colours/colour && exit; sleep 0.1; done; exit 1"], &["blue"]),
];

/// With the token and the authority that every pod is given: what all may read, and what this account may not.
const ASK_API: &str = "cd /var/run/secrets/kubernetes.io/serviceaccount; for path in version api/v1/pods; do \
    curl -sS -m 10 --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" https://kubernetes.default.svc/$path; done";

const LOGS: &[Row] = &[
    (&["logs", "box", "-c", "side"], &["side here"]),
    (&["logs", "box", "--all-containers", "--prefix"], &["[pod/box/side] side here", "[pod/box/main] tick"]),
    (&["logs", "box", "--tail=1", "--timestamps"], &["Z tick"]),
    (&["logs", "box", "--since=1h"], &["tick"]),
    (&["logs", "-l", "app=box", "-c", "side"], &["side here"]),
    (&["logs", "deploy/hello", "--tail=1"], &["hello from hello-"]),
];

pub(crate) fn run(session: &mut Session<'_>) {
    let file = session.machine.folder().join("inside.yaml");
    std::fs::write(&file, MANIFEST).expect("our own folder");
    let path = file.to_string_lossy().into_owned();
    session.shows(&["apply", "-f", &path], &["pod/box created", "pod/brief created"]);
    session.shows(&["wait", "--for=condition=Ready", "pod/box", "pod/brief", "--timeout=60s"], &["pod/box condition met"]);
    session.rows(FOUND);
    session.rows(LOGS);
    streams(session);
    exec(session);
    copy(session);
    one_pod(session);
    session.shows(&["delete", "-f", &path, "--now"], &["pod \"box\" deleted", "secret \"hidden\" deleted"]);
}

/// logs -f, attach and port-forward: what goes on.
fn streams(session: &mut Session<'_>) {
    let follow = session.start(&["logs", "-f", "brief"]);
    session.holds("logs -f shows what was", follow.line_with("begun").is_some());
    session.shows(&["exec", "brief", "--", "touch", "/go"], &[]);
    session.holds("logs -f shows what comes", follow.line_with("done").is_some());
    session.holds("logs -f ends with the pod", follow.ends());
    let attach = session.start(&["attach", "box", "-c", "main"]);
    session.holds("attach shows the output", attach.line_with("tick").is_some());
    let forward = session.start(&["port-forward", "service/hello", ":80"]);
    let line = forward.line_with("Forwarding from 127.0.0.1:").unwrap_or_default();
    let port = line.split([':', ' ']).nth(3).unwrap_or_default();
    for _ in 0..2 {
        let page = session.machine.run("curl", &["-sS", "-m", "10", &format!("http://127.0.0.1:{port}/")]);
        session.holds(&format!("port-forward serves: {line} {}{}", page.stdout, page.stderr), page.stdout.contains("pod: hello-"));
    }
}

fn exec(session: &mut Session<'_>) {
    session.ends_with(7, &["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], &["out\n", "err\n", "exit code 7"]);
    session.ends_with(1, &["exec", "box", "--", "nothing"], &["\"nothing\": executable file not found in $PATH"]);
    session.ends_with(1, &["exec", "box", "-c", "none", "--", "true"], &["container none is not valid for pod box"]);
    session.ends_with_fed(0, "typed\n", &["exec", "-i", "box", "--", "cat"], &["typed\n"]);
    // The window's size follows the start: it is waited for.
    let sized = "for i in $(seq 100); do stty size | grep -q \"41 101\" && echo sized && exit 3; sleep 0.1; done; exit 4";
    session.on_terminal(3, &format!("exec -it box -- sh -c 'tty; {sized}'"), &["/dev/pts/", "sized"]);
    session.on_terminal(
        0,
        "run typed --image=busybox -it --rm --restart=Never -- sh -c 'sleep 1; tty'",
        &["/dev/", "pod \"typed\" deleted"],
    );
}

/// cp both ways, of a file and of a folder.
fn copy(session: &mut Session<'_>) {
    let folder = session.machine.folder().join("copied");
    std::fs::create_dir_all(folder.join("deep")).expect("our own folder");
    std::fs::write(folder.join("deep/file"), "x".repeat(1 << 20)).expect("our own folder");
    let (there, back) = (folder.to_string_lossy().into_owned(), session.machine.folder().join("back").to_string_lossy().into_owned());
    session.shows(&["cp", &format!("{there}/deep/file"), "box:/tmp/file"], &[]);
    session.shows(&["exec", "box", "--", "stat", "-c", "%s", "/tmp/file"], &["1048576"]);
    session.shows(&["cp", &there, "box:/tmp/"], &[]);
    session.shows(&["cp", "box:/tmp/copied", &back], &[]);
    let size = std::fs::metadata(format!("{back}/deep/file")).map(|file| file.len());
    session.holds(&format!("cp brings the folder back: {size:?}"), size.is_ok_and(|size| size == 1 << 20));
}

fn one_pod(session: &mut Session<'_>) {
    session.rows(&[
        (&["run", "one", "--image=corten.local/hello", "--restart=Never"], &["pod/one created"]),
        (&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"], &["condition met"]),
        (&["logs", "one"], &["hello from one"]),
        (&["exec", "one", "--", "/corten", "version"], &["corten 0."]),
        (&["label", "pod", "one", "tier=front"], &["labeled"]),
        (&["annotate", "pod", "one", "note=x"], &["pod/one annotate"]),
        (&["delete", "pod", "one", "--grace-period=1"], &["deleted"]),
    ]);
    session.ends_with_fed(
        0,
        "typed\n",
        &["run", "echo", "--image=busybox", "-i", "--rm", "--restart=Never", "--", "cat"],
        &["typed\n", "pod \"echo\" deleted"],
    );
}
