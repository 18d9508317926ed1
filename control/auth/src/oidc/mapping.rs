//! Claims to users: by the names of claims, as the flags have it, or by expressions (CEL) over `claims` and `user`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use expressions::{Environment, Program, Type, Value as Cel, limits};
use schema::{Value, json};

use super::config::{JwtAuthenticator, PrefixedClaimOrExpression};
use crate::jwt::Claims;
use crate::seam::UserInfo;

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The compiled expressions of one issuer; None where a claim's name stands instead.
#[derive(Default)]
pub struct Mapping {
    pub(super) username: Option<Expression>,
    pub(super) groups: Option<Expression>,
    pub(super) uid: Option<Expression>,
    /// By their keys.
    pub(super) extra: Vec<(String, Expression)>,
    /// With the message for who does not hold them.
    pub(super) claim_rules: Vec<(Expression, String)>,
    pub(super) user_rules: Vec<(Expression, String)>,
}

/// An expression that compiled.
#[derive(Clone)]
pub struct Expression {
    text: String,
    program: Arc<Program>,
}

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Claims,
    User,
}

impl About {
    fn variable(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::User => "user",
        }
    }

    fn environment(self) -> &'static Environment {
        static CLAIMS: LazyLock<Environment> = LazyLock::new(|| {
            let mut environment = Environment::kubernetes();
            environment.variable("claims", Type::map(Type::String, Type::Dyn));
            environment
        });
        static USER: LazyLock<Environment> = LazyLock::new(|| {
            let texts = Type::list(Type::String);
            let fields =
                [("username", Type::String), ("uid", Type::String), ("groups", texts.clone()), ("extra", Type::map(Type::String, texts))];
            let mut environment = Environment::kubernetes();
            environment.object_type("kubernetes.UserInfo", fields).variable("user", Type::object("kubernetes.UserInfo"));
            environment
        });
        match self {
            Self::Claims => &CLAIMS,
            Self::User => &USER,
        }
    }
}

impl Expression {
    /// `is_rule`: it must say yes or no.
    pub(super) fn compile(text: &str, about: About, is_rule: bool) -> Result<Self, String> {
        let program = about.environment().compile(text).map_err(|error| match error {
            expressions::CompileError::Issues(issues) => format!("compilation failed: {issues}"),
            expressions::CompileError::Constant(fault) => format!("program instantiation failed: {fault}"),
        })?;
        if is_rule && *program.output() != Type::Bool {
            return Err("must evaluate to bool".into());
        }
        Ok(Self { text: text.to_owned(), program: Arc::new(program) })
    }

    pub(super) fn selects_claim(&self, claim: &str) -> bool {
        self.program.selects("claims", claim)
    }

    fn evaluate<'a>(&'a self, about: About, value: &'a Value) -> Result<Cel<'a>, String> {
        let evaluation = self.program.evaluate(&[(about.variable(), Cel::json(value))], limits::PER_CALL);
        evaluation.result.map_err(|fault| format!("expression '{}' resulted in error: {fault}", self.text))
    }

    fn holds(&self, about: About, value: &Value, message: &str) -> Result<(), String> {
        match self.evaluate(about, value)?.as_bool() {
            Some(true) => Ok(()),
            Some(false) => Err(format!("validation expression '{}' failed: {message}", self.text)),
            None => Err("validation expression must return a boolean".into()),
        }
    }
}

impl Mapping {
    /// The user that verified claims are, if every rule holds.
    pub(super) fn user(&self, config: &JwtAuthenticator, claims: Claims) -> Result<UserInfo, String> {
        let claims = Value::Object(claims);
        let names = claims.as_object().expect("claims are an object");
        let mut user = UserInfo { name: self.username(config, names, &claims)?, ..UserInfo::default() };
        user.groups = self.groups(&config.claim_mappings.groups, names, &claims)?;
        user.uid = self.uid(config, names, &claims)?;
        user.extra = self.extra(names, &claims)?;
        check_required(config, names)?;
        for (rule, message) in &self.claim_rules {
            rule.holds(About::Claims, &claims, message)
                .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        }
        let seen = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        for (rule, message) in &self.user_rules {
            rule.holds(About::User, &seen, message).map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
        }
        if !user.is_in(crate::AUTHENTICATED) {
            user.groups.push(crate::AUTHENTICATED.to_owned());
        }
        Ok(user)
    }

