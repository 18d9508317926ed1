//! What is wrong with a configuration of issuers: upstream's paths and texts. Expressions that are right come out compiled.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use schema::{FieldErrors, Path, names};

use super::config::{
    AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, JwtAuthenticator, PrefixedClaimOrExpression,
    UserValidationRule,
};
use super::mapping::{About, Expression, Mapping};

const ISSUERS_MAX: usize = 64;
const EMAIL: &str = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";

/// Everything that is wrong with `config`. `disallowed` are issuers that are our own.
pub fn configuration(config: &AuthenticationConfiguration, disallowed: &[String]) -> FieldErrors {
    let (mut errors, root) = (FieldErrors::default(), Path::new("jwt"));
    if config.jwt.len() > ISSUERS_MAX {
        errors.too_many(&root, config.jwt.len(), ISSUERS_MAX);
        return errors;
    }
    let (mut urls, mut discoveries) = (Vec::new(), Vec::new());
    for (index, one) in config.jwt.iter().enumerate() {
        let path = root.index(index);
        jwt(one, Some(&path), disallowed, &mut errors);
        let issuer = path.child("issuer");
        once(&mut urls, &one.issuer.url, &issuer.child("url"), &mut errors);
        if let Some(url) = one.issuer.discovery_url.as_ref().filter(|url| !url.is_empty()) {
            once(&mut discoveries, url, &issuer.child("discoveryURL"), &mut errors);
        }
    }
    if let Some(anonymous) = config.anonymous.as_ref().filter(|anonymous| !anonymous.enabled && !anonymous.conditions.is_empty()) {
        let conditions = serde_json::to_value(&anonymous.conditions).unwrap_or_default();
        errors.invalid(&Path::new("anonymous.conditions"), conditions, "enabled should be set to true when conditions are defined");
    }
    errors
}

/// One issuer at `path` (None: on its own), and its expressions.
pub fn jwt(config: &JwtAuthenticator, path: Option<&Path>, disallowed: &[String], errors: &mut FieldErrors) -> Mapping {
    let root = path.cloned().unwrap_or_default();
    let mut mapping = Mapping::default();
    issuer(&config.issuer, &root.child("issuer"), disallowed, errors);
    mapping.claim_rules = claim_rules(&config.claim_validation_rules, &root.child("claimValidationRules"), errors);
    claim_mappings(&config.claim_mappings, &root.child("claimMappings"), &mut mapping, errors);
    mapping.user_rules = user_rules(&config.user_validation_rules, &root.child("userValidationRules"), errors);
    mapping
}

/// Adds `value` to what was seen; a second time is an error.
fn once(seen: &mut Vec<String>, value: &str, path: &Path, errors: &mut FieldErrors) -> bool {
    let fresh = !seen.iter().any(|one| one == value);
    if fresh {
        seen.push(value.to_owned());
    } else {
        errors.duplicate(path, value);
    }
    fresh
}

fn issuer(issuer: &Issuer, path: &Path, disallowed: &[String], errors: &mut FieldErrors) {
    let (at, discovery_at) = (path.child("url"), path.child("discoveryURL"));
    if issuer.url.is_empty() {
        errors.required(&at, "");
    } else {
        url(&issuer.url, disallowed, &at, errors);
    }
    if let Some(discovery) = issuer.discovery_url.as_ref().filter(|discovery| !discovery.is_empty()) {
        if !issuer.url.is_empty() && issuer.url.trim_end_matches('/') == discovery.trim_end_matches('/') {
            errors.invalid(&discovery_at, discovery.as_str(), "discoveryURL must be different from URL");
        }
        url(discovery, &[], &discovery_at, errors);
    }
    audiences(issuer, path, errors);
    let ca = &issuer.certificate_authority;
    if !ca.is_empty() && CertificateDer::pem_slice_iter(ca.as_bytes()).filter_map(Result::ok).next().is_none() {
        errors.invalid(&path.child("certificateAuthority"), "<omitted>", "data does not contain any valid RSA or ECDSA certificates");
    }
    let egress = &issuer.egress_selector_type;
    if !matches!(egress.as_str(), "" | "controlplane" | "cluster") {
        errors.invalid(&path.child("egressSelectorType"), egress.as_str(), "egress selector must be either controlplane or cluster");
    } else if !egress.is_empty() {
        // No connection of ours goes through a proxy that could be selected.
        let why = format!("oidc: egress lookup required with egress selector type {egress:?}; remove the field");
        errors.invalid(&path.child("egressSelectorType"), egress.as_str(), &why);
    }
}

