//! The whole machine: real `corten` processes, in a network namespace that has nothing but loopback.
//!
//! Needs root; each test has an instance, a folder and a namespace of its own, and checks at its end that nothing is left.
//! Without root, or without the tools that a test drives (curl, kubectl), it says so and passes.
#![expect(clippy::disallowed_methods, reason = "these tests start processes: that is what they test")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures, and what a failed test saw last, are for who reads the run")]

#[path = "cluster/busybox.rs"]
mod busybox;
#[path = "cluster/client.rs"]
mod client_loop;
#[path = "cluster/continuity.rs"]
mod continuity;
#[path = "cluster/etcd.rs"]
mod etcd;
#[path = "cluster/follower.rs"]
mod follower;
#[path = "cluster/guests.rs"]
mod guests;
#[path = "cluster/kubectl.rs"]
mod kubectl;
#[path = "cluster/machine.rs"]
mod machine;
#[path = "cluster/numbers.rs"]
mod numbers;
#[path = "cluster/outage.rs"]
mod outage;
#[path = "cluster/surroundings.rs"]
mod surroundings;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use machine::Machine;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello");

/// The names of the pods that answered at `url` until there were three, or a bound.
fn answering(machine: &Machine, url: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..200 {
        let page = machine.run("curl", &["-sS", "-m", "2", url]).expect_ok("a request to the service");
        names.extend(page.lines().find_map(|line| line.strip_prefix("pod: ")).map(str::to_owned));
        if names.len() == 3 {
            break;
        }
    }
    names
}

/// The address that `up` printed for the hello service.
fn address(output: &str) -> String {
    let line = output.lines().find(|line| line.starts_with("hello ")).unwrap_or_else(|| panic!("no address in: {output}"));
    line.split_whitespace().nth(1).expect("name and address").to_owned()
}

#[test]
fn up_serves_hello_with_nothing_but_loopback_and_comes_back() {
    let Some(machine) = Machine::new("up", &["curl"]) else { return };
    let first = machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up");
    let url = address(&first);
    assert_eq!(answering(&machine, &url).len(), 3, "all three pods answer at {url}");

    let status: serde_json::Value = serde_json::from_str(&machine.corten(&["status", "-o", "json"]).expect_ok("status")).unwrap();
    assert_eq!((&status["pods"]["running"], &status["nodes"][0]["ready"]), (&3.into(), &true.into()), "{status}");

    let again = machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up again");
    assert_eq!(address(&again), url, "running it again changes nothing");

    machine.corten(&["down"]).expect_ok("down");
    assert!(!machine.corten(&["status"]).success, "it is down");
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up after down");
    assert_eq!(answering(&machine, &url).len(), 3, "the state is back when `up` returns, though it was not told of it");

    machine.corten(&["down"]).expect_ok("down again");
    let back = machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up of the same after down");
    assert_eq!(address(&back), url, "and so it is when it was");
    assert_eq!(answering(&machine, &url).len(), 3);
    machine.reset_leaves_nothing();
}

#[test]
fn two_clusters_run_side_by_side() {
    let Some(first) = Machine::new("side-a", &["curl"]) else { return };
    let second = first.neighbour("side-b");
    let a = address(&first.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up of the first"));
    let b = address(&second.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up of the second"));
    assert_ne!(a, b);
    assert_eq!(answering(&first, &a).len(), 3);
    second.reset_leaves_nothing();
    assert_eq!(answering(&first, &a).len(), 3, "the first does not notice the end of the second");
    first.reset_leaves_nothing();
}

#[test]
fn fifty_kills_of_control_lose_no_write_and_no_watch_event() {
    let Some(machine) = Machine::new("writes", &["kubectl"]) else { return };
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up");
    let follower = follower::Follower::start(&machine);
    let mut acknowledged = Vec::new();
    let begun = Instant::now();
    for round in 0..50 {
        for n in 0..10 {
            let name = format!("write-{round}-{n}");
            if machine.kubectl(&["create", "configmap", &name, "--from-literal=a=b"]).success {
                acknowledged.push(name);
            }
        }
        let pid = machine.part("control");
        pid.into_iter().for_each(|pid| machine.kill(pid));
        machine.wait_for("the API", || machine.kubectl(&["get", "--raw", "/readyz"]).success);
        assert!(begun.elapsed() < Duration::from_secs(400), "restarts take too long: {round} rounds");
    }
    let held = machine.kubectl(&["get", "configmaps", "-o", "name"]).expect_ok("list");
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !held.lines().any(|line| line == format!("configmap/{name}"))).collect();
    assert!(lost.is_empty() && acknowledged.len() > 100, "{} acknowledged, lost: {lost:?}", acknowledged.len());
    let seen = follower.stop();
    assert_eq!(seen.expired, 0, "a client that resumes is never told to list again");
    for name in &acknowledged {
        let times = seen.added.iter().filter(|added| *added == name).count();
        assert_eq!(times, 1, "{name} was seen {times} times");
    }
    machine.reset_leaves_nothing();
}
