//! Tokens: longest match, as the language's published grammar has it; what matches nothing is told and passed over.

use crate::source::Issues;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    End,
    Ident,
    EscapedIdent,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    True,
    False,
    Null,
    In,
    /// An operator or a bracket.
    Sign(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    /// Code-point offsets.
    pub(crate) start: u32,
    pub(crate) end: u32,
}

const SIGNS: &[&str] =
    &["==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%"];

/// All tokens of `text`, ended by [`Token::End`]; characters that start none are reported.
pub(crate) fn tokens(text: &[char], issues: &mut Issues) -> Vec<Lexeme> {
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        if start == text.len() {
            found.push(Lexeme { token: Token::End, start: start as u32, end: start as u32 });
            return found;
        }
        match lexer.next() {
            Ok((token, end)) => {
                found.push(Lexeme { token, start: start as u32, end: end as u32 });
                lexer.at = end;
            }
            Err(stopped) => {
                let end = (stopped + 1).min(text.len());
                let wrong: String = text[start..end].iter().collect();
                issues.report(start as u32, format!("Syntax error: token recognition error at: '{}'", escaped(&wrong)));
                lexer.at = end;
            }
        }
    }
}

/// Line breaks and tabs as a message shows them.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")
}

struct Lexer<'a> {
    text: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, at: usize) -> Option<char> {
        self.text.get(at).copied()
    }

    fn skip_blank(&mut self) {
        loop {
            while matches!(self.peek(self.at), Some('\t' | ' ' | '\r' | '\n' | '\u{c}')) {
                self.at += 1;
            }
            if self.peek(self.at) != Some('/') || self.peek(self.at + 1) != Some('/') {
                return;
            }
            while self.peek(self.at).is_some_and(|c| c != '\n') {
                self.at += 1;
            }
        }
    }

    /// The token here and its end; or where no token could go on.
    fn next(&self) -> Result<(Token, usize), usize> {
        let first = self.text[self.at];
        match first {
            'a'..='z' | 'A'..='Z' | '_' => Ok(self.word()),
            '0'..='9' => Ok(self.number()),
            '.' if self.digit(self.at + 1) => Ok(self.number()),
            '"' | '\'' => self.quoted(self.at, false).map(|end| (Token::String, end)),
            '`' => self.escaped_ident(),
            _ => self.sign(),
        }
    }

    fn digit(&self, at: usize) -> bool {
        self.peek(at).is_some_and(|c| c.is_ascii_digit())
    }

    fn digits(&self, mut at: usize) -> usize {
        while self.digit(at) {
            at += 1;
        }
        at
    }

    fn word(&self) -> (Token, usize) {
        if let Some(string) = self.prefixed_string() {
            return string;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut end = self.at;
        while self.peek(end).is_some_and(is_part) {
            end += 1;
        }
        let word: String = self.text[self.at..end].iter().collect();
        let token = match word.as_str() {
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            "in" => Token::In,
            _ => Token::Ident,
        };
        (token, end)
    }

    /// `r'…'`, `b'…'`, `br'…'`; a broken one is an identifier and what follows.
    fn prefixed_string(&self) -> Option<(Token, usize)> {
        let mut at = self.at;
        let bytes = matches!(self.peek(at), Some('b' | 'B'));
        at += usize::from(bytes);
        let raw = matches!(self.peek(at), Some('r' | 'R'));
        at += usize::from(raw);
        if at == self.at || !matches!(self.peek(at), Some('"' | '\'')) {
            return None;
        }
        let end = self.quoted(at, raw).ok()?;
        Some((if bytes { Token::Bytes } else { Token::String }, end))
    }

    fn quoted(&self, start: usize, raw: bool) -> Result<usize, usize> {
        let quote = self.text[start];
        if self.peek(start + 1) == Some(quote) && self.peek(start + 2) == Some(quote) {
            // An unclosed triple quote is an empty string and a quote that opens the next.
            return Ok(self.long_string(start, quote, raw).unwrap_or(start + 2));
        }
        let mut at = start + 1;
        loop {
            match self.peek(at) {
                Some(c) if c == quote => return Ok(at + 1),
                Some('\\') if !raw => at = self.escape(at)?,
                Some('\n' | '\r') | None => return Err(at),
                Some(_) => at += 1,
            }
        }
    }

    fn long_string(&self, start: usize, quote: char, raw: bool) -> Option<usize> {
        let mut at = start + 3;
        loop {
            match self.peek(at)? {
                c if c == quote && self.peek(at + 1) == Some(quote) && self.peek(at + 2) == Some(quote) => return Some(at + 3),
                '\\' if !raw => at = self.escape(at).ok()?,
                _ => at += 1,
            }
        }
    }

    /// The end of the escape sequence at `at`.
    fn escape(&self, at: usize) -> Result<usize, usize> {
        let hex = |from: usize, count: usize| (from..from + count).find(|at| !self.peek(*at).is_some_and(|c| c.is_ascii_hexdigit()));
        let (wrong, end) = match self.peek(at + 1) {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => (None, at + 2),
            Some('x' | 'X') => (hex(at + 2, 2), at + 4),
            Some('u') => (hex(at + 2, 4), at + 6),
            Some('U') => (hex(at + 2, 8), at + 10),
            Some('0'..='3') => ((at + 2..at + 4).find(|at| !matches!(self.peek(*at), Some('0'..='7'))), at + 4),
            _ => (Some(at + 1), at),
        };
        wrong.map_or(Ok(end), Err)
    }

    fn number(&self) -> (Token, usize) {
        if self.peek(self.at) == Some('0') && self.peek(self.at + 1) == Some('x') {
            let mut end = self.at + 2;
            while self.peek(end).is_some_and(|c| c.is_ascii_hexdigit()) {
                end += 1;
            }
            if end > self.at + 2 {
                return self.maybe_unsigned(end);
            }
        }
        let whole = self.digits(self.at);
        let fraction = if self.peek(whole) == Some('.') && self.digit(whole + 1) { self.digits(whole + 1) } else { whole };
        let end = self.exponent(fraction).unwrap_or(fraction);
        if end > whole { (Token::Float, end) } else { self.maybe_unsigned(end) }
    }

    fn exponent(&self, at: usize) -> Option<usize> {
        let sign = matches!(self.peek(at)?, 'e' | 'E').then_some(at + 1)?;
        let from = if matches!(self.peek(sign), Some('+' | '-')) { sign + 1 } else { sign };
        self.digit(from).then(|| self.digits(from))
    }

    fn maybe_unsigned(&self, end: usize) -> (Token, usize) {
        if matches!(self.peek(end), Some('u' | 'U')) { (Token::Uint, end + 1) } else { (Token::Int, end) }
    }

    fn escaped_ident(&self) -> Result<(Token, usize), usize> {
        let mut at = self.at + 1;
        while self.peek(at).is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ')) {
            at += 1;
        }
        if at > self.at + 1 && self.peek(at) == Some('`') { Ok((Token::EscapedIdent, at + 1)) } else { Err(at) }
    }

    fn sign(&self) -> Result<(Token, usize), usize> {
        let starts = |sign: &&&str| sign.chars().enumerate().all(|(at, c)| self.peek(self.at + at) == Some(c));
        let half_of_two = matches!(self.text[self.at], '=' | '&' | '|');
        let found = SIGNS.iter().find(starts).map(|sign| (Token::Sign(sign), self.at + sign.len()));
        found.ok_or(if half_of_two { self.at + 1 } else { self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    #[test]
    fn tokens_are_the_longest_that_match() {
        for (text, want) in [
            ("1.5e3 1..2 .5", vec![Token::Float, Token::Int, Token::Sign("."), Token::Float, Token::Float]),
            ("r'\\d' br\"x\" b'''a\n'''", vec![Token::String, Token::Bytes, Token::Bytes]),
            ("0x1Fu 0x 7U", vec![Token::Uint, Token::Int, Token::Ident, Token::Uint]),
            ("a<=b // end", vec![Token::Ident, Token::Sign("<="), Token::Ident]),
        ] {
            let chars: Vec<char> = text.chars().collect();
            let mut issues = Issues::new(Source::new(text));
            let got: Vec<Token> = tokens(&chars, &mut issues).iter().map(|lexeme| lexeme.token).collect();
            assert_eq!(got[..got.len() - 1], want, "{text}");
            assert!(issues.is_empty(), "{issues}");
        }
    }
}
