//! A process inside a running container.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use contract::{Error, ErrorKind, Exec, ExecSpec, Exit, Result, Streams};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::oneshot;

use super::streams::{reader, terminal_streams, writer};
use super::{Inner, plans, refused};
use crate::pipes::null;
use crate::protocol::{Answer, Launcher, Request};

impl Inner {
    pub(super) async fn start_exec(self: &Arc<Self>, id: &str, spec: &ExecSpec) -> Result<Exec> {
        let container = self.container(id)?;
        let io = |error: io::Error| Error::io(format_args!("exec in container {id}"), error);
        let stopped = || Error::new(ErrorKind::NotFound, format!("cannot exec in container {id}: it is not running"));
        let running = container.running().filter(|_| container.exit().is_none()).ok_or_else(stopped)?;
        let pidfd = running.pidfd.as_ref().ok_or_else(stopped)?.try_clone().map_err(io)?;
        let join = plans::join(&self.cgroups, &container.group, &container.spec);
        let plan = plans::exec(&container.spec, spec, join)?.seal().map_err(io)?;
        let mut fds = vec![plan, pidfd];
        let ours = if spec.tty { None } else { Some(Ends::make(spec.stdin, &mut fds).map_err(io)?) };

        let name = format!("exec{:016x}", self.env.random_u64());
        let (exited, exit) = oneshot::channel();
        self.execs.lock().expect("no holder panics").insert(name.clone(), exited);
        let started = self.call(Request::Start { id: name.clone(), launcher: Launcher::Parent, exec: true, held: 0 }, fds).await;
        let failed = |error| {
            self.execs.lock().expect("no holder panics").remove(&name);
            error
        };
        let (answer, mut fds) = started.map_err(failed)?;
        if !matches!(answer, Answer::Started { .. }) {
            return Err(failed(refused(answer)));
        }
        let terminal = (fds.len() > 1).then(|| fds.remove(1));
        let streams = match (ours, terminal) {
            (Some(ours), _) => ours.streams(self),
            (None, Some(master)) => terminal_streams(&self.env, &master, spec.stdin),
            (None, None) => Err(io::Error::other("no terminal came with the answer")),
        };
        Ok(Exec { streams: streams.map_err(io)?, exit: self.guard(fds.pop(), exit) })
    }

    /// Passes the exit on; kills the process when nobody waits for it any more.
    fn guard(&self, pidfd: Option<OwnedFd>, exit: oneshot::Receiver<Exit>) -> oneshot::Receiver<Exit> {
        let (mut sender, receiver) = oneshot::channel();
        let stop = self.env.shutdown().clone();
        self.env.spawn("exec", async move {
            tokio::select! {
                exit = exit => match exit {
                    Ok(exit) => drop(sender.send(exit)),
                    // Its keeper is gone, and with it whoever would see its end.
                    Err(_) => kill(pidfd),
                },
                // The keeper kills what belongs to a connection that ends.
                () = stop.cancelled() => {}
                () = sender.closed() => kill(pidfd),
            }
        });
        receiver
    }
}

fn kill(pidfd: Option<OwnedFd>) {
    let _ = pidfd.map(|pidfd| pidfd_send_signal(&pidfd, Signal::KILL));
}

/// Our ends of the three pipes.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Ends {
    /// Puts the process's ends to `fds`.
    fn make(stdin: bool, fds: &mut Vec<OwnedFd>) -> io::Result<Self> {
        let ours = if stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            fds.push(theirs);
            Some(ours)
        } else {
            fds.push(null()?);
            None
        };
        let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
        fds.extend([out, err]);
        Ok(Self { stdin: ours, stdout, stderr })
    }

    fn streams(self, inner: &Inner) -> io::Result<Streams> {
        let stdin = self.stdin.map(|fd| writer(&inner.env, fd, || {})).transpose()?;
        Ok(Streams { stdin, stdout: reader(&inner.env, self.stdout)?, stderr: reader(&inner.env, self.stderr)?, resize: None })
    }
}
