pub mod env;
mod ast;
mod checker;
mod declarations;
mod lexer;
mod macros;
mod parser;
pub mod source;
pub mod types;
