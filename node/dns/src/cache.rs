//! What upstream servers said, for as long as they allow, within a bound.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::{self, Code, HEADER, Query, Reply, Section, TYPE_ANY, TYPE_CNAME, TYPE_OPT, TYPE_SOA};

const ENTRIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 << 20;
/// Longest that a positive answer is believed without asking again.
const POSITIVE_MAX: Duration = Duration::from_secs(300);
/// A name that was missing may be made at any moment.
const NEGATIVE_MAX: Duration = Duration::from_secs(30);

/// Wire name in lower case, and type.
pub(crate) type Key = (Box<[u8]>, u16);

/// An upstream server's answer without its EDNS record.
#[derive(Debug)]
pub(crate) struct Answer {
    message: Vec<u8>,
    /// Where each TTL stands.
    ttls: Vec<(usize, u32)>,
    records: Vec<wire::Record>,
    answers: usize,
    stored: Instant,
    lifetime: Duration,
}

impl Answer {
    /// Of a message that answers the question which ends at `question_end`; None where it cannot be read.
    pub(crate) fn read(mut message: Vec<u8>, question_end: usize, now: Instant) -> Option<Self> {
        let count = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
        let counts = [count(6), count(8), count(10)];
        let (mut records, mut at) = (Vec::new(), question_end);
        for number in 0..counts.iter().sum() {
            let record = wire::read_record(&message, at)?;
            if record.kind == TYPE_OPT {
                // It is the last in practice; what follows it would be additional, which a reply may leave out.
                message.truncate(at);
                let additional = (number - counts[0] - counts[1]) as u16;
                message[10..12].copy_from_slice(&additional.to_be_bytes());
                break;
            }
            records.push(record);
            at = record.end;
        }
        let ttls = records.iter().map(|record| (record.ttl_at, record.ttl)).collect();
        let lifetime = lifetime(&message, &records, counts[0]);
        message.truncate(at.max(question_end));
        Some(Self { message, ttls, records, answers: counts[0], stored: now, lifetime })
    }

    pub(crate) fn code(&self) -> u8 {
        wire::code_of(&self.message)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.stored) < self.lifetime
    }

    /// As the reply to `query`, which was read from `message`: its id, its spelling, the time that is left.
    pub(crate) fn reply(&self, query: &Query, message: &[u8], tcp: bool, now: Instant) -> Vec<u8> {
        let aged = self.aged(now);
        let mut reply = Reply::to(query, message, tcp, Code::NoError, false);
        reply.set_code(self.code());
        let tail = &aged[HEADER + query.question_length()..];
        let counts = [6, 8, 10].map(|at| u16::from_be_bytes([aged[at], aged[at + 1]]));
        reply.sections(counts, tail);
        reply.finish()
    }

    fn aged(&self, now: Instant) -> Vec<u8> {
        let age = now.duration_since(self.stored).as_secs() as u32;
        let mut out = self.message.clone();
        for (at, ttl) in &self.ttls {
            out[*at..*at + 4].copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        }
        out
    }

    /// Puts aliases and addresses of the answer section into a reply about another name.
    pub(crate) fn append_to(&self, reply: &mut Reply) {
        for record in self.records.iter().take(self.answers) {
            let Some(owner) = wire::expand_name(&self.message, record.owner_at) else { continue };
            let data = match record.kind {
                TYPE_CNAME => wire::expand_name(&self.message, record.data_at),
                _ => Some(self.message[record.data_at..record.end].to_vec()),
            };
            let Some(data) = data else { continue };
            reply.record(Section::Answer, &wire::record(&owner, record.kind, record.ttl, &data));
        }
    }

    fn size(&self) -> usize {
        self.message.len() + 12 * self.ttls.len() + 200
    }
}

fn lifetime(message: &[u8], records: &[wire::Record], answers: usize) -> Duration {
    let shortest = |records: &[wire::Record]| records.iter().map(|record| record.ttl).min();
    match (wire::code_of(message), shortest(&records[..answers.min(records.len())])) {
        (0, Some(ttl)) => Duration::from_secs(ttl.into()).min(POSITIVE_MAX),
        // No such name, or not of this type: the SOA says how long.
        (0 | 3, None) | (3, Some(_)) => {
            let soa = records.iter().find(|record| record.kind == TYPE_SOA);
            let minimum = soa.and_then(|soa| message.get(soa.end - 4..soa.end)).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            let seconds = soa.map_or(0, |soa| soa.ttl.min(minimum.unwrap_or(0)));
            Duration::from_secs(seconds.into()).min(NEGATIVE_MAX)
        }
        _ => Duration::ZERO,
    }
}

