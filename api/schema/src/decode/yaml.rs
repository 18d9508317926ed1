//! YAML to JSON values as sigs.k8s.io/yaml does it: YAML 1.1 words for booleans (also as keys), octals, merge keys,
//! keys of any scalar type. Aliases are expanded, within a bound.

mod scalar;
mod words;

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag};

use super::source::too_deep;
use super::{DEPTH_MAX, DecodeError, depth_of};
use crate::{Map, Value};

/// Nodes that aliases may add to a document.
const ALIASED_NODES_MAX: usize = 100_000;

pub(super) struct Document {
    pub(super) value: Value,
    /// Upstream's sentence on the members given twice; of each the last one counts.
    pub(super) duplicates: Option<String>,
}

/// The first document of a stream; an empty stream is null.
pub(super) fn document(bytes: &[u8]) -> Result<Document, DecodeError> {
    let text = text_of(bytes)?;
    let first = |text| Ok(Reader::new(text).document()?.unwrap_or(Document { value: Value::Null, duplicates: None }));
    match words::whole_before_bracket(text) {
        Some(head) => first(head),
        None => first(text),
    }
}

/// Every document of a stream.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, DecodeError> {
    let mut reader = Reader::new(text);
    std::iter::from_fn(|| reader.document().transpose()).collect()
}

pub(super) fn plain_scalar(text: &str) -> Result<Value, DecodeError> {
    scalar::plain(text)
}

