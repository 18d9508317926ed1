//! Policy rules as pure functions: does a rule allow, does one set of rules cover another.

use kinds::rbac::PolicyRule;

use crate::seam::Attributes;

const ALL: &str = "*";

/// Whether any of `rules` allows what is asked.
pub fn allow(rules: &[PolicyRule], attributes: &Attributes<'_>) -> bool {
    rules.iter().any(|rule| allows(rule, attributes))
}

/// Whether `rule` allows what is asked.
pub fn allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, attributes.verb) {
        return false;
    }
    if !attributes.is_resource() {
        return rule.non_resource_urls.iter().any(|url| url_matches(url, attributes.path));
    }
    has(&rule.api_groups, attributes.group)
        && rule.resources.iter().any(|resource| resource_matches(resource, attributes.resource, attributes.subresource))
        && (rule.resource_names.is_empty() || rule.resource_names.iter().any(|name| name == attributes.name))
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ALL || one == wanted)
}

/// `pods`, `pods/log`, `*/scale`, `*`.
fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == ALL {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((parent, sub)) => !subresource.is_empty() && sub == subresource && (parent == ALL || parent == resource),
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == ALL || pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// Whether `owner` covers `wanted`, and what of it, broken down to single grants, it does not.
pub fn covers(owner: &[PolicyRule], wanted: &[PolicyRule]) -> (bool, Vec<PolicyRule>) {
    let missing: Vec<PolicyRule> =
        wanted.iter().flat_map(breakdown).filter(|single| !owner.iter().any(|rule| rule_covers(rule, single))).collect();
    (missing.is_empty(), missing)
}

/// One grant a rule: one verb on one resource (of one name) or one path.
fn breakdown(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut singles = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let single = |names: Vec<String>| PolicyRule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names: names,
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    singles.push(single(Vec::new()));
                } else {
                    singles.extend(rule.resource_names.iter().map(|name| single(vec![name.clone()])));
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        let of_verb =
            |verb: &String| PolicyRule { verbs: vec![verb.clone()], non_resource_urls: vec![url.clone()], ..PolicyRule::default() };
        singles.extend(rule.verbs.iter().map(of_verb));
    }
    singles
}

fn rule_covers(owner: &PolicyRule, single: &PolicyRule) -> bool {
    let names =
        owner.resource_names.is_empty() || (!single.resource_names.is_empty() && has_all(&owner.resource_names, &single.resource_names));
    all_or(&owner.verbs, &single.verbs)
        && all_or(&owner.api_groups, &single.api_groups)
        && single.resources.iter().all(|resource| resource_covers(&owner.resources, resource))
        && single.non_resource_urls.iter().all(|url| owner.non_resource_urls.iter().any(|own| url_covers(own, url)))
        && names
}

fn all_or(owner: &[String], wanted: &[String]) -> bool {
    owner.iter().any(|one| one == ALL) || has_all(owner, wanted)
}

fn has_all(owner: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|one| owner.contains(one))
}

fn resource_covers(owner: &[String], wanted: &str) -> bool {
    let any_parent = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    owner.iter().any(|own| own == ALL || own == wanted || Some(own) == any_parent.as_ref())
}

fn url_covers(own: &str, wanted: &str) -> bool {
    own == ALL || own == wanted || own.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}

/// Grants of the same resource (and name) as one rule, the others as they are: what people read.
pub fn compact(rules: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut compacted: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        match compacted.iter_mut().find(|held| is_simple(held) && is_simple(rule) && same_target(held, rule)) {
            Some(held) => held.verbs.extend(rule.verbs.iter().cloned()),
            None => compacted.push(rule.clone()),
        }
    }
    compacted
}

fn is_simple(rule: &PolicyRule) -> bool {
    rule.non_resource_urls.is_empty() && rule.api_groups.len() == 1 && rule.resources.len() == 1 && rule.resource_names.len() <= 1
}

fn same_target(a: &PolicyRule, b: &PolicyRule) -> bool {
    a.api_groups == b.api_groups && a.resources == b.resources && a.resource_names == b.resource_names
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`
pub fn describe(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let texts: Vec<String> =
        parts.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
    format!("{{{}}}", texts.join(", "))
}

/// `["a" "b"]`, as Go prints a quoted slice.
pub fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
        let list = |text: &str| text.split(',').filter(|one| *one != "-").map(str::to_owned).collect::<Vec<_>>();
        PolicyRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            non_resource_urls: vec![],
        }
    }

    #[test]
    fn a_rule_allows() {
        let user = UserInfo::new("u", &[]);
        for (rule, verb, group, resource, sub, name, want) in [
            (rule("get", "", "pods", "-"), "get", "", "pods", "", "x", true),
            (rule("get", "", "pods", "-"), "get", "", "pods", "log", "x", false),
            (rule("get", "", "pods/log", "-"), "get", "", "pods", "log", "x", true),
            (rule("get", "*", "*/scale", "-"), "get", "apps", "deployments", "scale", "x", true),
            (rule("get", "*", "*/scale", "-"), "get", "apps", "deployments", "", "x", false),
            (rule("*", "*", "*", "-"), "deletecollection", "apps", "deployments", "status", "", true),
            (rule("get", "", "pods", "a"), "get", "", "pods", "", "b", false),
            (rule("get", "", "pods", "a"), "get", "", "pods", "", "a", true),
            (rule("list", "", "pods", "a"), "list", "", "pods", "", "", false),
            (rule("get", "apps", "pods", "-"), "get", "", "pods", "", "x", false),
        ] {
            let asked = Attributes { subresource: sub, name, ..Attributes::resource(&user, verb, group, "v1", resource) };
            assert_eq!(allows(&rule, &asked), want, "{rule:?} {asked:?}");
        }
    }

    #[test]
    fn paths_match_by_prefix_only_with_a_star() {
        let user = UserInfo::new("u", &[]);
        let rule =
            PolicyRule { verbs: vec!["get".into()], non_resource_urls: vec!["/apis/*".into(), "/version".into()], ..PolicyRule::default() };
        for (path, want) in [("/apis/apps", true), ("/apis", false), ("/version", true), ("/version/", false)] {
            assert_eq!(allows(&rule, &Attributes::path(&user, "get", path)), want, "{path}");
        }
    }

    #[test]
    fn covering_needs_every_single_grant() {
        let wanted = [rule("get,list", "", "pods,pods/log", "-")];
        assert!(covers(&[rule("*", "", "*", "-")], &wanted).0);
        assert!(covers(&[rule("get,list", "", "pods,*/log", "-")], &wanted).0);
        let (covered, missing) = covers(&[rule("get", "", "pods,pods/log", "-"), rule("list", "", "pods", "x")], &wanted);
        assert!(!covered);
        let texts: Vec<String> = compact(&missing).iter().map(describe).collect();
        assert_eq!(
            texts,
            [r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#, r#"{APIGroups:[""], Resources:["pods/log"], Verbs:["list"]}"#]
        );
        assert!(!covers(&[rule("get", "", "pods", "a")], &[rule("get", "", "pods", "-")]).0, "a named right is no general one");
        assert!(covers(&[rule("get", "", "pods", "-")], &[rule("get", "", "pods", "a")]).0);
    }
}
