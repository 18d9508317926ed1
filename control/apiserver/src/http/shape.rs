//! Objects in the shapes that clients ask for: as they are, metadata alone, rows of a Table; each in JSON, YAML or protobuf.
//!
//! JSON of whole objects is the stored bytes, never encoded again; in a list, the part of them after `apiVersion` and
//! `kind`, which the list says once for all.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use client::object::Budget;
use client::{List, Object};
use env::Env;
use kinds::{Column, Descriptor};
use schema::status::ListMeta;
use schema::{DocExt, Facts, Status, TypeId, Value, duration, json, protobuf, time};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, Body, answer, compact, indented, pretty, yaml};
use super::negotiate::{Encoding, Shape, Wanted};
use super::query::Query;

/// What a Table's rows carry beside their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    Metadata,
    Object,
    None,
}

impl Include {
    pub fn of(query: &Query) -> Result<Self, Status> {
        match query.get("includeObject").unwrap_or_default() {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::None),
            other => {
                let why = format!("includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty");
                Err(Status::bad_request(format!("Unable to convert to Table as requested: {why}")))
            }
        }
    }
}

/// How answers about one kind are made.
pub struct Shaper<'a> {
    pub kind: &'a Descriptor,
    pub env: &'a Env,
    pub wanted: Wanted,
    pub include: Include,
    /// What protobuf messages of cached objects may take up, all together.
    pub kept: &'a Arc<Budget>,
}