/// Bounded; the oldest entries go first.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Key, Arc<Answer>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Arc<Answer>> {
        let inner = self.0.lock().expect("no holder of the cache panics");
        inner.answers.get(key).filter(|answer| answer.is_fresh(now)).cloned()
    }

    pub(crate) fn put(&self, key: Key, answer: Arc<Answer>) {
        if answer.lifetime.is_zero() {
            return;
        }
        let mut inner = self.0.lock().expect("no holder of the cache panics");
        inner.bytes += answer.size();
        match inner.answers.insert(key.clone(), answer) {
            Some(old) => inner.bytes -= old.size(),
            None => inner.order.push_back(key),
        }
        while inner.order.len() > ENTRIES_MAX || inner.bytes > BYTES_MAX {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some(gone) = inner.answers.remove(&oldest) {
                inner.bytes -= gone.size();
            }
        }
    }
}

/// Whether an alias' target may be asked for this type: an address follows aliases, an alias does not follow itself.
pub(crate) fn follows_aliases(kind: u16) -> bool {
    !matches!(kind, TYPE_CNAME | TYPE_ANY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::TYPE_A;

    /// An answer to `web` with these records behind the question.
    fn message(code: u8, counts: [u8; 3], records: &[Vec<u8>]) -> (Vec<u8>, usize) {
        let mut out = vec![0, 0, 0x81, 0x80 | code, 0, 1, 0, counts[0], 0, counts[1], 0, counts[2]];
        out.extend_from_slice(b"\x03web\0\0\x01\0\x01");
        let end = out.len();
        records.iter().for_each(|record| out.extend_from_slice(record));
        (out, end)
    }

    fn read(code: u8, counts: [u8; 3], records: &[Vec<u8>]) -> Answer {
        let (message, end) = message(code, counts, records);
        Answer::read(message, end, Instant::now()).unwrap()
    }

    fn a(ttl: u32) -> Vec<u8> {
        wire::record_of_question(TYPE_A, ttl, &[1, 2, 3, 4])
    }

    fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
        let data = [&[0u8, 0][..], &[0; 16], &minimum.to_be_bytes()].concat();
        wire::record(b"\0", TYPE_SOA, ttl, &data)
    }

    #[test]
    fn lifetimes() {
        let seconds = |answer: Answer| answer.lifetime.as_secs();
        assert_eq!(seconds(read(0, [2, 0, 0], &[a(60), a(20)])), 20);
        assert_eq!(seconds(read(0, [1, 0, 0], &[a(86_400)])), 300);
        assert_eq!(seconds(read(3, [0, 1, 0], &[soa(900, 10)])), 10, "the smaller of both");
        assert_eq!(seconds(read(0, [0, 1, 0], &[soa(900, 800)])), 30);
        assert_eq!(seconds(read(3, [0, 0, 0], &[])), 0, "no SOA, no caching");
        assert_eq!(seconds(read(2, [0, 0, 0], &[])), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ages_and_goes() {
        let (cache, key): (Cache, Key) = (Cache::default(), (b"\x03web\0"[..].into(), TYPE_A));
        let edns = vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
        cache.put(key.clone(), Arc::new(read(0, [1, 0, 1], &[a(20), edns])));
        tokio::time::advance(Duration::from_secs(15)).await;
        let found = cache.get(&key, Instant::now()).unwrap();
        let aged = found.aged(Instant::now());
        assert_eq!(aged[aged.len() - 10..aged.len() - 6], [0, 0, 0, 5]);
        assert_eq!(aged[10..12], [0, 0], "the EDNS record is gone");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(cache.get(&key, Instant::now()).is_none());
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = Cache::default();
        for number in 0..(ENTRIES_MAX as u32 + 50) {
            cache.put((number.to_be_bytes().to_vec().into(), TYPE_A), Arc::new(read(0, [1, 0, 0], &[a(60)])));
        }
        let inner = cache.0.lock().unwrap();
        assert_eq!((inner.answers.len(), inner.order.len()), (ENTRIES_MAX, ENTRIES_MAX));
        assert!(!inner.answers.contains_key(&(0u32.to_be_bytes().to_vec().into(), TYPE_A)), "the oldest went first");
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..80), counts in [0u8..4, 0u8..4, 0u8..4]) {
            let (mut bytes, end) = message(0, counts, &[]);
            bytes.extend_from_slice(&tail);
            if let Some(answer) = Answer::read(bytes, end, Instant::now()) {
                let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01";
                let query = Query::read(question).unwrap();
                answer.reply(&query, question, false, Instant::now());
                let mut reply = Reply::to(&query, question, false, Code::NoError, true);
                answer.append_to(&mut reply);
            }
        }
    }
}
