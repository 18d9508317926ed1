//! Netlink without any helper program: messages, batches with their acknowledgements, dumps.
//!
//! The kernel answers every request inside the `sendmsg` that brought it, so a [`Socket`] is plain blocking code whose
//! waits are bounded by the kernel's own locks (micro- to milliseconds). Errors carry the kernel's extended
//! acknowledgement text and the name of the message that failed. A socket belongs to the network namespace in which
//! it was opened, for ever, whichever thread uses it.
//!
//! | module | what |
//! |---|---|
//! | [`route`] | links, addresses, routes, neighbours |
//! | [`nft`] | nftables: tables, chains, rules, sets, in one transaction |
//! | [`conntrack`] | finding and dropping connection tracking entries |
//! | [`legacy`] | the policy of the older iptables (no netlink, but the same subject) |

pub mod conntrack;
pub mod legacy;
pub mod nft;
pub mod route;

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub(crate) const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
pub(crate) const ACK: u16 = libc::NLM_F_ACK as u16;
pub(crate) const DUMP: u16 = libc::NLM_F_DUMP as u16;
pub(crate) const CREATE: u16 = libc::NLM_F_CREATE as u16;
pub(crate) const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
pub(crate) const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
pub(crate) const APPEND: u16 = libc::NLM_F_APPEND as u16;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const DUMP_INTERRUPTED: u16 = 0x10;
/// Dumps that a concurrent change interrupts are taken again, this often at most.
const DUMP_ATTEMPTS: usize = 16;

/// What a request came to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused one message; nothing of an nftables transaction was done, of a route batch what came before it.
    #[error("{what}: {}{}", io::Error::from_raw_os_error(*errno), detail(text))]
    Refused { errno: i32, what: String, text: String },
    /// Answers were lost (ENOBUFS): dump and compare, nobody knows what was done.
    #[error("netlink answers overran the socket's buffer")]
    Overrun,
    /// The kernel's answer makes no sense to us.
    #[error("netlink answered nonsense to {0}")]
    Malformed(String),
    #[error("netlink socket: {0}")]
    Io(#[from] io::Error),
}

fn detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

impl Error {
    /// The errno of a refusal, 0 for anything else.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Refused { errno, .. } => *errno,
            _ => 0,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
    }

    pub fn is_present(&self) -> bool {
        self.errno() == libc::EEXIST
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which part of the kernel to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Route,
    Netfilter,
}

