use super::*;
use crate::encryption::Encryption;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";

fn why(text: &str) -> String {
    Encryption::parse(text).err().expect("it is refused")
}

#[test]
fn what_is_wrong_is_said_in_upstreams_words() {
    let (resources, providers) = ("resources[0].resources", "resources[0].providers[0]");
    let with = |provider: &str| config(&["secrets"], &[provider.to_owned()]);
    let named = |names: &[&str]| config(names, &["identity: {}".to_owned()]);
    let table = [
        (HEAD.to_owned(), "resources: Required value: at least one resources is required".to_owned()),
        (
            format!("{HEAD}resources: [{{providers: [{{identity: {{}}}}]}}]"),
            format!("{resources}: Required value: at least one {resources} is required"),
        ),
        (
            format!("{HEAD}resources: [{{resources: [secrets]}}]"),
            "resources[0].providers: Required value: at least one resources[0].providers is required".to_owned(),
        ),
        (with("aesgcm: {keys: []}"), format!("{providers}.aesgcm.keys: Required value: at least one keys is required")),
        (
            with("aescbc: {keys: [{secret: \"AAAA\"}]}"),
            format!(
                "[{providers}.aescbc.keys[0].name: Required value: name is a mandatory field for a key, \
                 {providers}.aescbc.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 3, expected one of [16 24 32]]"
            ),
        ),
        (
            with("secretbox: {keys: [{name: a, secret: \"*\"}]}"),
            format!("{providers}.secretbox.keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded"),
        ),
        (
            with("secretbox: {keys: [{name: a}]}"),
            format!("{providers}.secretbox.keys[0].secret: Required value: secret is a mandatory field for a key"),
        ),
        (
            with("{}"),
            format!(
                "{providers}: Invalid value: {{}}: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
            ),
        ),
        (named(&["Secrets"]), format!("{resources}[0]: Invalid value: \"Secrets\": resource name should not contain capital letters")),
        (
            named(&["*"]),
            format!(
                "{resources}[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
            ),
        ),
        (
            named(&["secrets.*"]),
            format!("{resources}[0]: Invalid value: \"secrets.*\": encrypting the same resource across groups is not supported"),
        ),
        (
            named(&["events.events.k8s.io"]),
            format!(
                "{resources}[0]: Invalid value: \"events.events.k8s.io\": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
            ),
        ),
        (
            named(&["secrets", "secrets"]),
            format!("{resources}: Invalid value: [\"secrets\",\"secrets\"]: the same resource cannot be specified multiple times"),
        ),
        (
            named(&["secrets", "*."]),
            format!(
                "{resources}: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
            ),
        ),
        (
            with("kms: {apiVersion: v2, name: k, endpoint: \"unix:///k\"}"),
            format!("{providers}.kms: Forbidden: this server speaks to no KMS plug-in; use secretbox or aesgcm"),
        ),
        (with("identity: {}\n    x: 1"), "strict decoding error: unknown field \"resources[0].providers[0].x\"".to_owned()),
        (
            "kind: Other\napiVersion: v1".to_owned(),
            "no kind \"Other\" is registered for version \"v1\"; it must be EncryptionConfiguration of apiserver.config.k8s.io/v1"
                .to_owned(),
        ),
    ];
    for (text, want) in table {
        assert_eq!(why(&text), want, "{text}");
    }
}

#[test]
fn no_word_tells_a_key() {
    let two = format!("{}\n    {}", provider("aescbc", "a", 1), provider("aesgcm", "b", 2));
    let text = why(&config(&["secrets"], &[two]));
    assert!(text.contains("more than one provider specified in a single element, should split into different list elements"), "{text}");
    assert!(!text.contains(&secret(1)) && !text.contains(&secret(2)), "{text}");
}

#[test]
fn a_rule_may_not_stand_behind_one_that_leaves_it_nothing() {
    let rule = |names: &str| format!("- resources: [{names}]\n  providers: [{{identity: {{}}}}]\n");
    let file = |rules: &[&str]| format!("{HEAD}resources:\n{}", rules.iter().map(|names| rule(names)).collect::<String>());
    let refused = [
        (["'*.'", "secrets"], "resource \"secrets\" is masked by earlier rule \"*.\""),
        (["'*.apps'", "deployments.apps"], "resource \"deployments.apps\" is masked by earlier rule \"*.apps\""),
        (["'*.*'", "'*.'"], "resource \"*.\" is masked by earlier rule \"*.*\""),
    ];
    for (rules, want) in refused {
        assert_eq!(why(&file(&rules)), want);
    }
    assert!(Encryption::parse(&file(&["secrets", "'*.'", "deployments.apps", "'*.apps'", "'*.*'"])).is_ok());
}

#[test]
fn a_key_of_the_store_is_a_resources_object_or_none() {
    let text = format!(
        "{HEAD}resources:\n- resources: [secrets, widgets.example.com]\n  providers: [{}]\n- resources: ['*.apps']\n  providers: [{}]\n",
        format_args!("{{{}}}", provider("aescbc", "exact", 1)),
        format_args!("{{{}}}", provider("aesgcm", "group", 2)),
    );
    let some = Encryption::parse(&text).unwrap();
    let all = Encryption::parse(&config(&["*.*"], &[provider("secretbox", "all", 3)])).unwrap();
    let table = [
        ("/secrets/default/a", "k8s:enc:aescbc:v1:exact:", true),
        ("/example.com/widgets/default/a", "k8s:enc:aescbc:v1:exact:", true),
        ("/apps/deployments/default/a", "k8s:enc:aesgcm:v1:group:", true),
        ("/configmaps/default/a", "", true),
        ("/events/default/a", "", true),
        ("/allocations/ips/10.0.0.1", "", false),
    ];
    for (key, prefix, is_object) in table {
        let by = |encryption: &Encryption| encryption.writer(key).map(|writer| writer.seal(key, b"x").unwrap());
        match by(&some) {
            Some(sealed) => assert!(!prefix.is_empty() && sealed.starts_with(prefix.as_bytes()), "{key}"),
            None => assert_eq!(prefix, "", "{key}"),
        }
        assert_eq!(by(&all).is_some_and(|sealed| sealed.starts_with(b"k8s:enc:secretbox:v1:all:")), is_object, "{key}");
    }
}
