//! Guests that behave badly: pods that multiply, watchers that stall, callers that are nobody, objects that go as they come.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::machine::Machine;
use crate::{HELLO, address, answering};

const SHELL: &[&str] = &["kubectl", "busybox", "curl", "ldd", "tar"];

const BOMB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: bomb}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "bomb() { bomb | bomb & }; bomb; exec sleep 100000"]
    resources: {limits: {cpu: 300m, memory: 1Gi}}
"#;

#[test]
fn a_fork_bomb_stays_within_its_pod() {
    let Some(machine) = Machine::new("bomb", SHELL) else { return };
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    machine.import_busybox();
    machine.create(BOMB);
    machine.wait_for("the bomb goes off", || machine.containers().len() > 500);
    assert_eq!(answering(&machine, &url).len(), 3, "others serve");
    machine.kubectl(&["run", "late", "--image=corten.local/hello", "--restart=Never"]).expect_ok("others come");
    machine.ready("late");
    assert!(machine.containers().len() <= 4096 + 4, "the limit holds");
    machine.kubectl(&["delete", "pod", "bomb", "--timeout=60s"]).expect_ok("it can be deleted");
    machine.wait_for("its processes are gone", || machine.containers().len() == 4);
    machine.reset_leaves_nothing();
}

#[test]
fn watchers_that_stall_or_vanish_hold_nobody_up() {
    const WATCHERS: usize = 20;
    let Some(machine) = Machine::new("stall", &["kubectl"]) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    let control = machine.part("control").expect("control runs");
    let config = machine.kubeconfig_argument();
    machine.kubectl(&["get", "configmaps"]).expect_ok("a first list");
    let before = (descriptors(control), memory_kib(control));
    let watchers: Vec<_> = (0..WATCHERS).map(|_| machine.start("kubectl", &[&config, "get", "configmaps", "-w"])).collect();
    assert!(watchers.iter().all(|watcher| watcher.line_with("kube-root-ca.crt").is_some()), "all watch");
    watchers.iter().for_each(|watcher| watcher.signal(Signal::STOP));
    let text = "x".repeat(100_000);
    let one = |n: usize| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large-{n}}}\ndata: {{text: {text}}}\n");
    machine.create(&(0..200).map(one).collect::<String>());
    let grown = memory_kib(control).saturating_sub(before.1) / 1024;
    // 20 MB are kept by right, as objects and as history; 20 copies of them would be 400 MB.
    println!("20 MB written beside {WATCHERS} stalled watchers: control grew by {grown} MiB");
    assert!(grown < 200, "stalled watchers cost {grown} MiB");
    drop(watchers);
    machine.wait_for("their connections are gone", || descriptors(control) <= before.0 + 2);
    assert_eq!(machine.part("control"), Some(control), "it is the same process");
    machine.reset_leaves_nothing();
}

#[test]
fn pods_deleted_while_they_start_leave_nothing() {
    const PODS: usize = 10;
    let Some(machine) = Machine::new("early", &["kubectl"]) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    let one = |n: usize| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: early-{n}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
                 containers: [{{name: main, image: corten.local/hello}}]\n"
        )
    };
    for _ in 0..3 {
        machine.create(&(0..PODS).map(one).collect::<String>());
        machine.kubectl(&["delete", "pods", "--all", "--timeout=60s"]).expect_ok("deleted as they start");
    }
    machine.wait_for("no process is left", || machine.containers().is_empty());
    for folder in [machine.run_dir().join("containers"), machine.run_dir().join("sandboxes"), machine.root().join("node/pods")] {
        machine.wait_for(&format!("{} is empty", folder.display()), || entries(&folder) == 0);
    }
    machine.reset_leaves_nothing();
}

#[test]
fn strangers_and_people_without_rights_are_told_so() {
    let Some(machine) = Machine::new("strange", &["kubectl", "curl", "openssl"]) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    let (folder, pki) = (machine.folder().to_owned(), machine.pki());
    let good = certificate(&machine, &pki, &folder.join("good"), "1");
    let expired = certificate(&machine, &pki, &folder.join("expired"), "-1");
    let foreign = folder.join("foreign");
    auth::Pki::ensure(&foreign, &env::Env::real()).expect("keys of another cluster");
    let foreign = certificate(&machine, &foreign, &folder.join("stranger"), "1");
    assert_eq!(ask(&machine, &with(&good)).0, "200", "the test makes certificates that pass");
    for identity in [&expired, &foreign] {
        let (code, body) = ask(&machine, &with(identity));
        assert!(code == "401" && body.contains("\"reason\": \"Unauthorized\""), "{}: {code} {body}", identity.display());
    }
    let token = machine.kubectl(&["create", "token", "default"]).expect_ok("a token");
    let bearer = |token: &str| vec!["-H".to_owned(), format!("Authorization: Bearer {}", token.trim())];
    let (head, signature) = token.trim().rsplit_once('.').expect("three parts");
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for token in ["nonsense", forged.as_str()] {
        let (code, body) = ask(&machine, &bearer(token));
        assert!(code == "401" && body.contains("Unauthorized"), "{code} {body}");
    }
    let (code, body) = ask(&machine, &bearer(&token));
    let sentence = "configmaps is forbidden: User \\\"system:serviceaccount:default:default\\\" cannot list resource \\\"configmaps\\\" in API group \\\"\\\" in the namespace \\\"default\\\"";
    assert!(code == "403" && body.contains(sentence), "{code} {body}");
    machine.reset_leaves_nothing();
}

