//! A controller of custom resources, as its users see it through kubectl.

use rustix::process::Signal;

use crate::machine::{Machine, Running};
use crate::session::Session;
use crate::toolchains::Program;

const DEFINITION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/go/operator/crd.yaml");
const SITE: &str = "apiVersion: programs.example.com/v1\nkind: Site\nmetadata: {name: one}\nspec: {greeting: hello}\n";

pub(crate) fn run(machine: &Machine, program: &Program) {
    let mut session = Session::new(machine, "kubectl");
    session.shows(&["apply", "-f", DEFINITION], &["sites.programs.example.com created"]);
    session.shows(&["wait", "--for=condition=Established", "crd/sites.programs.example.com", "--timeout=30s"], &["condition met"]);
    let first = operator(machine, program, "19443");
    assert!(first.line_with("elected").is_some(), "the first is elected");
    grows(&mut session);
    is_mended(&mut session);
    machine.replace_part("control");
    resized(&mut session, "3");
    let second = operator(machine, program, "19444");
    first.signal(Signal::TERM);
    assert!(first.line_with("ended").is_some(), "the first ends of its own");
    assert!(second.line_with("elected").is_some(), "the second takes over");
    resized(&mut session, "1");
    goes(&mut session);
    session.finish();
}

fn operator(machine: &Machine, program: &Program, port: &str) -> Running {
    let folder = machine.folder().join(port);
    std::fs::create_dir(&folder).expect("our own folder");
    machine.start(program.path(), &["--port", port, "--certificates", &folder.to_string_lossy()])
}

/// The webhook fills the replicas; the controller makes the rest and reports.
fn grows(session: &mut Session<'_>) {
    session.ends_with_fed(0, SITE, &["apply", "-f", "-"], &["site.programs.example.com/one created"]);
    session.shows(&["wait", "--for=condition=Ready", "site/one", "--timeout=60s"], &["condition met"]);
    let told = "jsonpath={.spec.replicas} {.status.ready} {.status.observedGeneration} {.metadata.generation} {.metadata.finalizers}";
    session.shows(&["get", "site", "one", "-o", told], &["2 2 1 1 [\"programs.example.com/farewell\"]"]);
    session.shows(&["get", "sites"], &["NAME", "READY", "one", "2"]);
    let owner = "jsonpath={.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].controller}";
    session.shows(&["get", "deployment", "one", "-o", owner], &["Site true"]);
    session.shows(&["get", "events", "--field-selector=reason=PageCreated"], &["page one created"]);
    session.ends_with(
        1,
        &["patch", "site", "one", "--type=merge", "-p", "{\"spec\":{\"replicas\":9}}"],
        &["admission webhook \"check.programs.example.com\" denied the request: a site has at most 5 replicas, not 9"],
    );
}

/// What somebody takes away comes back, and warnings of webhooks are shown.
fn is_mended(session: &mut Session<'_>) {
    session.shows(&["delete", "configmap", "one"], &["deleted"]);
    let greeting = session.until_value(&["get", "configmap", "one", "-o", "jsonpath={.data.greeting}", "--ignore-not-found"]);
    session.holds("the page is made again", greeting == "hello");
    let silent = ["patch", "site", "one", "--type=merge", "-p", "{\"spec\":{\"greeting\":\"\"}}"];
    session.shows(&silent, &["Warning: an empty greeting greets nobody", "patched"]);
}

fn resized(session: &mut Session<'_>, replicas: &str) {
    let patch = format!("{{\"spec\":{{\"replicas\":{replicas}}}}}");
    session.shows(&["patch", "site", "one", "--type=merge", "-p", &patch], &["patched"]);
    session.shows(&["wait", &format!("--for=jsonpath={{.status.ready}}={replicas}"), "site/one", "--timeout=60s"], &["condition met"]);
}

/// The finalizer has its word, then all that the site owned goes.
fn goes(session: &mut Session<'_>) {
    session.shows(&["delete", "site", "one", "--timeout=60s"], &["\"one\" deleted"]);
    session.shows(&["get", "configmap", "one-farewell"], &["one-farewell"]);
    session.shows(&["wait", "--for=delete", "deployment/one", "--timeout=60s"], &[]);
    session.shows(&["wait", "--for=delete", "configmap/one", "--timeout=60s"], &[]);
    session.shows(&["wait", "--for=delete", "pod", "-l", "site=one", "--timeout=60s"], &[]);
    session.shows(&["delete", "-f", DEFINITION, "--timeout=60s"], &["deleted"]);
}
