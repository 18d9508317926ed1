//! Who dies when, and what goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use contract::{ContainerSpec, Runtime, Stdio};

use super::{Pod, collect, command, log_of, spec};
use crate::world::{World, block_on};

/// Counts, ten lines a second, so that a gap or a double shows.
const COUNT: &str = "i=0; while test $i -lt 20; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 9";

fn counted(log: &str) -> Result<()> {
    let lines: Vec<_> = log.lines().collect();
    let expected: Vec<_> = (1..=20).map(|number| format!("stdout F line {number}")).collect();
    ensure!(lines == expected, "{log}");
    Ok(())
}

/// A node that died after its answer and before the sandbox's mounts were gone.
pub(crate) fn half_removed_sandbox() -> Result<()> {
    let world = World::new()?;
    let folder = world.instance.run_dir().join("sandboxes").join(super::POD);
    block_on(async {
        let (driver, env) = world.other_driver().await?;
        driver.ensure_sandbox(&contract::SandboxSpec { pod_uid: super::POD.into(), ..Default::default() }).await?;
        fs::remove_file(folder.join("spec.json"))?;
        env.stop(Duration::from_secs(2)).await;
        let driver = world.driver().await?;
        ensure!(driver.sandboxes().await?.is_empty() && !folder.exists(), "{} is left", folder.display());
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        ensure!(!mounts.contains(super::POD), "mounts left:\n{mounts}");
        world.end().await
    })
}

pub(crate) fn node_restart() -> Result<()> {
    let world = World::new()?;
    let counting = spec(&world, "a", &["sh", "-c", COUNT])?;
    let short = spec(&world, "b", &["sh", "-c", "echo bye; exit 4"])?;
    let tty = Stdio { tty: true, stdin: true, log_path: world.folder.path().join("log/c.log"), ..Stdio::default() };
    let terminal = ContainerSpec { stdio: tty, ..spec(&world, "c", &["sh", "-c", "read word; echo got $word"])? };
    let pid = block_on(async {
        let (driver, env) = world.other_driver().await?;
        let sandbox = contract::SandboxSpec { pod_uid: super::POD.into(), ..Default::default() };
        driver.ensure_sandbox(&sandbox).await?;
        let state = driver.start(&counting).await?;
        driver.start(&terminal).await?;
        driver.start(&short).await?;
        env.stop(Duration::from_secs(2)).await;
        Ok(state.pid)
    })?;
    // No node: the short one ends, the other one fills its pipe.
    wait_until_gone(&world, "b")?;
    block_on(async {
        let driver = world.driver().await?;
        ensure!(driver.sandboxes().await?.len() == 1);
        let mut exits = driver.exits().await?;
        let states = driver.observe().await?;
        ensure!(states.len() == 3 && states.iter().any(|state| state.pid == pid && state.labels["who"] == "a"), "{states:?}");
        ensure!(collect(driver.exec("a", &command(&["true"])).await?).await?.0 == 0);
        let stdin = driver.attach("c").await?.stdin.context("a terminal")?;
        stdin.send(bytes::Bytes::from_static(b"word\n")).await?;
        let mut codes = BTreeSet::new();
        for _ in 0..3 {
            let exit = tokio::time::timeout(Duration::from_secs(10), exits.recv()).await?.context("an exit")?;
            codes.insert((exit.id, exit.code));
        }
        ensure!(codes == [("a".into(), 9), ("b".into(), 4), ("c".into(), 0)].into(), "{codes:?}");
        counted(&log_of(&counting)?)?;
        ensure!(log_of(&short)? == "stdout F bye\n" && log_of(&terminal)?.contains("got word"));
        world.end().await
    })
}

fn wait_until_gone(world: &World, id: &str) -> Result<()> {
    let file = world.instance.run_dir().join("containers").join(id).join("process.json");
    let process: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    wait_for_end(process["pid"].as_u64().context("a pid")? as u32)
}

fn wait_for_end(pid: u32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid as i32).context("a pid")?;
    let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return Ok(()) };
    let mut wait = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    if rustix::event::poll(&mut wait, Some(&rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 }))? == 0 {
        bail!("process {pid:?} did not end");
    }
    Ok(())
}

fn kill(pid: u32) -> Result<()> {
    sys::signal::kill_child(pid, libc::SIGKILL)?;
    wait_for_end(pid)
}

