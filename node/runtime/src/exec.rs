//! One more process in a running container.
//!
//! The container's own files decide nothing here before the launcher is inside: from then on even a hostile `/proc`,
//! link or terminal device only leads to the container's own things.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstatfs, open};

use crate::child::{Child, Stdio, Work};
use crate::container::{exec, far_end, files, identify, join, set_oom_score};
use crate::launch::{Context, Failure, Ready};
use crate::plan::Process;
use crate::root::Root;
use crate::seccomp::Instruction;

const DEVPTS_MAGIC: i64 = 0x1cd1;

pub(crate) fn prepare(process: Process, filter: Vec<Instruction>, mut fds: Vec<OwnedFd>) -> Result<Ready, Failure> {
    let target = fds.remove(0);
    let joined = join(&process.cgroup)?;
    set_oom_score(process.oom_score_adj);
    enter(&target)?;
    let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context("container root")?;
    let root = Root(root.as_fd());
    let cwd = root.find(Path::new(&process.cwd)).context(format_args!("working directory {}", process.cwd))?;
    let identity = identify(&root, &process)?;
    let (stdio, terminal) = if process.tty { terminal(identity.uid)? } else { (files(fds, identity.uid)?, None) };
    let work = Work::Exec(Box::new(exec(&process, filter, stdio, cwd, identity)?));
    let child = Child { tasks: joined.tasks, cgroup_namespace: false, proc: None, work };
    Ok(Ready { child, namespaces: 0, v2_cgroup: joined.v2, terminal })
}

fn enter(target: &OwnedFd) -> Result<(), Failure> {
    let all = sys::ns::MOUNT | sys::ns::PID | sys::ns::NET | sys::ns::IPC | sys::ns::UTS | sys::ns::CGROUP;
    sys::ns::enter(target, all).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => Failure::start("cannot exec in a stopped container"),
        _ => Failure::io("enter the container's namespaces", error),
    })
}

fn terminal(uid: u32) -> Result<(Stdio, Option<OwnedFd>), Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = open("/dev/pts/ptmx", flags, Mode::empty()).context("/dev/pts/ptmx")?;
    if fstatfs(&master).context("/dev/pts/ptmx")?.f_type != DEVPTS_MAGIC {
        return Err(Failure::start("/dev/pts of the container is no devpts file system"));
    }
    Ok((Stdio::Terminal(far_end(&master, uid)?), Some(master)))
}
