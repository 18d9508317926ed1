//! Who may answer requests for certificates, and what nobody may ask for: CertificateApproval, CertificateSigning,
//! CertificateSubjectRestriction and ClusterTrustBundleAttest.
//!
//! A right to a signer is a verb (`approve`, `sign`, `attest`) on `signers` by its name, or on all of its domain
//! (`example.com/*`).

use async_trait::async_trait;
use auth::pki;
use auth::{Attributes, MASTERS};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DocExt, Status, Value};

use super::{Admission, Operation, Plugin};

pub struct Certificates;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

#[async_trait]
impl Plugin for Certificates {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new else { return Ok(()) };
        match (request.operation, request.subresource, old) {
            (Operation::Create, "", None) if request.is(GROUP, REQUESTS) => not_a_master(request, new),
            (Operation::Update, "approval", Some(old)) if request.is(GROUP, REQUESTS) => {
                may(request, "approve", old, "approve requests with").await
            }
            (Operation::Update, "status", Some(old)) if request.is(GROUP, REQUESTS) && is_answered(new, old) => {
                may(request, "sign", old, "sign requests with").await
            }
            (Operation::Create | Operation::Update, "", old) if request.is(GROUP, "clustertrustbundles") => {
                if new.str_at("spec.signerName").is_empty() || old.is_some_and(|old| is_same_bundle(new, old)) {
                    return Ok(());
                }
                may(request, "attest", new, "attest for").await
            }
            _ => Ok(()),
        }
    }
}

fn is_answered(new: &Value, old: &Value) -> bool {
    ["status.certificate", "status.conditions"].iter().any(|path| new.at(path) != old.at(path))
}

/// Only what the garbage collector or a migration writes has changed.
fn is_same_bundle(new: &Value, old: &Value) -> bool {
    let rest = |doc: &Value| {
        let mut doc = doc.clone();
        for path in ["ownerReferences", "finalizers", "resourceVersion", "generation", "managedFields", "selfLink"] {
            doc.remove_at(&format!("metadata.{path}"));
        }
        doc
    };
    rest(new) == rest(old)
}

async fn may(request: &Admission<'_>, verb: &str, doc: &Value, what: &str) -> Result<(), Status> {
    let signer = doc.str_at("spec.signerName");
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    for name in [Some(signer), domain.as_deref()].into_iter().flatten() {
        let asked = Attributes { name, ..Attributes::resource(request.user, verb, GROUP, "*", "signers") };
        if request.core.authorizer().authorize(&asked).await.is_allowed() {
            return Ok(());
        }
    }
    Err(request.forbidden(&format!("user not permitted to {what} signerName {signer:?}")))
}

fn not_a_master(request: &Admission<'_>, doc: &Value) -> Result<(), Status> {
    if doc.str_at("spec.signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let pem = STANDARD.decode(doc.str_at("spec.request")).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let groups = pki::organizations(&pem).map_err(|why| request.forbidden(&format!("failed to parse CSR: {why}")))?;
    if groups.iter().any(|group| group == MASTERS) {
        return Err(request.forbidden(&format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")));
    }
    Ok(())
}