pub(crate) fn keeper_killed() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let counting = spec(&world, "a", &["sh", "-c", COUNT])?;
        let before = pod.driver.start(&counting).await?;
        pod.driver.start(&spec(&world, "b", &["sleep", "1000"])?).await?;
        let keeper = world.control()?.status()?.pid;
        kill(keeper)?;
        // Waits for the new keeper by itself.
        let after = pod.driver.observe().await?;
        ensure!(after.iter().any(|state| state.pid == before.pid && state.exit.is_none()), "{after:?}");
        let status = world.control()?.status()?;
        ensure!(status.pid != keeper && status.containers == 2, "{status:?}");
        let exit = pod.next_exit().await?;
        let told = !exit.unknown || !kernel_tells_exits();
        ensure!(exit.id == "a" && told && exit.code == if exit.unknown { 137 } else { 9 }, "{exit:?}");
        counted(&log_of(&counting)?)?;
        let (exit, _) = pod.run(spec(&world, "c", &["sh", "-c", "exit 2"])?).await?;
        ensure!(exit.code == 2, "the new keeper starts containers");
        pod.driver.kill("b").await?;
        let exit = pod.next_exit().await?;
        let told = exit.signal == Some(9) && !exit.unknown || exit.unknown && !kernel_tells_exits();
        ensure!(exit.code == 137 && told, "{exit:?}");
        world.end().await
    })
}

/// How a process ended that is no child of the asker (`PIDFD_GET_INFO`, 6.15): before that it is a matter of luck, for as long
/// as its parent has not reaped it.
fn kernel_tells_exits() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

pub(crate) fn all_killed() -> Result<()> {
    let world = World::new()?;
    let (keeper, pid) = block_on(async {
        let (driver, env) = world.other_driver().await?;
        driver.ensure_sandbox(&contract::SandboxSpec { pod_uid: super::POD.into(), ..Default::default() }).await?;
        let state = driver.start(&spec(&world, "a", &["sleep", "1000"])?).await?;
        driver.start(&spec(&world, "b", &["sleep", "0.1"])?).await?;
        env.stop(Duration::from_secs(2)).await;
        Ok((world.control()?.status()?.pid, state.pid))
    })?;
    kill(keeper)?;
    wait_until_gone(&world, "b")?;
    world.start_keeper()?;
    block_on(async {
        let driver = world.driver().await?;
        let mut exits = driver.exits().await?;
        let exit = exits.recv().await.context("an exit")?;
        ensure!(exit.id == "b" && exit.unknown && exit.code == 137, "nobody can know: {exit:?}");
        let states = driver.observe().await?;
        ensure!(states.iter().any(|state| state.pid == pid && state.exit.is_none()), "{states:?}");
        ensure!(collect(driver.exec("a", &command(&["true"])).await?).await?.0 == 0);
        driver.kill("a").await?;
        let exit = exits.recv().await.context("an exit")?;
        ensure!((exit.id.as_str(), exit.code) == ("a", 137), "{exit:?}");
        driver.remove_sandbox(super::POD).await?;
        world.end().await
    })
}

pub(crate) fn children() -> Result<()> {
    let exe = std::env::current_exe()?.to_string_lossy().into_owned();
    let child = |how: &str, file: &Path| vec![exe.clone(), "child".into(), how.into(), file.to_string_lossy().into_owned()];
    let world = World::with(
        |folder| {
            // An ordinary user writes there too.
            let _ = fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777));
            vec![
                ("control".into(), child("sleep", &folder.join("control")), Some((12345, 12345)), true),
                ("node".into(), child("fail", &folder.join("node")), None, false),
            ]
        },
        false,
    )?;
    let starts = |name: &str| fs::read_to_string(world.folder.path().join(name)).unwrap_or_default();
    let until = |what: &dyn Fn() -> bool| -> Result<()> {
        for _ in 0..500 {
            if what() {
                return Ok(());
            }
            let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 0, tv_nsec: 10_000_000 });
        }
        bail!("it did not come to be within 5 s: {:?}", starts("node"))
    };
    until(&|| starts("control").contains(" 12345\n"))?;
    until(&|| starts("node").lines().count() >= 3)?;
    let mut control = world.control()?;
    let status = control.status()?;
    ensure!(status.children[1].restarts >= 2 && status.children[1].last_exit.as_deref() == Some("exit 1"), "{status:?}");
    let pid = status.children[0].pid.context("control runs")?;
    let rights = fs::read_to_string(format!("/proc/{pid}/status"))?;
    ensure!(
        rights.contains("CapEff:\t0000000000000000") && rights.contains("CapBnd:\t0000000000000000") && rights.contains("NoNewPrivs:\t1"),
        "{rights}"
    );

    // A killed keeper's successor takes the same control up, and restarts it when it dies.
    kill(status.pid)?;
    world.start_keeper()?;
    let mut control = world.control()?;
    ensure!(control.status()?.children[0].pid == Some(pid));
    sys::signal::kill_child(pid, libc::SIGKILL)?;
    until(&|| starts("control").lines().count() == 2)?;
    control.stop_children(Duration::from_secs(1))?;
    ensure!(control.status()?.children.iter().all(|child| child.pid.is_none()));
    let (controls, nodes) = (starts("control"), starts("node"));
    control.start_children()?;
    until(&|| starts("control").len() > controls.len() && starts("node").len() > nodes.len())?;
    world.end_keeper()
}

pub(crate) fn second_keeper() -> Result<()> {
    let world = World::new()?;
    let error = world.start_keeper().err().context("an error")?.to_string();
    ensure!(error.contains("a keeper runs already"), "{error}");
    world.end_keeper()
}
