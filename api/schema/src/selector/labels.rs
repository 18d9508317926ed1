//! The text form of label selectors.

use std::collections::BTreeSet;

use super::{Op, Requirement};
use crate::names;

/// One word of a selector. `in` and `notin` are words of the language only where an operator may stand.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    Word,
    Symbol,
    /// A run of special characters that is no symbol.
    Garbage,
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        let token = parser.peek();
        if token.kind == Kind::End {
            return Ok(requirements);
        }
        if token.kind != Kind::Word && !token.is("!") {
            return Err(format!("found '{}', expected: !, identifier, or 'end of string'", token.text));
        }
        requirements.push(parser.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?);
        let token = parser.next();
        if token.kind == Kind::End {
            return Ok(requirements);
        }
        if !token.is(",") {
            return Err(format!("found '{}', expected: ',' or 'end of string'", token.text));
        }
        let token = parser.peek();
        if token.kind != Kind::Word && !token.is("!") {
            return Err(format!("found '{}', expected: identifier after ','", token.text));
        }
    }
}

impl Token {
    fn is(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    fn ends_requirement(&self) -> bool {
        self.kind == Kind::End || self.is(",")
    }
}

fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        // Upstream's scanner takes a NUL byte for the end.
        if rest.is_empty() || rest.starts_with('\0') {
            tokens.push(Token { kind: Kind::End, text: String::new() });
            return tokens;
        }
        let token = if rest.starts_with(is_special) { symbol(rest) } else { word(rest) };
        rest = &rest[token.1..];
        tokens.push(token.0);
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn word(rest: &str) -> (Token, usize) {
    let end = rest.find(|c| is_special(c) || matches!(c, ' ' | '\t' | '\r' | '\n' | '\0')).unwrap_or(rest.len());
    let consumed = end + usize::from(rest[end..].starts_with('\0'));
    (Token { kind: Kind::Word, text: rest[..end].to_owned() }, consumed)
}

/// The longest known symbol at the front.
fn symbol(rest: &str) -> (Token, usize) {
    let known = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"].into_iter().find(|symbol| rest.starts_with(symbol));
    match known {
        Some(symbol) => (Token { kind: Kind::Symbol, text: symbol.to_owned() }, symbol.len()),
        None => (Token { kind: Kind::Garbage, text: rest[..1].to_owned() }, 1),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token.is("!");
        if negated {
            token = self.next();
        }
        if token.kind != Kind::Word {
            return Err(format!("found '{}', expected: identifier", token.text));
        }
        let key = token.text;
        check_key(&key, "<nil>")?;
        if negated {
            return requirement(key, Op::DoesNotExist, Some(Vec::new()));
        }
        if self.peek().ends_requirement() {
            return requirement(key, Op::Exists, Some(Vec::new()));
        }
        let op = self.operator()?;
        let values = match op {
            Op::In | Op::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        requirement(key, op, Some(values))
    }

    fn operator(&mut self) -> Result<Op, String> {
        let token = self.next();
        Ok(match (token.kind, token.text.as_str()) {
            (Kind::Word, "in") => Op::In,
            (Kind::Word, "notin") => Op::NotIn,
            (Kind::Symbol, "=") => Op::Equals,
            (Kind::Symbol, "==") => Op::DoubleEquals,
            (Kind::Symbol, "!=") => Op::NotEquals,
            (Kind::Symbol, ">") => Op::GreaterThan,
            (Kind::Symbol, "<") => Op::LessThan,
            _ => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", token.text)),
        })
    }

    fn exact_value(&mut self) -> Result<Vec<String>, String> {
        if self.peek().ends_requirement() {
            return Ok(vec![String::new()]);
        }
        let token = self.next();
        match token.kind {
            Kind::Word => Ok(vec![token.text]),
            _ => Err(format!("found '{}', expected: identifier", token.text)),
        }
    }

    /// `(a,b)`; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if !open.is("(") {
            return Err(format!("found '{}' expected: '('", open.text));
        }
        let first = self.peek().clone();
        if first.is(")") {
            self.next();
            return Ok(vec![String::new()]);
        }
        if first.kind != Kind::Word && !first.is(",") {
            return Err(format!("found '{}', expected: ',', ')' or identifier", first.text));
        }
        let values = self.list()?;
        let close = self.next();
        if !close.is(")") {
            return Err(format!("found '{}', expected: ')'", first.text));
        }
        Ok(values.into_iter().collect())
    }

    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            let token = self.next();
            if token.kind == Kind::Word {
                values.insert(token.text);
                let after = self.peek();
                if after.is(")") {
                    return Ok(values);
                }
                if !after.is(",") {
                    return Err(format!("found '{}', expected: ',' or ')'", after.text));
                }
            } else if token.is(",") {
                if values.is_empty() || self.peek().is(",") || self.peek().is(")") {
                    values.insert(String::new());
                }
                if self.peek().is(")") {
                    return Ok(values);
                }
            } else {
                return Err(format!("found '{}', expected: ',', or identifier", token.text));
            }
        }
    }
}

fn check_key(key: &str, path: &str) -> Result<(), String> {
    let wrong = names::is_qualified_name(key);
    if wrong.is_empty() { Ok(()) } else { Err(format!("{path}: Invalid value: {key:?}: {}", wrong.join("; "))) }
}

/// A checked requirement; no values at all print as `null`, an empty list as `[]`.
pub(super) fn requirement(key: String, op: Op, values: Option<Vec<String>>) -> Result<Requirement, String> {
    let mut errors = Vec::new();
    errors.extend(check_key(&key, "key").err());
    let list = values.as_deref().unwrap_or_default();
    let printed = || crate::Value::from(values.clone()).to_string();
    let mut must = |right: bool, text: &str| {
        if !right {
            errors.push(format!("values: Invalid value: {}: {text}", printed()));
        }
    };
    match op {
        Op::In | Op::NotIn => must(!list.is_empty(), "for 'in', 'notin' operators, values set can't be empty"),
        Op::Equals | Op::DoubleEquals | Op::NotEquals => must(list.len() == 1, "exact-match compatibility requires one single value"),
        Op::Exists | Op::DoesNotExist => must(list.is_empty(), "values set must be empty for exists and does not exist"),
        Op::GreaterThan | Op::LessThan => {
            must(list.len() == 1, "for 'Gt', 'Lt' operators, exactly one value is required");
            let odd = list.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err());
            errors.extend(odd.map(|(at, value)| {
                format!("values[{at}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
            }));
        }
    }
    for (at, value) in list.iter().enumerate() {
        let wrong = names::is_label_value(value);
        if !wrong.is_empty() {
            errors.push(format!("values[{at}][{key}]: Invalid value: {value:?}: {}", wrong.join("; ")));
        }
    }
    match errors.as_slice() {
        [] => Ok(Requirement { key, op, values: values.unwrap_or_default() }),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", distinct(many).join(", "))),
    }
}

/// Upstream prints an aggregate's equal messages once.
fn distinct(texts: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.iter().filter(|text| seen.insert(*text)).cloned().collect()
}
