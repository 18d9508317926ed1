//! Files that change all at once.
//!
//! ```text
//! <volume>/..2026_11_21_03_00_00.000000000-7/   the current files
//! <volume>/..data -> ..2026_11_21_03_00_00.…     swapped by one rename
//! <volume>/key    -> ..data/key                  one link per first path component
//! ```
//!
//! A reader that opened `..data` or a file below it sees all of one version. Upstream's AtomicWriter lays volumes out the
//! same way, and programs (file watchers, kubectl cp) rely on it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use contract::{Error, ErrorKind, Result, VolumeFile};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use sys::beneath;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Paths that upstream accepts, no longer than the kernel does.
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// What a group is given beyond a file's or folder's own mode, as for a volume that is read only.
const GROUP_READS: u32 = 0o440;
const GROUP_ENTERS: u32 = 0o2550;

/// Brings the folder `volume` to hold exactly `files`; true if something had to change. `stamp` names the new version.
pub(crate) fn write(volume: BorrowedFd<'_>, files: &[VolumeFile], group: Option<u32>, stamp: &str) -> Result<bool> {
    check(files)?;
    let io = |error: io::Error| Error::io("write volume", error);
    let current = current_version(volume).map_err(io)?;
    let stale = stale_links(volume, files).map_err(io)?;
    if let Some(current) = &current
        && stale.is_empty()
        && holds(volume, current, files, group).map_err(io)?
    {
        link_all(volume, files).map_err(io)?; // should the last writer have died before it was through
        sweep(volume, current).map_err(io)?;
        return Ok(false);
    }
    replace(volume, files, group, stamp, &stale).map_err(io)?;
    Ok(true)
}

fn replace(volume: BorrowedFd<'_>, files: &[VolumeFile], group: Option<u32>, stamp: &str, stale: &[OsString]) -> io::Result<()> {
    let version = format!("..{stamp}");
    let folder = make_dir(volume, OsStr::new(&version), group)?;
    for file in files {
        write_file(folder.as_fd(), file, group)?;
    }
    swap(volume, &version)?;
    link_all(volume, files)?;
    for name in stale {
        fs::unlinkat(volume, name, AtFlags::empty())?;
    }
    sweep(volume, OsStr::new(&version))
}

/// Relative, without `..`, and not in the way of the links of this layout.
fn check(files: &[VolumeFile]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for VolumeFile { path, .. } in files {
        let refuse = |why: &str| Error::new(ErrorKind::Invalid, format!("volume file {}: {why}", path.display()));
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || path.as_os_str().is_empty() {
            return Err(refuse("must be a relative path without '..'"));
        }
        if path.as_os_str().len() > PATH_MAX || path.iter().any(|part| part.len() > NAME_MAX) {
            return Err(refuse("its path is too long"));
        }
        if first(path).as_encoded_bytes().starts_with(b"..") {
            return Err(refuse("must not start with '..'"));
        }
        if !seen.insert(path) {
            return Err(refuse("stands there twice"));
        }
    }
    Ok(())
}

fn first(path: &Path) -> &OsStr {
    path.iter().next().unwrap_or_default()
}

/// What `..data` points to; None if there is no such folder.
fn current_version(volume: BorrowedFd<'_>) -> io::Result<Option<OsString>> {
    let target = match fs::readlinkat(volume, DATA, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let target = OsString::from_vec(target.into_bytes());
    Ok(is_version(&target).then_some(target))
}

fn is_version(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b"..") && bytes.len() > 2 && !bytes.contains(&b'/') && name != DATA && name != DATA_NEXT
}

/// Links of keys that are no longer there.
fn stale_links(volume: BorrowedFd<'_>, files: &[VolumeFile]) -> io::Result<Vec<OsString>> {
    let wanted: BTreeSet<&OsStr> = files.iter().map(|file| first(&file.path)).collect();
    let mut stale = beneath::names(volume)?;
    stale.retain(|name| !name.as_encoded_bytes().starts_with(b"..") && !wanted.contains(name.as_os_str()));
    Ok(stale)
}

