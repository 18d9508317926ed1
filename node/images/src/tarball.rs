//! Reads the headers of a tar stream; the data stays where it is.
//!
//! Understood are v7, ustar, GNU (long names, sparse files) and pax (attributes, extended attributes, the three sparse
//! layouts). An entry says where its bytes lie in the stream, so that an index can point at them.

use std::io;

use contract::{Error, ErrorKind, Result};

/// Tar's unit: headers and data start at multiples of it.
pub(crate) const BLOCK: u64 = 512;

/// Longest path or link target, as in the kernel.
const PATH_MAX: usize = 4096;

/// Longest extended header: a bound on memory, far above what any tool writes.
const PAX_MAX: u64 = 4 << 20;

/// Most pieces of one sparse file.
const EXTENTS_MAX: usize = 1 << 20;

/// Where a piece of a file lies in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Byte offset in the file.
    pub(crate) at: u64,
    /// Byte offset in the stream.
    pub(crate) stream: u64,
    pub(crate) len: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Size, and the pieces in order; what is between them is zeros.
    File(u64, Vec<Extent>),
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    /// Major and minor.
    Char(u32, u32),
    Block(u32, u32),
    Dir,
    Fifo,
}

/// Owner, mode, time and extended attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission bits, with set-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// As the archive names them, `user.…`.
    pub(crate) xattrs: Vec<(Box<[u8]>, Box<[u8]>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it stands in the archive.
    pub(crate) path: Vec<u8>,
    pub(crate) attributes: Attributes,
    pub(crate) body: Body,
}

/// What the reader needs of a stream.
pub(crate) trait Stream {
    /// Fills `buffer` unless the stream ends before; how much was read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Moves on by `len`; false if the stream ends before.
    fn skip(&mut self, len: u64) -> io::Result<bool>;
}

/// The entries of a stream, in order.
pub(crate) struct Entries<S> {
    pub(crate) stream: S,
    position: u64,
    globals: Pax,
}

impl<S: Stream> Entries<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, position: 0, globals: Pax::default() }
    }

    /// None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut pax = self.globals.clone();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.kind() {
                b'x' | b'X' => pax.parse(&self.contents(&header)?)?,
                b'g' => {
                    let contents = self.contents(&header)?;
                    self.globals.parse(&contents)?;
                    pax = self.globals.clone();
                }
                b'L' => long_path = Some(until_nul(self.contents(&header)?)),
                b'K' => long_link = Some(until_nul(self.contents(&header)?)),
                b'V' => drop(self.contents(&header)?), // a volume's label
                kind => {
                    let path = pax.path.take().or(long_path).unwrap_or_else(|| header.path());
                    let link = pax.link.take().or(long_link).unwrap_or_else(|| header.link());
                    check_path(&path)?;
                    check_path(&link)?;
                    return self.entry(&header, kind, pax, path, link).map(Some);
                }
            }
        }
    }

    /// The next header; None at two blocks of zeros or where the stream ends.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK as usize];
        let read = self.read(&mut block)?;
        if read == 0 || block == [0; BLOCK as usize] {
            return Ok(None);
        }
        if read < block.len() {
            return Err(self.truncated());
        }
        let header = Header(block);
        if !header.is_sound() {
            return Err(invalid(format!("no tar header at byte {}", self.position - BLOCK)));
        }
        Ok(Some(header))
    }

    fn entry(&mut self, header: &Header, kind: u8, mut pax: Pax, path: Vec<u8>, link: Vec<u8>) -> Result<Entry> {
        let attributes = header.attributes(&mut pax)?;
        let body = match kind {
            b'0' | b'\0' | b'7' if path.ends_with(b"/") => Body::Dir,
            b'0' | b'\0' | b'7' => self.file(pax.size.map_or_else(|| header.size(), Ok)?, pax.sparse)?,
            b'S' => self.old_sparse(header)?,
            b'1' => Body::HardLink(link),
            b'2' => Body::Symlink(link),
            b'3' | b'4' => {
                let (major, minor) = header.device()?;
                if kind == b'3' { Body::Char(major, minor) } else { Body::Block(major, minor) }
            }
            b'5' => Body::Dir,
            b'6' => Body::Fifo,
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{}: tar entries of type {:?} are not understood", show(&path), char::from(other)),
                ));
            }
        };
        Ok(Entry { path: pax.sparse_name.take().unwrap_or(path), attributes, body })
    }

    /// `stored` bytes follow.
    fn file(&mut self, stored: u64, sparse: Option<Sparse>) -> Result<Body> {
        let start = self.position;
        let Some(sparse) = sparse else {
            self.skip(stored)?;
            let extents = if stored == 0 { Vec::new() } else { vec![Extent { at: 0, stream: start, len: stored }] };
            return Ok(Body::File(stored, extents));
        };
        let map = if sparse.map_in_data { self.map_in_data(stored)? } else { sparse.map };
        let data = self.position;
        let body = sparse_body(sparse.size, &map, data, start + stored)?;
        self.skip(start + stored - data)?;
        Ok(body)
    }

    /// The map of pax sparse format 1.0: decimal lines before the data, padded to a block.
    fn map_in_data(&mut self, stored: u64) -> Result<Vec<(u64, u64)>> {
        let mut text = Vec::new();
        loop {
            if text.len() as u64 >= stored.min(PAX_MAX) {
                return Err(invalid("a sparse file's map does not end"));
            }
            let mut block = [0; BLOCK as usize];
            if self.read(&mut block)? < block.len() {
                return Err(self.truncated());
            }
            text.extend_from_slice(&block);
            if let Some(map) = parse_map(&text)? {
                return Ok(map);
            }
        }
    }

    fn old_sparse(&mut self, header: &Header) -> Result<Body> {
        let stored = header.size()?;
        let mut map = Vec::new();
        let mut more = header.0[482] != 0;
        read_old_map(&header.0[386..482], &mut map)?;
        while more {
            let mut block = [0; BLOCK as usize];
            if self.read(&mut block)? < block.len() {
                return Err(self.truncated());
            }
            read_old_map(&block[..504], &mut map)?;
            more = block[504] != 0;
        }
        let size = number(&header.0[483..495]).ok_or_else(|| invalid("a sparse file without a size"))?;
        let start = self.position;
        self.skip(stored)?;
        sparse_body(size, &map, start, start + stored)
    }

    /// The data of an entry that describes the next one.
    fn contents(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > PAX_MAX {
            return Err(invalid(format!("an extended header of {size} bytes, more than {PAX_MAX}")));
        }
        let mut bytes = vec![0; size as usize];
        if self.read(&mut bytes)? < bytes.len() {
            return Err(self.truncated());
        }
        self.skip_padding(size)?;
        Ok(bytes)
    }

    /// Past `size` bytes of data and the padding behind them. The padding of the very last entry may be missing.
    fn skip(&mut self, size: u64) -> Result<()> {
        self.position = self.position.checked_add(size).ok_or_else(|| invalid("an entry's size is impossible"))?;
        if !self.stream.skip(size).map_err(|error| Error::io("read archive", error))? {
            return Err(self.truncated());
        }
        self.skip_padding(size)
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let padding = size.next_multiple_of(BLOCK) - size;
        self.position += padding;
        self.stream.skip(padding).map(drop).map_err(|error| Error::io("read archive", error))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.stream.read(buffer).map_err(|error| Error::io("read archive", error))?;
        self.position += read as u64;
        Ok(read)
    }

    fn truncated(&self) -> Error {
        invalid(format!("the archive ends within an entry, at byte {}", self.position))
    }
}

