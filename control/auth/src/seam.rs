//! The words that authentication, authorization and the API core speak with each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kinds::rbac::PolicyRule;
use schema::Status;

/// Who somebody is, after authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// `system:serviceaccount:default:builder`, `admin`.
    pub name: String,
    /// Empty where the authenticator knows none.
    pub uid: String,
    pub groups: Vec<String>,
    /// `authentication.kubernetes.io/pod-name` → `["web-1"]` and the like.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user without uid and extras, in `groups` and nothing else.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self { name: name.into(), groups: groups.iter().map(|group| (*group).to_owned()).collect(), ..Self::default() }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// One question to an [`Authorizer`]. Either a resource is asked for (`resource` is set) or a path (`path` is set).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// `get`, `list`, `create`, …; for paths the lower-case HTTP method.
    pub verb: &'a str,
    /// `""` is the core group.
    pub group: &'a str,
    pub version: &'a str,
    /// Plural; `""` for a path.
    pub resource: &'a str,
    pub subresource: &'a str,
    /// `""`: cluster-scoped, or all namespaces.
    pub namespace: &'a str,
    /// `""` for collections.
    pub name: &'a str,
    /// The field selector of a list, watch or deletecollection as it came; what a node may list depends on it.
    pub field_selector: &'a str,
    /// The label selector, the same.
    pub label_selector: &'a str,
    /// A path that is no resource: `/healthz`; `""` for resources.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// A question about a resource; fill in subresource, namespace and name as needed.
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, version: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            group,
            version,
            resource,
            subresource: "",
            namespace: "",
            name: "",
            field_selector: "",
            label_selector: "",
            path: "",
        }
    }

    /// A question about a path that is no resource.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self {
            user,
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            field_selector: "",
            label_selector: "",
            path,
        }
    }

    pub fn is_resource(&self) -> bool {
        self.path.is_empty()
    }
}

/// What an authorizer says. `Deny` ends a chain; after `NoOpinion` the next one is asked, and the last one's means no. `Failed` is one of
/// these two because of a failure (a webhook that does not answer), which whoever asked is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow { reason: String },
    Deny { reason: String },
    NoOpinion { reason: String },
    Failed { denied: bool, reason: String, error: String },
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Allow { reason } | Self::Deny { reason } | Self::NoOpinion { reason } | Self::Failed { reason, .. } => reason,
        }
    }

    /// Whether it ends a chain with a no.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Deny { .. } | Self::Failed { denied: true, .. })
    }

    /// What went wrong; empty where nothing did.
    pub fn error(&self) -> &str {
        if let Self::Failed { error, .. } = self { error } else { "" }
    }
}

/// What a user may do, as far as an authorizer can list it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub rules: Vec<PolicyRule>,
    /// true: something that cannot be listed decides too (the Node authorizer).
    pub incomplete: bool,
    /// Roles that were bound but not found.
    pub evaluation_error: String,
}

/// Says whether a user may. Ours never block on I/O, everything they need is kept current in memory; only a webhook has to ask.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// Rules of `user` in `namespace` and of the whole cluster.
    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules;

    /// RBAC's escalation check: what of `rules` the user does not hold in `namespace` (`""`: cluster-wide). Empty: may grant.
    async fn missing(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Vec<PolicyRule>;

    /// The rules of a Role (`namespace` set) or ClusterRole, for the check of a binding; None when there is no such role.
    async fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<PolicyRule>>;
}

/// What a service-account token is bound to, beside its account.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundObject {
    /// `Pod`, `Secret`, `Node`.
    pub kind: String,
    pub api_version: String,
    pub name: String,
    /// Empty: the object's uid at the time of issue.
    #[serde(default)]
    pub uid: String,
}

/// `TokenRequest.spec`, defaulted and validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    pub namespace: String,
    pub service_account: String,
    pub service_account_uid: String,
    /// Empty: the API server's own.
    pub audiences: Vec<String>,
    /// Seconds, 600 or more.
    pub expiration_seconds: i64,
    pub bound: Option<BoundObject>,
}

/// An issued token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub token: String,
    /// RFC 3339, seconds.
    pub expiration_timestamp: String,
    /// Those that the token really carries.
    pub audiences: Vec<String>,
    /// What the client is told where the token lives shorter than asked for.
    pub shortened: Option<String>,
}

/// `serviceaccounts/token`.
#[async_trait]
pub trait TokenIssuer: Send + Sync + 'static {
    async fn issue(&self, request: TokenRequest) -> Result<Issued, Status>;
}

/// `TokenReview`: whose token it is, and for which of the audiences. `Ok(None)`: not a token of ours; `Err`: ours and bad (expired,
/// account gone), with the reason.
#[async_trait]
pub trait TokenReviewer: Send + Sync + 'static {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String>;
}