#[derive(Deserialize)]
struct MetadataOnly<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl Shaper<'_> {
    /// The answer that is one object.
    pub fn object(&self, object: &Arc<Object>, code: u16) -> Result<Answer, Status> {
        let body = match (self.wanted.shape, self.wanted.encoding) {
            (Shape::Plain, Encoding::Json { pretty: false }) => Body::pieces([object.raw.clone(), Bytes::from_static(b"\n")].into()),
            (Shape::Plain, Encoding::Protobuf) => Body::Bytes(self.protobuf_document(object)),
            (Shape::Plain, _) => self.encode(&object.value()),
            (Shape::Table(version), _) => {
                let meta = ListMeta { resource_version: object.meta.resource_version.clone(), ..ListMeta::default() };
                self.encode_pieces(self.table(version, &meta, std::slice::from_ref(object), true)?)?
            }
            (Shape::Partial(version) | Shape::PartialList(version), encoding) => {
                let partial = partial(object, version)?;
                match encoding {
                    Encoding::Protobuf => Body::Bytes(partial_protobuf(&partial, "PartialObjectMetadata")?),
                    _ => self.encode_pieces([partial].into())?,
                }
            }
        };
        Ok(answer(code, self.wanted.content_type(), body))
    }

    /// The answer that is a page of a collection.
    pub fn list(&self, list: List) -> Result<Answer, Status> {
        let meta =
            ListMeta { continue_token: list.continue_token, resource_version: list.resource_version, remaining_item_count: list.remaining };
        let body = match (self.wanted.shape, self.wanted.encoding) {
            (Shape::Plain, Encoding::Protobuf) => {
                let messages: Vec<Bytes> = list.items.iter().map(|item| self.protobuf(item)).collect();
                Body::pieces(protobuf_list(&self.kind.api_version(), &self.kind.list_kind, &meta, messages))
            }
            (Shape::Plain, _) if self.kind.custom.is_some() => {
                // Each says what it is, and an empty token is told.
                let raws: Vec<Bytes> = list.items.iter().map(|item| item.raw.clone()).collect();
                let mut told = serde_json::to_value(&meta).map_err(Status::internal)?;
                told["continue"] = json!(meta.continue_token);
                let head = head_of(&self.kind.list_kind, &self.kind.api_version(), &told.to_string());
                self.encode_pieces(concatenate(head, raws.into_iter()))?
            }
            (Shape::Plain, _) => {
                let head = list_head(&self.kind.list_kind, &self.kind.api_version(), &meta);
                self.encode_pieces(concatenate_untyped(head, &type_head(self.kind), &list.items))?
            }
            (Shape::Table(version), _) => self.encode_pieces(self.table(version, &meta, &list.items, true)?)?,
            (Shape::Partial(version) | Shape::PartialList(version), encoding) => {
                self.partial_list(version, encoding, &meta, &list.items)?
            }
        };
        Ok(answer(200, self.wanted.content_type(), body))
    }

    fn partial_list(&self, version: &str, encoding: Encoding, meta: &ListMeta, items: &[Arc<Object>]) -> Result<Body, Status> {
        let partials: Vec<Bytes> = items.iter().map(|item| partial(item, version)).collect::<Result<_, _>>()?;
        if encoding == Encoding::Protobuf {
            let ty = partial_type("PartialObjectMetadata")?;
            let messages: Vec<Vec<u8>> =
                partials.iter().map(|raw| Ok(protobuf::encode(ty, &decode(raw)?))).collect::<Result<_, Status>>()?;
            let api_version = format!("meta.k8s.io/{version}");
            return Ok(Body::Bytes(protobuf::encode_list(&api_version, "PartialObjectMetadataList", meta, &messages).into()));
        }
        let head = list_head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), meta);
        self.encode_pieces(concatenate(head, partials.into_iter()))
    }

    /// A Table; `columns` says whether it names its columns (a watch does so once).
    fn table(&self, version: &str, meta: &ListMeta, objects: &[Arc<Object>], columns: bool) -> Result<VecDeque<Bytes>, Status> {
        let own = default_columns();
        self.table_of(if self.kind.columns.is_empty() { &own } else { &self.kind.columns }, version, meta, objects, columns)
    }

    fn table_of(
        &self,
        defined: &[Column],
        version: &str,
        meta: &ListMeta,
        objects: &[Arc<Object>],
        columns: bool,
    ) -> Result<VecDeque<Bytes>, Status> {
        let definitions = if columns { definitions(defined) } else { Value::Null };
        let head = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{},\"columnDefinitions\":{definitions},\"rows\":[",
            list_meta(meta)
        );
        let rows: Vec<Bytes> = objects.iter().map(|object| self.row(version, defined, object)).collect::<Result<_, _>>()?;
        Ok(concatenate(head, rows.into_iter()))
    }

    fn row(&self, version: &str, columns: &[Column], object: &Object) -> Result<Bytes, Status> {
        let doc = object.value();
        let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(&doc, self.env)).collect();
        let mut row = Vec::with_capacity(512);
        row.extend_from_slice(b"{\"cells\":");
        serde_json::to_writer(&mut row, &cells).map_err(Status::internal)?;
        match self.include {
            Include::None => row.extend_from_slice(b",\"object\":null"),
            Include::Metadata => {
                row.extend_from_slice(b",\"object\":");
                row.extend_from_slice(&partial(object, version)?);
            }
            Include::Object => {
                row.extend_from_slice(b",\"object\":");
                row.extend_from_slice(&object.raw);
            }
        }
        row.push(b'}');
        Ok(row.into())
    }

    fn encode(&self, value: &Value) -> Body {
        Body::Bytes(match self.wanted.encoding {
            Encoding::Yaml => yaml(value).into(),
            Encoding::Json { pretty: true } => pretty(value).into(),
            _ => compact(value).into(),
        })
    }

    /// JSON pieces in the encoding asked for: as they are where that is compact JSON.
    fn encode_pieces(&self, mut pieces: VecDeque<Bytes>) -> Result<Body, Status> {
        if self.wanted.encoding == (Encoding::Json { pretty: false }) {
            pieces.push_back(Bytes::from_static(b"\n"));
            return Ok(Body::pieces(pieces));
        }
        if self.wanted.encoding == (Encoding::Json { pretty: true }) {
            return Ok(Body::Bytes(indented(pieces.iter().map(|piece| &**piece)).into()));
        }
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        Ok(self.encode(&decode(&whole)?))
    }

    /// The object of one watch event. `first`: the first Table names its columns.
    pub fn event_json(&self, object: &Arc<Object>, first: bool) -> Result<Bytes, Status> {
        match self.wanted.shape {
            Shape::Plain => Ok(object.raw.clone()),
            Shape::Partial(version) | Shape::PartialList(version) => partial(object, version),
            Shape::Table(version) => {
                let meta = ListMeta { resource_version: object.meta.resource_version.clone(), ..ListMeta::default() };
                Ok(join(&self.table(version, &meta, std::slice::from_ref(object), first)?))
            }
        }
    }

    /// The enveloped protobuf document of one watch event.
    pub fn event_protobuf(&self, object: &Arc<Object>) -> Result<Bytes, Status> {
        match self.wanted.shape {
            Shape::Partial(version) | Shape::PartialList(version) => partial_protobuf(&partial(object, version)?, "PartialObjectMetadata"),
            _ => Ok(self.protobuf_document(object)),
        }
    }

    /// The object's message without envelope, encoded once for all who ask while the object lives.
    fn protobuf(&self, object: &Object) -> Bytes {
        object.encoded(self.kept, |doc| protobuf::encode(self.kind.ty, doc).into())
    }

    fn protobuf_document(&self, object: &Object) -> Bytes {
        protobuf::envelope_message(&self.kind.api_version(), &self.kind.kind, &self.protobuf(object)).into()
    }

    /// A bookmark's object: the kind with nothing but what a bookmark says.
    pub fn bookmark(&self, revision: u64, initial_events_end: bool) -> Result<Arc<Object>, Status> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        Object::from_value(&json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata}))
    }
}