fn check_path(path: &[u8]) -> Result<()> {
    if path.len() > PATH_MAX || path.contains(&0) {
        return Err(invalid(format!("{}: a path of {} bytes cannot be", show(&path[..path.len().min(64)]), path.len())));
    }
    Ok(())
}

fn sparse_body(size: u64, map: &[(u64, u64)], data: u64, end: u64) -> Result<Body> {
    let mut extents = Vec::with_capacity(map.len());
    let (mut stream, mut at_least) = (data, 0);
    for &(at, len) in map.iter().filter(|(_, len)| *len != 0) {
        let within =
            at.checked_add(len).is_some_and(|file_end| file_end <= size) && stream.checked_add(len).is_some_and(|used| used <= end);
        if at < at_least || !within {
            return Err(invalid("a sparse file's map does not fit its data"));
        }
        extents.push(Extent { at, stream, len });
        at_least = at + len;
        stream += len;
    }
    if size > i64::MAX as u64 {
        return Err(invalid("a sparse file's size is impossible"));
    }
    Ok(Body::File(size, extents))
}

/// Offsets and lengths in pairs of 12 bytes; an empty pair ends them.
fn read_old_map(bytes: &[u8], map: &mut Vec<(u64, u64)>) -> Result<()> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let parsed = number(&pair[..12]).zip(number(&pair[12..]));
        map.push(parsed.ok_or_else(|| invalid("a sparse file's map is no number"))?);
        if map.len() > EXTENTS_MAX {
            return Err(invalid("a sparse file has too many pieces"));
        }
    }
    Ok(())
}

/// A count, then that many pairs, a line each; None when more lines are needed.
fn parse_map(text: &[u8]) -> Result<Option<Vec<(u64, u64)>>> {
    let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut numbers = text[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != 0).map(decimal);
    let Some(count) = numbers.next() else { return Ok(None) };
    let count = count.filter(|count| *count <= EXTENTS_MAX as u64).ok_or_else(|| invalid("a sparse file's map has no count"))?;
    let mut map = Vec::new();
    for _ in 0..count {
        let (Some(at), Some(len)) = (numbers.next(), numbers.next()) else { return Ok(None) };
        map.push(at.zip(len).ok_or_else(|| invalid("a sparse file's map is no number"))?);
    }
    Ok(Some(map))
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A header field: octal text, or binary where its first bit is set. An empty field is 0.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let sign_only = high.iter().enumerate().all(|(index, byte)| if index == 0 { byte & 0x7f == 0 } else { *byte == 0 });
        let mut value = [0; 8];
        value[8 - low.len()..].copy_from_slice(low);
        if high.is_empty() {
            value[8 - low.len()] &= 0x7f;
        }
        return sign_only.then(|| u64::from_be_bytes(value));
    }
    let text = field.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

