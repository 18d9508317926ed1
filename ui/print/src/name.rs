//! `-o name`: `deployment.apps/web`, one line for each object, with what was done to it where the caller says so.

use schema::{DocExt, Value};

/// How names are printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// `created`, `deleted`: behind the name.
    pub operation: &'a str,
    /// The name alone, without the operation: `-o name`.
    pub short: bool,
    pub with_namespace: bool,
}

/// The lines of an object, or of those of a list.
pub fn print(document: &Value, options: Options<'_>) -> Result<String, String> {
    let mut out = String::new();
    for object in objects(document) {
        out.push_str(&line(object, options)?);
    }
    Ok(out)
}

/// The objects of a list, or the object itself.
pub fn objects(document: &Value) -> &[Value] {
    let is_list = document.str_at("kind").ends_with("List") && document.get("items").is_some_and(Value::is_array);
    if is_list { document.items_at("items") } else { std::slice::from_ref(document) }
}

fn line(object: &Value, options: Options<'_>) -> Result<String, String> {
    let (kind, api_version) = (object.str_at("kind"), object.str_at("apiVersion"));
    if kind.is_empty() && api_version.is_empty() {
        return Err("missing apiVersion or kind; try GetObjectKind().SetGroupVersionKind() if you know the type".into());
    }
    let known = |text: &str| if text.is_empty() { "<unknown>".to_owned() } else { text.to_owned() };
    let group = api_version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    let namespace = if options.with_namespace { known(object.str_at("metadata.namespace")) + "/" } else { String::new() };
    let operation = if options.short || options.operation.is_empty() { String::new() } else { format!(" {}", options.operation) };
    Ok(format!("{namespace}{}{group}/{}{operation}\n", kind.to_lowercase(), known(object.str_at("metadata.name"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::json;

    #[test]
    fn names_carry_group_operation_and_namespace() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "x"}});
        let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod, web]});
        let short = Options { short: true, operation: "created", with_namespace: false };
        assert_eq!(print(&list, short).as_deref(), Ok("pod/a\ndeployment.apps/web\n"));
        let told = Options { short: false, operation: "deleted", with_namespace: true };
        assert_eq!(print(&list, told).as_deref(), Ok("x/pod/a deleted\n<unknown>/deployment.apps/web deleted\n"));
        assert!(print(&json!({}), short).is_err());
    }
}
