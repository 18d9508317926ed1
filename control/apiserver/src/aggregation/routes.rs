//! The APIServices at one moment: who answers for which group and version, and in which order they are told.

use std::collections::HashMap;
use std::sync::Arc;

use client::Object;
use rustls::client::ResolvesClientCert;
use serde::Deserialize;

use super::priority::Priority;
use super::remote::{Link, Links};

/// Made anew for each state of the objects.
#[derive(Default)]
pub(crate) struct Routes {
    /// Of the newest change among the objects.
    pub revision: u64,
    /// By group and version.
    pub remotes: HashMap<(String, String), Arc<Remote>>,
    priorities: HashMap<(String, String), Priority>,
}

/// A server that answers for a group and version.
pub(crate) struct Remote {
    /// The APIService's: `v1.metrics.example.com`.
    pub name: String,
    pub group: String,
    pub version: String,
    pub service: Service,
    /// As its condition says.
    pub is_available: bool,
    /// Err: what is wrong with the object.
    pub link: Result<Arc<Link>, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub namespace: String,
    pub name: String,
    pub port: Option<u16>,
}

/// What is read of an APIService.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ApiService {
    pub spec: Spec,
    status: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub group: String,
    pub version: String,
    pub service: Option<Service>,
    ca_bundle: Option<String>,
    #[serde(rename = "insecureSkipTLSVerify")]
    skips_verification: bool,
    group_priority_minimum: i64,
    version_priority: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

impl Service {
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// The name in its certificate.
    pub(crate) fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

impl Routes {
    pub(super) fn of(revision: u64, objects: &[Arc<Object>], links: &Links, identity: Option<&Arc<dyn ResolvesClientCert>>) -> Self {
        let mut routes = Self { revision, ..Self::default() };
        for object in objects {
            let Ok(service) = object.lens::<ApiService>() else { continue };
            let key = (service.spec.group.clone(), service.spec.version.clone());
            let priority = Priority { group: service.spec.group_priority_minimum, version: service.spec.version_priority };
            routes.priorities.insert(key.clone(), priority);
            if let Some(remote) = remote(&object.meta.name, &service, links, identity) {
                routes.remotes.insert(key, Arc::new(remote));
            }
        }
        links.forget_unused();
        routes
    }

    pub(crate) fn remote(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        if self.remotes.is_empty() {
            return None;
        }
        self.remotes.get(&(group.to_owned(), version.to_owned())).cloned()
    }

    /// As its APIService says; None where there is none.
    pub(crate) fn priority(&self, group: &str, version: &str) -> Option<Priority> {
        self.priorities.get(&(group.to_owned(), version.to_owned())).copied()
    }
}

fn remote(name: &str, own: &ApiService, links: &Links, identity: Option<&Arc<dyn ResolvesClientCert>>) -> Option<Remote> {
    let spec = &own.spec;
    let service = spec.service.clone()?;
    let bundle = spec.ca_bundle.as_deref().unwrap_or_default();
    let is_available = own.status.conditions.iter().flatten().any(|one| one.r#type == "Available" && one.status == "True");
    Some(Remote {
        name: name.to_owned(),
        group: spec.group.clone(),
        version: spec.version.clone(),
        link: links.of(&service.server_name(), bundle, spec.skips_verification, identity),
        service,
        is_available,
    })
}
