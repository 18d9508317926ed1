//! What a string's `format` means. A format that is not here is ignored, as upstream ignores what it does not support.

use std::net::Ipv6Addr;

use crate::duration;

/// Whether `text` is of `format`; true for formats that nobody knows.
pub(super) fn holds(format: &str, text: &str) -> bool {
    match format {
        "byte" => is_base64(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "cidr" => is_cidr(text),
        "creditcard" => is_credit_card(text),
        "date" => is_date(text),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text),
        "hexcolor" => is_hex_color(text),
        "hostname" => is_hostname(text),
        "ipv4" => is_ipv4(text),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn(text, 10) || is_isbn(text, 13),
        "isbn10" => is_isbn(text, 10),
        "isbn13" => is_isbn(text, 13),
        "mac" => is_mac(text),
        "rgbcolor" => is_rgb_color(text),
        "ssn" => is_ssn(text),
        "uri" => is_uri(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "k8s-short-name" => crate::names::is_dns1123_label(text).is_empty(),
        "k8s-long-name" => crate::names::is_dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    !text.is_empty() && text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(good)
}

/// Leading zeros are forgiven, as they always were.
fn is_ipv4(text: &str) -> bool {
    let octet = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u8>().is_ok();
    text.split('.').count() == 4 && text.split('.').all(octet)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let bits: u8 = bits.parse().unwrap_or(u8::MAX);
    plain && (is_ipv4(address) && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-' && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else { return false };
    let clock = time.get(..8).unwrap_or_default();
    let zone = time.get(8..).unwrap_or_default().trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let number = |text: &str, max: u8| text.len() == 2 && text.parse::<u8>().is_ok_and(|value| value <= max);
    let mut parts = clock.split(':');
    let hours = parts.next().is_some_and(|part| number(part, 23));
    let minutes = parts.next().is_some_and(|part| number(part, 59));
    let seconds = parts.next().is_some_and(|part| number(part, 59));
    let offset = zone.strip_prefix(['+', '-']).and_then(|zone| zone.split_once(':'));
    let zoned = zone.eq_ignore_ascii_case("z") || offset.is_some_and(|(hours, minutes)| number(hours, 23) && number(minutes, 59));
    is_date(date) && hours && minutes && seconds && zoned
}

/// A Go duration, or a number and a word (`3 days`).
fn is_duration(text: &str) -> bool {
    if duration::parse_nanos(text).is_ok() {
        return true;
    }
    const UNITS: &[&str] = &[
        "ns", "us", "µs", "ms", "s", "m", "h", "d", "w", "nano", "micro", "milli", "sec", "second", "min", "minute", "hr", "hour", "day",
        "week", "wk",
    ];
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit()).count();
    let unit = text[digits..].trim();
    digits > 0 && (UNITS.contains(&unit) || unit.strip_suffix('s').is_some_and(|unit| unit.len() > 1 && UNITS.contains(&unit)))
}

fn is_email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(at), Some(head)) => &head[at + 1..],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let local_good = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii();
    let quoted = local.len() > 1 && local.starts_with('"') && local.ends_with('"');
    let dotted = |text: &str| !text.is_empty() && !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
    (quoted || dotted(local) && local.chars().all(local_good)) && dotted(domain) && domain.chars().all(local_good)
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    text.len() <= 255 && text.split('.').all(label)
}

fn is_isbn(text: &str, length: usize) -> bool {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let values: Vec<u32> = digits.chars().filter_map(|c| if matches!(c, 'X' | 'x') { Some(10) } else { c.to_digit(10) }).collect();
    if digits.len() != length || values.len() != length || values[..length - 1].contains(&10) || length == 13 && values[12] == 10 {
        return false;
    }
    match length {
        10 => values.iter().zip(1..).map(|(value, weight)| value * weight).sum::<u32>().is_multiple_of(11),
        _ => values.iter().enumerate().map(|(at, value)| if at % 2 == 0 { *value } else { value * 3 }).sum::<u32>().is_multiple_of(10),
    }
}

fn is_mac(text: &str) -> bool {
    let octets = |separator: char, width: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        matches!(parts.len() * width, 12 | 16 | 40)
            && parts.iter().all(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    octets(':', 2) || octets('-', 2) || octets('.', 4)
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter(|c| !matches!(c, '-' | ' ')).filter_map(|c| c.to_digit(10)).collect();
    let doubled = |(at, digit): (usize, &u32)| if at % 2 == 1 { digit * 2 - if *digit > 4 { 9 } else { 0 } } else { *digit };
    (13..=19).contains(&digits.len())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ' '))
        && digits.iter().rev().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

fn is_rgb_color(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    let parts: Vec<&str> = inner.unwrap_or_default().split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
}

fn is_ssn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', ' ']).collect();
    parts.iter().map(|part| part.len()).eq([3, 2, 4]) && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An absolute reference, or a path.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    !rest.is_empty() && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(good)
}

/// 32 digits with the dashes where they belong, or none of them.
fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    let places = [8, 13, 18, 23];
    digits.len() == 32
        && digits.iter().all(u8::is_ascii_hexdigit)
        && dashes.iter().all(|at| places.contains(at))
        && version.is_none_or(|version| digits[12] == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_know_good_from_bad() {
        for (format, good, bad) in [
            ("byte", "aGk=", "!"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("date", "2020-01-31", "2020-02-31"),
            ("date-time", "2020-01-01T00:00:00.5+01:00", "2020-01-01 00:00:00Z"),
            ("duration", "1h30m", "1x"),
            ("duration", "3 days", "days"),
            ("email", "a@b.c", "a"),
            ("hostname", "a.example", "-a"),
            ("ipv4", "1.2.3.4", "::1"),
            ("ipv6", "::1", "1.2.3.4"),
            ("isbn10", "0-306-40615-2", "0-306-40615-3"),
            ("mac", "01:23:45:67:89:ab", "z"),
            ("uri", "http://x/y", ":"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "x"),
        ] {
            assert!(holds(format, good), "{format} {good}");
            assert!(!holds(format, bad), "{format} {bad}");
        }
        assert!(holds("unheardof", "x"));
    }
}
