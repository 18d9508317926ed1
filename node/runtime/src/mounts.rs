//! Mounts by descriptor: made detached, attached to a place that was named beforehand.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use sys::mount::Attributes;

use crate::launch::{Context, Failure};
use crate::plan::{Mount, Propagation, Rootfs};
use crate::root::below;

/// nosuid, nodev, noexec.
pub(crate) const INERT: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system, attached nowhere yet.
pub(crate) fn new(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() { fsconfig_set_flag(&context, *key)? } else { fsconfig_set_string(&context, *key, *value)? }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Puts a detached mount on `target`.
pub(crate) fn attach(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    Ok(move_mount(mount, "", target, "", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)?)
}

/// A detached copy of the tree at what `fd` names.
pub(crate) fn copy(fd: &OwnedFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let flags = if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags };
    Ok(open_tree(fd, "", flags)?)
}

/// Names a path of the host.
pub(crate) fn name(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A detached copy of a bind mount's source, with its attributes. The error names the source.
pub(crate) fn bind_source(mount: &Mount) -> Result<OwnedFd, Failure> {
    let shown = || mount.source.display();
    let mut source = name(&mount.source).context(format_args!("mount source {}", shown()))?;
    if let Some(sub) = &mount.sub_path {
        source = below(&source, sub, mount.create_sub_path).context(format_args!("sub path {} of {}", sub.display(), shown()))?;
    }
    let tree = copy(&source, true).context(format_args!("mount source {}", shown()))?;
    let propagation = match mount.propagation {
        Propagation::Private => sys::mount::PRIVATE,
        Propagation::HostToContainer => sys::mount::SLAVE,
        Propagation::Bidirectional => 0,
    };
    let change = |set, recursive| Attributes { set, propagation, recursive, clear: 0 };
    sys::mount::set_attributes(&tree, c"", change(0, true)).context(format_args!("propagation of {}", shown()))?;
    if mount.read_only || mount.recursive_read_only {
        let attributes = Attributes { propagation: 0, ..change(sys::mount::READ_ONLY, mount.recursive_read_only) };
        sys::mount::set_attributes(&tree, c"", attributes).context(format_args!("read-only mount of {}", shown()))?;
    }
    Ok(tree)
}

/// The container's root, attached at `scratch`.
pub(crate) fn root(rootfs: &Rootfs, scratch: &Path) -> Result<OwnedFd, Failure> {
    let mount = match (&rootfs.lowers[..], rootfs.upper.as_os_str().is_empty()) {
        ([], _) => return Err(Failure::start("root file system has no layer")),
        ([only], true) => copy(&name(only).context(only.display())?, false).context(only.display())?,
        _ => match overlay(rootfs) {
            Ok(mount) => mount,
            // A kernel before 6.8 takes its layers in one string only, which mount(2) lets be a page long.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return old_overlay(rootfs, scratch),
            Err(error) => return Err(Failure::io(describe(rootfs), error)),
        },
    };
    let place = name(scratch).context(scratch.display())?;
    attach(&mount, &place).context(format_args!("attach root file system at {}", scratch.display()))?;
    Ok(mount)
}

fn describe(rootfs: &Rootfs) -> String {
    let lowers: Vec<_> = rootfs.lowers.iter().map(|path| path.display().to_string()).collect();
    format!("overlay of {} with upper {} and work {}", lowers.join(", "), rootfs.upper.display(), rootfs.work.display())
}

fn overlay(rootfs: &Rootfs) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &rootfs.lowers {
        fsconfig_set_string(&context, "lowerdir+", lower)?;
    }
    if !rootfs.upper.as_os_str().is_empty() {
        fsconfig_set_string(&context, "upperdir", &rootfs.upper)?;
        fsconfig_set_string(&context, "workdir", &rootfs.work)?;
        if rootfs.volatile {
            fsconfig_set_flag(&context, "volatile")?;
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// By short names (`/proc/self/fd/7`), so that many layers fit in a page.
fn old_overlay(rootfs: &Rootfs, scratch: &Path) -> Result<OwnedFd, Failure> {
    let open = |path: &PathBuf| name(path).context(path.display());
    let lowers = rootfs.lowers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let short = |fd: &OwnedFd| format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()));
    let mut options = format!("lowerdir={}", lowers.iter().map(short).collect::<Vec<_>>().join(":"));
    let mut kept = Vec::new();
    if !rootfs.upper.as_os_str().is_empty() {
        let (upper, work) = (open(&rootfs.upper)?, open(&rootfs.work)?);
        options += &format!(",upperdir={},workdir={}", short(&upper), short(&work));
        options += if rootfs.volatile { ",volatile" } else { "" };
        kept = vec![upper, work];
    }
    let options = std::ffi::CString::new(options).map_err(|error| Failure::start(error.to_string()))?;
    rustix::mount::mount("overlay", scratch, "overlay", MountFlags::empty(), options.as_c_str()).context(describe(rootfs))?;
    drop(kept);
    let mount = open_tree(CWD, scratch, OpenTreeFlags::OPEN_TREE_CLOEXEC).context(scratch.display())?;
    Ok(mount)
}

/// Whether this error says that the kernel has no such file system.
pub(crate) fn missing(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NODEV)
}
