//! `matchConditions` of an authorization webhook: CEL over `request`, a SubjectAccessReviewSpec. All must hold for it to be asked; one that
//! is false decides, whatever goes wrong with others.

use std::sync::LazyLock;

use expressions::{CompileError, Environment, Program, Type, Value as Cel, limits};
use schema::{FieldErrors, Path, Value, json};

const CONDITIONS_MAX: usize = 64;

/// Compiled.
#[derive(Debug, Default)]
pub struct Conditions(Vec<(String, Program)>);

fn environment() -> &'static Environment {
    static REQUEST: LazyLock<Environment> = LazyLock::new(|| {
        let (text, texts) = (Type::String, Type::list(Type::String));
        let mut environment = Environment::kubernetes();
        environment
            .object_type("kubernetes.SelectorRequirement", [("key", text.clone()), ("operator", text.clone()), ("values", texts.clone())])
            .object_type("kubernetes.NonResourceAttributes", [("path", text.clone()), ("verb", text.clone())]);
        let requirements = Type::list(Type::object("kubernetes.SelectorRequirement"));
        for name in ["kubernetes.FieldSelectorAttributes", "kubernetes.LabelSelectorAttributes"] {
            environment.object_type(name, [("rawSelector", text.clone()), ("requirements", requirements.clone())]);
        }
        let plain = ["namespace", "verb", "group", "version", "resource", "subresource", "name"].map(|name| (name, text.clone()));
        let selectors = [
            ("fieldSelector", Type::object("kubernetes.FieldSelectorAttributes")),
            ("labelSelector", Type::object("kubernetes.LabelSelectorAttributes")),
        ];
        environment.object_type("kubernetes.ResourceAttributes", plain.into_iter().chain(selectors));
        let spec = [
            ("resourceAttributes", Type::object("kubernetes.ResourceAttributes")),
            ("nonResourceAttributes", Type::object("kubernetes.NonResourceAttributes")),
            ("user", text.clone()),
            ("groups", texts.clone()),
            ("extra", Type::map(text.clone(), texts)),
            ("uid", text),
        ];
        environment.object_type("kubernetes.SubjectAccessReviewSpec", spec);
        environment.variable("request", Type::object("kubernetes.SubjectAccessReviewSpec"));
        environment
    });
    &REQUEST
}

impl Conditions {
    /// What is wrong goes to `errors`.
    pub(super) fn compile(expressions: &[String], path: &Path, errors: &mut FieldErrors) -> Self {
        if expressions.len() > CONDITIONS_MAX {
            errors.too_many(path, expressions.len(), CONDITIONS_MAX);
            return Self::default();
        }
        let (mut seen, mut programs): (Vec<&String>, Vec<(String, Program)>) = (Vec::new(), Vec::new());
        for (index, text) in expressions.iter().enumerate() {
            let at = path.index(index).child("expression");
            if text.trim().is_empty() {
                errors.required(&at, "");
            } else if seen.contains(&text) {
                errors.duplicate(&at, text.as_str());
            } else {
                seen.push(text);
                match compile(text) {
                    Ok(program) => programs.push((text.clone(), program)),
                    Err(why) => errors.invalid(&at, text.as_str(), &why),
                }
            }
        }
        Self(programs)
    }

    /// Whether all hold for the spec of a review.
    pub fn hold(&self, spec: &Value) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let (request, mut errors) = (complete(spec), Vec::new());
        for (text, program) in &self.0 {
            match program.evaluate(&[("request", Cel::json(&request))], limits::PER_CALL).result.map(|value| value.as_bool()) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(false),
                Ok(None) => errors.push(format!("cel evaluation error: expression '{text}' eval result type should be bool")),
                Err(fault) => errors.push(format!("cel evaluation error: expression '{text}' resulted in error: {fault}")),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

fn compile(text: &str) -> Result<Program, String> {
    let program = environment().compile(text).map_err(|error| match error {
        CompileError::Issues(issues) => format!("compilation failed: {issues}"),
        CompileError::Constant(fault) => format!("program instantiation failed: {fault}"),
    })?;
    match program.output() {
        Type::Bool => Ok(program),
        other => Err(format!("must evaluate to bool but got {other}")),
    }
}

/// The spec with the texts that are empty, which a review leaves out.
fn complete(spec: &Value) -> Value {
    let mut full = json!({"user": "", "groups": [], "uid": "", "extra": {}});
    let members = spec.as_object().into_iter().flatten();
    members.for_each(|(name, value)| full[name] = value.clone());
    if let Some(attributes) = spec.get("resourceAttributes").and_then(Value::as_object) {
        let mut all = json!({"namespace": "", "verb": "", "group": "", "version": "", "resource": "", "subresource": "", "name": ""});
        attributes.iter().for_each(|(name, value)| all[name] = value.clone());
        full["resourceAttributes"] = all;
    }
    full
}
