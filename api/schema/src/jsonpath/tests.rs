use proptest::prelude::*;

use super::*;
use crate::json;

fn first(path: &str, doc: &Value) -> Value {
    let path = JsonPath::parse(path).unwrap_or_else(|why| panic!("{path}: {why}"));
    path.first(doc).map(Cow::into_owned).unwrap_or_default()
}

#[test]
fn paths_lead_to_what_is_there() {
    let doc = json!({"spec": {"a.b": 1, "list": [{"t": "x", "n": 1}, {"t": "y", "n": 2}, {"t": "z", "n": 3}]}});
    for (path, want) in [
        (".spec['a\\.b']", json!(1)),
        (".spec.a\\.b", json!(1)),
        (".spec.list[0].t", json!("x")),
        (".spec.list[-1].t", json!("z")),
        (".spec.list[1:].n", json!(2)),
        (".spec.list[?(@.t==\"y\")].n", json!(2)),
        (".spec.list[?(@.n >= 2)].t", json!("y")),
        ("$..n", json!(1)),
        (".spec.missing.deep", Value::Null),
        (".spec.list[7]", Value::Null),
    ] {
        assert_eq!(first(path, &doc), want, "{path}");
    }
    assert_eq!(JsonPath::parse(".spec.a\\.b").expect("a path").names(), Some(vec!["spec", "a.b"]));
    assert_eq!(JsonPath::parse(".spec[0]").expect("a path").names(), None);
}

#[test]
fn filters_that_ask_see_what_upstream_leaves_over() {
    let doc = json!({"l": [{"a": [1]}, {"a": []}, {"b": 1}]});
    let found = |template: &str| Template::parse(template).expect(template).execute(&doc, Missing::Allowed);
    assert_eq!(found("{.l[?(@.a[5])]}").as_deref(), Ok(r#"{"a":[1]} {"a":[]}"#), "a place outside of a list counts as there");
    assert_eq!(found("{.l[?(@.a==@.b)].a}"), Ok(String::new()), "what is missing equals nothing");
    assert_eq!(found("{.l[?(@.b=!1)].a}"), Err("unrecognized filter operator =!".into()));
    assert_eq!(found("{end}"), Err("not in range, nothing to end".into()));
    assert_eq!(found("{bogus}"), Err("unrecognized identifier bogus".into()));
    assert_eq!(found("{.l.*}"), found("{.l[*]}"));
}

#[test]
fn relaxed_paths_become_templates() {
    for (path, want) in [("a.b", "{.a.b}"), (".a", "{.a}"), ("{a}", "{.a}"), ("{.a}", "{.a}"), ("", ""), (".", "{..}")] {
        assert_eq!(relaxed(path).as_deref(), Ok(want), "{path}");
    }
    for bad in ["{a", "{a}{b}", "a}", "{}"] {
        assert!(relaxed(bad).is_err(), "{bad}");
    }
}

#[test]
fn bombs_end_with_a_word() {
    let wide = json!({"l": vec![json!({"l": vec![json!({"l": vec![1; 30]}); 30]}); 30]});
    let explode = format!("{{{}}}", "..l[*]".repeat(40));
    let run = |template: &str, doc: &Value| Template::parse(template).expect("a template").execute(doc, Missing::Allowed);
    assert!(run(&explode, &wide).is_ok());
    let doubled = format!("{{{}}}", "[0,0]".repeat(40));
    let mut nested = json!([]);
    (0..60).for_each(|_| nested = json!([nested]));
    assert_eq!(run(&doubled, &nested).expect_err("too much work"), "the template finds more than 4000000 things at once");
    let ranges = "{range .l[*]}".repeat(5000);
    assert_eq!(run(&ranges, &json!({"l": [{"l": []}]})).expect_err("too deep"), "more than 64 ranges within each other");
    let text = json!({"t": "x".repeat(1 << 20)});
    let copies = format!("{{range .l[*]}}{}{{end}}", "{.t}".repeat(200));
    assert!(run(&copies, &json!({"l": [text]})).expect_err("too long").ends_with("bytes"));
}

proptest! {
    #[test]
    fn no_template_panics(text in r#"[\{\}\[\]\.\$@\?\(\)'"\\:,\*\-0-9a-c =<>!é]{0,40}"#) {
        let doc = json!({"a": [1, {"b": "x"}, null, [true]], "b": {"a": "é", "c": 1.5}, "c": "text"});
        for missing in [Missing::Allowed, Missing::Refused] {
            let _ = Template::parse(&text).and_then(|template| template.execute(&doc, missing));
            let _ = Template::parse(&format!("{{{text}}}")).and_then(|template| template.execute(&doc, missing));
            let _ = Template::parse(&format!("{{.a[{text}]}}")).and_then(|template| template.execute(&doc, missing));
            let _ = Template::parse(&format!("{{.a[?({text})]}}")).and_then(|template| template.execute(&doc, missing));
        }
        let _ = relaxed(&text);
    }
}
