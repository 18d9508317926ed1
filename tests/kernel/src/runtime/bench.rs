//! create + start + exit + delete of the same bundle: ours, crun, runc and the physical floor, in one run.
//!
//! `kernel bench [ROUNDS]` prints medians, back to back and with pauses. Contestants take turns, so that what else the
//! machine does falls on all of them alike. `TMPDIR=/dev/shm` keeps the disk out of it, as the floor does. It is no timed
//! test: nothing here fails for being slow.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contract::{Runtime, SandboxSpec};

use super::{POD, Pod, command, spec};
use crate::world::{World, block_on, busybox, isolate};

const TURNS: usize = 10;
/// Between two spaced starts: longer than any grace period of the kernel.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn bench(words: &[&str]) -> ExitCode {
    let done = match words {
        ["bench", "peer", program, bundle, rounds, pause] => {
            peer(program, Path::new(bundle), rounds.parse().unwrap_or(10), *pause == "spaced")
        }
        ["bench", rounds, ..] => compare(rounds.parse().unwrap_or(20)),
        _ => compare(20),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Wall times of one contestant in microseconds.
#[derive(Default)]
struct Row {
    name: &'static str,
    back_to_back: Vec<u64>,
    spaced: Vec<u64>,
}

fn compare(rounds: usize) -> Result<()> {
    isolate(false)?;
    state_in_memory()?;
    let world = Arc::new(World::new()?);
    let contest = Contest::new(world.clone(), rounds);
    // On a worker, as the node's tasks are: the main thread would be woken for each answer.
    let contest = block_on(async { world.env.spawn("bench", contest.run()).await? })?;
    world.end_keeper()?;
    println!("{:<30} {:>16} {:>16}   (median, ms)", "", "back to back", "spaced");
    for row in contest.ours.iter().chain([&contest.floor_row]).chain(&contest.peers) {
        println!("{:<30} {:>16} {:>16}", row.name, shown(&row.back_to_back), shown(&row.spaced));
    }
    Ok(())
}

/// `/run` is memory on an installed machine, and the floor keeps everything there; here it may be a folder on the disk.
fn state_in_memory() -> Result<()> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    if rustix::fs::statfs("/run")?.f_type != TMPFS_MAGIC {
        rustix::mount::mount("tmpfs", "/run", "tmpfs", rustix::mount::MountFlags::empty(), None).context("memory at /run")?;
    }
    Ok(())
}

/// Everybody's times so far.
struct Contest {
    world: Arc<World>,
    rounds: usize,
    /// Sandbox and container, container in a pod, its start alone, exec.
    ours: [Row; 4],
    floor: Option<PathBuf>,
    floor_row: Row,
    bundle: PathBuf,
    peers: Vec<Row>,
    number: usize,
}

impl Contest {
    fn new(world: Arc<World>, rounds: usize) -> Self {
        let bundle = world.folder.path().join("bundle");
        Self {
            rounds,
            ours: ["corten: sandbox + container", "corten: container in a pod", "corten: start only", "corten: exec true"].map(named),
            floor: build_floor(world.folder.path()),
            floor_row: named("floor.c"),
            peers: ["crun", "runc"].into_iter().filter(|name| make_bundle(name, &bundle.join(name)).is_ok()).map(named).collect(),
            bundle,
            number: 0,
            world,
        }
    }

    /// By turns, so that a busy moment of the machine meets everybody.
    async fn run(mut self) -> Result<Self> {
        let mut pod = Pod::new(&self.world).await?;
        pod.driver.start(&spec(&self.world, "long", &["sleep", "100000"])?).await?;
        for spaced in [false, true] {
            let count = (if spaced { self.rounds / 2 } else { self.rounds }).div_ceil(TURNS);
            for _ in 0..TURNS {
                for _ in 0..count {
                    self.our_turn(&mut pod, spaced).await?;
                }
                self.their_turn(count, spaced)?;
            }
        }
        pod.driver.remove_sandbox(POD).await?;
        Ok(self)
    }

    async fn our_turn(&mut self, pod: &mut Pod, spaced: bool) -> Result<()> {
        self.number += 1;
        let [whole, container, start, exec] = &mut self.ours;
        pause(spaced).await;
        put(whole, spaced, sandboxed(pod, &self.world, self.number).await?);
        pause(spaced).await;
        let (started, all) = in_pod(pod, &self.world, self.number).await?;
        put(container, spaced, all);
        put(start, spaced, started);
        pause(spaced).await;
        put(exec, spaced, exec_true(pod).await?);
        Ok(())
    }

    fn their_turn(&mut self, count: usize, spaced: bool) -> Result<()> {
        for row in &mut self.peers {
            let times = run_peer(row.name, &self.bundle.join(row.name), count, spaced)?;
            if spaced { row.spaced.extend(times) } else { row.back_to_back.extend(times) }
        }
        if let Some(floor) = &self.floor {
            put(&mut self.floor_row, spaced, run_floor(floor, count, spaced)?);
        }
        Ok(())
    }
}

fn named(name: &'static str) -> Row {
    Row { name, ..Row::default() }
}

fn put(row: &mut Row, spaced: bool, time: Duration) {
    let times = if spaced { &mut row.spaced } else { &mut row.back_to_back };
    times.push(time.as_micros() as u64);
}

