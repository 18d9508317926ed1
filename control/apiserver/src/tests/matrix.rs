//! The deny matrix: for every default role, and for those who hold roles by their nature, every kind and verb: what the whole authorizer of a
//! running server answers against what the published facts say.
//!
//! What is expected is worked out here from the facts alone (`auth/src/policy/default.txt`), by sets and without any code of the authorizer:
//! no parser of policies, no informer, no aggregation, no rule matching of ours takes part in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use auth::Attributes;
use schema::DocExt;

use super::*;
use crate::assemble::assemble;

const FACTS: &str = include_str!("../../../auth/src/policy/default.txt");
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// One grant: verbs on resources of groups (of names), or on paths.
#[derive(Clone, Debug, Default)]
struct Grant {
    verbs: BTreeSet<String>,
    groups: BTreeSet<String>,
    resources: BTreeSet<String>,
    names: BTreeSet<String>,
    paths: BTreeSet<String>,
}

#[derive(Default)]
struct Facts {
    grants: HashMap<String, Vec<Grant>>,
    /// Roles by the label that others gather them by.
    labelled: HashMap<String, Vec<String>>,
    gathers: HashMap<String, String>,
    /// Cluster roles by who holds them: `user:x`, `group:y`.
    held: BTreeMap<String, Vec<String>>,
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(',').map(str::to_owned).collect()
}

fn grant(line: &str) -> Grant {
    let mut parts = line.split_whitespace();
    let mut verbs = words(parts.next().unwrap());
    for (word, all) in [
        ("read", "get,list,watch"),
        ("write", "create,delete,deletecollection,patch,update"),
        ("all", "get,list,watch,create,delete,deletecollection,patch,update"),
    ] {
        if verbs.remove(word) {
            verbs.extend(words(all));
        }
    }
    let rest: Vec<&str> = parts.collect();
    // A rule for paths has no groups: `get /a /b`, or `* *`.
    if rest[0].starts_with('/') || rest.len() == 1 {
        return Grant { verbs, paths: rest.into_iter().map(str::to_owned).collect(), ..Grant::default() };
    }
    let groups = words(rest[0]).into_iter().map(|group| if group == "core" { String::new() } else { group }).collect();
    let names = rest.get(3).map(|names| words(names)).unwrap_or_default();
    Grant { verbs, groups, resources: words(rest[1]), names, ..Grant::default() }
}

impl Facts {
    fn read() -> Self {
        let (mut facts, mut role) = (Self::default(), String::new());
        for line in FACTS.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let header: Vec<&str> = line.split_whitespace().collect();
            match header[0] {
                _ if line.starts_with(' ') => facts.grants.entry(role.clone()).or_default().push(grant(line)),
                "cluster-role" => {
                    role = header[1].to_owned();
                    facts.grants.entry(role.clone()).or_default();
                    for option in &header[2..] {
                        match option.split_once('=').unwrap() {
                            ("label", label) => facts.labelled.entry(label.to_owned()).or_default().push(role.clone()),
                            (_, label) => drop(facts.gathers.insert(role.clone(), label.to_owned())),
                        }
                    }
                }
                "controller" => {
                    role = format!("system:controller:{}", header[1]);
                    assert!(!facts.grants.contains_key(&role), "{role} stands there twice");
                    facts.hold(&format!("user:system:serviceaccount:kube-system:{}", header[1]), &role);
                }
                "cluster-binding" => {
                    let (bound, subjects) =
                        if header.get(2) == Some(&"->") { (header[3], &header[4..]) } else { (header[1], &header[2..]) };
                    for subject in subjects {
                        let subject = subject
                            .strip_prefix("sa:")
                            .map_or((*subject).to_owned(), |sa| format!("user:system:serviceaccount:{}", sa.replace('/', ":")));
                        facts.hold(&subject, bound);
                    }
                }
                // Roles in namespaces are asked for elsewhere: the questions here are in `default` and of the cluster.
                _ => role = format!("in a namespace: {}", header[1]),
            }
        }
        facts
    }

    fn hold(&mut self, subject: &str, role: &str) {
        self.held.entry(subject.to_owned()).or_default().push(role.to_owned());
    }

    fn of_role(&self, role: &str) -> Vec<&Grant> {
        let mut all: Vec<&Grant> = self.grants.get(role).into_iter().flatten().collect();
        for part in self.gathers.get(role).and_then(|label| self.labelled.get(label)).into_iter().flatten() {
            all.extend(self.of_role(part));
        }
        all
    }

    fn of_user(&self, user: &UserInfo) -> Vec<&Grant> {
        let subjects = std::iter::once(format!("user:{}", user.name)).chain(user.groups.iter().map(|group| format!("group:{group}")));
        subjects.filter_map(|subject| self.held.get(&subject)).flatten().flat_map(|role| self.of_role(role)).collect()
    }
}

