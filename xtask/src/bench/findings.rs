//! What a run found, joined with what was promised: the rows of the table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::promises::{Goal, Promise};

/// Values by the promise's name.
#[derive(Default)]
pub(crate) struct Findings {
    values: BTreeMap<&'static str, f64>,
    peers: BTreeMap<&'static str, f64>,
    /// Why a benchmark has no values, by its name.
    reasons: BTreeMap<&'static str, String>,
}

impl Findings {
    pub(crate) fn value(&mut self, name: &'static str, value: f64) {
        self.values.insert(name, value);
    }

    /// The peer's value, from the same run.
    pub(crate) fn peer(&mut self, name: &'static str, value: f64) {
        self.peers.insert(name, value);
    }

    pub(crate) fn missing(&mut self, benchmark: &'static str, why: String) {
        self.reasons.insert(benchmark, why);
    }

    pub(crate) fn row(&self, promise: &Promise) -> Row {
        let value = self.values.get(promise.name).copied();
        let measured = self.peers.get(promise.name).copied();
        let peer_value = measured.or(promise.reference);
        let ratio = value.zip(peer_value).map(|(value, peer)| value / peer);
        let benchmark = promise.name.split('.').next().unwrap_or_default();
        Row {
            name: promise.name,
            value,
            unit: promise.unit,
            peer: promise.peer,
            peer_value,
            peer_in_this_run: measured.is_some(),
            ratio,
            goal: promise.goal,
            reached: value.and_then(|value| promise.goal.reached(value, ratio)),
            why: value.is_none().then(|| self.reasons.get(benchmark).cloned().unwrap_or_else(|| "not measured".into())),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Row {
    name: &'static str,
    value: Option<f64>,
    unit: &'static str,
    peer: &'static str,
    peer_value: Option<f64>,
    /// False: the figure of the reference page, measured on such a machine at another time.
    peer_in_this_run: bool,
    /// Of our value to the peer's.
    ratio: Option<f64>,
    goal: Goal,
    reached: Option<bool>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

const TITLE: [&str; 8] = ["name", "value", "unit", "peer", "peer value", "ratio", "goal", "reached"];

/// Aligned columns; figures to the right.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 8]> = std::iter::once(TITLE.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let widths: Vec<usize> =
        (0..TITLE.len()).map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (at, row) in cells.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            text += &if [1, 4, 5].contains(&column) { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if let Some(why) = at.checked_sub(1).and_then(|row| rows[row].why.as_ref()) {
            text += &format!("    no value: {why}\n");
        }
    }
    text
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let peer_value = self.peer_value.map(|value| figure(value) + if self.peer_in_this_run { "" } else { "*" });
        let ratio = self.ratio.map(|ratio| format!("{} x", figure(ratio)));
        let reached = self.reached.map_or("-", |reached| if reached { "yes" } else { "NO" });
        [
            self.name.into(),
            self.value.map_or("-".into(), figure),
            self.unit.into(),
            self.peer.into(),
            peer_value.unwrap_or_else(|| "-".into()),
            ratio.unwrap_or_else(|| "-".into()),
            self.goal.to_string(),
            reached.into(),
        ]
    }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise { name: "a.b", unit: "ms", peer: "them", reference: Some(10.0), goal: Goal::AtMost(3.0) };

    #[test]
    fn a_measured_peer_replaces_the_reference() {
        let mut findings = Findings::default();
        findings.value("a.b", 2.0);
        let row = findings.row(&PROMISE);
        assert_eq!((row.ratio, row.peer_in_this_run, row.reached), (Some(0.2), false, Some(true)));
        findings.peer("a.b", 1.0);
        let row = findings.row(&PROMISE);
        assert_eq!((row.ratio, row.peer_in_this_run), (Some(2.0), true));
    }

    #[test]
    fn a_row_without_value_says_why() {
        let mut findings = Findings::default();
        findings.missing("a", "no root".into());
        let text = table(&[findings.row(&PROMISE)]);
        assert!(text.contains("no value: no root") && text.contains("10.0*"), "{text}");
    }
}
