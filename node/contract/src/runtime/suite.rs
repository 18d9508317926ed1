//! What every [`Runtime`] must do. A driver's test makes one over real or fake drivers and runs this.

use std::time::Duration;

use tokio::time::timeout;

use super::{ContainerSpec, ContainerState, ExecSpec, Exit, Runtime, SandboxSpec, Stdio};
use crate::{ErrorKind, Rootfs};

const LONG: Duration = Duration::from_secs(20);

/// Commands that the runtime's root file system has.
pub struct Commands {
    /// Runs until it is told to stop and ends on SIGTERM.
    pub forever: Vec<String>,
    /// Ends at once with code 3.
    pub exits_with_3: Vec<String>,
    /// Copies its input to its output.
    pub cat: Vec<String>,
}

/// A runtime with a root file system for each container.
#[async_trait::async_trait]
pub trait Roots: Send + Sync {
    async fn rootfs(&self, container_id: &str) -> Rootfs;
}

/// Runs every case on a runtime that needs no root file system.
pub async fn run(runtime: &dyn Runtime, commands: &Commands, prepare: impl Fn(&str)) {
    struct None;
    #[async_trait::async_trait]
    impl Roots for None {
        async fn rootfs(&self, _container_id: &str) -> Rootfs {
            Rootfs::default()
        }
    }
    run_with(runtime, commands, &None, prepare).await;
}

/// Runs every case. `prepare` is called with the container's name (`forever`, `three`, `missing`, `stubborn`) before it starts.
pub async fn run_with(runtime: &dyn Runtime, commands: &Commands, roots: &dyn Roots, prepare: impl Fn(&str)) {
    let mut exits = runtime.exits().await.expect("exits can be read");
    let pod = SandboxSpec {
        pod_uid: "suite-pod".into(),
        namespace: "suite".into(),
        name: "pod".into(),
        hostname: "pod".into(),
        ..SandboxSpec::default()
    };
    let first = runtime.ensure_sandbox(&pod).await.expect("a sandbox can be made");
    let again = runtime.ensure_sandbox(&pod).await.expect("a sandbox can be made again");
    assert_eq!(first, again, "ensuring twice is ensuring once");
    assert!(first.netns.is_some(), "a pod has a network of its own");

    let start = async |name: &str, argv: &[String]| {
        prepare(name);
        let id = format!("{:0>64}", name.bytes().map(|byte| format!("{byte:x}")).collect::<String>());
        let spec = ContainerSpec {
            rootfs: roots.rootfs(&id).await,
            id,
            pod_uid: pod.pod_uid.clone(),
            name: name.into(),
            argv: argv.to_vec(),
            env: vec![("PATH".into(), "/bin".into())],
            cwd: "/".into(),
            allow_privilege_escalation: true,
            stdio: Stdio::default(),
            labels: [("kept".to_owned(), name.to_owned())].into(),
            ..ContainerSpec::default()
        };
        (spec.id.clone(), runtime.start(&spec).await)
    };

    a_missing_binary_is_a_start_error(start("missing", &["/no/such/binary".into()]).await.1);
    let (three, started) = start("three", &commands.exits_with_3).await;
    started.expect("a short container starts");
    let exit = next(&mut exits).await;
    assert_eq!((exit.id.as_str(), exit.code, exit.unknown), (three.as_str(), 3, false));
    assert!(
        find(runtime, &three).await.is_some_and(|state| state.exit.is_some_and(|exit| exit.code == 3)),
        "an exited container stays known"
    );

    let (forever, started) = start("forever", &commands.forever).await;
    let started = started.expect("a long container starts");
    assert_eq!(started.labels.get("kept").map(String::as_str), Some("forever"));
    assert_eq!(find(runtime, &forever).await.map(|state| (state.pid, state.exit)), Some((started.pid, None)));
    assert_eq!(runtime.remove(&forever).await.map_err(|error| error.kind), Err(ErrorKind::Busy), "a running container is not forgotten");
    exec_copies(runtime, &forever, commands).await;
    runtime.stats(&forever).await.expect("a running container has stats");
    runtime.signal(&forever, 15).await.expect("a signal can be sent");
    assert_eq!(next(&mut exits).await.id, forever);
    runtime.signal(&forever, 15).await.expect("a signal to what is gone is no error");
    runtime.kill(&forever).await.expect("a kill of what is gone is no error");

    let (stubborn, started) = start("stubborn", &commands.forever).await;
    started.expect("a stubborn container starts");
    runtime.kill(&stubborn).await.expect("a kill works");
    let exit = next(&mut exits).await;
    assert_eq!((exit.id.as_str(), exit.code), (stubborn.as_str(), 137));

    for id in [&three, &forever, &stubborn] {
        runtime.remove(id).await.expect("an exited container can be removed");
        runtime.remove(id).await.expect("and once more");
    }
    assert!(runtime.observe().await.expect("it can be observed").iter().all(|state| state.pod_uid != pod.pod_uid));
    assert_eq!(runtime.signal(&three, 15).await.map_err(|error| error.kind), Err(ErrorKind::NotFound));

    let (last, started) = start("last", &commands.forever).await;
    started.expect("another container starts");
    runtime.remove_sandbox(&pod.pod_uid).await.expect("a sandbox can be removed with what runs in it");
    assert_eq!(next(&mut exits).await.id, last, "what still ran has ended");
    runtime.remove_sandbox(&pod.pod_uid).await.expect("and once more");
    runtime.remove(&last).await.expect("it can be removed");
    assert!(runtime.sandboxes().await.expect("sandboxes can be listed").iter().all(|sandbox| sandbox.pod_uid != pod.pod_uid));
}

fn a_missing_binary_is_a_start_error(result: crate::Result<ContainerState>) {
    let error = result.expect_err("a missing binary cannot start");
    assert_eq!(error.kind, ErrorKind::Start, "{error}");
    assert!(error.message.contains("no such file"), "{error}");
}

async fn next(exits: &mut tokio::sync::mpsc::Receiver<Exit>) -> Exit {
    timeout(LONG, exits.recv()).await.expect("an exit is reported in time").expect("the reader of exits stays open")
}

async fn find(runtime: &dyn Runtime, id: &str) -> Option<ContainerState> {
    runtime.observe().await.expect("it can be observed").into_iter().find(|state| state.id == id)
}

async fn exec_copies(runtime: &dyn Runtime, id: &str, commands: &Commands) {
    let spec = ExecSpec { argv: commands.cat.clone(), stdin: true, ..ExecSpec::default() };
    let mut exec = runtime.exec(id, &spec).await.expect("a command runs in a container");
    let stdin = exec.streams.stdin.take().expect("standard input was asked for");
    stdin.send("hello".into()).await.expect("the command reads");
    drop(stdin);
    let mut text = Vec::new();
    while let Some(chunk) = timeout(LONG, exec.streams.stdout.recv()).await.expect("output comes in time") {
        text.extend_from_slice(&chunk);
    }
    assert_eq!(text, b"hello");
    assert_eq!(timeout(LONG, exec.exit).await.expect("it ends in time").expect("its exit is reported").code, 0);
}
