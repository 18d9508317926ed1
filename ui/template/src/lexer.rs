//! A template's text as tokens. An error is the last token: the parser tells it where it meets it.

use schema::go;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub sort: TokenSort,
    pub text: String,
    /// Byte offset.
    pub place: usize,
    /// From 1.
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenSort {
    Error,
    End,
    Text,
    Open,
    Close,
    Space,
    Pipe,
    OpenParen,
    CloseParen,
    Assign,
    Declare,
    /// Another printable character, such as a comma.
    Char,
    CharConstant,
    Number,
    Quoted,
    Raw,
    Bool,
    Nil,
    Dot,
    Field,
    Variable,
    Name,
    Keyword,
}

const KEYWORDS: &[&str] = &["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];
const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// All tokens; the last is an end or an error.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, start: 0, line: 1, parens: 0, tokens: Vec::new() };
    if let Err(why) = lexer.run() {
        lexer.tokens.push(Token { sort: TokenSort::Error, text: why, place: lexer.start, line: lexer.line });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the token begins, and its line.
    start: usize,
    line: usize,
    parens: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Leaves out what was read.
    fn ignore(&mut self) {
        self.line += self.text[self.start..self.at].matches('\n').count();
        self.start = self.at;
    }

    fn emit(&mut self, sort: TokenSort) {
        let text = self.text[self.start..self.at].to_owned();
        self.tokens.push(Token { sort, text, place: self.start, line: self.line });
        self.ignore();
    }

    fn skip(&mut self, is_it: impl Fn(char) -> bool) {
        self.at += self.rest().find(|c| !is_it(c)).unwrap_or(self.rest().len());
    }

    fn run(&mut self) -> Result<(), String> {
        while self.outside() {
            self.inside()?;
        }
        self.emit(TokenSort::End);
        Ok(())
    }

    /// Text up to an action; false at the end.
    fn outside(&mut self) -> bool {
        let length = self.rest().find(OPEN);
        let text = &self.rest()[..length.unwrap_or(self.rest().len())];
        let trims = length.is_some_and(|length| has_left_trim(&self.rest()[length + OPEN.len()..]));
        let kept = if trims { text.trim_end_matches(is_space) } else { text };
        self.at += kept.len();
        if !kept.is_empty() {
            self.emit(TokenSort::Text);
        }
        self.at += text.len() - kept.len();
        self.ignore();
        length.is_some()
    }

    /// From the opening to the closing mark.
    fn inside(&mut self) -> Result<(), String> {
        self.at += OPEN.len();
        let trim = if has_left_trim(self.rest()) { 2 } else { 0 };
        if self.rest()[trim..].starts_with("/*") {
            self.at += trim;
            return self.comment();
        }
        self.emit(TokenSort::Open);
        self.at += trim;
        self.ignore();
        self.parens = 0;
        loop {
            if let Some((space, trims)) = self.closing() {
                if self.parens > 0 {
                    return Err("unclosed left paren".into());
                }
                self.close(space, trims);
                return Ok(());
            }
            self.token()?;
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        self.ignore();
        let length = self.rest().find("*/").ok_or("unclosed comment")?;
        self.at += length + 2;
        let (space, trims) = self.closing().ok_or("comment ends before closing delimiter")?;
        self.at += space + CLOSE.len();
        if trims {
            self.skip(is_space);
        }
        self.ignore();
        Ok(())
    }

    /// How long the trim mark before a closing mark is, and whether it is there.
    fn closing(&self) -> Option<(usize, bool)> {
        let mut chars = self.rest().chars();
        if chars.next().is_some_and(is_space) && chars.next() == Some('-') && self.rest()[2..].starts_with(CLOSE) {
            return Some((2, true));
        }
        self.rest().starts_with(CLOSE).then_some((0, false))
    }

    fn close(&mut self, space: usize, trims: bool) {
        self.at += space;
        self.ignore();
        self.at += CLOSE.len();
        self.emit(TokenSort::Close);
        if trims {
            self.skip(is_space);
            self.ignore();
        }
    }

    fn token(&mut self) -> Result<(), String> {
        let c = self.peek().ok_or("unclosed action")?;
        let one = |lexer: &mut Self, sort| {
            lexer.at += 1;
            lexer.emit(sort);
        };
        match c {
            c if is_space(c) => self.space(),
            '=' => one(self, TokenSort::Assign),
            ':' if self.rest().starts_with(":=") => {
                self.at += 2;
                self.emit(TokenSort::Declare);
            }
            ':' => return Err("expected :=".into()),
            '|' => one(self, TokenSort::Pipe),
            '"' => self.quoted('"', TokenSort::Quoted, "unterminated quoted string")?,
            '\'' => self.quoted('\'', TokenSort::CharConstant, "unterminated character constant")?,
            '`' => self.raw()?,
            '$' => self.field(TokenSort::Variable)?,
            '.' if !self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => self.field(TokenSort::Field)?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            c if is_word(c) => self.word()?,
            '(' => {
                self.parens += 1;
                one(self, TokenSort::OpenParen);
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                one(self, TokenSort::CloseParen);
            }
            c if c.is_ascii() && go::is_print(c) => one(self, TokenSort::Char),
            c => return Err(format!("unrecognized character in action: {}", go::code_point(c))),
        }
        Ok(())
    }

    /// White space up to the next token, or up to a trim mark.
    fn space(&mut self) {
        while self.peek().is_some_and(is_space) && self.closing().is_none() {
            self.at += 1;
        }
        self.emit(TokenSort::Space);
    }

    fn quoted(&mut self, quote: char, sort: TokenSort, unterminated: &str) -> Result<(), String> {
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => break,
                '\\' if chars.next().is_none_or(|(_, c)| c == '\n') => break,
                c if c == quote => {
                    self.at += at + 1;
                    self.emit(sort);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(unterminated.into())
    }

    fn raw(&mut self) -> Result<(), String> {
        let length = self.rest()[1..].find('`').ok_or("unterminated raw quoted string")?;
        self.at += length + 2;
        self.emit(TokenSort::Raw);
        Ok(())
    }

    fn field(&mut self, sort: TokenSort) -> Result<(), String> {
        self.at += 1;
        if self.ends() && sort == TokenSort::Field {
            self.emit(TokenSort::Dot);
            return Ok(());
        }
        self.skip(is_word);
        self.word_ends()?;
        self.emit(sort);
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        self.skip(is_word);
        let word = &self.text[self.start..self.at];
        self.word_ends()?;
        self.emit(match word {
            word if KEYWORDS.contains(&word) => TokenSort::Keyword,
            "true" | "false" => TokenSort::Bool,
            "nil" => TokenSort::Nil,
            _ => TokenSort::Name,
        });
        Ok(())
    }

    fn word_ends(&self) -> Result<(), String> {
        match self.peek() {
            Some(c) if !self.ends() => Err(format!("bad character {}", go::code_point(c))),
            _ => Ok(()),
        }
    }

    /// Whether a word may end here.
    fn ends(&self) -> bool {
        self.peek().is_none_or(|c| is_space(c) || ".,|:()".contains(c)) || self.rest().starts_with(CLOSE)
    }

    fn number(&mut self) -> Result<(), String> {
        self.skip(|c| c == '+' || c == '-' || c == '.' || is_word(c));
        // A sign stands at the front or after an exponent alone.
        let text = &self.text[self.start..self.at];
        let is_stray = |at: usize| at > 0 && !text[..at].ends_with(['e', 'E', 'p', 'P']);
        if text.match_indices(['+', '-']).any(|(at, _)| is_stray(at)) || !text.contains(|c: char| c.is_ascii_digit()) {
            return Err(format!("bad number syntax: {}", go::quote(text)));
        }
        self.emit(TokenSort::Number);
        Ok(())
    }
}

/// `- ` after an opening mark.
fn has_left_trim(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
