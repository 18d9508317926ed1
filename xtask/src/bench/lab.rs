//! Where the benchmarks run: programs built once, a network namespace with loopback alone, clusters that end with their
//! handle. Every program that is waited for is bounded in time.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{output, program};

/// For what takes long only when it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const BUILD: Duration = Duration::from_secs(1800);
/// The image that the measuring pods run.
pub(crate) const IMAGE: &str = "local.bench/tool:1";
/// Ends at once on SIGTERM and costs nothing else.
const PAUSE_C: &str = "#include <signal.h>\n#include <unistd.h>\nstatic void end(int s) { _exit(0); }\nint main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }\n";

pub(crate) struct Lab {
    folder: tempfile::TempDir,
    workspace: PathBuf,
    netns: OnceCell<Netns>,
    corten: OnceCell<PathBuf>,
    cluster_bench: OnceCell<PathBuf>,
    load: OnceCell<PathBuf>,
    image: OnceCell<PathBuf>,
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("corten-bench-").tempdir()?;
        // The control process, which is not root, must reach its state below.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self {
            folder,
            workspace: workspace()?,
            netns: OnceCell::new(),
            corten: OnceCell::new(),
            cluster_bench: OnceCell::new(),
            load: OnceCell::new(),
            image: OnceCell::new(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// The tools and spikes that lie beside the workspace.
    pub(crate) fn shared(&self, path: &str) -> Result<PathBuf> {
        let found = self.workspace.ancestors().skip(1).map(|above| above.join("shared").join(path)).find(|found| found.exists());
        found.with_context(|| format!("needs ../shared/{path} beside the workspace, which is absent"))
    }

    /// The release binary.
    pub(crate) fn corten(&self) -> Result<&PathBuf> {
        once(&self.corten, || self.cargo(&["build", "-p", "corten", "--bin", "corten"]))
    }

    /// A measuring example of a crate, built for release.
    pub(crate) fn example(&self, package: &str, example: &str) -> Result<PathBuf> {
        self.cargo(&["build", "-p", package, "--example", example])
    }

    /// The test binary of the real-kernel world, built for release.
    pub(crate) fn kernel_tests(&self) -> Result<PathBuf> {
        self.cargo(&["test", "--no-run", "-p", "kernel-tests", "--test", "kernel"])
    }

    /// Builds with cargo and says where the program is.
    fn cargo(&self, words: &[&str]) -> Result<PathBuf> {
        let mut cargo = program(option_env!("CARGO").unwrap_or("cargo"), &[]);
        cargo.args(words).args(["--release", "--quiet", "--message-format=json"]).current_dir(&self.workspace);
        let messages = output(cargo, BUILD)?;
        let built = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next_back();
        built.with_context(|| format!("cargo {} built no program", words.join(" ")))
    }

    /// `../shared/tools/cluster-bench`.
    pub(crate) fn cluster_bench(&self) -> Result<&PathBuf> {
        once(&self.cluster_bench, || self.go(&self.shared("tools/cluster-bench")?, ".", "cluster"))
    }

    /// `../shared/tools/load`, without the custom resource that it makes first: this release serves none yet.
    pub(crate) fn load(&self) -> Result<&PathBuf> {
        once(&self.load, || {
            let (from, to) = (self.shared("tools/load")?, self.folder().join("load-source"));
            std::fs::create_dir_all(&to)?;
            for file in ["go.mod", "go.sum"] {
                std::fs::write(to.join(file), std::fs::read(from.join(file))?)?;
            }
            let source = std::fs::read_to_string(from.join("main.go"))?;
            let (head, tail) =
                source.split_once("\tvar o map[string]any\n\tjson.Unmarshal(body(cr").context("load's setup has changed: see Lab::load")?;
            std::fs::write(
                to.join("main.go"),
                format!("{head}\tif len(pod.path) > 0 {{\n\t\treturn\n\t}}\n\tvar o map[string]any\n\tjson.Unmarshal(body(cr{tail}"),
            )?;
            self.go(&to, ".", "load")
        })
    }

    pub(crate) fn go(&self, source: &Path, package: &str, name: &str) -> Result<PathBuf> {
        let built = self.folder().join(name);
        let mut go = program("go", &[]);
        go.args(["build", "-mod=mod", "-ldflags=-s -w", "-o"]).arg(&built).arg(package).current_dir(source).env("CGO_ENABLED", "0");
        output(go, BUILD).context("the Go tools need `go` and, at first, their modules")?;
        Ok(built)
    }

    /// An archive of [`IMAGE`]: `/tool` and `/pause`.
    fn image(&self) -> Result<&PathBuf> {
        once(&self.image, || {
            let tool = self.go(&self.shared("tools/cluster-bench")?, "./image", "tool")?;
            let (source, pause, archive) = (self.folder().join("pause.c"), self.folder().join("pause"), self.folder().join("tool.tar"));
            std::fs::write(&source, PAUSE_C)?;
            output(program("cc", &["-Os", "-static", "-s", "-o", text(&pause), text(&source)]), PATIENCE)?;
            output(program(text(&tool), &["mkimage", text(&archive), IMAGE, text(&tool), text(&pause)]), PATIENCE)?;
            Ok(archive)
        })
    }

    fn netns(&self) -> Result<&Netns> {
        once(&self.netns, || {
            let netns = Netns(format!("ctn-bench-{}", std::process::id()));
            output(program("ip", &["netns", "add", &netns.0]), PATIENCE)?;
            output(inside(&netns, "ip", &["link", "set", "lo", "up"]), PATIENCE)?;
            Ok(netns)
        })
    }

    /// A running cluster with [`IMAGE`] loaded.
    pub(crate) fn cluster(&self, instance: &str) -> Result<Cluster<'_>> {
        let cluster = Cluster::new(self, instance)?;
        cluster.up(&[])?;
        cluster.corten(&["image", "load", text(self.image()?)])?;
        Ok(cluster)
    }
}

