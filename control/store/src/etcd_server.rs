//! A real etcd for tests: a process of its own, on free loopback ports, with its data in a temporary folder; ended and
//! removed when dropped. Where the machine has no `etcd` (Debian's package etcd-server), tests say so and skip.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What etcd says when it serves.
const READY: &str = "ready to serve client requests";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where etcd finds its side of TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who signs clients' certificates, which it then wants.
    pub client_ca: PathBuf,
}

/// A running etcd with one member.
pub struct EtcdServer {
    dir: PathBuf,
    client_port: u16,
    peer_port: u16,
    arguments: Vec<String>,
    /// What starts it: itself, or a program that becomes it.
    launcher: Vec<String>,
    is_tls: bool,
    child: Option<Child>,
}

impl EtcdServer {
    /// None, said on stdout, where there is no etcd. `arguments` are added to its own.
    pub fn start(arguments: &[&str], tls: Option<&ServerTls>) -> Option<Self> {
        Self::start_by(&[], arguments, tls)
    }

    /// By a program that becomes etcd after some change of its own: `nsenter --net=…`.
    pub fn within(launcher: &[&str]) -> Option<Self> {
        Self::start_by(launcher, &[], None)
    }

    fn start_by(launcher: &[&str], arguments: &[&str], tls: Option<&ServerTls>) -> Option<Self> {
        if !is_installed() {
            say_skipped();
            return None;
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("corten-etcd-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder can be made");
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let (mut arguments, launcher) = (owned(arguments), owned(&[launcher, &["etcd"]].concat()));
        if let Some(tls) = tls {
            let files = [("--cert-file", &tls.certificate), ("--key-file", &tls.key), ("--trusted-ca-file", &tls.client_ca)];
            arguments.extend(files.map(|(flag, path)| format!("{flag}={}", path.display())));
            arguments.push("--client-cert-auth".into());
        }
        let (client_port, peer_port) = free_ports();
        let mut server = Self { dir, client_port, peer_port, arguments, launcher, is_tls: tls.is_some(), child: None };
        server.run();
        Some(server)
    }

    /// A plain one.
    pub fn plain() -> Option<Self> {
        Self::start(&[], None)
    }

    /// Its client URL.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// Its client port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.client_port
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // it may have ended by itself
            child.wait().expect("a child of ours can be waited for");
        }
    }

    /// Starts it again on the same data and ports.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it does not run");
        let mut child = self.command().spawn().expect("etcd starts");
        let lines = BufReader::new(child.stderr.take().expect("its stderr is ours")).lines();
        self.child = Some(child);
        let (ready_tx, ready_rx) = mpsc::channel();
        std::thread::spawn(move || {
            // To its end: a pipe that nobody reads would stop etcd.
            for line in lines.map_while(Result::ok) {
                let _ = ready_tx.send(line); // nobody listens any more once it is ready
            }
        });
        let mut said = Vec::new();
        loop {
            match ready_rx.recv_timeout(START_TIMEOUT) {
                Ok(line) if line.contains(READY) => return,
                Ok(line) => said.push(line),
                Err(error) => panic!("etcd does not start ({error}):\n{}", said.join("\n")),
            }
        }
    }

    /// A call through its JSON gateway, as an operator makes with other tools: `("/v3/kv/compaction", r#"{"revision": "7"}"#)`.
    /// Returns the answer with its head.
    pub fn post(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.client_port)).expect("etcd listens");
        let length = body.len();
        let request = format!("POST {path} HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).expect("etcd reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("etcd answers in text");
        answer
    }

    /// Makes room as an operator does who was told that etcd is full: forgets history, gives the space back, ends the alarm.
    pub fn make_room(&self) {
        let status = self.post("/v3/maintenance/status", "{}");
        let text = |name: &str| status.split(&format!("\"{name}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
        let (revision, member) = text("revision").zip(text("member_id")).expect("a status has a header");
        self.post("/v3/kv/compaction", &format!("{{\"revision\": \"{revision}\", \"physical\": true}}"));
        self.post("/v3/maintenance/defragment", "{}");
        let alarm = format!("{{\"action\": \"DEACTIVATE\", \"alarm\": \"NOSPACE\", \"memberID\": \"{member}\"}}");
        self.post("/v3/maintenance/alarm", &alarm);
    }

    /// Removes its data; it must not run.
    pub fn wipe(&mut self) {
        assert!(self.child.is_none(), "it does not run");
        std::fs::remove_dir_all(self.data_dir()).expect("its data can be removed");
    }

    /// SIGSTOP: it is there and silent.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().map(Pid::from_child).expect("it runs");
        kill_process(pid, signal).expect("a child of ours can be signalled");
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self) -> Command {
        #[expect(clippy::disallowed_methods, reason = "tests start a process of their own")]
        let mut command = Command::new(&self.launcher[0]);
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        command
            .args(&self.launcher[1..])
            .args(["--name=test", &format!("--data-dir={}", self.data_dir().display())])
            .args([&format!("--listen-client-urls={client}"), &format!("--advertise-client-urls={client}")])
            .args([&format!("--listen-peer-urls={peer}"), &format!("--initial-advertise-peer-urls={peer}")])
            .arg(format!("--initial-cluster=test={peer}"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir); // what is left is in a temporary folder
    }
}

/// Whether there is an `etcd` to run.
pub fn is_installed() -> bool {
    ["/usr/bin/etcd", "/usr/local/bin/etcd"].iter().any(|path| Path::new(path).exists())
}

#[expect(clippy::print_stdout, reason = "a test says what it skipped")]
fn say_skipped() {
    println!("skipped: there is no etcd on this machine (Debian: apt-get install etcd-server)");
}

fn free_ports() -> (u16, u16) {
    let free = || TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let (a, b) = (free(), free());
    let port = |listener: &TcpListener| listener.local_addr().expect("a bound socket has an address").port();
    (port(&a), port(&b))
}
