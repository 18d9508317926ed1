//! Running a template over a document.
//!
//! `{range}` opens a loop: what follows is run once for each thing found, up to its `{end}`; without an end, up to the end of the
//! template, and then once more for the document itself. That is upstream's way, and its texts are told accordingly.

use std::borrow::Cow;

use super::nodes::{Filter, Node, Part};
use super::slice::slices;
use super::{Found, Missing, compare};
use crate::{Value, go};

/// Things that a run may touch: some seconds of work, and many times what `..` touches in a list of 50,000 pods.
const STEPS_MAX: usize = 100_000_000;
/// Things that may be found at once.
const FOUND_MAX: usize = 4_000_000;
/// Loops within loops.
const RANGES_MAX: usize = 64;

pub(super) struct Run<'t> {
    nodes: &'t [Node],
    missing: Missing,
    steps: usize,
    /// Loops that run.
    depth: usize,
    /// A `{range}` was met, and its loop has not begun.
    begins: bool,
    /// An `{end}` was met, and its loop has not ended.
    ends: bool,
    /// Where the latest loop ended.
    last_end: Option<usize>,
}

/// Why something was not found.
pub(super) struct Failure {
    pub why: String,
    /// Upstream hands on what it looked at: to a filter that asks whether something is there, that is something.
    pub left_over: bool,
}

pub(super) type Outcome<'a> = Result<Vec<Found<'a>>, Failure>;

impl Failure {
    pub(super) fn bare(why: impl Into<String>) -> Self {
        Self { why: why.into(), left_over: false }
    }

    pub(super) fn left(why: impl Into<String>) -> Self {
        Self { why: why.into(), left_over: true }
    }
}

impl<'t> Run<'t> {
    pub(super) fn new(nodes: &'t [Node], missing: Missing) -> Self {
        Self { nodes, missing, steps: 0, depth: 0, begins: false, ends: false, last_end: None }
    }

