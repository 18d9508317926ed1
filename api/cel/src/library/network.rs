//! IP addresses and networks, strict as Go's `netip`: no zones, no leading zeros, no IPv4 inside of IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::format::go_quoted;
use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("ip", to_ip),
    ("isIP", |args| args[0].as_str().map_or_else(mismatch, |text| Ok(Value::Bool(parse_ip(text).is_ok())))),
    ("ip.isCanonical", |args| {
        let canonical = |text: &str| parse_ip(text).map(|ip| Value::Bool(ip.to_string() == text)).map_err(Fault::new);
        args[0].as_str().map_or_else(mismatch, canonical)
    }),
    ("family", |args| ip(args, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 }))),
    ("isUnspecified", |args| ip(args, |ip| Value::Bool(ip.is_unspecified()))),
    ("isLoopback", |args| ip(args, |ip| Value::Bool(ip.is_loopback()))),
    ("isLinkLocalMulticast", |args| ip(args, |ip| Value::Bool(is_link_local_multicast(ip)))),
    ("isLinkLocalUnicast", |args| ip(args, |ip| Value::Bool(is_link_local(ip)))),
    ("isGlobalUnicast", |args| ip(args, |ip| Value::Bool(is_global_unicast(ip)))),
    ("cidr", |args| {
        let parse = |text: &str| {
            let wrong = |wrong| Fault::new(format!("network address parse error during conversion from string: {wrong}"));
            parse_cidr(text).map(Value::Cidr).map_err(wrong)
        };
        args[0].as_str().map_or_else(mismatch, parse)
    }),
    ("isCIDR", |args| args[0].as_str().map_or_else(mismatch, |text| Ok(Value::Bool(parse_cidr(text).is_ok())))),
    ("containsIP", contains_ip),
    ("containsCIDR", contains_cidr),
    ("masked", |args| cidr(args, |cidr| Value::Cidr(Cidr { address: masked(cidr.address, cidr.bits), ..cidr }))),
    ("prefixLength", |args| cidr(args, |cidr| Value::Int(i64::from(cidr.bits)))),
];

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip(pub IpAddr);

/// An address and the length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub bits: u8,
}

