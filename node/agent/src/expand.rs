//! `$(NAME)` in commands, arguments and variables.

/// Replaces `$(NAME)` by what `lookup` knows; an unknown name stays as it is, `$$` is one `$`.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match reference(rest) {
            Reference::Escape => {
                out.push('$');
                rest = &rest[1..];
            }
            Reference::Name(name) => {
                out.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
                rest = &rest[name.len() + 2..];
            }
            Reference::None => out.push('$'),
        }
    }
    out + rest
}

enum Reference<'a> {
    Escape,
    Name(&'a str),
    None,
}

/// What follows a `$`.
fn reference(rest: &str) -> Reference<'_> {
    match rest.as_bytes().first() {
        Some(b'$') => Reference::Escape,
        Some(b'(') => rest.find(')').map_or(Reference::None, |end| Reference::Name(&rest[1..end])),
        _ => Reference::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_escapes_and_strays() {
        let known = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("-$(A)-$(A)-", "-1-1-"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("a$", "a$"),
            ("$()", "$()"),
            ("é$(A)ü", "é1ü"),
        ] {
            assert_eq!(expand(text, known), want, "{text}");
        }
    }
}
