//! Running a template over a document.

use std::fmt::Display;

use schema::Value as Document;

use crate::functions::{self, Function};
use crate::nodes::{Branch, Command, List, Node, Pipe, Place, Sort, Word, WordSort};
use crate::value::Value;
use crate::{Missing, OUTPUT_BYTES_MAX, Template};

/// Nodes that a run may visit.
const STEPS_MAX: usize = 20_000_000;
/// Bodies and templates within each other.
const DEPTH_MAX: usize = 250;

/// Why a list of nodes was left.
enum Stop {
    Break,
    Continue,
    Failure(String),
}

type Done = Result<(), Stop>;

pub(crate) fn run(template: &Template, document: &Document, out: &mut String) -> Result<(), String> {
    let data = Value::within(document).settled();
    let mut run = Run { template, name: &template.name, out, variables: Vec::new(), steps: 0, depth: 0 };
    run.variables.push(("$", data.clone()));
    let root = template.defined.get(&template.name).map(Vec::as_slice).unwrap_or_default();
    match run.list(&data, root) {
        Err(Stop::Failure(why)) => Err(why),
        _ => Ok(()),
    }
}

struct Run<'t, 'o> {
    template: &'t Template,
    /// The template that runs.
    name: &'t str,
    out: &'o mut String,
    variables: Vec<(&'t str, Value<'t>)>,
    steps: usize,
    depth: usize,
}

