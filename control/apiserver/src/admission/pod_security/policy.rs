//! Levels, versions, and the labels that say them.

use std::fmt;

use schema::{FieldErrors, Path};

/// The looser one is less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// `baseline:v1.30`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    pub level: Level,
    /// The rules of v1.MINOR; None: the latest.
    pub minor: Option<u32>,
}

/// What a namespace demands, by mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Demand,
    pub audit: Demand,
    pub warn: Demand,
}

const PREFIX: &str = "pod-security.kubernetes.io/";

impl Policy {
    /// What the labels say, else `defaults`; and what is wrong with them.
    pub fn of<'a>(label: impl Fn(&str) -> Option<&'a str>, defaults: Self) -> (Self, FieldErrors) {
        let mut errors = FieldErrors::default();
        let mut demand = |mode: &str, default: Demand, unreadable: Level| {
            let read = |suffix: &str| {
                let key = format!("{PREFIX}{mode}{suffix}");
                label(&key).map(|text| (key, text))
            };
            let level =
                read("").map(|(key, text)| Level::parse(text).unwrap_or_else(|why| refuse(&mut errors, &key, text, why, unreadable)));
            let minor = read("-version").map(|(key, text)| minor(text).unwrap_or_else(|why| refuse(&mut errors, &key, text, why, None)));
            Demand { level: level.unwrap_or(default.level), minor: minor.unwrap_or(default.minor) }
        };
        let enforce = demand("enforce", defaults.enforce, Level::Restricted);
        let audit = demand("audit", defaults.audit, Level::Privileged);
        let warn = demand("warn", defaults.warn, Level::Privileged);
        (Self { enforce, audit, warn }, errors)
    }

    /// Whether everything is let in without a word.
    pub fn demands_nothing(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|demand| demand.level == Level::Privileged)
    }
}

fn refuse<T>(errors: &mut FieldErrors, key: &str, text: &str, why: &str, instead: T) -> T {
    errors.invalid(&Path::new("metadata").child("labels").key(key), text, why);
    instead
}

/// `latest`, `v1.30`
fn minor(text: &str) -> Result<Option<u32>, &'static str> {
    let digits = text.strip_prefix("v1.").filter(|digits| *digits == "0" || !digits.starts_with(['0', '+']));
    match (text, digits.map(str::parse)) {
        ("latest", _) => Ok(None),
        (_, Some(Ok(minor))) => Ok(Some(minor)),
        _ => Err(r#"must be "latest" or "v1.x""#),
    }
}

impl Level {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl Demand {
    /// Whether pods that were let in by `other` may violate this one.
    pub fn is_stricter_than(self, other: Self) -> bool {
        self != other && self.level != Level::Privileged && (self.minor != other.minor || self.level > other.level)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level),
            None => write!(f, "{}:latest", self.level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&str, &str)]) -> (Policy, FieldErrors) {
        let label = |key: &str| labels.iter().find(|(name, _)| key.strip_prefix(PREFIX) == Some(name)).map(|(_, text)| *text);
        Policy::of(label, Policy::default())
    }

    #[test]
    fn labels_say_level_and_version_of_each_mode() {
        let (policy, errors) = of(&[("enforce", "baseline"), ("enforce-version", "v1.30"), ("warn", "restricted")]);
        assert!(errors.is_empty());
        let texts = [policy.enforce, policy.audit, policy.warn].map(|demand| demand.to_string());
        assert_eq!(texts, ["baseline:v1.30", "privileged:latest", "restricted:latest"]);
    }

    #[test]
    fn unreadable_labels_fail_closed_where_something_is_refused_and_open_where_it_is_told() {
        let (policy, errors) = of(&[("enforce", "x"), ("warn", "y"), ("audit-version", "v1.01")]);
        assert_eq!((policy.enforce.level, policy.warn.level), (Level::Restricted, Level::Privileged));
        let texts: Vec<String> = errors.0.iter().map(|error| format!("{}: {}", error.path, error.message)).collect();
        assert_eq!(
            texts,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"",
                "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"y\": must be one of privileged, baseline, restricted",
            ]
        );
    }

    #[test]
    fn a_level_is_stricter_by_rank_or_by_other_rules() {
        let demand = |level, minor| Demand { level, minor };
        let rows = [
            (demand(Level::Restricted, None), demand(Level::Baseline, None), true),
            (demand(Level::Baseline, None), demand(Level::Restricted, None), false),
            (demand(Level::Baseline, Some(30)), demand(Level::Restricted, None), true),
            (demand(Level::Privileged, Some(30)), demand(Level::Restricted, None), false),
            (demand(Level::Baseline, None), demand(Level::Baseline, None), false),
        ];
        for (new, old, want) in rows {
            assert_eq!(new.is_stricter_than(old), want, "{new} after {old}");
        }
    }
}