/// `{"kind":"PodList","apiVersion":"v1","metadata":{…},"items":[`
fn list_head(kind: &str, api_version: &str, meta: &ListMeta) -> String {
    head_of(kind, api_version, &list_meta(meta))
}

fn head_of(kind: &str, api_version: &str, meta: &str) -> String {
    format!("{{\"kind\":{},\"apiVersion\":{},\"metadata\":{meta},\"items\":[", json!(kind), json!(api_version))
}

fn list_meta(meta: &ListMeta) -> String {
    serde_json::to_string(meta).unwrap_or_else(|_| "{}".into())
}

/// How the stored bytes of every object of a kind begin: `{"apiVersion":"v1","kind":"Pod",`
fn type_head(kind: &Descriptor) -> String {
    format!("{{\"apiVersion\":{},\"kind\":{},", json!(kind.api_version()), json!(kind.kind))
}

/// As [`concatenate`] for stored objects, each without its `type_head`.
fn concatenate_untyped(head: String, type_head: &str, items: &[Arc<Object>]) -> VecDeque<Bytes> {
    const OPEN: Bytes = Bytes::from_static(b"{");
    const NEXT: Bytes = Bytes::from_static(b",{");
    const COMMA: Bytes = Bytes::from_static(b",");
    let mut pieces = VecDeque::with_capacity(items.len() * 2 + 2);
    pieces.push_back(Bytes::from(head));
    for (index, item) in items.iter().enumerate() {
        let typed = item.raw.starts_with(type_head.as_bytes());
        match (index > 0, typed) {
            (false, true) => pieces.push_back(OPEN),
            (true, true) => pieces.push_back(NEXT),
            (true, false) => pieces.push_back(COMMA),
            (false, false) => {}
        }
        pieces.push_back(if typed { item.raw.slice(type_head.len()..) } else { item.raw.clone() });
    }
    pieces.push_back(Bytes::from_static(b"]}"));
    pieces
}

/// `head`, the items with commas between them, `]}`.
fn concatenate(head: String, items: impl ExactSizeIterator<Item = Bytes>) -> VecDeque<Bytes> {
    const COMMA: Bytes = Bytes::from_static(b",");
    let mut pieces = VecDeque::with_capacity(items.len() * 2 + 2);
    pieces.push_back(Bytes::from(head));
    for (index, item) in items.enumerate() {
        if index > 0 {
            pieces.push_back(COMMA);
        }
        pieces.push_back(item);
    }
    pieces.push_back(Bytes::from_static(b"]}"));
    pieces
}

/// An enveloped list whose items are the shared messages themselves.
fn protobuf_list(api_version: &str, list_kind: &str, meta: &ListMeta, messages: Vec<Bytes>) -> VecDeque<Bytes> {
    let frame = protobuf::ListFrame::new(api_version, list_kind, meta, messages.iter().map(Bytes::len));
    let mut pieces = VecDeque::with_capacity(messages.len() * 2 + 2);
    pieces.push_back(frame.head.into());
    for message in messages {
        pieces.push_back(protobuf::ListFrame::before_item(message.len()).into());
        pieces.push_back(message);
    }
    pieces.push_back(frame.tail.into());
    pieces
}

fn join(pieces: &VecDeque<Bytes>) -> Bytes {
    let mut whole = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.into()
}

