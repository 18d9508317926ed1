//! URLs as Go's `net/url` reads them: an absolute URL or an absolute path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::format::go_quoted;
use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::{Key, Map, Value};

pub(super) const FUNCTIONS: Table = &[
    ("url", |args| {
        let wrong = |wrong| Fault::new(format!("URL parse error during conversion from string: {wrong}"));
        args[0].as_str().map_or_else(mismatch, |text| Url::parse_request(text).map(|url| Value::Url(Arc::new(url))).map_err(wrong))
    }),
    ("isURL", |args| args[0].as_str().map_or_else(mismatch, |text| Ok(Value::Bool(Url::parse_request(text).is_ok())))),
    ("getScheme", |args| part(args, |url| url.scheme.clone())),
    ("getHost", |args| part(args, |url| url.host.clone())),
    ("getHostname", |args| part(args, |url| url.hostname().to_owned())),
    ("getPort", |args| part(args, |url| url.port().to_owned())),
    ("getEscapedPath", |args| part(args, Url::escaped_path)),
    ("getQuery", |args| if let Value::Url(url) = &args[0] { Ok(url.query_map()) } else { mismatch() }),
];

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: Option<String>,
    host: String,
    /// As it was written.
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Url {
    /// Go's `ParseRequestURI`, then `Parse`: the fragment is told apart only where the first is content.
    pub(crate) fn parse_request(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|why| format!("parse {}: {why}", go_quoted(text)))
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        if text.is_empty() {
            return Err("empty url".into());
        }
        if text == "*" {
            return Ok(Self::of_path("*"));
        }
        let (scheme, rest) = scheme(text)?;
        let (whole, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment.to_owned())));
        let (rest, query) = whole.split_once('?').map_or((whole, None), |(rest, query)| (rest, Some(query.to_owned())));
        if !rest.starts_with('/') {
            // An opaque URL (`mailto:a@b`), or no URL at all.
            if scheme.is_empty() {
                return Err("invalid URI for request".into());
            }
            return Ok(Self { scheme, user: None, host: String::new(), path: rest.to_owned(), query, fragment });
        }
        let mut url = Self { scheme, user: None, host: String::new(), path: rest.to_owned(), query, fragment };
        if let Some(after) = rest.strip_prefix("//").filter(|_| !url.scheme.is_empty()) {
            let (authority, path) = after.find('/').map_or((after, ""), |at| after.split_at(at));
            let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
            url.user = user.map(|user| userinfo(user).map(str::to_owned)).transpose()?;
            url.host = host_of(host)?;
            url.path = path.to_owned();
        }
        check_escapes(&url.path)?;
        check_escapes(url.fragment.as_deref().unwrap_or_default())?;
        Ok(url)
    }

    fn of_path(path: &str) -> Self {
        Self { scheme: String::new(), user: None, host: String::new(), path: path.into(), query: None, fragment: None }
    }

    fn hostname(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, _)) => inner,
            None => self.host.split_once(':').map_or(&self.host, |(name, _)| name),
        }
    }

    fn port(&self) -> &str {
        let after = self.host.rfind(']').map_or(&*self.host, |at| &self.host[at + 1..]);
        after.rsplit_once(':').map_or("", |(_, port)| port)
    }

    /// The path with what must be escaped escaped.
    fn escaped_path(&self) -> String {
        let mut escaped = String::new();
        for byte in self.path.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
        escaped
    }

    fn query_map<'a>(&self) -> Value<'a> {
        let mut entries: BTreeMap<Key<'a>, Vec<String>> = BTreeMap::new();
        let pairs = self.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) else { continue };
            let key = Key::of(&Value::string(key)).expect("texts are keys");
            entries.entry(key).or_default().push(value);
        }
        let lists = entries.into_iter().map(|(key, values)| (key, Value::strings(values)));
        Value::Map(Map::Made(Arc::new(lists.collect())))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if !self.host.is_empty() || self.user.is_some() {
            f.write_str("//")?;
            if let Some(user) = &self.user {
                write!(f, "{user}@")?;
            }
            f.write_str(&self.host)?;
        }
        f.write_str(&self.escaped_path())?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        self.fragment.as_ref().map_or(Ok(()), |fragment| write!(f, "#{fragment}"))
    }
}

/// What stands before the first colon, in lower case.
fn scheme(text: &str) -> Result<(String, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".into()),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn userinfo(user: &str) -> Result<&str, String> {
    let valid = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte));
    if !valid {
        return Err("net/url: invalid userinfo".into());
    }
    check_escapes(user).map(|()| user)
}

fn host_of(host: &str) -> Result<String, String> {
    let after = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("missing ']' in host")?.1,
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let valid_port = after.is_empty() || after.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !valid_port {
        return Err(format!("invalid port {} after host", go_quoted(after)));
    }
    if let Some(wrong) = host.chars().find(|c| matches!(c, ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        return Err(format!("invalid character {} in host name", go_quoted(&wrong.to_string())));
    }
    check_escapes(host).map(|()| host.to_owned())
}

/// Every `%` stands before two hexadecimal digits.
fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let bytes = &text.as_bytes()[at..text.len().min(at + 3)];
        if bytes.len() < 3 || !bytes[1..].iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("invalid URL escape {}", go_quoted(&String::from_utf8_lossy(bytes))));
        }
    }
    Ok(())
}

/// A part of a query: `+` is a blank, `%xx` a byte.
fn unescaped(text: &str) -> Option<String> {
    check_escapes(text).ok()?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte.unwrap_or(b'0')).to_digit(16).unwrap_or(0) as u8;
                let high = digit(rest.next());
                high << 4 | digit(rest.next())
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn part<'a>(args: &[Value<'a>], of: fn(&Url) -> String) -> Outcome<'a> {
    if let Value::Url(url) = &args[0] { Ok(Value::string(of(url))) } else { mismatch() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let url = Url::parse_request("https://user@example.com:8080/a b?x=1&x=2&y=#frag").unwrap();
        assert_eq!((&*url.host, url.hostname(), url.port()), ("example.com:8080", "example.com", "8080"));
        assert_eq!(url.to_string(), "https://user@example.com:8080/a%20b?x=1&x=2&y=#frag");
        let six = Url::parse_request("https://[::1]:80/").unwrap();
        assert_eq!((&*six.host, six.hostname(), six.port()), ("[::1]:80", "::1", "80"));
    }

    #[test]
    fn what_is_no_url_is_told_in_gos_words() {
        for (text, want) in [
            ("not a url", "parse \"not a url\": invalid URI for request"),
            ("://", "parse \"://\": missing protocol scheme"),
            ("", "parse \"\": empty url"),
            ("http://a b", "parse \"http://a b\": invalid character \" \" in host name"),
            ("http://a:b/", "parse \"http://a:b/\": invalid port \":b\" after host"),
            ("/a%zz", "parse \"/a%zz\": invalid URL escape \"%zz\""),
        ] {
            assert_eq!(Url::parse_request(text).unwrap_err(), want);
        }
    }
}
