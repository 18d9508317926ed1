//! Whether a request is for a policy or a binding (`MatchResources`), and as which resource.

use std::collections::BTreeSet;

use schema::{DocExt, LabelSelector, Value};

use crate::admission::Admission;
use crate::admission::webhook::rules::{self, Place, Rule};
use crate::registry::Table;

/// A compiled `MatchResources`.
pub(super) struct Matching {
    rules: Vec<NamedRule>,
    excluded: Vec<NamedRule>,
    /// `matchPolicy: Equivalent`.
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

struct NamedRule {
    rule: Rule,
    /// `resourceNames`; empty: any.
    names: Vec<String>,
}

impl Matching {
    pub(super) fn new(resources: &Value) -> Self {
        let rules = |list: &str| resources.items_at(list).iter().map(NamedRule::new).collect();
        let selector = |member: &str| {
            let selector = resources.get(member).unwrap_or(&Value::Null);
            LabelSelector::from_value(selector).map_err(|error| error.to_string())
        };
        Self {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent: resources.str_at("matchPolicy") == "Equivalent",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The groups and resources that it can be for; None: any.
    pub(super) fn resources(&self, table: &Table) -> Option<BTreeSet<(String, String)>> {
        let mut all = BTreeSet::new();
        for named in &self.rules {
            for (group, resource) in named.rule.pairs() {
                if group == "*" || resource == "*" {
                    return None;
                }
                all.insert((group.to_owned(), resource.to_owned()));
            }
        }
        if self.rules.is_empty() {
            return None;
        }
        if self.equivalent {
            let same = table.rows().iter().filter(|row| all.contains(&(row.group.to_string(), row.resource.to_string())));
            let prefixes: BTreeSet<&str> = same.map(|row| row.storage_prefix.as_ref()).filter(|prefix| !prefix.is_empty()).collect();
            let equals = table.rows().iter().filter(|row| prefixes.contains(row.storage_prefix.as_ref()));
            all.extend(equals.map(|row| (row.group.to_string(), row.resource.to_string())));
        }
        Some(all)
    }

    /// The resource as which the request matches; None: it does not. Err: that cannot be said.
    pub(super) fn place(&self, request: &Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<Option<Place>, String> {
        let namespaces = rules::matches_namespace(&self.namespaces, request, new);
        let objects = rules::matches_object(&self.objects, request, new, old);
        if matches!(namespaces, Ok(false)) || matches!(objects, Ok(false)) || self.of(&self.excluded, request, new, old).is_some() {
            return Ok(None);
        }
        let own = || rules::own_place(request, new, old);
        let found = if self.rules.is_empty() { Some(own()) } else { self.of(&self.rules, request, new, old) };
        let Some(place) = found else { return Ok(None) };
        namespaces.and(objects).map_err(|status| status.message)?;
        Ok(Some(place))
    }

    fn of(&self, list: &[NamedRule], request: &Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Option<Place> {
        if list.is_empty() {
            return None;
        }
        let kind = &request.kind;
        if list.iter().any(|named| named.matches(request, &kind.group, &kind.version, &kind.resource)) {
            return Some(rules::own_place(request, new, old));
        }
        if !self.equivalent || kind.storage_prefix.is_empty() {
            return None;
        }
        let table = request.core.registry().table();
        let others = || table.rows().iter().filter(|row| rules::is_equivalent(row, request));
        list.iter().find_map(|named| {
            let row = others().find(|row| named.matches(request, &row.group, &row.version, &row.resource))?;
            Some(rules::as_other(row, request.subresource))
        })
    }
}

impl NamedRule {
    fn new(rule: &Value) -> Self {
        let names = rule.items_at("resourceNames").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Self { rule: Rule::new(rule), names }
    }

    fn matches(&self, request: &Admission<'_>, group: &str, version: &str, resource: &str) -> bool {
        // A name that the server made is not known yet where upstream looks.
        let name = if request.generated { "" } else { request.name };
        let named = self.names.is_empty() || self.names.iter().any(|one| one == name);
        named && self.rule.matches(request, group, version, resource)
    }
}
