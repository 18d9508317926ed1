//! Names in wire form, lower case: labels with their lengths, and a zero.

use std::net::Ipv4Addr;

pub(crate) const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;

/// `a.b.` as `\1a\1b\0`. Hashable, comparable, ready to be copied into a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(Box<[u8]>);

impl Name {
    /// From dotted text; None where a label is empty or too long. The case is lost.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        Self::of_labels(text.split('.').filter(|_| !text.is_empty()))
    }

    pub(crate) fn of_labels<'a>(labels: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut out = Vec::with_capacity(64);
        for label in labels {
            if label.is_empty() || label.len() > LABEL_MAX {
                return None;
            }
            out.push(label.len() as u8);
            out.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        out.push(0);
        (out.len() <= NAME_MAX).then(|| Self(out.into()))
    }

    /// Of bytes that were cut from a name between two labels.
    pub(crate) fn of_wire(bytes: &[u8]) -> Self {
        debug_assert!(bytes.last() == Some(&0) && bytes.len() <= NAME_MAX, "the tail of a name is a name");
        Self(bytes.into())
    }

    /// `label.self`
    pub(crate) fn below(&self, label: &str) -> Option<Self> {
        if label.is_empty() || label.len() > LABEL_MAX || self.0.len() + label.len() + 1 > NAME_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(self.0.len() + label.len() + 1);
        out.push(label.len() as u8);
        out.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        out.extend_from_slice(&self.0);
        Some(Self(out.into()))
    }

    /// `4.3.2.1.in-addr.arpa`
    pub(crate) fn reverse(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self::parse(&format!("{d}.{c}.{b}.{a}.in-addr.arpa")).expect("short labels")
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The labels before `suffix`, None where the name does not end in it.
pub(crate) fn labels_before<'a>(name: &'a [u8], suffix: &[u8]) -> Option<Vec<&'a [u8]>> {
    let head = name.len().checked_sub(suffix.len())?;
    if &name[head..] != suffix {
        return None;
    }
    // The cut must fall between labels, not inside of one.
    let mut out = Vec::new();
    let mut at = 0;
    while at < head {
        let length = usize::from(name[at]);
        out.push(name.get(at + 1..at + 1 + length)?);
        at += 1 + length;
    }
    (at == head).then_some(out)
}

/// The address in a reverse name, if it is one.
pub(crate) fn reversed_address(name: &[u8]) -> Option<Ipv4Addr> {
    let labels = labels_before(name, b"\x07in-addr\x04arpa\0")?;
    let octets: Vec<u8> = labels.iter().map(|label| std::str::from_utf8(label).ok()?.parse().ok()).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(|[d, c, b, a]| Ipv4Addr::new(a, b, c, d))
}

/// `10-244-0-5` as an address.
pub(crate) fn dashed_address(label: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(label).ok()?.replace('-', ".").parse().ok()
}

pub(crate) fn dashed(ip: Ipv4Addr) -> String {
    ip.to_string().replace('.', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_in_lower_case() {
        assert_eq!(Name::parse("Web.D.").unwrap().as_bytes(), b"\x03web\x01d\0");
        assert_eq!(Name::parse("").unwrap().as_bytes(), b"\0");
        assert!(Name::parse("a..b").is_none());
        assert!(Name::parse(&"x".repeat(64)).is_none());
        assert!(Name::parse(&"abc.".repeat(64)).is_none(), "too long in all");
    }

    #[test]
    fn a_suffix_must_begin_at_a_label() {
        let name = Name::parse("web.d.svc").unwrap();
        assert_eq!(labels_before(name.as_bytes(), b"\x03svc\0").unwrap(), [&b"web"[..], b"d"]);
        // `\3svc` hides inside a label of four characters here.
        assert!(labels_before(b"\x05x\x03svc\0", b"\x03svc\0").is_none());
        assert!(labels_before(b"\x03svc\0", b"\x01d\x03svc\0").is_none());
    }

    #[test]
    fn reverse_names_and_dashes() {
        let ip = Ipv4Addr::new(10, 244, 0, 5);
        assert_eq!(reversed_address(Name::reverse(ip).as_bytes()), Some(ip));
        assert_eq!(dashed_address(dashed(ip).as_bytes()), Some(ip));
        for none in ["1.2.3.in-addr.arpa", "256.2.3.4.in-addr.arpa", "in-addr.arpa"] {
            assert_eq!(reversed_address(Name::parse(none).unwrap().as_bytes()), None, "{none}");
        }
        assert_eq!(dashed_address(b"web-1"), None);
    }
}