/// A network namespace with loopback up and nothing else, as a machine with the cable out.
struct Netns(String);

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = output(program("ip", &["netns", "del", &self.0]), PATIENCE);
    }
}

/// A cluster of its own name and folder; dropped, it is reset.
pub(crate) struct Cluster<'a> {
    lab: &'a Lab,
    instance: String,
    pub(crate) root: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl<'a> Cluster<'a> {
    fn new(lab: &'a Lab, instance: &str) -> Result<Self> {
        ensure!(is_root(), "needs root");
        let taken = Path::new("/run/corten").join(instance);
        ensure!(!taken.exists(), "an instance {instance:?} already runs here ({})", taken.display());
        lab.corten()?;
        let (root, kubeconfig) = (lab.folder().join(instance), lab.folder().join(format!("{instance}.kubeconfig")));
        Ok(Self { lab, instance: instance.to_owned(), root, kubeconfig })
    }

    pub(crate) fn up(&self, paths: &[&str]) -> Result<String> {
        let words: Vec<&str> = ["up", "--no-kubeconfig"].into_iter().chain(paths.iter().copied()).collect();
        let said = self.corten(&words)?;
        std::fs::write(&self.kubeconfig, unfolded(&self.corten(&["kubeconfig"])?))?;
        Ok(said)
    }

    /// Starts `corten up` and does not wait.
    pub(crate) fn start(&self) -> Result<Child> {
        let mut up = inside(
            self.lab.netns()?,
            text(self.lab.corten()?),
            &["up", "--no-kubeconfig", "--instance", &self.instance, "--root", text(&self.root)],
        );
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        up.spawn().context("corten up")
    }

    pub(crate) fn corten(&self, words: &[&str]) -> Result<String> {
        let all: Vec<&str> = words.iter().copied().chain(["--instance", &self.instance, "--root", text(&self.root)]).collect();
        output(inside(self.lab.netns()?, text(self.lab.corten()?), &all), PATIENCE)
    }

    /// Pids of our processes by name.
    pub(crate) fn pids(&self) -> Result<BTreeMap<String, u32>> {
        let status: serde_json::Value = serde_json::from_str(&self.corten(&["status", "-o", "json"])?)?;
        let processes = status["processes"].as_array().context("no processes in the status")?;
        let pid = |process: &serde_json::Value| Some((process["name"].as_str()?.to_owned(), u32::try_from(process["pid"].as_u64()?).ok()?));
        Ok(processes.iter().filter_map(pid).collect())
    }

    /// One item of cluster-bench, with the CPU of our processes in its lines.
    pub(crate) fn bench(&self, item: &[&str], limit: Duration) -> Result<String> {
        let pids = self.pids()?.iter().map(|(name, pid)| format!("{name}={pid}")).collect::<Vec<_>>().join(",");
        self.bench_of(&["-pids", &pids], item, limit)
    }

    pub(crate) fn bench_of(&self, flags: &[&str], item: &[&str], limit: Duration) -> Result<String> {
        let wait = format!("{}s", limit.as_secs());
        let words = ["-kubeconfig", text(&self.kubeconfig), "-image", IMAGE, "-timeout", &wait];
        let all: Vec<&str> = words.iter().chain(flags).chain(item).copied().collect();
        let said = output(inside(self.lab.netns()?, text(self.lab.cluster_bench()?), &all), limit * 2)?;
        if let Some(line) = said.lines().find(|line| line.contains("TIMEOUT")) {
            bail!("{}: not within {wait}: {line}", item.join(" "));
        }
        Ok(said)
    }

    /// One run of load against our API server.
    pub(crate) fn load(&self, flags: &[&str], words: &[&str], limit: Duration) -> Result<String> {
        let control = format!("server={}", self.pids()?.get("control").context("control does not run")?);
        let fixed = ["-kubeconfig", text(&self.kubeconfig), "-pids", &control, "-max", "60s"];
        let all: Vec<&str> = fixed.iter().chain(flags).chain(words).copied().collect();
        output(inside(self.lab.netns()?, text(self.lab.load()?), &all), limit)
    }

    /// One run of our own watchers, updates in bursts.
    pub(crate) fn fan_out(&self, words: &[&str]) -> Result<String> {
        let control = self.pids()?.get("control").context("control does not run")?.to_string();
        let all: Vec<&str> = [text(&self.kubeconfig), &control].into_iter().chain(words.iter().copied()).collect();
        output(inside(self.lab.netns()?, text(&self.lab.example("xtask", "fan_out")?), &all), PATIENCE)
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.corten(&["reset", "--yes"]) {
            tell(&format!("reset of {}: {error:#}", self.instance));
        }
    }
}

