//! One value under one verb.

use std::fmt::Write as _;

use schema::{Value as Document, go};

use super::numbers;
use crate::value::Value;

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spec {
    pub sharp: bool,
    pub zero: bool,
    pub plus: bool,
    pub minus: bool,
    pub space: bool,
    pub width: Option<usize>,
    pub precision: Option<usize>,
}

impl Spec {
    pub(super) fn print(&self, verb: char, value: &Value<'_>, out: &mut String) {
        match (verb, value.document()) {
            ('T', _) => self.pad(value.type_name(), out),
            ('p', _) => bad(verb, value.type_name(), value.document(), out),
            (_, document) => self.document(verb, document, value.type_name(), out),
        }
    }

    fn document(&self, verb: char, document: &Document, type_name: &str, out: &mut String) {
        match document {
            Document::Null if verb == 'v' => self.pad("<nil>", out),
            Document::Null => drop(write!(out, "%!{verb}(<nil>)")),
            Document::Bool(flag) if "tv".contains(verb) => self.pad(if *flag { "true" } else { "false" }, out),
            Document::String(text) => self.text(verb, text, out),
            Document::Number(number) => match numbers::print(self, verb, number) {
                Some(text) => self.pad_number(&text, out),
                None => bad(verb, type_name, document, out),
            },
            Document::Array(items) => self.list(verb, items, out),
            Document::Object(members) => self.map(verb, members, out),
            Document::Bool(_) => bad(verb, type_name, document, out),
        }
    }

    fn text(&self, verb: char, text: &str, out: &mut String) {
        let cut = |text: &str| self.precision.map_or_else(|| text.to_owned(), |count| text.chars().take(count).collect());
        match verb {
            'v' if self.sharp => self.pad(&go::quote(text), out),
            'v' | 's' => self.pad(&cut(text), out),
            'q' if self.sharp && !text.contains('`') => self.pad(&format!("`{}`", cut(text)), out),
            'q' => self.pad(&go::quote(&cut(text)), out),
            'x' | 'X' => {
                let bytes = &text.as_bytes()[..self.precision.unwrap_or(text.len()).min(text.len())];
                self.pad(&self.hexadecimal(bytes, verb == 'X'), out);
            }
            _ => bad(verb, "string", &Document::String(text.to_owned()), out),
        }
    }

    fn hexadecimal(&self, bytes: &[u8], upper: bool) -> String {
        let mut text = String::new();
        let mark = if upper { "0X" } else { "0x" };
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 && self.space {
                text.push(' ');
            }
            if self.sharp && (at == 0 || self.space) {
                text.push_str(mark);
            }
            let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
        }
        text
    }

    fn list(&self, verb: char, items: &[Document], out: &mut String) {
        let literal = self.sharp && verb == 'v';
        out.push_str(if literal { "[]interface {}{" } else { "[" });
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(if literal { ", " } else { " " });
            }
            self.document(verb, item, go::type_of(item), out);
        }
        out.push(if literal { '}' } else { ']' });
    }

    fn map(&self, verb: char, members: &schema::Map<String, Document>, out: &mut String) {
        let literal = self.sharp && verb == 'v';
        out.push_str(if literal { "map[string]interface {}{" } else { "map[" });
        for (at, (name, member)) in members.iter().enumerate() {
            if at > 0 {
                out.push_str(if literal { ", " } else { " " });
            }
            self.text(verb, name, out);
            out.push(':');
            self.document(verb, member, go::type_of(member), out);
        }
        out.push(if literal { '}' } else { ']' });
    }

    fn pad(&self, text: &str, out: &mut String) {
        let missing = self.width.unwrap_or_default().saturating_sub(text.chars().count());
        let spaces = " ".repeat(missing);
        if self.minus {
            out.push_str(text);
            out.push_str(&spaces);
        } else {
            out.push_str(&spaces);
            out.push_str(text);
        }
    }

    /// Zeros stand behind the sign.
    fn pad_number(&self, text: &str, out: &mut String) {
        let missing = self.width.unwrap_or_default().saturating_sub(text.chars().count());
        if !self.zero || self.minus || missing == 0 || text.ends_with(['f', 'N', '\'']) {
            return self.pad(text, out);
        }
        let digits = text.trim_start_matches(['+', '-', ' ']);
        out.push_str(&text[..text.len() - digits.len()]);
        out.push_str(&"0".repeat(missing));
        out.push_str(digits);
    }
}

/// `%!d(string=x)`
fn bad(verb: char, type_name: &str, document: &Document, out: &mut String) {
    let _ = write!(out, "%!{verb}({type_name}={})", go::plain(document));
}
