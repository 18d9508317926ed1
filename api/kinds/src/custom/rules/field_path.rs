//! `fieldPath`: a place below a rule's own, in the notation of JSONPath: `.spec['a.b'].c`. No lists: nobody knows which item.

use schema::{DocExt, Path, Value};

/// The path as errors print it; an error where it does not lead to something that the schema describes.
pub(super) fn normalized(text: &str, schema: &Value) -> Result<String, String> {
    let (mut path, mut schema, mut rest) = (Path::root(), schema, text);
    while !rest.is_empty() {
        let (name, after) = step(rest)?;
        let named = schema.map_at("properties").filter(|all| !all.is_empty());
        (path, schema) = match (named, schema.get("additionalProperties").filter(|rest| !rest.is_null())) {
            (Some(all), _) => (path.child(&name), all.get(&name).ok_or_else(unknown)?),
            (None, Some(values)) => (path.key(&name), values),
            (None, None) => return Err(unknown()),
        };
        rest = after;
    }
    Ok(path.to_string())
}

fn unknown() -> String {
    "does not refer to a valid field".into()
}

/// The first name, and what follows it.
fn step(text: &str) -> Result<(String, &str), String> {
    match text.as_bytes() {
        [b'.', ..] => {
            let rest = &text[1..];
            let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
            if end == 0 { Err("unexpected end of JSON path".into()) } else { Ok((rest[..end].to_owned(), &rest[end..])) }
        }
        [b'[', b'\'', ..] => quoted(&text[2..]),
        [b'[', ..] => Err(format!("expected single quoted string but got {}", &text[1..])),
        _ => Err(format!("expected [ or . but got: {text}")),
    }
}

/// Up to the closing quote and bracket, escapes as in Go's literals.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => {
                let rest = text[at + 1..].strip_prefix(']');
                return rest.map(|rest| (name, rest)).ok_or_else(|| "expected ]".to_owned());
            }
            '\\' => name.push(unescaped(chars.next().map(|(_, c)| c))?),
            c => name.push(c),
        }
    }
    Err("unexpected end of JSON path".into())
}

fn unescaped(escape: Option<char>) -> Result<char, String> {
    match escape {
        Some('a') => Ok('\u{7}'),
        Some('b') => Ok('\u{8}'),
        Some('f') => Ok('\u{c}'),
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('v') => Ok('\u{b}'),
        Some(c @ ('\'' | '\\')) => Ok(c),
        Some(other) => Err(format!("invalid string literal: invalid escape char \\{other}")),
        None => Err("unexpected end of JSON path".into()),
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_path_leads_through_properties_and_maps_and_nowhere_else() {
        let schema = json!({"properties": {
            "spec": {"properties": {"a.b": {"type": "string"}, "it's": {}, "list": {"items": {"properties": {"c": {}}}}}},
            "map": {"additionalProperties": {"properties": {"x": {}}}},
        }});
        for (text, want) in [
            (".spec", Ok("spec")),
            (".spec['a.b']", Ok("spec.a.b")),
            (".spec['it\\'s']", Ok("spec.it's")),
            ("['spec'].list", Ok("spec.list")),
            (".map.key.x", Ok("map[key].x")),
            (".map['a b'].x", Ok("map[a b].x")),
            (".nope", Err("does not refer to a valid field")),
            (".spec.list[0]", Err("expected single quoted string but got 0]")),
            (".spec.list.c", Err("does not refer to a valid field")),
            ("spec", Err("expected [ or . but got: spec")),
            (".", Err("unexpected end of JSON path")),
            (".spec['a", Err("unexpected end of JSON path")),
            (".spec['\\q']", Err("invalid string literal: invalid escape char \\q")),
        ] {
            assert_eq!(normalized(text, &schema), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