/// What is asked.
#[derive(Clone, Debug)]
struct Asked {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
    name: &'static str,
    namespace: &'static str,
    path: &'static str,
}

impl Asked {
    fn attributes<'a>(&'a self, user: &'a UserInfo) -> Attributes<'a> {
        if !self.path.is_empty() {
            return Attributes::path(user, self.verb, self.path);
        }
        Attributes {
            subresource: &self.subresource,
            namespace: self.namespace,
            name: self.name,
            ..Attributes::resource(user, self.verb, &self.group, "v1", &self.resource)
        }
    }

    fn is_granted(&self, grant: &Grant) -> bool {
        let has = |set: &BTreeSet<String>, one: &str| set.contains(one) || set.contains("*");
        if !has(&grant.verbs, self.verb) {
            return false;
        }
        if !self.path.is_empty() {
            let prefixes = (0..=self.path.len()).map(|end| format!("{}*", &self.path[..end]));
            return grant.paths.contains(self.path) || prefixes.into_iter().any(|pattern| grant.paths.contains(&pattern));
        }
        let whole = if self.subresource.is_empty() { self.resource.clone() } else { format!("{}/{}", self.resource, self.subresource) };
        let any = format!("*/{}", self.subresource);
        let resource = has(&grant.resources, &whole) || (!self.subresource.is_empty() && grant.resources.contains(&any));
        has(&grant.groups, &self.group) && resource && (grant.names.is_empty() || grant.names.contains(self.name))
    }
}

/// Every kind and subresource with every verb, what is no kind but asked for all the same, and paths.
fn questions() -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut add = |group: &str, resource: &str, subresource: &str, namespaced: bool, verbs: &[&'static str], name: &'static str| {
        for verb in verbs {
            let namespace = if namespaced { "default" } else { "" };
            let (group, resource, subresource) = (group.to_owned(), resource.to_owned(), subresource.to_owned());
            asked.push(Asked { verb, group, resource, subresource, name, namespace, path: "" });
        }
    };
    let mut seen = BTreeSet::new();
    for kind in kinds::all() {
        if seen.insert((kind.group.to_string(), kind.resource.to_string())) {
            add(&kind.group, &kind.resource, "", kind.is_namespaced(), &VERBS, "x");
            for sub in &kind.subresources {
                add(&kind.group, &kind.resource, &sub.name, kind.is_namespaced(), &VERBS, "x");
            }
        }
    }
    for (group, resource) in
        [("extensions", "deployments"), ("metrics.k8s.io", "pods"), ("custom.metrics.k8s.io", "x"), ("example.com", "widgets")]
    {
        add(group, resource, "", true, &VERBS, "x");
        add(group, resource, "scale", true, &VERBS, "x");
    }
    for resource in ["users", "groups", "serviceaccounts"] {
        add("", resource, "", resource == "serviceaccounts", &["impersonate"], "x");
    }
    for resource in ["uids", "userextras"] {
        add("authentication.k8s.io", resource, "", false, &["impersonate", "impersonate:user-info"], "x");
    }
    for resource in ["roles", "clusterroles"] {
        add("rbac.authorization.k8s.io", resource, "", resource == "roles", &["bind", "escalate"], "x");
    }
    for signer in ["kubernetes.io/kube-apiserver-client", "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-serving", "x"] {
        add("certificates.k8s.io", "signers", "", false, &["approve", "sign", "attest"], signer);
    }
    for sub in ["nodeclient", "selfnodeclient"] {
        add("certificates.k8s.io", "certificatesigningrequests", sub, false, &["create"], "x");
    }
    for name in ["kube-scheduler", "kube-controller-manager"] {
        add("coordination.k8s.io", "leases", "", true, &VERBS, name);
    }
    add("", "nodes", "", false, &["proxy"], "x");
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/apis/apps",
        "/openapi/v3",
        "/version",
        "/version/",
        "/healthz",
        "/healthz/ping",
        "/livez",
        "/readyz/etcd",
        "/metrics",
        "/metrics/slis",
        "/openid/v1/jwks",
        "/.well-known/openid-configuration",
        "/logs",
        "/debug/pprof",
    ] {
        for verb in ["get", "post"] {
            asked.push(Asked {
                verb,
                group: String::new(),
                resource: String::new(),
                subresource: String::new(),
                name: "",
                namespace: "",
                path,
            });
        }
    }
    asked
}