/// (content type, body, code, what the answer says)
const UNREADABLE: &[(&str, &str, &str, &str)] = &[
    ("application/json", "{\"kind\": ", "400", "BadRequest"),
    ("application/yaml", "kind: [", "400", "BadRequest"),
    ("application/vnd.kubernetes.protobuf", "k8s?not protobuf", "400", "BadRequest"),
    ("text/plain", "kind: ConfigMap", "415", "UnsupportedMediaType"),
    ("application/json", "{\"metadata\": {\"name\": \"a\"}, \"data\": {}, \"data\": {}}", "400", "duplicate field"),
    ("application/json", "{\"metadata\": {\"name\": \"a\"}, \"dada\": {}}", "400", "unknown field"),
];

#[test]
fn what_cannot_be_read_is_refused_in_words() {
    let Some(machine) = Machine::new("words", &["kubectl", "curl"]) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    let control = machine.part("control");
    let admin = machine.pki().join("admin");
    let body = machine.folder().join("body");
    let post = |kind: &str| {
        let mut args = with(&admin);
        args.extend(["-H".into(), format!("Content-Type: {kind}"), "--data-binary".into(), format!("@{}", body.display())]);
        ask_at(&machine, "?fieldValidation=Strict", &args)
    };
    for (kind, text, code, word) in UNREADABLE {
        std::fs::write(&body, text).expect("our own folder");
        let (told, answer) = post(kind);
        assert!(told == *code && answer.contains(word), "{kind} {text}: {told} {answer}");
    }
    std::fs::write(&body, " ".repeat((3 << 20) + 1)).expect("our own folder");
    let (told, answer) = post("application/json");
    assert!(told == "413" && answer.contains("Request entity too large: limit is 3145728"), "{told} {answer}");
    assert_eq!(machine.part("control"), control, "it is the same process");
    machine.reset_leaves_nothing();
}

/// Arguments of curl for a certificate and its key.
fn with(identity: &Path) -> Vec<String> {
    let file = |extension: &str| identity.with_extension(extension).display().to_string();
    vec!["--cert".to_owned(), file("crt"), "--key".to_owned(), file("key")]
}

/// Lists ConfigMaps as somebody: code and body.
fn ask(machine: &Machine, identity: &[String]) -> (String, String) {
    ask_at(machine, "", identity)
}

/// As `ask`, with a query and more arguments.
fn ask_at(machine: &Machine, query: &str, identity: &[String]) -> (String, String) {
    let url = format!("https://127.0.0.1:{}/api/v1/namespaces/default/configmaps{query}", machine.api_port());
    let ca = machine.pki().join("ca.crt").display().to_string();
    // Over HTTP/2 curl 7.88 loses an answer that comes before it has sent its body.
    let mut args = vec!["-sS", "--http1.1", "--cacert", &ca, "-w", "\n%{http_code}", &url];
    args.extend(identity.iter().map(String::as_str));
    let answer = machine.run("curl", &args).expect_ok("an answer");
    let (body, code) = answer.rsplit_once('\n').expect("curl writes the code");
    (code.to_owned(), body.to_owned())
}

/// A certificate of the group of masters, for so many days.
fn certificate(machine: &Machine, pki: &Path, to: &Path, days: &str) -> PathBuf {
    let file = |path: &Path, extension: &str| path.with_extension(extension).display().to_string();
    let (key, request, crt) = (file(to, "key"), file(to, "csr"), file(to, "crt"));
    let (ca, ca_key) = (pki.join("ca.crt").display().to_string(), pki.join("ca.key").display().to_string());
    let usage = to.with_extension("ext");
    std::fs::write(&usage, "extendedKeyUsage=clientAuth\n").expect("our own folder");
    let usage = usage.display().to_string();
    let new =
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/O=system:masters/CN=somebody"];
    machine.run("openssl", &[&new[..], &["-keyout", &key, "-out", &request]].concat()).expect_ok("a request");
    let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-days", days, "-extfile", &usage, "-out", &crt];
    machine.run("openssl", &sign).expect_ok("a certificate");
    to.to_owned()
}

fn descriptors(pid: i32) -> usize {
    entries(Path::new(&format!("/proc/{pid}/fd")))
}

fn memory_kib(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
