//! Webhooks behind a fake network that answers as it is told, fails and counts.

use std::sync::Mutex;

use async_trait::async_trait;
use schema::json;

use super::authentication::TokenWebhook;
use super::authorization::{AccessWebhook, Options};
use super::conditions::Conditions;
use super::config::AuthorizationConfiguration;
use super::*;
use crate::authz::{AlwaysAllow, AlwaysDeny, Chain};
use crate::outside::{Dialer, Trust};
use crate::seam::{Attributes, Authorizer, Decision, TokenReviewer, UserInfo};

/// Answers in turn; the last one for ever.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<Result<(u16, Value), Fault>>>,
    asked: Mutex<Vec<Question>>,
}

#[async_trait]
impl Outside for Arc<Script> {
    async fn ask(&self, question: Question, _timeout: Duration) -> Result<Reply, Fault> {
        self.asked.lock().unwrap().push(question);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.map(|(status, body)| Reply { status, body: body.to_string().into_bytes(), ..Reply::default() })
    }
}

impl Script {
    fn of(answers: Vec<Result<(u16, Value), Fault>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers), ..Self::default() })
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn remote(self: &Arc<Self>) -> Remote {
        Remote { outside: Arc::new(Arc::clone(self)), url: "https://hook.example.com/x".into(), bearer: None }
    }
}

struct Nowhere;

impl Dialer for Nowhere {
    fn trusting(&self, _trust: &Trust) -> Result<Arc<dyn Outside>, String> {
        Ok(Arc::new(Script::of(vec![Err(Fault::new("nobody is there"))])))
    }
}

fn known(name: &str) -> Value {
    json!({"kind": "TokenReview", "status": {"authenticated": true, "user": {"username": name, "uid": "7", "groups": ["dev"], "extra": {"a": ["b"]}}}})
}

