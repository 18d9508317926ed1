//! Bearer tokens. A stranger's token ends at its signature; so the same input is also signed by our own key, to see what claims
//! can do.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use auth::TokenReviewer;
use auth::bootstrap_token::BootstrapTokens;
use auth::jwt::signer::Signer;
use auth::reviewers::Reviewers;
use auth::token::legacy::LegacyTokens;
use auth::token::{Lookup, Settings, Tokens};
use client::Object;
use env::Env;
use schema::{Status, json};

use crate::connections::wait_for;
use crate::text;

/// Knows an account, a pod and a secret, all of uid "u".
struct Few;

#[async_trait]
impl Lookup for Few {
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
        if name == "absent" {
            return Ok(None);
        }
        let doc = json!({"apiVersion": "v1", "kind": resource, "metadata": {"name": name, "namespace": namespace, "uid": "u"}});
        Object::parse(doc.to_string().into()).map(Some)
    }
}

struct World {
    reviewers: Arc<Reviewers>,
    signer: Signer,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let env = Env::sim(1);
    let pem = rcgen::KeyPair::generate().expect("a key can be made").serialize_pem();
    let tokens = Tokens::new(&pem, Settings::default(), Arc::new(Few), &env).expect("the key is a good one");
    let legacy = LegacyTokens::new(Arc::clone(&tokens));
    let bootstrap = BootstrapTokens::new(Arc::new(Few), tokens.audiences(), &env);
    let signer = Signer::from_pem(&pem).expect("the key is a good one");
    World { reviewers: Reviewers::new(vec![tokens, legacy, bootstrap]), signer }
});

pub(crate) fn jwt(input: &[u8]) {
    if let Some(token) = text(input) {
        review(token);
    }
    review(&WORLD.signer.sign_payload(input).expect("the key signs"));
}

fn review(token: &str) {
    let _ = wait_for(WORLD.reviewers.review(token, &["a".to_owned()]));
}
