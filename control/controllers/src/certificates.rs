//! Answers CertificateSigningRequests: approves what a node may ask for itself, signs what is approved, forgets what is done.
//!
//! | signer (`kubernetes.io/…`) | who is approved unasked | what is signed |
//! |---|---|---|
//! | `kube-apiserver-client-kubelet` | a node, for its own name | `system:node:NAME` in `system:nodes` as a client |
//! | `kubelet-serving` | a node, for addresses that its Node shows | the same as a server, asked for by that node |
//! | `kube-apiserver-client` | a node, for `system:kube-proxy` | any client that is not in `system:masters` |
//!
//! Requests to other signers are theirs. What is approved and cannot be signed gets the condition `Failed` with the reason.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use auth::pki::{Leaf, Request};
use auth::{MASTERS, NODE_PREFIX, NODES, Pki};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Object, Options, Target};
use jiff::Timestamp;
use kinds::core::Node;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value, json};

pub const NAME: &str = "certificate-controller";
const GROUP: &str = "certificates.k8s.io/v1";
const REQUESTS: &str = "certificatesigningrequests";
const PROXY: &str = "system:kube-proxy";
/// How long an answered request is kept, and one that nobody answers.
const KEPT: Duration = Duration::from_secs(3600);
const PENDING_KEPT: Duration = Duration::from_secs(24 * 3600);

pub struct Certificates {
    /// None: requests are approved by others and signed by nobody here.
    pub signer: Option<Arc<Pki>>,
}

#[async_trait]
impl Controller for Certificates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(GROUP, REQUESTS);
        // What a node may be a server of follows its addresses.
        let requests = wiring.lister(GROUP, REQUESTS);
        wiring.maps("v1", "nodes", move |node| {
            let asker = format!("{NODE_PREFIX}{}", node.meta.name);
            let by_node = |request: &&Arc<Object>| request.value().str_at("spec.username") == asker;
            requests.all().iter().filter(by_node).map(|request| request.meta.key()).collect()
        });
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get(GROUP, REQUESTS, key) else { return Ok(Action::AwaitChange) };
        let Some(signer) = &self.signer else { return Ok(Action::AwaitChange) };
        let doc = object.value();
        let left = time_left(&doc, cx.env.now());
        if left.is_zero() {
            let mut options = Options::default();
            options.delete.uid = Some(object.meta.uid.clone());
            return gone_is_fine(cx.client.delete(target(key), options).await).map(|()| Action::AwaitChange);
        }
        let node = doc.str_at("spec.username").strip_prefix(NODE_PREFIX).and_then(|name| cx.get("v1", "nodes", name));
        let addresses = node.and_then(|node| node.lens::<Node>().ok()).map(|node| addresses(&node)).unwrap_or_default();
        match verdict(&doc, &addresses) {
            Verdict::Nothing => {}
            Verdict::Approve(message) => write(cx, key, "approval", conditioned(doc, "Approved", "AutoApproved", message, cx)).await?,
            Verdict::Fail(why) => write(cx, key, "status", conditioned(doc, "Failed", "SignerValidationFailure", &why, cx)).await?,
            Verdict::Sign(request, leaf) => {
                let life = doc.i64_at("spec.expirationSeconds").map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs()));
                let certificate = signer.sign(&request, &leaf, life).map_err(Status::internal)?;
                let mut doc = doc;
                doc.set_at("status.certificate", json!(STANDARD.encode(certificate)));
                write(cx, key, "status", doc).await?;
            }
        }
        Ok(Action::After(left))
    }
}

