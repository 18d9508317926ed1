//! ClusterTrustBundle: root certificates for everybody.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DocExt, FieldErrors, Path, Value, names};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::signer;
use crate::cells::NAME;
use crate::kind::{Col, Kind, Meta, Question, Selectable, immutable};
use crate::rules::sub;

const BUNDLE_BYTES_MAX: usize = 1 << 20;
const OMITTED: &str = "<value omitted>";

/// Root certificates for everybody.
pub struct ClusterTrustBundle;

impl Kind for ClusterTrustBundle {
    const META: Meta = Meta::cluster("certificates.k8s.io", "ClusterTrustBundle", "clustertrustbundles");
    const NOTHING: &[Question] = &[Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("SignerName", "spec.signerName")];
    const FIELDS: &[Selectable] = &[Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned())];

    /// A bundle that is as it was is not read again.
    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        let signer = spec.str_at("signerName");
        name(new.str_at("metadata.name"), signer, errors);
        if !signer.is_empty() {
            signer::name(signer, &path.child("signerName"), errors);
        }
        let bundle = spec.str_at("trustBundle");
        if old.is_none_or(|old| old.str_at("spec.trustBundle") != bundle) {
            anchors(bundle, &path.child("trustBundle"), errors);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(sub(new, "spec"), sub(old, "spec"), "signerName", &Path::new("spec"), errors);
    }
}

/// A signer's bundle is named after it: `example.com:signer:anything`.
fn name(name: &str, signer: &str, errors: &mut FieldErrors) {
    let path = Path::new("metadata.name");
    let rest = if signer.is_empty() {
        if name.contains(':') {
            errors.invalid(&path, name, "ClusterTrustBundle without signer name must not have \":\" in its name");
            return;
        }
        name
    } else {
        let prefix = format!("{}:", signer.replace('/', ":"));
        let Some(rest) = name.strip_prefix(&prefix) else {
            let text = format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
            return errors.invalid(&path, name, &text);
        };
        rest
    };
    names::is_dns1123_subdomain(rest).iter().for_each(|wrong| errors.invalid(&path, name, wrong));
}

/// PEM blocks of authorities' certificates, each once, at least one.
fn anchors(bundle: &str, path: &Path, errors: &mut FieldErrors) {
    if bundle.len() > BUNDLE_BYTES_MAX {
        return errors.too_long(path, BUNDLE_BYTES_MAX);
    }
    let found = errors.0.len();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for (at, (kind, body)) in blocks(bundle).into_iter().enumerate() {
        match authority(kind, &body) {
            Ok(der) => seen.push(der),
            Err(wrong) => errors.invalid(path, OMITTED, &format!("entry {at} {wrong}")),
        }
    }
    if errors.0.len() > found {
        return;
    }
    if seen.is_empty() {
        errors.invalid(path, OMITTED, "at least one trust anchor must be provided");
    }
    for (at, der) in seen.iter().enumerate().filter(|(at, der)| !seen[..*at].contains(der)) {
        let same: Vec<String> = (at..seen.len()).filter(|other| seen[*other] == *der).map(|other| other.to_string()).collect();
        if same.len() > 1 {
            errors.invalid(path, OMITTED, &format!("duplicate trust anchor (indices [{}])", same.join(" ")));
        }
    }
}

/// The blocks of a PEM text: what they are called, and the lines between.
pub(super) fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(kind) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) {
            open = Some((kind, String::new()));
        } else if line.starts_with("-----END ") {
            found.extend(open.take());
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    found
}

fn authority(kind: &str, body: &str) -> Result<Vec<u8>, String> {
    if kind != "CERTIFICATE" {
        return Err(format!("has bad block type: {kind}"));
    }
    if body.contains(':') {
        return Err("has PEM block headers".to_owned());
    }
    let der = STANDARD.decode(body).map_err(|_| "does not parse as X.509".to_owned())?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| "does not parse as X.509".to_owned())?;
    if !certificate.is_ca() {
        return Err("does not have the CA bit set".to_owned());
    }
    Ok(der)
}
