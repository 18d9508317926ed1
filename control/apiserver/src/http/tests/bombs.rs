//! Small requests that would be large answers, deep recursions or long computations: each is refused in upstream's form, soon, and in
//! bounded memory. They run in a process of their own, so that its memory is theirs.

use std::process::Command;

use schema::DocExt;

use super::*;

/// Set for the process whose memory is looked at.
const OWN: &str = "CORTEN_TEST_BOMBS";
/// What the whole server may come to take, in KiB, where one request may have 3 MB: trees of small values take a hundred times
/// their text.
const PEAK_KIB_MAX: u64 = 512 << 10;
/// Far more than any of them should take on a busy machine without optimisation.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

struct Bomb {
    name: &'static str,
    /// POST or PATCH, by the path.
    path: String,
    media: &'static str,
    body: Vec<u8>,
    code: u16,
    /// A part of the message.
    says: &'static str,
}

fn bomb(name: &'static str, path: impl Into<String>, media: &'static str, body: impl Into<Vec<u8>>, code: u16, says: &'static str) -> Bomb {
    Bomb { name, path: path.into(), media, body: body.into(), code, says }
}

fn config_map(rest: &str) -> String {
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"bomb\"{rest}}}}}")
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    [open.repeat(depth), "1".to_owned(), close.repeat(depth)].concat()
}

/// Nine lists of nine aliases of the one before.
fn laughs() -> String {
    let levels = (1..9).map(|level| {
        let aliases = vec![format!("*l{}", level - 1); 9].join(", ");
        format!("  l{level}: &l{level} [{aliases}]\n")
    });
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bomb}}\ndata:\n  l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n{}",
        levels.collect::<String>()
    )
}

/// A definition of `bombs.example.com` with this schema below `spec`.
fn definition(spec: &str) -> String {
    format!(
        "{{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\",\"metadata\":{{\"name\":\"bombs.example.com\"}},\
         \"spec\":{{\"group\":\"example.com\",\"scope\":\"Namespaced\",\"names\":{{\"plural\":\"bombs\",\"kind\":\"Bomb\"}},\
         \"versions\":[{{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{{\"openAPIV3Schema\":{{\"type\":\"object\",\"properties\":{{\"spec\":{spec}}}}}}}}}]}}}}"
    )
}

