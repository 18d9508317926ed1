//! Semantic versions, with the errors of the parser that Kubernetes uses.

use std::cmp::Ordering;
use std::sync::Arc;

use super::format::go_quoted;
use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("semver", |args| read(args)?.map(|version| Value::Semver(Arc::new(version))).map_err(Fault::new)),
    ("isSemver", |args| Ok(Value::Bool(read(args)?.is_ok()))),
    ("major", |args| number(args, |version| version.major)),
    ("minor", |args| number(args, |version| version.minor)),
    ("patch", |args| number(args, |version| version.patch)),
    ("isGreaterThan", |args| ordered(args, |ordering| Value::Bool(ordering.is_gt()))),
    ("isLessThan", |args| ordered(args, |ordering| Value::Bool(ordering.is_lt()))),
    ("compareTo", |args| ordered(args, |ordering| Value::Int(ordering as i64))),
];

/// A version; what follows `+` has no part in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    major: u64,
    minor: u64,
    patch: u64,
    pre: Vec<Pre>,
}

/// A part of a pre-release: numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    Number(u64),
    Word(String),
}

impl Semver {
    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        let numbers = (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch));
        // A release comes after all of its pre-releases.
        numbers.then_with(|| self.pre.is_empty().cmp(&other.pre.is_empty())).then_with(|| self.pre.cmp(&other.pre))
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".into());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts[..] else { return Err("No Major.Minor.Patch elements found".into()) };
        let (major, minor) = (numeric("Major", major)?, numeric("Minor", minor)?);
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let patch = numeric("Patch", patch)?;
        let pre = pre.map_or(Ok(Vec::new()), |pre| pre.split('.').map(pre_release).collect::<Result<_, _>>())?;
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".into());
            }
            if !part.bytes().all(is_word_byte) {
                return Err(format!("Invalid character(s) found in build meta data {}", go_quoted(part)));
            }
        }
        Ok(Self { major, minor, patch, pre })
    }

    /// With a leading `v`, leading zeros and missing parts forgiven.
    fn parse_loose(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let trimmed = |part: &str| {
            if part.len() <= 1 {
                return part.to_owned();
            }
            let bare = part.trim_start_matches('0');
            if bare.starts_with(|c: char| c.is_ascii_digit()) { bare.to_owned() } else { format!("0{bare}") }
        };
        let mut parts: Vec<String> = text.splitn(3, '.').map(trimmed).collect();
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".into());
            }
            parts.resize(3, "0".into());
        }
        Self::parse(&parts.join("."))
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn numeric(what: &str, text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {} number {}", what.to_lowercase(), go_quoted(text)));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {}", go_quoted(text)));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {}: value out of range", go_quoted(text)))
}

fn pre_release(part: &str) -> Result<Pre, String> {
    if part.is_empty() {
        return Err("Prerelease is empty".into());
    }
    if part.bytes().all(|byte| byte.is_ascii_digit()) {
        if part.len() > 1 && part.starts_with('0') {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {}", go_quoted(part)));
        }
        return part.parse().map(Pre::Number).map_err(|_| format!("strconv.ParseUint: parsing {}: value out of range", go_quoted(part)));
    }
    if part.bytes().all(is_word_byte) {
        Ok(Pre::Word(part.to_owned()))
    } else {
        Err(format!("Invalid character(s) found in prerelease {}", go_quoted(part)))
    }
}

fn read(args: &[Value<'_>]) -> Result<Result<Semver, String>, Fault> {
    let Value::String(text) = &args[0] else { return Err(Fault::unnamed_overload()) };
    match args.get(1) {
        None | Some(Value::Bool(false)) => Ok(Semver::parse(text)),
        Some(Value::Bool(true)) => Ok(Semver::parse_loose(text)),
        Some(_) => Err(Fault::unnamed_overload()),
    }
}

fn number<'a>(args: &[Value<'a>], part: fn(&Semver) -> u64) -> Outcome<'a> {
    if let Value::Semver(version) = &args[0] { Ok(Value::Int(part(version) as i64)) } else { mismatch() }
}

fn ordered<'a>(args: &[Value<'a>], map: fn(Ordering) -> Value<'a>) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Semver(one), Value::Semver(other)) => Ok(map(one.cmp(other))),
        _ => mismatch(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_parts() {
        let ordered = ["1.0.0-1", "1.0.0-2", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0", "1.2.0", "1.10.0"];
        for pair in ordered.windows(2) {
            let parse = |text: &str| Semver::parse(text).unwrap();
            assert_eq!(parse(pair[0]).cmp(&parse(pair[1])), Ordering::Less, "{pair:?}");
        }
        assert_eq!(Semver::parse_loose("v01.2").unwrap(), Semver::parse("1.2.0").unwrap());
        assert_eq!(Semver::parse("1.2"), Err("No Major.Minor.Patch elements found".into()));
    }
}