    pub(super) fn find<'a>(mut self, doc: &'a Value) -> Result<Vec<Vec<Found<'a>>>, String> {
        self.block(0, &Cow::Borrowed(doc)).map_err(|failure| failure.why)
    }

    /// From a node to the end of the template, or of the loop that this is the body of.
    fn block<'a>(&mut self, from: usize, current: &Found<'a>) -> Result<Vec<Vec<Found<'a>>>, Failure> {
        let mut all = Vec::new();
        let mut at = from;
        while let Some(node) = self.nodes.get(at) {
            let results = self.node(node, current)?;
            if std::mem::take(&mut self.ends) {
                self.last_end = Some(at);
                return Ok(all);
            }
            if std::mem::take(&mut self.begins) {
                all.extend(self.range(at + 1, &results)?);
                at = self.last_end.filter(|end| *end > at).unwrap_or(at);
            } else {
                all.push(results);
            }
            at += 1;
        }
        Ok(all)
    }

    fn range<'a>(&mut self, body: usize, over: &[Found<'a>]) -> Result<Vec<Vec<Found<'a>>>, Failure> {
        if self.depth == RANGES_MAX {
            return Err(Failure::bare(format!("more than {RANGES_MAX} ranges within each other")));
        }
        self.depth += 1;
        let mut all = Vec::new();
        for value in over {
            all.extend(self.block(body, value)?);
        }
        if over.is_empty() {
            // Only to learn where the loop ends.
            self.block(body, &Cow::Owned(Value::Null))?;
        }
        self.depth -= 1;
        Ok(all)
    }

    fn node<'a>(&mut self, node: &'t Node, current: &Found<'a>) -> Outcome<'a> {
        self.count(1)?;
        match node {
            Node::Text(text) => Ok(vec![Cow::Owned(text.as_str().into())]),
            Node::Action(parts) => self.parts(parts, vec![current.clone()]),
        }
    }

    fn count(&mut self, steps: usize) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX { Err(Failure::bare(format!("the template takes more than {STEPS_MAX} steps"))) } else { Ok(()) }
    }

    /// What each of `from` leads to, one after the other.
    pub(super) fn each<'a, 'f>(
        &mut self,
        from: impl IntoIterator<Item = &'f Found<'a>>,
        mut lead: impl FnMut(&mut Self, &Found<'a>) -> Outcome<'a>,
    ) -> Outcome<'a>
    where
        'a: 'f,
    {
        let mut all = Vec::new();
        for value in from {
            let found = lead(self, value)?;
            self.count(found.len() + 1)?;
            all.extend(found);
            if all.len() > FOUND_MAX {
                self.steps = STEPS_MAX;
                return Err(Failure::bare(format!("the template finds more than {FOUND_MAX} things at once")));
            }
        }
        Ok(all)
    }

    fn parts<'a>(&mut self, parts: &'t [Part], from: Vec<Found<'a>>) -> Outcome<'a> {
        parts.iter().try_fold(from, |from, part| {
            let found = self.part(part, from)?;
            self.count(found.len() + 1)?;
            Ok(found)
        })
    }

    fn part<'a>(&mut self, part: &'t Part, from: Vec<Found<'a>>) -> Outcome<'a> {
        let literal = |value: Value| Ok(from.iter().map(|_| Cow::Owned(value.clone())).collect());
        match part {
            Part::Name(name) => self.named(name, &from),
            Part::All => self.each(&from, |_, value| Ok(children(value))),
            Part::Below => self.below(&from),
            Part::Slice(slice) => slices(self, slice, &from),
            Part::Union(each) => self.union(each, &from),
            Part::Filter(filter) => self.filter(filter, &from),
            Part::Text(text) => Ok(vec![Cow::Owned(text.as_str().into())]),
            Part::Int(whole) => literal((*whole).into()),
            Part::Float(float) => literal((*float).into()),
            Part::Bool(flag) => literal((*flag).into()),
            Part::Range => {
                self.begins = true;
                Ok(from)
            }
            Part::End if self.depth == 0 => Err(Failure::bare("not in range, nothing to end")),
            Part::End => {
                self.ends = true;
                Ok(Vec::new())
            }
            Part::Word(word) => Err(Failure::left(format!("unrecognized identifier {word}"))),
        }
    }

    fn named<'a>(&self, name: &str, from: &[Found<'a>]) -> Outcome<'a> {
        let found: Vec<_> = from.iter().filter_map(|value| member(value, name)).collect();
        if found.is_empty() && !from.is_empty() && self.missing == Missing::Refused {
            return Err(Failure::bare(format!("{name} is not found")));
        }
        Ok(found)
    }

    /// What has something below it, each before what is below.
    fn below<'a>(&mut self, from: &[Found<'a>]) -> Outcome<'a> {
        self.each(from, |run, value| run.everything(value))
    }

    fn everything<'a>(&mut self, value: &Found<'a>) -> Outcome<'a> {
        let mut found = Vec::new();
        let mut ahead = vec![value.clone()];
        while let Some(value) = ahead.pop() {
            self.count(1)?;
            match value.as_ref() {
                // Its bytes have nothing below them.
                Value::String(text) if !text.is_empty() => found.push(value),
                Value::Array(_) | Value::Object(_) => {
                    let below = children(&value);
                    if !below.is_empty() {
                        found.push(value);
                        ahead.extend(below.into_iter().rev());
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn union<'a>(&mut self, each: &'t [Vec<Part>], from: &[Found<'a>]) -> Outcome<'a> {
        let mut found = Vec::new();
        for parts in each {
            let one = self.parts(parts, from.to_vec());
            found.extend(one.map_err(|failure| Failure { left_over: !from.is_empty(), ..failure })?);
            if found.len() > FOUND_MAX {
                return Err(Failure::bare(format!("the template finds more than {FOUND_MAX} things at once")));
            }
        }
        Ok(found)
    }

    fn filter<'a>(&mut self, filter: &'t Filter, from: &[Found<'a>]) -> Outcome<'a> {
        let mut kept = Vec::new();
        for value in from {
            if !value.is_array() {
                return Err(Failure::left(format!("{} is not array or slice and cannot be filtered", go::plain(value))));
            }
            for element in children(value) {
                self.count(1)?;
                if self.passes(filter, &element)? {
                    kept.push(element);
                }
            }
        }
        Ok(kept)
    }

    fn passes(&mut self, filter: &'t Filter, element: &Found<'_>) -> Result<bool, Failure> {
        let left = self.parts(&filter.left, vec![element.clone()]);
        let Some((operator, right)) = &filter.compared else {
            // Whether something is there minds no failure, but that of a bound.
            self.count(0)?;
            return Ok(left.map_or_else(|failure| failure.left_over, |found| !found.is_empty()));
        };
        let Some(left) = single(left?)? else { return Ok(false) };
        let Some(right) = single(self.parts(right, vec![element.clone()])?)? else { return Ok(false) };
        compare::holds(&left, operator, &right).map_err(Failure::bare)
    }
}

fn single(found: Vec<Found<'_>>) -> Result<Option<Found<'_>>, Failure> {
    if found.len() > 1 { Err(Failure::left("can only compare one element at a time")) } else { Ok(found.into_iter().next()) }
}

fn member<'a>(value: &Found<'a>, name: &str) -> Option<Found<'a>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        // A literal, which has no members.
        Cow::Owned(_) => None,
    }
}

/// The values of a map or list, the bytes of a text.
pub(super) fn children<'a>(value: &Found<'a>) -> Vec<Found<'a>> {
    match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(members)) => members.values().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::String(text)) => bytes(text),
        Cow::Owned(Value::String(text)) => bytes(text),
        _ => Vec::new(),
    }
}

fn bytes<'a>(text: &str) -> Vec<Found<'a>> {
    text.bytes().map(|byte| Cow::Owned(byte.into())).collect()
}
