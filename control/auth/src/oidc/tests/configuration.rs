//! What is wrong with a configuration is said with its path.

use super::super::config::Flags;
use super::super::validate;
use super::*;

fn wrong(jwt: &str) -> Vec<String> {
    validate::configuration(&parsed(jwt), &["https://own.example.com".to_owned()]).0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_configuration_has_nothing_wrong() {
    assert!(wrong(PLAIN).is_empty());
    assert!(wrong("").is_empty());
}

#[test]
fn issuers_are_checked() {
    let issuer = |fields: &str| format!(r#"{{"issuer": {{{fields}}}, "claimMappings": {{"username": {{"claim": "sub", "prefix": ""}}}}}}"#);
    for (fields, want) in [
        (r#""audiences": ["a"]"#, vec!["jwt[0].issuer.url: Required value"]),
        (
            r#""url": "https://a.example.com""#,
            vec!["jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required"],
        ),
        (r#""url": "http://a", "audiences": ["a"]"#, vec![r#"jwt[0].issuer.url: Invalid value: "http://a": URL scheme must be https"#]),
        (
            r#""url": "https://u:p@a?q#f", "audiences": ["a"]"#,
            vec![
                r#"jwt[0].issuer.url: Invalid value: "https://u:p@a?q#f": URL must not contain a username or password"#,
                r#"jwt[0].issuer.url: Invalid value: "https://u:p@a?q#f": URL must not contain a query"#,
                r#"jwt[0].issuer.url: Invalid value: "https://u:p@a?q#f": URL must not contain a fragment"#,
            ],
        ),
        (
            r#""url": "https://own.example.com", "audiences": ["a"]"#,
            vec![
                r#"jwt[0].issuer.url: Invalid value: "https://own.example.com": URL must not overlap with disallowed issuers: [https://own.example.com]"#,
            ],
        ),
        (
            r#""url": "https://a/", "discoveryURL": "https://a", "audiences": ["a"]"#,
            vec![r#"jwt[0].issuer.discoveryURL: Invalid value: "https://a": discoveryURL must be different from URL"#],
        ),
        (
            r#""url": "https://a", "audiences": ["a", "", "a"]"#,
            vec![
                "jwt[0].issuer.audiences[1]: Required value",
                r#"jwt[0].issuer.audiences[2]: Duplicate value: "a""#,
                r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences"#,
            ],
        ),
        (
            r#""url": "https://a", "audiences": ["a"], "audienceMatchPolicy": "All"#,
            vec![
                r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: "All": audienceMatchPolicy must be empty or MatchAny for single audience"#,
            ],
        ),
        (
            r#""url": "https://a", "audiences": ["a"], "certificateAuthority": "x""#,
            vec![
                r#"jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates"#,
            ],
        ),
        (
            r#""url": "https://a", "audiences": ["a"], "egressSelectorType": "etcd""#,
            vec![r#"jwt[0].issuer.egressSelectorType: Invalid value: "etcd": egress selector must be either controlplane or cluster"#],
        ),
    ] {
        let fields = if fields.ends_with("All") { format!("{fields}\"") } else { fields.to_owned() };
        assert_eq!(wrong(&issuer(&fields)), want, "{fields}");
    }
    let two = format!("{PLAIN}, {PLAIN}");
    assert_eq!(wrong(&two), [r#"jwt[1].issuer.url: Duplicate value: "https://issuer.example.com""#]);
}

#[test]
fn mappings_and_rules_are_checked() {
    let jwt = |fields: &str| format!(r#"{{"issuer": {{"url": "https://a", "audiences": ["a"]}}, {fields}}}"#);
    let good = r#""claimMappings": {"username": {"claim": "sub", "prefix": ""}}"#;
    for (fields, want) in [
        (r#""claimMappings": {}"#.to_owned(), "jwt[0].claimMappings.username: Required value: claim or expression is required"),
        (
            r#""claimMappings": {"username": {"claim": "sub"}}"#.to_owned(),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ),
        (
            r#""claimMappings": {"username": {"claim": "sub", "expression": "claims.sub"}}"#.to_owned(),
            r#"jwt[0].claimMappings.username: Invalid value: "": claim and expression can't both be set"#,
        ),
        (
            r#""claimMappings": {"username": {"expression": "claims.sub", "prefix": "x"}}"#.to_owned(),
            r#"jwt[0].claimMappings.username.prefix: Invalid value: "x": may not be specified when expression is set"#,
        ),
        (
            r#""claimMappings": {"username": {"expression": "claims.email"}}"#.to_owned(),
            r#"jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"#,
        ),
        (
            format!(r#"{good}, "claimValidationRules": [{{"claim": "a", "expression": "true"}}]"#),
            r#"jwt[0].claimValidationRules[0]: Invalid value: "a": claim and expression can't both be set"#,
        ),
        (
            format!(r#"{good}, "claimValidationRules": [{{"expression": "claims.sub + 'x'"}}, {{"claim": "a"}}, {{"claim": "a"}}]"#),
            r#"jwt[0].claimValidationRules[2].claim: Duplicate value: "a""#,
        ),
        (
            format!(r#"{good}, "claimValidationRules": [{{"expression": "'x'"}}]"#),
            r#"jwt[0].claimValidationRules[0].expression: Invalid value: "'x'": must evaluate to bool"#,
        ),
        (
            format!(r#"{good}, "userValidationRules": [{{"message": "x"}}]"#),
            "jwt[0].userValidationRules[0].expression: Required value",
        ),
        (
            r#""claimMappings": {"username": {"claim": "sub", "prefix": ""}, "extra": [{"key": "x.kubernetes.io/a", "valueExpression": "'b'"}]}"#.to_owned(),
            r#"jwt[0].claimMappings.extra[0].key: Invalid value: "x.kubernetes.io/a": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"#,
        ),
        (
            r#""claimMappings": {"username": {"claim": "sub", "prefix": ""}, "extra": [{"key": "foo", "valueExpression": "'b'"}]}"#.to_owned(),
            r#"jwt[0].claimMappings.extra[0].key: Invalid value: "foo": must be a domain-prefixed path (such as "acme.io/foo")"#,
        ),
    ] {
        let found = wrong(&jwt(&fields));
        assert!(found.iter().any(|one| one == want), "{found:?}");
    }
    let found = wrong(&jwt(r#""claimMappings": {"username": {"expression": "claims."}}"#));
    assert!(
        found[0]
            .starts_with(r#"jwt[0].claimMappings.username.expression: Invalid value: "claims.": compilation failed: ERROR: <input>:1:8"#),
        "{found:?}"
    );
    let verified = jwt(r#""claimMappings": {"username": {"expression": "claims.email_verified ? claims.email : ''"}}"#);
    assert!(wrong(&verified).is_empty());
}

#[test]
fn files_of_another_sort_and_misspelt_fields_are_refused() {
    for (text, want) in [
        ("", "needed are apiserver.config.k8s.io/v1"),
        ("apiVersion: apiserver.config.k8s.io/v2\nkind: AuthenticationConfiguration", "needed are apiserver.config.k8s.io/v1"),
        ("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration", "and AuthenticationConfiguration"),
        (
            "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\njwts: []",
            "strict decoding error: unknown field `jwts`",
        ),
        ("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: [{issuer: {urls: x}}]", "unknown field `urls`"),
        ("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: 7", "strict decoding error: invalid type"),
        ("{", "needed are"),
    ] {
        let why = AuthenticationConfiguration::parse(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(why.contains(want) || text == "{", "{why}");
    }
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/{version}\nkind: AuthenticationConfiguration\njwt: null\nanonymous: {{enabled: true, conditions: [{{path: /livez}}]}}"
        );
        let config = AuthenticationConfiguration::parse(&text).unwrap();
        assert_eq!(config.anonymous.unwrap().conditions[0].path, "/livez");
    }
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: false, conditions: [{path: /livez}]}";
    let found = validate::configuration(&AuthenticationConfiguration::parse(text).unwrap(), &[]).0[0].to_string();
    assert!(found.ends_with("enabled should be set to true when conditions are defined"), "{found}");
}

#[test]
fn the_flags_are_one_issuer() {
    let flags = Flags { issuer_url: "https://a".into(), client_id: "c".into(), username_claim: "sub".into(), ..Flags::default() };
    let jwt = flags.authenticator().unwrap();
    assert_eq!(jwt.claim_mappings.username.prefix.as_deref(), Some("https://a#"));
    assert_eq!(jwt.issuer.audiences, ["c"]);
    let prefix = |claim: &str, prefix: &str| {
        let flags = Flags { username_claim: claim.into(), username_prefix: prefix.into(), ..flags.clone() };
        flags.authenticator().unwrap().claim_mappings.username.prefix.unwrap()
    };
    assert_eq!((prefix("email", "").as_str(), prefix("sub", "-").as_str(), prefix("email", "x:").as_str()), ("", "", "x:"));
    assert!(Flags { client_id: String::new(), ..flags.clone() }.authenticator().is_err());
    let why = Flags { signing_algs: vec!["HS256".into()], ..flags }.authenticator().unwrap_err();
    assert_eq!(why, "oidc: unsupported signing alg: \"HS256\"");
}
