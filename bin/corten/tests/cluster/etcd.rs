//! A cluster that keeps its state in an etcd.

use store::etcd_server::EtcdServer;

use crate::machine::Machine;

#[test]
fn a_cluster_on_etcd_outlives_its_etcd_and_itself() {
    let Some(machine) = Machine::new("etcd", &["kubectl"]) else { return };
    let inside = format!("--net={}", machine.netns_path().display());
    let Some(mut etcd) = EtcdServer::within(&["nsenter", &inside]) else { return };
    let nowhere = machine.corten(&["up", "--no-kubeconfig", "--store", "etcd=http://127.0.0.1:1"]);
    let named = "etcd cannot be used: 127.0.0.1:1: ";
    assert!(!nowhere.success && nowhere.stderr.contains(named) && nowhere.stderr.contains("hint: "), "{}", nowhere.stderr);

    let store = format!("etcd={}", etcd.url());
    machine.corten(&["up", "--no-kubeconfig", "--store", &store]).expect_ok("up");
    let make = |name: &str| machine.kubectl(&["create", "configmap", name, "--from-literal=a=b"]);
    make("kept").expect_ok("a write");

    etcd.kill();
    let refused = make("refused");
    assert!(!refused.success && refused.stderr.contains("the store cannot be reached"), "{}", refused.stderr);
    etcd.run();
    machine.wait_for("writes go on by themselves", || make("after").success);

    machine.kill_parts(&["control"]);
    machine.wait_for("the API is back", || machine.kubectl(&["get", "configmap", "kept", "after"]).success);
    machine.corten(&["down"]).expect_ok("down");
    machine.corten(&["up", "--no-kubeconfig"]).expect_ok("up finds what was chosen");
    machine.kubectl(&["get", "configmap", "kept", "after"]).expect_ok("the state is etcd's");

    let moved = machine.corten(&["up", "--no-kubeconfig", "--store", "log"]);
    assert!(!moved.success && moved.stderr.contains("it is not moved to another store"), "{}", moved.stderr);
    machine.reset_leaves_nothing();
}
