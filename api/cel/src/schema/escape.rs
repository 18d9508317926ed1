//! Property names as identifiers: `a-b` is `a__dash__b`, `if` is `__if__`.

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const SEQUENCES: &[(&str, &str)] = &[("__", "underscores"), (".", "dot"), ("-", "dash"), ("/", "slash")];

/// The identifier for a property's name; `None` where there is none.
pub fn escaped(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((sequence, word)) = SEQUENCES.iter().find(|(sequence, _)| rest.starts_with(sequence)) {
            text.push_str(&format!("__{word}__"));
            rest = &rest[sequence.len()..];
        } else if c.is_ascii_alphanumeric() || c == '_' {
            text.push(c);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(text)
}

/// The property's name of an identifier; `None` where it holds a sequence that means nothing.
pub fn unescaped(identifier: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = identifier;
    while let Some(start) = rest.find("__") {
        let inner = &rest[start + 2..];
        let end = inner.find("__").filter(|end| *end > 0 && !inner[..*end].contains('_'));
        let Some(end) = end else {
            text.push_str(&rest[..start + 1]);
            rest = &rest[start + 1..];
            continue;
        };
        text.push_str(&rest[..start]);
        let word = &inner[..end];
        match SEQUENCES.iter().find(|(_, known)| *known == word) {
            Some((sequence, _)) => text.push_str(sequence),
            None if RESERVED.contains(&word) && identifier.len() == word.len() + 4 => text.push_str(word),
            None => return None,
        }
        rest = &inner[end + 2..];
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_their_identifiers() {
        for (name, identifier) in [
            ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
            ("if", "__if__"),
            ("namespace", "__namespace__"),
            ("a__b", "a__underscores__b"),
            ("_a_", "_a_"),
            ("iffy", "iffy"),
        ] {
            assert_eq!(escaped(name).as_deref(), Some(identifier));
            assert_eq!(unescaped(identifier).as_deref(), Some(name));
        }
        assert_eq!(escaped("1a"), None);
        assert_eq!(escaped("a b"), None);
        assert_eq!(unescaped("a__nope__"), None);
    }
}
