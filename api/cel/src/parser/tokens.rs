//! Looking at tokens, taking them, and telling which one was wrong.

use super::{Lost, Parsed, Parser, starts_operand};
use crate::lexer::{self, Lexeme, Token};

impl Parser<'_> {
    pub(super) fn peek(&self, ahead: usize) -> Lexeme {
        self.lexemes[(self.at + ahead).min(self.lexemes.len() - 1)]
    }

    pub(super) fn token(&self) -> Token {
        self.peek(0).token
    }

    pub(super) fn next(&mut self) -> Lexeme {
        let here = self.peek(0);
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
        here
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let there = matches!(self.token(), Token::Sign(here) if here == sign);
        if there {
            self.next();
        }
        there
    }

    /// Takes `sign`; one token too many before it is passed over, and where `insert` its absence too.
    pub(super) fn expect(&mut self, sign: &'static str, shown: &str, insert: bool) -> Parsed<()> {
        if self.take(sign) {
            return Ok(());
        }
        let here = self.peek(0);
        if self.peek(1).token == Token::Sign(sign) {
            self.syntax(here, &format!("extraneous input {} expecting {shown}", self.shown(here)));
            self.next();
            self.next();
            return Ok(());
        }
        if insert && (here.token == Token::End || (sign == ":" && starts_operand(here.token))) {
            self.syntax(here, &format!("missing {shown} at {}", self.shown(here)));
            return Ok(());
        }
        self.syntax(here, &format!("mismatched input {} expecting {shown}", self.shown(here)));
        Err(Lost)
    }

    pub(super) fn syntax(&mut self, at: Lexeme, message: &str) {
        let mut location = self.issues.source().location(at.start);
        if self.chars.is_empty() {
            location.column = -1;
        }
        self.issues.report_at(location, format!("Syntax error: {message}"));
    }

    pub(super) fn text(&self, lexeme: Lexeme) -> String {
        self.between(lexeme.start, lexeme.end)
    }

    pub(super) fn between(&self, start: u32, end: u32) -> String {
        self.chars[start as usize..end as usize].iter().collect()
    }

    pub(super) fn shown(&self, lexeme: Lexeme) -> String {
        if lexeme.token == Token::End { "'<EOF>'".into() } else { format!("'{}'", lexer::escaped(&self.text(lexeme))) }
    }

    pub(super) fn field_name(&self, lexeme: Lexeme) -> String {
        let text = self.text(lexeme);
        if lexeme.token == Token::EscapedIdent { text.trim_matches('`').to_owned() } else { text }
    }
}
