//! Texts within quotes, as `strconv` writes and reads them.

use std::fmt::Write as _;
use std::str::Chars;

/// `%q`: a text in double quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_print(c) => out.push(c),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if u32::from(c) < 0x10000 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// Whether a character shows as itself: Go's `unicode.IsPrint`, but for characters that no standard has assigned.
pub fn is_print(c: char) -> bool {
    let hidden = matches!(u32::from(c),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xfeff | 0xfff0..=0xfffb | 0xfffe..=0xffff | 0xe0000..=0x10ffff);
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden)
}

/// A character as `%#U` prints it: `U+0026 '&'`.
pub fn code_point(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if is_print(c) { format!("{code} '{c}'") } else { code }
}

/// What a text within Go's quotes stands for; none where it is none. Bytes that are no text (`\xff`) are replaced.
pub fn unquote(text: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, quote, &mut bytes)?,
            c if c == quote || c == '\n' => return None,
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// What follows a backslash.
fn escape(rest: &mut Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Option<()> {
    let byte = match rest.next()? {
        'a' => 0x7,
        'b' => 0x8,
        'f' => 0xc,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0xb,
        '\\' => b'\\',
        c if c == quote => {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        'x' => u8::try_from(digits(rest, 2, 16, 0)?).ok()?,
        first @ '0'..='7' => u8::try_from(digits(rest, 2, 8, first.to_digit(8)?)?).ok()?,
        sort @ ('u' | 'U') => {
            let code = digits(rest, if sort == 'u' { 4 } else { 8 }, 16, 0)?;
            bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(())
}

/// The number that so many digits make, after what is already read of it.
fn digits(rest: &mut Chars<'_>, count: usize, radix: u32, first: u32) -> Option<u32> {
    (0..count).try_fold(first, |code, _| code.checked_mul(radix)?.checked_add(rest.next()?.to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_read_back() {
        for (text, quoted) in [("a\"b\\", r#""a\"b\\""#), ("\n\t\u{1b}é", r#""\n\t\x1bé""#), ("\u{200b}\u{e0001}", r#""\u200b\U000e0001""#)]
        {
            assert_eq!(quote(text), quoted);
            assert_eq!(unquote(&quoted[1..quoted.len() - 1], '"').as_deref(), Some(text));
        }
        assert_eq!(unquote(r"\101\x41\u00e9", '\'').as_deref(), Some("AAé"));
        for bad in [r"\'", r"\z", r"\x4", r"\777", r"\ud800", "\"", r"\"] {
            assert_eq!(unquote(bad, '"'), None, "{bad}");
        }
    }

    #[test]
    fn characters_are_named() {
        assert_eq!(code_point('&'), "U+0026 '&'");
        assert_eq!(code_point('\t'), "U+0009");
    }
}
