//! A container's standard streams as named pipes, so that they outlive whoever reads them.
//!
//! The container holds its ends for reading and writing: it never gets SIGPIPE, and what it writes waits in the kernel
//! while the node restarts. The keeper holds the other ends, so that nothing is lost when the container ends first.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

pub(crate) struct Pipes {
    folder: PathBuf,
}

impl Pipes {
    /// In the folder of the container.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes those that are missing.
    pub(crate) fn make(&self, stdin: bool) -> io::Result<()> {
        let wanted = ["stdin", "stdout", "stderr"].into_iter().filter(|name| stdin || *name != "stdin");
        for name in wanted {
            match mknodat(CWD, self.folder.join(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The container's ends: input, output, errors.
    pub(crate) fn inner(&self, stdin: bool) -> io::Result<[OwnedFd; 3]> {
        let input = if stdin { self.open("stdin", OFlags::RDWR)? } else { null()? };
        let input = if stdin { reopen_for_reading(&self.folder.join("stdin"), input)? } else { input };
        Ok([input, self.open("stdout", OFlags::RDWR)?, self.open("stderr", OFlags::RDWR)?])
    }

    /// The keeper's ends: input for writing first, when there is any.
    pub(crate) fn held(&self) -> io::Result<Vec<OwnedFd>> {
        let mut held = Vec::new();
        if self.folder.join("stdin").exists() {
            held.push(self.open("stdin", OFlags::RDWR | OFlags::NONBLOCK)?);
        }
        held.push(self.output("stdout")?);
        held.push(self.output("stderr")?);
        Ok(held)
    }

    /// For reading what the container writes.
    pub(crate) fn output(&self, name: &str) -> io::Result<OwnedFd> {
        self.open(name, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// For writing what the container reads.
    pub(crate) fn input(&self) -> io::Result<OwnedFd> {
        self.open("stdin", OFlags::WRONLY | OFlags::NONBLOCK)
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let path = self.folder.join(name);
        open(&path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display())))
    }
}

/// Input must end for the container when its writers are gone, so its own end only reads.
fn reopen_for_reading(path: &Path, both: OwnedFd) -> io::Result<OwnedFd> {
    let reader = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    drop(both);
    Ok(reader)
}

pub(crate) fn null() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
