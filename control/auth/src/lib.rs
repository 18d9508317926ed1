//! Who asks, and may they: certificates, tokens, RBAC and the bootstrap policy.
//!
//! ```text
//! connection ──► certificate ─┐
//! request ─────► token ───────┼─► authn ──► UserInfo ──► authz: masters → node → rbac ──► Decision
//!                (anonymous) ─┘   (impersonation is a question to authz, too)
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`seam`] | the types that every caller of this crate shares: user, question, decision, the traits behind them |
//! | [`pki`] | the cluster's certificate authorities, certificates and the key that signs tokens |
//! | [`certificate`] | users out of client certificates |
//! | [`jwt`] | tokens of anybody: read within bounds, verified, signed |
//! | [`token`] | service-account tokens, bound and legacy: issue and review |
//! | [`oidc`] | tokens of issuers outside |
//! | [`webhook`], [`outside`] | programs outside that know tokens or decide about rights; what is asked of the network |
//! | [`reviewers`], [`bootstrap_token`], [`static_token`] | all sorts of bearer tokens, one after the other |
//! | [`front_proxy`] | users that a proxy before us tells of |
//! | [`authn`], [`impersonation`] | credentials of a request to a user; being somebody else |
//! | [`authz`] | the chain of authorizers and the sentence of a refusal |
//! | [`rbac`] | roles and bindings: who may what, who may grant what |
//! | [`node`] | what a node may read: its own pods and what they name |
//! | [`policy`] | the default roles and bindings |

pub mod authn;
pub mod authz;
pub mod bootstrap_token;
pub mod certificate;
pub mod front_proxy;
pub mod impersonation;
pub mod jwt;
pub mod node;
pub mod oidc;
pub mod outside;
pub mod pki;
pub mod policy;
pub mod rbac;
pub mod reviewers;
pub mod seam;
pub mod static_token;
pub mod token;
pub mod webhook;

pub use authn::Authenticator;
pub use authz::{Chain, forbidden};
pub use kinds::rbac::PolicyRule;
pub use pki::Pki;
pub use policy::bootstrap_policy;
pub use seam::{Attributes, Authorizer, BoundObject, Decision, Issued, Rules, TokenIssuer, TokenRequest, TokenReviewer, UserInfo};

/// Everybody in it may do everything; no binding can take it away.
pub const MASTERS: &str = "system:masters";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const ANONYMOUS: &str = "system:anonymous";
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
pub const NODES: &str = "system:nodes";
/// `system:node:<node name>`
pub const NODE_PREFIX: &str = "system:node:";
/// `system:serviceaccount:<namespace>:<name>`
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
pub const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// The user that a service account is.
pub fn service_account_user(namespace: &str, name: &str, uid: &str) -> UserInfo {
    let groups = vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}"), AUTHENTICATED.to_owned()];
    UserInfo { name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), uid: uid.to_owned(), groups, ..UserInfo::default() }
}

/// The identity of one of our controllers: upstream's service account in kube-system, to which the bootstrap policy binds
/// `system:controller:<name>`. `deployment-controller`, `generic-garbage-collector` …
pub fn controller_user(name: &str) -> UserInfo {
    service_account_user("kube-system", name, "")
}

/// The API server's own identity for calls to itself.
pub fn loopback_user() -> UserInfo {
    UserInfo::new("system:apiserver", &[MASTERS, AUTHENTICATED])
}

/// Namespace and name of a service account's user name.
pub fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
