//! Keeper, launcher, runtime and driver against the kernel.

mod attacks;
mod bench;
mod faults;
mod life;
mod limits;
mod supply;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contract::{ContainerSpec, Exec, ExecSpec, Exit, Runtime, SandboxSpec, Stdio};
use keeper::Driver;
use tokio::sync::mpsc;

pub(crate) use self::bench::bench;
use crate::Case;
use crate::world::World;

pub(crate) const CASES: &[Case] = &[
    case("runtime::a_container_runs_logs_and_exits", life::runs_logs_and_exits),
    case("runtime::exec_joins_and_answers", life::exec_joins_and_answers),
    case("runtime::start_errors_speak_as_runc", life::start_errors),
    case("runtime::a_container_is_confined", life::confined),
    case("runtime::user_folder_umask_and_root", life::user_and_folders),
    case("runtime::privileged_is_the_host", life::privileged),
    case("runtime::mounts_and_devices", life::mounts),
    case("runtime::a_terminal_resizes_and_echoes", life::terminal),
    case("runtime::standard_input_ends_once", life::stdin_once),
    case("runtime::logs_rotate", life::logs_rotate),
    case("runtime::namespaces_are_shared_as_asked", life::namespaces),
    case("runtime::a_fork_bomb_is_killed", limits::fork_bomb),
    case("runtime::out_of_memory_is_told", limits::out_of_memory),
    case("runtime::limits_reach_the_kernel", limits::limits_reach_the_kernel),
    case("runtime::a_stubborn_container_is_killed", limits::stubborn),
    case("runtime::a_new_node_finds_everything", faults::node_restart),
    case("runtime::a_half_removed_sandbox_is_swept", faults::half_removed_sandbox),
    case("runtime::a_killed_keeper_is_replaced", faults::keeper_killed),
    case("runtime::all_killed_and_still_running", faults::all_killed),
    case("runtime::children_are_kept_running", faults::children),
    case("runtime::a_second_keeper_is_refused", faults::second_keeper),
    case("runtime::descriptors_outlive_the_node", supply::descriptors),
    case("runtime::fifty_at_once", supply::fifty_at_once),
    case("runtime::working_folder_through_a_descriptor", attacks::leaked_descriptor),
    case("runtime::links_in_the_image_lead_nowhere", attacks::hostile_links),
    case("runtime::a_sub_path_cannot_leave_its_volume", attacks::sub_path),
    case("runtime::the_binary_cannot_be_overwritten", attacks::binary),
    case("runtime::devices_of_the_host_stay_closed", attacks::devices),
    case("runtime::capabilities_are_what_was_given", attacks::capabilities),
];

const fn case(name: &'static str, run: fn() -> Result<()>) -> Case {
    Case { name, own_network: false, run }
}

pub(crate) const POD: &str = "11111111-2222-3333-4444-555555555555";

/// A driver with its exits, and one sandbox.
pub(crate) struct Pod {
    pub driver: Arc<Driver>,
    pub exits: mpsc::Receiver<Exit>,
}

impl Pod {
    pub(crate) async fn new(world: &World) -> Result<Self> {
        Self::with(world, SandboxSpec::default()).await
    }

    pub(crate) async fn with(world: &World, spec: SandboxSpec) -> Result<Self> {
        let driver = world.driver().await?;
        driver
            .ensure_sandbox(&SandboxSpec {
                pod_uid: POD.into(),
                namespace: "default".into(),
                name: "test".into(),
                hostname: "test".into(),
                ..spec
            })
            .await?;
        let exits = driver.exits().await?;
        Ok(Self { driver, exits })
    }

    pub(crate) async fn next_exit(&mut self) -> Result<Exit> {
        tokio::time::timeout(Duration::from_secs(10), self.exits.recv()).await.context("no exit within 10 s")?.context("the exits ended")
    }

    /// Starts it, waits for its end, and gives the exit and what it logged (without times).
    pub(crate) async fn run(&mut self, spec: ContainerSpec) -> Result<(Exit, String)> {
        self.driver.start(&spec).await?;
        let exit = self.next_exit().await?;
        ensure!(exit.id == spec.id, "exit of {}", exit.id);
        Ok((exit, log_of(&spec)?))
    }

    /// Runs a shell script in a fresh container and gives what it printed; fails when the script does.
    pub(crate) async fn script(&mut self, world: &World, id: &str, script: &str) -> Result<String> {
        self.script_with(spec(world, id, &["sh", "-c", script])?).await
    }

    pub(crate) async fn script_with(&mut self, spec: ContainerSpec) -> Result<String> {
        let (exit, log) = self.run(spec).await?;
        let text: String = log.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap_or("").to_owned() + "\n").collect();
        ensure!(exit.code == 0, "exit {exit:?}:\n{text}");
        Ok(text)
    }
}

/// A container of busybox with upstream's default capabilities.
pub(crate) fn spec(world: &World, id: &str, argv: &[&str]) -> Result<ContainerSpec> {
    Ok(ContainerSpec {
        id: id.into(),
        pod_uid: POD.into(),
        name: id.into(),
        rootfs: world.rootfs(id)?,
        argv: argv.iter().map(|&word| word.into()).collect(),
        capabilities: ::runtime::capability::DEFAULT.iter().map(|&name| name.into()).collect(),
        allow_privilege_escalation: true,
        stdio: Stdio { log_path: world.folder.path().join(format!("log/{id}.log")), ..Stdio::default() },
        labels: BTreeMap::from([("who".into(), id.into())]),
        ..ContainerSpec::default()
    })
}

/// `stdout F text` lines.
pub(crate) fn log_of(spec: &ContainerSpec) -> Result<String> {
    let text = std::fs::read_to_string(&spec.stdio.log_path)?;
    Ok(text.lines().map(|line| line.split_once(' ').map_or("", |(_, rest)| rest).to_owned() + "\n").collect())
}

pub(crate) fn command(argv: &[&str]) -> ExecSpec {
    ExecSpec { argv: argv.iter().map(|&word| word.into()).collect(), ..ExecSpec::default() }
}

/// Exit code, output and errors of an exec.
pub(crate) async fn collect(exec: Exec) -> Result<(i32, String, String)> {
    let Exec { mut streams, exit } = exec;
    drop(streams.stdin.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = async {
        while let Some(chunk) = streams.stdout.recv().await {
            out.extend_from_slice(&chunk);
        }
        while let Some(chunk) = streams.stderr.recv().await {
            err.extend_from_slice(&chunk);
        }
        exit.await
    };
    let exit = tokio::time::timeout(Duration::from_secs(10), all).await.context("exec did not end within 10 s")??;
    Ok((exit.code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned()))
}
