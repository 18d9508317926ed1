//! CEL expressions in objects: that there is one, and the place where its compilation is asked for.
//!
//! This crate does not compile CEL. Who does gives its compiler once, at the start, with [`compile_with`]; until then
//! only the forms of expressions are checked.

use std::sync::OnceLock;

use schema::{FieldErrors, Path};

/// What an expression is for, which decides its type and its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    MatchCondition,
    Validation,
    Message,
    Variable,
    AuditAnnotation,
    Mutation,
    DeviceSelector,
}

/// An expression as its object has it.
#[derive(Clone, Copy, Debug)]
pub struct Expression<'a> {
    pub text: &'a str,
    pub usage: Use,
    /// Whether `params` is known to it.
    pub has_params: bool,
    /// The variables defined before it, with their expressions.
    pub variables: &'a [(&'a str, &'a str)],
}

/// What is wrong with an expression, as the detail of an `Invalid value`.
pub type Compile = fn(&Expression<'_>) -> Result<(), String>;

static COMPILE: OnceLock<Compile> = OnceLock::new();

/// Sets what compiles expressions; the first one stays.
pub fn compile_with(compile: Compile) {
    let _ = COMPILE.set(compile);
}

/// An expression that compiles. `missing` is the detail where it is left out.
pub(crate) fn expression(expression: &Expression<'_>, missing: &str, path: &Path, errors: &mut FieldErrors) {
    if expression.text.trim().is_empty() {
        return errors.required(path, missing);
    }
    if let Some(Err(wrong)) = COMPILE.get().map(|compile| compile(expression)) {
        errors.invalid(path, expression.text, &wrong);
    }
}

/// A name that an expression can use.
pub(crate) fn is_identifier(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    let opens = name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic());
    opens && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) && !RESERVED.contains(&name)
}
