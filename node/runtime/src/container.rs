//! A container's world: its root with everything mounted, built by the launcher before any of its code runs.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::pty::OpenptFlags;
use sys::mount::Attributes;

use crate::child::{Child, Exec, Proc, Stdio, Work, mask};
use crate::launch::{Context, Failure, Ready};
use crate::mounts::{self, INERT};
use crate::plan::{CgroupJoin, CgroupView, Container, Mount, PidNamespace, Process, Propagation};
use crate::program::Program;
use crate::root::Root;
use crate::seccomp::Instruction;
use crate::user;

/// Name, major, minor.
const DEVICES: [(&CStr, u32, u32); 6] =
    [(c"null", 1, 3), (c"zero", 1, 5), (c"full", 1, 7), (c"random", 1, 8), (c"urandom", 1, 9), (c"tty", 5, 0)];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];
/// Firmware tables and power meters, which leak keys and timings.
const MASKED_SYS: [&CStr; 2] = [c"firmware", c"devices/virtual/powercap"];
/// The group that terminals belong to.
const TTY_GROUP: u32 = 5;

pub(crate) fn prepare(container: Container, process: Process, filter: Vec<Instruction>, mut fds: Vec<OwnedFd>) -> Result<Ready, Failure> {
    rustix::process::umask(Mode::empty());
    let joined = join(&process.cgroup)?;
    set_oom_score(process.oom_score_adj);
    let shared = (container.pid == PidNamespace::Shared).then(|| fds.remove(0));
    let both_ways = two_way_sources(&container)?;
    enter_namespaces(&container, shared)?;
    let built = Built::new(&container, both_ways)?;
    let root = Root(built.root.as_fd());
    let cwd = root.ensure_dir(Path::new(&process.cwd)).context(format_args!("working directory {}", process.cwd))?;
    let identity = identify(&root, &process)?;
    let (stdio, terminal) = built.stdio(&process, fds, identity.uid)?;
    if container.read_only_root {
        let attributes = Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() };
        sys::mount::set_attributes(&built.root, c"", attributes).context("read-only root")?;
    }
    enter_root(&built.root)?;
    let child = Child {
        tasks: joined.tasks,
        cgroup_namespace: !container.privileged,
        proc: Some(Proc { target: built.proc, mask: (!container.unmasked && !container.privileged).then_some(built.null) }),
        work: Work::Exec(Box::new(exec(&process, filter, stdio, cwd, identity)?)),
    };
    let namespaces = if container.pid == PidNamespace::Own { sys::ns::PID } else { 0 };
    Ok(Ready { child, namespaces, v2_cgroup: joined.v2, terminal })
}

/// A pause holds nothing but a PID namespace: its root is an empty read-only directory.
pub(crate) fn prepare_pause(process: &Process) -> Result<Ready, Failure> {
    let joined = join(&process.cgroup)?;
    set_oom_score(process.oom_score_adj);
    sys::ns::unshare(sys::ns::MOUNT | sys::ns::NET | sys::ns::IPC | sys::ns::UTS).context("unshare")?;
    let root = mounts::new("tmpfs", &[("mode", "555"), ("size", "4k")], INERT | MountAttrFlags::MOUNT_ATTR_RDONLY).context("empty root")?;
    let place = mounts::name(Path::new(&process.cwd)).context(&process.cwd)?;
    mounts::attach(&root, &place).context("attach empty root")?;
    enter_root(&root)?;
    let child = Child { tasks: joined.tasks, cgroup_namespace: true, proc: None, work: Work::Pause };
    Ok(Ready { child, namespaces: sys::ns::PID, v2_cgroup: joined.v2, terminal: None })
}

/// The cgroups to join, opened while the host's tree is in sight.
pub(crate) struct Joined {
    pub(crate) tasks: Vec<OwnedFd>,
    pub(crate) v2: Option<OwnedFd>,
}

pub(crate) fn join(cgroup: &CgroupJoin) -> Result<Joined, Failure> {
    let open = |path: &std::path::PathBuf, flags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).context(format_args!("cgroup {}", path.display()))
    };
    let tasks = cgroup.v1_tasks.iter().map(|path| open(path, OFlags::WRONLY)).collect::<Result<_, _>>()?;
    let v2 = cgroup.v2.as_ref().map(|path| open(path, OFlags::PATH | OFlags::DIRECTORY)).transpose()?;
    Ok(Joined { tasks, v2 })
}

/// The keeper's own low score must not be inherited, so none means 0. Lowering needs CAP_SYS_RESOURCE: without it the
/// score stays where it is, which is the nearest allowed.
pub(crate) fn set_oom_score(score: Option<i32>) {
    let _ = std::fs::write("/proc/self/oom_score_adj", score.unwrap_or(0).clamp(-1000, 1000).to_string());
}