struct Header([u8; BLOCK as usize]);

impl Header {
    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The checksum is the sum of all bytes with its own field as blanks; some tools summed signed bytes.
    fn is_sound(&self) -> bool {
        let blanked = |index: usize, byte: u8| if (148..156).contains(&index) { b' ' } else { byte };
        let unsigned: u64 = self.0.iter().enumerate().map(|(index, byte)| u64::from(blanked(index, *byte))).sum();
        let signed: i64 = self.0.iter().enumerate().map(|(index, byte)| i64::from(blanked(index, *byte) as i8)).sum();
        number(&self.0[148..156]).is_some_and(|sum| sum == unsigned || i64::try_from(sum) == Ok(signed))
    }

    fn size(&self) -> Result<u64> {
        number(&self.0[124..136]).ok_or_else(|| self.bad("size"))
    }

    fn path(&self) -> Vec<u8> {
        let name = until_nul(self.0[..100].to_vec());
        let prefix = until_nul(self.0[345..500].to_vec());
        // GNU tar writes other things there and says so by another magic.
        if &self.0[257..263] != b"ustar\0" || prefix.is_empty() {
            return name;
        }
        [prefix, name].join(&b'/')
    }

    fn link(&self) -> Vec<u8> {
        until_nul(self.0[157..257].to_vec())
    }

    fn device(&self) -> Result<(u32, u32)> {
        let field = |from: usize| {
            number(&self.0[from..from + 8]).and_then(|number| u32::try_from(number).ok()).ok_or_else(|| self.bad("device number"))
        };
        Ok((field(329)?, field(337)?))
    }

    fn attributes(&self, pax: &mut Pax) -> Result<Attributes> {
        let mode = number(&self.0[100..108]).ok_or_else(|| self.bad("mode"))?;
        let id =
            |from: usize, what: &str| number(&self.0[from..from + 8]).and_then(|id| u32::try_from(id).ok()).ok_or_else(|| self.bad(what));
        let mtime = || Some((i64::try_from(number(&self.0[136..148])?).ok()?, 0));
        Ok(Attributes {
            mode: (mode & 0o7777) as u32,
            uid: pax.uid.map_or_else(|| id(108, "uid"), Ok)?,
            gid: pax.gid.map_or_else(|| id(116, "gid"), Ok)?,
            mtime: pax.mtime.or_else(mtime).unwrap_or_default(), // before 1970, or junk: no reason to refuse an image
            xattrs: std::mem::take(&mut pax.xattrs),
        })
    }

    fn bad(&self, what: &str) -> Error {
        invalid(format!("{}: its {what} is no number", show(&self.path())))
    }
}

/// What extended headers say.
#[derive(Clone, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Box<[u8]>, Box<[u8]>)>,
    sparse: Option<Sparse>,
    sparse_name: Option<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Sparse {
    size: u64,
    map: Vec<(u64, u64)>,
    map_in_data: bool,
}

impl Pax {
    /// `LEN KEY=VALUE\n` over and over.
    fn parse(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() && bytes[0] != 0 {
            let record = split_record(bytes).ok_or_else(|| invalid("a damaged pax header"))?;
            let (key, value, rest) = record;
            bytes = rest;
            self.set(key, value).ok_or_else(|| invalid(format!("a pax header with a bad {}", show(key))))?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(u32::try_from(decimal(value)?).ok()?),
            b"gid" => self.gid = Some(u32::try_from(decimal(value)?).ok()?),
            b"mtime" => self.mtime = Some(parse_time(value)?),
            b"GNU.sparse.major" => self.sparse.get_or_insert_default().map_in_data = value == b"1",
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.get_or_insert_default().size = decimal(value)?,
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.offset" => self.sparse.get_or_insert_default().map.push((decimal(value)?, 0)),
            b"GNU.sparse.numbytes" => self.sparse.as_mut()?.map.last_mut()?.1 = decimal(value)?,
            b"GNU.sparse.map" => self.sparse.get_or_insert_default().map = parse_pairs(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.into(), value.into()));
                }
            }
        }
        Some(())
    }
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// `1,2,3,4`
fn parse_pairs(text: &[u8]) -> Option<Vec<(u64, u64)>> {
    let numbers: Vec<u64> = text.split(|byte| *byte == b',').map(decimal).collect::<Option<_>>()?;
    (numbers.len().is_multiple_of(2) && numbers.len() <= 2 * EXTENTS_MAX)
        .then(|| numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Seconds with an optional fraction.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanos): (i64, u32) = (seconds.parse().ok()?, digits.parse().ok()?);
    // The fraction of a time before 1970 counts back.
    Some(if seconds < 0 && nanos > 0 { (seconds - 1, 1_000_000_000 - nanos) } else { (seconds, nanos) })
}

pub(crate) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