/// Whether the version holds exactly these files, with these modes.
fn holds(volume: BorrowedFd<'_>, version: &OsStr, files: &[VolumeFile], group: Option<u32>) -> io::Result<bool> {
    let Ok(folder) = beneath::open_dir(volume, version) else { return Ok(false) };
    for file in files {
        if !holds_file(folder.as_fd(), file, group)? {
            return Ok(false);
        }
    }
    Ok(count_files(folder.as_fd())? == files.len())
}

fn holds_file(folder: BorrowedFd<'_>, file: &VolumeFile, group: Option<u32>) -> io::Result<bool> {
    let Some(open) = beneath::open_file(folder, &file.path)? else { return Ok(false) };
    let found = fs::fstat(&open)?;
    let same = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && found.st_mode & 0o7777 == file_mode(file, group)
        && found.st_size as usize == file.content.len()
        && group.is_none_or(|group| found.st_gid == group);
    if !same {
        return Ok(false);
    }
    let mut content = Vec::with_capacity(file.content.len());
    std::fs::File::from(open).read_to_end(&mut content)?;
    Ok(content == file.content)
}

/// Files in all folders below; they are as few and as shallow as this driver wrote them.
fn count_files(folder: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count = 0;
    for name in beneath::names(folder)? {
        match beneath::open_dir(folder, &name) {
            Ok(inner) => count += count_files(inner.as_fd())?,
            Err(_) => count += 1,
        }
    }
    Ok(count)
}

fn write_file(folder: BorrowedFd<'_>, file: &VolumeFile, group: Option<u32>) -> io::Result<()> {
    let mut parent: Option<OwnedFd> = None;
    for part in file.path.parent().into_iter().flat_map(Path::iter) {
        let here = parent.as_ref().map_or(folder, AsFd::as_fd);
        parent = Some(match beneath::open_dir(here, part) {
            Ok(existing) => existing,
            Err(_) => make_dir(here, part, group)?,
        });
    }
    let here = parent.as_ref().map_or(folder, AsFd::as_fd);
    let name = file.path.file_name().unwrap_or_default();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut open = std::fs::File::from(fs::openat(here, name, flags, Mode::RUSR | Mode::WUSR)?);
    open.write_all(&file.content)?;
    give(open.as_fd(), group, file_mode(file, group))
}

fn make_dir(dir: BorrowedFd<'_>, name: &OsStr, group: Option<u32>) -> io::Result<OwnedFd> {
    fs::mkdirat(dir, name, Mode::RWXU)?;
    let made = beneath::open_dir(dir, name)?;
    give(made.as_fd(), group, 0o755 | group.map_or(0, |_| GROUP_ENTERS))?;
    Ok(made)
}

fn file_mode(file: &VolumeFile, group: Option<u32>) -> u32 {
    (file.mode & 0o777) | group.map_or(0, |_| GROUP_READS)
}

/// The mode last and explicitly: the process's umask has no say, and a new owner would take bits away.
pub(crate) fn give(file: BorrowedFd<'_>, group: Option<u32>, mode: u32) -> io::Result<()> {
    if let Some(group) = group {
        fs::fchown(file, None, Some(Gid::from_raw(group)))?;
    }
    Ok(fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Points `..data` to the version.
fn swap(volume: BorrowedFd<'_>, version: &str) -> io::Result<()> {
    match fs::unlinkat(volume, DATA_NEXT, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    fs::symlinkat(version, volume, DATA_NEXT)?;
    Ok(fs::renameat_with(volume, DATA_NEXT, volume, DATA, RenameFlags::empty())?)
}

/// One link per first path component.
fn link_all(volume: BorrowedFd<'_>, files: &[VolumeFile]) -> io::Result<()> {
    let names: BTreeSet<&OsStr> = files.iter().map(|file| first(&file.path)).collect();
    for name in names {
        let target: PathBuf = Path::new(DATA).join(name);
        match fs::symlinkat(&target, volume, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes every version but the current one: the last one, and what a writer that died left.
fn sweep(volume: BorrowedFd<'_>, current: &OsStr) -> io::Result<()> {
    for name in beneath::names(volume)? {
        if is_version(&name) && name != current {
            beneath::remove(volume, &name)?;
        }
    }
    Ok(())
}
