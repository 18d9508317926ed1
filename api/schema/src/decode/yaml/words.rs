//! What is wrong with a YAML text, in the words and with the line of the original's parser (libyaml's, in Go).
//!
//! Ours finds the same faults in other places and calls them otherwise. Lines are counted as the original does: those of
//! its scanner from one, those of its parser from zero, and line zero is not told.

use serde_saphyr::granit_parser::{ErrorKind, ScanError, Span};

use crate::decode::DecodeError;

/// What a fault is called, and who finds it.
enum Words {
    Scanner(&'static str),
    Parser(&'static str),
}

use Words::{Parser, Scanner};

pub(super) fn of(error: &ScanError, text: &str) -> DecodeError {
    let line = error.marker().line().saturating_sub(1);
    match (words_of(error.kind()), error.kind()) {
        (_, ErrorKind::UnclosedFlowCollection { open }) => unclosed(*open, line, text),
        (_, ErrorKind::UnclosedQuotedScalar) => said(text.lines().count(), "found unexpected end of stream"),
        (_, ErrorKind::UnknownAnchor) => said(0, &format!("unknown anchor '{}' referenced", anchor_at(error, text))),
        (Some(Scanner(words)), _) => said(if line == 0 { 0 } else { line + 1 }, words),
        (Some(Parser(words)), _) => said(line, words),
        (None, _) => said(if line == 0 { 0 } else { line + 1 }, &error.info()),
    }
}

fn said(line: usize, what: &str) -> DecodeError {
    let place = if line == 0 { String::new() } else { format!("line {line}: ") };
    DecodeError::Syntax(format!("yaml: {place}{what}"))
}

/// A bracket that nothing closes: the end of the text came where an element, or what follows one, should.
fn unclosed(open: char, line: usize, text: &str) -> DecodeError {
    let end = text.lines().count();
    if text.trim_end().ends_with(['{', '[', ',', ':']) {
        return said(end, "did not find expected node content");
    }
    let line = if line == 0 { end } else { line };
    said(line, if open == '{' { "did not find expected ',' or '}'" } else { "did not find expected ',' or ']'" })
}

fn anchor_at<'t>(error: &ScanError, text: &'t str) -> &'t str {
    let rest = error.marker().byte_offset().and_then(|at| text.get(at..)).unwrap_or_default().trim_start_matches('*');
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
    &rest[..end]
}

fn words_of(kind: &ErrorKind) -> Option<Words> {
    Some(match kind {
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => Scanner("mapping values are not allowed in this context"),
        ErrorKind::MappingKeyNotAllowed => Scanner("mapping keys are not allowed in this context"),
        ErrorKind::BlockSequenceEntryNotAllowed => Scanner("block sequence entries are not allowed in this context"),
        ErrorKind::BlockEntryInFlowCollection => Parser("block sequence entries are not allowed in this context"),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => Scanner("could not find expected ':'"),
        ErrorKind::UnexpectedCharacter { .. }
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => Scanner("found character that cannot start any token"),
        ErrorKind::TabAtBlockScalarStart => Scanner("found a tab character where an indentation space is expected"),
        ErrorKind::ZeroBlockScalarIndent => Scanner("found an indentation indicator equal to 0"),
        ErrorKind::InvalidBlockScalarHeader => Scanner("did not find expected comment or line break"),
        ErrorKind::DocumentIndicatorInQuotedScalar => Scanner("found unexpected document indicator"),
        ErrorKind::UnknownQuotedScalarEscape => Scanner("found unknown escape character"),
        ErrorKind::InvalidQuotedScalarHexEscape | ErrorKind::InvalidLowSurrogateHexEscape => {
            Scanner("did not find expected hexdecimal number")
        }
        ErrorKind::InvalidLowSurrogate
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate
        | ErrorKind::InvalidUnicodeEscape => Scanner("found invalid Unicode character escape code"),
        ErrorKind::MissingAnchorOrAliasName => Scanner("did not find expected alphabetic or numeric character"),
        ErrorKind::MisplacedFlowCollectionEnd | ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            Parser("did not find expected key")
        }
        ErrorKind::ExpectedBlockSequenceEntry => Parser("did not find expected '-' indicator"),
        ErrorKind::ExpectedFlowMappingSeparator => Parser("did not find expected ',' or '}'"),
        ErrorKind::ExpectedFlowSequenceSeparator => Parser("did not find expected ',' or ']'"),
        ErrorKind::ExpectedNodeContent => Parser("did not find expected node content"),
        ErrorKind::ExpectedDocumentStart => Parser("did not find expected <document start>"),
        ErrorKind::UndeclaredTagHandle => Parser("found undefined tag handle"),
        _ => return None,
    })
}

/// A token that only blanks with a tab among them keep from the start of its line, or from the `-` of its entry.
pub(super) fn tab_indents(text: &str, span: &Span) -> bool {
    let Some(before) = span.start.byte_offset().and_then(|at| text.as_bytes().get(..at)) else { return false };
    let blanks = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let (head, blanks) = before.split_at(before.len() - blanks);
    blanks.contains(&b'\t') && (matches!(head, [] | [.., b'\n']) || head.ends_with(b"-") && !head.ends_with(b"--"))
}

/// The error of [`tab_indents`].
pub(super) fn tab(span: &Span) -> DecodeError {
    let line = span.start.line();
    said(if line <= 1 { 0 } else { line }, "found character that cannot start any token")
}

/// The document up to a bracket that closes nothing, where it is whole before that: the original stops reading there, while
/// our scanner looks further.
pub(super) fn whole_before_bracket(text: &str) -> Option<&str> {
    let head = text.trim_end().strip_suffix(['}', ']'])?;
    let starts_with_bracket = head.trim_start().starts_with(['{', '[']);
    let closes = |text: &str| text.trim_end().ends_with(['}', ']']);
    (starts_with_bracket && closes(head) && is_unopened(text)).then_some(head)
}

/// Whether more brackets are closed than opened; those in quotes do not count.
fn is_unopened(text: &str) -> bool {
    let (mut depth, mut quote, mut escaped) = (0i64, None, false);
    for byte in text.bytes() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(b'"'), b'\\') => escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => depth -= 1,
            _ => {}
        }
    }
    depth < 0
}
