//! Documents, the patches that change them and the schemas that describe them.

use schema::apply::{FieldSet, Kind, Managed, Place, Write};
use schema::{DocExt, Facts, FieldErrors, Path, Structural, TypeId, Value, decode, json, patch, protobuf, structural, yaml};

use crate::{halves, text};

/// The type that a document says it is; a pod's where it says nothing that is known.
fn type_of(value: &Value) -> TypeId {
    let said = Facts::builtin().kind(value.str_at("apiVersion"), value.str_at("kind"));
    said.unwrap_or_else(|| known("v1", "Pod"))
}

fn known(api_version: &str, kind: &str) -> TypeId {
    Facts::builtin().kind(api_version, kind).expect("the table has the kinds of the pinned release")
}

/// A document without a schema, as the halves of patches are.
fn free(bytes: &[u8]) -> Option<Value> {
    decode::json_value(bytes).ok().map(|decoded| decoded.value)
}

pub(crate) fn json(input: &[u8]) {
    let ty = decode::json_object(input).map_or_else(|_| known("v1", "Pod"), |free| type_of(&free.value));
    let Ok(decoded) = decode::json(ty, input) else { return };
    let again = decode::json(ty, &printed(&decoded.value)).expect("what was read is read again");
    assert_eq!(again.value, decoded.value, "reading is idempotent");
    assert_eq!(again.strict_errors, [""; 0], "what was pruned is gone");
}

pub(crate) fn yaml(input: &[u8]) {
    let _ = text(input).map(decode::yaml_documents); // only that it ends
    let Ok(free) = decode::yaml_reported(input) else { return };
    let _ = decode::yaml(type_of(&free.value), input);
    let again = decode::yaml_value(yaml::to_string(&free.value).as_bytes());
    assert_eq!(again.as_ref(), Ok(&free.value), "what is printed reads the same");
}

pub(crate) fn protobuf(input: &[u8]) {
    let Ok(value) = protobuf::decode_document(input) else { return };
    let ty = type_of(&value);
    let encoded = protobuf::encode_document(ty, &value);
    let again = protobuf::decode_document(&encoded).expect("what was written is read");
    assert_eq!(protobuf::encode_document(ty, &again), encoded, "writing is idempotent");
}

pub(crate) fn json_patch(input: &[u8]) {
    let (doc, change) = halves(input);
    if let Some(doc) = free(doc) {
        let _ = patch::json(&doc, change);
    }
}

pub(crate) fn merge_patch(input: &[u8]) {
    let (doc, change) = halves(input);
    let (Some(doc), Some(change)) = (free(doc), free(change)) else { return };
    let Ok(merged) = patch::merge_document(&doc, &change) else { return };
    let difference = patch::diff_merge(&doc, &merged);
    let _ = patch::merge(&doc, &difference);
}

pub(crate) fn strategic_patch(input: &[u8]) {
    let (doc, change) = halves(input);
    let (Some(doc), Some(change)) = (free(doc), free(change)) else { return };
    let ty = known("v1", "Pod");
    let Ok(live) = decode::value(ty, doc) else { return };
    let Ok(patched) = patch::strategic(ty, &live.value, &change) else { return };
    let _ = decode::value(ty, patched);
}

pub(crate) fn fields(input: &[u8]) {
    let Some(value) = free(input) else { return };
    let _ = Managed::decode(
        &json!({"metadata": {"managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsV1": value.clone()}]}}),
    );
    let Ok(set) = FieldSet::parse(&value) else { return };
    let again = FieldSet::parse(&set.encode()).expect("what was written is read");
    assert_eq!(again.encode(), set.encode(), "writing is idempotent");
    let _ = set.paths();
}

/// Deployments alone.
struct Deployments(TypeId);

impl Kind for Deployments {
    fn shape(&self, api_version: &str) -> Option<Place<'_>> {
        (api_version == "apps/v1").then_some(Place::Object(self.0))
    }

    fn convert(&self, doc: &Value, api_version: &str) -> Option<Value> {
        (api_version == "apps/v1").then(|| doc.clone())
    }

    fn empty(&self, api_version: &str) -> Value {
        json!({"apiVersion": api_version, "kind": "Deployment"})
    }

    fn prints_structs(&self) -> bool {
        true
    }
}

pub(crate) fn apply(input: &[u8]) {
    let (live, config) = halves(input);
    let kind = Deployments(known("apps/v1", "Deployment"));
    let typed = |bytes: &[u8]| decode::json(kind.0, bytes).ok().map(|decoded| decoded.value);
    let (Some(mut live), Some(config)) = (typed(live), typed(config)) else { return };
    live.set_at("metadata.uid", "u");
    let nothing = FieldSet::default();
    let (manager, now) = ("m", "2020-01-01T00:00:01Z");
    let write = Write { kind: &kind, api_version: "apps/v1", name: "Deployment", manager, subresource: "", ignored: &nothing, now };
    let _ = write.update(&live, config.clone());
    let Ok(applied) = write.apply(&live, &config, true) else { return };
    let _ = write.apply(&applied, &config, false);
}

pub(crate) fn custom(input: &[u8]) {
    let (schema, doc) = halves(input);
    let Some(schema) = free(schema) else { return };
    let root = Path::new("schema");
    let mut errors = FieldErrors::default();
    structural::check(&schema, &root, &mut errors);
    let _ = expressions::Schema::parse(&schema, true);
    let (compiled, Some(doc)) = (Structural::new(&schema), free(doc)) else { return };
    let Ok(mut decoded) = compiled.decode(doc) else { return };
    compiled.fill_defaults(&mut decoded.value);
    let mut errors = FieldErrors::default();
    compiled.validate(&decoded.value, &root, &mut errors);
    compiled.check_lists(&decoded.value, &root, &mut errors);
    compiled.check_embedded(&decoded.value, &root, &mut errors);
    compiled.prune(&mut decoded.value);
    assert_eq!(compiled.prune(&mut decoded.value), [""; 0], "what was pruned is gone");
}

fn printed(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a document serialises into memory")
}
