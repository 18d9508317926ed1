//! The file: `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, read strictly and checked in upstream's words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DocExt, FieldErrors, Path, Value, decode, json};

use super::cipher::{Algorithm, Cipher};

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";
const PROVIDERS: [&str; 5] = ["aesgcm", "aescbc", "secretbox", "identity", "kms"];
const ALGORITHMS: [Algorithm; 3] = [Algorithm::AesGcm, Algorithm::AesCbc, Algorithm::Secretbox];

/// One entry of `resources`.
pub(super) struct Rule {
    /// (group, resource), either of them `*`.
    pub(super) resources: Vec<(String, String)>,
    /// At least one; the first one writes.
    pub(super) providers: Vec<Provider>,
}

pub(super) enum Provider {
    Identity,
    /// With its named keys, at least one; the first one writes.
    Keys(Algorithm, Vec<(String, Cipher)>),
}

/// Reads the file's text. Err says all that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let decoded = decode::yaml_reported(text.as_bytes()).map_err(|error| error.to_string())?;
    let (doc, mut unknown) = (decoded.value, decoded.strict_errors);
    identify(&doc)?;
    find_unknown(&doc, &mut unknown);
    if !unknown.is_empty() {
        return Err(format!("strict decoding error: {}", unknown.join(", ")));
    }
    let mut errors = FieldErrors::default();
    validate(&doc, &mut errors);
    if !errors.is_empty() {
        return Err(told(&errors));
    }
    doc.items_at("resources").iter().map(rule).collect()
}

fn identify(doc: &Value) -> Result<(), String> {
    match (doc.str_at("apiVersion"), doc.str_at("kind")) {
        (API_VERSION, KIND) => Ok(()),
        (_, "") => Err("Object 'Kind' is missing".into()),
        (version, kind) => Err(format!("no kind {kind:?} is registered for version {version:?}; it must be {KIND} of {API_VERSION}")),
    }
}

/// One error alone, several ones in brackets, as Go joins them.
fn told(errors: &FieldErrors) -> String {
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) }
}

fn find_unknown(doc: &Value, found: &mut Vec<String>) {
    let mut known = |value: &Value, path: &str, names: &[&str]| {
        for name in value.as_object().into_iter().flat_map(|members| members.keys()).filter(|name| !names.contains(&name.as_str())) {
            found.push(format!("unknown field {:?}", if path.is_empty() { name.clone() } else { format!("{path}.{name}") }));
        }
    };
    known(doc, "", &["apiVersion", "kind", "resources"]);
    for (at, rule) in doc.items_at("resources").iter().enumerate() {
        known(rule, &format!("resources[{at}]"), &["resources", "providers"]);
        for (number, provider) in rule.items_at("providers").iter().enumerate() {
            let path = format!("resources[{at}].providers[{number}]");
            known(provider, &path, &PROVIDERS);
            known(&provider["identity"], &format!("{path}.identity"), &[]);
            known(&provider["kms"], &format!("{path}.kms"), &["apiVersion", "name", "cachesize", "endpoint", "timeout"]);
            for name in ALGORITHMS.map(Algorithm::name) {
                known(&provider[name], &format!("{path}.{name}"), &["keys"]);
                for (key, value) in provider[name].items_at("keys").iter().enumerate() {
                    known(value, &format!("{path}.{name}.keys[{key}]"), &["name", "secret"]);
                }
            }
        }
    }
}

fn validate(doc: &Value, errors: &mut FieldErrors) {
    let root = Path::new("resources");
    if doc.items_at("resources").is_empty() {
        return errors.required(&root, "at least one resources is required");
    }
    for (at, rule) in doc.items_at("resources").iter().enumerate() {
        let (resources, providers) = (root.index(at).child("resources"), root.index(at).child("providers"));
        if rule.items_at("resources").is_empty() {
            errors.required(&resources, &format!("at least one {resources} is required"));
        }
        let names: Vec<&str> = rule.items_at("resources").iter().filter_map(Value::as_str).collect();
        check_overlap(&names, &resources, errors);
        for (number, name) in names.iter().enumerate() {
            check_name(name, &resources.index(number), errors);
        }
        if rule.items_at("providers").is_empty() {
            errors.required(&providers, &format!("at least one {providers} is required"));
        }
        for (number, provider) in rule.items_at("providers").iter().enumerate() {
            check_provider(provider, &providers.index(number), errors);
        }
    }
}

fn check_overlap(names: &[&str], path: &Path, errors: &mut FieldErrors) {
    let parsed: Vec<(&str, &str)> = names.iter().map(|name| split(name)).collect();
    let pairs = || (0..parsed.len()).flat_map(|a| (0..parsed.len()).filter(move |b| *b != a).map(move |b| (a, b)));
    if pairs().any(|(a, b)| parsed[a] == parsed[b]) {
        errors.invalid(path, json!(names), "the same resource cannot be specified multiple times");
    }
    let masks = |(a, b): (usize, usize)| {
        let (first, second) = (parsed[a], parsed[b]);
        first != second && (first == ("*", "*") || first.0 == second.0 && (first.1 == "*" || second.1 == "*"))
    };
    if pairs().any(masks) {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
        errors.invalid(path, json!(names), why);
    }
}

