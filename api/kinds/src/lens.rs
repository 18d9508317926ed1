//! What lenses share: null where Go accepts it, quantities, and numbers that may be names.
//!
//! A lens names the fields that its readers need. It is read from a document and never written back over one; the few
//! that are written (statuses, events, leases) leave out what is empty, as upstream does.

use std::collections::BTreeMap;
use std::fmt;

use schema::Quantity;
use serde::{Deserialize, Deserializer, Serialize};

/// Amounts by resource name: `cpu`, `memory`, `pods`, `example.com/gpu`.
pub type Resources = BTreeMap<String, Quantity>;

/// Null reads as the type's default, as in Go.
pub fn null_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What an `omitempty` field leaves out.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A port or an amount: a number, or a name (`http`) or percentage (`25%`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

impl IntOrString {
    /// The amount that this stands for out of `total`; a percentage rounds up or down as asked. None: no percentage.
    pub fn scaled(&self, total: i32, round_up: bool) -> Option<i32> {
        let percent: i64 = match self {
            Self::Int(number) => return Some(*number),
            Self::String(text) => text.strip_suffix('%')?.parse().ok()?,
        };
        let hundredths = percent.checked_mul(i64::from(total))?;
        let rounded =
            if round_up { hundredths.div_euclid(100) + i64::from(hundredths.rem_euclid(100) != 0) } else { hundredths.div_euclid(100) };
        i32::try_from(rounded).ok()
    }
}

/// `#[serde(with = "quantities")]` for [`Resources`].
pub mod quantities {
    use serde::de::Error;
    use serde::ser::SerializeMap;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Resources;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Resources, D::Error> {
        let amounts: Option<schema::Map<String, schema::Value>> = Option::deserialize(deserializer)?;
        let parse = |(name, amount): (String, schema::Value)| {
            let quantity = schema::Quantity::from_json(&amount);
            quantity.map(|quantity| (name.clone(), quantity)).map_err(|cause| D::Error::custom(format!("{name}: {cause}")))
        };
        amounts.into_iter().flatten().map(parse).collect()
    }

    pub fn serialize<S: Serializer>(resources: &Resources, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(resources.len()))?;
        for (name, quantity) in resources {
            map.serialize_entry(name, &quantity.to_string())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Container, EphemeralContainer, PodStatus};

    #[test]
    fn null_reads_as_absent() {
        let container: Container = serde_json::from_str(r#"{"name": null, "env": null, "tty": null, "resources": null}"#).unwrap();
        assert_eq!(container, Container::default());
    }

    #[test]
    fn an_ephemeral_container_is_a_container_with_a_target() {
        let one: EphemeralContainer = serde_json::from_str(r#"{"name": "debug", "stdin": true, "targetContainerName": "web"}"#).unwrap();
        assert_eq!((one.container.name.as_str(), one.container.stdin, one.target_container_name.as_str()), ("debug", true, "web"));
    }

    #[test]
    fn a_status_leaves_out_what_is_empty() {
        let status = PodStatus { phase: "Pending".into(), host_ip: "10.0.0.1".into(), ..PodStatus::default() };
        assert_eq!(serde_json::to_string(&status).unwrap(), r#"{"phase":"Pending","hostIP":"10.0.0.1"}"#);
    }

    #[test]
    fn percentages_scale_and_round() {
        let percent = |text: &str| IntOrString::String(text.into());
        for (amount, total, up, want) in [
            (IntOrString::Int(3), 10, true, Some(3)),
            (percent("25%"), 10, true, Some(3)),
            (percent("25%"), 10, false, Some(2)),
            (percent("100%"), 7, false, Some(7)),
            (percent("many"), 7, false, None),
        ] {
            assert_eq!(amount.scaled(total, up), want, "{amount} of {total}");
        }
    }
}
