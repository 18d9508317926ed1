//! A container from start to removal, as the node drives it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{ContainerSpec, ContainerState, Error, ErrorKind, Exit, Result, SandboxSpec, Streams};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, pidfd_send_signal};
use sys::pidfd::WaitStatus;
use tokio::sync::mpsc;

use super::logs::{Log, Stamp, Stream};
use super::plans::{self, SandboxPlaces, pod_group};
use super::sandboxes::remove_folder;
use super::state::{Container, EXIT_FILE, Running, SPEC_FILE};
use super::streams::{Output, closed, resizer, writer};
use super::{Inner, refused};
use crate::pipes::Pipes;
use crate::protocol::{Answer, Ended, Launcher, PROCESS_FILE, ProcessFile, Request, write_whole};

/// After its end, output that a stray process still holds open is waited for so long.
const DRAIN: Duration = Duration::from_secs(2);
/// What upstream reports where nobody saw the exit.
const UNKNOWN_CODE: i32 = 137;

impl Inner {
    pub(super) async fn start_container(self: &Arc<Self>, spec: ContainerSpec) -> Result<ContainerState> {
        let container = self.announce(spec)?;
        match self.launch(&container).await {
            Ok(()) => container.state().ok_or_else(|| Error::new(ErrorKind::Io, "the container vanished while it started")),
            Err(error) => {
                // Whatever came of it (the keeper may have died over it) must not go on unseen.
                self.discard(&container).await;
                Err(error)
            }
        }
    }

    /// Makes it known before anything happens, so that an exit that comes at once finds it.
    fn announce(&self, spec: ContainerSpec) -> Result<Arc<Container>> {
        let id = spec.id.clone();
        let good = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !good {
            return Err(Error::new(ErrorKind::Invalid, format!("container id {id:?}")));
        }
        let mut containers = self.containers.lock().expect("no holder panics");
        if containers.contains_key(&id) {
            return Err(Error::new(ErrorKind::Invalid, format!("container {id} exists: ids never come back")));
        }
        let group = pod_group(&self.group, &spec.pod_uid).join(&id);
        let container = Container::new(spec, group, &self.places.container(&id));
        containers.insert(id, container.clone());
        Ok(container)
    }