impl Ip {
    pub(crate) fn bytes_len(self) -> u64 {
        if self.0.is_ipv4() { 4 } else { 16 }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cidr {
    pub(crate) fn bytes_len(self) -> u64 {
        u64::from(self.bits).div_ceil(8)
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == masked(self.address, self.bits)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let shown = go_quoted(text);
    let parse_error = |why: String| format!("IP Address {shown} parse error during conversion from string: ParseAddr({shown}): {why}");
    let (bare, zone) = text.split_once('%').map_or((text, None), |(bare, zone)| (bare, Some(zone)));
    let address: IpAddr = bare.parse().map_err(|_| parse_error(why_no_address(text)))?;
    if zone.is_some() && address.is_ipv4() {
        return Err(parse_error(why_no_ipv4(text)));
    }
    match zone {
        Some("") => return Err(parse_error("zone must be a non-empty string".into())),
        Some(_) => return Err(format!("IP address {shown} with zone value is not allowed")),
        None => {}
    }
    if is_mapped(address) {
        return Err(format!("IPv4-mapped IPv6 address {shown} is not allowed"));
    }
    Ok(address)
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some())
}

/// What is wrong with a text that is no address, in Go's words.
fn why_no_address(text: &str) -> String {
    match text.find(['.', ':', '%']).map(|at| text.as_bytes()[at]) {
        Some(b'.') => why_no_ipv4(text),
        Some(b'%') => "missing IPv6 address".into(),
        Some(_) => why_no_ipv6(text).unwrap_or_else(|| "unable to parse IP".into()),
        None => "unable to parse IP".into(),
    }
}

fn at(why: &str, rest: &str) -> String {
    format!("{why} (at {})", go_quoted(rest))
}

fn why_no_ipv4(text: &str) -> String {
    let (mut value, mut digits, mut dots) = (0, 0, 0);
    for (index, c) in text.char_indices() {
        match c {
            '0'..='9' if digits == 1 && value == 0 => return "IPv4 field has octet with leading zero".into(),
            '0'..='9' => {
                value = value * 10 + c.to_digit(10).unwrap_or(0);
                digits += 1;
                if value > 255 {
                    return "IPv4 field has value >255".into();
                }
            }
            '.' if digits == 0 || index + 1 == text.len() => return at("IPv4 field must have at least one digit", &text[index..]),
            '.' if dots == 3 => return "IPv4 address too long".into(),
            '.' => (value, digits, dots) = (0, 0, dots + 1),
            _ => return at("unexpected character", &text[index..]),
        }
    }
    "IPv4 address too short".into()
}

/// `None` where nothing is wrong but an IPv4 address at the end.
fn why_no_ipv6(text: &str) -> Option<String> {
    let (mut rest, zone) = text.split_once('%').map_or((text, None), |(rest, zone)| (rest, Some(zone)));
    if zone == Some("") {
        return Some("zone must be a non-empty string".into());
    }
    let mut gap = rest.starts_with("::");
    if gap {
        rest = &rest[2..];
    }
    let mut groups = 0;
    while groups < 8 && !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        if digits == 0 {
            return Some(at("each colon-separated field must have at least one digit", rest));
        }
        if digits > 4 {
            return Some(at("each group must have 4 or less digits", rest));
        }
        if rest[digits..].starts_with('.') {
            return None;
        }
        groups += 1;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        let Some(after) = rest.strip_prefix(':') else { return Some(at("unexpected character, want colon", rest)) };
        if after.is_empty() {
            return Some(at("colon must be followed by more characters", rest));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if gap {
                return Some(at("multiple :: in address", rest));
            }
            gap = true;
            rest = after;
        }
    }
    if !rest.is_empty() {
        return Some(at("trailing garbage after address", rest));
    }
    (groups < 8 && !gap).then(|| "address string too short".into())
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let shown = go_quoted(text);
    let wrong = |why: &str| format!("network address parse error during conversion from string: netip.ParsePrefix({shown}): {why}");
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    if address.contains('%') {
        return Err(wrong("IPv6 zones cannot be present in a prefix"));
    }
    let quoted = go_quoted(address);
    let address: IpAddr = address.parse().map_err(|_| wrong(&format!("ParseAddr({quoted}): {}", why_no_address(address))))?;
    let bad_bits = || wrong(&format!("bad bits after slash: {}", go_quoted(bits)));
    if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) || (bits.len() > 1 && bits.starts_with('0')) {
        return Err(bad_bits());
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.parse().map_err(|_| bad_bits())?;
    if bits > most {
        return Err(wrong("prefix length out of range"));
    }
    if is_mapped(address) {
        return Err(format!("IPv4-mapped IPv6 address {shown} is not allowed"));
    }
    Ok(Cidr { address, bits: bits as u8 })
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(four) => Ipv4Addr::from_bits(four.to_bits() & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into(),
    }
}

fn to_ip<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::String(text) => parse_ip(text).map(|ip| Value::Ip(Ip(ip))).map_err(Fault::new),
        Value::Cidr(cidr) => Ok(Value::Ip(Ip(cidr.address))),
        _ => mismatch(),
    }
}

fn ip<'a>(args: &[Value<'a>], map: fn(IpAddr) -> Value<'a>) -> Outcome<'a> {
    if let Value::Ip(ip) = &args[0] { Ok(map(ip.0)) } else { mismatch() }
}

fn cidr<'a>(args: &[Value<'a>], map: fn(Cidr) -> Value<'a>) -> Outcome<'a> {
    if let Value::Cidr(cidr) = &args[0] { Ok(map(*cidr)) } else { mismatch() }
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let address = match &args[1] {
        Value::String(text) => parse_ip(text).map_err(|_| Fault::no_such_overload())?,
        Value::Ip(ip) => ip.0,
        _ => return mismatch(),
    };
    if let Value::Cidr(cidr) = &args[0] { Ok(Value::Bool(cidr.contains(address))) } else { mismatch() }
}

fn contains_cidr<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let inner = match &args[1] {
        Value::String(text) => {
            parse_cidr(text).map_err(|wrong| Fault::new(format!("network address parse error during conversion from string: {wrong}")))?
        }
        Value::Cidr(inner) => *inner,
        _ => return mismatch(),
    };
    let Value::Cidr(cidr) = &args[0] else { return mismatch() };
    Ok(Value::Bool(cidr.bits <= inner.bits && cidr.contains(inner.address)))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
        IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(four) if four.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip))
}
