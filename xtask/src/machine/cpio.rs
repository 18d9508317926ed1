//! The archive that a kernel unpacks as its first root: the "newc" form of cpio, nothing but what an initramfs needs.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes entries one after another. Folders must come before what lies in them.
pub(crate) struct Archive<W: Write> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    pub(crate) fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, FOLDER, (0, 0), &[])
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name, LINK, (0, 0), target.as_bytes())
    }

    pub(crate) fn device(&mut self, name: &str, numbers: (u32, u32)) -> Result<()> {
        self.entry(name, CHARACTER_DEVICE, numbers, &[])
    }

    /// Readable and executable by everybody.
    pub(crate) fn bytes(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    pub(crate) fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        let content = std::fs::read(from).with_context(|| from.display().to_string())?;
        self.bytes(name, &content)
    }

    /// Writes the end mark and gives the writer back.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is above 4 GiB"))?;
        let name_len = u32::try_from(name.len() + 1)?;
        // Magic, inode, mode, uid, gid, links, mtime, size, device, device of a node, name with its zero, checksum (unused).
        let numbers = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_len, 0];
        let header = numbers.iter().fold(String::from("070701"), |header, number| format!("{header}{number:08x}"));
        self.padded(&[header.as_bytes(), name.as_bytes(), b"\0"].concat())?;
        self.padded(content)?;
        Ok(())
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_hexadecimal_and_everything_is_padded_to_four() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("dev").unwrap();
        archive.device("dev/console", (5, 1)).unwrap();
        archive.bytes("init", b"#!/x\n").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let at = text.find("init\0").unwrap();
        let header = &text[at - 110..at];
        assert!(header.starts_with("07070100000003000081ed"), "{header}");
        assert_eq!((&header[54..62], &header[94..102]), ("00000005", "00000005"), "size of the content, size of the name");
        assert!(text[at..].starts_with("init\0\0#!/x\n\0\0\x00070701"), "{:?}", &text[at..at + 30]);
        assert!(text.contains("dev/console\0"));
        assert_eq!(text.matches("070701").count(), 4);
    }

    /// The reader of another program agrees, where there is one.
    #[test]
    fn busybox_reads_it() {
        use crate::process::{output, program};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let mut archive = Archive::new(std::fs::File::create(&path).unwrap());
        archive.folder("a").unwrap();
        archive.bytes("a/file", b"text").unwrap();
        archive.link("a/link", "file").unwrap();
        drop(archive.finish().unwrap());
        let listing = program("busybox", &["cpio", "-t", "-F", path.to_str().unwrap()]);
        match output(listing, std::time::Duration::from_secs(10)) {
            Ok(listed) => assert_eq!(listed.lines().collect::<Vec<_>>(), ["a", "a/file", "a/link"]),
            #[expect(clippy::print_stderr, reason = "a test that skips says so")]
            Err(error) => eprintln!("skipped: {error:#}"),
        }
    }
}