fn shown(times: &[u64]) -> String {
    median(times).map_or("-".into(), |micros| format!("{:.2}", micros as f64 / 1000.0))
}

fn median(times: &[u64]) -> Option<u64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

async fn pause(spaced: bool) {
    if spaced {
        tokio::time::sleep(PAUSE).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark asks the machine's clock")]
fn now() -> Instant {
    Instant::now()
}

/// All that crun does for its bundle: namespaces, cgroups, the process, and all of it gone again.
async fn sandboxed(pod: &mut Pod, world: &World, number: usize) -> Result<Duration> {
    let uid = format!("bench{number}");
    let mut spec = spec(world, &format!("w{number}"), &["true"])?;
    spec.pod_uid.clone_from(&uid);
    spec.stdio.log_path = PathBuf::new();
    let begun = now();
    pod.driver.ensure_sandbox(&SandboxSpec { pod_uid: uid.clone(), hostname: "bench".into(), ..SandboxSpec::default() }).await?;
    pod.driver.start(&spec).await?;
    ensure!(pod.next_exit().await?.code == 0);
    pod.driver.remove_sandbox(&uid).await?;
    Ok(begun.elapsed())
}

async fn in_pod(pod: &mut Pod, world: &World, number: usize) -> Result<(Duration, Duration)> {
    let mut spec = spec(world, &format!("c{number}"), &["true"])?;
    spec.stdio.log_path = PathBuf::new();
    let begun = now();
    pod.driver.start(&spec).await?;
    let started = begun.elapsed();
    ensure!(pod.next_exit().await?.code == 0);
    pod.driver.remove(&spec.id).await?;
    Ok((started, begun.elapsed()))
}

async fn exec_true(pod: &Pod) -> Result<Duration> {
    let begun = now();
    let exec = pod.driver.exec("long", &command(&["true"])).await?;
    ensure!(exec.exit.await?.code == 0);
    Ok(begun.elapsed())
}

/// The bundle that `<program> spec` describes, of busybox and `true`.
fn make_bundle(program: &str, bundle: &Path) -> Result<()> {
    busybox(&bundle.join("rootfs"))?;
    ensure!(run(program, &["spec"], bundle)?);
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["true"]);
    // Not allowed without CAP_SYS_RESOURCE.
    config["process"]["rlimits"] = serde_json::json!([]);
    Ok(std::fs::write(path, serde_json::to_vec(&config)?)?)
}

#[expect(clippy::disallowed_methods, reason = "peers are programs")]
fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<bool> {
    Ok(Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).status()?.success())
}

/// In a process of its own: crun refuses hybrid cgroups, so the v2 hierarchy goes from its sight.
#[expect(clippy::disallowed_methods, reason = "the bench starts itself")]
fn run_peer(program: &str, bundle: &Path, rounds: usize, spaced: bool) -> Result<Vec<u64>> {
    let pause = if spaced { "spaced" } else { "together" };
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "peer", program, &bundle.to_string_lossy(), &rounds.to_string(), pause])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{program} failed");
    String::from_utf8(output.stdout)?.lines().map(|line| line.parse().context("a time")).collect()
}

fn peer(program: &str, bundle: &Path, rounds: usize, spaced: bool) -> Result<()> {
    isolate(false)?;
    let _ = rustix::mount::unmount("/sys/fs/cgroup/unified", rustix::mount::UnmountFlags::DETACH);
    for round in 0..rounds {
        if spaced {
            std::thread::sleep(PAUSE);
        }
        let begun = now();
        ensure!(run(program, &["run", &format!("bench-{}-{round}", std::process::id())], bundle)?, "{program} run");
        println!("{}", begun.elapsed().as_micros());
    }
    Ok(())
}

/// The floor program of the spikes, where it and a C compiler are at hand.
fn build_floor(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(|above| {
        let source = above.join("shared/spikes/runtime/floor.c");
        source.exists().then_some(source)
    });
    let Some(source) = source else {
        eprintln!("floor.c is not beside the workspace: no floor");
        return None;
    };
    let program = folder.join("floor");
    let built = run("cc", &["-O2", "-static", "-w", "-o", &program.to_string_lossy(), &source.to_string_lossy()], folder).unwrap_or(false);
    let rootfs = folder.join("scratch/rootfs");
    (built && busybox(&rootfs).is_ok()).then_some(program)
}

/// Everything it can, its writable layer in memory as ours is then, with v1 cgroups joined by the child itself. It times itself; the median of its own rounds.
#[expect(clippy::disallowed_methods, reason = "the floor is a program")]
fn run_floor(program: &Path, rounds: usize, spaced: bool) -> Result<Duration> {
    let folder = program.parent().context("a folder")?;
    let count = format!("n={}", rounds.max(3));
    let mut arguments = vec!["all", "net", "lo", "mounts", "masks", "seccomp", "tmpfs", "volatile", "v1self", "quiet", &count];
    if spaced {
        arguments.push("gap=250");
    }
    let output = Command::new(program).args(arguments).current_dir(folder).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("TOTAL"))
        .with_context(|| format!("floor: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let micros: f64 = line.split_whitespace().nth(2).context("a median")?.parse()?;
    Ok(Duration::from_micros(micros as u64))
}
