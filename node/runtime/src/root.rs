//! A container's root as a directory that cannot be left.
//!
//! An image decides what symbolic links lie in it, so every path below the root is resolved by the kernel with
//! RESOLVE_IN_ROOT, one component at a time where something is made. No path is ever joined and opened from outside.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// A component whose link target is missing is made there, but not along an endless chain.
const LINKS_MAX: usize = 40;

pub(crate) struct Root<'fd>(pub(crate) BorrowedFd<'fd>);

impl Root<'_> {
    /// Names what is at `path`, without opening it.
    pub(crate) fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(openat2(self.0, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), IN_ROOT)?)
    }

    /// The content of a small file; None when there is none. Anything but a plain file counts as none.
    pub(crate) fn read(&self, path: &str, bytes_max: u64) -> io::Result<Option<String>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match openat2(self.0, path, flags, Mode::empty(), IN_ROOT) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(fd).take(bytes_max).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The directory at `path`; it and those above it are made (0755) where missing.
    pub(crate) fn ensure_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.find(path) {
            Ok(fd) => Ok(fd),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_dirs(path, LINKS_MAX),
            Err(error) => Err(error),
        }
    }

    /// The file at `path`; an empty one is made where missing.
    pub(crate) fn ensure_file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let parent = self.ensure_dir(path.parent().unwrap_or(Path::new("/")))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        drop(openat(&parent, name, flags, Mode::from_raw_mode(0o644))?);
        Ok(openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn make_dirs(&self, path: &Path, links_left: usize) -> io::Result<OwnedFd> {
        let mut walked = PathBuf::from("/");
        let mut at = self.find(&walked)?;
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    walked.push(name);
                    at = self.step(&at, name, &walked, links_left)?;
                }
                Component::ParentDir => {
                    walked.pop();
                    at = self.find(&walked)?;
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(at)
    }

    /// The entry `name` of `parent` (which is at `walked`'s parent), made when missing.
    fn step(&self, parent: &OwnedFd, name: &OsStr, walked: &Path, links_left: usize) -> io::Result<OwnedFd> {
        match self.find(walked) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => self.find(walked),
            Err(Errno::EXIST) if links_left > 0 => self.make_link_target(parent, name, walked, links_left - 1),
            Err(error) => Err(error.into()),
        }
    }

    /// `name` is a link to something missing: its target is made, inside the root.
    fn make_link_target(&self, parent: &OwnedFd, name: &OsStr, walked: &Path, links_left: usize) -> io::Result<OwnedFd> {
        let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.to_bytes())).to_owned();
        self.make_dirs(&walked.parent().unwrap_or(Path::new("/")).join(target), links_left)
    }
}

/// Opens `sub` below the directory `source` and refuses whatever leads out of it.
pub(crate) fn below(source: &impl AsFd, sub: &Path, create: bool) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(source, sub, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT) if create => create_below(source, sub, resolve),
        Err(Errno::XDEV) => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it leads out of its volume")),
        Err(error) => Err(error.into()),
    }
}

fn create_below(source: &impl AsFd, sub: &Path, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let open =
        |at: BorrowedFd<'_>, name: &OsStr| openat2(at, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut at: OwnedFd = open(source.as_fd(), OsStr::new("."))?;
    for component in sub.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it must be relative and without '..'")),
        };
        match mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = open(at.as_fd(), name)?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn opened(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn links_that_point_outside_lead_inside() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        symlink("/../../escape", root.join("out")).unwrap();
        symlink("out", root.join("again")).unwrap();
        let fd = opened(&root);
        Root(fd.as_fd()).ensure_dir(Path::new("/again/deep")).unwrap();
        assert!(root.join("escape/deep").is_dir());
        Root(fd.as_fd()).ensure_file(Path::new("/out/file")).unwrap();
        assert!(root.join("escape/file").is_file());
        assert!(!outer.path().join("escape").exists());
        Root(fd.as_fd()).ensure_dir(Path::new("../../../up")).unwrap();
        assert!(root.join("up").is_dir());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        let fd = opened(root.path());
        assert!(Root(fd.as_fd()).ensure_dir(Path::new("/a/x")).is_err());
        assert!(Root(fd.as_fd()).read("a", 10).unwrap().is_none());
    }

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let volume = tempfile::tempdir().unwrap();
        std::fs::create_dir(volume.path().join("in")).unwrap();
        symlink("/etc", volume.path().join("abs")).unwrap();
        symlink("../..", volume.path().join("up")).unwrap();
        symlink("in", volume.path().join("fine")).unwrap();
        let fd = opened(volume.path());
        assert!(below(&fd, Path::new("fine"), false).is_ok());
        for bad in ["abs", "up", "..", "fine/../.."] {
            assert!(below(&fd, Path::new(bad), false).is_err(), "{bad}");
        }
        below(&fd, Path::new("new/deep"), true).unwrap();
        assert!(volume.path().join("new/deep").is_dir());
        assert!(below(&fd, Path::new("new/../../x"), true).is_err());
    }
}