enum Verdict {
    Nothing,
    Approve(&'static str),
    Sign(Request, Leaf),
    Fail(String),
}

/// What becomes of a request; `addresses` are those of the Node that asks. Pure.
fn verdict(doc: &Value, addresses: &[String]) -> Verdict {
    let has = |name: &str| doc.items_at("status.conditions").iter().any(|condition| condition.str_at("type") == name);
    if has("Denied") || has("Failed") || !doc.str_at("status.certificate").is_empty() {
        return Verdict::Nothing;
    }
    let Some(granted) = grant(doc) else { return Verdict::Nothing };
    match (has("Approved"), granted) {
        (true, Ok((request, leaf))) => Verdict::Sign(request, leaf),
        (true, Err(why)) => Verdict::Fail(why),
        (false, Ok((_, leaf))) if is_self_service(doc, &leaf, addresses) => {
            Verdict::Approve("Auto approving what a node may ask for itself.")
        }
        (false, _) => Verdict::Nothing,
    }
}

/// What would be signed, or why nothing can be; None where the signer is another.
fn grant(doc: &Value) -> Option<Result<(Request, Leaf), String>> {
    let signer = doc.str_at("spec.signerName").strip_prefix("kubernetes.io/")?;
    let rule: fn(&Value, &Request) -> Result<Leaf, String> = match signer {
        "kube-apiserver-client-kubelet" => node_client,
        "kubelet-serving" => node_server,
        "kube-apiserver-client" => any_client,
        _ => return None,
    };
    let request = STANDARD.decode(doc.str_at("spec.request")).map_err(|error| format!("spec.request: {error}"));
    let request = request.and_then(|bytes| String::from_utf8(bytes).map_err(|error| format!("spec.request: {error}")));
    Some(request.and_then(|pem| Request::parse(&pem)).and_then(|request| rule(doc, &request).map(|leaf| (request, leaf))))
}

fn node_client(doc: &Value, request: &Request) -> Result<Leaf, String> {
    let node = node_of(request)?;
    usages(doc, "client auth")?;
    if !request.names.is_empty() {
        return Err("a client has no alternative names".into());
    }
    Ok(Leaf::node_client(node))
}

fn node_server(doc: &Value, request: &Request) -> Result<Leaf, String> {
    let node = node_of(request)?;
    usages(doc, "server auth")?;
    if doc.str_at("spec.username") != request.common_name {
        return Err(format!("{:?} may not ask for {:?}", doc.str_at("spec.username"), request.common_name));
    }
    if request.names.is_empty() {
        return Err("a server needs a DNS name or an IP address".into());
    }
    Ok(Leaf::node_server(node, &request.names))
}

fn any_client(doc: &Value, request: &Request) -> Result<Leaf, String> {
    usages(doc, "client auth")?;
    match request.organizations.as_slice() {
        _ if !request.names.is_empty() => Err("a client has no alternative names".into()),
        organizations if organizations.iter().any(|one| one == MASTERS) => Err(format!("nobody is put into {MASTERS} by a request")),
        [] => Ok(Leaf::client(&request.common_name, &request.common_name, None)),
        [organization] => Ok(Leaf::client(&request.common_name, &request.common_name, Some(organization))),
        _ => Err("this signer puts a client into one organization at most".into()),
    }
}

fn node_of(request: &Request) -> Result<&str, String> {
    if request.organizations != [NODES] {
        return Err(format!("the organization must be {NODES}"));
    }
    let node = request.common_name.strip_prefix(NODE_PREFIX).filter(|node| !node.is_empty());
    node.ok_or_else(|| format!("the common name must be {NODE_PREFIX}NAME"))
}

/// `purpose` must be asked for, and nothing that the key is not for.
fn usages(doc: &Value, purpose: &str) -> Result<(), String> {
    let usages: Vec<&str> = doc.items_at("spec.usages").iter().filter_map(Value::as_str).collect();
    let other = usages.iter().find(|usage| ![purpose, "digital signature", "key encipherment"].contains(*usage));
    match other {
        Some(other) => Err(format!("usage {other:?} is not this signer's")),
        None if usages.contains(&purpose) => Ok(()),
        None => Err(format!("usage {purpose:?} is missing")),
    }
}

/// A node renews what it is: itself, the addresses it is reached at, and the proxy that runs in it.
fn is_self_service(doc: &Value, leaf: &Leaf, addresses: &[String]) -> bool {
    let is_node = doc.items_at("spec.groups").iter().any(|group| group == NODES);
    let asker = doc.str_at("spec.username");
    let own_name = asker.starts_with(NODE_PREFIX) && leaf.common_name == asker;
    let proxy = leaf.common_name == PROXY && leaf.organization.is_none() && asker.starts_with(NODE_PREFIX);
    is_node && (own_name || proxy) && leaf.names.iter().all(|name| addresses.contains(name))
}

fn addresses(node: &Node) -> Vec<String> {
    node.status.addresses.iter().map(|address| address.address.clone()).chain([node.metadata.name.clone()]).collect()
}

/// Until the request is forgotten.
fn time_left(doc: &Value, now: Timestamp) -> Duration {
    let answered = doc.items_at("status.conditions").iter().filter_map(|one| schema::time::parse(one.str_at("lastUpdateTime"))).max();
    let created = schema::time::parse(doc.str_at("metadata.creationTimestamp")).unwrap_or(now);
    let (since, kept) = answered.map_or((created, PENDING_KEPT), |answered| (answered, KEPT));
    kept.saturating_sub(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

fn conditioned(mut doc: Value, name: &str, reason: &str, message: &str, cx: &Cx) -> Value {
    let now = schema::time::format(cx.env.now());
    let mut conditions = doc.items_at("status.conditions").to_vec();
    conditions.push(
        json!({"type": name, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now, "lastTransitionTime": now}),
    );
    doc.set_at("status.conditions", conditions);
    doc
}

fn target(name: &str) -> Target {
    Target::of(GROUP, REQUESTS, "").named(name)
}

async fn write(cx: &Cx, name: &str, subresource: &str, doc: Value) -> Result<(), Retry> {
    gone_is_fine(cx.client.update(target(name).sub(subresource), doc).await)
}

fn gone_is_fine<T>(result: Result<T, Status>) -> Result<(), Retry> {
    match result {
        Err(status) if !status.is_not_found() => Err(status.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(asker: &str, signer: &str, leaf: &Leaf, usage: &str) -> Value {
        let (csr, _) = auth::pki::request(leaf).unwrap();
        let groups = if asker.starts_with(NODE_PREFIX) { json!([NODES]) } else { json!([]) };
        json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"username": asker, "groups": groups,
            "signerName": format!("kubernetes.io/{signer}"), "usages": ["digital signature", usage], "request": STANDARD.encode(csr)}})
    }

    fn word(doc: &Value) -> String {
        match verdict(doc, &["n1".to_owned(), "10.0.0.1".to_owned()]) {
            Verdict::Nothing => "nothing".into(),
            Verdict::Approve(_) => "approve".into(),
            Verdict::Sign(_, leaf) => format!("sign {} {}", leaf.common_name, leaf.names.join(",")),
            Verdict::Fail(why) => why,
        }
    }

    #[test]
    fn nodes_get_what_they_are_and_nobody_gets_more() {
        let (client, server, any) = ("kube-apiserver-client-kubelet", "kubelet-serving", "kube-apiserver-client");
        let serving = |names: &[&str]| Leaf::node_server("n1", &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let (one, two) = ("system:node:n1", "system:node:n2");
        let rows = [
            (asked(one, client, &Leaf::node_client("n1"), "client auth"), "approve", "sign system:node:n1 "),
            (asked(two, client, &Leaf::node_client("n1"), "client auth"), "nothing", "sign system:node:n1 "),
            (asked("alice", client, &Leaf::node_client("n1"), "client auth"), "nothing", "sign system:node:n1 "),
            (asked(one, client, &Leaf::admin(), "client auth"), "nothing", "the organization must be system:nodes"),
            (asked(one, client, &Leaf::node_client("n1"), "server auth"), "nothing", "usage \"server auth\" is not this signer's"),
            (asked(one, client, &serving(&["n1"]), "client auth"), "nothing", "a client has no alternative names"),
            (asked(one, server, &serving(&["n1", "10.0.0.1"]), "server auth"), "approve", "sign system:node:n1 n1,10.0.0.1"),
            (asked(one, server, &serving(&["n1", "10.0.0.9"]), "server auth"), "nothing", "sign system:node:n1 n1,10.0.0.9"),
            (asked(two, server, &serving(&["n1"]), "server auth"), "nothing", "\"system:node:n2\" may not ask for \"system:node:n1\""),
            (asked(one, any, &Leaf::component(PROXY), "client auth"), "approve", "sign system:kube-proxy "),
            (asked("alice", any, &Leaf::client("bob", "bob", Some("dev")), "client auth"), "nothing", "sign bob "),
            (asked(one, any, &Leaf::admin(), "client auth"), "nothing", "nobody is put into system:masters by a request"),
            (asked(one, "other", &Leaf::node_client("n1"), "client auth"), "nothing", "nothing"),
        ];
        for (mut doc, unasked, approved) in rows {
            let what = format!("{} asks {}", doc.str_at("spec.username"), doc.str_at("spec.signerName"));
            assert_eq!(word(&doc), unasked, "{what}");
            doc.set_at("status.conditions", json!([{"type": "Approved"}]));
            assert_eq!(word(&doc), approved, "{what}, approved");
            doc.set_at("status.conditions", json!([{"type": "Denied"}]));
            assert_eq!(word(&doc), "nothing", "{what}, denied");
        }
    }

    #[test]
    fn answered_requests_are_kept_for_an_hour_and_others_for_a_day() {
        let now = schema::time::parse("2026-01-01T00:30:00Z").unwrap();
        let mut doc = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(time_left(&doc, now).as_secs(), 23 * 3600 + 1800);
        doc.set_at("status.conditions", json!([{"type": "Denied", "lastUpdateTime": "2026-01-01T00:10:00Z"}]));
        assert_eq!(time_left(&doc, now).as_secs(), 2400);
        assert!(time_left(&doc, now + Duration::from_secs(7200)).is_zero());
    }
}
