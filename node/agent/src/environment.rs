//! A container's environment: envFrom, env, services, in upstream's order of precedence.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Object;
use kinds::core::{ConfigMap, Container, EnvVar, EnvVarSource, KeySelector, Pod, Secret, Service};

use crate::downward::{self, Surroundings};
use crate::expand::expand;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RefKind {
    ConfigMap,
    Secret,
}

impl RefKind {
    /// As error texts name it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// Where ConfigMaps and Secrets come from. `None`: there is none by that name.
#[async_trait]
pub(crate) trait Objects: Send + Sync {
    async fn get(&self, kind: RefKind, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, String>;
}

/// Keys and decoded contents of a ConfigMap or Secret.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// `None`: absent. A content that is no base64 is an error.
pub(crate) async fn contents(objects: &dyn Objects, kind: RefKind, namespace: &str, name: &str) -> Result<Option<Contents>, String> {
    let Some(object) = objects.get(kind, namespace, name).await? else { return Ok(None) };
    let broken = |cause: &dyn std::fmt::Display| format!("{} {namespace}/{name}: {cause}", kind.noun());
    let (plain, encoded) = match kind {
        RefKind::ConfigMap => {
            let map = object.lens::<ConfigMap>().map_err(|cause| broken(&cause))?;
            (map.data.clone(), map.binary_data.clone())
        }
        RefKind::Secret => (BTreeMap::new(), object.lens::<Secret>().map_err(|cause| broken(&cause))?.data.clone()),
    };
    let mut all: Contents = plain.into_iter().map(|(key, text)| (key, text.into_bytes())).collect();
    for (key, text) in encoded {
        all.insert(key, STANDARD.decode(text).map_err(|cause| broken(&cause))?);
    }
    Ok(Some(all))
}

/// The variables and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub variables: Vec<(String, String)>,
    /// Sentences for an event.
    pub skipped: Vec<String>,
}

/// All variables of `container` but the image's own. An error makes it wait with `CreateContainerConfigError`.
pub(crate) async fn environment(
    pod: &Pod,
    container: &Container,
    around: &Surroundings,
    services: BTreeMap<String, String>,
    objects: &dyn Objects,
) -> Result<Environment, String> {
    let mut services = services;
    for variable in &container.env {
        services.remove(&variable.name);
    }
    let mut env = Environment::default();
    let mut known: Vec<(String, String)> = Vec::new();
    for source in &container.env_from {
        let refs = [(RefKind::ConfigMap, &source.config_map_ref), (RefKind::Secret, &source.secret_ref)];
        for (kind, source_ref) in refs.into_iter().filter_map(|(kind, one)| one.as_ref().map(|one| (kind, one))) {
            let namespace = &pod.metadata.namespace;
            match contents(objects, kind, namespace, &source_ref.name).await? {
                Some(contents) => env.skipped.extend(take_all(&mut known, contents, &source.prefix, kind, namespace, &source_ref.name)),
                None if source_ref.optional == Some(true) => {}
                None => return Err(format!("{} {:?} not found", kind.noun(), source_ref.name)),
            }
        }
    }
    for variable in &container.env {
        if let Some(value) = value_of(pod, container, variable, &known, &services, around, objects).await? {
            put(&mut known, &variable.name, value);
        }
    }
    let taken: Vec<(String, String)> = services.into_iter().filter(|(name, _)| !known.iter().any(|(taken, _)| taken == name)).collect();
    env.variables = known;
    env.variables.extend(taken);
    Ok(env)
}

fn put(known: &mut Vec<(String, String)>, name: &str, value: String) {
    match known.iter_mut().find(|(taken, _)| taken == name) {
        Some((_, held)) => *held = value,
        None => known.push((name.to_owned(), value)),
    }
}

/// Takes every key that may be a variable's name; returns the sentence about those that may not.
fn take_all(
    known: &mut Vec<(String, String)>,
    contents: Contents,
    prefix: &str,
    kind: RefKind,
    namespace: &str,
    name: &str,
) -> Option<String> {
    let mut invalid = Vec::new();
    for (key, value) in contents {
        let key = format!("{prefix}{key}");
        if is_variable_name(&key) {
            put(known, &key, String::from_utf8_lossy(&value).into_owned());
        } else {
            invalid.push(key);
        }
    }
    let noun = if kind == RefKind::ConfigMap { "configMap" } else { "secret" };
    (!invalid.is_empty()).then(|| {
        let keys = invalid.join(", ");
        format!("Keys [{keys}] from the EnvFrom {noun} {namespace}/{name} were skipped since they are considered invalid environment variable names.")
    })
}

/// Printable ASCII without `=`, as since 1.34.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=')
}