impl<'t> Run<'t, '_> {
    /// An error with its place and the piece of the template that stands there.
    fn fail<T>(&self, place: Place, piece: &dyn Display, why: &str) -> Result<T, Stop> {
        let before = &self.template.text[..place.min(self.template.text.len())];
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let line = 1 + before.matches('\n').count();
        let (file, name) = (&self.template.name, schema::go::quote(self.name));
        Err(Stop::Failure(format!("template: {file}:{line}:{column}: executing {name} at <{piece}>: {why}")))
    }

    fn list(&mut self, dot: &Value<'t>, list: &'t [Node]) -> Done {
        list.iter().try_for_each(|node| self.node(dot, node))
    }

    fn node(&mut self, dot: &Value<'t>, node: &'t Node) -> Done {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return self.fail(node.place, node, &format!("the template takes more than {STEPS_MAX} steps"));
        }
        match &node.sort {
            Sort::Text(text) => self.write(node, text),
            Sort::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() { self.write(node, &value.printed()) } else { Ok(()) }
            }
            Sort::If(branch) => self.choice(dot, node, branch, false),
            Sort::With(branch) => self.choice(dot, node, branch, true),
            Sort::Range(branch) => self.range(dot, node, branch),
            Sort::Template(name, pipe) => self.call_template(dot, node, name, pipe.as_ref()),
            Sort::Break => Err(Stop::Break),
            Sort::Continue => Err(Stop::Continue),
        }
    }

    fn write(&mut self, node: &Node, text: &str) -> Done {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return self.fail(node.place, node, &format!("the template writes more than {OUTPUT_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// A body, whose variables end with it.
    fn body(&mut self, dot: &Value<'t>, node: &'t Node, list: &'t List) -> Done {
        if self.depth == DEPTH_MAX {
            return self.fail(node.place, node, &format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        let variables = self.variables.len();
        self.depth += 1;
        let done = self.list(dot, list);
        self.depth -= 1;
        self.variables.truncate(variables);
        done
    }

    fn choice(&mut self, dot: &Value<'t>, node: &'t Node, branch: &'t Branch, moves: bool) -> Done {
        let variables = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let done = match value.is_true() {
            true => self.body(if moves { &value } else { dot }, node, &branch.list),
            false => self.body(dot, node, &branch.otherwise),
        };
        self.variables.truncate(variables);
        done
    }

    fn range(&mut self, dot: &Value<'t>, node: &'t Node, branch: &'t Branch) -> Done {
        let variables = self.variables.len();
        let over = self.pipe(dot, &branch.pipe)?;
        let done = match over.document() {
            Document::Array(items) if !items.is_empty() => {
                let each = (0..items.len()).map(|at| (Value::int(at), over.item(at).unwrap_or(Value::MISSING)));
                self.turns(node, branch, each)
            }
            Document::Object(members) if !members.is_empty() => {
                let each = members.keys().map(|name| (Value::text(name.as_str()), over.member(name).unwrap_or(Value::MISSING)));
                self.turns(node, branch, each)
            }
            Document::Number(count) if !count.is_f64() && count.as_i64() != Some(0) => {
                let count = usize::try_from(count.as_i64().unwrap_or_default()).unwrap_or_default();
                self.turns(node, branch, (0..count).map(|at| (Value::int(at), Value::int(at))))
            }
            Document::Null | Document::Array(_) | Document::Object(_) => self.body(dot, node, &branch.otherwise),
            Document::Number(number) if !number.is_f64() => self.body(dot, node, &branch.otherwise),
            _ => self.fail(node.place, node, &format!("range can't iterate over {}", over.printed())),
        };
        self.variables.truncate(variables);
        done
    }

    fn turns(&mut self, node: &'t Node, branch: &'t Branch, each: impl Iterator<Item = (Value<'t>, Value<'t>)>) -> Done {
        for (index, item) in each {
            self.steps += 1;
            match branch.pipe.variables.as_slice() {
                [] => {}
                [one] => self.set(&branch.pipe, one, item.clone()),
                [first, second, ..] => {
                    self.set(&branch.pipe, first, index);
                    self.set(&branch.pipe, second, item.clone());
                }
            }
            match self.body(&item, node, &branch.list) {
                Err(Stop::Break) => break,
                Ok(()) | Err(Stop::Continue) => {}
                failure => return failure,
            }
            if self.steps > STEPS_MAX {
                return self.fail(node.place, node, &format!("the template takes more than {STEPS_MAX} steps"));
            }
        }
        Ok(())
    }

    fn set(&mut self, _: &Pipe, name: &str, value: Value<'t>) {
        if let Some((_, held)) = self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            *held = value;
        }
    }

    fn call_template(&mut self, dot: &Value<'t>, node: &'t Node, name: &'t str, pipe: Option<&'t Pipe>) -> Done {
        let Some(list) = self.template.defined.get(name) else {
            return self.fail(node.place, node, &format!("template {} not defined", schema::go::quote(name)));
        };
        let dot = pipe.map_or(Ok(Value::MISSING), |pipe| self.pipe(dot, pipe))?;
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let caller = std::mem::replace(&mut self.name, name);
        let done = self.body(&dot, node, list);
        (self.variables, self.name) = (variables, caller);
        done
    }

    fn pipe(&mut self, dot: &Value<'t>, pipe: &'t Pipe) -> Result<Value<'t>, Stop> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?.settled());
        }
        let value = value.unwrap_or(Value::MISSING);
        for name in &pipe.variables {
            if pipe.assigns {
                self.set(pipe, name, value.clone());
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// One command. `last` is what the command before it gave.
    fn command(&mut self, dot: &Value<'t>, command: &'t Command, last: Option<Value<'t>>) -> Result<Value<'t>, Stop> {
        self.steps += 1;
        let first = &command.words[0];
        if let WordSort::Function(name) = &first.sort {
            return self.function(dot, name, command.place, command, &command.words[1..], last);
        }
        if command.words.len() > 1 || last.is_some() {
            let why = match &first.sort {
                WordSort::Field(names) | WordSort::Variable(_, names) | WordSort::Chain(_, names) if !names.is_empty() => {
                    format!("{} is not a method but has arguments", names[names.len() - 1])
                }
                _ => format!("can't give argument to non-function {first}"),
            };
            return self.fail(first.place, first, &why);
        }
        if matches!(first.sort, WordSort::Nil) {
            return self.fail(first.place, first, "nil is not a command");
        }
        self.word(dot, first)
    }

    fn word(&mut self, dot: &Value<'t>, word: &'t Word) -> Result<Value<'t>, Stop> {
        match &word.sort {
            WordSort::Dot => Ok(dot.clone()),
            WordSort::Nil => Ok(Value::NIL),
            WordSort::Bool(flag) => Ok(Value::of((*flag).into())),
            WordSort::Number(_, number) => Ok(Value::constant(number)),
            WordSort::Text(_, text) => Ok(Value::text(text.as_str())),
            WordSort::Field(names) => self.fields(word, dot.clone(), names),
            WordSort::Variable(name, names) => {
                let held = self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
                let Some(value) = held else { return self.fail(word.place, word, &format!("undefined variable: {name}")) };
                self.fields(word, value, names)
            }
            WordSort::Function(name) => self.function(dot, name, word.place, word, &[], None),
            WordSort::Chain(inner, names) => {
                let value = self.word(dot, inner)?;
                self.fields(word, value, names)
            }
            WordSort::Pipe(pipe) => self.pipe(dot, pipe),
        }
    }

    fn fields(&mut self, word: &'t Word, from: Value<'t>, names: &'t [String]) -> Result<Value<'t>, Stop> {
        names.iter().try_fold(from, |value, name| self.field(word, &value, name))
    }

    fn field(&self, word: &Word, value: &Value<'t>, name: &str) -> Result<Value<'t>, Stop> {
        let strict = self.template.missing == Missing::Error;
        if value.is_missing() {
            let why = format!("nil data; no entry for key {}", schema::go::quote(name));
            return if strict { self.fail(word.place, word, &why) } else { Ok(Value::MISSING) };
        }
        if value.is_nothing() {
            return self.fail(word.place, word, &format!("nil pointer evaluating interface {{}}.{name}"));
        }
        if !value.document().is_object() {
            let of = if value.boxed { "interface {}" } else { value.type_name() };
            return self.fail(word.place, word, &format!("can't evaluate field {name} in type {of}"));
        }
        match value.member(name) {
            Some(member) => Ok(member),
            None if strict => self.fail(word.place, word, &format!("map has no entry for key {}", schema::go::quote(name))),
            None => Ok(Value::MISSING),
        }
    }

    fn function(
        &mut self,
        dot: &Value<'t>,
        name: &str,
        place: Place,
        piece: &dyn Display,
        words: &'t [Word],
        last: Option<Value<'t>>,
    ) -> Result<Value<'t>, Stop> {
        let Some(function) = functions::find(self.template.functions, name) else {
            return self.fail(place, piece, &format!("{} is not a defined function", schema::go::quote(name)));
        };
        if ["and", "or"].contains(&name) && std::ptr::eq(functions::find(&[], name).unwrap_or(function), function) {
            return self.lazily(dot, function, place, piece, words, last);
        }
        let mut arguments = words.iter().map(|word| self.word(dot, word)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(last);
        if let Err(why) = function.check(&arguments) {
            return self.fail(place, piece, &why);
        }
        match (function.call)(&arguments) {
            Ok(value) => self.bounded(place, piece, value),
            Err(why) => self.fail(place, piece, &format!("error calling {name}: {why}")),
        }
    }

    fn bounded(&self, place: Place, piece: &dyn Display, value: Value<'t>) -> Result<Value<'t>, Stop> {
        match value.document().as_str() {
            Some(text) if text.len() > OUTPUT_BYTES_MAX => {
                self.fail(place, piece, &format!("a text is longer than {OUTPUT_BYTES_MAX} bytes"))
            }
            _ => Ok(value),
        }
    }

    /// `and` and `or`: the first that decides, or the last.
    fn lazily(
        &mut self,
        dot: &Value<'t>,
        function: &Function,
        place: Place,
        piece: &dyn Display,
        words: &'t [Word],
        last: Option<Value<'t>>,
    ) -> Result<Value<'t>, Stop> {
        if words.is_empty() && last.is_none() {
            return self.fail(place, piece, &format!("wrong number of args for {}: want at least 1 got 0", function.name));
        }
        let mut value = Value::MISSING;
        for word in words {
            value = self.word(dot, word)?;
            if value.is_true() == (function.name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }
}
