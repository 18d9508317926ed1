//! CertificateRequester: a CertificateSigningRequest says who asked, and what was asked for never changes.
//!
//! Signers decide by these fields; a client that could write them would be whoever it likes.

use async_trait::async_trait;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct CertificateRequester;

#[async_trait]
impl Plugin for CertificateRequester {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if !request.is("certificates.k8s.io", "certificatesigningrequests") {
            return Ok(());
        }
        match (request.operation, old) {
            (Operation::Create, _) => {
                let user = request.user;
                new.set_at("spec.username", json!(user.name));
                new.set_at("spec.uid", json!(user.uid));
                new.set_at("spec.groups", json!(user.groups));
                new.set_at("spec.extra", json!(user.extra));
                new.remove_at("status");
            }
            (Operation::Update, Some(old)) => {
                if let Some(spec) = old.at("spec") {
                    new.set_at("spec", spec.clone());
                }
            }
            _ => {}
        }
        Ok(())
    }
}
