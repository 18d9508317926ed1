//! The new process between clone and exec. Nothing here allocates: every string, list and descriptor was made before.
//!
//! Whatever fails goes as two numbers through a close-on-exec pipe; the launcher turns them into words.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen, move_mount, open_tree,
};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sys::mount::Attributes;
use sys::seccomp::Instruction;

use crate::launch::{Failure, FailureKind, plain};
use crate::program::Program;

/// Everything the child needs, in the order it uses it.
pub(crate) struct Child {
    /// v1 `tasks` files, open for writing.
    pub(crate) tasks: Vec<OwnedFd>,
    /// A cgroup namespace rooted where the process then is.
    pub(crate) cgroup_namespace: bool,
    pub(crate) proc: Option<Proc>,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    Exec(Box<Exec>),
    /// Reap for ever: the init of a shared PID namespace.
    Pause,
}

pub(crate) struct Exec {
    pub(crate) stdio: Stdio,
    /// Named beforehand, so that no link can change where it leads.
    pub(crate) cwd: OwnedFd,
    pub(crate) umask: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<Gid>,
    pub(crate) capabilities: u64,
    pub(crate) no_new_privileges: bool,
    /// Empty: unconfined.
    pub(crate) filter: Vec<Instruction>,
    pub(crate) program: Program,
}

pub(crate) enum Stdio {
    Files([OwnedFd; 3]),
    /// The terminal's far end, which becomes the controlling terminal.
    Terminal(OwnedFd),
}

/// A `/proc` of the new PID namespace.
pub(crate) struct Proc {
    /// Where it goes.
    pub(crate) target: OwnedFd,
    /// A null device to cover files with; None leaves everything bare.
    pub(crate) mask: Option<OwnedFd>,
}

impl Child {
    pub(crate) fn program_name(&self) -> String {
        match &self.work {
            Work::Exec(exec) => exec.program.name.clone(),
            Work::Pause => "pause".into(),
        }
    }
}

/// Kernel memory, keys, timers and hardware that a container has no business with.
const MASKED: [&std::ffi::CStr; 10] =
    [c"acpi", c"asound", c"interrupts", c"kcore", c"keys", c"latency_stats", c"sched_debug", c"scsi", c"timer_list", c"timer_stats"];
const READ_ONLY: [&std::ffi::CStr; 5] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];

const PROC_ATTRIBUTES: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    JoinCgroup = 1,
    CgroupNamespace,
    MountProc,
    MaskProc,
    Session,
    Stdio,
    Cwd,
    CwdOutside,
    Groups,
    User,
    Capabilities,
    NoNewPrivileges,
    Seccomp,
    Exec,
    ExecFound,
}

const STEPS: [(Step, &str); 15] = [
    (Step::JoinCgroup, "join cgroup"),
    (Step::CgroupNamespace, "make cgroup namespace"),
    (Step::MountProc, "mount /proc"),
    (Step::MaskProc, "mask /proc"),
    (Step::Session, "make session with controlling terminal"),
    (Step::Stdio, "set up standard streams"),
    (Step::Cwd, "change to working directory"),
    (Step::CwdOutside, "working directory is outside of the container's root"),
    (Step::Groups, "set groups"),
    (Step::User, "set user"),
    (Step::Capabilities, "set capabilities"),
    (Step::NoNewPrivileges, "set no_new_privs"),
    (Step::Seccomp, "install seccomp filter"),
    (Step::Exec, "exec"),
    (Step::ExecFound, "exec"),
];

type Done = Result<(), (Step, i32)>;

