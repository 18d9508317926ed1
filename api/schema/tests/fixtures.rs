//! Upstream's fixtures of every kind: JSON and protobuf, both directions. Skips, and says so, without `../shared`.

#![expect(clippy::print_stderr, reason = "a test says why it skips")]

use std::path::PathBuf;

use schema::{DocExt, Facts, Value, decode, protobuf};

/// Fixtures that do not come out equal, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn every_fixture_round_trips() {
    let Some(folder) = fixtures() else {
        eprintln!("skipped: no fixtures beside the workspace");
        return;
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let known = EXCEPTIONS.iter().any(|(known, _)| *known == name);
        let json = std::fs::read(&path).expect("a fixture");
        let wire = std::fs::read(path.with_extension("pb")).expect("a fixture");
        count += 1;
        match (check(&json, &wire), known) {
            (Err(why), false) => wrong.push(format!("{name}: {why}")),
            (Ok(()), true) => wrong.push(format!("{name}: is no exception any more")),
            _ => {}
        }
    }
    assert!(EXCEPTIONS.len() <= 10 && count > 150);
    assert!(wrong.is_empty(), "{} of {count} fixtures:\n{}", wrong.len(), wrong.join("\n"));
}

fn fixtures() -> Option<PathBuf> {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let releases = std::fs::read_dir(shared).ok()?.filter_map(|entry| Some(entry.ok()?.path().join("fixtures")));
    releases.filter(|path| path.is_dir()).max()
}

fn check(json: &[u8], wire: &[u8]) -> Result<(), String> {
    let plain: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let (api_version, kind) = (plain.str_at("apiVersion"), plain.str_at("kind"));
    // A WatchEvent names no kind: it lies bare in its stream.
    let bare = kind.is_empty();
    let ty = if bare { Facts::builtin().kind("v1", "WatchEvent") } else { Facts::builtin().kind(api_version, kind) };
    let ty = ty.ok_or("no such kind")?;
    let decoded = decode::json(ty, json).map_err(|error| error.to_string())?;
    if !decoded.strict_errors.is_empty() {
        return Err(decoded.strict_errors.join(", "));
    }
    same("JSON", &decoded.value, &plain)?;
    let read = match bare {
        true => protobuf::envelope(wire).and_then(|envelope| protobuf::decode(ty, envelope.raw)),
        false => protobuf::decode_document(wire),
    };
    let read = read.map_err(|error| error.to_string())?;
    same("protobuf to JSON", &read, &plain)?;
    let written = protobuf::encode_document(ty, &plain);
    if written != wire {
        let at = written.iter().zip(wire).take_while(|(one, other)| one == other).count();
        return Err(format!("protobuf differs at byte {at} of {} (ours {})", wire.len(), written.len()));
    }
    Ok(())
}

fn same(what: &str, got: &Value, want: &Value) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: {}", difference(got, want, ""))) }
}

/// The first place at which two documents differ.
fn difference(got: &Value, want: &Value, path: &str) -> String {
    match (got, want) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort();
            let null = &Value::Null;
            let mut pairs = names.into_iter().map(|name| (name, one.get(name).unwrap_or(null), other.get(name).unwrap_or(null)));
            pairs.find(|(_, one, other)| one != other).map_or_else(
                || format!("{path}: null against absent"),
                |(name, one, other)| difference(one, other, &format!("{path}.{name}")),
            )
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs
                .find(|(_, (one, other))| one != other)
                .map_or_else(String::new, |(at, (one, other))| difference(one, other, &format!("{path}[{at}]")))
        }
        _ => format!("{path}: got {got}, want {want}"),
    }
}
