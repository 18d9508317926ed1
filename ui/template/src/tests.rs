use proptest::prelude::*;
use schema::json;

use super::*;

fn run(text: &str, document: &Document) -> Result<String, String> {
    let mut out = String::new();
    Template::parse("t", text, &[])?.execute(document, &mut out).map(|()| out)
}

fn check(rows: &[(&str, &str)]) {
    let document = json!({
        "a": "text", "n": 3, "f": 1.5, "t": true, "nul": null, "empty": [], "l": [1, "x", null], "m": {"k": {"d": 1}, "j": 2}, "neg": -7,
    });
    for (text, want) in rows {
        let got = run(text, &document).unwrap_or_else(|why| why);
        assert_eq!(&got, want, "{text}");
    }
}

#[test]
fn the_language() {
    check(&[
        ("plain", "plain"),
        ("{{.a}} {{.m.k.d}} {{.nope.deep}}", "text 1 <no value>"),
        ("{{/* c */}}x{{- /* c */ -}} y", "xy"),
        ("a {{- .n -}} b", "a3b"),
        ("{{if .empty}}a{{else if .t}}b{{else}}c{{end}}", "b"),
        ("{{with .m}}{{.j}}{{else}}none{{end}}{{with .nul}}x{{else with .a}}{{.}}{{end}}", "2text"),
        ("{{range .l}}[{{.}}]{{end}}{{range .empty}}x{{else}}none{{end}}", "[1][x][<no value>]none"),
        ("{{range $i, $v := .m}}{{$i}}={{$v}};{{end}}", "j=2;k=map[d:1];"),
        ("{{range $v := .l}}{{if eq $v nil}}{{break}}{{end}}{{$v}}{{end}}", "1x"),
        ("{{range 3}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}", "02"),
        ("{{$x := 1}}{{if .t}}{{$x = 2}}{{end}}{{$x}}{{$.n}}", "23"),
        ("{{define \"d\"}}<{{.}}>{{end}}{{template \"d\" .n}}{{template \"d\"}}", "<3><<no value>>"),
        ("{{block \"b\" .a}}[{{.}}]{{end}}", "[text]"),
        ("{{(index .m \"k\").d}} {{.a | printf \"%q\" | len}}", "1 6"),
        ("{{or .nul .a}} {{and .t .nope}} {{not .t}} {{or .t .m.j.x}}", "text <no value> false true"),
        ("{{`raw\\n`}}{{'a'}}{{0x1F}} {{1_000}} {{1e3}} {{\"\\u00e9\"}}", "raw\\n9731 1000 1000 é"),
        ("{{eq .n 3 4}} {{eq .n 4 3}} {{ne .a \"x\"}} {{lt .n 4}} {{ge .f 1.5}} {{eq .nul nil}}", "true true true true true true"),
        ("{{print 1 2 \"x\" 3 .t}}|{{println .n .a}}", "1 2x3 true|3 text\n"),
        ("{{slice .a 1 3}} {{slice .l 1}} {{len .m}} {{index .l 1}} {{index .m \"zz\"}}", "ex [x <nil>] 2 x <no value>"),
    ]);
}