fn bombs() -> Vec<Bomb> {
    let target = format!("{CONFIG_MAPS}/target");
    let deep = |depth| format!(",\"x\":{}", nested("[", "]", depth));
    let many_labels = (0..40_000).map(|n| format!("\"l{n}\":\"v\"")).collect::<Vec<_>>().join(",");
    let operations = vec!["{\"op\":\"add\",\"path\":\"/data/x\",\"value\":\"y\"}"; 10_001].join(",");
    let copies = (0..40).map(|_| "{\"op\":\"copy\",\"from\":\"/data\",\"path\":\"/data/a\"}").collect::<Vec<_>>().join(",");
    let fields = nested("{\"f:a\":", "}", 5_000);
    let managed = format!(
        ",\"managedFields\":[{{\"manager\":\"m\",\"operation\":\"Update\",\"apiVersion\":\"v1\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{fields}}}]"
    );
    let long_path = format!("[{{\"op\":\"add\",\"path\":\"{}\",\"value\":1}}]", "/a".repeat(1_000_000));
    let applied = |rest: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: target}}\n{rest}");
    let pattern = |text: &str| definition(&format!("{{\"type\":\"string\",\"pattern\":\"{text}\"}}"));
    vec![
        bomb("aliases", CONFIG_MAPS, YAML, laughs(), 400, "excessive aliasing"),
        bomb("aliases applied", format!("{target}?fieldManager=m"), APPLY, laughs(), 400, "yaml"),
        bomb("deep JSON", CONFIG_MAPS, JSON, config_map(&deep(1_000_000)), 400, "exceeded max depth"),
        bomb("deep JSON that does not end", CONFIG_MAPS, JSON, [config_map(""), "[".repeat(1_000_000)].concat(), 400, ""),
        bomb("deep YAML", CONFIG_MAPS, YAML, format!("apiVersion: v1\nkind: ConfigMap\nvalues: {}", "[".repeat(1_000_000)), 400, ""),
        bomb(
            "deep YAML by indentation",
            CONFIG_MAPS,
            YAML,
            (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>(),
            400,
            "",
        ),
        bomb("deep protobuf", CONFIG_MAPS, PROTOBUF, [&b"k8s\0"[..], &b"\x12\xff\xff\xff\x7f".repeat(100_000)].concat(), 400, ""),
        bomb("many labels", CONFIG_MAPS, JSON, config_map(&format!(",\"labels\":{{{many_labels}}}")), 201, ""),
        bomb(
            "a label of a megabyte",
            CONFIG_MAPS,
            JSON,
            config_map(&format!(",\"labels\":{{\"a\":\"{}\"}}", "x".repeat(1 << 20))),
            422,
            "must be no more than 63 bytes",
        ),
        bomb(
            "annotations of a megabyte",
            CONFIG_MAPS,
            JSON,
            config_map(&format!(",\"annotations\":{{\"a\":\"{}\"}}", "x".repeat(1 << 20))),
            422,
            "may not be more than 262144 bytes",
        ),
        bomb("owners of deep fields", CONFIG_MAPS, JSON, config_map(&managed), 400, "exceeded max depth"),
        bomb(
            "many operations",
            &*target,
            JSON_PATCH,
            format!("[{operations}]"),
            413,
            "The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
        bomb("copies that double", &*target, JSON_PATCH, format!("[{copies}]"), 422, ""),
        bomb("a long path", &*target, JSON_PATCH, long_path, 422, ""),
        bomb(
            "a deep value",
            &*target,
            JSON_PATCH,
            format!("[{{\"op\":\"add\",\"path\":\"/data\",\"value\":{}}}]", nested("[", "]", 500_000)),
            400,
            "",
        ),
        bomb("a deep merge", &*target, MERGE_PATCH, nested("{\"a\":", "}", 500_000), 400, ""),
        bomb("a deep strategic merge", &*target, STRATEGIC_PATCH, nested("{\"data\":", "}", 300_000), 400, ""),
        bomb("deep apply", format!("{target}?fieldManager=m"), APPLY, applied(&format!("data: {}", nested("{a: ", "}", 100_000))), 400, ""),
        bomb("a regex that explodes", DEFINITIONS, JSON, pattern("((a{1000}){1000}){1000}"), 422, "pattern"),
        bomb(
            "a deep schema",
            DEFINITIONS,
            JSON,
            definition(&nested("{\"type\":\"array\",\"items\":", "}", 5_000)),
            400,
            "exceeded max depth",
        ),
        bomb(
            "a wide schema",
            DEFINITIONS,
            JSON,
            definition(&format!("{{\"type\":\"object\",\"allOf\":[{}]}}", vec!["{\"not\":{\"required\":[\"a\"]}}"; 10_000].join(","))),
            201,
            "",
        ),
    ]
}

#[tokio::test]
async fn every_bomb_is_refused_soon_and_in_bounded_memory() {
    #[expect(clippy::disallowed_methods, reason = "the test that runs this program again says so in its environment")]
    if std::env::var(OWN).is_err() {
        let name = "http::tests::bombs::every_bomb_is_refused_soon_and_in_bounded_memory";
        #[expect(clippy::disallowed_methods, reason = "the test runs itself")]
        let output = Command::new(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(OWN, "1").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
        return;
    }
    let world = World::start().await;
    world.config_map("target", "x").await;
    for bomb in bombs() {
        explode(&world, bomb).await;
    }
    evil_words(&world).await;
    assert_eq!(world.get("/readyz", &[]).await.0, 200, "the server lives");
    let peak = peak_kib();
    assert!(peak < PEAK_KIB_MAX, "the server came to {peak} KiB");
}

async fn explode(world: &World, Bomb { name, path, media, body, code, says }: Bomb) {
    let method = if path.contains("/target") { Method::PATCH } else { Method::POST };
    let answer =
        tokio::time::timeout(PATIENCE, async { status_of(world.ask(method, &path, &[("content-type", media)], body).await).await });
    let (found, doc) = answer.await.unwrap_or_else(|_| panic!("{name}: no answer within {PATIENCE:?}"));
    let message: String = doc.str_at("message").chars().take(300).collect();
    assert_eq!(found, code, "{name}: {message}");
    if code >= 400 {
        assert_eq!((doc.str_at("kind"), doc.str_at("status"), doc.i64_at("code")), ("Status", "Failure", Some(code.into())), "{name}");
        assert!(!doc.str_at("reason").is_empty() && doc.str_at("message").contains(says), "{name}: {message}");
    } else {
        let made = format!("{path}/{}", doc.str_at("metadata.name"));
        assert_eq!(world.ask(Method::DELETE, &made, &[], "").await.status(), 200, "{name}");
    }
}

/// A pattern that takes others exponential time, on a word of a megabyte.
async fn evil_words(world: &World) {
    let made = definition("{\"type\":\"string\",\"pattern\":\"^(a+)+$\"}");
    let path = "/apis/example.com/v1/namespaces/default/bombs";
    let define = async {
        while world.ask(Method::POST, DEFINITIONS, &[("content-type", JSON)], made.clone()).await.status() != 201 {}
        while world.get(path, &[]).await.0 != 200 {}
    };
    tokio::time::timeout(PATIENCE, define).await.expect("the kind is served");
    let word = ["a".repeat(1 << 20), "b".to_owned()].concat();
    let body = format!("{{\"apiVersion\":\"example.com/v1\",\"kind\":\"Bomb\",\"metadata\":{{\"name\":\"b\"}},\"spec\":\"{word}\"}}");
    explode(world, bomb("an evil word", path, JSON, body, 422, "should match")).await;
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