/// Who holds rights by nature, without a binding of this test's.
fn people(facts: &Facts) -> Vec<UserInfo> {
    let mut people = vec![
        UserInfo::new("system:anonymous", &["system:unauthenticated"]),
        UserInfo::new("ann", &["system:authenticated"]),
        UserInfo::new("root", &["system:masters", "system:authenticated"]),
        UserInfo::new("watcher", &["system:monitoring", "system:authenticated"]),
        auth::service_account_user("default", "default", ""),
    ];
    people.extend(
        ["system:kube-scheduler", "system:kube-controller-manager", "system:kube-proxy"]
            .map(|name| UserInfo::new(name, &["system:authenticated"])),
    );
    let controllers = facts.held.keys().filter_map(|subject| subject.strip_prefix("user:system:serviceaccount:kube-system:"));
    people.extend(controllers.map(auth::controller_user));
    people
}

/// A node without pods, leases of its own and the like: what it may whatever the names.
const NODE_ALONE: &[&str] = &[
    "create,update,patch core nodes",
    "update,patch core nodes/status",
    "create,delete core pods",
    "update,patch core pods/status",
    "create core pods/eviction",
    "create,update,patch core events",
    "get,list,watch core services",
    "get core endpoints",
    "create,get,list,watch certificates.k8s.io certificatesigningrequests",
    "create certificates.k8s.io podcertificaterequests",
    "get,list,watch certificates.k8s.io clustertrustbundles",
    "create storage.k8s.io csinodes",
    "get,list,watch storage.k8s.io csidrivers",
    "create resource.k8s.io resourceslices",
    "get,list,watch node.k8s.io runtimeclasses",
    "create authentication.k8s.io tokenreviews",
    "create authorization.k8s.io subjectaccessreviews,localsubjectaccessreviews",
];

async fn running() -> (Arc<Core>, Env, tempfile::TempDir) {
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let pki = auth::Pki::ensure(dir.path(), &env).unwrap();
    let config = Config { api_address: ("192.0.2.1".parse().unwrap(), 6443), ..Config::default() };
    let core = assemble(store::Memory::new(), &env, config, pki.signing_key()).await.unwrap().core;
    (core, env, dir)
}

/// Binds each role to a user of its own.
async fn bind_all(core: &Arc<Core>, roles: &[&String]) {
    let admin = Client::new(core.transport(auth::loopback_user()));
    for role in roles {
        let doc = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": format!("matrix-{}", role.replace(':', "-"))},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("holder:{role}")}]});
        admin.create(Target::of("rbac.authorization.k8s.io/v1", "clusterrolebindings", ""), doc).await.unwrap();
    }
}

/// Until the aggregated roles have their rules and every binding is in force.
async fn settle(core: &Core, roles: &[&String], facts: &Facts) {
    for role in roles.iter().filter(|role| !facts.of_role(role).is_empty()) {
        let holder = UserInfo::new(format!("holder:{role}"), &[]);
        let holds = async {
            while core.authorizer().rules_for(&holder, "").await.rules.len() < facts.of_role(role).len().min(12) {
                tokio::task::yield_now().await;
            }
        };
        let settled = tokio::time::timeout(std::time::Duration::from_secs(60), holds).await;
        assert!(settled.is_ok(), "{role} has fewer rules than the facts give it");
    }
}

