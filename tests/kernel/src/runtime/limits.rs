//! What a container may use, and what happens when it wants more.

use std::time::Duration;

use anyhow::{Result, ensure};
use contract::{ContainerSpec, Resources, Runtime, SandboxSpec};

use super::{POD, Pod, collect, command, log_of, spec};
use crate::world::{World, block_on};

pub(crate) fn fork_bomb() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let resources = Resources { pids_limit: Some(64), ..Resources::default() };
        // The bomb says when it has hit the limit.
        let bomb =
            "(b() { b | b & }; while :; do b; done) 2>/tmp/hit & while ! test -s /tmp/hit; do :; done; echo full; while :; do :; done";
        let container = ContainerSpec { resources, ..spec(&world, "a", &["sh", "-c", bomb])? };
        pod.driver.start(&container).await?;
        let mut output = pod.driver.attach("a").await?.stdout;
        let full = async {
            let mut seen = log_of(&container)?;
            while !seen.contains("full") {
                let Some(chunk) = output.recv().await else { break };
                seen += &String::from_utf8_lossy(&chunk);
            }
            Result::<_>::Ok(seen)
        };
        let seen = tokio::time::timeout(Duration::from_secs(20), full).await??;
        ensure!(seen.contains("full"), "{seen}");
        ensure!(pod.driver.stats("a").await?.pids <= 64);
        pod.driver.kill("a").await?;
        ensure!(pod.next_exit().await?.code == 137);
        pod.driver.remove_sandbox(POD).await?;
        world.end().await
    })
}

pub(crate) fn out_of_memory() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let resources = Resources { memory_limit_bytes: Some(16 << 20), oom_score_adj: Some(900), ..Resources::default() };
        let hungry = ContainerSpec { resources, ..spec(&world, "a", &["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"])? };
        let (exit, _) = pod.run(hungry.clone()).await?;
        ensure!((exit.code, exit.signal, exit.oom_killed) == (137, Some(9), true), "{exit:?}");
        let child = ContainerSpec {
            rootfs: world.rootfs("b")?,
            id: "b".into(),
            argv: ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 5"].map(Into::into).into(),
            ..hungry
        };
        let (exit, _) = pod.run(child).await?;
        // On v2 the whole container goes (`memory.oom.group`), as upstream has it; v1 kills the one process.
        let expected = if memory_is_v2() { 137 } else { 5 };
        ensure!((exit.code, exit.oom_killed) == (expected, true), "{exit:?}");
        let (exit, _) = pod.run(spec(&world, "c", &["sh", "-c", "kill -9 $$; exit 6"])?).await?;
        ensure!((exit.code, exit.oom_killed) == (6, false), "{exit:?}");
        world.end().await
    })
}

fn memory_is_v2() -> bool {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    controllers.split_whitespace().any(|name| name == "memory")
}

pub(crate) fn limits_reach_the_kernel() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let of_pod = Resources { memory_limit_bytes: Some(64 << 20), ..Resources::default() };
        let pod = Pod::with(&world, SandboxSpec { resources: of_pod, ..SandboxSpec::default() }).await?;
        let resources = Resources {
            cpu_shares: Some(512),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_limit_bytes: Some(32 << 20),
            pids_limit: Some(33),
            oom_score_adj: Some(500),
        };
        pod.driver.start(&ContainerSpec { resources: resources.clone(), ..spec(&world, "a", &["sleep", "1000"])? }).await?;
        let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max cpu/cpu.shares cpu.weight cpu/cpu.cfs_quota_us pids/pids.max pids.max /proc/self/oom_score_adj 2>/dev/null; true";
        let read = async || -> Result<String> { Ok(collect(pod.driver.exec("a", &command(&["sh", "-c", script])).await?).await?.1) };
        let text = read().await?;
        ensure!(text.contains("33554432\n") && text.contains("33\n") && text.ends_with("500\n"), "{text}");
        ensure!(text.contains("512\n50000\n") || text.contains("20\n"), "{text}");
        pod.driver.update("a", &Resources { memory_limit_bytes: Some(40 << 20), cpu_shares: Some(1024), ..Resources::default() }).await?;
        ensure!(read().await?.contains("41943040\n"));
        let stats = pod.driver.stats("a").await?;
        ensure!(stats.pids == 1 && stats.memory_bytes > 0 && stats.cpu_nanos > 0, "{stats:?}");
        world.end().await
    })
}

pub(crate) fn stubborn() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        pod.driver
            .start(&spec(&world, "a", &["sh", "-c", "trap 'echo no' TERM; echo ready; while :; do sleep 1000 & wait; done"])?)
            .await?;
        let mut output = pod.driver.attach("a").await?.stdout;
        let said = async |word: &str, output: &mut tokio::sync::mpsc::Receiver<bytes::Bytes>| -> Result<()> {
            let log = world.folder.path().join("log/a.log");
            while !std::fs::read_to_string(&log)?.contains(word) {
                output.recv().await;
            }
            Ok(())
        };
        said("ready", &mut output).await?;
        pod.driver.signal("a", 15).await?;
        said("no", &mut output).await?;
        ensure!(pod.driver.observe().await?[0].exit.is_none(), "it goes on");
        ensure!(pod.driver.remove("a").await.is_err_and(|error| error.kind == contract::ErrorKind::Busy));
        pod.driver.kill("a").await?;
        ensure!(pod.next_exit().await?.signal == Some(9));
        pod.driver.kill("a").await?;
        pod.driver.signal("a", 15).await?;
        world.end().await
    })
}
