//! The audit policy (`audit.k8s.io/v1` `Policy`): how much of a request is written down, by the first rule that fits.

use auth::Attributes;
use serde::{Deserialize, Serialize};

/// How much is told of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// Where on its way a request is when a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    RequestReceived,
    /// Of answers that last: watches, logs, exec.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// A policy file, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[expect(dead_code, reason = "a policy may have a name; nothing depends on it")]
    metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// Fits a request that fits every list that is not empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What the policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Parses YAML or JSON; the error names what is wrong and how it ought to be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(format!(
                "{}/{} is not served as a policy; use apiVersion audit.k8s.io/v1, kind Policy",
                policy.api_version, policy.kind
            ));
        }
        if policy.rules.is_empty() {
            return Err("a policy without rules logs nothing; add a rule such as `- level: Metadata`".into());
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rules[{index}]{why}"))?;
        }
        Ok(policy)
    }

    /// What is written of a request; a request that no rule fits is not written down.
    pub fn verdict(&self, attributes: &Attributes<'_>) -> Verdict {
        match self.rules.iter().find(|rule| rule.fits(attributes)) {
            Some(rule) => Verdict {
                level: rule.level,
                omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
            None => Verdict { level: Level::None, omit_stages: self.omit_stages.clone(), omit_managed_fields: self.omit_managed_fields },
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if about_resources && !self.non_resource_urls.is_empty() {
            return Err(".nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs".into());
        }
        for url in &self.non_resource_urls {
            let inner = url.strip_suffix('*').unwrap_or(url);
            if url != "*" && (!url.starts_with('/') || inner.contains('*')) {
                return Err(format!(".nonResourceURLs: {url:?}: use \"*\", or a path that starts with '/' and has '*' at its end alone"));
            }
        }
        for resources in &self.resources {
            if resources.resources.is_empty() && !resources.resource_names.is_empty() {
                return Err(".resources.resourceNames: using resourceNames requires at least one resource".into());
            }
        }
        Ok(())
    }

    fn fits(&self, asked: &Attributes<'_>) -> bool {
        let one_of = |list: &[String], word: &str| list.is_empty() || list.iter().any(|own| own == word);
        let fits_user = one_of(&self.users, &asked.user.name);
        let fits_group = self.user_groups.is_empty() || self.user_groups.iter().any(|group| asked.user.is_in(group));
        fits_user && fits_group && one_of(&self.verbs, asked.verb) && self.fits_object(asked)
    }

    fn fits_object(&self, asked: &Attributes<'_>) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let fits_namespace = self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == asked.namespace);
            let fits_resource = self.resources.is_empty() || self.resources.iter().any(|resources| resources.fit(asked));
            return asked.is_resource() && fits_namespace && fits_resource;
        }
        self.non_resource_urls.is_empty() || (!asked.is_resource() && self.non_resource_urls.iter().any(|url| fits_path(url, asked.path)))
    }
}

impl GroupResources {
    fn fit(&self, asked: &Attributes<'_>) -> bool {
        if self.group != asked.group {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name);
        self.resources.is_empty() || (named && self.resources.iter().any(|pattern| fits_resource(pattern, asked)))
    }
}

/// `pods` is the resource alone, `pods/log` a subresource, `pods/*` all of them, `*/scale` the one of every resource.
fn fits_resource(pattern: &str, asked: &Attributes<'_>) -> bool {
    match pattern.split_once('/') {
        _ if pattern == "*" => true,
        None => asked.subresource.is_empty() && pattern == asked.resource,
        Some(("*", sub)) => !sub.is_empty() && sub == asked.subresource,
        Some((resource, "*")) => resource == asked.resource,
        Some((resource, sub)) => (resource, sub) == (asked.resource, asked.subresource),
    }
}

fn fits_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use auth::UserInfo;

    use super::*;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: [system:kube-proxy]
  verbs: [watch]
- level: RequestResponse
  resources: [{group: '', resources: [pods, 'services/*', '*/scale']}]
  omitManagedFields: false
- level: None
  nonResourceURLs: ['/healthz*', /version]
- level: Request
  resources: [{group: '', resources: [configmaps], resourceNames: [one]}]
  namespaces: [kube-system]
- level: Metadata
  userGroups: [dev]
  omitStages: [ResponseStarted]
";

    #[test]
    fn the_first_rule_that_fits_counts() {
        let policy = Policy::parse(POLICY).unwrap();
        let (proxy, dev) = (UserInfo::new("system:kube-proxy", &[]), UserInfo::new("ann", &["dev"]));
        let of = |user, verb, resource: &'static str, namespace, name| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            policy.verdict(&Attributes { subresource, namespace, name, ..Attributes::resource(user, verb, "", "v1", resource) }).level
        };
        for (user, verb, resource, namespace, name, want) in [
            (&proxy, "watch", "endpoints", "", "", Level::None),
            (&proxy, "list", "endpoints", "", "", Level::None),
            (&dev, "get", "pods", "a", "x", Level::RequestResponse),
            (&dev, "get", "pods/log", "a", "x", Level::Metadata),
            (&dev, "get", "services/proxy", "a", "x", Level::RequestResponse),
            (&dev, "get", "replicationcontrollers/scale", "a", "x", Level::RequestResponse),
            (&dev, "get", "configmaps", "kube-system", "one", Level::Request),
            (&dev, "get", "configmaps", "kube-system", "two", Level::Metadata),
            (&dev, "get", "configmaps", "other", "one", Level::Metadata),
        ] {
            assert_eq!(of(user, verb, resource, namespace, name), want, "{verb} {resource}");
        }
        let path = |path| policy.verdict(&Attributes::path(&dev, "get", path)).level;
        assert_eq!([path("/healthz/ping"), path("/version"), path("/version/x")], [Level::None, Level::None, Level::Metadata]);
        let verdict = policy.verdict(&Attributes::path(&dev, "get", "/x"));
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(verdict.omit_managed_fields);
    }

    #[test]
    fn a_wrong_policy_is_refused_in_words() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, want) in [
            ("apiVersion: v1\nkind: Policy\nrules: []".to_owned(), "use apiVersion audit.k8s.io/v1"),
            (format!("{head}rules: []"), "without rules"),
            (format!("{head}rules: [{{level: Loud}}]"), "Loud"),
            (format!("{head}rules: [{{level: None, verb: [get]}}]"), "verb"),
            (format!("{head}rules: [{{level: None, nonResourceURLs: ['/a*b']}}]"), "rules[0].nonResourceURLs"),
            (format!("{head}rules: [{{level: None, nonResourceURLs: ['/a'], namespaces: [x]}}]"), "cannot apply to both"),
        ] {
            let why = Policy::parse(&text).unwrap_err();
            assert!(why.contains(want), "{why}");
        }
    }
}
