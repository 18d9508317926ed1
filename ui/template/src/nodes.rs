//! What a template is made of. Pieces print as Go prints them, which errors show.

use std::fmt;

use schema::Value as Document;

/// Byte offset in the template's text.
pub(crate) type Place = usize;

pub(crate) type List = Vec<Node>;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub sort: Sort,
}

#[derive(Clone, Debug)]
pub(crate) enum Sort {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(String, Option<Pipe>),
    Break,
    Continue,
}

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub pipe: Pipe,
    pub list: List,
    pub otherwise: List,
}

/// `$x := a | b`
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub place: Place,
    pub assigns: bool,
    pub variables: Vec<String>,
    pub commands: Vec<Command>,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub place: Place,
    /// Not empty: what is called, and with what.
    pub words: Vec<Word>,
}

#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub place: Place,
    pub sort: WordSort,
}

#[derive(Clone, Debug)]
pub(crate) enum WordSort {
    Dot,
    Nil,
    Bool(bool),
    /// As it is written, and what it is.
    Number(String, Document),
    Text(String, String),
    Field(Vec<String>),
    /// A variable, and the fields after it.
    Variable(String, Vec<String>),
    Function(String),
    Chain(Box<Word>, Vec<String>),
    Pipe(Pipe),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branch = |f: &mut fmt::Formatter<'_>, name: &str, branch: &Branch| {
            write!(f, "{{{{{name} {}}}}}", branch.pipe)?;
            branch.list.iter().try_for_each(|node| node.fmt(f))?;
            if !branch.otherwise.is_empty() {
                f.write_str("{{else}}")?;
                branch.otherwise.iter().try_for_each(|node| node.fmt(f))?;
            }
            f.write_str("{{end}}")
        };
        match &self.sort {
            Sort::Text(text) => f.write_str(text),
            Sort::Action(pipe) => write!(f, "{{{{{pipe}}}}}"),
            Sort::If(inner) => branch(f, "if", inner),
            Sort::With(inner) => branch(f, "with", inner),
            Sort::Range(inner) => branch(f, "range", inner),
            Sort::Template(name, None) => write!(f, "{{{{template {}}}}}", schema::go::quote(name)),
            Sort::Template(name, Some(pipe)) => write!(f, "{{{{template {} {pipe}}}}}", schema::go::quote(name)),
            Sort::Break => f.write_str("{{break}}"),
            Sort::Continue => f.write_str("{{continue}}"),
        }
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        separated(f, &self.commands, " | ")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, &self.words, " ")
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[String]| fields.iter().try_for_each(|field| write!(f, ".{field}"));
        match &self.sort {
            WordSort::Dot => f.write_str("."),
            WordSort::Nil => f.write_str("nil"),
            WordSort::Bool(flag) => write!(f, "{flag}"),
            WordSort::Number(text, _) | WordSort::Text(text, _) | WordSort::Function(text) => f.write_str(text),
            WordSort::Field(names) => fields(f, names),
            WordSort::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            WordSort::Chain(word, names) => {
                word.fmt(f)?;
                fields(f, names)
            }
            WordSort::Pipe(pipe) => write!(f, "({pipe})"),
        }
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T], separator: &str) -> fmt::Result {
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            f.write_str(separator)?;
        }
        one.fmt(f)?;
    }
    Ok(())
}
