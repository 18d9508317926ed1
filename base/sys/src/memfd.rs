//! Sealed memory files: bytes that travel to another process and can never change again.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// A memory file with `content`, sealed against every change.
pub fn sealed(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    let fd = OwnedFd::from(file);
    fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}

/// Reads a memory file from its start; refuses one that its sender could still change.
pub fn read_sealed(fd: OwnedFd) -> io::Result<Vec<u8>> {
    if !fcntl_get_seals(fd.as_fd())?.contains(SEALS) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "memory file is not sealed"));
    }
    let mut file = File::from(fd);
    file.rewind()?;
    let mut content = Vec::with_capacity(file.metadata()?.len() as usize);
    file.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_and_cannot_change() {
        let fd = sealed("plan", b"hello").unwrap();
        let mut writer = File::from(fd.try_clone().unwrap());
        assert!(writer.write_all(b"x").is_err());
        assert_eq!(read_sealed(fd).unwrap(), b"hello");
    }

    #[test]
    fn an_unsealed_file_is_refused() {
        let fd = memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(read_sealed(fd).is_err());
    }
}
