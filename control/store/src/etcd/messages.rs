//! The messages of etcd's v3 API that a store needs (`etcdserverpb`, `mvccpb`), with their field numbers. What is not
//! asked for or looked at is not here.

use bytes::Bytes;

use super::wire::{Decode, Encode, Field, Malformed, Out};

/// A method, and whether asking it twice does what asking once does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) repeatable: bool,
}

pub(crate) const RANGE: Method = Method { path: "/etcdserverpb.KV/Range", repeatable: true };
pub(crate) const TXN: Method = Method { path: "/etcdserverpb.KV/Txn", repeatable: false };
pub(crate) const PUT: Method = Method { path: "/etcdserverpb.KV/Put", repeatable: false };
pub(crate) const COMPACT: Method = Method { path: "/etcdserverpb.KV/Compact", repeatable: true };
pub(crate) const LEASE_GRANT: Method = Method { path: "/etcdserverpb.Lease/LeaseGrant", repeatable: true };
pub(crate) const STATUS: Method = Method { path: "/etcdserverpb.Maintenance/Status", repeatable: true };
pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// In front of every answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    pub(crate) cluster_id: u64,
    /// The newest revision of the member that answers.
    pub(crate) revision: i64,
}

impl Decode for Header {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.cluster_id = field.number()?,
            3 => self.revision = field.int()?,
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct KeyValue {
    pub(crate) key: Bytes,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) value: Bytes,
}

impl Decode for KeyValue {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.key = field.bytes()?,
            2 => self.create_revision = field.int()?,
            3 => self.mod_revision = field.int()?,
            5 => self.value = field.bytes()?,
            _ => {}
        }
        Ok(())
    }
}

/// The keys in `[key, end)`; `key` alone where `end` is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeRequest {
    pub(crate) key: Bytes,
    pub(crate) end: Bytes,
    /// 0: all.
    pub(crate) limit: i64,
    /// 0: now.
    pub(crate) revision: i64,
    pub(crate) keys_only: bool,
}

impl Encode for RangeRequest {
    fn encode(&self, out: &mut Out) {
        out.bytes(1, &self.key);
        out.bytes(2, &self.end);
        out.int(3, self.limit);
        out.int(4, self.revision);
        out.flag(8, self.keys_only);
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RangeResponse {
    pub(crate) header: Header,
    pub(crate) kvs: Vec<KeyValue>,
    /// There are more than the limit let through.
    pub(crate) more: bool,
}

impl Decode for RangeResponse {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.header = field.message()?,
            2 => self.kvs.push(field.message()?),
            3 => self.more = field.flag()?,
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PutRequest {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// 0: none.
    pub(crate) lease: i64,
}

impl Encode for PutRequest {
    fn encode(&self, out: &mut Out) {
        out.bytes(1, &self.key);
        out.bytes(2, &self.value);
        out.int(3, self.lease);
    }
}

/// What many answers are to us: their header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeaderOnly {
    pub(crate) header: Header,
}

impl Decode for HeaderOnly {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        if number == 1 {
            self.header = field.message()?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub(crate) enum RequestOp {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(Bytes),
}

impl Encode for RequestOp {
    fn encode(&self, out: &mut Out) {
        match self {
            Self::Range(range) => out.message(1, range),
            Self::Put(put) => out.message(2, put),
            Self::Delete(key) => out.message(3, &DeleteRequest(key)),
        }
    }
}

struct DeleteRequest<'a>(&'a Bytes);

impl Encode for DeleteRequest<'_> {
    fn encode(&self, out: &mut Out) {
        out.bytes(1, self.0);
    }
}

/// That a key's create or last write is at, or after, a revision; 0 is what an absent key has.
#[derive(Clone, Debug)]
pub(crate) struct Compare {
    pub(crate) key: Bytes,
    /// As in a range: the condition must hold for every key there is; none at all counts as one that is absent.
    pub(crate) end: Bytes,
    pub(crate) test: Test,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    CreatedAt(i64),
    CreatedAfter(i64),
    ModifiedAt(i64),
}

impl Encode for Compare {
    fn encode(&self, out: &mut Out) {
        let (greater, create, modified) = (1, 1, 2);
        let (result, target, field, revision) = match self.test {
            Test::CreatedAt(revision) => (0, create, 5, revision),
            Test::CreatedAfter(revision) => (greater, create, 5, revision),
            Test::ModifiedAt(revision) => (0, modified, 6, revision),
        };
        out.int(1, result);
        out.int(2, target);
        out.bytes(3, &self.key);
        out.chosen_int(field, revision);
        out.bytes(64, &self.end);
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TxnRequest {
    pub(crate) compare: Vec<Compare>,
    pub(crate) success: Vec<RequestOp>,
    pub(crate) failure: Vec<RequestOp>,
}

impl Encode for TxnRequest {
    fn encode(&self, out: &mut Out) {
        self.compare.iter().for_each(|compare| out.message(1, compare));
        self.success.iter().for_each(|op| out.message(2, op));
        self.failure.iter().for_each(|op| out.message(3, op));
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TxnResponse {
    pub(crate) header: Header,
    pub(crate) succeeded: bool,
    pub(crate) responses: Vec<ResponseOp>,
}

impl Decode for TxnResponse {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.header = field.message()?,
            2 => self.succeeded = field.flag()?,
            3 => self.responses.push(field.message()?),
            _ => {}
        }
        Ok(())
    }
}

/// What became of one operation of a transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseOp {
    /// Of a range.
    pub(crate) range: RangeResponse,
    /// Of a delete: whether there was something.
    pub(crate) deleted: bool,
}

impl Decode for ResponseOp {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.range = field.message()?,
            3 => self.deleted = field.message::<DeleteResponse>()?.deleted,
            _ => {}
        }
        Ok(())
    }
}

#[derive(Default)]
struct DeleteResponse {
    deleted: bool,
}

impl Decode for DeleteResponse {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        if number == 2 {
            self.deleted = field.flag()?;
        }
        Ok(())
    }
}

