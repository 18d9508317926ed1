//! The place of `x-kubernetes-validations`: expressions are compiled when a definition is written and asked when one of
//! its objects is. Whoever brings the language installs it with [`install`]; until then rules are stored and said to be
//! unacted.

use std::sync::{Arc, OnceLock};

use schema::{FieldErrors, Path, Value};

/// Compiles the rules of a schema.
pub trait Compiler: Send + Sync {
    /// What is wrong with the rules of an `openAPIV3Schema` that stands at `path`; `before` is the schema that it replaces.
    fn check(&self, schema: &Value, before: Option<&Value>, path: &Path, errors: &mut FieldErrors);
    /// The rules of a schema that was checked.
    fn compile(&self, schema: &Value) -> Arc<dyn Rules>;
}

/// The rules of one schema.
pub trait Rules: Send + Sync {
    /// What the rules say against a new or changed document.
    fn evaluate(&self, new: &Value, old: Option<&Value>, errors: &mut FieldErrors);
}

static COMPILER: OnceLock<Arc<dyn Compiler>> = OnceLock::new();

/// Makes rules act. The first one counts.
pub fn install(compiler: Arc<dyn Compiler>) {
    let _ = COMPILER.set(compiler);
}

/// Who compiles rules in this build.
pub(crate) fn compiler() -> Option<&'static Arc<dyn Compiler>> {
    COMPILER.get()
}

/// None where nobody can ask them.
pub(super) fn compiled(schema: &Value) -> Option<Arc<dyn Rules>> {
    compiler().map(|compiler| compiler.compile(schema))
}
