//! JSONPath in the dialect of `kubectl`: templates (`{range .items[*]}{.metadata.name}{"\n"}{end}`) and the paths of printer
//! columns and sort keys, with upstream's texts for what cannot be read or found.
//!
//! A path is made of names (`.spec`, `['a.b']`, `.a\.b`), `*`, places (`[0]`, `[-1]`, `[1:3]`, `[::2]`, `[0,2]`), `..` (everything below)
//! and filters (`[?(@.type=="Ready")]`); `$` and `@` are what the template looks at. Comparisons are Go's: a whole number is never
//! equal to a fraction, and texts compare with texts alone.
//!
//! Templates come from people and definitions: how deep ranges nest, how much work a run does and how much it writes is bounded,
//! and nothing here panics.

mod compare;
mod evaluate;
mod nodes;
mod parse;
mod slice;

use std::borrow::Cow;

use crate::{Value, go};
use evaluate::Run;
use nodes::{Node, Part};

/// Bytes that a template may write.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// A template that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

/// What a template does about a name that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It finds nothing.
    Allowed,
    /// `x is not found`
    Refused,
}

/// Something that was found: a part of the document, or a literal of the template.
pub type Found<'a> = Cow<'a, Value>;

impl Template {
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::template(text)? })
    }

    /// The text that a document gives.
    pub fn execute(&self, doc: &Value, missing: Missing) -> Result<String, String> {
        let mut out = String::new();
        for results in self.find(doc, missing)? {
            print_into(&results, &mut out)?;
        }
        Ok(out)
    }

    /// What each text and action of the template finds, in turn.
    pub fn find<'a>(&self, doc: &'a Value, missing: Missing) -> Result<Vec<Vec<Found<'a>>>, String> {
        Run::new(&self.nodes, missing).find(doc)
    }
}

/// Results with spaces between them; maps and lists as JSON.
fn print_into(results: &[Found<'_>], out: &mut String) -> Result<(), String> {
    for (at, result) in results.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(&print(result));
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(format!("the template writes more than {OUTPUT_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

/// One result as a template prints it.
pub fn print(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Array(_) | Value::Object(_) => go::json(value),
        scalar => go::plain(scalar),
    }
}

/// One path, without the braces: `.spec.replicas`, as definitions of custom kinds name columns and fields.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Template);

impl JsonPath {
    pub fn parse(text: &str) -> Result<Self, String> {
        Template::parse(&format!("{{{text}}}")).map(Self)
    }

    /// The first of what the path leads to; none where something on the way is missing.
    pub fn first<'a>(&self, doc: &'a Value) -> Option<Found<'a>> {
        self.0.find(doc, Missing::Allowed).ok()?.into_iter().next()?.into_iter().next()
    }

    /// The names on the way, where the path is nothing but names.
    pub fn names(&self) -> Option<Vec<&str>> {
        let [Node::Action(parts)] = self.0.nodes.as_slice() else { return None };
        let name = |part: &'_ Part| matches!(part, Part::Name(_));
        if !parts.iter().all(name) {
            return None;
        }
        let names = parts.iter().filter_map(|part| if let Part::Name(name) = part { Some(name.as_str()) } else { None });
        Some(names.collect())
    }
}

/// The forms in which people write a path (`metadata.name`, `.metadata.name`, `{metadata.name}`), as a template.
pub fn relaxed(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let inner = path.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(path);
    let inner = inner.strip_prefix('.').filter(|rest| !rest.is_empty()).unwrap_or(inner);
    if inner.is_empty() || inner.contains(['{', '}']) {
        let forms = "'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'";
        return Err(format!("unexpected path string, expected a {forms}"));
    }
    Ok(format!("{{.{inner}}}"))
}

#[cfg(test)]
mod tests;
