//! kubeconfig files: reading ours, and merging one context into a person's file without touching the rest.

use schema::{DocExt, Value, json};

/// One cluster, one user, one context, all of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// `https://127.0.0.1:6443`
    pub server: String,
    /// PEM.
    pub ca: String,
    pub client_certificate: String,
    pub client_key: String,
}

impl Entry {
    /// A file with nothing but this entry, which is also the current context.
    pub fn to_value(&self) -> Value {
        let mut file = json!({"apiVersion": "v1", "kind": "Config", "preferences": {}, "clusters": [], "users": [], "contexts": []});
        self.merge_into(&mut file);
        file["current-context"] = json!(self.name);
        file
    }

    /// Puts the entry into `file`, replacing what has its name. The current context changes only where there is none.
    /// Returns whether it did.
    pub fn merge_into(&self, file: &mut Value) -> bool {
        use base64::Engine;
        let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        let cluster = json!({"server": self.server, "certificate-authority-data": encode(&self.ca)});
        let user = json!({"client-certificate-data": encode(&self.client_certificate), "client-key-data": encode(&self.client_key)});
        file.default_at("apiVersion", "v1");
        file.default_at("kind", "Config");
        put(file, "clusters", json!({"name": self.name, "cluster": cluster}));
        put(file, "users", json!({"name": self.name, "user": user}));
        put(file, "contexts", json!({"name": self.name, "context": {"cluster": self.name, "user": self.name}}));
        let takes_over = file.str_at("current-context").is_empty();
        if takes_over {
            file["current-context"] = json!(self.name);
        }
        takes_over
    }
}

/// Takes the entry `name` out of `file` again; returns whether anything was there.
pub fn remove_from(file: &mut Value, name: &str) -> bool {
    let mut found = false;
    for list in ["clusters", "users", "contexts"] {
        let Some(items) = file.get_mut(list).and_then(Value::as_array_mut) else { continue };
        let before = items.len();
        items.retain(|item| item.str_at("name") != name);
        found |= items.len() != before;
    }
    if file.str_at("current-context") == name {
        file["current-context"] = json!("");
    }
    found
}

fn put(file: &mut Value, list: &str, entry: Value) {
    if !file.get(list).is_some_and(Value::is_array) {
        file[list] = json!([]);
    }
    let items = file[list].as_array_mut().expect("made a list just above");
    match items.iter_mut().find(|item| item.str_at("name") == entry.str_at("name")) {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            name: "corten".into(),
            server: "https://127.0.0.1:6443".into(),
            ca: "CA".into(),
            client_certificate: "C".into(),
            client_key: "K".into(),
        }
    }

    #[test]
    fn merging_leaves_other_entries_and_the_current_context_alone() {
        let mut file = json!({"clusters": [{"name": "prod", "cluster": {"server": "https://x"}}], "contexts": null, "current-context": "prod", "extra": 1});
        assert!(!entry().merge_into(&mut file));
        assert_eq!(file["clusters"].as_array().unwrap().len(), 2);
        assert_eq!((file.str_at("current-context"), &file["extra"]), ("prod", &json!(1)));
        let once = file.clone();
        entry().merge_into(&mut file);
        assert_eq!(file, once, "merging twice changes nothing");
        assert!(remove_from(&mut file, "corten"));
        assert_eq!(file["clusters"], json!([{"name": "prod", "cluster": {"server": "https://x"}}]));
    }

    #[test]
    fn an_empty_file_gets_us_as_its_current_context() {
        let mut file = json!({});
        assert!(entry().merge_into(&mut file));
        assert_eq!(file.str_at("current-context"), "corten");
    }
}
