//! What goes on while pods and parts die: requests, containers, logs.

use std::time::{Duration, Instant};

use crate::client_loop::ClientLoop;
use crate::machine::Machine;
use crate::numbers::{self, LogFollower};
use crate::{HELLO, address};

const SHELL: &[&str] = &["kubectl", "busybox", "curl", "ldd", "tar"];
/// After the exit of a pod's process no request that begins later than this may fail.
const FAILING_MAX: Duration = Duration::from_millis(50);

#[test]
fn killing_each_part_touches_no_container_fails_no_request_and_loses_no_line() {
    let Some(machine) = Machine::new("kill", SHELL) else { return };
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    let containers = machine.containers();
    assert_eq!(containers.len(), 3);
    machine.import_busybox();
    numbers::start(&machine, "steady", numbers::STEADY);
    let (client, follower) = (ClientLoop::start(&machine, &url), LogFollower::start(&machine, "steady"));
    for part in ["control", "node", "keeper"] {
        machine.replace_part(part);
        let then = follower.last();
        machine.wait_for("the follower goes on", || follower.last() > then + 100);
    }
    let (asked, followed) = (client.stop(), follower.stop());
    println!("{} requests answered, {} lines followed over {} connections", asked.answered, followed.numbers.len(), followed.connections);
    assert!(asked.answered > 100 && asked.failed.is_empty(), "{asked:?}");
    assert_eq!(numbers::gaps(&followed.numbers), Vec::<String>::new(), "each line is followed once and in order");
    let logged = numbers::logged(&machine, "steady");
    assert_eq!(numbers::gaps(&logged), Vec::<String>::new(), "each line is logged once and in order");
    assert!(logged.len() >= followed.numbers.len() && followed.connections > 1);
    assert!(machine.containers().is_superset(&containers), "the same processes run on");
    assert_eq!(restarts(&machine), "0 0 0 0");
    let again = machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up afterwards");
    assert_eq!(address(&again), url);
    machine.reset_leaves_nothing();
}

#[test]
fn output_is_logged_whole_whenever_keeper_or_node_are_killed() {
    let Some(machine) = Machine::new("output", SHELL) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    machine.import_busybox();
    numbers::start(&machine, "stammer", numbers::STAMMER);
    numbers::start(&machine, "flood", numbers::FLOOD);
    for part in ["node", "keeper", "node", "node", "keeper", "node"] {
        machine.replace_part(part);
    }
    machine.wait_for("the last line", || numbers::logged(&machine, "flood").last() == Some(&numbers::FLOOD_LINES));
    for pod in ["flood", "stammer"] {
        assert_eq!(numbers::gaps(&numbers::logged(&machine, pod)), Vec::<String>::new(), "{pod}: each line is logged once and in order");
    }
    machine.reset_leaves_nothing();
}

#[test]
fn deleting_pods_fails_no_request_and_killing_one_only_for_a_moment() {
    let Some(machine) = Machine::alone("pods", &["kubectl"]) else { return };
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    let pods = || machine.kubectl(&["get", "pods", "-l", "app=hello", "-o", "name"]).expect_ok("pods");
    let settled = || machine.kubectl(&["rollout", "status", "deploy/hello", "--timeout=60s"]).expect_ok("three again");
    let client = ClientLoop::start(&machine, &url);
    for pod in pods().lines() {
        machine.kubectl(&["delete", pod]).expect_ok("delete");
        settled();
    }
    let asked = client.stop();
    println!("pods deleted: {} answered", asked.answered);
    assert!(asked.answered > 100 && asked.failed.is_empty(), "{asked:?}");

    let mut lasts = Vec::new();
    for victim in machine.containers() {
        let client = ClientLoop::start(&machine, &url);
        std::thread::sleep(Duration::from_millis(100)); // requests are under way
        let killed = Instant::now();
        machine.kill(victim);
        machine.wait_for("three again", || machine.containers().len() == 3 && !machine.containers().contains(&victim));
        settled();
        let asked = client.stop();
        let last = asked.failed.iter().map(|failed| failed.begun.saturating_duration_since(killed)).max().unwrap_or_default();
        println!("pod killed: {} answered, {} failed, the last begun {} ms after", asked.answered, asked.failed.len(), last.as_millis());
        assert!(last < Duration::from_secs(2), "requests fail long after the exit: {asked:?}");
        lasts.push(last);
    }
    // The median: on a machine that is busy with other things each of ours may have to wait for its turn.
    lasts.sort();
    assert!(lasts[1] <= FAILING_MAX, "requests fail after the exit: {lasts:?}");
    machine.reset_leaves_nothing();
}

/// Of all containers of all pods of `default`.
fn restarts(machine: &Machine) -> String {
    machine.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"]).expect_ok("pods")
}
