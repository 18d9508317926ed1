//! Mounts of layers' indexes, and the question whether this kernel and file system can do them.
//!
//! A mount is made by file descriptors (no option string, so a path may hold anything), read-only, without devices and
//! set-id programs: containers see the layer through an overlay of their own. What is mounted is asked of the kernel
//! once, at the start.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, move_mount, unmount,
};

use crate::erofs;
use crate::tarball::{Attributes, Extent};
use crate::tree::{Kind, Node, ROOT, Tree};

/// How this machine mounts indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Past the page cache of the archive's file system, so that pages are cached once.
    Direct,
    Buffered,
}

/// Mounts `index` over `archive` at the directory `target`.
pub(crate) fn mount_index(index: &Path, archive: &Path, target: &Path, method: Method) -> io::Result<()> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", index)?;
    fsconfig_set_string(&context, "device", archive)?;
    if method == Method::Direct {
        fsconfig_set_flag(&context, "directio")?;
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount: OwnedFd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Unmounts `target`, also one still in use, and removes the directory. Fine if there is nothing.
pub(crate) fn release(target: &Path) -> io::Result<()> {
    match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match std::fs::remove_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is mounted directly below `dir`, by its name there.
pub(crate) fn mounted_below(dir: &Path) -> io::Result<HashSet<String>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let target = |line: &str| line.split(' ').nth(4).map(|target| PathBuf::from(unescape(target)));
    let name = |target: PathBuf| Some(target.strip_prefix(dir).ok()?.to_str()?.to_owned());
    Ok(table.lines().filter_map(target).filter_map(name).filter(|name| !name.is_empty() && !name.contains('/')).collect())
}

/// mountinfo writes blanks, tabs, line ends and backslashes in octal.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal.filter(|_| first == b'\\') {
            Some(byte) => (out.push(byte), rest = &behind[3..]).1,
            None => (out.push(first), rest = behind).1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Mounts a tiny layer whose one file lies at an odd block, and reads it: versions promise less than this shows. `scratch`
/// is on the store's file system, `target` where layers are mounted; both are removed again.
pub(crate) fn probe(scratch: &Path, target: &Path) -> Option<Method> {
    [Method::Direct, Method::Buffered].into_iter().find(|&method| match try_method(scratch, target, method) {
        Ok(works) => works,
        Err(error) => {
            tracing::debug!(?method, %error, "layers cannot be mounted this way");
            false
        }
    })
}

fn try_method(scratch: &Path, target: &Path, method: Method) -> io::Result<bool> {
    const TEXT: &[u8] = b"corten";
    const AT: u64 = 3 * 512;
    std::fs::create_dir_all(scratch)?;
    std::fs::create_dir_all(target)?;
    let (archive, index) = (scratch.join("archive"), scratch.join("index"));
    let mut bytes = vec![0; 8 * 512];
    bytes[AT as usize..AT as usize + TEXT.len()].copy_from_slice(TEXT);
    std::fs::write(&archive, bytes)?;
    let mut tree = Tree::empty();
    let extents = vec![Extent { at: 0, stream: AT, len: TEXT.len() as u64 }];
    tree.nodes.push(Node { attributes: Attributes::default(), kind: Kind::File { size: TEXT.len() as u64, extents } });
    if let Kind::Dir { children, .. } = &mut tree.nodes[ROOT].kind {
        children.insert((*b"probe").into(), 1);
    }
    File::create(&index)?.write_all(&erofs::index(&tree, &File::open(&archive)?, 8 * 512)?)?;
    let read = mount_index(&index, &archive, target, method).and_then(|()| std::fs::read(target.join("probe")));
    release(target)?;
    std::fs::remove_dir_all(scratch)?;
    Ok(read? == TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_unescaped() {
        assert_eq!(unescape(r"/run/a\040b\134c\"), r"/run/a b\c\");
    }
}
