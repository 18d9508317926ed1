//! Where the authorizer finds roles and bindings.

use std::collections::HashMap;
use std::sync::Arc;

use client::informer::IndexFn;
use client::{Client, Informer, Object, Options, Target};
use env::Env;
use kinds::rbac::{ClusterRoleBinding, RoleBinding, Subject};

use crate::seam::UserInfo;
use crate::{SERVICE_ACCOUNT_PREFIX, split_service_account};

const BY_SUBJECT: &str = "subject";

/// Roles by name, bindings by subject key (see [`subject_keys`]).
pub trait Source: Send + Sync + 'static {
    fn role(&self, namespace: &str, name: &str) -> Option<Arc<Object>>;
    fn cluster_role(&self, name: &str) -> Option<Arc<Object>>;
    fn bindings(&self, namespace: &str, subject: &str) -> Vec<Arc<Object>>;
    fn cluster_bindings(&self, subject: &str) -> Vec<Arc<Object>>;
}

/// Kept current by four informers.
pub struct Informed {
    roles: Arc<Informer>,
    bindings: Arc<Informer>,
    cluster_roles: Arc<Informer>,
    cluster_bindings: Arc<Informer>,
}

impl Informed {
    /// `client` must not need RBAC itself: its user is in `system:masters`.
    pub fn start(env: &Env, client: &Client) -> Arc<Self> {
        let start = |resource: &str, indexes: &[(&'static str, IndexFn)]| {
            let target = Target::of("rbac.authorization.k8s.io/v1", resource, "");
            Informer::start(env, client.clone(), target, Options::default(), indexes)
        };
        Arc::new(Self {
            roles: start("roles", &[]),
            bindings: start("rolebindings", &[(BY_SUBJECT, binding_subjects)]),
            cluster_roles: start("clusterroles", &[]),
            cluster_bindings: start("clusterrolebindings", &[(BY_SUBJECT, cluster_binding_subjects)]),
        })
    }

    /// Resolves when all four have their first list.
    pub async fn synced(&self) {
        for informer in [&self.roles, &self.bindings, &self.cluster_roles, &self.cluster_bindings] {
            informer.synced().await;
        }
    }

    pub fn is_synced(&self) -> bool {
        [&self.roles, &self.bindings, &self.cluster_roles, &self.cluster_bindings].iter().all(|informer| informer.is_synced())
    }

    /// The informer of cluster roles, for the aggregation.
    pub fn cluster_roles(&self) -> Arc<Informer> {
        Arc::clone(&self.cluster_roles)
    }
}

impl Source for Informed {
    fn role(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.roles.store.get(&format!("{namespace}/{name}"))
    }

    fn cluster_role(&self, name: &str) -> Option<Arc<Object>> {
        self.cluster_roles.store.get(name)
    }

    fn bindings(&self, namespace: &str, subject: &str) -> Vec<Arc<Object>> {
        self.bindings.store.by(BY_SUBJECT, &format!("{namespace}/{subject}"))
    }

    fn cluster_bindings(&self, subject: &str) -> Vec<Arc<Object>> {
        self.cluster_bindings.store.by(BY_SUBJECT, subject)
    }
}

/// A set that does not change: tests, and questions about the default policy.
#[derive(Default)]
pub struct Fixed {
    roles: HashMap<String, Arc<Object>>,
    cluster_roles: HashMap<String, Arc<Object>>,
    bindings: HashMap<String, Vec<Arc<Object>>>,
    cluster_bindings: HashMap<String, Vec<Arc<Object>>>,
}

impl Fixed {
    pub fn new(docs: &[schema::Value]) -> Self {
        let mut fixed = Self::default();
        for doc in docs {
            let Ok(object) = Object::from_value(doc) else { continue };
            let (key, kind) = (object.meta.key(), doc.get("kind").and_then(schema::Value::as_str).unwrap_or_default());
            match kind {
                "Role" => drop(fixed.roles.insert(key, object)),
                "ClusterRole" => drop(fixed.cluster_roles.insert(key, object)),
                "RoleBinding" => index(&mut fixed.bindings, binding_subjects(&object), &object),
                _ => index(&mut fixed.cluster_bindings, cluster_binding_subjects(&object), &object),
            }
        }
        fixed
    }
}

fn index(map: &mut HashMap<String, Vec<Arc<Object>>>, keys: Vec<String>, object: &Arc<Object>) {
    for key in keys {
        map.entry(key).or_default().push(Arc::clone(object));
    }
}

impl Source for Fixed {
    fn role(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.roles.get(&format!("{namespace}/{name}")).cloned()
    }

    fn cluster_role(&self, name: &str) -> Option<Arc<Object>> {
        self.cluster_roles.get(name).cloned()
    }

    fn bindings(&self, namespace: &str, subject: &str) -> Vec<Arc<Object>> {
        self.bindings.get(&format!("{namespace}/{subject}")).cloned().unwrap_or_default()
    }

    fn cluster_bindings(&self, subject: &str) -> Vec<Arc<Object>> {
        self.cluster_bindings.get(subject).cloned().unwrap_or_default()
    }
}

/// The keys under which a user's bindings are found: `u:<name>` and `g:<group>` each.
pub fn subject_keys(user: &UserInfo) -> Vec<String> {
    std::iter::once(format!("u:{}", user.name)).chain(user.groups.iter().map(|group| format!("g:{group}"))).collect()
}

/// `User "x"`, `Group "y"`, `ServiceAccount "name/namespace"`, as upstream's reasons print them.
pub fn describe_subject(key: &str) -> String {
    match key.split_at(2) {
        ("g:", group) => format!("Group {group:?}"),
        (_, user) => match split_service_account(user) {
            Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
            None => format!("User {user:?}"),
        },
    }
}

fn key_of(subject: &Subject, namespace: &str) -> Option<String> {
    match subject.kind.as_str() {
        "User" => Some(format!("u:{}", subject.name)),
        "Group" => Some(format!("g:{}", subject.name)),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
            (!namespace.is_empty()).then(|| format!("u:{SERVICE_ACCOUNT_PREFIX}{namespace}:{}", subject.name))
        }
        _ => None,
    }
}

fn cluster_binding_subjects(object: &Object) -> Vec<String> {
    let Ok(binding) = object.lens::<ClusterRoleBinding>() else { return Vec::new() };
    binding.subjects.iter().filter_map(|subject| key_of(subject, "")).collect()
}

fn binding_subjects(object: &Object) -> Vec<String> {
    let Ok(binding) = object.lens::<RoleBinding>() else { return Vec::new() };
    let namespace = &object.meta.namespace;
    binding.subjects.iter().filter_map(|subject| key_of(subject, namespace)).map(|key| format!("{namespace}/{key}")).collect()
}