trait At<T> {
    fn at(self, step: Step) -> Result<T, (Step, i32)>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, (Step, i32)> {
        self.map_err(|error| (step, error.raw_os_error()))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, (Step, i32)> {
        self.map_err(|error| (step, error.raw_os_error().unwrap_or(0)))
    }
}

pub(crate) fn run(child: &Child, errors: &OwnedFd) -> ! {
    let ChildError { step, errno } = become_program(child);
    let mut message = [step, 0, 0, 0, 0];
    message[1..].copy_from_slice(&errno.to_ne_bytes());
    let _ = rustix::io::write(errors, &message);
    sys::process::exit_now(127)
}

/// Returns only with why it could not.
pub(crate) fn become_program(child: &Child) -> ChildError {
    match become_container(child) {
        Ok(()) => sys::process::pause_forever(),
        Err((step, errno)) => ChildError { step: step as u8, errno },
    }
}

/// Returns only for a pause or with what went wrong.
fn become_container(child: &Child) -> Done {
    for tasks in &child.tasks {
        rustix::io::write(tasks, b"0").at(Step::JoinCgroup)?;
    }
    if child.cgroup_namespace {
        sys::ns::unshare(sys::ns::CGROUP).at(Step::CgroupNamespace)?;
    }
    if let Some(proc) = &child.proc {
        mount_proc(proc)?;
    }
    match &child.work {
        Work::Exec(exec) => exec_program(exec),
        Work::Pause => drop_everything(),
    }
}

fn mount_proc(proc: &Proc) -> Done {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC).at(Step::MountProc)?;
    fsconfig_create(&context).at(Step::MountProc)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, PROC_ATTRIBUTES).at(Step::MountProc)?;
    attach(&mount, &proc.target, c"").at(Step::MountProc)?;
    let Some(null) = &proc.mask else { return Ok(()) };
    for name in READ_ONLY {
        ignore_missing(make_read_only(&mount, name)).at(Step::MaskProc)?;
    }
    for name in MASKED {
        ignore_missing(mask(&mount, name, null)).at(Step::MaskProc)?;
    }
    Ok(())
}

fn ignore_missing(done: Result<(), Errno>) -> Result<(), Errno> {
    if done == Err(Errno::NOENT) { Ok(()) } else { done }
}

/// Binds an entry of `mount` over itself, read-only.
fn make_read_only(mount: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(mount, name, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?;
    let attributes = Attributes { set: sys::mount::READ_ONLY, recursive: true, ..Attributes::default() };
    sys::mount::set_attributes(&tree, c"", attributes).map_err(errno)?;
    attach(&tree, mount, name)
}

/// Covers an entry of `mount`: a directory with an empty read-only one, anything else with the null device. The
/// launcher does the same to `/sys`.
pub(crate) fn mask(mount: &OwnedFd, name: &std::ffi::CStr, null: &OwnedFd) -> Result<(), Errno> {
    let target = openat(mount, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let cover = if FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, PROC_ATTRIBUTES | MountAttrFlags::MOUNT_ATTR_RDONLY)?
    } else {
        open_tree(null, c"", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH)?
    };
    attach(&cover, &target, c"")
}

fn attach(mount: &OwnedFd, target: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, name, flags)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn exec_program(exec: &Exec) -> Done {
    rustix::process::setsid().at(Step::Session)?;
    set_stdio(&exec.stdio)?;
    rustix::process::fchdir(&exec.cwd).at(Step::Cwd)?;
    refuse_cwd_outside()?;
    rustix::process::umask(Mode::from_raw_mode(exec.umask));
    sys::process::new_session_keyring();
    if !exec.no_new_privileges {
        // Without no_new_privs only CAP_SYS_ADMIN may install a filter, and it is about to go.
        install_filter(exec)?;
    }
    become_user(exec)?;
    if exec.no_new_privileges {
        rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
        install_filter(exec)?;
    }
    sys::signal::reset_all();
    sys::fd::cloexec_from(3).at(Step::Stdio)?;
    exec_first(&exec.program)
}

fn set_stdio(stdio: &Stdio) -> Done {
    let [input, output, error] = match stdio {
        Stdio::Files([input, output, error]) => [input, output, error],
        Stdio::Terminal(terminal) => {
            rustix::process::ioctl_tiocsctty(terminal).at(Step::Session)?;
            [terminal; 3]
        }
    };
    rustix::stdio::dup2_stdin(input).at(Step::Stdio)?;
    rustix::stdio::dup2_stdout(output).at(Step::Stdio)?;
    rustix::stdio::dup2_stderr(error).at(Step::Stdio)
}

/// A working directory that was reached through a leaked descriptor has no path below the root: the kernel says so.
fn refuse_cwd_outside() -> Done {
    let mut path = [0u8; 4096];
    let inside = sys::process::current_directory(&mut path).at(Step::Cwd)?.first() == Some(&b'/');
    if inside { Ok(()) } else { Err((Step::CwdOutside, 0)) }
}

