//! CEL, the language of validation rules, admission policies, match conditions and claim mappings, as Kubernetes speaks it.
//!
//! [`Environment::compile`] parses an expression, checks its types against declared variables and schemas and estimates its
//! cost; [`Program::evaluate`] runs it over documents where they lie: JSON is read in place, nothing is converted, every
//! step is counted against a budget. Messages, costs and limits are those of Kubernetes 1.37, because clients match them
//! and because they decide which rules may be written.
//!
//! The engine is our own, parser included. The best library parses only: its tree hides the macros' expansion and the places
//! that messages and costs are defined on; it has no static types, no cost model and no budget, lacks most of Kubernetes'
//! functions, and converts documents before it reads them, which costs more than most rules do.
//!
//! | module | what |
//! |---|---|
//! | [`env`] | what expressions may name |
//! | [`program`] | compiling and running |
//! | [`schema`] | types and sizes from OpenAPI structural schemas |
//! | [`value`] | run-time values, borrowed from documents |
//! | [`seam`] | the authorizer and lazy fields: what a program reaches outside of its documents |
//! | [`limits`] | budgets |
//!
//! A run is bounded three ways: by its cost limit, by the steps of work that cost does not see (one thing more than upstream
//! has, which relies on time-outs), and by the height of its tree (nesting of 250).

mod ast;
mod checker;
mod cost;
mod declarations;
pub mod env;
pub mod estimate;
mod eval;
pub mod fault;
mod lexer;
mod library;
pub mod limits;
mod macros;
mod parser;
mod plan;
pub mod program;
pub mod schema;
pub mod seam;
pub mod source;
pub mod types;
mod validate;
pub mod value;
mod work;

pub use env::Environment;
pub use estimate::Range;
pub use fault::Fault;
pub use program::{CompileError, Evaluation, Program, together};
pub use schema::Schema;
pub use types::Type;
pub use value::Value;