/// The tools read a kubeconfig line by line: folded scalars go onto the line of their key.
fn unfolded(kubeconfig: &str) -> String {
    let mut parts = kubeconfig.split(">-\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

/// PSS of a process in MiB.
pub(crate) fn pss_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    Ok(super::text::after(super::text::line(&rollup, &["Pss:"])?, "Pss:")? / 1024.0)
}

/// User and system time of a process and the children it waited for, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks: f64 = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

fn inside(netns: &Netns, name: &str, words: &[&str]) -> Command {
    // Not `ip netns exec`, which mounts another /sys and so hides the cgroups.
    let mut nsenter = program("nsenter", &[]);
    nsenter.arg(format!("--net=/run/netns/{}", netns.0)).arg(name).args(words);
    nsenter
}

#[expect(clippy::print_stderr, reason = "a command's talk")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are UTF-8")
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|entry| std::os::unix::fs::MetadataExt::uid(&entry) == 0)
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        let _ = cell.set(make()?);
    }
    Ok(cell.get().expect("just set"))
}

/// The one that the caller stands in.
fn workspace() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").exists());
    found
        .map(Path::to_owned)
        .with_context(|| format!("{} is in no checkout of corten: run it as `cargo xtask bench` there", here.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_scalars_are_put_on_one_line() {
        assert_eq!(unfolded("a: >-\n      QUJD\nb: c\nd: >-\n  x\n"), "a: QUJD\nb: c\nd: x\n");
    }
}
