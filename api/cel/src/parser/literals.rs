//! The values of literal tokens.

pub(super) fn int(text: &str, negative: bool) -> Option<i64> {
    let (digits, base) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, base).ok()
}

pub(super) fn uint(text: &str) -> Option<u64> {
    let text = &text[..text.len() - 1];
    let (digits, base) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    u64::from_str_radix(digits, base).ok()
}

pub(super) fn double(text: &str, negative: bool) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(if negative { -number } else { number })
}

pub(super) fn string(token: &str) -> Result<String, &'static str> {
    let (body, raw) = body(token);
    let unified = unified_lines(body);
    if raw {
        return Ok(unified);
    }
    let mut text = String::with_capacity(unified.len());
    unescape(&unified, |piece| {
        text.push(match piece {
            Piece::Char(c) => c,
            Piece::Code(code) => char::from_u32(code).ok_or("invalid unicode code point")?,
            Piece::Byte(byte) => char::from(byte),
        });
        Ok(())
    })?;
    Ok(text)
}

pub(super) fn bytes(token: &str) -> Result<Vec<u8>, &'static str> {
    let (body, raw) = body(&token[1..]);
    let unified = unified_lines(body);
    if raw {
        return Ok(unified.into_bytes());
    }
    let mut bytes = Vec::with_capacity(unified.len());
    unescape(&unified, |piece| {
        match piece {
            Piece::Char(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Piece::Byte(byte) => bytes.push(byte),
            Piece::Code(_) => return Err("unable to unescape string"),
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// What stands between the quotes, and whether escapes mean nothing.
fn body(token: &str) -> (&str, bool) {
    let raw = token.starts_with(['r', 'R']);
    let quoted = &token[usize::from(raw)..];
    let quotes = if quoted.len() >= 6 && (quoted.starts_with("\"\"\"") || quoted.starts_with("'''")) { 3 } else { 1 };
    (&quoted[quotes..quoted.len() - quotes], raw)
}

fn unified_lines(text: &str) -> String {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.to_owned() }
}

enum Piece {
    Char(char),
    Byte(u8),
    Code(u32),
}

/// Hands out the pieces of an escaped text, whose form the lexer has checked.
fn unescape(text: &str, mut each: impl FnMut(Piece) -> Result<(), &'static str>) -> Result<(), &'static str> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            each(Piece::Char(c))?;
            continue;
        }
        let number = |chars: &mut std::str::Chars<'_>, first: Option<char>, count: usize, base: u32| {
            let digits = first.into_iter().chain(chars.by_ref().take(count));
            digits.fold(0, |number: u32, digit| number * base + digit.to_digit(base).unwrap_or(0))
        };
        each(match chars.next().unwrap_or('\\') {
            'a' => Piece::Char('\u{7}'),
            'b' => Piece::Char('\u{8}'),
            'f' => Piece::Char('\u{c}'),
            'n' => Piece::Char('\n'),
            'r' => Piece::Char('\r'),
            't' => Piece::Char('\t'),
            'v' => Piece::Char('\u{b}'),
            'x' | 'X' => Piece::Byte(number(&mut chars, None, 2, 16) as u8),
            'u' => Piece::Code(number(&mut chars, None, 4, 16)),
            'U' => Piece::Code(number(&mut chars, None, 8, 16)),
            digit @ '0'..='3' => Piece::Byte(number(&mut chars, Some(digit), 2, 8) as u8),
            same => Piece::Char(same),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_characters_in_strings_and_bytes_in_bytes() {
        assert_eq!(string(r"'\u00e9\x41\101\n'").unwrap(), "éAA\n");
        assert_eq!(string(r"r'\d'").unwrap(), r"\d");
        assert_eq!(string("''''a'''").unwrap(), "'a");
        assert_eq!(string("''").unwrap(), "");
        assert_eq!(bytes(r"b'\xff\377é'").unwrap(), [0xff, 0xff, 0xc3, 0xa9]);
        assert_eq!(int("9223372036854775808", true), Some(i64::MIN));
        assert_eq!(string(r"'\ud800'"), Err("invalid unicode code point"));
    }
}
