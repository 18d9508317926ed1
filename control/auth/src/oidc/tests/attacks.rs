//! Tokens that want to be more than they are: each costs little, ends in words and lets nobody in.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::jwt::TOKEN_BYTES_MAX;

fn parts(token: &str) -> [String; 3] {
    token.split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

fn encoded(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test(start_paused = true)]
async fn forged_heads_let_nobody_in() {
    let world = World::new(PLAIN).await;
    let [head, body, signature] = parts(&world.key.sign(&world.claims(json!({}))).unwrap());
    assert!(world.ask(&format!("{head}.{body}.{signature}")).await.unwrap().is_some());
    let kid = &world.key.public().id;
    for forged in [
        json!({"alg": "none"}),
        json!({"alg": "NONE", "kid": kid}),
        json!({"alg": "HS256", "kid": kid}),
        json!({"alg": "RS384", "kid": kid}),
        json!({"alg": "ES256", "kid": kid}),
        json!({"alg": "EdDSA", "kid": kid}),
        json!({"alg": "RS256", "kid": "wrong"}),
        json!({"alg": "RS256", "kid": "../../etc/passwd"}),
        json!({"alg": "RS256", "kid": kid, "jwk": key().public().jwk()}),
        json!({"alg": "RS256", "kid": kid, "jku": "https://evil.example.com/keys", "x5u": "https://evil.example.com"}),
        json!({"alg": "RS256", "kid": kid, "crit": ["exp"]}),
        json!({"alg": ["RS256"]}),
        json!({}),
    ] {
        for signature in ["", "AAAA", &signature] {
            let answer = world.ask(&format!("{}.{body}.{signature}", encoded(&forged.to_string()))).await;
            assert!(!matches!(answer, Ok(Some(_))), "{forged}");
        }
    }
    let asked = world.network.asked.lock().unwrap();
    assert!(asked.iter().all(|question| question.url.starts_with(ISSUER)), "nothing is fetched from where a token says");
}

#[tokio::test(start_paused = true)]
async fn truncated_twisted_and_huge_tokens_let_nobody_in() {
    let world = World::new(PLAIN).await;
    let good = world.key.sign(&world.claims(json!({}))).unwrap();
    for cut in (0..good.len()).step_by(7) {
        assert!(!matches!(world.ask(&good[..cut]).await, Ok(Some(_))), "{cut}");
    }
    let [head, body, signature] = parts(&good);
    let twice = encoded(&format!(r#"{{"iss":"{ISSUER}","sub":"ann","sub":"root","aud":"me","exp":9999999999}}"#));
    let deep = encoded(&format!(r#"{{"iss":"{ISSUER}","a":{}1{}}}"#, "[".repeat(100_000 / 4), "]".repeat(100_000 / 4)));
    for token in [
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.{signature}\n"),
        format!(" {head}.{body}.{signature}"),
        format!("{head}.{body}.{signature}.{signature}"),
        format!("{head}.{twice}.{signature}"),
        format!("{head}.{deep}.{signature}"),
        format!("{head}.{}.{signature}", encoded("{")),
        format!("{head}.{}.{signature}", encoded("null")),
        format!("{head}.{}.{signature}", "A".repeat(TOKEN_BYTES_MAX)),
        ".".repeat(1 << 20),
        "\u{0}\u{ffff}".into(),
    ] {
        assert_eq!(world.ask(&token).await, Ok(None), "{token:.80}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_is_a_trickle_of_questions() {
    let world = World::new(PLAIN).await;
    let token = key().sign(&world.claims(json!({"exp": world.env.now().as_second() + 9_999}))).unwrap();
    let keys = format!("{ISSUER}/keys");
    for _ in 0..200 {
        assert!(world.ask(&token).await.is_err());
    }
    assert_eq!(world.network.count(&keys), 5);
    tokio::time::sleep(Duration::from_secs(30)).await;
    for _ in 0..200 {
        assert!(world.ask(&token).await.is_err());
    }
    assert_eq!(world.network.count(&keys), 8);
}

#[tokio::test(start_paused = true)]
async fn claims_of_extreme_values_are_refused_in_words() {
    let world = World::new(PLAIN).await;
    for more in [
        json!({"exp": -1}),
        json!({"exp": "tomorrow"}),
        json!({"exp": 1e300}),
        json!({"nbf": 9_223_372_036_854_775_807_i64}),
        json!({"nbf": 4_000_000_000_i64}),
        json!({"aud": {"me": true}}),
        json!({"aud": [["me"]]}),
        json!({"sub": ["ann"]}),
    ] {
        assert!(world.user(more.clone()).await.is_err(), "{more}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_changed_letter_lets_nobody_in(at in 0usize..600, letter in "[A-Za-z0-9_.-]") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new(PLAIN).await;
            let good = world.key.sign(&world.claims(json!({}))).unwrap();
            let at = at % good.len();
            let mut bad = good.clone();
            bad.replace_range(at..=at, &letter);
            let answer = world.ask(&bad).await;
            prop_assert!(bad == good || !matches!(answer, Ok(Some(_))), "{bad}");
            Ok(())
        })?;
    }
}
