//! Rules: what a packet meets, as the kernel evaluates it.

use std::net::Ipv4Addr;

use super::write_verdict;
use crate::netlink::Writer;

const REGISTER_VERDICT: u32 = 0;
const REGISTER_FIRST: u32 = 8;
const VERDICT_JUMP: i32 = -3;
const VERDICT_RETURN: i32 = -5;

/// Expressions, evaluated in order; one that does not match ends the rule.
///
/// Registers are numbered 0–15, 4 bytes each. A value longer than 4 bytes goes on in the next register.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub(super) expressions: Vec<u8>,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    Equal = 0,
    Unequal = 1,
}

impl Rule {
    pub fn new() -> Self {
        Self::default()
    }

    /// FNV-1a over the expressions: equal rules have equal digests, in every build.
    pub fn digest(&self) -> String {
        let hash =
            self.expressions.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("corten {hash:016x}")
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Writer<'_>)) -> Self {
        Writer::into_buffer(&mut self.expressions).nested(1, |w| {
            w.str(1, name);
            w.nested(2, fill);
        });
        self
    }

    /// Source address of the packet into a register.
    pub fn load_source(self, register: u32) -> Self {
        self.payload(1, 12, 4, register)
    }

    pub fn load_destination(self, register: u32) -> Self {
        self.payload(1, 16, 4, register)
    }

    /// Destination port (of TCP, UDP and SCTP).
    pub fn load_destination_port(self, register: u32) -> Self {
        self.payload(2, 2, 2, register)
    }

    pub fn load_source_port(self, register: u32) -> Self {
        self.payload(2, 0, 2, register)
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Self {
        self.expression("payload", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.be32(2, base);
            w.be32(3, offset);
            w.be32(4, length);
        })
    }

    /// Transport protocol number, one byte.
    pub fn load_protocol(self, register: u32) -> Self {
        self.meta(16, register)
    }

    /// Index of the link that the packet came in by.
    pub fn load_in_link(self, register: u32) -> Self {
        self.meta(4, register)
    }

    /// For tables of family inet: goes on only for IPv4.
    pub fn is_ipv4(self, register: u32) -> Self {
        self.meta(15, register).compare(register, Is::Equal, &[libc::NFPROTO_IPV4 as u8])
    }

