//! A kubeconfig: the cluster is the program outside, the user is who we are to it. Programs that would have to be run for a credential
//! (`exec`, `auth-provider`) are refused, and so is a server without TLS or with TLS that nobody checks.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DocExt, Value};

use super::Remote;
use crate::outside::{Dialer, Trust};

/// Reads the file `path`; other files that it names are relative to its folder.
pub fn load(path: &Path, dialer: &dyn Dialer) -> Result<Remote, String> {
    let about = |why: String| format!("kubeconfig {}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| about(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    remote(&text, folder, dialer).map_err(about)
}

fn remote(text: &str, folder: &Path, dialer: &dyn Dialer) -> Result<Remote, String> {
    let config: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let context = context(&config)?;
    let cluster = named(&config, "clusters", "cluster", context.str_at("cluster"))?;
    let user = match context.str_at("user") {
        "" => Value::Null,
        name => named(&config, "users", "user", name)?,
    };
    let url = cluster.str_at("server");
    if !url.starts_with("https://") {
        return Err(format!("the server {url:?} must begin with https://"));
    }
    for (place, field) in [(&cluster, "proxy-url"), (&user, "exec"), (&user, "auth-provider"), (&user, "username")] {
        if place.get(field).is_some_and(|value| !value.is_null() && value != "") {
            return Err(format!("{field} is not supported; use a certificate or a token, and a server that is reached directly"));
        }
    }
    if cluster.bool_at("insecure-skip-tls-verify") {
        return Err("insecure-skip-tls-verify is not supported; name the server's authority in certificate-authority".into());
    }
    let outside = dialer.trusting(&trust(&cluster, &user, folder)?)?;
    Ok(Remote { outside, url: url.to_owned(), bearer: bearer(&user, folder)? })
}

/// The current context; without one, the only one there is.
fn context(config: &Value) -> Result<Value, String> {
    match (config.str_at("current-context"), config.items_at("contexts")) {
        ("", [only]) => Ok(only["context"].clone()),
        ("", _) => Err("current-context names no context".into()),
        (name, _) => named(config, "contexts", "context", name),
    }
}

fn named(config: &Value, list: &str, member: &str, name: &str) -> Result<Value, String> {
    let found = config.items_at(list).iter().find(|one| one.str_at("name") == name);
    found.map(|one| one[member].clone()).ok_or_else(|| format!("there is no {member} {name:?} in {list}"))
}

fn trust(cluster: &Value, user: &Value, folder: &Path) -> Result<Trust, String> {
    let ca = content(cluster, "certificate-authority", folder)?;
    let identity = match (content(user, "client-certificate", folder)?, content(user, "client-key", folder)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("client-certificate and client-key must be set together".into()),
    };
    let server_name = Some(cluster.str_at("tls-server-name")).filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(Trust { ca, identity, server_name })
}

fn bearer(user: &Value, folder: &Path) -> Result<Option<String>, String> {
    let token = match (user.str_at("token"), user.str_at("tokenFile")) {
        ("", "") => return Ok(None),
        ("", file) => read(folder, file)?,
        (token, _) => token.to_owned(),
    };
    Ok(Some(token.trim().to_owned()))
}

/// What `<field>-data` holds in base64, or the file that `<field>` names.
fn content(place: &Value, field: &str, folder: &Path) -> Result<Option<String>, String> {
    let data = place.str_at(&format!("{field}-data"));
    if !data.is_empty() {
        let bytes = STANDARD.decode(data).map_err(|error| format!("{field}-data: {error}"))?;
        return String::from_utf8(bytes).map(Some).map_err(|_| format!("{field}-data is no PEM"));
    }
    match place.str_at(field) {
        "" => Ok(None),
        file => read(folder, file).map(Some),
    }
}

fn read(folder: &Path, file: &str) -> Result<String, String> {
    let path = folder.join(file);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}
