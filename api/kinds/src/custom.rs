//! Custom kinds: what a CustomResourceDefinition is to the generic core. It makes the same [`Descriptor`] as a built-in
//! kind's file, at run time, with a strategy that reads its rules from the schema.
//!
//! A definition that nobody asks for costs its names and columns: schemas are compiled from the definition's own bytes
//! when a document of the kind is first read or written.

mod columns;
pub mod rules;
mod strategy;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use schema::apply::Custom as Shape;
use schema::jsonpath::JsonPath;
use schema::{DocExt, Structural, Value};

use self::strategy::CustomRules;
use crate::descriptor::{Acts, Descriptor, FieldLookup, KindRef, Scope, Subresource, Text, Verbs};

/// As discovery prints them for custom kinds.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// The kinds of one definition, one for each served version, and what is stored.
pub struct Family {
    /// `widgets.example.com`
    pub name: Box<str>,
    /// Versions that are served, in the order of the definition.
    pub served: Vec<KindRef>,
    /// The version that is stored, served or not.
    pub stored: KindRef,
    raw: Bytes,
}

/// What a custom kind knows beyond what every kind does.
pub struct Custom {
    /// Key of the definition in the store.
    pub definition: Box<str>,
    /// Documents that were written at or before this revision may not fit the schema yet: they are pruned and filled when they
    /// are read.
    pub since: u64,
    /// What every answer in this version warns of.
    pub deprecation: Option<Text>,
    /// The definition is on its way out: nothing new may be created.
    pub is_terminating: bool,
    /// Who makes documents of one version out of another's, where that is more than the version's name.
    pub webhook: Option<Arc<Webhook>>,
    /// Equal while the webhook and this version's schema stay the same: what was converted is good until then.
    pub conversion_id: u64,
    pub scale: Option<Scale>,
    source: Source,
    schema: OnceLock<Structural>,
    shape: OnceLock<Shape>,
    rules: OnceLock<Option<rules::Rules>>,
}

/// `spec.conversion.webhook`
#[derive(Debug, PartialEq)]
pub struct Webhook {
    /// The definition's name: `widgets.example.com`.
    pub definition: Box<str>,
    pub client_config: Value,
    /// The versions of ConversionReview that it reads, the one that it likes best first.
    pub review_versions: Vec<Text>,
}

/// Where `scale` finds its numbers: paths of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub replicas: String,
    pub observed: String,
    /// Empty where there is none.
    pub selector: String,
}

/// Where a version's schema stands.
#[derive(Clone)]
struct Source {
    raw: Bytes,
    version: usize,
}

impl Source {
    /// The `openAPIV3Schema`; an empty one where there is none.
    fn schema(&self) -> Value {
        let definition: Value = serde_json::from_slice(&self.raw).unwrap_or_default();
        let version = definition.items_at("spec.versions").get(self.version);
        version.and_then(|version| version.at("schema.openAPIV3Schema")).cloned().unwrap_or_else(|| schema::json!({}))
    }
}

impl Custom {
    pub fn schema(&self) -> &Structural {
        self.schema.get_or_init(|| Structural::new(&self.source.schema()))
    }

    /// The schema as server-side apply sees it.
    pub fn shape(&self) -> &Shape {
        self.shape.get_or_init(|| Shape::of_kind(&self.source.schema()))
    }

    /// The `openAPIV3Schema` as it was written.
    pub fn schema_document(&self) -> Value {
        self.source.schema()
    }

    /// The rules of the schema, where it has some.
    pub fn rules(&self) -> Option<&rules::Rules> {
        self.rules.get_or_init(|| rules::Rules::compile(&self.source.schema())).as_ref()
    }

    /// Whether a document that was written at `revision` must be fitted to the schema before anybody sees it.
    pub fn is_outdated(&self, revision: u64) -> bool {
        revision <= self.since
    }
}