fn text_of(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Syntax("yaml: invalid UTF-8 text".into()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

type Events<'a> = Parser<'a, StrInput<'a>>;

struct Reader<'a> {
    events: Events<'a>,
    text: &'a str,
    /// How many brackets are open.
    flow_depth: usize,
    anchors: HashMap<usize, (Value, usize)>,
    aliased_nodes: usize,
    nodes: usize,
    depth: usize,
    duplicates: Vec<String>,
}

/// A key of a mapping, before it is a JSON name.
enum Key {
    Merge,
    Name(String),
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let events = Parser::new_from_str(text);
        Self { events, text, flow_depth: 0, anchors: HashMap::new(), aliased_nodes: 0, nodes: 0, depth: 0, duplicates: Vec::new() }
    }

    fn next(&mut self) -> Result<(Event<'a>, usize), DecodeError> {
        match self.events.next() {
            None => Ok((Event::StreamEnd, 0)),
            Some(Ok((event, span))) => {
                self.refuse_tabs(&event, &span)?;
                Ok((event, span.start.line()))
            }
            Some(Err(error)) => Err(words::of(&error, self.text)),
        }
    }

    /// Outside of brackets a tab may not indent anything: the original finds no token there.
    fn refuse_tabs(&mut self, event: &Event<'_>, span: &Span) -> Result<(), DecodeError> {
        let starts = match event {
            Event::SequenceEnd | Event::MappingEnd => {
                self.flow_depth = self.flow_depth.saturating_sub(1);
                return Ok(());
            }
            Event::SequenceStart(style, ..) | Event::MappingStart(style, ..) => Some(*style),
            Event::Scalar(..) | Event::Alias(_) => None,
            _ => return Ok(()),
        };
        let refused = self.flow_depth == 0 && words::tab_indents(self.text, span);
        // What lies inside of brackets has brackets itself.
        self.flow_depth += usize::from(self.flow_depth > 0 || starts == Some(StructureStyle::Flow)) * usize::from(starts.is_some());
        if refused { Err(words::tab(span)) } else { Ok(()) }
    }

    fn document(&mut self) -> Result<Option<Document>, DecodeError> {
        self.anchors.clear();
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (event, _) => {
                    let value = self.node(event)?;
                    let errors = std::mem::take(&mut self.duplicates);
                    let duplicates = (!errors.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", errors.join("\n  ")));
                    return Ok(Some(Document { value, duplicates }));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>) -> Result<Value, DecodeError> {
        let before = self.nodes;
        self.nodes += 1;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar_value(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.sequence()?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping()?, anchor),
            Event::Alias(id) => return self.alias(id),
            other => return Err(DecodeError::Syntax(format!("yaml: unexpected {other:?}"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize) -> Result<Value, DecodeError> {
        let unknown = || DecodeError::Syntax("yaml: anchor contains itself".into());
        let (value, nodes) = self.anchors.get(&id).ok_or_else(unknown)?;
        self.aliased_nodes += nodes;
        self.nodes += nodes;
        if self.aliased_nodes > ALIASED_NODES_MAX {
            return Err(DecodeError::Limit("yaml: document contains excessive aliasing".into()));
        }
        if self.depth + depth_of(value) > DEPTH_MAX {
            return Err(too_deep());
        }
        Ok(value.clone())
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
    }

    fn sequence(&mut self) -> Result<Value, DecodeError> {
        self.enter()?;
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => break,
                (event, _) => elements.push(self.node(event)?),
            }
        }
        self.depth -= 1;
        Ok(Value::Array(elements))
    }

    fn mapping(&mut self) -> Result<Value, DecodeError> {
        self.enter()?;
        let mut members = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, line) = match self.next()? {
                (Event::MappingEnd, _) => break,
                event => event,
            };
            let key = self.key(event)?;
            let (event, _) = self.next()?;
            let value = self.node(event)?;
            match key {
                Ok(Key::Merge) => merged.push(value),
                Ok(Key::Name(name)) => {
                    if members.contains_key(&name) {
                        self.duplicates.push(format!("line {line}: key {name:?} already set in map"));
                    }
                    members.insert(name, value);
                }
                Err(bad) => return Err(unsupported_key(&bad, &value)),
            }
        }
        self.depth -= 1;
        for value in merged {
            merge(&mut members, value)?;
        }
        Ok(Value::Object(members))
    }

    /// A key as JSON names it; `Err` holds one that JSON cannot name.
    fn key(&mut self, event: Event<'a>) -> Result<Result<Key, Value>, DecodeError> {
        let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
        let value = self.node(event)?;
        Ok(match value {
            _ if is_merge => Ok(Key::Merge),
            Value::String(name) => Ok(Key::Name(name)),
            Value::Bool(flag) => Ok(Key::Name(flag.to_string())),
            Value::Number(number) => Ok(Key::Name(number.to_string())),
            other => Err(other),
        })
    }
}

/// `<<`: members that the mapping itself does not have.
fn merge(members: &mut Map<String, Value>, value: Value) -> Result<(), DecodeError> {
    match value {
        Value::Object(more) => {
            for (name, value) in more {
                members.entry(name).or_insert(value);
            }
            Ok(())
        }
        Value::Array(maps) if maps.iter().all(Value::is_object) => maps.into_iter().try_for_each(|map| merge(members, map)),
        _ => Err(DecodeError::Syntax("yaml: map merge requires map or sequence of maps as the value".into())),
    }
}

fn unsupported_key(key: &Value, value: &Value) -> DecodeError {
    let (kind, key) = match key {
        Value::Null => ("%!s(<nil>)".to_owned(), "<nil>".to_owned()),
        other => ("map or list".to_owned(), other.to_string()),
    };
    DecodeError::Syntax(format!("unsupported map key of type: {kind}, key: {key}, value: {value}"))
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, DecodeError> {
    let tag = tag.map(|tag| match tag.suffix_in_namespace("tag:yaml.org,2002:") {
        Some(name) => name.into_owned(),
        None => "str".to_owned(),
    });
    match (tag.as_deref(), style) {
        (None, ScalarStyle::Plain) => scalar::plain(text),
        (None, _) => Ok(text.into()),
        (Some(tag), _) => scalar::tagged(tag, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn value(text: &str) -> Value {
        document(text.as_bytes()).expect(text).value
    }

    #[test]
    fn words_of_yaml_1_1_are_booleans_also_as_keys() {
        assert_eq!(
            value("a: yes\nn: on\n'off': 0o17\ne: 017\nf: 1_000\ng: '1'\nh: 1e3\ni: 08\n"),
            json!({"a": true, "false": true, "off": 15, "e": 15, "f": 1000, "g": "1", "h": 1000, "i": 8})
        );
    }

    #[test]
    fn merge_keys_do_not_override() {
        assert_eq!(value("base: &b {x: 1, k: 2}\nd:\n  <<: *b\n  k: 3\n"), json!({"base": {"x": 1, "k": 2}, "d": {"x": 1, "k": 3}}));
    }

    #[test]
    fn a_bomb_of_aliases_and_a_tower_of_lists_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(",");
            bomb += &format!("a{level}: &a{level} [{refs}]\n");
        }
        assert!(matches!(document(bomb.as_bytes()), Err(DecodeError::Limit(_))));
        assert!(document("[".repeat(5000).as_bytes()).is_err());
        assert!(document("- ".repeat(5000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_as_the_original_says_it() {
        for (text, why) in [
            ("{", "line 1: did not find expected node content"),
            ("a: [1, 2", "line 1: did not find expected ',' or ']'"),
            ("b: 1\na: {c: 1\n", "line 1: did not find expected ',' or '}'"),
            ("a: b: c", "mapping values are not allowed in this context"),
            ("b: 1\na: b: c", "line 2: mapping values are not allowed in this context"),
            ("\ttab: x", "found character that cannot start any token"),
            ("a:\n\tb: x", "line 2: found character that cannot start any token"),
            ("a: @x", "found character that cannot start any token"),
            ("a: 'x", "line 1: found unexpected end of stream"),
            ("a: 1\nb", "line 2: could not find expected ':'"),
            ("a: 1\n}", "line 1: did not find expected key"),
            ("a: *b", "unknown anchor 'b' referenced"),
            (r#"a: "\ud800""#, "found invalid Unicode character escape code"),
            (r#"a: "\q""#, "found unknown escape character"),
        ] {
            let error = document(text.as_bytes()).map(|one| one.value).expect_err(text);
            assert_eq!(error.to_string(), format!("yaml: {why}"), "{text:?}");
        }
        assert_eq!(value("a:\tb\nc: [\t1,\n\t2]\n"), json!({"a": "b", "c": [1, 2]}), "tabs elsewhere are white space");
        assert_eq!(value("{\"a\": 1}}"), json!({"a": 1}), "what stands behind a document is not read");
    }

    #[test]
    fn documents_of_a_stream() {
        let all = documents("# head\n---\na: 1\n---\n---\nb: 2\n...\n").expect("a stream");
        let values: Vec<Value> = all.into_iter().map(|one| one.value).filter(|value| !value.is_null()).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    }
}
