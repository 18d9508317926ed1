//! What the machine around a cluster does: a disk that fills, a firewall, a port that is taken, a folder that is another's.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::client_loop::ClientLoop;
use crate::machine::Machine;
use crate::{HELLO, address, answering};

const SHELL: &[&str] = &["kubectl", "busybox", "curl", "ldd", "tar", "nft"];

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let Some(machine) = Machine::on_disk("disk", &["kubectl", "curl"], 1024) else { return };
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    let containers = machine.containers();
    let large = machine.folder().join("large");
    std::fs::write(&large, "x".repeat(900_000)).expect("our own folder");
    let from = format!("--from-file={}", large.display());
    let write = |n: usize| machine.kubectl(&["create", "configmap", &format!("write-{n}"), &from]);
    let ballast = machine.root().parent().expect("the disk").join("ballast");
    fill(&ballast);
    let client = ClientLoop::start(&machine, &url);
    let (mut acknowledged, mut refused) = (0, None);
    while refused.is_none() && acknowledged < 100 {
        match write(acknowledged) {
            outcome if outcome.success => acknowledged += 1,
            outcome => refused = Some(outcome.stderr),
        }
    }
    let refused = refused.expect("the disk fills");
    assert!(refused.contains("the store's disk is full") && refused.contains("free some space"), "{refused}");
    machine.kubectl(&["get", "pods", "-A"]).expect_ok("reads go on");
    machine.replace_part("node");
    let asked = client.stop();
    assert!(asked.answered > 0 && asked.failed.is_empty(), "the pods serve: {asked:?}");
    assert_eq!(machine.containers(), containers, "the pods stay");

    std::fs::remove_file(&ballast).expect("it is ours");
    write(acknowledged).expect_ok("writes go on by themselves");
    machine.replace_part("control");
    let held = machine.kubectl(&["get", "configmaps", "-o", "name"]).expect_ok("list");
    let lost: Vec<usize> = (0..=acknowledged).filter(|n| !held.lines().any(|line| line == format!("configmap/write-{n}"))).collect();
    assert!(lost.is_empty(), "{acknowledged} acknowledged, lost: {lost:?}");
    assert_eq!(machine.containers(), containers, "the pods are the same afterwards");
    machine.reset_leaves_nothing();
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("there is room for a name");
    for size in [1 << 20, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn a_firewall_that_drops_is_answered_and_left_as_it_was() {
    let Some(machine) = Machine::new("wall", SHELL) else { return };
    let early = "table inet early { chain forward { type filter hook forward priority 0; policy drop; }; }\n";
    machine.run_fed("nft", &["-f", "-"], early).expect_ok("a firewall of before");
    let firewall = |name: &str| machine.run("nft", &["list", "table", "inet", name]).expect_ok("its rules");
    let as_it_was = firewall("early");
    let checked = machine.corten(&["check"]).expect_ok("check");
    assert!(checked.contains("early/forward") && checked.contains("would drop pod traffic"), "{checked}");
    machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up");
    machine.import_busybox();
    crate::numbers::start(&machine, "box", "exec sleep 100000");
    let pod = machine.kubectl(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].status.podIP}"]).expect_ok("an address");
    let get = |url: &str| machine.kubectl(&["exec", "box", "--", "curl", "-sS", "-m", "5", url]);
    let reaches = || ["http://hello".to_owned(), format!("http://{pod}:8080")].iter().all(|url| get(url).stdout.contains("pod: "));
    assert!(reaches(), "pods and Services are reached from a pod");
    machine.run_fed("nft", &["-f", "-"], &early.replace("early", "late")).expect_ok("a firewall that starts later");
    machine.wait_for("pods are reached again", reaches);
    machine.reset_leaves_nothing();
    assert_eq!(firewall("early"), as_it_was);
    assert_eq!(firewall("late"), as_it_was.replace("early", "late"));
}

#[test]
fn what_cannot_start_says_what_why_and_the_fix() {
    let Some(machine) = Machine::new("fails", &[]) else { return };
    let port = machine.api_port();
    let holder = machine.listen(port);
    let outcome = machine.corten(&["up", "--no-kubeconfig"]);
    assert!(!outcome.success);
    let named = format!("port {port} is in use by python3 (pid ");
    assert!(outcome.stderr.contains(&named) && outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    drop(holder);
    let outcome = machine.corten(&["up", "--no-kubeconfig", "/nowhere.yaml"]);
    assert!(!outcome.success && outcome.stderr.contains("/nowhere.yaml"), "{}", outcome.stderr);
    let broken = machine.folder().join("broken.yaml");
    std::fs::write(&broken, "kind: ConfigMap\nmetadata: [\n").expect("our own folder");
    let outcome = machine.corten(&["up", "--no-kubeconfig", &broken.to_string_lossy()]);
    assert!(!outcome.success && outcome.stderr.contains("broken.yaml"), "{}", outcome.stderr);
    machine.reset_leaves_nothing();
}

#[test]
fn who_is_not_root_and_a_kernel_that_lacks_something_are_told_what_to_do() {
    let Some(machine) = Machine::new("lacks", &["setpriv", "unshare"]) else { return };
    let up = format!("{} up --no-kubeconfig --instance {} --root {}", machine.program(), machine.instance(), machine.root().display());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &up];
    let outcome = machine.run("setpriv", &nobody);
    assert!(outcome.code == Some(3) && outcome.stderr.contains("root") && outcome.stderr.contains("sudo"), "{}", outcome.stderr);

    // Version 2 has no controller that can be taken away alone.
    if Path::new("/sys/fs/cgroup/pids").exists() {
        let outcome = machine.run("unshare", &["-m", "sh", "-c", &format!("umount /sys/fs/cgroup/pids && {up}")]);
        let lacks = "no cgroup controller for pids";
        assert!(outcome.code == Some(3) && outcome.stderr.contains(lacks) && outcome.stderr.contains("hint: mount"), "{}", outcome.stderr);
    }
    assert!(!machine.root().exists(), "nothing was begun");
    machine.nothing_is_left();
}

#[test]
fn a_folder_is_one_clusters_and_a_cluster_has_one_folder() {
    let Some(machine) = Machine::new("folder", &["curl"]) else { return };
    let second = machine.neighbour("folder-b");
    let url = address(&machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up"));
    let ours = format!("holds the state of the cluster {:?}", machine.instance());
    for args in [&["up", "--no-kubeconfig"][..], &["down"], &["reset", "--yes"], &["kubeconfig"]] {
        let outcome = machine.corten_as(second.instance(), machine.root(), args);
        assert!(!outcome.success && outcome.stderr.contains(&ours) && outcome.stderr.contains("hint: "), "{args:?}: {}", outcome.stderr);
    }
    let elsewhere = machine.corten_as(machine.instance(), second.root(), &["up", "--no-kubeconfig"]);
    let there = format!("runs from {}, not from {}", machine.root().display(), second.root().display());
    assert!(!elsewhere.success && elsewhere.stderr.contains(&there), "{}", elsewhere.stderr);
    assert_eq!(answering(&machine, &url).len(), 3, "the first does not notice");
    machine.corten(&["down"]).expect_ok("down");
    let outcome = machine.corten_as(second.instance(), machine.root(), &["up", "--no-kubeconfig"]);
    assert!(outcome.stderr.contains(&ours), "also while it is down: {}", outcome.stderr);
    machine.reset_leaves_nothing();
}