/// An address that is believed: `https`, and nothing but a place.
fn url(text: &str, disallowed: &[String], path: &Path, errors: &mut FieldErrors) {
    if disallowed.iter().any(|own| own == text) {
        let mut own = disallowed.to_vec();
        own.sort_unstable();
        errors.invalid(path, text, &format!("URL must not overlap with disallowed issuers: [{}]", own.join(" ")));
    }
    if let Some(control) = text.chars().find(|letter| letter.is_control() || *letter == ' ') {
        let why = if control == ' ' { "invalid character \" \" in host name" } else { "net/url: invalid control character in URL" };
        errors.invalid(path, text, &format!("parse {text:?}: {why}"));
        return;
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, place) = rest.split_once("://").unwrap_or(("", rest));
    let mut wrong = |is: bool, why: &str| {
        if is {
            errors.invalid(path, text, why);
        }
    };
    wrong(!scheme.eq_ignore_ascii_case("https"), "URL scheme must be https");
    wrong(place.split('/').next().is_some_and(|authority| authority.contains('@')), "URL must not contain a username or password");
    wrong(!query.is_empty(), "URL must not contain a query");
    wrong(!fragment.is_empty(), "URL must not contain a fragment");
}

fn audiences(issuer: &Issuer, path: &Path, errors: &mut FieldErrors) {
    let (at, policy_at, policy) = (path.child("audiences"), path.child("audienceMatchPolicy"), issuer.audience_match_policy.as_str());
    if issuer.audiences.is_empty() {
        errors.required(&at, &format!("at least one {at} is required"));
        return;
    }
    let mut seen = Vec::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        let at = at.index(index);
        if audience.is_empty() {
            errors.required(&at, "");
        }
        once(&mut seen, audience, &at, errors);
    }
    if issuer.audiences.len() > 1 && policy != "MatchAny" {
        errors.invalid(&policy_at, policy, "audienceMatchPolicy must be MatchAny for multiple audiences");
    }
    if issuer.audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
        errors.invalid(&policy_at, policy, "audienceMatchPolicy must be empty or MatchAny for single audience");
    }
}

fn compiled(text: &str, about: About, is_rule: bool, path: &Path, errors: &mut FieldErrors) -> Option<Expression> {
    Expression::compile(text, about, is_rule).map_err(|why| errors.invalid(path, text, &why)).ok()
}

fn claim_rules(rules: &[ClaimValidationRule], path: &Path, errors: &mut FieldErrors) -> Vec<(Expression, String)> {
    let (mut claims, mut texts, mut good) = (Vec::new(), Vec::new(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        let at = path.index(index);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.required(&at, "claim or expression is required"),
            (claim, "") => {
                if !rule.message.is_empty() {
                    errors.invalid(&at.child("message"), rule.message.as_str(), "may not be specified when claim is set");
                }
                once(&mut claims, claim, &at.child("claim"), errors);
            }
            ("", text) => {
                if !rule.required_value.is_empty() {
                    errors.invalid(&at.child("requiredValue"), rule.required_value.as_str(), "may not be specified when expression is set");
                }
                if once(&mut texts, text, &at.child("expression"), errors) {
                    good.extend(
                        compiled(text, About::Claims, true, &at.child("expression"), errors).map(|rule_| (rule_, rule.message.clone())),
                    );
                }
            }
            (claim, _) => errors.invalid(&at, claim, "claim and expression can't both be set"),
        }
    }
    good
}

