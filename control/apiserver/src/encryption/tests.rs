//! The configuration's words, and a server on stores whose bytes are looked at.

mod at_rest;
mod words;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A key of 32 bytes, in base64.
fn secret(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

/// `aescbc: {keys: [{name: <name>, secret: <32 bytes>}]}`
fn provider(algorithm: &str, name: &str, byte: u8) -> String {
    format!("{algorithm}: {{keys: [{{name: {name}, secret: {:?}}}]}}", secret(byte))
}

/// One rule for `resources`.
fn config(resources: &[&str], providers: &[String]) -> String {
    let resources = resources.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let providers = providers.iter().map(|provider| format!("  - {provider}\n")).collect::<String>();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [{resources}]\n  providers:\n{providers}"
    )
}
