//! Messages by hand: reading a question, writing an answer. The hot path allocates nothing but the reply's buffer.

use crate::name::NAME_MAX;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_NS: u16 = 2;
pub(crate) const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_PTR: u16 = 12;
pub(crate) const TYPE_TXT: u16 = 16;
pub(crate) const TYPE_SRV: u16 = 33;
pub(crate) const TYPE_OPT: u16 = 41;
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;
pub(crate) const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
pub(crate) const HEADER: usize = 12;
const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const CD: u16 = 0x0010;
const OPCODE: u16 = 0x7800;
/// What we say we take, and what we give over UDP at most: fits one packet everywhere.
pub(crate) const UDP_PAYLOAD: u16 = 1232;
const UDP_PLAIN: usize = 512;
const OPT_LENGTH: usize = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    /// Extended: its upper bits stand in the OPT record.
    BadVers = 16,
}

/// A question, read. The bytes it was read from are kept beside it.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// Wire form, lower case.
    name: [u8; NAME_MAX],
    name_length: usize,
    pub(crate) kind: u16,
    /// The client's UDP limit, where it sent EDNS.
    pub(crate) edns: Option<u16>,
}

/// Why there is no question to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not even worth an answer: too short, or itself an answer.
    Silent,
    /// The question could not be read: the reply has none.
    Bare { id: u16, flags: u16, code: Code },
    /// The question is echoed.
    Echo { id: u16, flags: u16, code: Code, question_length: usize, edns: bool },
}

impl Query {
    pub(crate) fn read(message: &[u8]) -> Result<Self, Refusal> {
        let header = message.get(..HEADER).ok_or(Refusal::Silent)?;
        let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (id, flags) = (number(0), number(2));
        if flags & QR != 0 {
            return Err(Refusal::Silent);
        }
        let bare = |code| Refusal::Bare { id, flags, code };
        if flags & OPCODE != 0 {
            return Err(bare(Code::NotImp));
        }
        if number(4) != 1 || number(6) != 0 || number(8) != 0 {
            return Err(bare(Code::FormErr));
        }
        let mut query = Self { id, flags, name: [0; NAME_MAX], name_length: 0, kind: 0, edns: None };
        let after = query.read_question(message).ok_or_else(|| bare(Code::FormErr))?;
        let class = u16::from_be_bytes([message[after - 2], message[after - 1]]);
        let edns = read_edns(message, after, number(10)).map_err(|()| bare(Code::FormErr))?;
        query.edns = edns.map(|(payload, _)| payload);
        let echo = |code| Refusal::Echo { id, flags, code, question_length: after - HEADER, edns: edns.is_some() };
        if edns.is_some_and(|(_, version)| version != 0) {
            return Err(echo(Code::BadVers));
        }
        if class != CLASS_IN || matches!(query.kind, TYPE_AXFR | TYPE_IXFR | TYPE_OPT) {
            return Err(echo(Code::Refused));
        }
        Ok(query)
    }

    /// Where the question ends.
    fn read_question(&mut self, message: &[u8]) -> Option<usize> {
        let mut at = HEADER;
        loop {
            let length = usize::from(*message.get(at)?);
            // A pointer makes no sense in the first name of a message.
            if length > 63 || at + 1 + length - HEADER >= NAME_MAX {
                return None;
            }
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
        self.name_length = at - HEADER;
        self.name[..self.name_length].copy_from_slice(message.get(HEADER..at)?);
        // Lengths are below 64, no letter: lowering them changes nothing.
        self.name[..self.name_length].make_ascii_lowercase();
        let tail = message.get(at..at + 4)?;
        self.kind = u16::from_be_bytes([tail[0], tail[1]]);
        Some(at + 4)
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name[..self.name_length]
    }

    pub(crate) fn question_length(&self) -> usize {
        self.name_length + 4
    }

    /// Longest reply that fits.
    pub(crate) fn limit(&self, tcp: bool) -> usize {
        match (tcp, self.edns) {
            (true, _) => usize::from(u16::MAX),
            (false, None) => UDP_PLAIN,
            (false, Some(payload)) => usize::from(payload.min(UDP_PAYLOAD)).max(UDP_PLAIN),
        }
    }
}

/// The client's payload and version, where there is an OPT record. Other records there (signatures) are passed over.
fn read_edns(message: &[u8], mut at: usize, additional: u16) -> Result<Option<(u16, u8)>, ()> {
    let mut found = None;
    for _ in 0..additional {
        let record = read_record(message, at).ok_or(())?;
        if record.kind == TYPE_OPT {
            if found.is_some() {
                return Err(());
            }
            found = Some((record.class, (record.ttl >> 16) as u8));
        }
        at = record.end;
    }
    Ok(found)
}

/// A record's place in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) owner_at: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) ttl_at: usize,
    pub(crate) data_at: usize,
    pub(crate) end: usize,
}