    fn username(&self, config: &JwtAuthenticator, names: &Claims, claims: &Value) -> Result<String, String> {
        if let Some(expression) = &self.username {
            let about = |why: &str| format!("oidc: error evaluating username claim expression: {why}");
            let value = expression.evaluate(About::Claims, claims).map_err(|why| about(&why))?;
            let name = value.as_str().ok_or_else(|| about("username claim expression must return a string"))?;
            if name.is_empty() {
                return Err("oidc: empty username via CEL expression is not allowed".into());
            }
            return Ok(name.to_owned());
        }
        let PrefixedClaimOrExpression { claim, prefix, .. } = &config.claim_mappings.username;
        let name = text(names, claim).map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
        if claim == "email" {
            check_verified(names)?;
        }
        Ok(format!("{}{name}", prefix.as_deref().unwrap_or_default()))
    }

    fn groups(&self, mapping: &PrefixedClaimOrExpression, names: &Claims, claims: &Value) -> Result<Vec<String>, String> {
        let PrefixedClaimOrExpression { claim, prefix, .. } = mapping;
        if let Some(value) = names.get(claim).filter(|_| !claim.is_empty()) {
            let groups = one_or_many(value).map_err(|why| format!("oidc: parse groups claim {claim:?}: {why}"))?;
            let prefix = prefix.as_deref().unwrap_or_default();
            return Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect());
        }
        let Some(expression) = &self.groups else { return Ok(Vec::new()) };
        let groups = expression.evaluate(About::Claims, claims).and_then(|value| texts(&value));
        groups.map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))
    }

    fn uid(&self, config: &JwtAuthenticator, names: &Claims, claims: &Value) -> Result<String, String> {
        let claim = &config.claim_mappings.uid.claim;
        if !claim.is_empty() {
            return text(names, claim).map_err(|why| format!("oidc: parse uid claim {claim:?}: {why}"));
        }
        let Some(expression) = &self.uid else { return Ok(String::new()) };
        let about = |why: &str| format!("oidc: error evaluating uid claim expression: {why}");
        let value = expression.evaluate(About::Claims, claims).map_err(|why| about(&why))?;
        value.as_str().map(str::to_owned).ok_or_else(|| about("uid claim expression must return a string"))
    }

    fn extra(&self, names: &Claims, claims: &Value) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut extra = BTreeMap::new();
        if let Some(id) = names.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, expression) in &self.extra {
            let value = expression.evaluate(About::Claims, claims)?;
            let values =
                texts(&value).map_err(|why| format!("oidc: error evaluating extra claim expression: {}: {why}", expression.text))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        Ok(extra)
    }
}

fn check_verified(names: &Claims) -> Result<(), String> {
    match names.get("email_verified") {
        None | Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false) | Value::Null) => Err("oidc: email not verified".into()),
        Some(other) => Err(format!("oidc: parse 'email_verified' claim: {}", unfit(other, "bool"))),
    }
}

fn check_required(config: &JwtAuthenticator, names: &Claims) -> Result<(), String> {
    for rule in config.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
        let (claim, want) = (&rule.claim, &rule.required_value);
        if !names.contains_key(claim) {
            return Err(format!("oidc: required claim {claim} not present in ID token"));
        }
        let got = text(names, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
        if got != *want {
            return Err(format!("oidc: required claim {claim} value does not match. Got = {got}, want = {want}"));
        }
    }
    Ok(())
}

fn text(names: &Claims, claim: &str) -> Result<String, String> {
    match names.get(claim).ok_or("claim not present")? {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other => Err(unfit(other, "string")),
    }
}

fn one_or_many(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Null => Ok(Vec::new()),
        Value::Array(many) if many.iter().all(|one| one.is_string() || one.is_null()) => {
            Ok(many.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect())
        }
        other => Err(unfit(other, "string")),
    }
}

/// As Go's decoder says it.
fn unfit(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Null => "null",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// A text or a list of texts; empty ones are none.
fn texts(value: &Cel<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let all = match value {
        Cel::Null => Vec::new(),
        Cel::String(one) => vec![one.to_string()],
        Cel::List(list) => {
            let items = list.iter().map(|item| item.ok().and_then(|item| item.as_str().map(str::to_owned)).ok_or_else(wrong));
            items.collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}
