//! The core with its authorizers and its tokens, wired as every cluster has them: in the `control` process, in examples
//! and in the in-process test world alike.
//!
//! Authorizers read roles, bindings and pods through the core, and the core asks them: until they have their first lists,
//! only `system:masters` gets an answer.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use auth::node::Nodes;
use auth::rbac::{Informed, Rbac};
use auth::token::Tokens;
use auth::{Attributes, Authorizer, Chain, Decision, PolicyRule, Rules, UserInfo};
use client::Client;
use env::Env;
use schema::Status;
use store::Store;

use crate::{Config, Core};

/// A core that answers.
pub struct Assembled {
    pub core: Arc<Core>,
    pub tokens: Arc<Tokens>,
}

/// Loads the store's content, wires authorization [masters, Node, RBAC] and tokens, makes what every cluster has.
/// `signing_key` is the PEM of the service-account key.
pub async fn assemble(store: Arc<dyn Store>, env: &Env, config: Config, signing_key: &str) -> Result<Assembled, Status> {
    let authorizer = Arc::new(Late::default());
    let core = Core::new(store, env.clone(), config, Arc::clone(&authorizer) as Arc<dyn Authorizer>, kinds::all().to_vec());
    core.load().await?;
    let loopback = Client::new(core.transport(auth::loopback_user()));
    let tokens = Tokens::new(signing_key, Arc::new(loopback.clone()), env).map_err(Status::internal)?;
    core.set_tokens(Arc::clone(&tokens) as _, Arc::clone(&tokens) as _);
    let roles = Informed::start(env, &loopback);
    let nodes = Nodes::start(env, loopback.clone());
    auth::rbac::aggregation::start(env, loopback, roles.cluster_roles());
    core.start().await?;
    roles.synced().await;
    nodes.synced().await;
    authorizer.set(Chain::new(vec![nodes, Arc::new(Rbac::new(roles))]));
    Ok(Assembled { core, tokens })
}

/// The chain, once it can answer; before that a chain of nobody, which knows `system:masters` only.
struct Late {
    before: Arc<Chain>,
    chain: OnceLock<Arc<Chain>>,
}

impl Default for Late {
    fn default() -> Self {
        Self { before: Chain::new(Vec::new()), chain: OnceLock::new() }
    }
}

impl Late {
    fn set(&self, chain: Arc<Chain>) {
        let _ = self.chain.set(chain);
    }

    fn chain(&self) -> &Chain {
        self.chain.get().unwrap_or(&self.before)
    }
}

#[async_trait]
impl Authorizer for Late {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.chain().authorize(attributes).await
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        self.chain().rules_for(user, namespace).await
    }

    async fn missing(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Vec<PolicyRule> {
        self.chain().missing(user, namespace, rules).await
    }

    async fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<PolicyRule>> {
        self.chain().role_rules(kind, namespace, name).await
    }
}
