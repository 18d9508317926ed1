//! Every parser that reads bytes of strangers, as a function of bytes that must not panic, hang or grow without bound.
//!
//! A target is one row of [`ALL`]. `cargo xtask fuzz` runs them under libFuzzer (`engine/`, a workspace of its own, so that nothing
//! of it enters the product's tree); `cargo test` replays `corpus/` and `crashes/` on them. A target also holds what the parser
//! promises beyond not breaking: what it read is read again the same.
//!
//! Where a target takes two documents, a zero byte stands between them.

mod connections;
mod documents;
mod languages;
mod tokens;

/// One parser.
pub struct Target {
    /// Its word on the command line and its folder in `corpus/`.
    pub name: &'static str,
    pub what: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, what: &'static str, run: fn(&[u8])) -> Target {
    Target { name, what, run }
}

/// All of them.
pub const ALL: &[Target] = &[
    target("json", "a document in JSON under its type", documents::json),
    target("yaml", "a document in YAML, with and without a type", documents::yaml),
    target("protobuf", "a document in protobuf", documents::protobuf),
    target("json-patch", "RFC 6902", documents::json_patch),
    target("merge-patch", "RFC 7386", documents::merge_patch),
    target("strategic-patch", "strategic merge patch of a pod", documents::strategic_patch),
    target("apply", "server-side apply of a deployment, with the managedFields of the live one", documents::apply),
    target("fields", "fieldsV1", documents::fields),
    target("crd", "the schema of a custom kind, and a document under it", documents::custom),
    target("cel", "an expression, and a run of it over a document", languages::cel),
    target("selectors", "label and field selectors", languages::selectors),
    target("jsonpath", "a path, and what it finds in a document", languages::json_path),
    target("quantity", "quantities and durations", languages::quantity),
    target("continue", "continue tokens", languages::continue_token),
    target("jwt", "bearer tokens: as they are, and with claims under our own signature", tokens::jwt),
    target("spdy", "SPDY/3.1: frames, header blocks, a whole connection", connections::spdy),
    target("websocket", "WebSocket channels, binary and base64", connections::websocket),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// The two documents of an input; the second one is empty where there is no zero byte.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, b""),
    }
}

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