#[test]
fn what_cannot_run_is_told_in_gos_words() {
    let at = |rest: &str| format!("template: t:1:{rest}");
    let rows = [
        ("{{.nul.x}}", at("6: executing \"t\" at <.nul.x>: nil pointer evaluating interface {}.x")),
        ("{{.a.x}}", at("4: executing \"t\" at <.a.x>: can't evaluate field x in type interface {}")),
        ("{{index .l 7}}", at("2: executing \"t\" at <index .l 7>: error calling index: index out of range: 7")),
        (
            "{{index .l \"x\"}}",
            at("2: executing \"t\" at <index .l \"x\">: error calling index: cannot index slice/array with type string"),
        ),
        ("{{len .n}}", at("2: executing \"t\" at <len .n>: error calling len: len of type int64")),
        ("{{len .a 1}}", at("2: executing \"t\" at <len .a 1>: wrong number of args for len: want 1 got 2")),
        ("{{lt .n .a}}", at("2: executing \"t\" at <lt .n .a>: error calling lt: incompatible types for comparison")),
        ("{{.a 1}}", at("2: executing \"t\" at <.a>: a is not a method but has arguments")),
        ("{{3 | .}}", "template: t:1: non executable command in pipeline stage 2".into()),
        ("{{range .a}}x{{end}}", at("8: executing \"t\" at <{{range .a}}x{{end}}>: range can't iterate over text")),
        ("{{template \"no\"}}", at("11: executing \"t\" at <{{template \"no\"}}>: template \"no\" not defined")),
    ];
    let document = json!({"a": "text", "n": 3, "nul": null, "l": [1]});
    for (text, want) in rows {
        let got = run(text, &document).expect_err(text);
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_told_in_gos_words() {
    for (text, want) in [
        ("{{.a", "1: unclosed action"),
        ("{{\n.a", "2: unclosed action started at t:1"),
        ("{{bogus}}", "1: function \"bogus\" not defined"),
        ("{{end}}", "1: unexpected {{end}}"),
        ("{{if .a}}x", "1: unexpected EOF"),
        ("{{if}}x{{end}}", "1: missing value for if"),
        ("{{$x}}", "1: undefined variable \"$x\""),
        ("{{break}}", "1: {{break}} outside {{range}}"),
        ("{{(.a}}", "1: unclosed left paren"),
        ("{{.a)}}", "1: unexpected right paren"),
        ("{{\"x}}", "1: unterminated quoted string"),
        ("{{`x}}", "1: unterminated raw quoted string"),
        ("{{/* x}}", "1: unclosed comment"),
        ("{{3x}}", "1: illegal number syntax: \"3x\""),
        ("{{.a!}}", "1: bad character U+0021 '!'"),
        ("{{\"a\".b}}", "1: unexpected . after term \"\\\"a\\\"\""),
        ("{{ }}", "1: missing value for command"),
        ("{{define \"x\"}}{{end}}{{define \"x\"}}{{end}}", "1: template: multiple definition of template \"x\""),
        ("{{range $a, $b, $c := .}}{{end}}", "1: too many declarations in range"),
        ("{{else}}", "1: unexpected {{else}}"),
        ("{{.a,}}", "1: unexpected \",\" in operand"),
    ] {
        assert_eq!(run(text, &Document::Null).expect_err(text), format!("template: t:{want}"), "{text}");
    }
}

#[test]
fn printf_knows_every_verb() {
    let values: Vec<Value<'_>> =
        [json!(7), json!(-7), json!(1.5), json!("héllo"), json!(true), json!(null), json!([1, "x"]), json!({"a": 1}), json!(1_000_000.0)]
            .into_iter()
            .map(Value::of)
            .collect();
    for (format, at, want) in [
        ("%d|", vec![0], "7|"),
        ("%5d|%-5d|%05d|%+d|% d|", vec![0, 0, 1, 0, 0], "    7|7    |-0007|+7| 7|"),
        ("%x %X %#x %o %b %c %q %U %.3d", vec![0; 9], "7 7 0x7 7 111 \u{7} '\\a' U+0007 007"),
        ("%v %g %e %.2f %8.3f|%-8.1f|%G", vec![2, 2, 2, 2, 2, 2, 8], "1.5 1.5 1.500000e+00 1.50    1.500|1.5     |1E+06"),
        ("%.3g %.2g %v", vec![2, 8, 8], "1.5 1e+06 1e+06"),
        ("%s %q %x %8s|%-8s|%.2s", vec![3, 3, 3, 3, 3, 3], "héllo \"héllo\" 68c3a96c6c6f    héllo|héllo   |hé"),
        ("%t %v %s", vec![4, 4, 4], "true true %!s(bool=true)"),
        ("%v %d %s", vec![5, 5, 5], "<nil> %!d(<nil>) %!s(<nil>)"),
        ("%v %d %s %q", vec![6, 6, 7, 7], "[1 x] [1 %!d(string=x)] map[a:%!s(int64=1)] map[\"a\":'\\x01']"),
        ("%#v %T %T %T", vec![7, 7, 6, 0], "map[string]interface {}{\"a\":1} map[string]interface {} []interface {} int64"),
        ("%[2]d %[1]d", vec![0, 1], "-7 7"),
        ("%*d|%-*d|%.*f", vec![0, 0, 0, 1, 0, 2], "      7|-7     |1.5000000"),
        ("%d %d", vec![0], "7 %!d(MISSING)"),
        ("%d", vec![0, 3], "7%!(EXTRA string=héllo)"),
        ("%z", vec![0], "%!z(int64=7)"),
        ("%", vec![], "%!(NOVERB)"),
        ("100%%", vec![], "100%"),
        ("%[9]d", vec![0], "%!d(BADINDEX)"),
        ("%d", vec![2], "%!d(float64=1.5)"),
    ] {
        let picked: Vec<_> = at.iter().map(|at| values[*at].clone()).collect();
        assert_eq!(format::sprintf(format, &picked).as_deref(), Ok(want), "{format}");
    }
}

#[test]
fn bombs_end_with_a_word() {
    let fails = |text: &str| run(text, &json!({"l": vec![0; 100]})).expect_err(text);
    assert!(fails("{{define \"t2\"}}{{template \"t2\"}}{{end}}{{template \"t2\"}}").ends_with("exceeded maximum template depth (250)"));
    assert!(fails(&format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000))).ends_with("max expression depth exceeded"));
    assert!(fails(&format!("{}{}", "{{if 1}}".repeat(5000), "{{end}}".repeat(5000))).ends_with("max expression depth exceeded"));
    assert!(fails("{{range 1000000000}}{{end}}").ends_with("steps"));
    assert!(fails("{{$x := \"0123456789\"}}{{range 100}}{{$x = print $x $x}}{{end}}").contains("too long"));
    let wide = format!("{{{{printf \"{}\" {}}}}}", "%1000000d".repeat(200), "1 ".repeat(200));
    assert!(fails(&wide).contains("too long"));
    let text = format!("{{{{define \"x\"}}}}{}{{{{end}}}}{{{{range 1000}}}}{{{{template \"x\"}}}}{{{{end}}}}", "x".repeat(1 << 20));
    assert!(fails(&text).ends_with("bytes"));
    let fields = format!("{{{{.{}}}}}", vec!["a"; 50_000].join("."));
    assert_eq!(run(&fields, &json!({})).as_deref(), Ok("<no value>"));
}

