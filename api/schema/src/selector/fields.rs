//! Field selectors.

use std::fmt;

use super::SelectorError;

/// `field=value,other!=value`; which fields a kind supports is the kind's affair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSelector {
    /// In the order of their texts.
    pub terms: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldTerm {
    pub field: String,
    /// true: must be equal, false: must differ.
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        let mut parts = split(text);
        parts.sort_unstable();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            terms.push(term(part, text).map_err(SelectorError)?);
        }
        // Upstream drops a term that names neither a field nor a value.
        terms.retain(|term| !(term.field.is_empty() && term.value.is_empty()));
        Ok(Self { terms })
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// `lookup` gives a field's value; absent is `""`, an absent boolean `"false"`.
    pub fn matches(&self, lookup: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|term| (lookup(&term.field) == term.value) == term.equal)
    }

    /// The value that `field` must equal, if one term says so (`metadata.name=x` turns a list into a get).
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let sign = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{sign}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

/// Commas separate terms, unless a backslash stands before them.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn term(part: &str, whole: &str) -> Result<FieldTerm, String> {
    let found = part.char_indices().find_map(|(at, _)| {
        let rest = &part[at..];
        ["!=", "==", "="].into_iter().find(|sign| rest.starts_with(sign)).map(|sign| (at, sign))
    });
    let Some((at, sign)) = found else {
        return Err(format!("invalid selector: '{whole}'; can't understand '{part}'"));
    };
    let value = unescape(&part[at + sign.len()..])?;
    Ok(FieldTerm { field: part[..at].to_owned(), equal: sign != "!=", value })
}

fn unescape(text: &str) -> Result<String, String> {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(c @ ('\\' | ',' | '=')) => value.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".into()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(c))),
            c => value.push(c),
        }
    }
    Ok(value)
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}
