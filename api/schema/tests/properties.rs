//! Laws of the codecs over documents made at random from the facts of every kind, and over damaged input.

use proptest::prelude::*;
use schema::facts::{Arity, Facts, Field, Shape};
use schema::{Map, Quantity, TypeId, Value, decode, patch, protobuf, quantity};

/// A small generator: the documents are made from a seed, so that a failing one can be made again.
struct Maker {
    state: u64,
}

impl Maker {
    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }

    fn document(&mut self, ty: TypeId, depth: usize) -> Value {
        let mut members = Map::new();
        for field in &Facts::builtin().get(ty).fields {
            if depth < 7 && self.below(3) == 0 && !(depth == 0 && matches!(field.name, "apiVersion" | "kind")) {
                members.insert(field.name.into(), self.field(field, depth));
            }
        }
        Value::Object(members)
    }

    /// Puts unknown members, nulls and values of a wrong type here and there.
    fn spoil(&mut self, value: &mut Value) {
        if self.below(12) == 0 {
            let wrong = [
                Value::Null,
                7.into(),
                5_000_000_000i64.into(),
                true.into(),
                "7".into(),
                serde_json::json!([]),
                serde_json::json!({"x": {}}),
            ];
            *value = wrong[self.below(7) as usize].clone();
            return;
        }
        match value {
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.spoil(element)),
            Value::Object(members) => {
                members.values_mut().for_each(|value| self.spoil(value));
                if self.below(4) == 0 {
                    members.insert("unheard of".into(), serde_json::json!([{"a": null}]));
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, field: &Field, depth: usize) -> Value {
        let count = self.below(3);
        match field.arity {
            Arity::One => self.one(field.shape, depth),
            Arity::List => (0..count).map(|_| self.one(field.shape, depth)).collect(),
            Arity::Map => Value::Object((0..count).map(|at| (format!("k{at}"), self.one(field.shape, depth))).collect()),
            Arity::MapOfList => {
                let lists = (0..count).map(|at| (format!("k{at}"), (0..2).map(|_| self.one(field.shape, depth)).collect::<Value>()));
                Value::Object(lists.collect())
            }
        }
    }

    fn one(&mut self, shape: Shape, depth: usize) -> Value {
        match shape {
            Shape::String => ["", "a", "é\u{1f600}", "two words"][self.below(4) as usize].into(),
            Shape::Int32 => (self.below(7) as i32 - 3).into(),
            Shape::Int64 => (self.below(1 << 50) as i64 - (1 << 49)).into(),
            Shape::Number => (self.below(9) as f64 / 4.0).into(),
            Shape::Bool => (self.below(2) == 0).into(),
            Shape::Bytes => ["", "YQ==", "/////w=="][self.below(3) as usize].into(),
            Shape::Time => ["2020-01-02T03:04:05Z", "1969-12-31T23:59:59Z"][self.below(2) as usize].into(),
            Shape::MicroTime => ["2020-01-02T03:04:05.123456Z", "1969-12-31T23:59:59.000001Z"][self.below(2) as usize].into(),
            Shape::Quantity => ["100m", "1Gi", "0", "-5k", "1500m"][self.below(5) as usize].into(),
            Shape::IntOrString if self.below(2) == 0 => 80.into(),
            Shape::IntOrString => "http".into(),
            Shape::Duration => "1m0s".into(),
            Shape::Any | Shape::FieldsV1 => serde_json::json!({"free": [1, "x", null, {"deep": 1.5}]}),
            Shape::Object(ty) => self.document(ty, depth + 1),
            Shape::SchemaOrArray(ty) if self.below(2) == 0 => Value::Array(vec![self.document(ty, depth + 2)]),
            Shape::SchemaOrBool(_) if self.below(2) == 0 => true.into(),
            Shape::SchemaOrStrings(_) if self.below(2) == 0 => serde_json::json!(["a", "b"]),
            Shape::SchemaOrArray(ty) | Shape::SchemaOrBool(ty) | Shape::SchemaOrStrings(ty) => self.document(ty, depth + 2),
        }
    }
}

/// A kind and a document of it in canonical form.
fn made(kind: usize, seed: u64) -> (TypeId, Value) {
    let kinds = Facts::builtin().kinds();
    let kind = &kinds[kind % kinds.len()];
    let plain = Maker { state: seed | 1 }.document(kind.id, 0);
    let decoded = decode::value(kind.id, plain.clone()).unwrap_or_else(|error| panic!("{kind:?}: {error}: {plain}"));
    assert_eq!(decoded.strict_errors, [""; 0], "{kind:?}");
    (kind.id, decoded.value)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn json_text_and_value_decode_alike_and_canonical_stays(kind in any::<usize>(), seed in any::<u64>()) {
        let (ty, canonical) = made(kind, seed);
        let from_text = decode::json(ty, canonical.to_string().as_bytes()).expect("our own text");
        prop_assert_eq!(&from_text.value, &canonical);
        prop_assert_eq!(decode::value(ty, canonical.clone()).expect("our own value").value, canonical);
    }

    #[test]
    fn a_spoilt_document_is_told_of_alike_as_text_and_as_value(kind in any::<usize>(), seed in any::<u64>()) {
        let kinds = Facts::builtin().kinds();
        let ty = kinds[kind % kinds.len()].id;
        let mut maker = Maker { state: seed | 1 };
        let mut plain = maker.document(ty, 0);
        maker.spoil(&mut plain);
        match (decode::json(ty, plain.to_string().as_bytes()), decode::value(ty, plain.clone())) {
            (Ok(text), Ok(value)) => prop_assert_eq!(text, value, "{}", plain),
            (Err(text), Err(value)) => prop_assert_eq!(text, value, "{}", plain),
            (text, value) => prop_assert!(false, "{plain}: {text:?} against {value:?}"),
        }
    }

    #[test]
    fn protobuf_round_trips(kind in any::<usize>(), seed in any::<u64>()) {
        let (ty, canonical) = made(kind, seed);
        let wire = protobuf::encode(ty, &canonical);
        let read = protobuf::decode(ty, &wire).expect("our own bytes");
        prop_assert_eq!(protobuf::encode(ty, &read), wire, "{} became {}", canonical, read);
        // What is read has the same JSON meaning: decoding it as JSON changes nothing.
        prop_assert_eq!(decode::value(ty, read.clone()).expect("a document").value, read);
    }

    #[test]
    fn damaged_protobuf_never_panics(kind in any::<usize>(), seed in any::<u64>(), at in any::<usize>(), byte in any::<u8>()) {
        let (ty, canonical) = made(kind, seed);
        let mut wire = protobuf::encode(ty, &canonical);
        if !wire.is_empty() {
            let at = at % wire.len();
            wire[at] = byte;
            let _ = protobuf::decode(ty, &wire);
            let _ = protobuf::decode(ty, &wire[..at]);
        }
    }

    #[test]
    fn damaged_json_and_yaml_never_panic(kind in any::<usize>(), seed in any::<u64>(), at in any::<usize>(), byte in any::<u8>()) {
        let (ty, canonical) = made(kind, seed);
        let mut text = canonical.to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        let _ = decode::json(ty, &text);
        let _ = decode::yaml(ty, &text);
        let _ = decode::json_value(&text[..at]);
    }

    #[test]
    fn patches_of_any_shape_never_panic(kind in any::<usize>(), seed in any::<u64>(), other in any::<u64>()) {
        let (ty, doc) = made(kind, seed);
        let mut maker = Maker { state: other | 1 };
        let (mut patch, mut live) = (maker.document(ty, 0), maker.document(ty, 0));
        maker.spoil(&mut patch);
        maker.spoil(&mut live);
        let _ = patch::strategic(ty, &doc, &patch);
        let _ = patch::create::three_way(ty, &doc, &patch, &live, false);
        let _ = patch::create::three_way_merge(&doc, &patch, &live);
        let operations = serde_json::json!([
            {"op": "add", "path": "/metadata/labels/x", "value": patch}, {"op": "move", "from": "/spec", "path": "/status/0"},
            {"op": "replace", "path": "/kind", "value": live}, {"op": "remove", "path": "/-1"},
        ]);
        for operation in operations.as_array().expect("a list") {
            let _ = patch::json(&live, serde_json::json!([operation]).to_string().as_bytes());
        }
    }

    #[test]
    fn quantities_keep_their_amount(digits in "[0-9]{1,12}(\\.[0-9]{0,9})?", suffix in "(n|u|m|k|M|G|T|Ki|Mi|Gi|e3|E-2)?", minus in any::<bool>()) {
        let text = format!("{}{digits}{suffix}", if minus { "-" } else { "" });
        let parsed: Quantity = text.parse().expect("a quantity");
        let printed = parsed.to_string();
        let again: Quantity = printed.parse().expect("our own text");
        prop_assert_eq!(again.nano, parsed.nano, "{} printed as {}", text, printed);
        prop_assert_eq!(again.to_string(), printed);
        let canonical = quantity::canonical_text(&text).expect("a quantity");
        prop_assert_eq!(canonical.parse::<Quantity>().expect("our own text").nano, parsed.nano);
    }

    #[test]
    fn any_text_is_a_quantity_or_an_error(text in "[-+.0-9eEinumkKMGTP]{0,24}") {
        let _ = text.parse::<Quantity>();
        let _ = quantity::canonical_text(&text);
    }
}