/// Mounts that must stay peers of the host's are copied in the host's own mount namespace.
fn two_way_sources(container: &Container) -> Result<Vec<Option<OwnedFd>>, Failure> {
    let wanted = |mount: &&Mount| mount.propagation == Propagation::Bidirectional;
    let Some(host) = container.host_mount_ns.as_ref().filter(|_| container.mounts.iter().any(|mount| wanted(&mount))) else {
        return Ok(container.mounts.iter().map(|_| None).collect());
    };
    let ours = mounts_namespace(Path::new("/proc/self/ns/mnt"))?;
    sys::ns::enter(mounts_namespace(host)?, sys::ns::MOUNT).context("enter the host's mount namespace")?;
    let sources = container.mounts.iter().map(|mount| wanted(&mount).then(|| mounts::bind_source(mount)).transpose()).collect();
    sys::ns::enter(ours, sys::ns::MOUNT).context("return to the node's mount namespace")?;
    sources
}

fn mounts_namespace(path: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(path.display())
}

fn enter_namespaces(container: &Container, shared_pid: Option<OwnedFd>) -> Result<(), Failure> {
    let pinned = [(&container.net_ns, sys::ns::NET), (&container.ipc_ns, sys::ns::IPC), (&container.uts_ns, sys::ns::UTS)];
    for (path, kind) in pinned.into_iter().filter_map(|(path, kind)| Some((path.as_ref()?, kind))) {
        sys::ns::enter(mounts_namespace(path)?, kind).context(format_args!("enter namespace {}", path.display()))?;
    }
    if let Some(pidfd) = shared_pid {
        sys::ns::enter(pidfd, sys::ns::PID).context("enter the pod's PID namespace")?;
    }
    sys::ns::unshare(sys::ns::MOUNT).context("make mount namespace")
}

/// A finished root and the places in it that are needed later.
struct Built {
    root: OwnedFd,
    proc: OwnedFd,
    null: OwnedFd,
    dev: OwnedFd,
    pts: OwnedFd,
}

