//! One pass from an archive, compressed or not, to the plain tar in our store, its digest and its tree.
//!
//! Three threads with bounded queues between them: one reads and decompresses, one hashes, and the caller's writes the
//! tar and reads its headers. Buffers go round, so memory is a few megabytes whatever the archive's size.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use aws_lc_rs::digest::{Context, Digest, SHA256};
use contract::{Error, ErrorKind, Result};

use crate::tarball::{Entries, Stream, invalid};
use crate::tree::Tree;

const CHUNK_LEN: usize = 1 << 20;
const CHUNKS_QUEUED: usize = 4;

/// What came in.
pub(crate) struct Ingested {
    /// Of the plain tar.
    pub(crate) digest: Hex,
    /// Bytes of the plain tar.
    pub(crate) len: u64,
    pub(crate) tree: Tree,
}

/// A SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Hex(String);

impl Hex {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::from(aws_lc_rs::digest::digest(&SHA256, bytes))
    }

    /// From `sha256:…`.
    pub(crate) fn parse(digest: &str) -> Result<Self> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && crate::name::id_prefix(hex).is_some());
        hex.map(|hex| Self(hex.to_owned())).ok_or_else(|| invalid(format!("{digest:?} is no sha256 digest")))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256:…`
    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", self.0)
    }
}

impl From<Digest> for Hex {
    fn from(digest: Digest) -> Self {
        Self(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Copies `source`, decompressed, to `tar`.
pub(crate) fn ingest(source: impl Read + Send, tar: &mut File) -> Result<Ingested> {
    let (chunks_tx, chunks_rx) = sync_channel(CHUNKS_QUEUED);
    let (hash_tx, hash_rx) = sync_channel::<Arc<Vec<u8>>>(CHUNKS_QUEUED);
    let (spare_tx, spare_rx) = sync_channel(2 * CHUNKS_QUEUED);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_chunks(source, &chunks_tx, &hash_tx, &spare_rx));
        let hasher = {
            let spare_tx = spare_tx.clone();
            scope.spawn(move || hash_chunks(hash_rx, &spare_tx))
        };
        let tee = Tee { chunks: chunks_rx, spare: spare_tx, current: None, used: 0, tar, len: 0 };
        let mut entries = Entries::new(tee);
        let read = Tree::read(&mut entries).and_then(|tree| {
            entries.stream.drain().map_err(|error| Error::io("write layer", error))?;
            Ok((tree, entries.stream.len))
        });
        drop(entries); // ends the reader, should the tree have been refused
        let source = reader.join().expect("the reader does not panic");
        let digest = hasher.join().expect("the hasher does not panic");
        source.map_err(|error| Error::new(ErrorKind::Invalid, format!("read archive: {error}")))?;
        let (tree, len) = read?;
        Ok(Ingested { digest, len, tree })
    })
}

/// Reads until the end or until nobody listens any more.
fn read_chunks(
    source: impl Read,
    chunks: &SyncSender<Arc<Vec<u8>>>,
    hash: &SyncSender<Arc<Vec<u8>>>,
    spare: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut source = decompress(source)?;
    loop {
        let mut chunk = spare.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_LEN, 0);
        let read = fill(&mut source, &mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        chunk.truncate(read);
        let chunk = Arc::new(chunk);
        if hash.send(chunk.clone()).is_err() || chunks.send(chunk).is_err() {
            return Ok(());
        }
    }
}

fn hash_chunks(chunks: Receiver<Arc<Vec<u8>>>, spare: &SyncSender<Vec<u8>>) -> Hex {
    let mut context = Context::new(&SHA256);
    for chunk in chunks {
        context.update(&chunk);
        recycle(chunk, spare);
    }
    Hex::from(context.finish())
}

/// The last of its users gives a buffer back.
fn recycle(chunk: Arc<Vec<u8>>, spare: &SyncSender<Vec<u8>>) {
    if let Some(buffer) = Arc::into_inner(chunk) {
        let _ = spare.try_send(buffer); // enough are on their way
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// By the first bytes: gzip, zstd, or as it is.
pub(crate) fn decompress<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 6];
    let known = fill(&mut source, &mut magic)?;
    let start = io::Cursor::new(magic[..known].to_vec());
    let whole = start.chain(source);
    match &magic[..known] {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(CHUNK_LEN / 4, whole)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(io::BufReader::with_capacity(CHUNK_LEN / 4, whole));
            Ok(Box::new(decoder.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(unsupported("xz")),
        [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
        _ => Ok(Box::new(whole)),
    }
}

fn unsupported(format: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("it is compressed with {format}: decompress it first, or use gzip or zstd"))
}

/// Writes to the store what the tar reader reads or skips.
struct Tee<'a> {
    chunks: Receiver<Arc<Vec<u8>>>,
    spare: SyncSender<Vec<u8>>,
    current: Option<Arc<Vec<u8>>>,
    used: usize,
    tar: &'a mut File,
    len: u64,
}

impl Tee<'_> {
    /// What is left of the current chunk, or of the next one; None at the end.
    fn rest(&mut self) -> io::Result<Option<&[u8]>> {
        if self.current.as_ref().is_none_or(|chunk| self.used == chunk.len()) {
            if let Some(done) = self.current.take() {
                recycle(done, &self.spare);
            }
            let Ok(chunk) = self.chunks.recv() else { return Ok(None) };
            self.tar.write_all(&chunk)?;
            self.len += chunk.len() as u64;
            self.current = Some(chunk);
            self.used = 0;
        }
        Ok(self.current.as_ref().map(|chunk| &chunk[self.used..]))
    }

    fn drain(&mut self) -> io::Result<()> {
        while let Some(rest) = self.rest()? {
            self.used += rest.len();
        }
        Ok(())
    }
}

impl Stream for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            let Some(rest) = self.rest()? else { break };
            let taken = rest.len().min(buffer.len() - read);
            buffer[read..read + taken].copy_from_slice(&rest[..taken]);
            read += taken;
            self.used += taken;
        }
        Ok(read)
    }

    fn skip(&mut self, mut len: u64) -> io::Result<bool> {
        while len > 0 {
            let Some(rest) = self.rest()? else { return Ok(false) };
            let taken = (rest.len() as u64).min(len);
            len -= taken;
            self.used += taken as usize;
        }
        Ok(true)
    }
}