pub(crate) fn read_record(message: &[u8], at: usize) -> Option<Record> {
    let after_name = skip_name(message, at)?;
    let fixed = message.get(after_name..after_name + 10)?;
    let number = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let data_at = after_name + 10;
    let end = data_at + usize::from(number(8));
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    (end <= message.len()).then_some(Record { owner_at: at, kind: number(0), class: number(2), ttl, ttl_at: after_name + 4, data_at, end })
}

/// Where the name that begins at `at` ends.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The name at `at` with its pointers followed; None where they lead nowhere or in a circle.
pub(crate) fn expand_name(message: &[u8], mut at: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    // Each jump must lead to the front, so there are fewer than the message has bytes.
    let mut bound = message.len();
    loop {
        let length = *message.get(at)?;
        match length {
            0 => {
                out.push(0);
                return (out.len() <= NAME_MAX).then_some(out);
            }
            1..=63 => {
                out.extend_from_slice(message.get(at..at + 1 + usize::from(length))?);
                at += 1 + usize::from(length);
            }
            192.. => {
                let target = (usize::from(length & 0x3f) << 8) | usize::from(*message.get(at + 1)?);
                if target >= bound {
                    return None;
                }
                (at, bound) = (target, target);
            }
            _ => return None,
        }
        if out.len() > NAME_MAX {
            return None;
        }
    }
}

/// A reply to a refusal; None for silence.
pub(crate) fn refuse(message: &[u8], refusal: &Refusal) -> Option<Vec<u8>> {
    let (id, flags, code, question_length, edns) = match *refusal {
        Refusal::Silent => return None,
        Refusal::Bare { id, flags, code } => (id, flags, code, 0, false),
        Refusal::Echo { id, flags, code, question_length, edns } => (id, flags, code, question_length, edns),
    };
    let mut out = Vec::with_capacity(HEADER + question_length + OPT_LENGTH);
    write_header(&mut out, id, reply_flags(flags) | (code as u16 & 0xf), question_length > 0);
    out.extend_from_slice(message.get(HEADER..HEADER + question_length)?);
    if edns {
        write_opt(&mut out, code);
    }
    Some(out)
}

/// Builds one reply.
#[derive(Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    limit: usize,
    edns: bool,
    counts: [u16; 3],
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

impl Reply {
    /// `message` is what `query` was read from: the question is copied as the client wrote it.
    pub(crate) fn to(query: &Query, message: &[u8], tcp: bool, code: Code, authoritative: bool) -> Self {
        let mut bytes = Vec::with_capacity(512);
        let aa = if authoritative { AA } else { 0 };
        write_header(&mut bytes, query.id, reply_flags(query.flags) | aa | code as u16, true);
        bytes.extend_from_slice(&message[HEADER..HEADER + query.question_length()]);
        let edns = query.edns.is_some();
        let limit = query.limit(tcp) - if edns { OPT_LENGTH } else { 0 };
        Self { bytes, limit, edns, counts: [0; 3] }
    }

    /// Adds a whole record; what does not fit sets the truncation bit (but not for additional ones, which are optional).
    pub(crate) fn record(&mut self, section: Section, record: &[u8]) -> bool {
        if self.bytes.len() + record.len() > self.limit {
            if !matches!(section, Section::Additional) {
                self.bytes[2] |= (TC >> 8) as u8;
            }
            return false;
        }
        self.bytes.extend_from_slice(record);
        self.counts[section as usize] += 1;
        true
    }

    /// The four bits of a code that another server gave.
    pub(crate) fn set_code(&mut self, code: u8) {
        self.bytes[3] = (self.bytes[3] & 0xf0) | (code & 0xf);
    }

    /// Takes over all sections as they are, or none where they do not fit.
    pub(crate) fn sections(&mut self, counts: [u16; 3], bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > self.limit {
            self.bytes[2] |= (TC >> 8) as u8;
            return;
        }
        self.bytes.extend_from_slice(bytes);
        self.counts = counts;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.edns {
            write_opt(&mut self.bytes, Code::NoError);
            self.counts[2] += 1;
        }
        for (section, count) in self.counts.iter().enumerate() {
            let at = 6 + 2 * section;
            self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        self.bytes
    }
}

fn reply_flags(flags: u16) -> u16 {
    QR | RA | (flags & (RD | CD | OPCODE))
}

fn write_header(out: &mut Vec<u8>, id: u16, flags: u16, question: bool) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0, u8::from(question), 0, 0, 0, 0, 0, 0]);
}

/// Also counts itself where the header is already written by [`refuse`].
fn write_opt(out: &mut Vec<u8>, code: Code) {
    let [high, low] = UDP_PAYLOAD.to_be_bytes();
    out.extend_from_slice(&[0, 0, TYPE_OPT as u8, high, low, (code as u16 >> 4) as u8, 0, 0, 0, 0, 0]);
    out[11] = 1;
}

