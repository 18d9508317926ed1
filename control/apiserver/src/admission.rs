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
//! | | [`storage_protection::StorageProtection`] | finalizers of claims and volumes | |
//! | | [`topology::PodTopologyLabels`] | the place of a pod that has its node | |
//! | 9 | [`node::NodeRestriction`] | | a node writes its own objects only |
//! | 10 | [`escalation::Escalation`] | | nobody grants what they do not hold |
//! | 11 | [`limit_ranger::LimitRanger`] | defaults of pods | bounds of pods and claims |
//! | 12 | [`pod_security::PodSecurity`] | | what the namespace's labels demand |
//! | 13 | [`claim_resize::ClaimResize`] | | a claim grows where its class allows it |
//! | 14 | [`certificates::Certificates`] | | who approves, signs and attests |
//! | 15 | [`owner_references::OwnerReferences`] | | who may make an object somebody's (off by default) |
//! | | [`policy::ParamAccess`] | | who writes a policy can read its parameters |
//! | 16 | [`policy::MutatingPolicies`] | what expressions of the cluster's own make of a request | |
//! | 17 | [`webhook::MutatingWebhooks`] | what programs outside make of a request, one after the other | |
//! | 18 | [`policy::ValidatingPolicies`] | | what expressions of the cluster's own say to it |
//! | 19 | [`webhook::ValidatingWebhooks`] | | what programs outside say to it, all at once |
//! | 20 | [`crate::quota`] | | last, in the write's own transaction: what it counts must be certain |
//!
//! Every request that changes something passes the whole chain once, as one document:
//!
//! ```text
//! create, update, patch, apply   mutate (again, where a webhook asks for it) ─► defaults, validation ─► validate
//! delete                         heed ─► validate, with the old object alone
//! scale, eviction, binding,      as above, with the document that was sent; the change that it makes of the object is
//! token, reviews                 not asked for again
//! exec, attach, proxy …          mutate ─► validate, with the options of the connection
//! ```

mod annotations;
pub mod certificates;
pub mod claim_resize;
pub mod default_class;
pub mod escalation;
pub mod expressions;
pub mod limit_ranger;
pub mod namespace;
pub mod node;
pub mod owner_references;
mod passage;
pub mod pod_security;
pub mod policy;
pub mod priority;
pub mod requester;
pub mod runtime_class;
pub mod service_account;
pub mod storage_protection;
pub mod taint;
pub mod toleration;
pub mod topology;
pub mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use auth::UserInfo;
use client::Options;
use kinds::KindRef;
use schema::{Status, Value};
use store::Guard;

pub use self::annotations::Annotations;
pub(crate) use self::passage::Facet;
use self::policy::Policies;
use self::webhook::{Reinvocation, Webhooks};
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
    pub options: &'a Options,
    /// A create whose name the server made: mutating webhooks do not see it, as upstream makes it after them.
    pub generated: bool,
    /// What the decision relies on; checked again at commit.
    pub guards: &'a mut Vec<Guard>,
    pub warnings: &'a mut Vec<String>,
    /// What the audit log should tell of the decision.
    pub annotations: &'a Annotations,
    /// Which webhooks want to see what became of the object after them.
    pub reinvocation: Reinvocation,
    /// The same of mutating policies.
    pub policies: policy::Reinvocation,
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

    /// Hears of a delete before it is judged; what is to be deleted cannot be changed.
    async fn heed(&self, _request: &mut Admission<'_>, _old: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses what must not be. A delete has no new document, a create no old one.
    async fn validate(&self, _request: &mut Admission<'_>, _new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins, in order.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    webhooks: Arc<Webhooks>,
    policies: Arc<Policies>,
}

impl Chain {
    pub fn built_in() -> Self {
        let (webhooks, policies) = (Arc::new(Webhooks::default()), Arc::new(Policies::default()));
        let plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace::NamespaceLifecycle),
            Box::new(service_account::ServiceAccount),
            Box::new(priority::Priority::default()),
            Box::new(toleration::DefaultTolerationSeconds),
            Box::new(runtime_class::RuntimeClass),
            Box::new(default_class::DefaultClass::STORAGE),
            Box::new(default_class::DefaultClass::INGRESS),
            Box::new(requester::CertificateRequester),
            Box::new(taint::TaintNodesByCondition),
            Box::new(storage_protection::StorageProtection),
            Box::new(topology::PodTopologyLabels),
            Box::new(node::NodeRestriction),
            Box::new(escalation::Escalation),
            Box::new(limit_ranger::LimitRanger),
            Box::new(pod_security::PodSecurity),
            Box::new(claim_resize::ClaimResize),
            Box::new(certificates::Certificates),
            Box::new(owner_references::OwnerReferences),
            Box::new(policy::ParamAccess),
            Box::new(policy::MutatingPolicies::new(&policies)),
            Box::new(webhook::MutatingWebhooks::new(&webhooks)),
            Box::new(policy::ValidatingPolicies::new(&policies)),
            Box::new(webhook::ValidatingWebhooks::new(&webhooks)),
        ];
        Self { plugins, webhooks, policies }
    }

    /// The expressions that requests have to satisfy.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// The programs outside that are asked.
    pub fn webhooks(&self) -> &Arc<Webhooks> {
        &self.webhooks
    }

    /// Every plug-in changes the document in turn; all once more where a webhook asks to see what came after it.
    pub async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        self.mutate_once(request, new, old).await?;
        if request.reinvocation.begin() {
            self.mutate_once(request, new, old).await?;
        }
        Ok(())
    }

    async fn mutate_once(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.mutate(request, new, old).await?;
        }
        Ok(())
    }

    pub async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.validate(request, new, old).await?;
        }
        Ok(())
    }

    /// Both halves for a delete.
    pub async fn delete(&self, request: &mut Admission<'_>, old: &Value) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.heed(request, old).await?;
        }
        self.validate(request, None, Some(old)).await
    }

    /// The same chain with every plug-in behind another one; for tests.
    #[cfg(test)]
    pub(crate) fn behind(&mut self, wrap: impl FnMut((usize, Box<dyn Plugin>)) -> Box<dyn Plugin>) {
        self.plugins = std::mem::take(&mut self.plugins).into_iter().enumerate().map(wrap).collect();
    }
}
