//! `AuthenticationConfiguration` as it is written. Unknown fields are errors: a rule that is misspelt would be a rule that is not there.

use schema::Value;
use serde::{Deserialize, Serialize};

const GROUP: &str = "apiserver.config.k8s.io";

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    pub jwt: Vec<JwtAuthenticator>,
    pub anonymous: Option<Anonymous>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Anonymous {
    pub enabled: bool,
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<AnonymousCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousCondition {
    pub path: String,
}

/// One issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct JwtAuthenticator {
    pub issuer: Issuer,
    #[serde(deserialize_with = "nullable")]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    pub claim_mappings: ClaimMappings,
    #[serde(deserialize_with = "nullable")]
    pub user_validation_rules: Vec<UserValidationRule>,
    /// By which algorithms it may sign; empty: all of them.
    #[serde(skip)]
    pub algorithms: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM; empty: the machine's authorities.
    pub certificate_authority: String,
    #[serde(deserialize_with = "nullable")]
    pub audiences: Vec<String>,
    pub audience_match_policy: String,
    pub egress_selector_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ClaimValidationRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimMappings {
    pub username: PrefixedClaimOrExpression,
    pub groups: PrefixedClaimOrExpression,
    pub uid: ClaimOrExpression,
    #[serde(deserialize_with = "nullable")]
    pub extra: Vec<ExtraMapping>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixedClaimOrExpression {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimOrExpression {
    pub claim: String,
    pub expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ExtraMapping {
    pub key: String,
    pub value_expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserValidationRule {
    pub expression: String,
    pub message: String,
}

/// Go's `null` is an empty list.
pub(crate) fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl AuthenticationConfiguration {
    /// Reads YAML or JSON; `v1`, `v1beta1` and `v1alpha1` have the same fields.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = document(text, "AuthenticationConfiguration")?;
        Ok(config)
    }
}

/// A document of our group: checks apiVersion and kind before anything else, so that the wrong file is told as such.
pub(crate) fn document<T: serde::de::DeserializeOwned>(text: &str, kind: &str) -> Result<T, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let version = field("apiVersion").strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
    if field("kind") != kind || !matches!(version, Some("v1" | "v1beta1" | "v1alpha1")) {
        let found = format!("apiVersion {:?} and kind {:?}", field("apiVersion"), field("kind"));
        return Err(format!("{found}; needed are {GROUP}/v1 (or v1beta1, v1alpha1) and {kind}"));
    }
    serde_json::from_value(value).map_err(|error| format!("strict decoding error: {error}"))
}

/// `--oidc-*`: one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub issuer_url: String,
    pub client_id: String,
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    pub required_claims: Vec<(String, String)>,
    /// PEM.
    pub ca: String,
    pub signing_algs: Vec<String>,
}

impl Flags {
    /// The same as a configuration. Err: the flags contradict each other, in upstream's words.
    pub fn authenticator(&self) -> Result<JwtAuthenticator, String> {
        if self.issuer_url.is_empty() != self.client_id.is_empty() {
            return Err("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set".into());
        }
        if let Some(wrong) = self.signing_algs.iter().find(|name| !crate::jwt::keys::ALGORITHMS.contains(&name.as_str())) {
            return Err(format!("oidc: unsupported signing alg: {wrong:?}"));
        }
        let groups_prefix = (!self.groups_claim.is_empty()).then(|| self.groups_prefix.clone());
        let required = self.required_claims.iter();
        Ok(JwtAuthenticator {
            issuer: Issuer {
                url: self.issuer_url.clone(),
                audiences: vec![self.client_id.clone()],
                certificate_authority: self.ca.clone(),
                ..Issuer::default()
            },
            claim_validation_rules: required
                .map(|(claim, value)| ClaimValidationRule {
                    claim: claim.clone(),
                    required_value: value.clone(),
                    ..ClaimValidationRule::default()
                })
                .collect(),
            claim_mappings: ClaimMappings {
                username: PrefixedClaimOrExpression {
                    claim: self.username_claim.clone(),
                    prefix: Some(self.prefix()),
                    ..PrefixedClaimOrExpression::default()
                },
                groups: PrefixedClaimOrExpression {
                    claim: self.groups_claim.clone(),
                    prefix: groups_prefix,
                    ..PrefixedClaimOrExpression::default()
                },
                ..ClaimMappings::default()
            },
            algorithms: self.signing_algs.clone(),
            ..JwtAuthenticator::default()
        })
    }

    /// None said: the issuer, but not before an address of mail; `-`: none at all.
    fn prefix(&self) -> String {
        match self.username_prefix.as_str() {
            "" if self.username_claim != "email" => format!("{}#", self.issuer_url),
            "-" => String::new(),
            own => own.to_owned(),
        }
    }
}
