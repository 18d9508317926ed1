//! Claims become users.

use super::*;

fn jwt(fields: &str) -> String {
    format!(r#"{{"issuer": {{"url": "{ISSUER}", "audiences": ["me"]}}, {fields}}}"#)
}

#[tokio::test(start_paused = true)]
async fn claims_have_prefixes_and_groups_may_be_one_or_many() {
    let world = World::new(&jwt(
        r#""claimMappings": {"username": {"claim": "email", "prefix": "o:"}, "groups": {"claim": "roles", "prefix": "g:"}, "uid": {"claim": "id"}}"#,
    ))
    .await;
    let user = world.user(json!({"email": "ann@x", "roles": ["dev", "ops"], "id": "7"})).await.unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("o:ann@x", "7"));
    assert_eq!(user.groups, ["g:dev", "g:ops", "system:authenticated"]);
    assert_eq!(world.user(json!({"email": "a", "roles": "dev", "id": "7"})).await.unwrap().groups[0], "g:dev");
    for (more, want) in [
        (json!({"email": "a", "id": "7", "email_verified": false}), "oidc: email not verified"),
        (
            json!({"email": "a", "id": "7", "email_verified": "yes"}),
            "oidc: parse 'email_verified' claim: json: cannot unmarshal string into Go value of type bool",
        ),
        (
            json!({"email": "a", "id": "7", "roles": 7}),
            "oidc: parse groups claim \"roles\": json: cannot unmarshal number into Go value of type string",
        ),
        (json!({"email": "a"}), "oidc: parse uid claim \"id\": claim not present"),
    ] {
        assert_eq!(world.user(more).await.unwrap_err(), want);
    }
}

#[tokio::test(start_paused = true)]
async fn expressions_make_names_groups_and_extras() {
    let world = World::new(&jwt(
        r#""claimMappings": {"username": {"expression": "claims.sub + ':' + claims.nested.team"}, "groups": {"expression": "claims.?roles.orValue([]).map(r, 'x:' + r)"},
           "uid": {"expression": "claims.sub"}, "extra": [{"key": "example.com/team", "valueExpression": "claims.nested.team"}, {"key": "example.com/none", "valueExpression": "''"}]}"#,
    ))
    .await;
    let user = world.user(json!({"nested": {"team": "blue"}, "roles": ["dev", ""]})).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.uid.as_str(), user.groups.join(",").as_str()),
        ("ann:blue", "ann", "x:dev,x:,system:authenticated")
    );
    assert_eq!(user.extra.get("example.com/team"), Some(&vec!["blue".to_owned()]));
    assert!(!user.extra.contains_key("example.com/none"));
    let why = world.user(json!({})).await.unwrap_err();
    assert_eq!(
        why,
        "oidc: error evaluating username claim expression: expression 'claims.sub + ':' + claims.nested.team' resulted in error: no such key: nested"
    );
    let why = world.user(json!({"sub": "", "nested": {"team": 7}})).await.unwrap_err();
    assert!(why.contains("no such overload"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn rules_refuse_claims_and_users() {
    let world = World::new(&jwt(
        r#""claimMappings": {"username": {"claim": "sub", "prefix": ""}},
           "claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}, {"expression": "claims.exp - claims.iat <= 3600", "message": "too long"}],
           "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}, {"expression": "user.groups.size() == 0 && user.uid == '' && user.extra.size() == 0"}]"#,
    ))
    .await;
    let now = world.env.now().as_second();
    let good = json!({"hd": "example.com", "iat": now});
    assert!(world.user(good).await.is_ok());
    for (more, want) in [
        (json!({"iat": now}), "oidc: required claim hd not present in ID token"),
        (json!({"hd": "x", "iat": now}), "oidc: required claim hd value does not match. Got = x, want = example.com"),
        (json!({"hd": 7, "iat": now}), "oidc: parse claim hd: json: cannot unmarshal number into Go value of type string"),
        (
            json!({"hd": "example.com", "iat": now - 9_000}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 3600' failed: too long",
        ),
        (
            json!({"hd": "example.com", "iat": now, "sub": "system:admin"}),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved",
        ),
    ] {
        assert_eq!(world.user(more).await.unwrap_err(), want);
    }
}

#[tokio::test(start_paused = true)]
async fn expressions_that_cost_too_much_end() {
    let world = World::new(&jwt(
        r#""claimMappings": {"username": {"expression": "claims.l.map(a, claims.l.map(b, claims.l.map(c, 'x'))).size() > 0 ? 'a' : 'b'"}}"#,
    ))
    .await;
    let list: Vec<u32> = (0..300).collect();
    let why = world.user(json!({"l": list})).await.unwrap_err();
    assert!(why.contains("operation cancelled") || why.contains("operation interrupted"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn groups_may_be_left_to_another_place() {
    let world =
        World::new(&jwt(r#""claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}}"#))
            .await;
    let groups = world.key.sign(&world.claims(json!({"groups": ["far"]}))).unwrap();
    world.network.put("https://claims.example.com/groups", json!(groups));
    let source = json!({"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": "https://claims.example.com/groups", "access_token": "t"}}});
    assert!(world.user(source.clone()).await.unwrap_err().contains("verifier not initialized for issuer"), "it is being looked for");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.user(source).await.unwrap().groups, ["far", "system:authenticated"]);
    let asked = world.network.asked.lock().unwrap().iter().find(|question| question.url.ends_with("/groups")).cloned().unwrap();
    assert_eq!(asked.bearer.as_deref(), Some("t"));
    for (more, want) in [
        (json!({"_claim_names": {"groups": "s"}}), "oidc: could not expand distributed claims: oidc: no claim sources"),
        (
            json!({"_claim_names": {"groups": "s"}, "_claim_sources": {"t": {}}}),
            "oidc: could not expand distributed claims: id token _claim_names contained a source s missing in _claims_sources",
        ),
        (
            json!({"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": "https://nowhere.example.com"}}}),
            "oidc: could not expand distributed claims: while getting distributed claim \"groups\": dial tcp: connect: connection refused",
        ),
    ] {
        assert_eq!(world.user(more).await.unwrap_err(), want);
    }
}
