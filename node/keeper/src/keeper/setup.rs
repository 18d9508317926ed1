//! From an ordinary process to a keeper, and what is left to clean up after one.

use std::ffi::CString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use runtime::cgroup::Cgroups;
use rustix::fs::{CWD, FlockOperation, StatVfsMountFlags, flock, statvfs};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree, unmount};
use sys::mount::Attributes;
use sys::process::{CStringArray, Side};

use super::children::redirect;
use crate::KeeperConfig;
use crate::protocol::{Memory, Places, read_whole};

pub(super) enum Role {
    /// The process that asked for a detached keeper, with its exit code.
    Caller(i32),
    Keeper(Ready),
}

pub(super) struct Ready {
    pub(super) listener: OwnedFd,
    pub(super) lock: OwnedFd,
    pub(super) caller: Caller,
}

/// Whoever waits for a detached keeper.
pub(super) struct Caller(Option<(OwnedFd, std::path::PathBuf)>);

impl Caller {
    /// Lets the caller go on, and leaves its terminal.
    pub(super) fn say_ready(self) {
        let Some((pipe, log)) = self.0 else { return };
        let _ = redirect(&log);
        let _ = rustix::io::write(&pipe, b"+");
    }
}

pub(super) fn become_keeper(config: &KeeperConfig) -> io::Result<Role> {
    let run_dir = config.instance.run_dir();
    let places = Places::new(&run_dir);
    for folder in [&run_dir, &places.scratch(), &places.containers(), &places.sandboxes()] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| named(folder, &error))?;
    }
    if config.own_mounts {
        protect(config, &places)?;
    }
    let lock = lock(&places)?;
    let caller = match detach(config)? {
        Detached::Keeper(caller) => caller,
        Detached::Caller(pipe) => return Ok(Role::Caller(wait_for(pipe))),
    };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // The last to be killed for want of memory, where we may say so.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    std::env::set_current_dir("/")?;
    let listener = sys::seqpacket::listen(&places.socket()).map_err(|error| named(&places.socket(), &error))?;
    Ok(Role::Keeper(Ready { listener, lock, caller }))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// One keeper per instance, for as long as it lives.
fn lock(places: &Places) -> io::Result<OwnedFd> {
    let path = places.lock();
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|error| named(&path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file.into()),
        Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, format!("a keeper runs already: {} is locked", path.display()))),
    }
}

/// Gives the process a mount namespace of its own and runs it from a read-only mount of its binary: `/proc/<pid>/exe`,
/// which a container sees for a moment, then cannot be opened for writing.
fn protect(config: &KeeperConfig, places: &Places) -> io::Result<()> {
    if statvfs("/proc/self/exe")?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let binary = places.binary();
    // A replacement stays in the namespace of the first keeper, where the pins are. When `node` starts it, it is there
    // already; when a person does, a child that outlived the first keeper shows the way.
    join_survivor(places);
    if statvfs(&binary).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Err(become_binary(config, &binary));
    }
    // Named before the namespace changes: afterwards the link leads into the old one.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, "/proc/self/exe", flags)?;
    sys::mount::set_attributes(&copy, c"", Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() })?;
    sys::ns::unshare(sys::ns::MOUNT)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    OpenOptions::new().create(true).truncate(false).write(true).open(&binary).map_err(|error| named(&binary, &error))?;
    move_mount(&copy, "", CWD, &binary, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Err(become_binary(config, &binary))
}

/// Enters the mount namespace of a child that outlived the keeper before this one, if there is one.
fn join_survivor(places: &Places) {
    let memory: Memory = read_whole(&places.memory()).unwrap_or_default();
    let living = memory.children.iter().find(|child| sys::process::start_ticks(child.pid) == Some(child.start_ticks));
    if let Some(namespace) = living.and_then(|child| std::fs::File::open(format!("/proc/{}/ns/mnt", child.pid)).ok()) {
        let _ = sys::ns::enter(namespace, sys::ns::MOUNT);
    }
}

/// Runs on from the read-only mount; returns only why it could not.
fn become_binary(config: &KeeperConfig, binary: &Path) -> io::Error {
    let c_string = |text: &str| CString::new(text).map_err(io::Error::other);
    let exec = || {
        let program = c_string(&binary.to_string_lossy())?;
        let argv = std::iter::once(Ok(program.clone())).chain(config.argv.iter().skip(1).map(|text| c_string(text)));
        let env = config.env.iter().map(|(key, value)| c_string(&format!("{key}={value}")));
        let (argv, env) = (argv.collect::<io::Result<_>>()?, env.collect::<io::Result<_>>()?);
        Err(sys::process::execve(&program, &CStringArray::new(argv), &CStringArray::new(env)))
    };
    exec().map_or_else(|error: io::Error| error, |never: std::convert::Infallible| match never {})
}

enum Detached {
    /// Reads from this pipe how the keeper's start went.
    Caller(OwnedFd),
    Keeper(Caller),
}

/// Splits the keeper off, if wanted.
fn detach(config: &KeeperConfig) -> io::Result<Detached> {
    if !config.detach {
        return Ok(Detached::Keeper(Caller(None)));
    }
    let log = config.instance.log_dir().join("keeper.log");
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match sys::process::fork()? {
        Side::Parent(_) => Ok(Detached::Caller(reader)),
        Side::Child => {
            rustix::process::setsid()?;
            Ok(Detached::Keeper(Caller(Some((writer, log)))))
        }
    }
}

/// The keeper says `+`, or ends with its reason on standard error.
fn wait_for(pipe: OwnedFd) -> i32 {
    let mut word = [0];
    let ready = std::fs::File::from(pipe).read_exact(&mut word).is_ok();
    i32::from(!ready)
}

/// Removes what a shut-down instance leaves in the kernel and in its run folder. Best effort: everything is tried.
pub(super) fn clean(places: &Places, cgroup: &Path) {
    unmount_below(&places.0);
    if let Ok(cgroups) = Cgroups::detect()
        && let Err(error) = cgroups.remove(cgroup)
    {
        let _ = writeln!(io::stderr(), "keeper: {error}");
    }
    if let Err(error) = std::fs::remove_dir_all(&places.0) {
        let _ = writeln!(io::stderr(), "keeper: {}: {error}", places.0.display());
    }
}

/// Deepest first.
fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|place| Path::new(place).starts_with(folder));
    for place in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}