/// Forgets history before the revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactRequest(pub(crate) i64);

impl Encode for CompactRequest {
    fn encode(&self, out: &mut Out) {
        out.int(1, self.0);
    }
}

/// A lease that ends after so many seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseGrantRequest(pub(crate) i64);

impl Encode for LeaseGrantRequest {
    fn encode(&self, out: &mut Out) {
        out.int(1, self.0);
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeaseGrantResponse {
    pub(crate) id: i64,
}

impl Decode for LeaseGrantResponse {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        if number == 2 {
            self.id = field.int()?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusRequest;

impl Encode for StatusRequest {
    fn encode(&self, _: &mut Out) {}
}

#[derive(Clone, Debug, Default)]
pub(crate) struct StatusResponse {
    pub(crate) header: Header,
    pub(crate) version: String,
    /// Alarms among them.
    pub(crate) errors: Vec<String>,
}

impl Decode for StatusResponse {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.header = field.message()?,
            2 => self.version = field.text()?,
            8 => self.errors.push(field.text()?),
            _ => {}
        }
        Ok(())
    }
}

/// Starts the one watch of a stream: everything in `[key, end)` from `start_revision` on. Large answers come in fragments.
#[derive(Clone, Debug)]
pub(crate) struct WatchCreate {
    pub(crate) key: Bytes,
    pub(crate) end: Bytes,
    pub(crate) start_revision: i64,
}

impl Encode for WatchCreate {
    fn encode(&self, out: &mut Out) {
        struct Create<'a>(&'a WatchCreate);
        impl Encode for Create<'_> {
            fn encode(&self, out: &mut Out) {
                out.bytes(1, &self.0.key);
                out.bytes(2, &self.0.end);
                out.int(3, self.0.start_revision);
                out.flag(8, true);
            }
        }
        out.message(1, &Create(self));
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct WatchResponse {
    pub(crate) header: Header,
    pub(crate) created: bool,
    pub(crate) canceled: bool,
    /// Not 0: the start is compacted, this is the oldest revision kept.
    pub(crate) compact_revision: i64,
    pub(crate) cancel_reason: String,
    /// More events of the last revision may follow in the next answer.
    pub(crate) fragment: bool,
    pub(crate) events: Vec<WatchEvent>,
}

impl Decode for WatchResponse {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.header = field.message()?,
            3 => self.created = field.flag()?,
            4 => self.canceled = field.flag()?,
            5 => self.compact_revision = field.int()?,
            6 => self.cancel_reason = field.text()?,
            7 => self.fragment = field.flag()?,
            11 => self.events.push(field.message()?),
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct WatchEvent {
    pub(crate) is_delete: bool,
    /// Of a delete: the key and the revision of the delete.
    pub(crate) kv: KeyValue,
}

impl Decode for WatchEvent {
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
        match number {
            1 => self.is_delete = field.flag()?,
            2 => self.kv = field.message()?,
            _ => {}
        }
        Ok(())
    }
}
