//! Encryption at rest: which resources are stored encrypted, under which keys (`--encryption-provider-config` of the original).
//!
//! A value begins with `k8s:enc:<provider>:v1:<key>:`, so it says who can read it. The first provider of a rule, by its first key,
//! writes; all of them read. Rules are tried by the resource itself, by its group (`*.apps`), then by `*.*`; what no rule
//! speaks of is stored as it is. What lies there under an older key, or plain, is read and called stale: the next write of the
//! object renews it although nothing else changes, so writing all objects once ends the exchange of a key.
//!
//! | module | what |
//! |---|---|
//! | `config` | the file, in upstream's words |
//! | `cipher` | the algorithms |
//! | `store` | the store that uses them |
//! | `reload` | the file may change while we run |
//!
//! Not encrypted are the names of objects, which are the store's keys, and the two sorts of keys that are no objects: which address or
//! port is whose, and where quotas came into force. Plug-ins of a key management service (`kms`) are refused.

mod cipher;
mod config;
pub mod reload;
pub mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use self::cipher::Cipher;
use self::config::{Provider, Rule};
pub use self::store::Encrypted;

/// What every encrypted value begins with.
const SEALED: &[u8] = b"k8s:enc:";

/// A configuration, ready for use.
#[derive(Default)]
pub struct Encryption {
    /// By (group, resource), either of them `*`.
    rules: HashMap<(String, String), Vec<Arc<Provider>>>,
    /// The resources of built-in kinds, by their folder in the store.
    folders: HashMap<String, (String, String)>,
}

/// A value as it was read.
pub(crate) struct Opened {
    /// None: it is not encrypted, and may be so.
    pub(crate) plain: Option<Bytes>,
    /// The first key of the first provider would have written something else.
    pub(crate) is_stale: bool,
}

/// The provider and key that writes.
pub(crate) struct Writer<'a> {
    prefix: String,
    cipher: &'a Cipher,
}

impl Writer<'_> {
    pub(crate) fn seal(&self, key: &str, plain: &[u8]) -> Result<Bytes, String> {
        let sealed = self.cipher.seal(key, plain)?;
        Ok([self.prefix.as_bytes(), &sealed].concat().into())
    }
}

