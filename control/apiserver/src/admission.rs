//! Admission: an explicit, ordered chain of plug-ins between decoding and the store.
//!
//! | # | plug-in | mutates | validates |
//! |---|---|---|---|
//! | 1 | [`namespace::NamespaceLifecycle`] | | the namespace exists and does not go away; some never may |
//! | 2 | [`service_account::ServiceAccount`] | account, token volume, pull secrets | |
//! | 3 | [`priority::Priority`] | priority and preemption policy of pods | one global default class |
//! | 4 | [`toleration::DefaultTolerationSeconds`] | 300 s on an unready node | |
//! | 5 | [`runtime_class::RuntimeClass`] | overhead and place of a pod's runtime class, which must exist | |
//! | 6 | [`default_class::DefaultClass`] | the default class of claims and ingresses | |
//! | 7 | [`requester::CertificateRequester`] | who asks for a certificate | |
//! | 8 | [`taint::TaintNodesByCondition`] | a new node is not ready yet | |
//! | 9 | [`node::NodeRestriction`] | | a node writes its own objects only |
//! | 10 | [`escalation::Escalation`] | | nobody grants what they do not hold |
//! | 11 | [`limit_ranger::LimitRanger`] | defaults of pods | bounds of pods and claims |
//! | 12 | mutating policies and webhooks | next | |
//! | 13 | validating policies and webhooks | | next |
//! | 14 | ResourceQuota | | next, last: what it counts must be certain |

pub mod default_class;
pub mod escalation;
pub mod limit_ranger;
pub mod namespace;
pub mod node;
pub mod priority;
pub mod requester;
pub mod runtime_class;
pub mod service_account;
pub mod taint;
pub mod toleration;

use async_trait::async_trait;
use auth::UserInfo;
use kinds::KindRef;
use schema::{Status, Value};
use store::Guard;

use crate::Core;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, port-forward, proxy: the HTTP face asks before it upgrades.
    Connect,
}

/// What a plug-in knows of a request.
pub struct Admission<'a> {
    pub core: &'a Core,
    pub user: &'a UserInfo,
    pub kind: KindRef,
    pub operation: Operation,
    pub namespace: &'a str,
    pub name: &'a str,
    pub subresource: &'a str,
    pub dry_run: bool,
    /// What the decision relies on; checked again at commit.
    pub guards: &'a mut Vec<Guard>,
    pub warnings: &'a mut Vec<String>,
}

impl Admission<'_> {
    /// Whether the request is about this resource itself.
    pub fn is_object(&self, group: &str, resource: &str) -> bool {
        self.is(group, resource) && self.subresource.is_empty()
    }

    /// Whether the request is about this resource or a part of it.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.kind.group == group && self.kind.resource == resource
    }

    /// 403 about the request's object.
    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.kind.group, &self.kind.resource, self.name, why)
    }
}

/// One link of the chain. A denial is an error: it cannot be overlooked.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Changes the document of a create or update.
    async fn mutate(&self, _request: &mut Admission<'_>, _new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses what must not be. A delete has no new document, a create no old one.
    async fn validate(&self, _request: &mut Admission<'_>, _new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins, in order.
pub struct Chain(Vec<Box<dyn Plugin>>);

impl Chain {
    pub fn built_in() -> Self {
        Self(vec![
            Box::new(namespace::NamespaceLifecycle),
            Box::new(service_account::ServiceAccount),
            Box::new(priority::Priority),
            Box::new(toleration::DefaultTolerationSeconds),
            Box::new(runtime_class::RuntimeClass),
            Box::new(default_class::DefaultClass::STORAGE),
            Box::new(default_class::DefaultClass::INGRESS),
            Box::new(requester::CertificateRequester),
            Box::new(taint::TaintNodesByCondition),
            Box::new(node::NodeRestriction),
            Box::new(escalation::Escalation),
            Box::new(limit_ranger::LimitRanger),
            // next: mutating policies, mutating webhooks, validating policies, validating webhooks, ResourceQuota
        ])
    }

    pub async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.mutate(request, new, old).await?;
        }
        Ok(())
    }

    pub async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.validate(request, new, old).await?;
        }
        Ok(())
    }
}
