//! The keeper's loop: one thread, one epoll, no disk or network of its own.
//!
//! ```text
//! launcher reports ─┐
//! SIGCHLD, pidfds  ─┼─► Keeper ──► answers and exits to connections
//! connections      ─┘      └─────► starts of control and node, with back-off
//! ```

mod adopt;
mod children;
mod connections;
mod processes;
mod setup;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use env::Env;
use runtime::cgroup::Cgroups;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::{WaitOptions, wait};
use tokio::time::Instant;

use self::children::Children;
use self::connections::{Connections, Token};
use self::processes::{Order, Processes};
use crate::KeeperConfig;
use crate::control::Status;
use crate::protocol::{Answer, Call, Message, Places, Request};

/// Events handled per wake-up.
const EVENTS: usize = 64;

/// Runs the keeper in this process until it is told to shut down; returns the exit code. Single-threaded: call it
/// before any runtime or thread exists.
pub fn run(config: KeeperConfig) -> i32 {
    match setup::become_keeper(&config) {
        Ok(setup::Role::Caller(code)) => code,
        Ok(setup::Role::Keeper(ready)) => Keeper::new(config, ready).map_or_else(|error| report(&error), Keeper::serve),
        Err(error) => report(&error),
    }
}

fn report(error: &std::io::Error) -> i32 {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "keeper: {error}");
    1
}

struct Keeper {
    env: Env,
    places: Places,
    cgroup: PathBuf,
    epoll: OwnedFd,
    signals: OwnedFd,
    connections: Connections,
    processes: Processes,
    children: Children,
    /// Descriptors kept for others, by name.
    store: Vec<(String, OwnedFd)>,
    stop: Option<Stop>,
    /// Processes that are not our children, by the number of their [`Source::Adopted`].
    adopted: Vec<(u32, OwnedFd)>,
    _lock: OwnedFd,
}

/// A stop under way.
struct Stop {
    token: Token,
    number: u64,
    shutdown: bool,
}

/// What an epoll event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Listener,
    Signals,
    Connection(Token),
    /// A launcher's report.
    Launch(u64),
    /// A process that is not our child.
    Adopted(u64),
}

impl Source {
    fn data(self) -> EventData {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Connection(token) => (2, token),
            Self::Launch(number) => (3, number),
            Self::Adopted(number) => (4, number),
        };
        EventData::new_u64(number << 3 | kind)
    }

    fn of(data: EventData) -> Self {
        let number = data.u64() >> 3;
        match data.u64() & 7 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(number),
            3 => Self::Launch(number),
            _ => Self::Adopted(number),
        }
    }
}

/// Watches a descriptor for input.
fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>, source: Source) -> std::io::Result<()> {
    Ok(epoll::add(epoll, fd, source.data(), EventFlags::IN)?)
}

/// Watches a socket for its end alone.
fn watch_end(epoll: &OwnedFd, fd: BorrowedFd<'_>, source: Source) -> std::io::Result<()> {
    Ok(epoll::add(epoll, fd, source.data(), EventFlags::RDHUP)?)
}

