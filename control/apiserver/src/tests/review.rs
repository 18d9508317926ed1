use std::sync::Mutex;

use async_trait::async_trait;
use auth::{Issued, TokenIssuer, TokenRequest, TokenReviewer};
use schema::DocExt;

use super::*;

fn authorization(resource: &str, namespace: &str) -> Target {
    Target::of("authorization.k8s.io/v1", resource, namespace)
}

#[tokio::test]
async fn access_reviews_say_what_the_authorizer_says() {
    let cluster = Cluster::bare().await;
    let question = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let own =
        cluster.create(authorization("selfsubjectaccessreviews", ""), json!({"spec": {"resourceAttributes": question}})).await.unwrap();
    assert_eq!(own.at("status.allowed"), Some(&json!(true)));
    let alice = json!({"spec": {"user": "alice", "resourceAttributes": question}});
    let about = cluster.create(authorization("subjectaccessreviews", ""), alice.clone()).await.unwrap();
    assert_eq!(about.at("status.allowed"), Some(&json!(false)));
    let local = cluster.create(authorization("localsubjectaccessreviews", "default"), alice.clone()).await.unwrap();
    assert_eq!(local.at("status.allowed"), Some(&json!(false)));
    let elsewhere = cluster.create(authorization("localsubjectaccessreviews", "other"), alice).await.unwrap_err();
    assert_eq!(elsewhere.code, 422);
    let nobody =
        cluster.create(authorization("subjectaccessreviews", ""), json!({"spec": {"resourceAttributes": question}})).await.unwrap_err();
    assert!(nobody.message.contains("at least one of user or group must be specified"), "{nobody}");
    let nothing = cluster.create(authorization("selfsubjectaccessreviews", ""), json!({"spec": {}})).await.unwrap_err();
    assert_eq!(nothing.code, 422);
}

#[tokio::test]
async fn rules_and_identity_are_told() {
    let cluster = Cluster::bare().await;
    let rules = cluster.create(authorization("selfsubjectrulesreviews", ""), json!({"spec": {"namespace": "default"}})).await.unwrap();
    assert_eq!(rules.at("status.resourceRules").unwrap()[0]["verbs"], json!(["*"]));
    let me = cluster.create(Target::of("authentication.k8s.io/v1", "selfsubjectreviews", ""), json!({})).await.unwrap();
    assert_eq!(me.at("status.userInfo"), Some(&json!({"username": "admin", "groups": ["system:masters"]})));
}

/// Hands out the request as the token and knows the tokens that it gave.
#[derive(Default)]
struct Tokens(Mutex<Vec<TokenRequest>>);

#[async_trait]
impl TokenIssuer for Tokens {
    async fn issue(&self, request: TokenRequest) -> Result<Issued, Status> {
        let issued = Issued {
            token: "t".into(),
            expiration_timestamp: "2026-01-01T01:00:00Z".into(),
            audiences: vec!["api".into()],
            shortened: None,
        };
        self.0.lock().unwrap().push(request);
        Ok(issued)
    }
}

#[async_trait]
impl TokenReviewer for Tokens {
    async fn review(&self, token: &str, _audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        match token {
            "t" => Ok(Some((Arc::new(UserInfo::new("sa", &["g"])), vec!["api".into()]))),
            "old" => Err("it has expired".into()),
            _ => Ok(None),
        }
    }
}

#[tokio::test]
async fn tokens_are_issued_for_accounts_and_what_they_are_bound_to() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let tokens = Arc::new(Tokens::default());
    let token = || Target::of("v1", "serviceaccounts", "default").named("default").sub("token");
    let unready = cluster.create(token(), json!({"spec": {"audiences": []}})).await.unwrap_err();
    assert_eq!(unready.code, 503);
    cluster.core.set_tokens(tokens.clone(), tokens.clone());
    let made = cluster.create(pods(), pod("p")).await.unwrap();
    let bound =
        json!({"spec": {"audiences": ["x"], "expirationSeconds": 600, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
    let doc = cluster.create(token(), bound).await.unwrap();
    assert_eq!(doc.at("status"), Some(&json!({"token": "t", "expirationTimestamp": "2026-01-01T01:00:00Z"})));
    let asked = tokens.0.lock().unwrap().pop().unwrap();
    assert_eq!(asked.bound.unwrap().uid, made.str_at("metadata.uid"));
    for (spec, code) in [
        (json!({"expirationSeconds": 5, "audiences": []}), 422),
        (json!({"audiences": [], "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}), 404),
        (json!({"audiences": [], "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "other"}}), 409),
    ] {
        assert_eq!(cluster.create(token(), json!({"spec": spec})).await.unwrap_err().code, code);
    }
    let review = |token: &str| json!({"spec": {"token": token}});
    let reviews = || Target::of("authentication.k8s.io/v1", "tokenreviews", "");
    let good = cluster.create(reviews(), review("t")).await.unwrap();
    assert_eq!(good.at("status"), Some(&json!({"authenticated": true, "user": {"username": "sa", "groups": ["g"]}, "audiences": ["api"]})));
    assert_eq!(cluster.create(reviews(), review("old")).await.unwrap().str_at("status.error"), "it has expired");
    assert_eq!(cluster.create(reviews(), review("foreign")).await.unwrap().at("status.authenticated"), None);
}