impl Built {
    fn new(container: &Container, both_ways: Vec<Option<OwnedFd>>) -> Result<Self, Failure> {
        let root_fd = mounts::root(&container.rootfs, &container.scratch)?;
        let root = Root(root_fd.as_fd());
        let proc = mount_point(&root, "/proc")?;
        let dev = mount_dev(&root, container)?;
        let pts = mount_pts(&dev)?;
        mount_shm_and_mqueue(&dev, container)?;
        let null = openat(&dev, "null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).context("/dev/null")?;
        mount_sys(&root, container, &null)?;
        mount_binds(&root, container, both_ways)?;
        add_devices(&root, container)?;
        Ok(Self { proc, null, dev, pts, root: root_fd })
    }

    /// Standard streams; with a terminal, its master beside them.
    fn stdio(&self, process: &Process, fds: Vec<OwnedFd>, uid: u32) -> Result<(Stdio, Option<OwnedFd>), Failure> {
        if !process.tty {
            return Ok((files(fds, uid)?, None));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = openat(&self.pts, "ptmx", flags, Mode::empty()).context("/dev/pts/ptmx")?;
        let terminal = far_end(&master, uid)?;
        let console = openat(&self.dev, "console", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
        let console = console.context("/dev/console")?;
        let copy = mounts::copy(&terminal, false).context("/dev/console")?;
        mounts::attach(&copy, &console).context("/dev/console")?;
        Ok((Stdio::Terminal(terminal), Some(master)))
    }
}

/// The other end of a pseudo-terminal, by descriptor: a path could have been swapped.
pub(crate) fn far_end(master: &OwnedFd, uid: u32) -> Result<OwnedFd, Failure> {
    rustix::pty::unlockpt(master).context("unlock terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(master, flags).context("open terminal")?;
    fchown(&terminal, Some(Uid::from_raw(uid)), Some(Gid::from_raw(TTY_GROUP))).context("own terminal")?;
    Ok(terminal)
}

/// Pipes belong to the user, so that `/dev/stdout` can be opened again.
pub(crate) fn files(fds: Vec<OwnedFd>, uid: u32) -> Result<Stdio, Failure> {
    let files: [OwnedFd; 3] = fds.try_into().map_err(|_| Failure::start("three standard streams are needed"))?;
    for file in files.iter().filter(|_| uid != 0) {
        let is_pipe = FileType::from_raw_mode(fstat(file).context("standard stream")?.st_mode) == FileType::Fifo;
        if is_pipe {
            fchown(file, Some(Uid::from_raw(uid)), None).context("own standard stream")?;
        }
    }
    Ok(Stdio::Files(files))
}

/// A directory to mount something of ours on. A link there could only be meant to mislead.
fn mount_point(root: &Root<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let name = path.trim_start_matches('/');
    match mkdirat(root.0, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
        Err(error) => return Err(Failure::io(path, error)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(root.0, name, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
            Failure::start(format!("{path} of the image must be a directory, not a link or file"))
        }
        other => Failure::io(path, other),
    })
}

fn mount_dev(root: &Root<'_>, container: &Container) -> Result<OwnedFd, Failure> {
    let place = mount_point(root, "/dev")?;
    let dev = mounts::new("tmpfs", &[("mode", "755"), ("size", "65536k")], MountAttrFlags::MOUNT_ATTR_NOSUID).context("/dev")?;
    for (name, major, minor) in DEVICES {
        mknodat(&dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor)).context("device node")?;
    }
    for (target, name) in LINKS {
        symlinkat(target, &dev, name).context("/dev link")?;
    }
    for name in [c"pts", c"shm", c"mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).context("/dev folder")?;
    }
    if container.privileged {
        copy_host_devices(&dev, Path::new("/dev"))?;
    }
    mounts::attach(&dev, &place).context("attach /dev")?;
    Ok(dev)
}

/// Every device node of the host's `/dev`, by the same name. Folders of their own file systems are left out.
fn copy_host_devices(dev: &OwnedFd, folder: &Path) -> Result<(), Failure> {
    let shown = || folder.display().to_string();
    let own_device = std::fs::metadata(folder).context(shown())?.dev();
    for entry in std::fs::read_dir(folder).context(shown())?.filter_map(Result::ok) {
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        let name = entry.file_name();
        match FileType::from_raw_mode(metadata.mode()) {
            FileType::Directory if metadata.dev() == own_device => {
                match mkdirat(dev, &name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(Failure::io(entry.path().display(), error)),
                }
                let inner = openat(dev, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).context(shown())?;
                copy_host_devices(&inner, &entry.path())?;
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) if name != "console" && name != "ptmx" => {
                make_node(dev, Path::new(&name), kind, &metadata).context(entry.path().display())?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn make_node(parent: &OwnedFd, name: &Path, kind: FileType, metadata: &std::fs::Metadata) -> std::io::Result<()> {
    match mknodat(parent, name, kind, Mode::from_raw_mode(metadata.mode() & 0o777), metadata.rdev()) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let owner = (Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())));
    Ok(rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn add_devices(root: &Root<'_>, container: &Container) -> Result<(), Failure> {
    for path in &container.devices {
        let shown = || format!("device {}", path.display());
        let metadata = std::fs::metadata(path).context(shown())?;
        let kind = FileType::from_raw_mode(metadata.mode());
        if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            return Err(Failure::start(format!("{} is no device", path.display())));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Failure::start(shown())) };
        let parent = root.ensure_dir(parent).context(shown())?;
        make_node(&parent, Path::new(name), kind, &metadata).context(shown())?;
    }
    Ok(())
}

fn mount_pts(dev: &OwnedFd) -> Result<OwnedFd, Failure> {
    let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = mounts::new("devpts", &options, attributes).context("/dev/pts")?;
    attach_below(&pts, dev, c"pts")?;
    Ok(pts)
}

fn mount_shm_and_mqueue(dev: &OwnedFd, container: &Container) -> Result<(), Failure> {
    let shm = mounts::name(&container.shm).context(container.shm.display())?;
    attach_below(&mounts::copy(&shm, false).context("/dev/shm")?, dev, c"shm")?;
    match mounts::new("mqueue", &[], INERT) {
        Ok(queue) => attach_below(&queue, dev, c"mqueue"),
        // A kernel without POSIX message queues: there is nothing to show.
        Err(error) if mounts::missing(&error) => Ok(()),
        Err(error) => Err(Failure::io("/dev/mqueue", error)),
    }
}

fn attach_below(mount: &OwnedFd, parent: &OwnedFd, name: &CStr) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(parent, name, flags, Mode::empty()).context(name.to_string_lossy())?;
    mounts::attach(mount, &place).context(format_args!("attach {}", name.to_string_lossy()))
}

fn mount_sys(root: &Root<'_>, container: &Container, null: &OwnedFd) -> Result<(), Failure> {
    let place = mount_point(root, "/sys")?;
    let writable = container.privileged;
    let attributes = if writable { INERT } else { INERT | MountAttrFlags::MOUNT_ATTR_RDONLY };
    let sysfs = mounts::new("sysfs", &[], attributes).context("/sys")?;
    mounts::attach(&sysfs, &place).context("attach /sys")?;
    mount_cgroup_view(&sysfs, &container.cgroup_view)?;
    if !writable && !container.unmasked {
        for name in MASKED_SYS {
            match mask(&sysfs, name, null) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(Failure::io(format_args!("mask /sys/{}", name.to_string_lossy()), error)),
            }
        }
    }
    Ok(())
}

fn mount_cgroup_view(sysfs: &OwnedFd, view: &CgroupView) -> Result<(), Failure> {
    let copy = |path: &Path, recursive| mounts::name(path).and_then(|fd| mounts::copy(&fd, recursive)).context(path.display());
    match view {
        CgroupView::None => Ok(()),
        CgroupView::Host => attach_below(&copy(Path::new("/sys/fs/cgroup"), true)?, sysfs, c"fs/cgroup"),
        CgroupView::Unified(path) => {
            let tree = copy(path, false)?;
            read_only(&tree)?;
            attach_below(&tree, sysfs, c"fs/cgroup")
        }
        CgroupView::Split(hierarchies) => {
            let folder = mounts::new("tmpfs", &[("mode", "755"), ("size", "16k")], INERT).context("/sys/fs/cgroup")?;
            for (name, _) in hierarchies {
                mkdirat(&folder, name, Mode::from_raw_mode(0o755)).context("/sys/fs/cgroup")?;
                // Programs ask for `cpu`, also where its hierarchy is `cpu,cpuacct`.
                for controller in name.split(',').filter(|controller| *controller != name) {
                    symlinkat(name, &folder, controller).context("/sys/fs/cgroup")?;
                }
            }
            attach_below(&folder, sysfs, c"fs/cgroup")?;
            for (name, path) in hierarchies {
                let tree = copy(path, false)?;
                read_only(&tree)?;
                let place = openat(&folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context(name)?;
                mounts::attach(&tree, &place).context(format_args!("/sys/fs/cgroup/{name}"))?;
            }
            read_only(&folder)
        }
    }
}

fn read_only(mount: &OwnedFd) -> Result<(), Failure> {
    let set = sys::mount::READ_ONLY | sys::mount::NO_SUID | sys::mount::NO_DEV | sys::mount::NO_EXEC;
    sys::mount::set_attributes(mount, c"", Attributes { set, ..Attributes::default() }).context("read-only cgroup view")
}

/// Outer destinations first, so that `/a/b` lands in what is mounted at `/a`.
fn mount_binds(root: &Root<'_>, container: &Container, both_ways: Vec<Option<OwnedFd>>) -> Result<(), Failure> {
    let mut mounts: Vec<_> = container.mounts.iter().zip(both_ways).collect();
    mounts.sort_by_key(|(mount, _)| mount.destination.components().count());
    for (mount, ready) in mounts {
        let destination = mount.destination.display();
        refuse_proc(&mount.destination)?;
        let tree = ready.map_or_else(|| mounts::bind_source(mount), Ok)?;
        let folder = is_folder(&tree).context(mount.source.display())?;
        let place = if folder { root.ensure_dir(&mount.destination) } else { root.ensure_file(&mount.destination) };
        let place = place.context(format_args!("mount destination {destination}"))?;
        if folder != is_folder(&place).context(&destination)? {
            let (what, other) = if folder { ("directory", "file") } else { ("file", "directory") };
            let source = mount.source.display();
            return Err(Failure::start(format!("mount {source} at {destination}: a {what} cannot be mounted on a {other}")));
        }
        mounts::attach(&tree, &place).context(format_args!("mount {} at {destination}", mount.source.display()))?;
    }
    Ok(())
}

fn is_folder(fd: &OwnedFd) -> std::io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// `/proc` is mounted last and must be the real one.
fn refuse_proc(destination: &Path) -> Result<(), Failure> {
    let first = destination.components().find(|component| matches!(component, Component::Normal(_)));
    let in_proc = first.is_some_and(|first| first.as_os_str() == "proc");
    if in_proc { Err(Failure::start(format!("{} cannot be mounted because it is inside /proc", destination.display()))) } else { Ok(()) }
}

pub(crate) fn identify(root: &Root<'_>, process: &Process) -> Result<user::Identity, Failure> {
    let read = |path| root.read(path, user::DATABASE_MAX).context(path).map(Option::unwrap_or_default);
    user::resolve(&process.user, &read("/etc/passwd")?, &read("/etc/group")?).map_err(Failure::start)
}

pub(crate) fn exec(
    process: &Process,
    filter: Vec<Instruction>,
    stdio: Stdio,
    cwd: OwnedFd,
    identity: user::Identity,
) -> Result<Exec, Failure> {
    Ok(Exec {
        stdio,
        cwd,
        umask: process.umask.unwrap_or(0o022),
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.iter().map(|&gid| Gid::from_raw(gid)).collect(),
        capabilities: process.capabilities,
        no_new_privileges: process.no_new_privileges,
        filter,
        program: Program::new(process, identity.home.as_deref())?,
    })
}

/// Makes `root` the root and lets go of the host's.
fn enter_root(root: &OwnedFd) -> Result<(), Failure> {
    rustix::process::fchdir(root).context("enter root")?;
    rustix::process::pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("detach the host's root")?;
    rustix::process::chdir("/").context("enter root")
}