#[tokio::test]
async fn every_role_and_everybody_may_what_the_facts_say_and_nothing_else() {
    let (core, env, _dir) = running().await;
    let (facts, questions) = (Facts::read(), questions());
    let roles: Vec<&String> = facts.grants.keys().filter(|role| !role.starts_with("in a namespace")).collect();
    assert!(roles.len() > 65, "{}", roles.len());
    bind_all(&core, &roles).await;
    settle(&core, &roles, &facts).await;
    let holders = roles.iter().map(|role| (UserInfo::new(format!("holder:{role}"), &[]), facts.of_role(role)));
    let natural = people(&facts).into_iter().map(|user| {
        let grants = facts.of_user(&user);
        (user, grants)
    });
    let node: Vec<Grant> = NODE_ALONE.iter().map(|line| grant(line)).collect();
    let node_user = UserInfo::new("system:node:n1", &["system:nodes", "system:authenticated"]);
    let of_node = facts.of_user(&node_user).into_iter().chain(&node).collect();
    let (mut wrong, mut asked, mut allowed) = (Vec::new(), 0, 0);
    for (user, grants) in holders.chain(natural).chain([(node_user.clone(), of_node)]) {
        for question in &questions {
            let want = user.is_in(auth::MASTERS) || grants.iter().any(|grant| question.is_granted(grant));
            let got = core.authorizer().authorize(&question.attributes(&user)).await.is_allowed();
            asked += 1;
            allowed += usize::from(got);
            if want != got {
                wrong.push(format!("{}: {question:?}: expected {want}, answered {got}", user.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert!(asked > 130_000 && allowed > 10_000 && allowed < asked / 4, "{allowed} of {asked}");
    env.stop(std::time::Duration::from_secs(5)).await;
}

/// The recorded answers of the original, where they are at hand.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test says why it skips")]
async fn roles_answer_as_the_recorded_ones() {
    let file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/builtin/rbac.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: no recorded answers at {}", file.display());
        return;
    };
    let (core, env, _dir) = running().await;
    let facts = Facts::read();
    let roles: Vec<&String> = facts.grants.keys().filter(|role| !role.starts_with("in a namespace")).collect();
    bind_all(&core, &roles).await;
    settle(&core, &roles, &facts).await;
    let mut compared = 0;
    for line in text.lines().filter(|line| line.contains("\"role-in-namespace/")) {
        let case: Value = serde_json::from_str(line).unwrap();
        let steps = case.items_at("steps");
        let role = steps[0].str_at("body.roleRef.name");
        let grants = facts.of_role(role);
        for (ask, want) in steps.iter().filter_map(|step| step.at("want.answers")?.as_object()).flatten() {
            let (verb, place) = ask.split_once(' ').unwrap();
            if place.starts_with('/') {
                continue; // a role in a namespace says nothing of paths
            }
            let (group, resource) = match place.split('/').collect::<Vec<_>>().as_slice() {
                [group, rest @ ..] if group.contains('.') || ["apps", "batch", "autoscaling", "policy", "extensions"].contains(group) => {
                    ((*group).to_owned(), rest.join("/"))
                }
                all => (String::new(), all.join("/")),
            };
            let (resource, subresource) =
                resource.split_once('/').map_or((resource.clone(), String::new()), |(a, b)| (a.to_owned(), b.to_owned()));
            let verb = VERBS.into_iter().chain(["impersonate", "bind", "escalate", "approve", "sign", "proxy"]).find(|one| *one == verb);
            let Some(verb) = verb else { continue };
            let question = Asked { verb, group, resource, subresource, name: "x", namespace: "default", path: "" };
            let by_facts = grants.iter().any(|grant| question.is_granted(grant));
            // The record is of 1.20; since 1.22 editors write events.
            let is_since_changed = matches!(role, "admin" | "edit") && question.resource == "events" && question.group.is_empty();
            assert!(Value::Bool(by_facts) == *want || (is_since_changed && by_facts), "{role}: {ask}: {want} was recorded");
            compared += 1;
        }
    }
    assert!(compared > 390, "{compared}");
    env.stop(std::time::Duration::from_secs(5)).await;
}
