//! Names of signers: `example.com/name`, or with a scope `example.com/namespace.name`.

use schema::{FieldErrors, Path, names};

const DOMAIN_BYTES_MAX: usize = 253;
/// The name of a namespace, a dot and a subdomain.
const PATH_BYTES_MAX: usize = 63 + 1 + 253;

/// A signer's name: a domain of two labels or more, a slash, and a path of one segment.
pub(super) fn name(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.is_empty() {
        return errors.required(path, "signerName must be provided");
    }
    let Some((domain, rest)) = text.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        return errors.invalid(path, text, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    };
    if domain.len() > DOMAIN_BYTES_MAX {
        errors.too_long(path, DOMAIN_BYTES_MAX);
    }
    labels(domain, names::is_dns1123_label, path, errors);
    if domain.split('.').count() < 2 {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(rest, names::is_dns1123_subdomain, path, errors);
    if rest.len() > PATH_BYTES_MAX {
        errors.too_long(path, PATH_BYTES_MAX);
    }
}

fn labels(text: &str, rule: fn(&str) -> Vec<String>, path: &Path, errors: &mut FieldErrors) {
    for label in text.split('.') {
        for wrong in rule(label) {
            errors.invalid(path, text, &format!("validating label {label:?}: {wrong}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_a_domain_and_one_name() {
        let wrong = |text: &str| {
            let mut errors = FieldErrors::default();
            name(text, &Path::new("signerName"), &mut errors);
            errors.0.len()
        };
        for good in ["example.com/signer", "kubernetes.io/kube-apiserver-client", "example.com/ns.name"] {
            assert_eq!(wrong(good), 0, "{good}");
        }
        for bad in ["", "signer", "com/signer", "example.com/a/b", "example.com/A"] {
            assert!(wrong(bad) > 0, "{bad}");
        }
    }
}
