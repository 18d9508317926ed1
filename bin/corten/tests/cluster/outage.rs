//! Parts that die together, and commands that find nobody to talk to.

use crate::machine::{Machine, is_alive};
use crate::numbers;
use crate::{HELLO, address, answering};

const SHELL: &[&str] = &["kubectl", "busybox", "curl", "ldd", "tar", "script"];
const PARTS: &[&str] = &["keeper", "control", "node"];

#[test]
fn what_was_killed_together_comes_back_with_up() {
    let Some(machine) = Machine::new("all", SHELL) else { return };
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    machine.import_busybox();
    numbers::start(&machine, "steady", numbers::STEADY);
    machine.kill_parts(PARTS);
    assert!(!machine.corten(&["status"]).success, "nobody answers");
    let back = machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up after the end of all");
    assert_eq!(address(&back), url);
    assert_eq!(answering(&machine, &url).len(), 3, "all pods answer");
    let before = numbers::logged(&machine, "steady").len();
    machine.wait_for("the log goes on", || numbers::logged(&machine, "steady").len() > before + 100);
    assert_eq!(numbers::gaps(&numbers::logged(&machine, "steady")), Vec::<String>::new(), "each line is logged once and in order");
    // What needs the mounts that went with the processes: a new process in a container, and a new container.
    let pods = machine.kubectl(&["get", "pods", "-l", "app=hello", "-o", "name"]).expect_ok("pods");
    for pod in pods.lines() {
        machine.kubectl(&["exec", pod, "--", "/corten", "version"]).expect_ok("exec");
    }
    machine.processes_named("echo line").into_iter().for_each(|pid| machine.kill(pid));
    let again = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1";
    machine.kubectl(&["wait", again, "pod/steady", "--timeout=60s"]).expect_ok("a new process in the place of the old one");
    machine.ready("steady");
    machine.kubectl(&["rollout", "restart", "deploy/hello"]).expect_ok("restart");
    machine.kubectl(&["rollout", "status", "deploy/hello", "--timeout=60s"]).expect_ok("new pods from the same image");
    assert_eq!(answering(&machine, &url).len(), 3, "the new pods answer");
    machine.reset_leaves_nothing();
}

#[test]
fn down_and_reset_do_without_a_keeper() {
    let Some(machine) = Machine::new("sweep", &["kubectl", "curl"]) else { return };
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    machine.kill_parts(PARTS);
    assert_eq!(machine.containers().len(), 3, "containers outlive all of them");
    machine.corten(&["down"]).expect_ok("down without a keeper");
    machine.nothing_is_left();

    machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("the state is back");
    assert_eq!(answering(&machine, &url).len(), 3);
    machine.kill_parts(&["node", "keeper"]);
    let removed = machine.corten(&["reset", "--yes"]).expect_ok("reset with a control that nobody looks after");
    assert!(removed.contains("1 process\n") && removed.contains("3 container processes"), "it says what was there: {removed}");
    machine.reset_leaves_nothing();
}

#[test]
fn sessions_end_with_their_keeper_and_leave_no_process() {
    let Some(machine) = Machine::new("session", SHELL) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    machine.import_busybox();
    numbers::start(&machine, "steady", numbers::STEADY);
    let config = machine.kubeconfig_argument();
    let typed = format!("kubectl {config} exec -it steady -- sh -c 'echo ready; exec sleep 54321'");
    let on_terminal = machine.start("script", &["-qec", &typed, "/dev/null"]);
    let piped = machine.start("kubectl", &[&config, "exec", "-i", "steady", "--", "sh", "-c", "echo ready; exec sleep 54321"]);
    let attached = machine.start("kubectl", &[&config, "attach", "steady"]);
    assert!(on_terminal.line_with("ready").is_some() && piped.line_with("ready").is_some() && attached.line_with("line").is_some());
    let inside = machine.processes_named("54321");
    assert_eq!(inside.len(), 2, "two sessions run: {inside:?}");
    machine.replace_part("keeper");
    assert!(on_terminal.ends() && piped.ends(), "sessions end");
    machine.wait_for("their processes end", || !inside.iter().any(|pid| is_alive(*pid)));
    assert!(attached.line_with("line").is_some(), "who only reads the output goes on");
    machine.kubectl(&["exec", "steady", "--", "true"]).expect_ok("new sessions begin");
    machine.reset_leaves_nothing();
}