async fn value_of(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    known: &[(String, String)],
    services: &BTreeMap<String, String>,
    around: &Surroundings,
    objects: &dyn Objects,
) -> Result<Option<String>, String> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(expand(&variable.value, |name| lookup(name, known, services))));
    };
    match source {
        EnvVarSource { field_ref: Some(field), .. } => downward::field(pod, &field.field_path, around).map(Some),
        EnvVarSource { resource_field_ref: Some(selector), .. } => downward::resource(pod, selector, &container.name, around).map(Some),
        EnvVarSource { config_map_key_ref: Some(key), .. } => key_value(pod, RefKind::ConfigMap, key, objects).await,
        EnvVarSource { secret_key_ref: Some(key), .. } => key_value(pod, RefKind::Secret, key, objects).await,
        _ => Err(format!("env {:?}: valueFrom names no source that this node knows", variable.name)),
    }
}

fn lookup(name: &str, known: &[(String, String)], services: &BTreeMap<String, String>) -> Option<String> {
    known.iter().find(|(taken, _)| taken == name).map(|(_, value)| value.clone()).or_else(|| services.get(name).cloned())
}

async fn key_value(pod: &Pod, kind: RefKind, selector: &KeySelector, objects: &dyn Objects) -> Result<Option<String>, String> {
    let namespace = &pod.metadata.namespace;
    let found = contents(objects, kind, namespace, &selector.name).await?;
    let optional = selector.optional == Some(true);
    match found {
        None if optional => Ok(None),
        None => Err(format!("{} {:?} not found", kind.noun(), selector.name)),
        Some(contents) => match contents.get(&selector.key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional => Ok(None),
            None => {
                let noun = if kind == RefKind::ConfigMap { "ConfigMap" } else { "Secret" };
                Err(format!("couldn't find key {} in {noun} {namespace}/{}", selector.key, selector.name))
            }
        },
    }
}

/// The variables that name services: all of the pod's namespace with `links`, and `default/kubernetes` always.
pub(crate) fn service_variables<'a>(services: impl Iterator<Item = &'a Service>, namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    let mut master = BTreeMap::new();
    for service in services.filter(|service| !matches!(service.spec.cluster_ip.as_str(), "" | "None")) {
        let meta = &service.metadata;
        if meta.namespace == namespace && links {
            own.extend(variables_of(service));
        } else if meta.namespace == "default" && meta.name == "kubernetes" {
            master.extend(variables_of(service));
        }
    }
    master.extend(own);
    master
}

