//! Writes a layer's tree into a directory: the fall-back where the kernel cannot mount the index.
//!
//! The directory is new and empty and the tree has no path left to resolve, so nothing can lead outside; that every
//! directory is opened beneath its parent without following links is a second wall, not the first.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};

use crate::tarball::{Attributes, Extent};
use crate::tree::{Kind, NodeId, ROOT, Tree};

/// Fills the empty directory `root`; the files' data is in `archive`.
pub(crate) fn unpack(tree: &Tree, archive: &File, root: &Path) -> io::Result<()> {
    let top = fs::openat(CWD, root, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let links = tree.link_counts();
    let mut unpacker = Unpacker { tree, archive, links, top: top.as_fd(), written: HashMap::new() };
    unpacker.children(ROOT, top.as_fd(), &mut PathBuf::new())
}

struct Unpacker<'a> {
    tree: &'a Tree,
    archive: &'a File,
    links: Vec<u32>,
    top: BorrowedFd<'a>,
    /// Where the first name of a file with several was made.
    written: HashMap<NodeId, PathBuf>,
}

impl Unpacker<'_> {
    fn children(&mut self, id: NodeId, dir: BorrowedFd<'_>, path: &mut PathBuf) -> io::Result<()> {
        let node = &self.tree.nodes[id];
        let Kind::Dir { children, opaque } = &node.kind else { return Ok(()) };
        for (name, &child) in children {
            path.push(as_path(name));
            self.entry(child, dir, as_path(name), path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            path.pop();
        }
        if *opaque {
            fs::fsetxattr(dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
        }
        dress(dir, &node.attributes) // last: making children moved its time
    }

    fn entry(&mut self, id: NodeId, dir: BorrowedFd<'_>, name: &Path, path: &mut PathBuf) -> io::Result<()> {
        if let Some(first) = self.written.get(&id) {
            return Ok(fs::linkat(self.top, first, dir, name, AtFlags::empty())?);
        }
        let node = &self.tree.nodes[id];
        match &node.kind {
            Kind::Dir { .. } => {
                fs::mkdirat(dir, name, Mode::RWXU)?;
                let made = open_dir(dir, name)?;
                return self.children(id, made.as_fd(), path);
            }
            Kind::File { size, extents } => self.file(dir, name, *size, extents, &node.attributes)?,
            Kind::Symlink(target) => fs::symlinkat(as_path(target), dir, name)?,
            Kind::Char(major, minor) => make_node(dir, name, FileType::CharacterDevice, fs::makedev(*major, *minor))?,
            Kind::Block(major, minor) => make_node(dir, name, FileType::BlockDevice, fs::makedev(*major, *minor))?,
            Kind::Fifo => make_node(dir, name, FileType::Fifo, 0)?,
            Kind::Whiteout => make_node(dir, name, FileType::CharacterDevice, 0)?,
        }
        if !matches!(node.kind, Kind::File { .. }) {
            dress_by_name(dir, name, &node.attributes, matches!(node.kind, Kind::Symlink(_)))?;
        }
        if self.links[id] > 1 {
            self.written.insert(id, path.clone());
        }
        Ok(())
    }

    fn file(&self, dir: BorrowedFd<'_>, name: &Path, size: u64, extents: &[Extent], attributes: &Attributes) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        for extent in extents {
            copy(self.archive, &file, extent)?;
        }
        if extents.last().is_none_or(|last| last.at + last.len < size) && size > 0 {
            fs::ftruncate(&file, size)?;
        }
        dress(file.as_fd(), attributes)
    }
}

fn open_dir(dir: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
}

fn make_node(dir: BorrowedFd<'_>, name: &Path, kind: FileType, device: Dev) -> io::Result<()> {
    Ok(fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Within the kernel where it can; the archive may lie on another file system.
fn copy(archive: &File, file: &OwnedFd, extent: &Extent) -> io::Result<()> {
    let (mut from, mut to, mut left) = (extent.stream, extent.at, extent.len);
    while left > 0 {
        match fs::copy_file_range(archive, Some(&mut from), file, Some(&mut to), left as usize) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {
                return copy_by_hand(archive, file, from, to, left);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(archive: &File, file: &OwnedFd, mut from: u64, mut to: u64, mut left: u64) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while left > 0 {
        let wanted = buffer.len().min(left as usize);
        let read = rustix::io::pread(archive, &mut buffer[..wanted], from)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut written = 0;
        while written < read {
            written += rustix::io::pwrite(file, &buffer[written..read], to + written as u64)?;
        }
        (from, to, left) = (from + read as u64, to + read as u64, left - read as u64);
    }
    Ok(())
}

/// Owner before mode and capabilities: changing it takes set-id bits and capabilities away.
fn dress(file: BorrowedFd<'_>, attributes: &Attributes) -> io::Result<()> {
    fs::fchown(file, Some(uid(attributes)), Some(gid(attributes)))?;
    fs::fchmod(file, Mode::from_raw_mode(attributes.mode))?;
    for (name, value) in &attributes.xattrs {
        fs::fsetxattr(file, &**name, value, XattrFlags::empty())?;
    }
    Ok(fs::futimens(file, &times(attributes))?)
}

fn dress_by_name(dir: BorrowedFd<'_>, name: &Path, attributes: &Attributes, is_link: bool) -> io::Result<()> {
    fs::chownat(dir, name, Some(uid(attributes)), Some(gid(attributes)), AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_link {
        fs::chmodat(dir, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())?;
    }
    Ok(fs::utimensat(dir, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn uid(attributes: &Attributes) -> Uid {
    Uid::from_raw(attributes.uid)
}

fn gid(attributes: &Attributes) -> Gid {
    Gid::from_raw(attributes.gid)
}

fn times(attributes: &Attributes) -> Timestamps {
    let (tv_sec, nanos) = attributes.mtime;
    let time = Timespec { tv_sec, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn as_path(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}