/// One netlink socket in the calling thread's network namespace.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub fn open(family: Family) -> Result<Self> {
        let protocol = match family {
            Family::Route => libc::NETLINK_ROUTE,
            Family::Netfilter => libc::NETLINK_NETFILTER,
        };
        let fd = socket(protocol)?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            set_option(&fd, libc::SOL_NETLINK, option, 1)?;
        }
        // Filters in dump requests are honoured only under strict checking. Kernels before 4.20 have none: there a dump is longer.
        let _ = set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, 1);
        // A whole transaction is one message; without CAP_NET_ADMIN in the first user namespace the system's maximum has to do.
        for (force, plain) in [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)] {
            if set_option(&fd, libc::SOL_SOCKET, force, 16 << 20).is_err() {
                set_option(&fd, libc::SOL_SOCKET, plain, 16 << 20)?;
            }
        }
        Ok(Self { fd, seq: 1, buffer: vec![0; 64 << 10] })
    }

    /// Sends the batch and takes every acknowledgement. The first refusal is the error; of a route batch the others were tried too.
    pub fn transact(&mut self, batch: &mut Batch) -> Result<()> {
        let Some(last) = batch.marks.iter().rev().find(|mark| mark.acked) else { return Ok(()) };
        let (first_seq, last_seq) = (self.seq, self.seq + last.number);
        batch.number_from(first_seq);
        self.seq += batch.marks.len() as u32;
        send(&self.fd, &batch.bytes)?;
        let mut refused = None;
        loop {
            for message in self.receive()? {
                let message = message?;
                if message.kind != libc::NLMSG_ERROR as u16 || message.seq < first_seq {
                    continue; // a multicast or an answer to a request given up before
                }
                let (errno, text) = acknowledgement(&message);
                if errno != 0 && refused.is_none() && !batch.is_optional(message.seq - first_seq) {
                    let what = batch.what(message.seq - first_seq);
                    refused = Some(Error::Refused { errno, what, text });
                }
                if message.seq == last_seq {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// One request that is answered by a list. `request` must hold exactly one message, made by [`Batch::dump`].
    pub fn dump(&mut self, request: &mut Batch) -> Result<Vec<Message>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(messages) = self.dump_once(request)? {
                return Ok(messages);
            }
        }
        Err(Error::Refused { errno: libc::EINTR, what: request.what(0), text: "it changes faster than it can be read".into() })
    }

    /// None: a change meanwhile made the list inconsistent.
    fn dump_once(&mut self, request: &mut Batch) -> Result<Option<Vec<Message>>> {
        let seq = self.seq;
        request.number_from(seq);
        self.seq += 1;
        send(&self.fd, &request.bytes)?;
        let (mut out, mut interrupted) = (Vec::new(), false);
        loop {
            for message in self.receive()? {
                let message = message?;
                if message.seq != seq {
                    continue;
                }
                interrupted |= message.flags & DUMP_INTERRUPTED != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        let (errno, text) = acknowledgement(&message);
                        if errno == libc::EINTR {
                            return Ok(None);
                        }
                        if errno != 0 {
                            return Err(Error::Refused { errno, what: request.what(0), text });
                        }
                        return Ok((!interrupted).then_some(out));
                    }
                    _ => out.push(message),
                }
            }
        }
    }

    /// One request answered by one message. `request` must hold exactly one message, made by [`Batch::get`].
    pub fn get(&mut self, request: &mut Batch) -> Result<Message> {
        let seq = self.seq;
        request.number_from(seq);
        self.seq += 1;
        send(&self.fd, &request.bytes)?;
        loop {
            for message in self.receive()? {
                let message = message?;
                if message.seq != seq {
                    continue;
                }
                if message.kind != libc::NLMSG_ERROR as u16 {
                    return Ok(message);
                }
                let (errno, text) = acknowledgement(&message);
                return Err(Error::Refused { errno, what: request.what(0), text });
            }
        }
    }

    /// Joins a multicast group: its messages are what [`Socket::notification`] gives.
    pub fn subscribe(&self, group: u32) -> Result<()> {
        Ok(set_option(&self.fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group as i32)?)
    }

    /// The next multicast messages that already wait (none: empty). `Overrun` says that some were lost.
    pub fn notifications(&mut self) -> Result<Vec<Message>> {
        let mut out = Vec::new();
        loop {
            match receive(&self.fd, &mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(length) => out.extend(Messages(&self.buffer[..length]).flatten()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(out),
                Err(error) => return Err(overrun_or(error)),
            }
        }
    }

    /// Waits for a multicast message; false: none came.
    fn wait(&self, patience: Duration) -> Result<bool> {
        let mut fds = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        match rustix::event::poll(&mut fds, Some(&patience)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(Error::Io(error.into())),
        }
    }

    fn receive(&mut self) -> Result<Vec<Result<Message>>> {
        let length = receive(&self.fd, &mut self.buffer, 0).map_err(overrun_or)?;
        Ok(Messages(&self.buffer[..length]).collect())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn overrun_or(error: io::Error) -> Error {
    if error.raw_os_error() == Some(libc::ENOBUFS) { Error::Overrun } else { Error::Io(error) }
}

/// The errno (0: success) and the extended text of an acknowledgement or of the end of a dump.
fn acknowledgement(message: &Message) -> (i32, String) {
    let errno = message.body.get(..4).map_or(0, |code| -i32::from_ne_bytes(code.try_into().expect("four bytes")));
    // struct nlmsgerr: error, then the header of the message in question, then attributes (NLMSGERR_ATTR_MSG is 1).
    let text = message.body.get(4 + HEADER..).and_then(|rest| attributes(rest).find(|(kind, _)| *kind == 1));
    (errno, text.map(|(_, text)| string(text)).unwrap_or_default())
}

/// One message received.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Message {
    /// The attributes behind a family header of `skip` bytes.
    pub fn attributes(&self, skip: usize) -> Attributes<'_> {
        attributes(self.body.get(skip..).unwrap_or_default())
    }
}

struct Messages<'a>(&'a [u8]);

impl Iterator for Messages<'_> {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..HEADER)?;
        let u16_at = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = u32_at(0) as usize;
        let Some(body) = self.0.get(HEADER..length) else {
            self.0 = &[];
            return Some(Err(Error::Malformed("a request: a message is longer than what was received".into())));
        };
        let message = Message { kind: u16_at(4), flags: u16_at(6), seq: u32_at(8), body: body.to_vec() };
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some(Ok(message))
    }
}

/// `(type, payload)` pairs; ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

/// The attributes in `bytes`; a nested attribute's payload is read the same way.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

