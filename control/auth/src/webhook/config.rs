//! `AuthorizationConfiguration`: who decides, in which order.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use schema::{FieldErrors, Path, names};
use serde::Deserialize;

use super::authorization::{AccessWebhook, Options};
use super::conditions::Conditions;
use super::kubeconfig;
use crate::authz::{AlwaysAllow, AlwaysDeny};
use crate::oidc::config::{document, nullable};
use crate::outside::Dialer;
use crate::seam::Authorizer;

/// What a chain may be made of; `Webhook` alone may come several times.
const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationConfiguration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    pub authorizers: Vec<AuthorizerConfiguration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizerConfiguration {
    pub r#type: String,
    pub name: String,
    pub webhook: Option<Webhook>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Webhook {
    #[serde(rename = "authorizedTTL", deserialize_with = "duration")]
    pub authorized_ttl: i64,
    pub cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL", deserialize_with = "duration")]
    pub unauthorized_ttl: i64,
    pub cache_unauthorized_requests: Option<bool>,
    #[serde(deserialize_with = "duration")]
    pub timeout: i64,
    pub subject_access_review_version: String,
    pub match_condition_subject_access_review_version: String,
    pub failure_policy: String,
    pub connection_info: ConnectionInfo,
    #[serde(deserialize_with = "nullable")]
    pub match_conditions: Vec<MatchCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ConnectionInfo {
    pub r#type: String,
    pub kube_config_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchCondition {
    pub expression: String,
}

/// Go's text of a duration, in nanoseconds.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_else(|| "0s".into());
    schema::duration::parse_nanos(&text).map_err(serde::de::Error::custom)
}

const SECOND: i64 = 1_000_000_000;

impl AuthorizationConfiguration {
    /// Reads YAML or JSON and fills in the defaults.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = document(text, "AuthorizationConfiguration")?;
        for webhook in config.authorizers.iter_mut().filter_map(|one| one.webhook.as_mut()) {
            let or = |time: &mut i64, usual: i64| *time = if *time == 0 { usual } else { *time };
            or(&mut webhook.authorized_ttl, 5 * 60 * SECOND);
            or(&mut webhook.unauthorized_ttl, 30 * SECOND);
        }
        Ok(config)
    }

    /// That of the flags: modes in order, and the one webhook that they may name.
    pub fn of_modes(modes: &[String], webhook: Option<Webhook>) -> Self {
        let one = |mode: &String| AuthorizerConfiguration {
            r#type: mode.clone(),
            name: mode.to_lowercase(),
            webhook: webhook.clone().filter(|_| mode == "Webhook"),
        };
        Self { api_version: String::new(), kind: String::new(), authorizers: modes.iter().map(one).collect() }
    }

    /// Everything that is wrong, in upstream's words.
    pub fn validate(&self) -> FieldErrors {
        let (mut errors, root) = (FieldErrors::default(), Path::new("authorizers"));
        if self.authorizers.is_empty() {
            errors.required(&root, "at least one authorization mode must be defined");
        }
        let (mut types, mut seen): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for (index, one) in self.authorizers.iter().enumerate() {
            let path = root.index(index);
            if check_type(one, &types, &path.child("type"), &mut errors) {
                types.push(&one.r#type);
                check_name(&one.name, &seen, &path.child("name"), &mut errors);
                seen.push(&one.name);
                check_webhook(one, &path, &mut errors);
            }
        }
        errors
    }

    /// The authorizers in their order; `node` and `rbac` are this server's own.
    pub fn build(
        &self,
        node: &Arc<dyn Authorizer>,
        rbac: &Arc<dyn Authorizer>,
        dialer: &dyn Dialer,
        env: &Env,
    ) -> Result<Vec<Arc<dyn Authorizer>>, String> {
        let errors = self.validate();
        if !errors.is_empty() {
            return Err(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        }
        let build = |one: &AuthorizerConfiguration| -> Result<Arc<dyn Authorizer>, String> {
            Ok(match (one.r#type.as_str(), &one.webhook) {
                ("Node", _) => Arc::clone(node),
                ("RBAC", _) => Arc::clone(rbac),
                ("AlwaysAllow", _) => Arc::new(AlwaysAllow),
                ("AlwaysDeny", _) => Arc::new(AlwaysDeny),
                (_, Some(webhook)) => webhook.build(dialer, env)?,
                (other, None) => return Err(format!("{other} needs a webhook")),
            })
        };
        self.authorizers.iter().map(build).collect()
    }
}

impl Webhook {
    fn build(&self, dialer: &dyn Dialer, env: &Env) -> Result<Arc<dyn Authorizer>, String> {
        let file = self.connection_info.kube_config_file.as_deref().unwrap_or(FilePath::new(""));
        let remote = kubeconfig::load(file, dialer)?;
        let time = |nanos: i64| Duration::from_nanos(nanos.max(0).unsigned_abs());
        let kept = |cached: Option<bool>, nanos: i64| if cached == Some(false) { Duration::ZERO } else { time(nanos) };
        let options = Options {
            version: self.subject_access_review_version.clone(),
            timeout: time(self.timeout),
            authorized_ttl: kept(self.cache_authorized_requests, self.authorized_ttl),
            unauthorized_ttl: kept(self.cache_unauthorized_requests, self.unauthorized_ttl),
            denies_on_error: self.failure_policy == "Deny",
        };
        let conditions = Conditions::compile(&self.expressions(), &Path::root(), &mut FieldErrors::default());
        Ok(AccessWebhook::new(remote, options, conditions, env))
    }

    fn expressions(&self) -> Vec<String> {
        self.match_conditions.iter().map(|condition| condition.expression.clone()).collect()
    }
}

fn check_type(one: &AuthorizerConfiguration, seen: &[&str], path: &Path, errors: &mut FieldErrors) -> bool {
    let own = one.r#type.as_str();
    if own.is_empty() {
        errors.required(path, "");
    } else if !TYPES.contains(&own) {
        errors.not_supported(path, own, &TYPES);
    } else if own != "Webhook" && seen.contains(&own) {
        errors.duplicate(path, own);
    } else {
        return true;
    }
    false
}

fn check_name(name: &str, seen: &[&str], path: &Path, errors: &mut FieldErrors) {
    let wrong = names::is_dns1123_subdomain(name);
    if name.is_empty() {
        errors.required(path, "");
    } else if seen.contains(&name) {
        errors.duplicate(path, name);
    } else if !wrong.is_empty() {
        errors.invalid(path, name, &format!("authorizer name is invalid: {}", wrong.join(", ")));
    }
}

fn check_webhook(one: &AuthorizerConfiguration, path: &Path, errors: &mut FieldErrors) {
    match (one.r#type.as_str(), &one.webhook) {
        ("Webhook", None) => errors.required(&path.child("webhook"), "required when type=Webhook"),
        ("Webhook", Some(webhook)) => webhook.check(path, errors),
        (_, Some(_)) => errors.invalid(&path.child("webhook"), "non-null", "may only be specified when type=Webhook"),
        (_, None) => {}
    }
}

impl Webhook {
    fn check(&self, path: &Path, errors: &mut FieldErrors) {
        let shown = schema::duration::format_nanos;
        match self.timeout {
            0 => errors.required(&path.child("timeout"), ""),
            time if !(0..=30 * SECOND).contains(&time) => errors.invalid(&path.child("timeout"), shown(time), "must be > 0s and <= 30s"),
            _ => {}
        }
        for (name, time) in [("authorizedTTL", self.authorized_ttl), ("unauthorizedTTL", self.unauthorized_ttl)] {
            match time {
                0 => errors.required(&path.child(name), ""),
                ..0 => errors.invalid(&path.child(name), shown(time), "must be > 0s"),
                _ => {}
            }
        }
        one_of(&self.subject_access_review_version, &["v1", "v1beta1"], &path.child("subjectAccessReviewVersion"), errors);
        let version_at = path.child("matchConditionSubjectAccessReviewVersion");
        match self.match_condition_subject_access_review_version.as_str() {
            "" if self.match_conditions.is_empty() => {}
            "" => errors.required(&version_at, "required if match conditions are specified"),
            version => one_of(version, &["v1"], &version_at, errors),
        }
        one_of(&self.failure_policy, &["NoOpinion", "Deny"], &path.child("failurePolicy"), errors);
        self.connection_info.check(&path.child("connectionInfo"), errors);
        Conditions::compile(&self.expressions(), &path.child("matchConditions"), errors);
    }
}

fn one_of(value: &str, all: &[&str], path: &Path, errors: &mut FieldErrors) {
    match value {
        "" => errors.required(path, ""),
        value if !all.contains(&value) => errors.not_supported(path, value, all),
        _ => {}
    }
}

impl ConnectionInfo {
    fn check(&self, path: &Path, errors: &mut FieldErrors) {
        let (type_at, file_at) = (path.child("type"), path.child("kubeConfigFile"));
        match (self.r#type.as_str(), &self.kube_config_file) {
            ("", _) => errors.required(&type_at, ""),
            // This server is no pod of a cluster whose API it could ask.
            ("InClusterConfig", _) => errors.invalid(&type_at, "InClusterConfig", "this server runs in no pod; use KubeConfigFile"),
            ("KubeConfigFile", None) => errors.required(&file_at, ""),
            ("KubeConfigFile", Some(file)) => check_file(file, &file_at, errors),
            (other, _) => errors.not_supported(&type_at, other, &["InClusterConfig", "KubeConfigFile"]),
        }
    }
}

fn check_file(file: &FilePath, path: &Path, errors: &mut FieldErrors) {
    let shown = file.display().to_string();
    if shown.is_empty() {
        errors.required(path, "");
    } else if !file.is_absolute() {
        errors.invalid(path, shown, "must be an absolute path");
    } else {
        match std::fs::metadata(file) {
            Err(error) => errors.invalid(path, shown, &format!("error loading file: {error}")),
            Ok(found) if !found.is_file() => errors.invalid(path, shown, "must be a regular file"),
            Ok(_) => {}
        }
    }
}
