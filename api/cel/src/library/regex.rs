//! Regular expressions in RE2's syntax, as Go reads it, on an engine whose time is linear in the text.
//!
//! A pattern's compiled size is bounded; patterns that are constants are compiled once, with their program.

mod translate;

use regex::{Regex, RegexBuilder};

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::{Text, Value};

pub(super) const FUNCTIONS: Table = &[
    ("matches", |args| matches(args, &compiled(args, "")?)),
    ("find", |args| find(args, &compiled(args, "Illegal regex: ")?)),
    ("findAll", |args| find_all(args, &compiled(args, "Illegal regex: ")?)),
];

/// Bytes of a compiled pattern.
const COMPILED_BYTES_MAX: usize = 2 << 20;
/// Bytes of an engine's lazily built tables, per use.
const TABLE_BYTES_MAX: usize = 2 << 20;

/// Functions whose pattern is their second argument.
pub(crate) fn takes_pattern(function: &str) -> bool {
    FUNCTIONS.iter().any(|(name, _)| *name == function)
}

/// The error is Go's: ``error parsing regexp: missing closing ]: `[` ``.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate::translate(pattern)?;
    let built = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(TABLE_BYTES_MAX).nest_limit(250).build();
    built.map_err(|wrong| match wrong {
        regex::Error::CompiledTooBig(_) => format!("error parsing regexp: expression too large: `{pattern}`"),
        _ => format!("error parsing regexp: invalid or unsupported Perl syntax: `{pattern}`"),
    })
}

fn compiled(args: &[Value<'_>], prefix: &str) -> Result<Regex, Fault> {
    let Value::String(pattern) = &args[1] else { return Err(Fault::unnamed_overload()) };
    compile(pattern).map_err(|wrong| Fault::new(format!("{prefix}{wrong}")))
}

/// A call with a constant pattern.
pub(crate) fn call<'a>(function: &str, args: &[Value<'a>], regex: &Regex) -> Outcome<'a> {
    match function {
        "find" => find(args, regex),
        "findAll" => find_all(args, regex),
        _ => matches(args, regex),
    }
}

fn matches<'a>(args: &[Value<'a>], regex: &Regex) -> Outcome<'a> {
    args[0].as_str().map_or_else(mismatch, |text| Ok(Value::Bool(regex.is_match(text))))
}

fn find<'a>(args: &[Value<'a>], regex: &Regex) -> Outcome<'a> {
    let Value::String(text) = &args[0] else { return mismatch() };
    Ok(regex.find(text).map_or(Value::borrowed(""), |found| piece(text, found.range())))
}

fn find_all<'a>(args: &[Value<'a>], regex: &Regex) -> Outcome<'a> {
    let Value::String(text) = &args[0] else { return mismatch() };
    let most = match args.get(2) {
        None => usize::MAX,
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        Some(_) => return mismatch(),
    };
    Ok(Value::list(regex.find_iter(text).take(most).map(|found| piece(text, found.range())).collect()))
}

fn piece<'a>(text: &Text<'a>, range: std::ops::Range<usize>) -> Value<'a> {
    match text {
        Text::Borrowed(text) => Value::borrowed(&text[range]),
        Text::Shared(text) => Value::string(&text[range]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ascii_as_in_re2() {
        for (pattern, text, want) in [
            (r"^\d+$", "١٢", false),
            (r"^\w+$", "aé", false),
            (r"^\W$", "é", true),
            (r"[\d-]+", "-", true),
            (r"^[[a&&b]+$", "[&a", true),
            (r"\Qa.b\E", "a.b", true),
            (r"\Qa.b\E", "axb", false),
            (r"(?i)straße", "STRAßE", true),
            (r"^\pL+$", "éa", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^a{2,3}$", "aaa", true),
            (r"a{,2}", "a{,2}", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn broken_patterns_are_refused_in_gos_words() {
        for (pattern, want) in [
            ("[", "missing closing ]: `[`"),
            ("a(b", "missing closing ): `a(b`"),
            ("a)", "unexpected ): `a)`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("\\y", "invalid escape sequence: `\\y`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("[z-a]", "invalid character class range: `z-a`"),
        ] {
            assert_eq!(compile(pattern).unwrap_err(), format!("error parsing regexp: {want}"), "{pattern}");
        }
        assert!(compile("((a{100}){100}){100}").is_err());
        assert!(compile(&"(".repeat(2_000)).is_err());
    }
}
