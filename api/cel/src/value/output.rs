//! Values as JSON, for what an expression makes: claims, mutations, audit annotations.

use base64::Engine;
use serde_json::{Map as JsonMap, Value as Json};

use super::Value;
use crate::fault::Fault;
use crate::library::{convert, time};

impl Value<'_> {
    /// The value as a document holds it. A document's own parts come back as they are.
    pub fn to_json(&self) -> Result<Json, Fault> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(bool) => Json::from(*bool),
            Self::Int(int) => Json::from(*int),
            Self::Uint(uint) => Json::from(*uint),
            Self::Double(double) => Json::from(*double),
            Self::String(text) => Json::from(&**text),
            Self::Bytes(bytes) => Json::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::Duration(nanos) => Json::from(time::duration_text(*nanos)),
            Self::Timestamp(moment) => Json::from(time::timestamp_text(*moment)),
            Self::Optional(Some(held)) => held.to_json()?,
            Self::Unknown(json) => (*json).clone(),
            Self::List(list) => list.iter().map(|item| item?.to_json()).collect::<Result<Vec<_>, _>>().map(Json::Array)?,
            Self::Map(map) => {
                let mut object = JsonMap::new();
                for (key, value) in map.entries()? {
                    object.insert(key.shown(), value.to_json()?);
                }
                Json::Object(object)
            }
            Self::Object(made) => {
                let field = |(name, value): &(String, Self)| {
                    Ok((crate::schema::escape::unescaped(name).unwrap_or_else(|| name.clone()), value.to_json()?))
                };
                Json::Object(made.fields.iter().map(field).collect::<Result<JsonMap<_, _>, Fault>>()?)
            }
            Self::Quantity(amount) => Json::from(amount.to_string()),
            Self::Url(url) => Json::from(url.to_string()),
            Self::Ip(_) | Self::Cidr(_) | Self::Type(_) => Json::from(self.text()?),
            other => return Err(Fault::new(format!("a value of type {} has no JSON form", other.type_name()))),
        })
    }

    fn text(&self) -> Result<String, Fault> {
        match convert::text_of(self) {
            Some(Ok(Value::String(text))) => Ok(text.to_string()),
            _ => Err(Fault::new(format!("a value of type {} is no text", self.type_name()))),
        }
    }
}
