//! A place for one cluster: namespace, instance, folder; and what a test asks of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A bound for hangs, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    netns: Arc<Netns>,
    instance: String,
    folder: tempfile::TempDir,
}

/// A network namespace with loopback up and nothing else.
struct Netns(String);

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

pub struct Outcome {
    pub success: bool,
    /// None of what a signal ended.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<std::process::Output> for Outcome {
    fn from(output: std::process::Output) -> Self {
        Self {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// The output of what must succeed.
    pub fn expect_ok(self, what: &str) -> String {
        assert!(self.success, "{what} failed:\n{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

impl Machine {
    /// None, and a line that says why, where the test cannot run.
    pub fn new(name: &str, tools: &[&str]) -> Option<Self> {
        let missing = tools.iter().chain(&["ip", "nsenter"]).find(|tool| !exists(tool));
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: {name} needs root");
            return None;
        }
        if let Some(tool) = missing {
            eprintln!("skipped: {name} needs {tool}");
            return None;
        }
        let netns = Netns(format!("ctn-{name}-{}", std::process::id()));
        assert!(Command::new("ip").args(["netns", "add", &netns.0]).status().unwrap().success(), "a namespace is made");
        let machine = Self { instance: instance(name), netns: Arc::new(netns), folder: folder() };
        machine.run("ip", &["link", "set", "lo", "up"]).expect_ok("loopback");
        Some(machine)
    }

    /// Another cluster in the same namespace.
    pub fn neighbour(&self, name: &str) -> Self {
        Self { instance: instance(name), netns: Arc::clone(&self.netns), folder: folder() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run_dir(&self) -> PathBuf {
        Path::new("/run/corten").join(&self.instance)
    }

    /// Runs a program in the namespace.
    pub fn run(&self, program: &str, args: &[&str]) -> Outcome {
        self.command(program).args(args).stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{program}: {error}")).into()
    }

    /// Runs a program in the namespace that reads `input` and then its end.
    pub fn run_fed(&self, program: &str, args: &[&str], input: &str) -> Outcome {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes()); // a program may end without reading it
        drop(stdin);
        child.wait_with_output().expect("its output").into()
    }

    /// Starts a program in the namespace whose lines are read while it runs.
    pub fn start(&self, program: &str, args: &[&str]) -> Running {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let (lines_tx, lines) = std::sync::mpsc::sync_channel(1000);
        // Ends with the child's output, or when nobody reads any more.
        std::thread::spawn(move || std::io::BufRead::lines(stdout).map_while(Result::ok).try_for_each(|line| lines_tx.send(line)));
        Running { child, lines }
    }

    /// Where a test puts its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.netns.0)).arg(program);
        command.env("HOME", self.folder.path()).env_remove("KUBECONFIG").env_remove("SUDO_UID");
        command
    }

    pub fn corten(&self, args: &[&str]) -> Outcome {
        let root = self.root();
        let all: Vec<&str> = args.iter().copied().chain(["--instance", &self.instance, "--root", root.to_str().unwrap()]).collect();
        self.run(env!("CARGO_BIN_EXE_corten"), &all)
    }

    /// The admin's kubeconfig, written on the first call.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        if !path.exists() {
            std::fs::write(&path, self.corten(&["kubeconfig"]).expect_ok("kubeconfig")).unwrap();
        }
        path
    }

    pub fn kubectl(&self, args: &[&str]) -> Outcome {
        self.kubectl_of("kubectl", args)
    }

    pub fn kubectl_of(&self, program: &str, args: &[&str]) -> Outcome {
        let config = format!("--kubeconfig={}", self.kubeconfig().display());
        let all: Vec<&str> = std::iter::once(config.as_str()).chain(args.iter().copied()).collect();
        self.run(program, &all)
    }

    /// The pid of a part, if it runs.
    pub fn part(&self, name: &str) -> Option<i32> {
        let outcome = self.corten(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&outcome.stdout).ok()?;
        let process = status["processes"].as_array()?.iter().find(|process| process["name"] == name)?;
        process["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    pub fn api_port(&self) -> u16 {
        stdx::Instance::new(&self.instance, None).unwrap().api_port()
    }

    pub fn netns_path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns.0)
    }

    /// The folder of the cluster's keys.
    pub fn pki(&self) -> PathBuf {
        self.root().join("control/pki")
    }

    pub fn kill(&self, pid: i32) {
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Pids of all container processes: what is in the instance's cgroups.
    pub fn containers(&self) -> BTreeSet<i32> {
        let name = stdx::Instance::new(&self.instance, None).unwrap().cgroup();
        let mut pids = BTreeSet::new();
        for hierarchy in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            collect(&Path::new(hierarchy).join(&name), &mut pids);
        }
        pids
    }

    /// Asks again until it is so.
    pub fn wait_for(&self, what: &str, is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {} s\n{}", PATIENCE.as_secs(), self.logs());
            // A process outside is asked; there is no event to wait for.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn logs(&self) -> String {
        let outcome = self.corten(&["logs", "-n", "15"]);
        outcome.stdout + &outcome.stderr
    }

    /// A program that listens on the port, until dropped.
    pub fn listen(&self, port: u16) -> Listener {
        let script =
            format!("import socket,sys;s=socket.socket();s.bind(('0.0.0.0',{port}));s.listen();print('up',flush=True);sys.stdin.read()");
        let mut child = self.command("python3").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        Listener(child)
    }

    /// Requests one after another, each over a connection of its own, until stopped.
    pub fn client_loop(&self, url: &str) -> ClientLoop {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, netns, url) = (Arc::clone(&stop), self.netns.0.clone(), url.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut answered, mut failed) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let output = Command::new("nsenter")
                    .arg(format!("--net=/run/netns/{netns}"))
                    .args(["curl", "-sS", "-m", "2", "-o", "/dev/null", &url])
                    .output();
                let output = output.expect("curl starts");
                if output.status.success() {
                    answered += 1;
                } else {
                    failed.push(FailedRequest { at: Instant::now(), error: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
                }
            }
            (answered, failed)
        });
        ClientLoop { stop, thread }
    }

    /// Resets and looks for leftovers: processes, mounts, links, rules, cgroups, folders.
    pub fn reset_leaves_nothing(&self) {
        self.corten(&["reset", "--yes"]).expect_ok("reset");
        let instance = stdx::Instance::new(&self.instance, None).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.run_dir().to_string_lossy()), "a mount is left");
        assert!(self.containers().is_empty(), "a container is left");
        assert!(!self.run_dir().exists() && !self.root().exists(), "a folder is left");
        let links = self.run("ip", &["-o", "link"]).expect_ok("links");
        assert!(!links.contains(&format!(" {}", instance.link())), "a link is left: {links}");
        for hierarchy in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            assert!(!Path::new(hierarchy).join(instance.cgroup()).exists(), "a cgroup is left in {hierarchy}");
        }
        let ours = format!("--instance\0{}\0", self.instance);
        let running = std::fs::read_dir("/proc").unwrap().flatten().find(|entry| {
            std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|argv| argv.contains("corten\0") && argv.contains(&ours))
        });
        assert!(running.is_none(), "a process is left: {running:?}");
    }
}