impl Encryption {
    /// Reads a configuration file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules: HashMap<(String, String), Vec<Arc<Provider>>> = HashMap::new();
        for Rule { resources, providers } in config::parse(text)? {
            let providers: Vec<Arc<Provider>> = providers.into_iter().map(Arc::new).collect();
            for (group, resource) in resources {
                if let Some(mask) = mask(&rules, &group) {
                    return Err(format!("resource {:?} is masked by earlier rule {:?}", shown(&group, &resource), mask));
                }
                rules.entry((group, resource)).or_default().extend(providers.iter().cloned());
            }
        }
        Ok(Self { rules, folders: built_in_folders() })
    }

    /// Whether a value says that it is encrypted.
    pub(crate) fn is_sealed(value: &Bytes) -> bool {
        value.starts_with(SEALED)
    }

    /// Whether a rule is about what is stored under `key`.
    pub(crate) fn speaks_of(&self, key: &str) -> bool {
        !self.providers(key).is_empty()
    }

    /// Who writes what is stored under `key`; None: it is stored as it is.
    pub(crate) fn writer(&self, key: &str) -> Option<Writer<'_>> {
        match &**self.providers(key).first()? {
            Provider::Identity => None,
            Provider::Keys(algorithm, keys) => {
                let (name, cipher) = keys.first()?;
                Some(Writer { prefix: format!("k8s:enc:{}:v1:{name}:", algorithm.name()), cipher })
            }
        }
    }

    /// What is stored under `key`, decrypted. Err in upstream's words.
    pub(crate) fn open(&self, key: &str, value: &Bytes) -> Result<Opened, String> {
        let providers = self.providers(key);
        let sealed = Self::is_sealed(value);
        if providers.is_empty() {
            let as_it_lies = Opened { plain: None, is_stale: false };
            return if sealed { Err("identity transformer tried to read encrypted data".into()) } else { Ok(as_it_lies) };
        }
        let mut failures = Vec::new();
        for (at, provider) in providers.iter().enumerate() {
            match &**provider {
                Provider::Identity if !sealed => return Ok(Opened { plain: None, is_stale: at > 0 }),
                Provider::Identity => {}
                Provider::Keys(algorithm, keys) => {
                    let prefix = format!("k8s:enc:{}:v1:", algorithm.name());
                    let Some(rest) = value.strip_prefix(prefix.as_bytes()) else { continue };
                    match open_by_any(keys, key, rest, algorithm.no_key()) {
                        Ok((plain, number)) => return Ok(Opened { plain: Some(plain.into()), is_stale: at > 0 || number > 0 }),
                        Err(why) => failures.push(why),
                    }
                }
            }
        }
        Err(joined(failures, "no matching prefix found"))
    }

    fn providers(&self, key: &str) -> &[Arc<Provider>] {
        if self.rules.is_empty() {
            return &[];
        }
        let Some((group, resource)) = self.resource(key) else { return &[] };
        let any = || "*".to_owned();
        let tried = [(group.clone(), resource), (group, any()), (any(), any())];
        tried.iter().find_map(|rule| self.rules.get(rule)).map_or(&[], Vec::as_slice)
    }

    /// The resource whose object lies under a key. None: it is none.
    fn resource(&self, key: &str) -> Option<(String, String)> {
        let mut ends = key.match_indices('/').skip(1).take(2).map(|(at, _)| at + 1);
        let (one, two) = (ends.next()?, ends.next());
        let built_in = [Some(one), two].into_iter().flatten().find_map(|end| self.folders.get(&key[..end]));
        let custom = || {
            let (group, resource) = key[..two?].trim_matches('/').split_once('/')?;
            group.contains('.').then(|| (group.to_owned(), resource.to_owned()))
        };
        built_in.cloned().or_else(custom)
    }
}

/// The keys whose name the value tells are tried in turn; also tells which one it was.
fn open_by_any(keys: &[(String, Cipher)], place: &str, rest: &[u8], no_key: &str) -> Result<(Vec<u8>, usize), String> {
    let mut failures = Vec::new();
    for (at, (name, cipher)) in keys.iter().enumerate() {
        let Some(sealed) = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) else { continue };
        match cipher.open(place, sealed) {
            Ok(plain) => return Ok((plain, at)),
            Err(why) => failures.push(why),
        }
    }
    Err(joined(failures, no_key))
}

/// Different reasons, as Go joins them.
fn joined(mut failures: Vec<String>, none: &str) -> String {
    failures.dedup();
    match failures.len() {
        0 => none.to_owned(),
        1 => failures.remove(0),
        _ => format!("[{}]", failures.join(", ")),
    }
}

/// The earlier rule that leaves one for `group` nothing to say.
fn mask(rules: &HashMap<(String, String), Vec<Arc<Provider>>>, group: &str) -> Option<String> {
    let wide = [(group.to_owned(), "*".to_owned()), ("*".to_owned(), "*".to_owned())];
    wide.iter().find(|rule| rules.contains_key(rule)).map(|(group, resource)| shown(group, resource))
}

/// As one writes it: `secrets`, `*.`, `*.apps`.
fn shown(group: &str, resource: &str) -> String {
    if group.is_empty() && resource != "*" { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn built_in_folders() -> HashMap<String, (String, String)> {
    let kept = kinds::all().iter().filter(|kind| !kind.storage_prefix.is_empty());
    let named = kept.map(|kind| {
        let group = if &*kind.storage_prefix == "/events/" { "" } else { &*kind.group };
        (kind.storage_prefix.to_string(), (group.to_owned(), kind.resource.to_string()))
    });
    named.collect()
}
