//! Reads a file frame by frame.

use std::io;

use super::disk::DiskFile;
use super::format::{FRAME_HEAD_LEN, durable_before, frame_crc, frame_len};
use crate::contract::Revision;

/// Bytes read ahead.
const WINDOW_LEN: usize = 256 << 10;

/// What stands at the reader's position.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole frame: its payload.
    Frame(Vec<u8>),
    /// Nothing: the file ends or a length of 0 stands here.
    End,
    /// Something that is no frame, and why not.
    Bad(&'static str),
}

/// A position in a file and a window of bytes from there on.
pub(crate) struct Frames<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    pub(crate) offset: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, offset: u64) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, offset, window: Vec::new(), window_at: offset })
    }

    /// The next frame; moves on only when there is one.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let offset = self.offset;
        let head = self.bytes(offset, FRAME_HEAD_LEN)?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(Step::End);
        }
        let Ok(head) = <[u8; FRAME_HEAD_LEN]>::try_from(head) else { return Ok(Step::Bad("the file ends within a record")) };
        let (len, crc) = split_head(head);
        if len == 0 || frame_len(len) as u64 > self.len - offset {
            return Ok(Step::Bad("its length is impossible"));
        }
        let payload = self.bytes(offset + FRAME_HEAD_LEN as u64, len as usize)?;
        if payload.len() < len as usize || frame_crc(len, payload) != crc {
            return Ok(Step::Bad("its checksum does not match"));
        }
        let payload = payload.to_vec();
        self.offset += frame_len(len) as u64;
        Ok(Step::Frame(payload))
    }

    /// Whether any byte from here on was written.
    pub(crate) fn anything_follows(&mut self) -> io::Result<bool> {
        let mut at = self.offset;
        while let Some(data) = self.file.next_data(at)? {
            let bytes = self.bytes(data, WINDOW_LEN)?;
            if bytes.is_empty() {
                return Ok(false);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            at = data + bytes.len() as u64;
        }
        Ok(false)
    }

    /// Whether a whole commit stands somewhere behind this position which proves that `revision` had been synced.
    pub(crate) fn proof_of(&mut self, revision: Revision) -> io::Result<bool> {
        let mut at = self.offset;
        while let Some(data) = self.file.next_data(at)? {
            at = at.max(data / 8 * 8);
            let bytes = self.bytes(at, FRAME_HEAD_LEN)?;
            let Ok(head) = <[u8; FRAME_HEAD_LEN]>::try_from(bytes) else { return Ok(false) };
            let (len, crc) = split_head(head);
            if len != 0 && frame_len(len) as u64 <= self.len - at {
                let payload = self.bytes(at + FRAME_HEAD_LEN as u64, len as usize)?;
                let proves = durable_before(payload).is_some_and(|durable| durable >= revision);
                if proves && frame_crc(len, payload) == crc {
                    return Ok(true);
                }
            }
            at = self.next_nonzero(at + 8)?;
        }
        Ok(false)
    }

    /// The next multiple of 8 with something in it, within the window that holds `at`.
    fn next_nonzero(&mut self, at: u64) -> io::Result<u64> {
        let bytes = self.bytes(at, FRAME_HEAD_LEN)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(at);
        }
        let rest = &self.window[(at - self.window_at) as usize..];
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        Ok(at + (zeros / 8 * 8).max(8) as u64)
    }

    /// `len` bytes at `offset`, fewer where the file ends.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = (offset + len as u64).min(self.len);
        let held = offset >= self.window_at && end <= self.window_at + self.window.len() as u64;
        if !held {
            let wanted = len.max(WINDOW_LEN).min(self.len.saturating_sub(offset) as usize);
            self.window.resize(wanted, 0);
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let start = ((offset - self.window_at) as usize).min(self.window.len());
        let stop = (start + len).min(self.window.len());
        Ok(&self.window[start..stop])
    }
}

fn split_head(head: [u8; FRAME_HEAD_LEN]) -> (u32, u32) {
    let number = u64::from_le_bytes(head);
    (number as u32, (number >> 32) as u32)
}