impl Drop for Machine {
    /// Also after a failed test nothing may stay.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.corten(&["reset", "--yes"]);
    }
}

pub struct Listener(std::process::Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program under way; it is killed when dropped.
pub struct Running {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    /// The next line that contains `part`; None at the end of the output, or after a bound.
    pub fn line_with(&self, part: &str) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return Some(line);
            }
        }
        None
    }

    /// Whether its output came to its end without our doing, within a bound.
    pub fn ends(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(error) => return error == std::sync::mpsc::RecvTimeoutError::Disconnected,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that was not answered, and when that was known.
#[derive(Debug)]
#[expect(dead_code, reason = "the error is read in the panic's text")]
pub struct FailedRequest {
    pub at: Instant,
    pub error: String,
}

pub struct ClientLoop {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<FailedRequest>)>,
}

impl ClientLoop {
    /// How many requests were answered, and the errors of those that were not.
    pub fn stop(self) -> (usize, Vec<FailedRequest>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the loop ends")
    }
}

fn exists(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|folder| folder.join(tool).exists()))
}

/// At most fifteen characters, different in each run.
fn instance(name: &str) -> String {
    format!("{name}-{}", std::process::id() % 10_000)
}

fn folder() -> tempfile::TempDir {
    // Not below /tmp of mode 0700: the control process, which is not root, must reach its state.
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own folder");
    folder
}

fn collect(folder: &Path, pids: &mut BTreeSet<i32>) {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids);
        }
    }
}
