//! Go's `text/template` over documents: what `kubectl -o go-template` and `docker --format` take, with Go's texts for what cannot
//! be read or run.
//!
//! All of the language is here (pipelines, variables, `if`, `with`, `range`, `break`, `define`, `block`, trimming, comments, all
//! built-in functions and `printf`); methods, channels and complex numbers are not, because documents have none. Callers add
//! functions of their own.
//!
//! Templates come from people: nesting, work and output are bounded, and nothing here panics.
//!
//! | module | what |
//! |---|---|
//! | `lexer`, `parser`, `nodes` | a text becomes a tree |
//! | `execute` | the tree over a document |
//! | `value` | what expressions are about |
//! | `functions`, [`format`] | what templates can call |
//!
//! Why no library: the best one (`gotmpl`) tells neither places nor Go's sentences, and bounds only loops.

mod execute;
pub mod format;
mod functions;
mod lexer;
mod nodes;
mod parser;
mod value;

use std::collections::BTreeMap;

use schema::Value as Document;

pub use functions::{Function, Outcome};
pub use value::Value;

use nodes::List;

/// Bytes that a template may write, and that one value of it may have.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// A template that has been read, with those that it defines.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    text: String,
    defined: BTreeMap<String, List>,
    functions: &'static [Function],
    missing: Missing,
}

/// What a member that is not there gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Nothing, which prints as `<no value>`.
    #[default]
    Nothing,
    /// An error.
    Error,
}

impl Template {
    /// Reads a template. Its name is told in errors.
    pub fn parse(name: &str, text: &str, functions: &'static [Function]) -> Result<Self, String> {
        let defined = parser::parse(name, text, functions)?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), defined, functions, missing: Missing::default() })
    }

    #[must_use]
    pub fn missing(self, missing: Missing) -> Self {
        Self { missing, ..self }
    }

    /// Writes what a document gives. After an error, what came before it is written.
    pub fn execute(&self, document: &Document, out: &mut String) -> Result<(), String> {
        execute::run(self, document, out)
    }
}

#[cfg(test)]
mod tests;
