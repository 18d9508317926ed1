//! The names of time zones, from the IANA database.

/// One name a line, in order of bytes.
const NAMES: &str = include_str!("zones.txt");

/// Whether the database has a zone of this name; the empty one and `UTC` are there always.
pub(crate) fn is_known(name: &str) -> bool {
    name.is_empty() || NAMES.lines().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_their_full_names() {
        for name in ["", "UTC", "Europe/Zurich", "America/Argentina/Ushuaia", "Etc/GMT+5"] {
            assert!(is_known(name), "{name}");
        }
        assert!(!is_known("Europe") && !is_known("utc") && !is_known("Mars/Olympus"));
    }
}
