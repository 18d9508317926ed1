//! A place for one cluster: namespace, instance, folder; and what a test asks of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::busybox;

/// A bound for hangs, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    netns: Arc<Netns>,
    instance: String,
    root: PathBuf,
    /// Goes before the folder that it is mounted in.
    _disk: Option<Disk>,
    folder: tempfile::TempDir,
    _place: Place,
}

/// Tests share the machine, but for those whose claim is about time.
static MACHINE: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "held, not read")]
enum Place {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
    /// Within another cluster's.
    Guest,
}

/// A file system of a bounded size.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, mebibytes: usize) -> Self {
        std::fs::create_dir(&at).expect("our own folder");
        let size = format!("size={mebibytes}m,mode=755");
        assert!(
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status().unwrap().success(),
            "a disk is mounted"
        );
        Self(at)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A network namespace with loopback up and nothing else.
struct Netns(String);

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

pub(crate) struct Outcome {
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
    pub(crate) fn expect_ok(self, what: &str) -> String {
        assert!(self.success, "{what} failed:\n{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

impl Machine {
    /// None, and a line that says why, where the test cannot run.
    pub(crate) fn new(name: &str, tools: &[&str]) -> Option<Self> {
        let place = Place::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner));
        Self::at(name, tools, place, None)
    }

    /// As `new`, while no other test has a cluster.
    pub(crate) fn alone(name: &str, tools: &[&str]) -> Option<Self> {
        let place = Place::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner));
        Self::at(name, tools, place, None)
    }

    /// As `new`, with its state on a disk of so many MiB.
    pub(crate) fn on_disk(name: &str, tools: &[&str], mebibytes: usize) -> Option<Self> {
        let place = Place::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner));
        Self::at(name, tools, place, Some(mebibytes))
    }

    fn at(name: &str, tools: &[&str], place: Place, disk: Option<usize>) -> Option<Self> {
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
        let folder = folder();
        let disk = disk.map(|mebibytes| Disk::mount(folder.path().join("disk"), mebibytes));
        let root = disk.as_ref().map_or_else(|| folder.path().to_owned(), |disk| disk.0.clone()).join("state");
        let machine = Self { instance: instance(name), netns: Arc::new(netns), root, _disk: disk, folder, _place: place };
        machine.run("ip", &["link", "set", "lo", "up"]).expect_ok("loopback");
        Some(machine)
    }

    /// Another cluster in the same namespace.
    pub(crate) fn neighbour(&self, name: &str) -> Self {
        let folder = folder();
        let root = folder.path().join("state");
        // Ports and ranges are drawn from the name: two of 199 may meet.
        let meets = |other: &String| stdx::Instance::new(other, None).unwrap().api_port() == self.api_port();
        let other = (0..10).map(|n| instance(&format!("{name}{n}"))).find(|other| !meets(other)).expect("ten names do not all meet");
        Self { instance: other, netns: Arc::clone(&self.netns), root, _disk: None, folder, _place: Place::Guest }
    }

    /// Where the cluster keeps its state.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        Path::new("/run/corten").join(&self.instance)
    }

    /// Runs a program in the namespace.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Outcome {
        self.command(program).args(args).stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{program}: {error}")).into()
    }

    /// Runs a program in the namespace that reads `input` and then its end.
    pub(crate) fn run_fed(&self, program: &str, args: &[&str], input: &str) -> Outcome {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes()); // a program may end without reading it
        drop(stdin);
        child.wait_with_output().expect("its output").into()
    }

    /// Starts a program in the namespace whose lines are read while it runs.
    pub(crate) fn start(&self, program: &str, args: &[&str]) -> Running {
        self.starter(program, args)(&[])
    }

    /// Starts the program again and again, with more arguments each time, from another thread.
    pub(crate) fn starter(&self, program: &str, args: &[&str]) -> impl Fn(&[String]) -> Running + Send + use<> {
        let (netns, home) = (Arc::clone(&self.netns), self.folder.path().to_owned());
        let (program, args) = (program.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        move |more| {
            let mut command = command(&netns, &home, &program);
            command.args(&args).args(more).stdin(Stdio::null()).stdout(Stdio::piped());
            running(command)
        }
    }

    /// Where a test puts its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        command(&self.netns, self.folder.path(), program)
    }

    pub(crate) fn corten(&self, args: &[&str]) -> Outcome {
        self.corten_as(&self.instance, &self.root, args)
    }

    /// With another name or folder than this cluster's own.
    pub(crate) fn corten_as(&self, instance: &str, root: &Path, args: &[&str]) -> Outcome {
        let all: Vec<&str> = args.iter().copied().chain(["--instance", instance, "--root", root.to_str().unwrap()]).collect();
        self.run(self.program(), &all)
    }

    pub(crate) fn program(&self) -> &'static str {
        env!("CARGO_BIN_EXE_corten")
    }

    /// Gives the node an image with a shell, tools and curl.
    pub(crate) fn import_busybox(&self) {
        let archive = busybox::archive(self.folder());
        self.corten(&["image", "import", &archive, busybox::NAME]).expect_ok("image import");
    }

    /// Creates what the manifest says.
    pub(crate) fn create(&self, manifest: &str) {
        self.run_fed("kubectl", &[&self.kubeconfig_argument(), "create", "-f", "-"], manifest).expect_ok("create");
    }

    /// Waits until the pod is ready.
    pub(crate) fn ready(&self, pod: &str) {
        self.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"]).expect_ok("a pod is ready");
    }

    /// The admin's kubeconfig, written on the first call.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        if !path.exists() {
            std::fs::write(&path, self.corten(&["kubeconfig"]).expect_ok("kubeconfig")).unwrap();
        }
        path
    }

    pub(crate) fn kubeconfig_argument(&self) -> String {
        format!("--kubeconfig={}", self.kubeconfig().display())
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Outcome {
        self.kubectl_of("kubectl", args)
    }

    pub(crate) fn kubectl_of(&self, program: &str, args: &[&str]) -> Outcome {
        let config = self.kubeconfig_argument();
        let all: Vec<&str> = std::iter::once(config.as_str()).chain(args.iter().copied()).collect();
        self.run(program, &all)
    }

    /// The pid of a part, if it runs.
    pub(crate) fn part(&self, name: &str) -> Option<i32> {
        let outcome = self.corten(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&outcome.stdout).ok()?;
        let process = status["processes"].as_array()?.iter().find(|process| process["name"] == name)?;
        process["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    pub(crate) fn api_port(&self) -> u16 {
        stdx::Instance::new(&self.instance, None).unwrap().api_port()
    }

    pub(crate) fn netns_path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns.0)
    }

    /// The folder of the cluster's keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.root().join("control/pki")
    }

    /// Kills parts at the same moment, as good as that can be done, and waits until they are gone.
    pub(crate) fn kill_parts(&self, names: &[&str]) {
        let pids: Vec<i32> = names.iter().map(|name| self.part(name).unwrap_or_else(|| panic!("{name} runs"))).collect();
        pids.iter().for_each(|pid| self.kill(*pid));
        for pid in pids {
            self.wait_for("a killed part is gone", || !is_alive(pid));
        }
    }

    /// Kills a part and waits until another one answers in its place.
    pub(crate) fn replace_part(&self, name: &str) {
        let pid = self.part(name).unwrap_or_else(|| panic!("{name} runs"));
        self.kill(pid);
        self.wait_for(&format!("a new {name}"), || self.part(name).is_some_and(|new| new != pid));
        self.wait_for("the API", || self.corten(&["status"]).success);
    }

    pub(crate) fn kill(&self, pid: i32) {
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Pids of all container processes: what is in the instance's cgroups.
    pub(crate) fn containers(&self) -> BTreeSet<i32> {
        let name = stdx::Instance::new(&self.instance, None).unwrap().cgroup();
        let mut pids = BTreeSet::new();
        for hierarchy in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            collect(&Path::new(hierarchy).join(&name), &mut pids);
        }
        pids
    }

    /// Those of them whose command line has `part`.
    pub(crate) fn processes_named(&self, part: &str) -> Vec<i32> {
        let has = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|argv| argv.contains(part));
        self.containers().into_iter().filter(has).collect()
    }

    /// Asks again until it is so.
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {} s\n{}", PATIENCE.as_secs(), self.logs());
            // A process outside is asked; there is no event to wait for.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn logs(&self) -> String {
        let outcome = self.corten(&["logs", "-n", "15"]);
        outcome.stdout + &outcome.stderr
    }

    /// A program that listens on the port, until dropped.
    pub(crate) fn listen(&self, port: u16) -> Listener {
        let script =
            format!("import socket,sys;s=socket.socket();s.bind(('0.0.0.0',{port}));s.listen();print('up',flush=True);sys.stdin.read()");
        let mut child = self.command("python3").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        Listener(child)
    }

    /// Resets and looks for leftovers: processes, mounts, links, rules, cgroups, folders.
    pub(crate) fn reset_leaves_nothing(&self) {
        self.corten(&["reset", "--yes"]).expect_ok("reset");
        self.nothing_is_left();
        assert!(!self.root().exists(), "the state is left");
    }

    /// Looks for what a cluster that is down may not have: all but its state.
    pub(crate) fn nothing_is_left(&self) {
        let instance = stdx::Instance::new(&self.instance, None).unwrap();
        assert_eq!(self.mounted(), None, "a mount, or a namespace that has one, is left");
        assert!(self.containers().is_empty(), "a container is left");
        assert!(!self.run_dir().exists(), "a folder is left");
        if exists("nft") {
            let rules = self.run("nft", &["list", "ruleset"]).expect_ok("rules");
            assert!(!rules.contains(&instance.table()), "a rule is left: {rules}");
        }
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

    /// A process whose mount namespace shows something of the cluster's run folder.
    fn mounted(&self) -> Option<PathBuf> {
        let run_dir = format!(" {}/", self.run_dir().display());
        let shows = |process: &PathBuf| std::fs::read_to_string(process.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&run_dir));
        std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).find(shows)
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

pub(crate) struct Listener(std::process::Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program under way; it is killed when dropped.
pub(crate) struct Running {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// The next line; None at the end of the output. An error where there is none yet.
    pub(crate) fn line_within(&self, patience: Duration) -> Result<Option<String>, ()> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(()),
        }
    }

    /// The next line that contains `part`; None at the end of the output, or after a bound.
    pub(crate) fn line_with(&self, part: &str) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return Some(line);
            }
        }
        None
    }

    /// Whether its output came to its end without our doing, within a bound.
    pub(crate) fn ends(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(error) => return error == RecvTimeoutError::Disconnected,
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

/// A program in the namespace, with a home of its own.
fn command(netns: &Netns, home: &Path, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", netns.0)).arg(program);
    command.env("HOME", home).env_remove("KUBECONFIG").env_remove("SUDO_UID");
    command
}

fn running(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let (lines_tx, lines) = std::sync::mpsc::sync_channel(1000);
    // Ends with the child's output, or when nobody reads any more.
    std::thread::spawn(move || std::io::BufRead::lines(stdout).map_while(Result::ok).try_for_each(|line| lines_tx.send(line)));
    Running { child, lines }
}

/// Neither gone nor a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z" && state != "X")
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