fn claim_mappings(mappings: &ClaimMappings, path: &Path, mapping: &mut Mapping, errors: &mut FieldErrors) {
    mapping.username = prefixed(&mappings.username, &path.child("username"), true, errors);
    mapping.groups = prefixed(&mappings.groups, &path.child("groups"), false, errors);
    let (uid, uid_at) = (&mappings.uid, path.child("uid"));
    match (uid.claim.as_str(), uid.expression.as_str()) {
        (_, "") => {}
        ("", text) => mapping.uid = compiled(text, About::Claims, false, &uid_at.child("expression"), errors),
        _ => errors.invalid(&uid_at, "", "claim and expression can't both be set"),
    }
    extra(mappings, path, mapping, errors);
    let rules =
        mapping.claim_rules.iter().map(|(rule, _)| rule).chain(mapping.extra.iter().map(|(_, value)| value)).chain(&mapping.username);
    let uses_email = mapping.username.as_ref().is_some_and(|name| name.selects_claim("email"));
    if uses_email && !{ rules }.any(|rule| rule.selects_claim("email_verified")) {
        errors.invalid(&path.child("username").child("expression"), mappings.username.expression.as_str(), EMAIL);
    }
}

fn prefixed(mapping: &PrefixedClaimOrExpression, path: &Path, required: bool, errors: &mut FieldErrors) -> Option<Expression> {
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") if required => errors.required(path, "claim or expression is required"),
        ("", "") => {}
        ("", text) => {
            if let Some(prefix) = &mapping.prefix {
                errors.invalid(&path.child("prefix"), prefix.as_str(), "may not be specified when expression is set");
            }
            return compiled(text, About::Claims, false, &path.child("expression"), errors);
        }
        (_, "") if mapping.prefix.is_none() => {
            errors.required(
                &path.child("prefix"),
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            );
        }
        (_, "") => {}
        _ => errors.invalid(path, "", "claim and expression can't both be set"),
    }
    None
}

fn extra(mappings: &ClaimMappings, path: &Path, mapping: &mut Mapping, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (index, one) in mappings.extra.iter().enumerate() {
        let at = path.child("extra").index(index);
        let (key_at, value_at) = (at.child("key"), at.child("valueExpression"));
        domain_prefixed(&one.key, &key_at, errors);
        if one.key != one.key.to_lowercase() {
            errors.invalid(&key_at, one.key.as_str(), "must be lowercase");
        }
        if is_kubernetes(&one.key) {
            errors.invalid(&key_at, one.key.as_str(), "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
        }
        if !once(&mut seen, &one.key, &key_at, errors) {
            continue;
        }
        if one.value_expression.is_empty() {
            errors.required(&value_at, "");
            continue;
        }
        let value = compiled(&one.value_expression, About::Claims, false, &value_at, errors);
        mapping.extra.extend(value.map(|value| (one.key.clone(), value)));
    }
}

/// `acme.io/foo`
fn domain_prefixed(key: &str, path: &Path, errors: &mut FieldErrors) {
    if key.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) = key.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty()) else {
        errors.invalid(path, key, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    for why in names::is_dns1123_subdomain(domain) {
        errors.invalid(path, domain, &why);
    }
    if !rest.chars().all(|letter| letter.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(letter)) {
        errors.invalid(path, rest, r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')");
    }
}

fn is_kubernetes(key: &str) -> bool {
    let domain = key.split_once('/').map(|(domain, _)| domain).unwrap_or_default();
    ["kubernetes.io", "k8s.io"].iter().any(|own| domain.strip_suffix(own).is_some_and(|head| head.is_empty() || head.ends_with('.')))
}

fn user_rules(rules: &[UserValidationRule], path: &Path, errors: &mut FieldErrors) -> Vec<(Expression, String)> {
    let (mut seen, mut good) = (Vec::new(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        let at = path.index(index).child("expression");
        if rule.expression.is_empty() {
            errors.required(&at, "");
        } else if once(&mut seen, &rule.expression, &at, errors) {
            good.extend(compiled(&rule.expression, About::User, true, &at, errors).map(|one| (one, rule.message.clone())));
        }
    }
    good
}
