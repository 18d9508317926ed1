//! `--sort-by`: lists in the order of a field. Numbers by amount, quantities too, other texts by their bytes; objects without
//! the field come first.

use std::cmp::Ordering;

use schema::jsonpath::{self, Found, Missing, Template};
use schema::{Quantity, Value, go};

/// The places of objects in the order of a field: `metadata.name`, `{.spec.priority}`.
pub fn order<'a>(objects: impl IntoIterator<Item = &'a Value>, field: &str) -> Result<Vec<usize>, String> {
    let field = jsonpath::relaxed(field)?;
    let path = Template::parse(&field)?;
    let values = objects.into_iter().map(|object| first(&path, object)).collect::<Result<Vec<_>, _>>()?;
    if values.iter().all(Option::is_none) && !values.is_empty() {
        return Err(format!("couldn't find any field with path {} in the list of objects", go::quote(&field)));
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    let mut odd = None;
    order.sort_by(|one, other| {
        compare(values[*one].as_deref(), values[*other].as_deref()).unwrap_or_else(|why| {
            odd.get_or_insert(why);
            Ordering::Equal
        })
    });
    odd.map_or(Ok(order), |why| Err(format!("Field {field} in [][][]reflect.Value is an unsortable type: interface, err: {why}")))
}

fn first<'a>(path: &Template, object: &'a Value) -> Result<Option<Found<'a>>, String> {
    Ok(path.find(object, Missing::Allowed)?.into_iter().next().and_then(|found| found.into_iter().next()))
}

fn compare(one: Option<&Value>, other: Option<&Value>) -> Result<Ordering, String> {
    let (Some(one), Some(other)) = (one, other) else { return Ok(one.is_some().cmp(&other.is_some())) };
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => Ok((!one.is_null()).cmp(&!other.is_null())),
        (Value::Number(one), Value::Number(other)) => {
            let exact = one.as_i64().zip(other.as_i64()).map(|(one, other)| one.cmp(&other));
            let near = || one.as_f64().unwrap_or_default().total_cmp(&other.as_f64().unwrap_or_default());
            Ok(exact.unwrap_or_else(near))
        }
        (Value::String(one), Value::String(other)) => Ok(texts(one, other)),
        (Value::String(_) | Value::Number(_), _) => Err("unsortable interface: interface".into()),
        (odd, _) => Err(format!("unsortable type: {}", go::type_of(odd).trim_start_matches("%!s(<").trim_end_matches(">)"))),
    }
}

fn texts(one: &str, other: &str) -> Ordering {
    match (one.parse::<Quantity>(), other.parse::<Quantity>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::json;

    #[test]
    fn fields_order_objects() {
        let objects = [json!({"q": "1"}), json!({"q": "500m"}), json!({}), json!({"q": "2Gi"})];
        assert_eq!(order(&objects, ".q"), Ok(vec![2, 1, 0, 3]));
        let flags = [json!({"b": true}), json!({"b": false})];
        assert!(order(&flags, "b").expect_err("flags have no order").contains("unsortable type: bool"));
        assert_eq!(order(&[], "b"), Ok(Vec::new()));
    }
}