fn variables_of(service: &Service) -> Vec<(String, String)> {
    let name = service.metadata.name.to_uppercase().replace('-', "_");
    let ip = &service.spec.cluster_ip;
    let Some(first) = service.spec.ports.first() else { return Vec::new() };
    let mut all = vec![(format!("{name}_SERVICE_HOST"), ip.clone()), (format!("{name}_SERVICE_PORT"), first.port.to_string())];
    for port in service.spec.ports.iter().filter(|port| !port.name.is_empty()) {
        all.push((format!("{name}_SERVICE_PORT_{}", port.name.to_uppercase().replace('-', "_")), port.port.to_string()));
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    for (index, port) in service.spec.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            all.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        all.push((prefix.clone(), url));
        all.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
        all.push((format!("{prefix}_PORT"), port.port.to_string()));
        all.push((format!("{prefix}_ADDR"), ip.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    struct Table(Vec<(RefKind, schema::Value)>);

    #[async_trait]
    impl Objects for Table {
        async fn get(&self, kind: RefKind, _namespace: &str, name: &str) -> Result<Option<Arc<Object>>, String> {
            let found = self.0.iter().find(|(of, doc)| *of == kind && doc["metadata"]["name"] == name);
            Ok(found.map(|(_, doc)| Object::from_value(doc).unwrap()))
        }
    }

    async fn run(container: schema::Value, objects: &[(RefKind, schema::Value)], services: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [container]}})).unwrap();
        let services = services.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let env = environment(&pod, &pod.spec.containers[0], &Surroundings::default(), services, &Table(objects.to_vec())).await?;
        Ok(env.variables.into_iter().map(|(name, value)| format!("{name}={value}")).chain(env.skipped).collect())
    }

    #[tokio::test]
    async fn env_overrides_env_from_and_sees_what_came_before() {
        let map = (RefKind::ConfigMap, json!({"metadata": {"name": "m"}, "data": {"A": "from", "B": "b", "bad=": "x"}}));
        let container = json!({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"configMapRef": {"name": "none", "optional": true}}],
            "env": [{"name": "P_A", "value": "own $(P_B) $(LATER) $(HOST) $$(X)"}, {"name": "LATER", "value": "z"},
                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "S", "value": "mine"}]});
        let got = run(container, &[map], &[("HOST", "h"), ("S", "service")]).await.unwrap();
        assert_eq!(
            got,
            [
                "P_A=own b $(LATER) h $(X)",
                "P_B=b",
                "LATER=z",
                "N=p",
                "S=mine",
                "HOST=h",
                "Keys [P_bad=] from the EnvFrom configMap d/m were skipped since they are considered invalid environment variable names."
            ]
        );
    }

    #[tokio::test]
    async fn missing_references_name_what_is_missing() {
        let secret = (RefKind::Secret, json!({"metadata": {"name": "s"}, "data": {"k": "dg=="}}));
        let by_key = |name: &str, key: &str, optional: bool| json!({"name": "c", "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": name, "key": key, "optional": optional}}}]});
        let objects = [secret];
        assert_eq!(run(by_key("s", "k", false), &objects, &[]).await.unwrap(), ["V=v"]);
        assert_eq!(run(by_key("x", "k", false), &objects, &[]).await.unwrap_err(), "secret \"x\" not found");
        assert_eq!(run(by_key("s", "x", false), &objects, &[]).await.unwrap_err(), "couldn't find key x in Secret d/s");
        assert!(run(by_key("x", "k", true), &objects, &[]).await.unwrap().is_empty());
    }

    #[test]
    fn services_become_variables() {
        let service = |namespace: &str, name: &str, ip: &str| -> Service {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace},
                "spec": {"clusterIP": ip, "ports": [{"name": "web-ui", "port": 80, "protocol": "TCP"}]}}))
            .unwrap()
        };
        let all = [
            service("default", "kubernetes", "10.0.0.1"),
            service("d", "a-b", "10.0.0.2"),
            service("e", "x", "10.0.0.3"),
            service("d", "h", "None"),
        ];
        let names: Vec<String> = service_variables(all.iter(), "d", true).into_keys().collect();
        assert_eq!(names.len(), 16);
        assert!(names.contains(&"A_B_SERVICE_PORT_WEB_UI".into()) && names.contains(&"A_B_PORT_80_TCP_ADDR".into()));
        assert!(service_variables(all.iter(), "d", false).keys().all(|name| name.starts_with("KUBERNETES_")));
    }
}