/// `{"kind":"PartialObjectMetadata",…}` with the metadata's stored bytes.
fn partial(object: &Object, version: &str) -> Result<Bytes, Status> {
    let found: MetadataOnly<'_> = serde_json::from_slice(&object.raw).map_err(Status::internal)?;
    let metadata = found.metadata.get();
    let mut out = Vec::with_capacity(metadata.len() + 96);
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(metadata.as_bytes());
    out.push(b'}');
    Ok(out.into())
}

fn partial_type(kind: &str) -> Result<TypeId, Status> {
    let facts = Facts::builtin();
    let found = facts.kind("meta.k8s.io/v1", kind).or_else(|| facts.definition(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")));
    found.ok_or_else(|| Status::not_acceptable("application/json, application/yaml"))
}

fn partial_protobuf(raw: &[u8], kind: &str) -> Result<Bytes, Status> {
    Ok(protobuf::encode_document(partial_type(kind)?, &decode(raw)?).into())
}

fn decode(raw: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(raw).map_err(Status::internal)
}

fn column(
    name: &'static str,
    ty: &'static str,
    format: &'static str,
    description: &'static str,
    cell: fn(&Value, &Env) -> Value,
) -> Column {
    Column { name: name.into(), ty: ty.into(), format: format.into(), priority: 0, description: description.into(), cell: Arc::new(cell) }
}

/// What a kind without columns of its own shows.
fn default_columns() -> Vec<Column> {
    vec![
        column("Name", "string", "name", NAME_HELP, |doc, _| doc["metadata"]["name"].clone()),
        column("Created At", "date", "", CREATED_HELP, |doc, _| doc["metadata"]["creationTimestamp"].clone()),
    ]
}

/// What `scale` shows, whosever it is.
fn scale_columns() -> Vec<Column> {
    vec![
        column("Name", "string", "name", NAME_HELP, |doc, _| doc["metadata"]["name"].clone()),
        column("Desired", "integer", "", "the replicas asked for", |doc, _| json!(doc.i64_at("spec.replicas").unwrap_or_default())),
        column("Available", "integer", "", "the replicas there are", |doc, _| json!(doc.i64_at("status.replicas").unwrap_or_default())),
        column("Age", "string", "", CREATED_HELP, |doc, env| json!(age(doc.str_at("metadata.creationTimestamp"), env))),
    ]
}

/// How long ago a timestamp was, for people.
fn age(timestamp: &str, env: &Env) -> String {
    match time::parse(timestamp) {
        Some(then) => duration::human_seconds(env.now().as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

const NAME_HELP: &str = "the object's name, unique within its namespace";
const CREATED_HELP: &str = "when the server created the object, in RFC 3339 and UTC";

fn definitions(columns: &[Column]) -> Value {
    let one = |column: &Column| json!({"name": column.name, "type": column.ty, "format": column.format, "description": column.description, "priority": column.priority});
    columns.iter().map(one).collect()
}

impl Shaper<'_> {
    /// The answer that is a document which is not stored (Scale, reviews). [`Shaper::kind`] is the kind behind it, whose
    /// own columns do not fit.
    pub fn plain(&self, value: &Value, code: u16) -> Result<Answer, Status> {
        let is_object = value["metadata"].is_object() && value["kind"] != "Status" && value["items"].is_null();
        match self.wanted.shape {
            Shape::Table(version) if is_object => {
                let object = Object::from_value(value)?;
                let meta = ListMeta { resource_version: object.meta.resource_version.clone(), ..ListMeta::default() };
                let columns = if value["kind"] == "Scale" { scale_columns() } else { default_columns() };
                let table = self.table_of(&columns, version, &meta, &[object], true)?;
                Ok(answer(code, self.wanted.content_type(), self.encode_pieces(table)?))
            }
            Shape::Partial(_) | Shape::PartialList(_) if is_object => self.object(&Object::from_value(value)?, code),
            _ => Ok(plain_document(value, code, self.wanted, self.kind)),
        }
    }
}

fn plain_document(value: &Value, code: u16, wanted: Wanted, kind: &Descriptor) -> Answer {
    if wanted.encoding == Encoding::Protobuf {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let own = (kind.kind == text("kind") && kind.api_version() == text("apiVersion")).then_some(kind.ty);
        if let Some(ty) = own.or_else(|| Facts::builtin().kind(text("apiVersion"), text("kind"))) {
            return answer(code, super::negotiate::PROTOBUF, Body::Bytes(protobuf::encode_document(ty, value).into()));
        }
    }
    super::answer::document(code, value, wanted.encoding)
}
