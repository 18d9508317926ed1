//! `debug`: a container beside a running one, a copy of a pod, a pod on the node; and which processes each of them sees.

use super::session::Session;

const PATIENT: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: patient}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
     - {name: main, image: busybox, command: [sleep, '98765']}\n  - {name: other, image: busybox, command: [sleep, '56789']}\n";

/// Lines of `ps` that show these two, and whether the machine's own processes are there.
const LOOK: &str = "echo main $(ps | grep -c '[s]leep 98765') other $(ps | grep -c '[s]leep 56789') all $(ps | wc -l)";

pub(crate) fn run(session: &mut Session<'_>) {
    session.ends_with_fed(0, PATIENT, &["apply", "-f", "-"], &["pod/patient created"]);
    session.shows(&["wait", "--for=condition=Ready", "pod/patient", "--timeout=60s"], &["condition met"]);
    beside(session);
    copy(session);
    on_the_node(session);
    session.shows(&["delete", "pod", "patient", "copied", "--now"], &["\"patient\" deleted", "\"copied\" deleted"]);
}

fn beside(session: &mut Session<'_>) {
    let debug = ["debug", "patient", "--image=busybox", "--target=main", "--container=doctor", "--", "sh", "-c", LOOK];
    session.shows(&debug, &["Targeting container \"main\""]);
    ended(session, "patient", "ephemeralContainerStatuses[0]");
    session.shows(&["logs", "patient", "-c", "doctor"], &["main 1 other 0 all"]);
    session.shows(&["describe", "pod", "patient"], &["Ephemeral Containers:", "doctor:", "Terminated"]);
    // The input ends with `exit`: this container's input stays open when its client's ends.
    let typed = ["debug", "patient", "-i", "--image=busybox", "--container=nurse", "--", "sh"];
    session.ends_with_fed(0, "echo typed $((6*7))\nexit\n", &typed, &["typed 42"]);
    session.ends_with(1, &["debug", "patient", "--image=busybox", "--target=none"], &["targetContainerName: Not found: \"none\""]);
    let names = ["get", "pod", "patient", "-o", "jsonpath={.spec.ephemeralContainers[*].name}"];
    session.shows(&names, &["doctor nurse"]);
}

/// With its processes shared: they see each other, and nobody else.
fn copy(session: &mut Session<'_>) {
    let look = format!("{LOOK}; exec sleep 98766");
    let debug = ["debug", "patient", "--copy-to=copied", "--share-processes", "--image=busybox", "--container=third", "--", "sh", "-c"];
    session.shows(&[&debug[..], &[&look]].concat(), &[]);
    session.shows(&["wait", "--for=condition=Ready", "pod/copied", "--timeout=60s"], &["condition met"]);
    session.shows(&["get", "pod", "copied", "-o", "jsonpath={.spec.shareProcessNamespace}"], &["true"]);
    let count = "ps | grep -c '[s]leep 98765\\|[s]leep 56789'; ps | wc -l";
    let seen = session.value(&["exec", "copied", "-c", "third", "--", "sh", "-c", count]);
    let counts: Vec<usize> = seen.lines().filter_map(|line| line.trim().parse().ok()).collect();
    session.holds(&format!("containers that share see each other and not the machine: {seen}"), counts[0] == 2 && counts[1] < 12);
}

fn on_the_node(session: &mut Session<'_>) {
    let node = session.value(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let said = session.value(&["debug", &format!("node/{node}"), "--image=busybox", "--", "sh", "-c", "ls -d /host/etc; ps | wc -l"]);
    let pod = said.split_whitespace().find(|word| word.starts_with("node-debugger-")).unwrap_or_default().to_owned();
    ended(session, &pod, "containerStatuses[0]");
    session.shows(&["logs", &pod], &["/host/etc"]);
    session.shows(&["delete", "pod", &pod, "--now"], &["deleted"]);
}

fn ended(session: &mut Session<'_>, pod: &str, status: &str) {
    let condition = format!("--for=jsonpath={{.status.{status}.state.terminated.exitCode}}=0");
    session.shows(&["wait", &condition, &format!("pod/{pod}"), "--timeout=60s"], &["condition met"]);
}
