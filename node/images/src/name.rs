//! Image names: every spelling to one canonical form.
//!
//! `busybox` is `docker.io/library/busybox:latest`. The first component is a host if it has a dot or a colon or is
//! `localhost`; a name without one lives on docker.io, and there a single component lives under `library`.

use contract::{Error, ErrorKind, Result};

const DEFAULT_HOST: &str = "docker.io";

/// The canonical form: `HOST/PATH:TAG`, `HOST/PATH@DIGEST` or both.
pub(crate) fn canonical(name: &str) -> Result<String> {
    parse(name).ok_or_else(|| {
        let what = "use lower-case components with an optional :TAG, as in registry.example.com/team/app:v1";
        Error::new(ErrorKind::Invalid, format!("couldn't parse image name {name:?}: invalid reference format: {what}"))
    })
}

/// Whether it may be an image's own digest or the start of it, rather than a name.
pub(crate) fn id_prefix(name: &str) -> Option<&str> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (is_hex && (4..=64).contains(&hex.len())).then_some(hex)
}

fn parse(name: &str) -> Option<String> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    let (host, path) = match rest.split_once('/') {
        Some((first, path)) if is_host(first) => (first, path),
        _ => (DEFAULT_HOST, rest),
    };
    let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let good = good_host(host) && path.split('/').all(good_component) && tag.is_none_or(good_tag) && digest.is_none_or(good_digest);
    if !good || rest.len() > 255 {
        return None;
    }
    let library = if host == DEFAULT_HOST && !path.contains('/') { "library/" } else { "" };
    let tag = tag.or(digest.is_none().then_some("latest")).map_or(String::new(), |tag| format!(":{tag}"));
    let digest = digest.map_or(String::new(), |digest| format!("@{digest}"));
    Some(format!("{host}/{library}{path}{tag}{digest}"))
}

fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn good_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "1"));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label) && port.parse::<u16>().is_ok()
}

/// Lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn good_component(component: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| alnum(*first) && alnum(*last));
    let mut joints = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|joint| !joint.is_empty());
    ends && joints.all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

fn good_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn good_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && id_prefix(hex).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_come_to_one_form() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let table = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.35", "docker.io/library/busybox:1.35"),
            ("team/app", "docker.io/team/app:latest"),
            ("docker.io/library/busybox:latest", "docker.io/library/busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("corten.local/hello", "corten.local/hello:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x/y:V_1", "localhost:5000/x/y:V_1"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
        ];
        for (name, want) in table {
            assert_eq!(canonical(name).unwrap(), want, "{name}");
        }
        assert_eq!(canonical(&format!("busybox@{digest}")).unwrap(), format!("docker.io/library/busybox@{digest}"));
        assert_eq!(canonical(&format!("busybox:1@{digest}")).unwrap(), format!("docker.io/library/busybox:1@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in
            ["", "Busybox", "a b", "a/", "/a", "a//b", "a:", "a:-x", "a@sha256:12", "a..b", "a___b", "-a", "../x", "x.y/Z", "host:99999/x"]
        {
            let error = canonical(name).unwrap_err();
            assert!(error.message.contains("invalid reference format"), "{name}: {error}");
        }
    }

    #[test]
    fn ids_are_told_from_names() {
        assert_eq!(id_prefix("sha256:abcd"), Some("abcd"));
        assert_eq!(id_prefix("0123abcdef"), Some("0123abcdef"));
        for name in ["abc", "busybox", "sha256:", "abcdg", "ABCD"] {
            assert_eq!(id_prefix(name), None, "{name}");
        }
    }
}