#[test]
fn the_deepest_template_fits_on_a_small_stack() {
    let nested = format!("{}{{{{template \"d\" .}}}}{}", "{{if 1}}{{with .}}".repeat(45), "{{end}}{{end}}".repeat(45));
    let text = format!("{{{{define \"d\"}}}}{nested}{{{{end}}}}{{{{template \"d\" {}1{}}}}}", "(".repeat(90), ")".repeat(90));
    let on_small_stack = std::thread::Builder::new().stack_size(1 << 20).spawn(move || run(&text, &json!({}))).expect("a thread");
    assert!(on_small_stack.join().expect("no overflow").expect_err("too deep").contains("maximum template depth"));
}

proptest! {
    #[test]
    fn no_template_panics(text in r#"(\{\{|\}\}|if|else|end|range|with|define|template|block|break| |\.|\$|[a-c]|"|`|'|\(|\)|\||:=|=|,|[0-9]|-|printf|index|slice|len|eq|%|é|\n){0,30}"#) {
        let document = json!({"a": [1, {"b": "x"}, null], "b": {"a": "é"}, "c": 3});
        let _ = run(&text, &document);
        let _ = run(&format!("{{{{{text}}}}}"), &document);
    }

    #[test]
    fn no_format_panics(text in r"(%|[-+# 0-9.*\[\]]|[vdsqxXobcUeEfFgGtTp]|é){0,20}", number in any::<i64>(), float in any::<f64>()) {
        let values = [Value::of(number.into()), Value::text("é"), Value::of(float.into()), Value::of(json!({"a": [1, null]}))];
        let _ = format::sprintf(&text, &values);
    }
}
