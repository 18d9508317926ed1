//! CertificateRequester: whoever asks for a certificate is who they have proved to be, whatever the request says.

use async_trait::async_trait;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct CertificateRequester;

#[async_trait]
impl Plugin for CertificateRequester {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let asks = request.is_object("certificates.k8s.io", "certificatesigningrequests");
        if request.operation != Operation::Create || !asks {
            return Ok(());
        }
        let user = request.user;
        let known = [
            ("username", json!(user.name), user.name.is_empty()),
            ("uid", json!(user.uid), user.uid.is_empty()),
            ("groups", json!(user.groups), user.groups.is_empty()),
            ("extra", json!(user.extra), user.extra.is_empty()),
        ];
        for (member, value, unknown) in known {
            let path = format!("spec.{member}");
            if unknown {
                new.remove_at(&path);
            } else {
                new.set_at(&path, value);
            }
        }
        Ok(())
    }
}
