//! JSON text as Go's encoder writes it: what a browser could take for markup, and the two line separators of Unicode that
//! older JavaScript trips over, are escaped. Nothing of that changes what the text means.

use serde::Serialize;

/// A value as compact JSON.
pub fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut out = serde_json::to_vec(value).expect("a value serialises into memory");
    escape(&mut out, 0);
    out
}

/// Escapes the JSON text from `start` on. Only strings can hold these characters.
pub fn escape(out: &mut Vec<u8>, start: usize) {
    if !out[start..].iter().any(is_suspect) {
        return;
    }
    let tail = out.split_off(start);
    let mut rest = tail.as_slice();
    while let Some((byte, after)) = rest.split_first() {
        let (escaped, length): (&[u8], usize) = match byte {
            b'<' => (b"\\u003c", 1),
            b'>' => (b"\\u003e", 1),
            b'&' => (b"\\u0026", 1),
            0xe2 if after.starts_with(&[0x80, 0xa8]) => (b"\\u2028", 3),
            0xe2 if after.starts_with(&[0x80, 0xa9]) => (b"\\u2029", 3),
            _ => (&rest[..1], 1),
        };
        out.extend_from_slice(escaped);
        rest = &rest[length..];
    }
}

fn is_suspect(byte: &u8) -> bool {
    matches!(byte, b'<' | b'>' | b'&' | 0xe2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_line_separators_are_escaped_and_nothing_else_is() {
        for (text, want) in [
            ("a<b>&c", r#""a\u003cb\u003e\u0026c""#),
            ("\u{2028}\u{2029}\u{2027}", "\"\\u2028\\u2029\u{2027}\""),
            ("é…\n\u{7f}", "\"é…\\n\u{7f}\""),
        ] {
            assert_eq!(String::from_utf8_lossy(&json_bytes(&text)), want);
        }
    }
}
