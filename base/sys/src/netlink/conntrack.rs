//! Connection tracking entries: finding those of one service and endpoint, and dropping them.

use std::net::Ipv4Addr;

use super::{ACK, Attributes, Batch, Message, Result, Socket, Writer, attributes};

const SUBSYSTEM: u16 = 1;
const GET: u16 = (SUBSYSTEM << 8) | 1;
const DELETE: u16 = (SUBSYSTEM << 8) | 2;
const NFGENMSG: usize = 4;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// `CTA_FILTER_FLAG` bits: 1 << the tuple attribute's place in the kernel's list.
const FLAG_SOURCE: u32 = 1 << 0;
const FLAG_DESTINATION: u32 = 1 << 1;
const FLAG_PROTOCOL: u32 = 1 << 3;
const FLAG_SOURCE_PORT: u32 = 1 << 4;
const FLAG_DESTINATION_PORT: u32 = 1 << 5;

/// Which entries: all that are given must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    /// Address that the client sent to, before any translation.
    pub sent_to: Option<Ipv4Addr>,
    pub sent_to_port: u16,
    /// The reply's source: the endpoint after translation.
    pub answered_by: Option<(Ipv4Addr, u16)>,
}

impl Socket {
    /// Drops all matching entries of a transport protocol; returns how many.
    pub fn drop_connections(&mut self, protocol: u8, which: Which) -> Result<usize> {
        let mut header = [0u8; NFGENMSG];
        header[0] = libc::AF_INET as u8;
        let mut request = Batch::dump("listing connections", GET, &header, |w| write_filter(w, protocol, which));
        let found = self.dump(&mut request)?;
        let mut batch = Batch::new();
        for message in found.iter().filter(|message| matches(message, protocol, which)) {
            delete(&mut batch, &header, message);
        }
        let count = batch.marks.len();
        match self.transact(&mut batch) {
            // It ended by itself meanwhile.
            Err(error) if error.is_absent() => Ok(count),
            other => other.map(|()| count),
        }
    }
}

fn delete(batch: &mut Batch, header: &[u8], message: &Message) {
    let find = |kind| message.attributes(NFGENMSG).find_kind(kind);
    let (Some(tuple), Some(id)) = (find(TUPLE_ORIGINAL), find(ID)) else { return };
    batch.push("dropping a connection", DELETE, ACK, header, |w| {
        w.nested(TUPLE_ORIGINAL, |w| w.raw(tuple));
        w.bytes(ID, id);
    });
}

fn write_filter(w: &mut Writer<'_>, protocol: u8, which: Which) {
    let mut original_flags = FLAG_PROTOCOL | FLAG_DESTINATION_PORT;
    w.nested(TUPLE_ORIGINAL, |w| {
        if let Some(ip) = which.sent_to {
            original_flags |= FLAG_DESTINATION;
            w.nested(1, |w| w.bytes(2, &ip.octets()));
        }
        w.nested(2, |w| {
            w.bytes(1, &[protocol]);
            w.bytes(3, &which.sent_to_port.to_be_bytes());
        });
    });
    if let Some((ip, port)) = which.answered_by {
        w.nested(TUPLE_REPLY, |w| {
            w.nested(1, |w| w.bytes(1, &ip.octets()));
            w.nested(2, |w| {
                w.bytes(1, &[protocol]);
                w.bytes(2, &port.to_be_bytes());
            });
        });
    }
    w.nested(FILTER, |w| {
        w.u32(FILTER_ORIGINAL, original_flags);
        if which.answered_by.is_some() {
            w.u32(FILTER_REPLY, FLAG_PROTOCOL | FLAG_SOURCE | FLAG_SOURCE_PORT);
        }
    });
}

/// Kernels before 5.8 ignore the filter and answer with everything.
fn matches(message: &Message, protocol: u8, which: Which) -> bool {
    let tuple = |kind| message.attributes(NFGENMSG).find_kind(kind).map(Tuple::of).unwrap_or_default();
    let (original, reply) = (tuple(TUPLE_ORIGINAL), tuple(TUPLE_REPLY));
    original.protocol == protocol
        && original.destination_port == which.sent_to_port
        && which.sent_to.is_none_or(|ip| original.destination == Some(ip))
        && which.answered_by.is_none_or(|(ip, port)| reply.source == Some(ip) && reply.source_port == port)
}

#[derive(Debug, Default)]
struct Tuple {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

impl Tuple {
    fn of(bytes: &[u8]) -> Self {
        let ip = attributes(attributes(bytes).find_kind(1).unwrap_or_default());
        let transport = attributes(attributes(bytes).find_kind(2).unwrap_or_default());
        Self {
            source: address(&ip, 1),
            destination: address(&ip, 2),
            protocol: transport.clone().find_kind(1).and_then(|byte| byte.first().copied()).unwrap_or_default(),
            source_port: port(&transport, 2),
            destination_port: port(&transport, 3),
        }
    }
}

fn address(attributes: &Attributes<'_>, kind: u16) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(attributes.clone().find_kind(kind)?).ok().map(Ipv4Addr::from)
}

fn port(attributes: &Attributes<'_>, kind: u16) -> u16 {
    attributes.clone().find_kind(kind).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
}