fn check_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    let (group, resource) = split(name);
    let why = match name {
        _ if name.to_lowercase() != name => "resource name should not contain capital letters",
        "*" => "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            "resources which do not have REST API/s cannot be encrypted"
        }
        _ if group == "events.k8s.io" => {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        }
        _ if group == "extensions" => "'extensions' group has been removed and cannot be used for encryption",
        _ if group == "*" && resource != "*" => "encrypting the same resource across groups is not supported",
        _ => return,
    };
    errors.invalid(path, name, why);
}

fn check_provider(provider: &Value, path: &Path, errors: &mut FieldErrors) {
    let given: Vec<&str> = PROVIDERS.into_iter().filter(|name| !provider[*name].is_null()).collect();
    match given[..] {
        [] => {
            let why = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
            errors.invalid(path, json!({}), why);
        }
        ["kms"] => check_kms(&provider["kms"], &path.child("kms"), errors),
        ["identity"] => {}
        [name] => {
            let algorithm = ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == name).expect("the other providers have keys");
            check_keys(provider[name].items_at("keys"), algorithm, &path.child(name).child("keys"), errors);
        }
        _ => {
            // Upstream prints the providers with their keys, which is nobody's business.
            let why = "more than one provider specified in a single element, should split into different list elements";
            errors.invalid(path, json!(given), why);
        }
    }
}

fn check_keys(keys: &[Value], algorithm: Algorithm, path: &Path, errors: &mut FieldErrors) {
    if keys.is_empty() {
        return errors.required(path, "at least one keys is required");
    }
    for (at, key) in keys.iter().enumerate() {
        let path = path.index(at);
        if key.str_at("name").is_empty() {
            errors.required(&path.child("name"), "name is a mandatory field for a key");
        }
        let secret = path.child("secret");
        match (key.str_at("secret"), STANDARD.decode(key.str_at("secret"))) {
            ("", _) => errors.required(&secret, "secret is a mandatory field for a key"),
            (_, Err(_)) => errors.invalid(&secret, "REDACTED", "secrets must be base64 encoded"),
            (_, Ok(bytes)) if !algorithm.key_lengths().contains(&bytes.len()) => {
                let wanted = algorithm.key_lengths().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                let why = format!("secret is not of the expected length, got {}, expected one of [{wanted}]", bytes.len());
                errors.invalid(&secret, "REDACTED", &why);
            }
            (_, Ok(_)) => {}
        }
    }
}

/// What upstream says of a bad one, then what we say of every one.
fn check_kms(kms: &Value, path: &Path, errors: &mut FieldErrors) {
    let (name, endpoint) = (kms.str_at("name"), kms.str_at("endpoint"));
    let version = Some(kms.str_at("apiVersion")).filter(|version| !version.is_empty()).unwrap_or("v1");
    if name.is_empty() {
        errors.required(&path.child("name"), "name is a mandatory field for a provider");
    }
    if version != "v1" && name.contains(':') {
        errors.invalid(&path.child("name"), name, &format!("invalid KMS provider name {name}, must not contain ':'"));
    }
    match endpoint.split_once(':') {
        _ if endpoint.is_empty() => errors.invalid(&path.child("endpoint"), "", "endpoint is a mandatory field for a kms"),
        Some(("unix", _)) => {}
        other => {
            let scheme = other.map_or("", |(scheme, _)| scheme);
            let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
            errors.invalid(&path.child("endpoint"), endpoint, &why);
        }
    }
    if !matches!(version, "v1" | "v2") {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.invalid(&path.child("apiVersion"), version, why);
    }
    errors.forbidden(path, "this server speaks to no KMS plug-in; use secretbox or aesgcm");
}

fn rule(doc: &Value) -> Result<Rule, String> {
    let names = doc.items_at("resources").iter().filter_map(Value::as_str).map(split);
    let resources = names.map(|(group, resource)| (group.to_owned(), resource.to_owned())).collect();
    let providers = doc.items_at("providers").iter().map(provider).collect::<Result<_, _>>()?;
    Ok(Rule { resources, providers })
}

fn provider(doc: &Value) -> Result<Provider, String> {
    let Some(algorithm) = ALGORITHMS.into_iter().find(|algorithm| !doc[algorithm.name()].is_null()) else { return Ok(Provider::Identity) };
    let key = |doc: &Value| {
        let name = doc.str_at("name").to_owned();
        let bytes = STANDARD.decode(doc.str_at("secret")).map_err(|error| error.to_string())?;
        let cipher = Cipher::new(algorithm, &bytes).ok_or_else(|| format!("key {name} cannot be used"))?;
        Ok((name, cipher))
    };
    let keys: Result<Vec<_>, String> = doc[algorithm.name()].items_at("keys").iter().map(key).collect();
    Ok(Provider::Keys(algorithm, keys?))
}

/// `deployments.apps` as (apps, deployments).
fn split(name: &str) -> (&str, &str) {
    name.split_once('.').map_or(("", name), |(resource, group)| (group, resource))
}
