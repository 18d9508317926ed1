//! Takes a deleted definition's objects with it: all are deleted through the same path as any other delete, what finalizers
//! hold is waited for, and then the definition may go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use client::request::Body;
use client::{Object, Options, Patch, Request, Target, Verb};
use kinds::KindRef;
use kinds::apiextensions::custom_resource_definition::{CLEANUP, set_condition};
use schema::{Status, Value};

use super::{API_VERSION, Keeper, RESOURCE, finalizers_patch, stored_kind};
use crate::admission::Annotations;
use crate::{failure, meta};

/// Between two tries that failed for no fault of ours.
const RETRY: Duration = Duration::from_secs(1);

/// Definitions whose cleaning has begun, by uid: it goes on by itself.
#[derive(Default)]
pub(super) struct Started(HashSet<String>);

impl Started {
    pub(super) fn clean(&mut self, keeper: &Keeper, definition: &Arc<Object>) {
        let held = definition.meta.finalizers.iter().any(|finalizer| finalizer == CLEANUP);
        if !held || !self.0.insert(definition.meta.uid.clone()) {
            return;
        }
        let (keeper, name, uid) = (keeper.clone(), definition.meta.name.clone(), definition.meta.uid.clone());
        let stopped = keeper.core.env.shutdown().clone();
        drop(keeper.core.env.clone().spawn("definition cleanup", async move {
            stopped.run_until_cancelled(keeper.clean(&name, &uid)).await;
        }));
    }
}

impl Keeper {
    async fn clean(&self, name: &str, uid: &str) {
        while let Err(error) = self.try_clean(name, uid).await {
            if !error.is_conflict() {
                tracing::warn!(name, %error, "the objects of a custom resource definition could not be deleted yet");
                self.core.env.sleep(RETRY).await;
            }
        }
    }

    async fn try_clean(&self, name: &str, uid: &str) -> Result<(), Status> {
        let Some(mut definition) = self.definition(name, uid).await? else { return Ok(()) };
        let message = "CustomResource deletion is in progress";
        if let Some(kind) = stored_kind(&self.core, name) {
            if set_condition(&mut definition, "Terminating", true, "InstanceDeletionInProgress", message, self.core.env.now()) {
                let target = Target::of(API_VERSION, RESOURCE, "").named(name).sub("status");
                self.client.update(target, definition).await?;
            }
            // The conditions are a change of the definition: what is deleted below is guarded by it.
            self.core.cache.catch_up().await.map_err(|error| failure::of_store(&error))?;
            self.empty(stored_kind(&self.core, name).unwrap_or(kind)).await?;
        }
        self.release(name, uid).await
    }

    /// Deletes every object and waits for the last one's end.
    async fn empty(&self, kind: KindRef) -> Result<(), Status> {
        let Some(cache) = self.core.cache.of(&kind) else { return Ok(()) };
        if !cache.is_empty() {
            let target = Target::of(&kind.api_version(), &kind.resource, "");
            let request = Request { verb: Verb::DeleteCollection, target, options: Options::default(), body: Body::None };
            self.core.run(&auth::loopback_user(), kind, request, &Annotations::default()).await?;
        }
        cache.empties().await;
        Ok(())
    }

    async fn release(&self, name: &str, uid: &str) -> Result<(), Status> {
        let Some(definition) = self.definition(name, uid).await? else { return Ok(()) };
        let mut finalizers = meta::finalizers(&definition);
        finalizers.retain(|finalizer| finalizer != CLEANUP);
        let target = Target::of(API_VERSION, RESOURCE, "").named(name);
        match self.client.patch(target, Patch::Merge, &finalizers_patch(&definition, &finalizers)).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }

    /// None where it is gone, or another one by now.
    async fn definition(&self, name: &str, uid: &str) -> Result<Option<Value>, Status> {
        match self.client.get(Target::of(API_VERSION, RESOURCE, "").named(name)).await {
            Ok(object) if object.meta.uid == uid => Ok(Some(object.value())),
            Ok(_) => Ok(None),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }
}
