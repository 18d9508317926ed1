//! Nothing that a client can write makes the engine panic, run away or take the machine's memory.

use expressions::{CompileError, Environment, Fault, Type, Value, limits};
use proptest::prelude::*;
use serde_json::json;

fn environment() -> Environment {
    let mut environment = Environment::extended();
    environment.variable("self", Type::Dyn);
    environment
}

/// Compiles and, where that works, runs; what comes out does not matter.
fn survive(text: &str) {
    let document = json!({"a": [1, 2.5, "x", null, {"b": true}], "s": "text", "n": 3, "m": {"k": "v"}, "big": 9_007_199_254_740_993_i64});
    if let Ok(program) = environment().compile(text) {
        let evaluation = program.evaluate(&[("self", Value::json(&document))], 100_000);
        if let Ok(value) = evaluation.result {
            let _ = value.to_json();
        }
    }
}

/// Pieces that stand next to each other in real expressions, and some that never do.
const PIECES: &[&str] = &[
    "self",
    ".a",
    ".?s",
    "[0]",
    "[?1]",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    " in ",
    "1",
    "2u",
    "3.5",
    "-9223372036854775808",
    "'x'",
    "b'\\xff'",
    "true",
    "null",
    ".all(x, ",
    ".map(x, ",
    ".filter(x, ",
    ".exists(x, ",
    "x",
    ".size()",
    "has(",
    "cel.bind(x, ",
    ".orValue(",
    "optional.of(",
    "duration('1h')",
    "timestamp(self.s)",
    ".matches('",
    "')",
    ".format([",
    "'%s %d %f'",
    "quantity('1')",
    "ip('::1')",
    ".transformMap(k, v, ",
    "k",
    "v",
    ".sortBy(x, ",
    ".optMap(x, ",
    "type(",
    "int",
    "dyn(",
    "`a-b`",
    "\n",
    "// c\n",
    "é",
    "\u{0}",
    "math.greatest(",
    "lists.range(5)",
    ".flatten()",
    ".split('')",
    ".join()",
    "string(",
    "self.n",
    "self.big",
    "self.m",
    ".k",
    "semver('1.0.0')",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_text_of_pieces_panics(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
        survive(&pieces.concat());
    }

    #[test]
    fn no_text_at_all_panics(text in "\\PC{0,40}") {
        survive(&text);
    }

    #[test]
    fn no_pattern_panics(pattern in "[\\[\\](){}*+?|^$.a-c0-9,:\\\\&~dwsbQEpP<>=!-]{0,24}") {
        let text = serde_json::Value::from(pattern.as_str()).to_string();
        survive(&format!("'abc-1'.matches({text})"));
        survive(&format!("'abc-1'.find(self.s + {text})"));
    }

    #[test]
    fn no_format_panics(format in "[%.0-9sdfebxXoq é]{0,12}") {
        survive(&format!("'{format}'.format([self.n, self.s, 1.5, self.a, true, self.m])"));
    }
}

fn refusal(text: &str) -> String {
    environment().compile(text).expect_err("too deep or too long").to_string()
}

#[test]
fn deep_and_long_texts_are_refused() {
    let nested = |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    for text in [
        nested("(", ")", 5_000),
        nested("[", "]", 5_000),
        nested("{1: ", "}", 5_000),
        nested("size([", "])", 5_000),
        format!("1{}", " + 1".repeat(5_000)),
        format!("self{}", ".a".repeat(5_000)),
        format!("self{}", "[0]".repeat(5_000)),
        format!("{}1", "true ? 1 : ".repeat(5_000)),
        format!("[1]{}", ".map(x, x)".repeat(5_000)),
        format!("self{}", ".optMap(x, x)".repeat(60)),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.contains("recursion limit exceeded") || refusal.contains("too large"), "{:.60}: {refusal:.200}", text);
    }
    assert!(refusal(&"a".repeat(100_001)).contains("code point size exceeds limit: size: 100001, limit 100000"));
}

#[test]
fn what_upstream_lets_pass_passes() {
    let environment = environment();
    for text in [
        format!("{}1{}", "(".repeat(200), ")".repeat(200)),
        format!("1{}", " + 1".repeat(200)),
        format!("true{}", " && true".repeat(5_000)),
        format!("[{}]", "1, ".repeat(10_000)),
    ] {
        let program = environment.compile(&text).unwrap_or_else(|wrong| panic!("{text:.60}: {wrong:.200}"));
        assert!(program.evaluate(&[], limits::PER_CALL).result.is_ok());
    }
}

fn fault(text: &str, document: &serde_json::Value) -> Fault {
    let program = environment().compile(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
    program.evaluate(&[("self", Value::json(document))], limits::PER_CALL).result.expect_err("ends early")
}

#[test]
fn runs_end_with_their_budget() {
    let document = json!({"list": vec![1; 20_000], "text": "a".repeat(200_000)});
    for text in [
        "self.list.all(x, self.list.all(y, x == y))",
        "self.list.map(x, self.list.map(y, self.list))",
        "self.list.map(x, self.text + 'a')",
        "self.list.exists(x, self.text.matches('(a|b)*c'))",
        "lists.range(1000000).map(x, [x]).flatten()",
        // An error in a step does not stop the fold, nor the budget.
        "self.list.all(x, self.list.all(y, y / 0 == 1))",
        // `||` absorbs errors, but not this one.
        "self.list.all(x, self.list.all(y, x == y)) || true",
    ] {
        let fault = fault(text, &document);
        assert_eq!(fault.message(), "operation cancelled: actual cost limit exceeded", "{text}");
        assert!(fault.is_out_of_budget());
    }
}

#[test]
fn work_that_costs_nothing_is_counted_too() {
    let document = json!({"list": vec![1; 20_000], "deep": {"list": vec![1; 200_000]}, "text": "a".repeat(200_000)});
    for text in [
        "self.list.all(x, self.list.filter(y, false) == [])",
        "self.list.all(x, self == self)",
        "self.list.map(x, self.text + self.text)",
        "self.list.map(x, self.list.sort())",
        "self.list.map(x, self.text.upperAscii())",
    ] {
        assert!(fault(text, &document).is_out_of_budget(), "{text}");
    }
}

#[test]
fn joined_lists_double_without_doubling_memory() {
    let document = json!({"list": vec![1; 1_000]});
    let doubled = (0..40).fold("self.list".to_owned(), |list, _| format!("cel.bind(x, {list}, x + x)"));
    let program = environment().compile(&format!("size({doubled})")).unwrap();
    let evaluation = program.evaluate(&[("self", Value::json(&document))], limits::PER_CALL);
    assert_eq!(evaluation.result.unwrap().shown(), (1_000_u64 << 40).to_string());
}

#[test]
fn issues_are_of_the_text_and_constants_are_told_apart() {
    assert!(matches!(environment().compile("1 +"), Err(CompileError::Issues(_))));
    assert!(matches!(environment().compile("false && int('x') == 1"), Err(CompileError::Constant(_))));
}