fn tokens(script: &Arc<Script>) -> Arc<TokenWebhook> {
    TokenWebhook::new(script.remote(), "v1", Duration::from_secs(120), Arc::from(["api".to_owned()]), &Env::sim(1)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_about_once_and_remembered_for_its_time() {
    let script = Script::of(vec![Ok((200, known("ann")))]);
    let webhook = tokens(&script);
    for _ in 0..3 {
        let (user, audiences) = webhook.review("t", &[]).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str(), user.groups.join(",")), ("ann", "7", "dev,system:authenticated".into()));
        assert_eq!((user.extra["a"].as_slice(), audiences.as_slice()), (&["b".to_owned()][..], &["api".to_owned()][..]));
    }
    assert_eq!(script.count(), 1);
    let body = script.asked.lock().unwrap()[0].body.clone().unwrap();
    assert_eq!(
        (body.str_at("apiVersion"), body["spec"].clone()),
        ("authentication.k8s.io/v1", json!({"token": "t", "audiences": ["api"]}))
    );
    webhook.review("other", &[]).await.unwrap();
    webhook.review("t", &["vault".into()]).await.unwrap();
    assert_eq!(script.count(), 3, "another token and another audience are other questions");
    tokio::time::advance(Duration::from_secs(121)).await;
    webhook.review("t", &[]).await.unwrap();
    assert_eq!(script.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_a_token_webhook_says_is_believed_within_its_audiences() {
    for (answer, want) in [
        (json!({"kind": "TokenReview", "status": {"authenticated": false}}), Ok(None)),
        (json!({"kind": "TokenReview", "status": {"authenticated": false, "error": "revoked"}}), Err("revoked".to_owned())),
        (json!({"kind": "TokenReview", "status": {"authenticated": true, "audiences": ["vault"], "user": {"username": "ann"}}}), Ok(None)),
        (json!({"kind": "Pod"}), Err("the answer is a \"Pod\", wanted is a TokenReview".to_owned())),
    ] {
        let found = tokens(&Script::of(vec![Ok((200, answer))])).review("t", &[]).await;
        assert_eq!(found.map(|found| found.map(|(user, _)| user.name.clone())), want);
    }
    let version = TokenWebhook::new(Script::of(Vec::new()).remote(), "v2", Duration::ZERO, Arc::from([]), &Env::sim(1)).err().unwrap();
    assert_eq!(version, "unsupported authentication webhook version \"v2\", supported versions are \"v1\", \"v1beta1\"");
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again_and_others_are_not() {
    let broken = || Err(Fault { broken: true, ..Fault::new("connection reset by peer") });
    let status = |code: u16| Ok((code, json!({"kind": "Status", "message": "no"})));
    for (answers, tries, good) in [
        (vec![status(500), broken(), Ok((200, known("ann")))], 3, true),
        (vec![status(429)], 5, false),
        (vec![status(403)], 1, false),
        (vec![Err(Fault::new("connection refused"))], 1, false),
        (vec![Err(Fault { timed_out: true, broken: true, ..Fault::new("deadline") })], 1, false),
    ] {
        let script = Script::of(answers);
        let webhook = tokens(&script);
        assert_eq!((webhook.review("t", &[]).await.is_ok(), script.count()), (good, tries));
        let before = script.count();
        let _ = webhook.review("t", &[]).await;
        assert_eq!(script.count() > before, !good, "a failure is not remembered");
    }
}

fn user() -> UserInfo {
    UserInfo::new("ann", &["dev"])
}

fn webhook(script: &Arc<Script>, denies_on_error: bool, conditions: &[&str]) -> Arc<AccessWebhook> {
    let options = Options {
        version: "v1".into(),
        timeout: Duration::from_secs(3),
        authorized_ttl: Duration::from_secs(300),
        unauthorized_ttl: Duration::from_secs(30),
        denies_on_error,
    };
    let texts: Vec<String> = conditions.iter().map(|text| (*text).to_owned()).collect();
    let mut errors = FieldErrors::default();
    let conditions = Conditions::compile(&texts, &Path::root(), &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    AccessWebhook::new(script.remote(), options, conditions, &Env::sim(1))
}

use schema::{FieldErrors, Path};

fn says(status: Value) -> Arc<Script> {
    Script::of(vec![Ok((201, json!({"kind": "SubjectAccessReview", "status": status})))])
}

#[tokio::test(start_paused = true)]
async fn a_webhook_allows_denies_or_leaves_it_to_others() {
    let ann = user();
    let asked = Attributes { namespace: "n", name: "x", ..Attributes::resource(&ann, "get", "", "v1", "pods") };
    for (status, want) in [
        (json!({"allowed": true, "reason": "r"}), Decision::Allow { reason: "r".into() }),
        (json!({"allowed": false, "denied": true, "reason": "r"}), Decision::Deny { reason: "r".into() }),
        (json!({"allowed": false, "reason": "r"}), Decision::NoOpinion { reason: "r".into() }),
        (
            json!({"allowed": true, "denied": true}),
            Decision::Failed {
                denied: true,
                reason: String::new(),
                error: "webhook subject access review returned both allow and deny response".into(),
            },
        ),
    ] {
        assert_eq!(webhook(&says(status), false, &[]).authorize(&asked).await, want);
    }
    let down = || Script::of(vec![Ok((503, json!("x")))]);
    let error = "the server is currently unable to handle the request".to_owned();
    for denied in [true, false] {
        let failed = Decision::Failed { denied, reason: String::new(), error: error.clone() };
        assert_eq!(webhook(&down(), denied, &[]).authorize(&asked).await, failed);
    }
    let open = Chain::new(vec![webhook(&down(), false, &[]), Arc::new(AlwaysAllow)]);
    assert!(open.authorize(&asked).await.is_allowed(), "the next one decides");
    let closed = Chain::new(vec![webhook(&down(), true, &[]), Arc::new(AlwaysAllow)]);
    assert!(!closed.authorize(&asked).await.is_allowed());
    let refused = crate::authz::require(&*Chain::new(vec![webhook(&down(), false, &[]), Arc::new(AlwaysDeny)]), &asked).await.unwrap_err();
    assert_eq!(refused.code, 500, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_question_has_the_selectors_and_its_answer_is_remembered() {
    let ann = user();
    let asked = Attributes {
        field_selector: "spec.nodeName=n1,status.phase!=Failed",
        label_selector: "app in (a,b),!old,tier",
        ..Attributes::resource(&ann, "list", "", "v1", "pods")
    };
    let script = says(json!({"allowed": true}));
    let webhook = webhook(&script, false, &[]);
    for _ in 0..3 {
        assert!(webhook.authorize(&asked).await.is_allowed());
    }
    assert_eq!(script.count(), 1);
    let body = script.asked.lock().unwrap()[0].body.clone().unwrap();
    assert_eq!(
        body["spec"],
        json!({"user": "ann", "groups": ["dev"], "resourceAttributes": {"verb": "list", "version": "v1", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}, {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]}]},
            "labelSelector": {"requirements": [{"key": "app", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"}, {"key": "tier", "operator": "Exists"}]}}})
    );
    tokio::time::advance(Duration::from_secs(301)).await;
    webhook.authorize(&asked).await;
    assert_eq!(script.count(), 2);
    let long = "x".repeat(10_001);
    for _ in 0..2 {
        webhook.authorize(&Attributes { name: &long, ..asked.clone() }).await;
    }
    assert_eq!(script.count(), 4, "a stranger does not fill the memory");
    let path = Attributes::path(&ann, "get", "/metrics");
    webhook.authorize(&path).await;
    let body = script.asked.lock().unwrap().last().unwrap().body.clone().unwrap();
    assert_eq!(body["spec"]["nonResourceAttributes"], json!({"path": "/metrics", "verb": "get"}));
}

#[tokio::test(start_paused = true)]
async fn conditions_decide_whether_it_is_asked_at_all() {
    let ann = user();
    let get = Attributes { namespace: "prod", ..Attributes::resource(&ann, "get", "", "v1", "pods") };
    let path = Attributes::path(&ann, "get", "/metrics");
    let has = "has(request.resourceAttributes)";
    for (conditions, asked, want) in [
        (vec![has, "request.resourceAttributes.namespace == 'prod'"], &get, true),
        (vec![has, "request.resourceAttributes.namespace == 'test'"], &get, false),
        (vec![has], &path, false),
        (vec!["'dev' in request.groups && request.uid == '' && request.extra.size() == 0"], &path, true),
        (vec!["request.user.startsWith('system:')"], &get, false),
        (vec!["!has(request.resourceAttributes.fieldSelector)"], &get, true),
        (vec!["request.resourceAttributes.namespace == 'prod'", "request.user == 'bob'"], &path, false),
    ] {
        let script = says(json!({"allowed": true}));
        assert_eq!(webhook(&script, true, &conditions).authorize(asked).await.is_allowed(), want, "{conditions:?}");
        assert_eq!(script.count() == 1, want);
    }
    let fails = vec!["request.nonResourceAttributes.path == '/'"];
    for denied in [true, false] {
        let decision = webhook(&says(json!({"allowed": true})), denied, &fails).authorize(&get).await;
        assert!(
            matches!(&decision, Decision::Failed { denied: is, error, .. } if *is == denied && error.contains("no such key: nonResourceAttributes")),
            "{decision:?}"
        );
    }
}

fn config(authorizers: &str) -> AuthorizationConfiguration {
    let text = format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: {authorizers}\n");
    AuthorizationConfiguration::parse(&text).unwrap()
}

#[test]
fn a_configuration_is_checked_in_upstreams_words() {
    let wrong = |authorizers: &str| config(authorizers).validate().0.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(wrong("[{type: Node, name: node}, {type: RBAC, name: rbac}]").is_empty());
    for (authorizers, want) in [
        ("[]", vec!["authorizers: Required value: at least one authorization mode must be defined"]),
        ("[{name: x}]", vec!["authorizers[0].type: Required value"]),
        (
            "[{type: ABAC, name: x}]",
            vec![
                r#"authorizers[0].type: Unsupported value: "ABAC": supported values: "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook""#,
            ],
        ),
        ("[{type: RBAC, name: a}, {type: RBAC, name: b}]", vec![r#"authorizers[1].type: Duplicate value: "RBAC""#]),
        ("[{type: RBAC}]", vec!["authorizers[0].name: Required value"]),
        ("[{type: RBAC, name: a}, {type: Node, name: a}]", vec![r#"authorizers[1].name: Duplicate value: "a""#]),
        ("[{type: Webhook, name: a}]", vec!["authorizers[0].webhook: Required value: required when type=Webhook"]),
        (
            "[{type: RBAC, name: a, webhook: {}}]",
            vec![r#"authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook"#],
        ),
        (
            "[{type: Webhook, name: a, webhook: {}}]",
            vec![
                "authorizers[0].timeout: Required value",
                "authorizers[0].subjectAccessReviewVersion: Required value",
                "authorizers[0].failurePolicy: Required value",
                "authorizers[0].connectionInfo.type: Required value",
            ],
        ),
        (
            "[{type: Webhook, name: a, webhook: {timeout: 31s, authorizedTTL: -1s, subjectAccessReviewVersion: v2, failurePolicy: Fail, connectionInfo: {type: KubeConfigFile, kubeConfigFile: x}, matchConditions: [{expression: ''}, {expression: 'true'}, {expression: 'true'}, {expression: '7'}]}}]",
            vec![
                r#"authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s"#,
                r#"authorizers[0].authorizedTTL: Invalid value: "-1s": must be > 0s"#,
                r#"authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1""#,
                "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
                r#"authorizers[0].failurePolicy: Unsupported value: "Fail": supported values: "Deny", "NoOpinion""#,
                r#"authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "x": must be an absolute path"#,
                "authorizers[0].matchConditions[0].expression: Required value",
                r#"authorizers[0].matchConditions[2].expression: Duplicate value: "true""#,
                r#"authorizers[0].matchConditions[3].expression: Invalid value: "7": must evaluate to bool but got int"#,
            ],
        ),
    ] {
        assert_eq!(wrong(authorizers), want, "{authorizers}");
    }
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{types: RBAC}]";
    assert!(AuthorizationConfiguration::parse(text).unwrap_err().contains("unknown field `types`"));
}

const KUBECONFIG: &str = "clusters: [{name: c, cluster: {server: 'https://hook.example.com/x'}}]\nusers: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";

#[test]
fn a_kubeconfig_says_where_and_as_whom() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hook.yaml");
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        kubeconfig::load(&path, &Nowhere).map(|remote| (remote.url, remote.bearer))
    };
    assert_eq!(load(KUBECONFIG), Ok(("https://hook.example.com/x".into(), Some("t".into()))));
    assert_eq!(load(&KUBECONFIG.replace("current-context: x\n", "")).unwrap().1.as_deref(), Some("t"));
    for (from, to, want) in [
        ("https:", "http:", "must begin with https://"),
        ("current-context: x", "current-context: other", "there is no context \"other\" in contexts"),
        ("cluster: c,", "cluster: d,", "there is no cluster \"d\" in clusters"),
        ("token: t", "exec: {command: sh}", "exec is not supported"),
        ("token: t", "tokenFile: none", "none: No such file"),
        ("token: t", "client-certificate-data: eA==", "client-certificate and client-key must be set together"),
        ("server:", "insecure-skip-tls-verify: true, server:", "insecure-skip-tls-verify is not supported"),
        ("server:", "certificate-authority: nothing.crt, server:", "nothing.crt: No such file"),
    ] {
        let why = load(&KUBECONFIG.replace(from, to)).expect_err(to);
        assert!(why.contains(want) && why.starts_with("kubeconfig "), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_of_a_configuration_is_the_order_of_asking() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hook.yaml");
    std::fs::write(&path, KUBECONFIG).unwrap();
    let hook = format!(
        "{{type: Webhook, name: h, webhook: {{timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {{type: KubeConfigFile, kubeConfigFile: '{}'}}}}}}",
        path.display()
    );
    let ann = user();
    let asked = Attributes::resource(&ann, "get", "", "v1", "pods");
    let (yes, no): (Arc<dyn Authorizer>, Arc<dyn Authorizer>) = (Arc::new(AlwaysAllow), Arc::new(AlwaysDeny));
    for (order, want) in [
        (format!("[{hook}, {{type: RBAC, name: r}}]"), false),
        (format!("[{{type: RBAC, name: r}}, {hook}]"), true),
        ("[{type: Node, name: node}, {type: AlwaysAllow, name: a}]".into(), true),
        ("[{type: Node, name: node}, {type: AlwaysDeny, name: a}]".into(), false),
    ] {
        let chain = Chain::new(config(&order).build(&no, &yes, &Nowhere, &Env::sim(1)).unwrap());
        assert_eq!(chain.authorize(&asked).await.is_allowed(), want, "{order}");
    }
    let why = config("[{type: RBAC}]").build(&no, &yes, &Nowhere, &Env::sim(1)).err().unwrap();
    assert_eq!(why, "authorizers[0].name: Required value");
}
