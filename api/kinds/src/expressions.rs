//! CEL expressions in objects: what each may name, what it must come to, and how it is compiled.
//!
//! Validation compiles an expression when its object is written; whoever acts on the object compiles it again with the same
//! [`Compiler`] and keeps the program, so that both know the same names and say the same of a mistake. What the names stand
//! for in a request is the business of who runs it (`apiserver::admission::expressions`).
//!
//! | [`Use`] | names | comes to |
//! |---|---|---|
//! | `MatchCondition`, `Validation` | all of admission | bool |
//! | `Message` | all but `authorizer` | string |
//! | `AuditAnnotation` | all of admission | string or null |
//! | `Variable` | all of admission | anything |
//! | `ApplyConfiguration` | all of admission, `Object…` | `Object` |
//! | `JsonPatch` | all of admission, `Object…`, `JSONPatch` | `list(JSONPatch)` |
//! | `DeviceSelector` | `device` | bool |
//!
//! "All of admission" is `object`, `oldObject`, `request`, `namespaceObject`, `authorizer`, `authorizer.requestResource`,
//! `params` for policies that have some, and `variables` with those that stand before.

mod admission;
mod device;
pub mod typed;

use expressions::{CompileError, Environment, Program, Type};
use schema::{FieldErrors, Path};

/// The name of the type behind `variables`.
pub const VARIABLES_TYPE: &str = "kubernetes.variables";

/// What an expression is for, which decides its type and its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    MatchCondition,
    Validation,
    Message,
    Variable,
    AuditAnnotation,
    ApplyConfiguration,
    JsonPatch,
    DeviceSelector,
}

/// Compiles the expressions of one object.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    has_params: bool,
    /// Of a policy, in order; the type of one that does not compile is dyn.
    variables: Vec<(String, Type)>,
}

impl Compiler {
    /// For an object whose expressions know `params`, or not.
    pub fn new(has_params: bool) -> Self {
        Self { has_params, variables: Vec::new() }
    }

    /// An expression's program; the error is the detail of an `Invalid value`.
    pub fn compile(&self, usage: Use, text: &str) -> Result<Program, String> {
        let program = self.environment(usage).compile(text).map_err(|wrong| match wrong {
            CompileError::Issues(_) => format!("compilation failed: {wrong}"),
            CompileError::Constant(_) => format!("program instantiation failed: {wrong}"),
        })?;
        usage.check_output(program.output())?;
        Ok(program)
    }

    /// Compiles a variable and lets what comes after it use it as `variables.<name>`.
    pub fn define(&mut self, name: &str, text: &str) -> Result<Program, String> {
        let program = self.compile(Use::Variable, text);
        let ty = program.as_ref().map_or(Type::Dyn, |program| remembered(program.output()));
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), ty));
        program
    }

    /// A device selector that compiles and costs no more than it may.
    pub(crate) fn check_selector(&self, text: &str, path: &Path, errors: &mut FieldErrors) {
        let before = errors.0.len();
        self.check(Use::DeviceSelector, text, "", path, errors);
        let cost = || self.compile(Use::DeviceSelector, text).map_or(0, |program| program.estimated_cost().max);
        if errors.0.len() == before && cost() > device::COST_MAX {
            errors.forbidden(path, "too complex, exceeds cost limit");
        }
    }

    fn environment(&self, usage: Use) -> Environment {
        if usage == Use::DeviceSelector {
            return device::environment().clone();
        }
        let mut environment = admission::environment(usage).clone();
        if self.has_params {
            environment.variable("params", Type::Dyn);
        }
        if !self.variables.is_empty() {
            environment.object_type(VARIABLES_TYPE, self.variables.iter().map(|(name, ty)| (name.as_str(), ty.clone())));
            environment.variable("variables", Type::object(VARIABLES_TYPE));
        }
        environment
    }

    /// An expression that compiles. `missing` is the detail where it is left out.
    pub(crate) fn check(&self, usage: Use, text: &str, missing: &str, path: &Path, errors: &mut FieldErrors) {
        refuse(text, missing, path, errors, |text| self.compile(usage, text));
    }

    /// A variable that compiles.
    pub(crate) fn check_variable(&mut self, name: &str, text: &str, path: &Path, errors: &mut FieldErrors) {
        refuse(text, "expression is not specified", path, errors, |text| self.define(name, text));
    }
}

/// What is known of a variable's type later on: of objects and closed types nothing, as upstream has it.
fn remembered(ty: &Type) -> Type {
    match ty {
        Type::List(element) => Type::list(remembered(element)),
        Type::Map(entry) => Type::map(remembered(&entry.0), remembered(&entry.1)),
        Type::Type(_) | Type::Opaque(..) | Type::Object(_) | Type::Param(_) | Type::Error => Type::Dyn,
        plain => plain.clone(),
    }
}

fn refuse(text: &str, missing: &str, path: &Path, errors: &mut FieldErrors, compile: impl FnOnce(&str) -> Result<Program, String>) {
    if text.trim().is_empty() {
        errors.required(path, missing);
    } else if let Err(wrong) = compile(text) {
        errors.invalid(path, text, &wrong);
    }
}