fn become_user(exec: &Exec) -> Done {
    for bit in (0..64).filter(|bit| crate::capability::ALL & !exec.capabilities & (1 << bit) != 0) {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // Newer than this kernel: nobody has it.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err((Step::Capabilities, error.raw_os_error())),
        }
    }
    rustix::thread::set_thread_groups(&exec.groups).at(Step::Groups)?;
    let (uid, gid) = (Uid::from_raw(exec.uid), Gid::from_raw(exec.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::Groups)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::User)?;
    // Another user than root starts with none; inheritable and ambient are always empty.
    let held = if exec.uid == 0 { exec.capabilities & own_capabilities()? } else { 0 };
    set_capabilities(held)
}

/// A set beyond our own cannot be had (a virtual machine may withhold some).
fn own_capabilities() -> Result<u64, (Step, i32)> {
    Ok(rustix::thread::capabilities(None).at(Step::Capabilities)?.permitted.bits())
}

fn set_capabilities(held: u64) -> Done {
    let held = CapabilitySet::from_bits_retain(held);
    let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).at(Step::Capabilities)
}

fn install_filter(exec: &Exec) -> Done {
    if exec.filter.is_empty() { Ok(()) } else { sys::seccomp::install(&exec.filter).at(Step::Seccomp) }
}

/// Tries each candidate; the first error that is not "not there" counts, else "not found".
fn exec_first(program: &Program) -> Done {
    let mut reason = (Step::Exec, libc::ENOENT);
    for candidate in &program.candidates {
        let errno = sys::process::execve(candidate, &program.argv, &program.env).raw_os_error().unwrap_or(0);
        match errno {
            libc::ENOENT if rustix::fs::access(candidate.as_c_str(), rustix::fs::Access::EXISTS).is_ok() => {
                // It exists: its interpreter does not.
                reason = (Step::ExecFound, errno);
                break;
            }
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => reason = (Step::Exec, errno),
            _ => return Err((Step::ExecFound, errno)),
        }
    }
    Err(reason)
}

/// The pause keeps no right, no file and no name that a neighbour in its PID namespace could use.
fn drop_everything() -> Done {
    rustix::process::setsid().at(Step::Session)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).at(Step::User)?;
    rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)
}

/// What came through the error pipe.
#[derive(Debug)]
pub(crate) struct ChildError {
    step: u8,
    errno: i32,
}

impl ChildError {
    /// None when the pipe closed without a word: the exec succeeded.
    pub(crate) fn receive(errors: OwnedFd) -> Option<Self> {
        let mut message = [0; 5];
        File::from(errors).read_exact(&mut message).ok()?;
        let [step, errno @ ..] = message;
        Some(Self { step, errno: i32::from_ne_bytes(errno) })
    }

    /// runc's words where it has some.
    pub(crate) fn explain(&self, program: &str) -> Failure {
        let reason = plain(&io::Error::from_raw_os_error(self.errno));
        let (step, name) = STEPS.iter().find(|(step, _)| *step as u8 == self.step).copied().unwrap_or((Step::Exec, "start"));
        let message = match (step, self.errno) {
            (Step::Exec, _) if !program.contains('/') => format!("exec: {program:?}: executable file not found in $PATH"),
            (Step::Exec, libc::ENOENT | libc::ENOTDIR) => format!("exec: {program:?}: stat {program}: {reason}"),
            (Step::Exec, _) => format!("exec: {program:?}: {reason}"),
            (Step::ExecFound, _) => format!("exec {program}: {reason}"),
            (Step::CwdOutside, _) => name.to_owned(),
            _ => format!("{name}: {reason}"),
        };
        Failure { kind: FailureKind::Start, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_speak_as_runc_does() {
        let explain = |step: Step, errno, program: &str| ChildError { step: step as u8, errno }.explain(program).message;
        assert_eq!(explain(Step::Exec, libc::ENOENT, "x"), r#"exec: "x": executable file not found in $PATH"#);
        assert_eq!(explain(Step::Exec, libc::EACCES, "x"), r#"exec: "x": executable file not found in $PATH"#);
        assert_eq!(explain(Step::Exec, libc::ENOENT, "/x"), r#"exec: "/x": stat /x: no such file or directory"#);
        assert_eq!(explain(Step::Exec, libc::EACCES, "/x"), r#"exec: "/x": permission denied"#);
        assert_eq!(explain(Step::ExecFound, libc::ENOEXEC, "/x"), "exec /x: exec format error");
        assert_eq!(explain(Step::User, libc::EPERM, "x"), "set user: operation not permitted");
    }
}