/// A record whose owner is the question's name.
pub(crate) fn record_of_question(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    record(&[0xc0, HEADER as u8], kind, ttl, data)
}

pub(crate) fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(owner.len() + 10 + data.len());
    out.extend_from_slice(owner);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// A question of our own to an upstream server, with EDNS.
pub(crate) fn question(id: u16, name: &[u8], kind: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + name.len() + 4 + OPT_LENGTH);
    write_header(&mut out, id, RD, true);
    out.extend_from_slice(name);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    write_opt(&mut out, Code::NoError);
    out
}

pub(crate) fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|byte| byte & (TC >> 8) as u8 != 0)
}

/// The response code of a received message, without its extension.
pub(crate) fn code_of(message: &[u8]) -> u8 {
    message.get(3).map_or(Code::ServFail as u8, |byte| byte & 0xf)
}

/// Whether `answer` answers `question`: same id, same question but for the case.
pub(crate) fn answers(answer: &[u8], question: &[u8]) -> bool {
    let Some(after) = skip_name(question, HEADER) else { return false };
    let end = after + 4;
    answer.len() >= end
        && answer[..2] == question[..2]
        && answer[2] & 0x80 != 0
        && answer[4..6] == [0, 1]
        && answer[HEADER..end].eq_ignore_ascii_case(&question[HEADER..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query_bytes(tail: &[u8]) -> Vec<u8> {
        let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend_from_slice(tail);
        out
    }

    #[test]
    fn a_question_keeps_its_case_in_the_reply_and_loses_it_in_the_look_up() {
        let message = query_bytes(b"\x03WeB\0\0\x01\0\x01");
        let query = Query::read(&message).unwrap();
        assert_eq!((query.id, query.kind, query.name()), (0x1234, TYPE_A, &b"\x03web\0"[..]));
        let mut reply = Reply::to(&query, &message, false, Code::NoError, true);
        assert!(reply.record(Section::Answer, &record_of_question(TYPE_A, 5, &[1, 2, 3, 4])));
        let bytes = reply.finish();
        assert_eq!(&bytes[12..17], b"\x03WeB\0");
        assert_eq!(bytes[2..8], [0x85, 0x80, 0, 1, 0, 1]);
        assert!(answers(&bytes, &message));
    }

    #[test]
    fn nonsense_is_refused_or_met_with_silence() {
        let bare = |code| Err(Refusal::Bare { id: 0x1234, flags: 0x0100, code });
        let read = |message: &[u8]| Query::read(message).map(|_| ());
        assert_eq!(read(&[0; 11]), Err(Refusal::Silent));
        let mut response = query_bytes(b"\0\0\x01\0\x01");
        response[2] |= 0x80;
        assert_eq!(read(&response), Err(Refusal::Silent));
        for tail in [&b""[..], b"\x03we", b"\xc0\x0c\0\x01\0\x01", b"\x40aaaa\0\0\x01\0\x01", b"\x03web\0\0"] {
            assert_eq!(read(&query_bytes(tail)), bare(Code::FormErr), "{tail:?}");
        }
        let chaos = query_bytes(b"\x03web\0\0\x01\0\x03");
        assert!(matches!(read(&chaos), Err(Refusal::Echo { code: Code::Refused, .. })));
        let transfer = query_bytes(b"\x03web\0\0\xfc\0\x01");
        assert!(matches!(read(&transfer), Err(Refusal::Echo { code: Code::Refused, .. })));
        let mut notify = query_bytes(b"\x03web\0\0\x01\0\x01");
        notify[2] |= 0x20;
        assert!(matches!(read(&notify), Err(Refusal::Bare { code: Code::NotImp, .. })));
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let message = query_bytes(b"\x03web\0\0\x01\0\x01");
        let query = Query::read(&message).unwrap();
        let one = record_of_question(TYPE_A, 5, &[0; 4]);
        for (tcp, fits) in [(false, (512 - 21) / 16), (true, 100)] {
            let mut reply = Reply::to(&query, &message, tcp, Code::NoError, true);
            let written = (0..100).filter(|_| reply.record(Section::Answer, &one)).count();
            assert_eq!(written, fits);
            assert_eq!(is_truncated(&reply.finish()), !tcp);
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), at in 0usize..90) {
            if let Err(refusal) = Query::read(&bytes) {
                let _ = refuse(&bytes, &refusal);
            }
            let _ = read_record(&bytes, at);
            let _ = skip_name(&bytes, at);
        }

        #[test]
        fn reading_a_question_then_anything_never_panics(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..60), additional in 0u8..3) {
            let mut message = query_bytes(b"\x03web\0\0\x01\0\x01");
            message[11] = additional;
            message.extend_from_slice(&tail);
            if let Err(refusal) = Query::read(&message) {
                let _ = refuse(&message, &refusal);
            }
        }
    }
}
