//! `metadata.managedFields` that a webhook broke: they stay as they were, and the caller is told.

use schema::apply::wire;
use schema::{DocExt, Value};

const FIELD: &str = "metadata.managedFields";

/// Gives `doc` the entries of `before` back where its own cannot be read. The text is a warning.
pub(super) fn mend(doc: &mut Value, before: &Value) -> Option<String> {
    let (given, own) = (doc.items_at(FIELD), before.items_at(FIELD));
    if given == own {
        return None;
    }
    let why = wire::check_all(given).err()?;
    match before.at(FIELD) {
        Some(own) => doc.set_at(FIELD, own.clone()),
        None => drop(doc.remove_at(FIELD)),
    }
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; \
         please fix your requests: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::json;

    #[test]
    fn entries_that_can_be_read_stay_and_others_are_taken_back() {
        let entry = |fields: Value| json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
        let doc = |fields: Value| json!({"metadata": {"managedFields": [entry(fields)]}});
        let before = doc(json!({"f:a": {}}));
        let (mut same, mut other, mut broken) = (before.clone(), doc(json!({"f:b": {}})), doc(json!({"f:b": 1})));
        assert_eq!(mend(&mut same, &before), None);
        assert_eq!((mend(&mut other, &before), &other), (None, &doc(json!({"f:b": {}}))));
        let told = mend(&mut broken, &before).expect("a warning");
        assert!(
            told.contains("please fix your requests: error decoding versioned set from {m Update v1 <nil> FieldsV1 {\"f:b\":1} }: "),
            "{told}"
        );
        assert_eq!(broken, before);
        assert!(mend(&mut doc(json!("f:b")), &json!({})).is_some());
    }
}