impl Family {
    /// The kinds of the definition in `raw` (canonical JSON), as of `revision`. `before` is what it was until now: where a
    /// schema did not change, what was written under it still fits. None: no version is stored.
    pub fn new(raw: &Bytes, revision: u64, before: Option<&Self>) -> Option<Self> {
        let definition: Value = serde_json::from_slice(raw).ok()?;
        let earlier: Value = before.and_then(|before| serde_json::from_slice(&before.raw).ok()).unwrap_or_default();
        let webhook = Webhook::of(&definition).map(Arc::new);
        let maker = Maker { raw, definition: &definition, earlier: &earlier, before, revision, webhook };
        let versions = definition.items_at("spec.versions");
        let made: Vec<(KindRef, &Value)> = versions.iter().enumerate().map(|(at, one)| (Arc::new(maker.kind(at, one)), one)).collect();
        let stored = made.iter().find(|(_, version)| version.bool_at("storage")).map(|(kind, _)| Arc::clone(kind))?;
        let served = made.into_iter().filter(|(_, version)| version.bool_at("served")).map(|(kind, _)| kind).collect();
        Some(Self { name: definition.str_at("metadata.name").into(), served, stored, raw: raw.clone() })
    }

    /// Every version, served or not, once.
    pub fn all(&self) -> impl Iterator<Item = &KindRef> {
        let unserved = !self.served.iter().any(|kind| Arc::ptr_eq(kind, &self.stored));
        self.served.iter().chain(Some(&self.stored).filter(|_| unserved))
    }
}

/// Whether a definition's kinds are served: its names were accepted once, and nothing took that back.
pub fn is_established(definition: &Value) -> bool {
    let conditions = definition.items_at("status.conditions");
    conditions.iter().any(|condition| condition.str_at("type") == "Established" && condition.str_at("status") == "True")
}

struct Maker<'a> {
    raw: &'a Bytes,
    definition: &'a Value,
    earlier: &'a Value,
    before: Option<&'a Family>,
    revision: u64,
    webhook: Option<Arc<Webhook>>,
}

impl Maker<'_> {
    fn text(&self, path: &str) -> Text {
        self.definition.str_at(path).to_owned().into()
    }

    fn texts(&self, path: &str) -> Vec<Text> {
        self.definition.items_at(path).iter().filter_map(Value::as_str).map(|text| text.to_owned().into()).collect()
    }

    fn kind(&self, at: usize, version: &Value) -> Descriptor {
        let (group, plural) = (self.definition.str_at("spec.group"), self.definition.str_at("spec.names.plural"));
        let stored = self.definition.items_at("spec.versions").iter().find(|version| version.bool_at("storage"));
        let custom = Arc::new(self.custom(at, version));
        let has_status = version.at("subresources.status").is_some_and(Value::is_object);
        let fields = fields(version);
        Descriptor {
            group: group.to_owned().into(),
            version: version.str_at("name").to_owned().into(),
            kind: self.text("spec.names.kind"),
            list_kind: self.text("spec.names.listKind"),
            resource: plural.to_owned().into(),
            singular: self.text("spec.names.singular"),
            short_names: self.texts("spec.names.shortNames"),
            categories: self.texts("spec.names.categories"),
            scope: if self.definition.str_at("spec.scope") == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
            verbs: Verbs::These(VERBS),
            subresources: subresources(has_status, custom.scale.is_some()),
            ty: schema::structural::head_type(),
            columns: columns::of(version),
            fields_id: fields_id(&fields),
            fields,
            has_generation: true,
            has_status,
            storage_prefix: format!("/{group}/{plural}/").into(),
            stored_version: stored.map(|version| version.str_at("name")).unwrap_or_default().to_owned().into(),
            graceful: false,
            acts: Acts::Yes,
            strategy: Arc::new(CustomRules { custom: Arc::clone(&custom), has_status }),
            custom: Some(custom),
        }
    }

    fn custom(&self, at: usize, version: &Value) -> Custom {
        Custom {
            definition: format!("/apiextensions.k8s.io/customresourcedefinitions/{}", self.definition.str_at("metadata.name")).into(),
            since: self.since(version),
            deprecation: self.deprecation(version),
            is_terminating: self.definition.at("metadata.deletionTimestamp").is_some_and(|time| !time.is_null()),
            webhook: self.webhook.clone(),
            conversion_id: self.webhook.as_ref().map_or(0, |_| self.conversion_id(version)),
            scale: version.at("subresources.scale").map(Scale::of),
            source: Source { raw: self.raw.clone(), version: at },
            schema: OnceLock::new(),
            shape: OnceLock::new(),
            rules: OnceLock::new(),
        }
    }

    fn conversion_id(&self, version: &Value) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for part in [self.definition.at("spec.conversion"), version.get("name"), version.get("schema")] {
            part.map(Value::to_string).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Since when the schema is what it is.
    fn since(&self, version: &Value) -> u64 {
        let name = version.str_at("name");
        let same = self
            .earlier
            .items_at("spec.versions")
            .iter()
            .any(|held| held.str_at("name") == name && held.get("schema") == version.get("schema"));
        let held = self.before.filter(|_| same).and_then(|before| before.all().find(|kind| kind.version == name));
        held.and_then(|kind| kind.custom.as_ref()).map_or(self.revision, |custom| custom.since)
    }

    /// The text of the definition, or one that names the newest version that is not deprecated.
    fn deprecation(&self, version: &Value) -> Option<Text> {
        if !version.bool_at("deprecated") {
            return None;
        }
        if let Some(own) = version.get("deprecationWarning").and_then(Value::as_str) {
            return Some(own.to_owned().into());
        }
        let (group, kind) = (self.definition.str_at("spec.group"), self.definition.str_at("spec.names.kind"));
        let good = |version: &&Value| version.bool_at("served") && !version.bool_at("deprecated");
        let versions = self.definition.items_at("spec.versions").iter().filter(good).map(|version| version.str_at("name"));
        let newest = versions.max_by(|a, b| rank(a).cmp(&rank(b)));
        let old = version.str_at("name");
        Some(match newest.filter(|newest| rank(newest) > rank(old)) {
            Some(newest) => format!("{group}/{old} {kind} is deprecated; use {group}/{newest} {kind}").into(),
            None => format!("{group}/{old} {kind} is deprecated").into(),
        })
    }
}