    pub fn load_mark(self, register: u32) -> Self {
        self.meta(3, register)
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.expression("meta", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.be32(2, key);
        })
    }

    /// The packet's mark becomes what the register holds.
    pub fn store_mark(self, register: u32) -> Self {
        self.expression("meta", |w| {
            w.be32(2, 3);
            w.be32(3, REGISTER_FIRST + register);
        })
    }

    /// `register = (register & mask) ^ xor`
    pub fn bits(self, register: u32, mask: &[u8], xor: &[u8]) -> Self {
        self.expression("bitwise", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.be32(2, REGISTER_FIRST + register);
            w.be32(3, mask.len() as u32);
            w.nested(4, |w| w.bytes(1, mask));
            w.nested(5, |w| w.bytes(1, xor));
        })
    }

    pub fn compare(self, register: u32, is: Is, value: &[u8]) -> Self {
        self.expression("cmp", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.be32(2, is as u32);
            w.nested(3, |w| w.bytes(1, value));
        })
    }

    /// Loads the source address into `register` and compares its network.
    pub fn source_in(self, is: Is, network: (Ipv4Addr, u8), register: u32) -> Self {
        self.load_source(register).in_network(is, network, register)
    }

    pub fn destination_in(self, is: Is, network: (Ipv4Addr, u8), register: u32) -> Self {
        self.load_destination(register).in_network(is, network, register)
    }

    fn in_network(self, is: Is, (address, prefix): (Ipv4Addr, u8), register: u32) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let network = u32::from(address) & mask;
        let this = if prefix < 32 { self.bits(register, &mask.to_be_bytes(), &[0; 4]) } else { self };
        this.compare(register, is, &network.to_be_bytes())
    }

    /// Name of the link that the packet goes out by.
    pub fn out_link_is(self, is: Is, name: &str, register: u32) -> Self {
        let mut padded = [0u8; 16];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.meta(7, register).compare(register, is, &padded)
    }

    /// The destination is an address of this machine.
    pub fn destination_is_local(self, register: u32) -> Self {
        const RESULT_ADDRESS_TYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        let this = self.expression("fib", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.be32(2, RESULT_ADDRESS_TYPE);
            w.be32(3, DESTINATION);
        });
        this.compare(register, Is::Equal, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// Goes on only where the key that starts at `key` is in the set.
    pub fn in_set(self, set: &str, key: u32) -> Self {
        self.lookup(set, key, None)
    }

    /// Looks the key up and puts what it maps to at `data`; ends the rule where there is none.
    pub fn map(self, map: &str, key: u32, data: u32) -> Self {
        self.lookup(map, key, Some(REGISTER_FIRST + data))
    }

    /// Looks the key up and does what it maps to.
    pub fn verdict_map(self, map: &str, key: u32) -> Self {
        self.lookup(map, key, Some(REGISTER_VERDICT))
    }

    fn lookup(self, set: &str, key: u32, data: Option<u32>) -> Self {
        self.expression("lookup", |w| {
            w.str(1, set);
            w.be32(2, REGISTER_FIRST + key);
            if let Some(data) = data {
                w.be32(3, data);
            }
        })
    }

    /// `offset + random % modulus` in host order.
    pub fn random(self, register: u32, modulus: u32, offset: u32) -> Self {
        const RANDOM: u32 = 1;
        self.expression("numgen", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.be32(2, modulus);
            w.be32(3, RANDOM);
            w.be32(4, offset);
        })
    }

    /// Puts `key -> data` into a dynamic map, or renews its time where it is there already.
    pub fn remember(self, map: &str, key: u32, data: u32, timeout_seconds: u32) -> Self {
        const UPDATE: u32 = 1;
        self.expression("dynset", |w| {
            w.str(1, map);
            w.be32(3, UPDATE);
            w.be32(4, REGISTER_FIRST + key);
            w.be32(5, REGISTER_FIRST + data);
            w.be64(6, u64::from(timeout_seconds) * 1000);
        })
    }

    /// Takes a key out of a dynamic map.
    pub fn forget(self, map: &str, key: u32, data: u32) -> Self {
        const DELETE: u32 = 2;
        self.expression("dynset", |w| {
            w.str(1, map);
            w.be32(3, DELETE);
            w.be32(4, REGISTER_FIRST + key);
            w.be32(5, REGISTER_FIRST + data);
        })
    }

    /// The destination becomes address and port of these registers.
    pub fn destination_nat(self, address: u32, port: u32) -> Self {
        const DNAT: u32 = 1;
        self.nat(DNAT, address, Some(port))
    }

    /// The source becomes the address of the register.
    pub fn source_nat(self, address: u32) -> Self {
        const SNAT: u32 = 0;
        self.nat(SNAT, address, None)
    }

    fn nat(self, kind: u32, address: u32, port: Option<u32>) -> Self {
        self.expression("nat", |w| {
            w.be32(1, kind);
            w.be32(2, libc::NFPROTO_IPV4 as u32);
            w.be32(3, REGISTER_FIRST + address);
            w.be32(4, REGISTER_FIRST + address);
            if let Some(port) = port {
                w.be32(5, REGISTER_FIRST + port);
                w.be32(6, REGISTER_FIRST + port);
            }
        })
    }

    /// The source becomes the address of the link that the packet goes out by.
    pub fn masquerade(self) -> Self {
        self.expression("masq", |_| {})
    }

    /// Connection tracking does not see the packet.
    pub fn untracked(self) -> Self {
        self.expression("notrack", |_| {})
    }

    /// A constant into a register.
    pub fn set_register(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |w| {
            w.be32(1, REGISTER_FIRST + register);
            w.nested(2, |w| w.bytes(1, value));
        })
    }

    /// Answers "port unreachable": what a datagram to a closed port gets. The kernel sends only a few a second to each client.
    pub fn reject(self) -> Self {
        const ICMP_UNREACHABLE: u32 = 0;
        self.expression("reject", |w| {
            w.be32(1, ICMP_UNREACHABLE);
            w.bytes(2, &[3]);
        })
    }

    /// Answers with a reset: what a connection to a closed port gets. For rules that only TCP reaches.
    pub fn reset(self) -> Self {
        const TCP_RESET: u32 = 1;
        self.expression("reject", |w| w.be32(1, TCP_RESET))
    }

    /// Goes on only for this transport protocol.
    pub fn protocol_is(self, is: Is, protocol: u8, register: u32) -> Self {
        self.load_protocol(register).compare(register, is, &[protocol])
    }

    pub fn counter(self) -> Self {
        self.expression("counter", |w| {
            w.be64(1, 0);
            w.be64(2, 0);
        })
    }

    pub fn accept(self) -> Self {
        self.verdict(libc::NF_ACCEPT, None)
    }

    pub fn drop(self) -> Self {
        self.verdict(libc::NF_DROP, None)
    }

    pub fn back(self) -> Self {
        self.verdict(VERDICT_RETURN, None)
    }

    pub fn jump(self, chain: &str) -> Self {
        self.verdict(VERDICT_JUMP, Some(chain))
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Self {
        self.expression("immediate", |w| {
            w.be32(1, REGISTER_VERDICT);
            w.nested(2, |w| write_verdict(w, code, chain));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rules_have_equal_digests() {
        let rule = |port: u16| Rule::new().load_destination_port(0).compare(0, Is::Equal, &port.to_be_bytes()).accept();
        assert_eq!(rule(53).digest(), rule(53).digest());
        assert_ne!(rule(53).digest(), rule(54).digest());
    }
}
