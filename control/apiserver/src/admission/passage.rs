//! How requests pass the chain: what it is told of them, and the documents that are judged but never stored.

use std::sync::Arc;

use auth::UserInfo;
use client::{Options, Target};
use schema::{Status, Value};
use store::Guard;

use super::{Admission, Annotations, Operation};
use crate::Core;
use crate::core::{Call, no_such_resource};

/// What the chain is shown of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Facet {
    #[default]
    Whole,
    /// Its scale.
    Scale,
    /// Nothing: the document that asks for it (an eviction, a binding) has passed already.
    Passed,
}

impl Call<'_> {
    /// The request as the chain sees it.
    pub(crate) fn admission<'c>(&'c mut self, operation: Operation, guards: &'c mut Vec<Guard>) -> Admission<'c> {
        Admission {
            core: self.core,
            user: self.user,
            kind: self.kind.clone(),
            operation,
            namespace: &self.target.namespace,
            name: &self.target.name,
            subresource: if self.facet == Facet::Scale { "scale" } else { &self.target.subresource },
            dry_run: self.options.dry_run,
            options: self.options,
            generated: false,
            guards,
            warnings: &mut self.warnings,
            annotations: self.annotations,
            reinvocation: Default::default(),
            policies: Default::default(),
        }
    }

    /// Both halves for a document that is created and answered at once: an eviction, a binding, a token, a review.
    pub(crate) async fn pass(&mut self, doc: &mut Value) -> Result<(), Status> {
        let (core, mut guards) = (self.core, Vec::new());
        let mut admission = self.admission(Operation::Create, &mut guards);
        core.admission.mutate(&mut admission, doc, None).await?;
        core.admission.validate(&mut admission, Some(doc), None).await
    }
}

impl Core {
    /// Both halves for a connection (exec, attach, port-forward, proxy), before anything is dialled. `document` says what
    /// is asked for (`PodExecOptions` …); webhooks may change it. Returns texts for Warning headers; what the audit log should know
    /// is in `annotations`.
    pub async fn connect(
        &self,
        user: &UserInfo,
        target: &Target,
        document: &mut Value,
        annotations: &Annotations,
    ) -> Result<Vec<String>, Status> {
        let kind = self.registry().resource(&target.group, &target.version, &target.resource).ok_or_else(no_such_resource)?;
        let (options, mut guards) = (Options::default(), Vec::new());
        let mut call = Call {
            core: self,
            user,
            kind,
            target,
            options: &options,
            facet: Facet::Whole,
            annotations,
            warnings: Vec::new(),
            memo: Arc::default(),
        };
        let mut admission = call.admission(Operation::Connect, &mut guards);
        self.admission.mutate(&mut admission, document, None).await?;
        self.admission.validate(&mut admission, Some(document), None).await?;
        Ok(call.warnings)
    }
}
