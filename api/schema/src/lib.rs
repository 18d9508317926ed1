//! The document model: what an API object *is*, for built-in kinds and custom ones alike.
//!
//! Truth is the document: canonical JSON bytes. [`Value`] is its decoded form, made on demand by [`decode`] under the
//! facts of its type ([`Facts`]) in one pass that checks types, prunes unknown fields and reports them. Typed structs
//! elsewhere are lenses: they name the fields that their reader needs and are never written back.
//!
//! | module | what |
//! |---|---|
//! | [`facts`] | the table of every type of the pinned release: fields, list types, merge keys, protobuf numbers |
//! | [`decode`] | JSON and YAML to [`Value`] by schema, with the strict/warn field report |
//! | [`protobuf`] | `application/vnd.kubernetes.protobuf`, both directions |
//! | [`patch`] | JSON patch, merge patch, strategic merge patch |
//! | [`apply`] | server-side apply: field ownership, merge, conflicts |
//! | [`doc`] | reading and writing a [`Value`] by path |
//! | [`field`] | [`Path`] and [`FieldErrors`], in upstream's words |
//! | [`go`] | values and texts as Go prints them, for messages, templates and tables |
//! | [`status`] | `meta/v1 Status`: every error an API caller sees |
//! | [`yaml`] | a [`Value`] as YAML, in kubectl's form |
//! | [`structural`] | schemas of custom kinds, compiled: pruning, defaults, validation |
//! | [`jsonpath`] | paths as `kubectl` and printer columns write them |
//! | [`selector`] | label and field selectors |
//! | [`quantity`], [`duration`], [`time`], [`names`] | the scalars |
//! | [`meta`] | `ObjectMeta`: the lens that everything shares |

pub mod apply;
pub mod decode;
pub mod doc;
pub mod duration;
pub mod facts;
pub mod field;
pub mod go;
pub mod jsonpath;
pub mod meta;
pub mod names;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod structural;
pub mod time;
pub mod yaml;

pub use doc::DocExt;
pub use facts::{Facts, TypeId};
pub use field::{FieldErrors, Path};
pub use meta::ObjectMeta;
pub use quantity::Quantity;
pub use selector::{FieldSelector, LabelSelector};
pub use serde_json::{Map, Value, json};
pub use status::Status;
pub use structural::Structural;