/// GA before beta before alpha, then the higher number.
pub fn rank(version: &str) -> (u8, u32, u32) {
    let rest = version.strip_prefix('v').unwrap_or_default();
    let digits = |text: &str| -> (u32, usize) {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        (text[..length].parse().unwrap_or_default(), length)
    };
    let (major, length) = digits(rest);
    match &rest[length..] {
        "" if length > 0 => (3, major, 0),
        beta if beta.starts_with("beta") => (2, major, digits(&beta[4..]).0),
        alpha if alpha.starts_with("alpha") => (1, major, digits(&alpha[5..]).0),
        _ => (0, 0, 0),
    }
}

impl Webhook {
    /// None where versions differ in their names alone.
    fn of(definition: &Value) -> Option<Self> {
        let webhook = definition.at("spec.conversion.webhook").filter(|_| definition.str_at("spec.conversion.strategy") == "Webhook")?;
        let versions = webhook.items_at("conversionReviewVersions").iter().filter_map(Value::as_str);
        Some(Self {
            definition: definition.str_at("metadata.name").into(),
            client_config: webhook.at("clientConfig").cloned().unwrap_or_default(),
            review_versions: versions.map(|version| version.to_owned().into()).collect(),
        })
    }
}

impl Scale {
    fn of(scale: &Value) -> Self {
        let path = |name: &str| scale.str_at(name).trim_start_matches('.').to_owned();
        Self { replicas: path("specReplicasPath"), observed: path("statusReplicasPath"), selector: path("labelSelectorPath") }
    }
}

fn subresources(status: bool, scale: bool) -> Vec<Subresource> {
    let status = status.then(|| Subresource { name: "status".into(), kind: None, verbs: READ_WRITE });
    let kind = Some(("autoscaling".into(), "v1".into(), "Scale".into()));
    let scale = scale.then(|| Subresource { name: "scale".into(), kind, verbs: READ_WRITE });
    status.into_iter().chain(scale).collect()
}

/// `.spec.color` is selected as `spec.color`.
fn fields(version: &Value) -> Vec<(Text, FieldLookup)> {
    let field = |field: &Value| {
        let path = field.str_at("jsonPath");
        let read = JsonPath::parse(path).ok()?;
        let lookup: FieldLookup = Arc::new(move |doc| read.first(doc).map(|value| selected(&value)).unwrap_or_default());
        Some((path.trim_start_matches('.').to_owned().into(), lookup))
    };
    version.items_at("selectableFields").iter().filter_map(field).collect()
}

/// A value as selectors compare it.
fn selected(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Equal for equal lists of fields: what an object keeps of its fields is good for every version that has the same ones.
fn fields_id(fields: &[(Text, FieldLookup)]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    fields.iter().for_each(|(name, _)| name.hash(&mut hasher));
    hasher.finish().max(1)
}