impl<'a> Attributes<'a> {
    /// The payload of the first attribute of this type.
    pub fn find_kind(mut self, wanted: u16) -> Option<&'a [u8]> {
        self.find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// A NUL-terminated string attribute.
pub fn string(payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

/// A host-endian number attribute; 0 where it is too short.
pub fn number(payload: &[u8]) -> u32 {
    payload.get(..4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
}

fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// Messages that go out in one send.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

#[derive(Debug)]
struct Mark {
    at: usize,
    number: u32,
    acked: bool,
    /// A refusal is no error: what it asks for does not exist in every kernel.
    optional: bool,
    what: Cow<'static, str>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds one message; `what` names it in errors, `fill` writes its attributes.
    pub fn push(&mut self, what: impl Into<Cow<'static, str>>, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Writer<'_>)) {
        let at = self.bytes.len();
        let mark = Mark { at, number: self.marks.len() as u32, acked: flags & ACK != 0, optional: false, what: what.into() };
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        let mut writer = Writer { bytes: &mut self.bytes };
        writer.raw(header);
        fill(&mut writer);
        let length = (self.bytes.len() - at) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
        self.marks.push(mark);
    }

    /// The last message may be refused without harm.
    pub(crate) fn last_is_optional(&mut self) {
        if let Some(mark) = self.marks.last_mut() {
            mark.optional = true;
        }
    }

    /// A batch of one dump request.
    pub fn dump(what: &'static str, kind: u16, header: &[u8], fill: impl FnOnce(&mut Writer<'_>)) -> Self {
        let mut batch = Self::new();
        batch.push(what, kind, DUMP, header, fill);
        batch
    }

    /// A batch of one request for one object.
    pub fn get(what: impl Into<Cow<'static, str>>, kind: u16, header: &[u8], fill: impl FnOnce(&mut Writer<'_>)) -> Self {
        let mut batch = Self::new();
        batch.push(what, kind, 0, header, fill);
        batch
    }

    /// Asks for the acknowledgement of the message before last: in an nftables transaction its last real one.
    pub(crate) fn acknowledge_last(&mut self) {
        let Some(mark) = self.marks.last_mut() else { return };
        mark.acked = true;
        let flags = mark.at + 6;
        let with_ack = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]) | ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&with_ack.to_ne_bytes());
    }

    fn number_from(&mut self, first: u32) {
        for mark in &self.marks {
            self.bytes[mark.at + 8..mark.at + 12].copy_from_slice(&(first + mark.number).to_ne_bytes());
        }
    }

    fn is_optional(&self, number: u32) -> bool {
        self.marks.get(number as usize).is_some_and(|mark| mark.optional)
    }

    fn what(&self, number: u32) -> String {
        self.marks.get(number as usize).map_or_else(|| "netlink".to_owned(), |mark| mark.what.clone().into_owned())
    }
}

/// Writes attributes into the message at hand.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Attributes into a buffer of one's own, to be put into a message later.
    pub fn into_buffer(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Bytes that are no attribute, padded.
    pub fn raw(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    pub fn bytes(&mut self, kind: u16, payload: &[u8]) {
        let length = u16::try_from(payload.len() + 4).expect("callers keep attributes below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(payload);
    }

    pub fn str(&mut self, kind: u16, text: &str) {
        let length = u16::try_from(text.len() + 5).expect("names are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.raw(&[0]);
    }

    /// Host byte order, as rtnetlink has it.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Network byte order, as nfnetlink has it.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(&mut Writer { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - at).expect("callers keep attributes below 64 KiB");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[at + 2..at + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
    }
}

fn socket(protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else knows.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_nl is plain old data, all zero is the address "kernel chooses my port".
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    let length = size_of::<libc::sockaddr_nl>() as u32;
    // SAFETY: the pointer and the length describe `address`.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

fn set_option(fd: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), size_of::<i32>() as u32) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    loop {
        // SAFETY: the pointer and the length describe `bytes`.
        let sent = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent == bytes.len() as isize {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if sent >= 0 {
            return Err(io::Error::other("netlink took a part of a message"));
        }
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn receive(fd: &OwnedFd, buffer: &mut Vec<u8>, flags: i32) -> io::Result<usize> {
    loop {
        // Peeking first tells the size, so that no answer is ever cut off.
        let flags_peek = flags | libc::MSG_PEEK | libc::MSG_TRUNC;
        // SAFETY: the pointer and the length describe `buffer`.
        let needed = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags_peek) };
        if needed > buffer.len() as isize {
            buffer.resize(needed as usize, 0);
        }
        // SAFETY: the pointer and the length describe `buffer`.
        let got = if needed < 0 { needed } else { unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) } };
        if got >= 0 {
            return Ok(got as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_pad() {
        let mut bytes = Vec::new();
        let mut writer = Writer::into_buffer(&mut bytes);
        writer.str(1, "ab");
        writer.nested(2, |w| {
            w.bytes(3, &[7]);
            w.be32(4, 9);
        });
        assert_eq!(bytes.len() % 4, 0);
        let all: Vec<_> = attributes(&bytes).collect();
        assert_eq!(string(all[0].1), "ab");
        let inner: Vec<_> = attributes(all[1].1).collect();
        assert_eq!(inner, [(3, &[7u8][..]), (4, &[0, 0, 0, 9][..])]);
    }

    #[test]
    fn cut_off_bytes_end_the_walk() {
        assert_eq!(attributes(&[9, 0, 1, 0, 1]).count(), 0);
        assert!(Messages(&[200, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).next().unwrap().is_err());
        assert!(Messages(&[1, 2, 3]).next().is_none());
    }

    #[test]
    fn a_message_shorter_than_its_header_does_not_loop() {
        let zero_length = [0u8; 32];
        assert!(Messages(&zero_length).count() < 3);
    }
}
