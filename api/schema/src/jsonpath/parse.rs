//! Reading templates. Everything is read in one pass without recursion, but for what stands within brackets: that cannot
//! nest, because the first closing bracket ends it.

use super::nodes::{End, Filter, Node, Part, Slice};
use crate::go;

pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut reader = Reader { text, at: 0 };
    let mut nodes = Vec::new();
    loop {
        let plain = reader.take(reader.rest().find('{').unwrap_or(reader.rest().len()));
        if !plain.is_empty() {
            nodes.push(Node::Text(plain.to_owned()));
        }
        if !reader.accept("{") {
            return Ok(nodes);
        }
        nodes.push(Node::Action(reader.action()?));
    }
}

/// The parts of a text that stands within something else.
fn within(text: &str) -> Result<Vec<Part>, String> {
    match template(&format!("{{{text}}}"))?.into_iter().next() {
        Some(Node::Action(parts)) => Ok(parts),
        _ => Ok(Vec::new()),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, length: usize) -> &'a str {
        let taken = &self.rest()[..length];
        self.at += length;
        taken
    }

    fn accept(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    /// Everything up to the closing brace.
    fn action(&mut self) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        loop {
            if self.accept("}") {
                return Ok(parts);
            }
            if self.accept("[?(") {
                parts.push(Part::Filter(self.filter()?));
            } else if self.accept("..") {
                self.below(&mut parts)?;
            } else {
                self.part(&mut parts)?;
            }
        }
    }

    fn below(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        if parts.last() == Some(&Part::Below) {
            return Err("invalid multiple recursive descent".into());
        }
        parts.push(Part::Below);
        if self.peek().is_some_and(is_word) {
            parts.push(self.name());
        }
        Ok(())
    }

    fn part(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        match self.peek() {
            None | Some('\r' | '\n') => return Err("unclosed action".into()),
            Some(' ' | '@' | '$') => self.at += 1,
            Some('[') => self.bracket(parts)?,
            Some(quote @ ('"' | '\'')) => parts.push(self.quoted(quote)?),
            Some('.') => {
                self.at += 1;
                parts.push(self.name());
            }
            Some('+' | '-' | '0'..='9') => parts.push(self.number()?),
            Some(c) if is_word(c) => parts.push(self.word()),
            Some(c) => return Err(format!("unrecognized character in action: {}", go::code_point(c))),
        }
        Ok(())
    }

    /// A name up to what ends it; a backslash keeps the character after it.
    fn name(&mut self) -> Part {
        let mut chars = self.rest().char_indices();
        let mut length = self.rest().len();
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if ends_word(c) {
                length = at;
                break;
            }
        }
        match self.take(length) {
            "*" => Part::All,
            name => Part::Name(name.replace('\\', "")),
        }
    }

    fn word(&mut self) -> Part {
        let length = self.rest().find(ends_word).unwrap_or(self.rest().len());
        match self.take(length) {
            "true" => Part::Bool(true),
            "false" => Part::Bool(false),
            "range" => Part::Range,
            "end" => Part::End,
            word => Part::Word(word.to_owned()),
        }
    }

    fn number(&mut self) -> Result<Part, String> {
        let sign = usize::from(self.rest().starts_with(['+', '-']));
        let digits = &self.rest()[sign..];
        let length = digits.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(digits.len());
        let text = self.take(sign + length);
        if let Ok(whole) = text.parse() {
            return Ok(Part::Int(whole));
        }
        let float = text.parse().ok().filter(|float: &f64| float.is_finite());
        float.map(Part::Float).ok_or_else(|| format!("cannot parse number {text}"))
    }

    fn quoted(&mut self, quote: char) -> Result<Part, String> {
        let line = self.rest().split('\n').next().unwrap_or_default();
        let is_end = |(at, _): &(usize, &str)| *at > 0 && line.as_bytes()[at - 1] != b'\\';
        let (end, _) = line.match_indices(quote).find(is_end).ok_or("unterminated quoted string")?;
        let text = self.take(end + 1);
        let inner = &text[1..end];
        if !inner.contains('\\') {
            return Ok(Part::Text(inner.to_owned()));
        }
        go::unquote(inner, quote).map(Part::Text).ok_or_else(|| format!("unquote string {text} error invalid syntax"))
    }

    fn bracket(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        let length = self.rest().find([']', '\n']).filter(|at| self.rest().as_bytes()[*at] == b']').ok_or("unterminated array")?;
        let text = &self.take(length + 1)[1..length];
        let text = if text == "*" { ":" } else { text };
        if text.contains(',') {
            let each = text.split(',').map(|one| within(&format!("[{}]", one.trim_matches(' '))));
            parts.push(Part::Union(each.collect::<Result<_, _>>()?));
            return Ok(());
        }
        match text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).filter(|name| !name.contains('\'')) {
            Some(name) => parts.extend(within(&format!(".{name}"))?),
            None => parts.push(Part::Slice(slice(text)?)),
        }
        Ok(())
    }

    /// Up to `)]`. Quotes hide a bracket; upstream counts the first pair alone.
    fn filter(&mut self) -> Result<Filter, String> {
        let (mut opened, mut closed) = (None, false);
        let start = self.at;
        loop {
            let c = self.peek().filter(|c| *c != '\n').ok_or("unterminated filter")?;
            let is_escaped = self.text.as_bytes()[self.at - 1] == b'\\';
            self.at += c.len_utf8();
            match c {
                '"' | '\'' if opened.is_none() => opened = Some(c),
                '"' | '\'' => closed |= !is_escaped && opened == Some(c),
                ')' if opened.is_some() == closed => break,
                _ => {}
            }
        }
        let text = &self.text[start..self.at - 1];
        if !self.accept("]") {
            return Err("unclosed array expect ]".into());
        }
        match comparison(text) {
            None => Ok(Filter { left: within(text)?, compared: None }),
            Some((left, operator, right)) => Ok(Filter { left: within(left)?, compared: Some((operator.to_owned(), within(right)?)) }),
        }
    }
}

/// `a == b` in its three pieces. None of them is empty.
fn comparison(text: &str) -> Option<(&str, &str, &str)> {
    let is_sign = |c: char| "!<>=".contains(c);
    let start = text.find(is_sign).filter(|start| *start > 0)?;
    let length = text[start..].find(|c| !is_sign(c)).unwrap_or(text.len() - start);
    // Of signs alone, the last is what is compared with.
    let length = if start + length == text.len() { length - 1 } else { length };
    (length > 0).then(|| (&text[..start], &text[start..start + length], &text[start + length..]))
}

/// `1:3:2`, each of them with or without a number.
fn slice(text: &str) -> Result<Slice, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let looks_right = |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(looks_right) {
        return Err(format!("invalid array index {text}"));
    }
    let start = index(parts[0])?;
    let end = match parts.get(1) {
        None => End::After(start.unwrap_or_default()),
        Some(end) => index(end)?.map_or(End::Open, End::At),
    };
    Ok(Slice { start, end, step: parts.get(2).map_or(Ok(None), |step| index(step))? })
}

fn index(text: &str) -> Result<Option<i64>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("array index {text} is not a number")),
    }
}

fn ends_word(c: char) -> bool {
    " \t\r\n.,[]$@{}".contains(c)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_ascii_digit()
}