    async fn launch(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let spec = &container.spec;
        let sandbox = self.sandbox_spec(&spec.pod_uid);
        let sandbox = sandbox.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("pod {} has no sandbox", spec.pod_uid)))?;
        let io = |error: io::Error| Error::io(format_args!("container {}", spec.name), error);
        self.cgroups.create(&container.group, &plans::limits(&spec.resources)).map_err(io)?;
        self.cgroups.confine(&container.group, &plans::devices(spec)).map_err(io)?;
        let mut join = plans::join(&self.cgroups, &container.group, spec);
        let folder = self.sandbox_folder(&spec.pod_uid)?;
        let places = SandboxPlaces { spec: &sandbox, folder: &folder, scratch: &self.places.scratch() };
        let direct = self.cgroups.v2_is_bare() && plans::own_pids(spec, &sandbox);
        let into = if direct { join.v2.take() } else { None };
        let launcher = if direct { Launcher::Init { cgroup: into.is_some() } } else { Launcher::Parent };
        let plan = plans::container(spec, &places, join, self.cgroups.view(&container.group))?;

        std::fs::create_dir_all(&container.folder).map_err(io)?;
        write_whole(&container.folder.join(SPEC_FILE), spec).map_err(io)?;
        let log = self.open_log(container).map_err(|error| Error::io(spec.stdio.log_path.display(), error))?;
        let pipes = Pipes::of(&container.folder);
        let mut fds = vec![plan.seal().map_err(io)?];
        if plan.wants_pidfd() {
            fds.push(self.shared_pids(spec, &sandbox)?);
        }
        let into = into.map(|folder| open_folder(&folder)).transpose().map_err(io)?;
        let (mut held, mut sources) = (0, Vec::new());
        if spec.stdio.tty {
            fds.extend(into);
        } else {
            pipes.make(spec.stdio.stdin).map_err(io)?;
            fds.extend(pipes.inner(spec.stdio.stdin).map_err(io)?);
            fds.extend(into);
            let kept = pipes.held().map_err(io)?;
            held = kept.len();
            fds.extend(kept);
            sources = outputs(&pipes).map_err(io)?;
        }
        let (answer, mut fds) = self.call(Request::Start { id: spec.id.clone(), launcher, exec: false, held }, fds).await?;
        let Answer::Started { pid, start_ticks, started_at } = answer else { return Err(refused(answer)) };
        let process = ProcessFile { pid, start_ticks, started_at };
        write_whole(&container.folder.join(PROCESS_FILE), &process).map_err(io)?;
        let terminal = (fds.len() > 1).then(|| fds.remove(1));
        if let Some(master) = &terminal {
            sources = vec![(Stream::Stdout, super::streams::nonblocking(master.try_clone().map_err(io)?).map_err(io)?)];
        }
        let output = Output::start(&self.env, log, sources).map_err(io)?;
        container.set_running(Running { process, pidfd: fds.pop(), terminal, output });
        Ok(())
    }

    /// A process in the PID namespace that the container shares: the pod's pause, else its target.
    fn shared_pids(&self, spec: &ContainerSpec, sandbox: &SandboxSpec) -> Result<OwnedFd> {
        let Some(target) = spec.pid_target.as_deref().filter(|_| !sandbox.share_pid) else { return self.pause_pidfd(&spec.pod_uid) };
        let container = self.container(target)?;
        let running = container.running().filter(|_| container.exit().is_none()).and_then(|running| running.pidfd.as_ref());
        let pidfd = running.ok_or_else(|| Error::new(ErrorKind::Start, format!("target container {target} is not running")))?;
        pidfd.try_clone().map_err(|error| Error::io(format_args!("target container {target}"), error))
    }

    /// Takes back a start that failed.
    async fn discard(&self, container: &Container) {
        let _ = self.cgroups.kill(&container.group);
        let _ = self.remove_group(&container.group).await;
        let _ = self.call(Request::Remove { id: container.spec.id.clone() }, Vec::new()).await;
        let _ = remove_folder(&container.folder);
        self.containers.lock().expect("no holder panics").remove(&container.spec.id);
    }

    /// The keeper says that something ended.
    pub(super) fn ended(self: &Arc<Self>, ended: Ended) {
        let exec = self.execs.lock().expect("no holder panics").remove(&ended.id);
        if let Some(exec) = exec {
            let _ = exec.send(exit_of(&ended, false));
        } else if let Ok(container) = self.container(&ended.id) {
            self.env.spawn("container exit", self.clone().finish(container, ended));
        }
    }

    /// Everything it wrote is in its log, and why it ended is known, before anybody hears of the exit.
    pub(super) async fn finish(self: Arc<Self>, container: Arc<Container>, ended: Ended) {
        let Some(running) = container.wait_running().await else { return };
        if container.exit().is_some() {
            return;
        }
        // Without a PID namespace of its own, what it left behind still runs.
        let _ = self.cgroups.kill(&container.group);
        running.output.drained(DRAIN).await;
        let status = ended
            .status
            .or_else(|| running.pidfd.as_ref().and_then(|fd| sys::pidfd::exit_status(fd).ok().flatten()).map(|status| status.0));
        let oom_killed = self.cgroups.oom_kills(&container.group) > 0;
        let exit = exit_of(&Ended { status, ..ended }, oom_killed);
        if let Err(error) = write_whole(&container.folder.join(EXIT_FILE), &exit) {
            tracing::warn!(container = container.spec.id, %error, "a restart of the node may report this exit differently");
        }
        container.set_exit(exit.clone());
        self.untaken.lock().expect("no holder panics").push_back(exit);
        self.untaken_grew.notify_one();
        let _ = self.remove_group(&container.group).await;
    }

    /// Passes exits on one by one; one that nobody took stays first.
    pub(super) async fn hand_out_exits(self: Arc<Self>, exits: mpsc::Sender<Exit>) {
        loop {
            let next = self.untaken.lock().expect("no holder panics").front().cloned();
            let Some(exit) = next else {
                tokio::select! {
                    () = self.untaken_grew.notified() => continue,
                    () = exits.closed() => return,
                    () = self.env.shutdown().cancelled() => return,
                }
            };
            let id = exit.id.clone();
            if exits.send(exit).await.is_err() {
                return;
            }
            self.untaken.lock().expect("no holder panics").retain(|exit| exit.id != id);
            let _ = self.call(Request::Taken { id }, Vec::new()).await;
        }
    }

    pub(super) fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let container = self.container(id)?;
        let Some(pidfd) = container.running().and_then(|running| running.pidfd.as_ref()) else { return Ok(()) };
        let number =
            Signal::from_named_raw(signal).ok_or_else(|| Error::new(ErrorKind::Invalid, format!("signal {signal} does not exist")))?;
        match pidfd_send_signal(pidfd, number) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::io(format_args!("signal {signal} to container {id}"), error)),
        }
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if container.exit().is_none() {
            return Err(Error::new(ErrorKind::Busy, format!("container {id} is running: kill it first")));
        }
        self.forget(&container).await
    }

    async fn forget(&self, container: &Container) -> Result<()> {
        self.cgroups.remove(&container.group).map_err(|error| Error::new(ErrorKind::Busy, error.to_string()))?;
        match self.call(Request::Remove { id: container.spec.id.clone() }, Vec::new()).await? {
            (Answer::Done, _) => {}
            (answer, _) => return Err(refused(answer)),
        }
        remove_folder(&container.folder)?;
        self.containers.lock().expect("no holder panics").remove(&container.spec.id);
        self.untaken.lock().expect("no holder panics").retain(|exit| exit.id != container.spec.id);
        Ok(())
    }

    pub(super) async fn end_sandbox(&self, pod_uid: &str) -> Result<()> {
        let all: Vec<_> = self.containers.lock().expect("no holder panics").values().cloned().collect();
        let ours: Vec<_> = all.into_iter().filter(|container| container.spec.pod_uid == pod_uid).collect();
        match self.cgroups.kill(&pod_group(&self.group, pod_uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(format_args!("kill pod {pod_uid}"), error)),
            _ => {}
        }
        for container in ours {
            container.wait_exit().await;
            let removed = self.remove_group(&container.group).await;
            removed.map_err(|error| Error::io(format_args!("cgroup of container {}", container.spec.id), error))?;
            self.forget(&container).await?;
        }
        self.empty_sandbox(pod_uid).await
    }

    pub(super) fn attach(self: &Arc<Self>, id: &str) -> Result<Streams> {
        let container = self.container(id)?;
        let io = |error: io::Error| Error::io(format_args!("attach to container {id}"), error);
        let Some(running) = container.running().filter(|_| container.exit().is_none()) else {
            return Err(Error::new(ErrorKind::NotFound, format!("container {id} is not running")));
        };
        let (stdout, stderr) = running.output.attach();
        let stdio = &container.spec.stdio;
        let Some(master) = &running.terminal else {
            let stdin = if stdio.stdin { self.stdin(&container).map_err(io)? } else { None };
            return Ok(Streams { stdin, stdout, stderr, resize: None });
        };
        let copy = || master.try_clone().map_err(io);
        let stdin = if stdio.stdin { Some(writer(&self.env, copy()?, || {}).map_err(io)?) } else { None };
        Ok(Streams { stdin, stdout, stderr: closed(), resize: Some(resizer(&self.env, copy()?)) })
    }

    /// None when input has been closed for good.
    fn stdin(self: &Arc<Self>, container: &Arc<Container>) -> io::Result<Option<mpsc::Sender<bytes::Bytes>>> {
        let fd = match Pipes::of(&container.folder).input() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            fd => fd?,
        };
        let (inner, id, once) = (self.clone(), container.spec.id.clone(), container.spec.stdio.stdin_once);
        let pipe = container.folder.join("stdin");
        let done = move || {
            if once {
                // Without its name a later keeper does not open it again.
                let _ = std::fs::remove_file(pipe);
                inner.env.clone().spawn("close input", async move { inner.call(Request::CloseStdin { id }, Vec::new()).await });
            }
        };
        writer(&self.env, fd, done).map(Some)
    }

    /// Takes up a container of an earlier node process.
    pub(super) fn take_up(
        self: &Arc<Self>,
        container: &Arc<Container>,
        process: ProcessFile,
        pidfd: Option<OwnedFd>,
        terminal: Option<OwnedFd>,
    ) -> io::Result<()> {
        let log = self.open_log(container)?;
        let sources = match &terminal {
            Some(master) => vec![(Stream::Stdout, super::streams::nonblocking(master.try_clone()?)?)],
            None if container.spec.stdio.tty => Vec::new(),
            None => outputs(&Pipes::of(&container.folder))?,
        };
        let output = Output::start(&self.env, log, sources)?;
        container.set_running(Running { process, pidfd, terminal, output });
        Ok(())
    }

    /// A terminal's output cannot be spooled.
    fn open_log(&self, container: &Container) -> io::Result<Log> {
        let stdio = &container.spec.stdio;
        if stdio.tty { Log::open(&stdio.log_path) } else { Log::open_spooled(&stdio.log_path, &container.folder, &Stamp::now(&self.env)) }
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn outputs(pipes: &Pipes) -> io::Result<Vec<(Stream, OwnedFd)>> {
    Ok(vec![(Stream::Stdout, pipes.output("stdout")?), (Stream::Stderr, pipes.output("stderr")?)])
}

pub(super) fn exit_of(ended: &Ended, oom_killed: bool) -> Exit {
    let status = ended.status.map(WaitStatus);
    let signal = status.and_then(WaitStatus::signal);
    let code = status.and_then(WaitStatus::code).or(signal.map(|signal| 128 + signal)).unwrap_or(UNKNOWN_CODE);
    Exit { id: ended.id.clone(), code, signal, oom_killed, finished_at: ended.finished_at, unknown: status.is_none() }
}

/// Names of the folders below `folder`.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_as_upstream_writes_them() {
        let exit = |status| exit_of(&Ended { id: "c".into(), status, finished_at: 1 }, false);
        assert_eq!((exit(Some(3 << 8)).code, exit(Some(3 << 8)).signal), (3, None));
        assert_eq!((exit(Some(9)).code, exit(Some(9)).signal), (137, Some(9)));
        assert_eq!((exit(Some(15 | 0x80)).code, exit(Some(15 | 0x80)).signal), (143, Some(15)));
        assert_eq!((exit(None).code, exit(None).unknown), (137, true));
    }
}
