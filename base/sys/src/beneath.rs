//! File operations that stay in one folder, whatever links a container has left in it.
//!
//! Nothing here follows a symbolic link, leaves the folder by `..`, or crosses into another mount.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const STAY: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// Opens a folder of the driver's own.
pub fn open_top(path: &Path) -> io::Result<OwnedFd> {
    Ok(fs::openat(CWD, path, DIR, Mode::empty())?)
}

/// Opens a folder below `dir`.
pub fn open_dir(dir: BorrowedFd<'_>, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    Ok(open(dir, path.as_ref())?)
}

fn open(dir: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    loop {
        // EAGAIN: something was renamed meanwhile, so the kernel cannot tell whether we stayed.
        match fs::openat2(dir, path, DIR, Mode::empty(), STAY) {
            Err(Errno::AGAIN) => {}
            outcome => return outcome,
        }
    }
}

/// Opens a file below `dir` for reading; None if it is not there or no plain file.
pub fn open_file(dir: BorrowedFd<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    match fs::openat2(dir, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty(), STAY) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Names in a folder.
pub fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Removes `name` below `dir` and everything in it. Fine if it is not there.
///
/// A container may have nested folders deeper than any stack or number of descriptors: sub-folders are moved up before
/// they are emptied, so two descriptors are enough for any depth.
pub fn remove(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlink(dir, name)? {
        Unlinked::Gone => return Ok(()),
        Unlinked::Folder => {}
    }
    let top = match open(dir, Path::new(name)) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::XDEV) => return Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is a mount", name.display()))),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    loop {
        let entries = names(top.as_fd())?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            if let Unlinked::Folder = unlink(top.as_fd(), &entry)? {
                empty(top.as_fd(), &entry, &mut moved)?;
            }
        }
    }
    drop(top);
    match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

enum Unlinked {
    Gone,
    /// A folder, and not empty.
    Folder,
}

fn unlink(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Unlinked> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Unlinked::Gone),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Unlinked::Folder),
        Err(Errno::BUSY) => Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is a mount", name.display()))),
        Err(error) => Err(error.into()),
    }
}

/// Empties the folder `name` below `top`: files go, folders move up to `top`.
fn empty(top: BorrowedFd<'_>, name: &OsStr, moved: &mut u64) -> io::Result<()> {
    let folder = open_dir(top, name)?;
    for entry in names(folder.as_fd())? {
        if let Unlinked::Folder = unlink(folder.as_fd(), &entry)? {
            move_up(folder.as_fd(), &entry, top, moved)?;
        }
    }
    Ok(())
}

fn move_up(from: BorrowedFd<'_>, name: &OsStr, top: BorrowedFd<'_>, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match fs::renameat_with(from, name, top, format!(".removing-{moved}"), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST | Errno::NOTEMPTY) => {} // a name of the container's
            outcome => return Ok(outcome?),
        }
    }
}

/// Whether a file system is mounted at `name` below `dir`.
pub fn is_mount(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let here = fs::fstat(dir)?;
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok(there.st_dev != here.st_dev),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
