//! Addresses and domains: checks that report at a path of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::is_dns1123_subdomain;
use crate::{FieldErrors, Path};

/// An IP address of a new field: no leading zeros, no IPv4 inside of IPv6, canonical form.
pub fn validate_ip(value: &str, path: &Path, errors: &mut FieldErrors) {
    let Some(ip) = sloppy_ip(value) else { return not_an_ip(value, path, errors) };
    if value.parse::<IpAddr>().is_err() {
        errors.invalid(path, value, "must not have leading 0s");
    } else if is_mapped(value) {
        errors.invalid(path, value, "must not be an IPv4-mapped IPv6 address");
    } else if ip.to_string() != value {
        errors.invalid(path, value, &format!("must be in canonical form (\"{ip}\")"));
    }
}

/// An IP address of a field from before the strict rules: leading zeros and any spelling will do.
pub fn validate_legacy_ip(value: &str, path: &Path, errors: &mut FieldErrors) {
    if sloppy_ip(value).is_none() {
        not_an_ip(value, path, errors);
    }
}

/// What to warn of at an address that [`validate_legacy_ip`] lets pass.
pub fn ip_warning(value: &str, path: &Path) -> Option<String> {
    let ip = sloppy_ip(value)?;
    if value.parse::<IpAddr>().is_err() || is_mapped(value) {
        return Some(format!("{path}: non-standard IP address {value:?} is invalid: use \"{ip}\""));
    }
    let odd = ip.is_ipv6() && ip.to_string() != value;
    odd.then(|| format!("{path}: IPv6 address {value:?} should be in RFC 5952 canonical format (\"{ip}\")"))
}

/// A network of a new field, `10.9.8.0/24`.
pub fn validate_cidr(value: &str, path: &Path, errors: &mut FieldErrors) {
    let parts = value.split_once('/').and_then(|(address, bits)| Some((address, sloppy_ip(address)?, bits)));
    let wide = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    let number = |bits: &str| bits.parse::<u32>().ok().filter(|_| bits.bytes().all(|byte| byte.is_ascii_digit()));
    let parsed = parts.and_then(|(address, ip, bits)| Some((address, ip, number(bits)?, bits)));
    let Some((address, ip, length, bits)) = parsed.filter(|(_, ip, length, _)| *length <= wide(*ip)) else {
        return errors.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    };
    let network = masked(ip, length);
    if address.parse::<IpAddr>().is_err() || bits != length.to_string() {
        errors.invalid(path, value, "must not have leading 0s in IP or prefix length");
    } else if is_mapped(address) {
        errors.invalid(path, value, "must not have an IPv4-mapped IPv6 address");
    } else if network != ip {
        errors.invalid(path, value, "must not have bits set beyond the prefix length");
    } else if format!("{network}/{length}") != value {
        errors.invalid(path, value, &format!("must be in canonical form (\"{network}/{length}\")"));
    }
}

/// A domain of at least two labels; a final dot is passed over.
pub fn validate_fqdn(name: &str, path: &Path, errors: &mut FieldErrors) {
    validate_domain(name.strip_suffix('.').unwrap_or(name), name.is_empty(), (2, "two"), path, errors);
}

/// A name of at least three labels (signers, drivers).
pub fn validate_fully_qualified_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    validate_domain(name, name.is_empty(), (3, "three"), path, errors);
}

/// `acme.io/foo`
pub fn validate_domain_prefixed_path(value: &str, path: &Path, errors: &mut FieldErrors) {
    if value.is_empty() {
        return errors.required(path, "");
    }
    let parts = value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty());
    let Some((host, rest)) = parts else {
        return errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    is_dns1123_subdomain(host).iter().for_each(|text| errors.invalid(path, host, text));
    if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        errors.invalid(path, rest, r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')");
    }
}

fn validate_domain(name: &str, absent: bool, (labels, word): (usize, &str), path: &Path, errors: &mut FieldErrors) {
    if absent {
        return errors.required(path, "");
    }
    let wrong = is_dns1123_subdomain(name);
    if !wrong.is_empty() {
        return errors.invalid(path, name, &wrong.join(","));
    }
    if name.split('.').count() < labels {
        return errors.invalid(path, name, &format!("should be a domain with at least {word} segments separated by dots"));
    }
    // Upstream holds only domain names, not fully qualified names, to the length of each label.
    let long = name.split('.').filter(|_| labels == 2).map(|label| (label, super::is_dns1123_label(label)));
    if let Some((label, wrong)) = { long }.find(|(_, wrong)| !wrong.is_empty()) {
        errors.invalid(path, label, &wrong.join(","));
    }
}

fn not_an_ip(value: &str, path: &Path, errors: &mut FieldErrors) {
    errors.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

/// An address with leading zeros allowed; IPv4 inside of IPv6 is IPv4.
fn sloppy_ip(value: &str) -> Option<IpAddr> {
    let ip = value.parse::<IpAddr>().ok().or_else(|| without_leading_zeros(value).map(IpAddr::V4))?;
    Some(match ip {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        four => four,
    })
}

fn without_leading_zeros(value: &str) -> Option<Ipv4Addr> {
    let octet = |part: &str| part.parse::<u8>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
    let octets: Option<Vec<u8>> = value.split('.').map(octet).collect();
    <[u8; 4]>::try_from(octets?).ok().map(Ipv4Addr::from)
}

fn is_mapped(value: &str) -> bool {
    value.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_ipv4_mapped().is_some())
}

fn masked(ip: IpAddr, length: u32) -> IpAddr {
    match ip {
        IpAddr::V4(four) => Ipv4Addr::from_bits(four.to_bits() & u32::MAX.checked_shl(32 - length).unwrap_or(0)).into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & u128::MAX.checked_shl(128 - length).unwrap_or(0)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_held_to_their_prefix() {
        for (value, want) in [
            ("10.0.0.0/8", ""),
            ("fd00::/8", ""),
            ("0.0.0.0/0", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("FD00::/8", "must be in canonical form (\"fd00::/8\")"),
        ] {
            let mut errors = FieldErrors::default();
            validate_cidr(value, &Path::new("cidr"), &mut errors);
            assert!(errors.0.first().map_or("", |error| &error.message).ends_with(want), "{value}: {errors:?}");
            assert_eq!(errors.is_empty(), want.is_empty(), "{value}: {errors:?}");
        }
    }
}