impl Keeper {
    fn new(config: KeeperConfig, ready: setup::Ready) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let signals = sys::signal::signal_fd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
        watch(&epoll, ready.listener.as_fd(), Source::Listener)?;
        watch(&epoll, signals.as_fd(), Source::Signals)?;
        let env = Env::real();
        let mut keeper = Self {
            places: Places::new(&config.instance.run_dir()),
            cgroup: config.instance.cgroup().into(),
            connections: Connections::new(ready.listener),
            processes: Processes::default(),
            children: Children::new(config.children, config.argv, config.env, config.instance.run_dir()),
            store: Vec::new(),
            stop: None,
            adopted: Vec::new(),
            _lock: ready.lock,
            env,
            epoll,
            signals,
        };
        adopt::containers(&mut keeper);
        adopt::children(&mut keeper);
        keeper.children.remember();
        ready.caller.say_ready();
        Ok(keeper)
    }

    fn serve(mut self) -> i32 {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = self.env.instant();
            self.children.start_due(now);
            let timeout = self.next_deadline().map(|at| timespec(at.saturating_duration_since(now)));
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return report(&error.into()),
            }
            for event in &events {
                self.handle(Source::of(event.data), event.flags);
            }
            if self.finish_stop() {
                return 0;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.children.next_deadline()
    }

    fn handle(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Listener => self.connections.accept(&self.epoll),
            Source::Signals => self.signals_arrived(),
            Source::Launch(number) => self.launch_reported(number),
            Source::Adopted(number) => self.adopted_ended(number),
            Source::Connection(token) => self.connection_ready(token, flags),
        }
    }

    fn connection_ready(&mut self, token: Token, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.connections.flush(&self.epoll, token);
        }
        while let Some(message) = self.connections.receive(token) {
            match serde_json::from_slice::<Call>(&message.bytes) {
                Ok(call) => self.answer(token, call, message.fds),
                Err(error) => return self.disconnect(token, &error.to_string()),
            }
        }
        if self.connections.is_closed(token) {
            self.disconnect(token, "closed");
        }
    }

    /// What was started for this connection alone ends with it.
    fn disconnect(&mut self, token: Token, _reason: &str) {
        self.connections.remove(token);
        self.processes.kill_of(token);
    }

    fn answer(&mut self, token: Token, call: Call, mut fds: Vec<OwnedFd>) {
        let number = call.number;
        let answer = match call.request {
            Request::Start { id, launcher, exec, held } => match self.start(token, number, Order { id, launcher, exec, held }, fds) {
                Ok(()) => return,
                Err(reason) => Answer::Refused(reason),
            },
            Request::Observe { after } => Answer::Entries(self.processes.page(after.as_deref())),
            Request::Taken { id } => self.processes.taken(&id),
            Request::Remove { id } => self.processes.remove(&id),
            Request::CloseStdin { id } => self.processes.close_stdin(&id),
            Request::Terminal { id } => {
                let fd = self.processes.terminal(&id).and_then(|fd| fd.try_clone().ok());
                return self.send(token, number, Answer::Descriptor, fd.as_ref());
            }
            Request::Put { name } => match fds.pop() {
                Some(fd) => self.put(name, fd),
                None => Answer::Refused("no descriptor came with it".into()),
            },
            Request::Get { name } => {
                let fd = self.store.iter().find(|(known, _)| *known == name).and_then(|(_, fd)| fd.try_clone().ok());
                return self.send(token, number, Answer::Descriptor, fd.as_ref());
            }
            Request::Status => Answer::Status(self.status()),
            Request::StartChildren => {
                self.children.resume(self.env.instant());
                Answer::Done
            }
            Request::StopChildren { grace_ms } => return self.begin_stop(token, number, grace_ms, false),
            Request::Shutdown { grace_ms } => return self.begin_stop(token, number, grace_ms, true),
        };
        self.send(token, number, answer, None);
    }

    fn send(&mut self, token: Token, number: u64, answer: Answer, fd: Option<&OwnedFd>) {
        let fds: Vec<OwnedFd> = fd.and_then(|fd| fd.try_clone().ok()).into_iter().collect();
        self.connections.send(&self.epoll, token, &Message::Answer { number, answer }, fds);
    }

    fn put(&mut self, name: String, fd: OwnedFd) -> Answer {
        self.store.retain(|(known, _)| *known != name);
        self.store.push((name, fd));
        Answer::Done
    }

    fn status(&self) -> Status {
        Status { pid: std::process::id(), children: self.children.status(), containers: self.processes.running() as u32 }
    }

    fn signals_arrived(&mut self) {
        while let Ok(Some(signal)) = sys::signal::next_signal(&self.signals) {
            match signal {
                libc::SIGCHLD => self.reap(),
                // Asked to end by whoever shuts the machine down: the children end properly, containers stay.
                libc::SIGTERM | libc::SIGINT => self.begin_stop(0, 0, 10_000, false),
                _ => {}
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let (pid, status) = (pid.as_raw_nonzero().get() as u32, status.as_raw());
            let now = self.env.instant();
            if !self.children.ended(pid, Some(status), now) {
                self.process_ended(pid, Some(status));
            }
        }
    }

    fn process_ended(&mut self, pid: u32, status: Option<i32>) {
        let finished_at = processes::nanos(&self.env);
        if let Some(ended) = self.processes.ended(pid, status, finished_at) {
            self.tell_exit(ended);
        }
    }

    fn tell_exit(&mut self, ended: processes::Told) {
        match ended.owner {
            Some(token) => self.connections.send(&self.epoll, token, &Message::Exited(ended.exit), Vec::new()),
            None => self.connections.broadcast(&self.epoll, &Message::Exited(ended.exit)),
        }
    }

    fn begin_stop(&mut self, token: Token, number: u64, grace_ms: u64, shutdown: bool) {
        if self.stop.as_ref().is_some_and(|stop| stop.shutdown) {
            return self.send(token, number, Answer::Refused("a shutdown is under way".into()), None);
        }
        self.stop = Some(Stop { token, number, shutdown });
        self.children.stop(self.env.instant(), Duration::from_millis(grace_ms));
    }

    /// Goes on with a stop; true when the keeper itself is to end.
    fn finish_stop(&mut self) -> bool {
        if self.stop.is_none() || !self.children.all_stopped() {
            return false;
        }
        let by_signal = self.stop.as_ref().is_some_and(|stop| stop.token == 0);
        if self.stop.as_ref().is_some_and(|stop| stop.shutdown) {
            self.processes.kill_all();
            if let Ok(cgroups) = Cgroups::detect() {
                let _ = cgroups.kill(&self.cgroup);
            }
            if self.processes.running() > 0 || self.processes.launching() {
                return false;
            }
            setup::clean(&self.places, &self.cgroup);
        }
        let Some(stop) = self.stop.take() else { return false };
        self.send(stop.token, stop.number, Answer::Done, None);
        stop.shutdown || by_signal
    }
}

fn timespec(duration: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
