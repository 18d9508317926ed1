//! The core with its authorizers and its tokens, wired as every cluster has them: in the `control` process, in examples
//! and in the in-process test world alike.
//!
//! Authorizers read roles, bindings and pods through the core, and the core asks them: until they have their first lists,
//! only `system:masters` gets an answer.

use std::sync::Arc;

use auth::bootstrap_token::BootstrapTokens;
use auth::node::Nodes;
use auth::rbac::{Informed, Rbac};
use auth::reviewers::Reviewers;
use auth::token::Tokens;
use auth::token::legacy::LegacyTokens;
use auth::{Authorizer, Chain};
use client::Client;
use env::Env;
use schema::Status;
use store::Store;

use crate::{Config, Core};

/// A core that answers.
pub struct Assembled {
    pub core: Arc<Core>,
    pub authority: Authority,
    pub tokens: Arc<Tokens>,
    /// Every sort of bearer token; requests are authenticated by it, and TokenReviews answered.
    pub reviewers: Arc<Reviewers>,
    /// Somebody who knows the cluster's authority has it fill the secrets of service accounts.
    pub legacy: Arc<LegacyTokens>,
}

/// Who decides: [masters, Node, RBAC], until an operator's settings say otherwise.
#[derive(Clone)]
pub struct Authority {
    pub chain: Arc<Chain>,
    pub node: Arc<dyn Authorizer>,
    pub rbac: Arc<dyn Authorizer>,
}

/// Loads the store's content, wires authorization [masters, Node, RBAC] and tokens, makes what every cluster has.
/// `signing_key` is the PEM of the service-account key.
pub async fn assemble(store: Arc<dyn Store>, env: &Env, config: Config, signing_key: &str) -> Result<Assembled, Status> {
    let authorizer = Chain::masters_only();
    let (settings, own_key) = (config.tokens.clone(), config.signing_key.clone());
    let core = Core::new(store, env.clone(), config, Arc::clone(&authorizer) as Arc<dyn Authorizer>, kinds::all().to_vec());
    core.load().await?;
    let loopback = Client::new(core.transport(auth::loopback_user()));
    let signing_key = own_key.as_deref().unwrap_or(signing_key);
    let tokens = Tokens::new(signing_key, settings, Arc::new(loopback.clone()), env).map_err(Status::internal)?;
    let bootstrap = BootstrapTokens::new(Arc::new(loopback.clone()), tokens.audiences(), env);
    let legacy = LegacyTokens::new(Arc::clone(&tokens));
    let reviewers = Reviewers::new(vec![Arc::clone(&tokens) as _, Arc::clone(&legacy) as _, bootstrap]);
    core.set_tokens(Arc::clone(&tokens) as _, Arc::clone(&reviewers) as _);
    let roles = Informed::start(env, &loopback);
    let nodes = Nodes::start(env, loopback.clone());
    let loopback_client = loopback.clone();
    auth::rbac::aggregation::start(env, loopback, roles.cluster_roles());
    core.start().await?;
    crate::flow::start(env, loopback_client, Arc::clone(core.flow()));
    roles.synced().await;
    nodes.synced().await;
    let authority = Authority { chain: authorizer, node: nodes, rbac: Arc::new(Rbac::new(roles)) };
    authority.chain.complete(vec![Arc::clone(&authority.node), Arc::clone(&authority.rbac)]);
    Ok(Assembled { core, authority, tokens, reviewers, legacy })
}