impl Use {
    /// What its expressions may come to; empty: anything.
    fn outputs(self) -> Vec<Type> {
        match self {
            Self::MatchCondition | Self::Validation | Self::DeviceSelector => vec![Type::Bool],
            Self::Message => vec![Type::String],
            Self::AuditAnnotation => vec![Type::String, Type::Null],
            Self::Variable => Vec::new(),
            Self::ApplyConfiguration => vec![Type::object("Object")],
            Self::JsonPatch => vec![Type::list(Type::object("JSONPatch"))],
        }
    }

    fn check_output(self, output: &Type) -> Result<(), String> {
        let wanted = self.outputs();
        if wanted.is_empty() || wanted.contains(output) || self == Self::DeviceSelector && *output == Type::Dyn {
            return Ok(());
        }
        let (got, wanted) = (output.declared(), wanted.iter().map(Type::declared).collect::<Vec<_>>());
        Err(match (self, wanted.as_slice()) {
            (Self::DeviceSelector, _) => format!("must evaluate to bool or the unknown type, not {got}"),
            (_, [one]) => format!("must evaluate to {one} but got {got}"),
            (_, several) => format!("must evaluate to one of [{}] but got {got}", several.join(" ")),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_has_its_names_and_its_type() {
        let mut compiler = Compiler::new(true);
        compiler.define("count", "object.spec.items.size() + params.more").unwrap();
        compiler.define("broken", "nope").unwrap_err();
        for (usage, text, want) in [
            (Use::MatchCondition, "request.operation == 'CREATE' && request.userInfo.groups.exists(g, g == 'a')", ""),
            (Use::MatchCondition, "authorizer.requestResource.check('get').allowed()", ""),
            (Use::MatchCondition, "variables.count > 1 && variables.broken == 'dyn'", ""),
            (Use::Validation, "namespaceObject.metadata.labels.exists(l, l == 'a') || object == null", ""),
            (Use::Validation, "1 + 1", "must evaluate to bool but got int"),
            (Use::Validation, "[now]", "undeclared reference to 'now'"),
            (Use::Validation, "request.object == 1", "undefined field 'object'"),
            (Use::Message, "'no ' + oldObject.metadata.name", ""),
            (Use::Message, "authorizer.requestResource.check('get').reason()", "undeclared reference to 'authorizer'"),
            (Use::AuditAnnotation, "null", ""),
            (
                Use::AuditAnnotation,
                "[timestamp('2020-01-01T00:00:00Z')]",
                "must evaluate to one of [string null_type] but got list(google.protobuf.Timestamp)",
            ),
            (Use::ApplyConfiguration, "Object{metadata: Object.metadata{name: 'a'}}", ""),
            (Use::JsonPatch, "[JSONPatch{op: 'remove', path: '/a'}]", ""),
            (Use::JsonPatch, "Object{}", "must evaluate to list(JSONPatch) but got Object"),
            (Use::Validation, "Object{} == null", "undeclared reference to 'Object'"),
            (Use::Variable, "{'any': object}", ""),
            (Use::DeviceSelector, "device.driver == 'a.example.com' && device.attributes['a.example.com'].size > 1", ""),
            (Use::DeviceSelector, "object == null", "undeclared reference to 'object'"),
        ] {
            let said = compiler.compile(usage, text).err().unwrap_or_default();
            assert!(said.contains(want) && said.is_empty() == want.is_empty(), "{usage:?} {text}: {said}");
        }
        let said = Compiler::new(false).compile(Use::Validation, "params == null").unwrap_err();
        assert!(said.starts_with("compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"), "{said}");
    }

    #[test]
    fn a_device_selector_has_names_a_type_and_a_cost() {
        let doc = |text: &str| schema::json!({"metadata": {"name": "a"}, "spec": {"selectors": [{"cel": {"expression": text}}]}});
        let class = crate::find("resource.k8s.io", "v1", "deviceclasses").unwrap();
        let nested =
            "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a + b + c + d != 'x'))))";
        for (text, want) in [
            ("device.driver == 'a.example.com' && device.capacity['a.example.com'].memory.isGreaterThan(quantity('1Gi'))", ""),
            ("cel.bind(own, device.attributes['a.example.com'], own.model == 'x' && own.size > 1)", ""),
            ("device.attributes['a.example.com'].?fast.orValue(false)", ""),
            ("device.nope", "compilation failed: ERROR: <input>:1:7: undefined field 'nope'"),
            ("1", "Invalid value: \"1\": must evaluate to bool or the unknown type, not int"),
            (nested, "spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"),
        ] {
            let mut errors = FieldErrors::default();
            class.strategy.validate_create(&doc(text), &mut errors);
            let told: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert!(told.len() == usize::from(!want.is_empty()) && told.iter().all(|one| one.contains(want)), "{text}: {told:?}");
        }
    }
}
