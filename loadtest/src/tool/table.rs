//! Table: figures beside their bars.

use std::fmt;

use serde::Serialize;

/// What a figure has to be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// This, or less.
    AtMost(f64),
    /// This, or more.
    AtLeast(f64),
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// Ours.
    pub(crate) ours: f64,
    /// What it is set against, if it is against anything.
    pub(crate) theirs: Option<f64>,
    /// What has to reach the bar: a ratio, or ours.
    pub(crate) figure: f64,
    /// The bar.
    pub(crate) bar: Bar,
    /// It counts what must never be, on whatever machine and in however short a time.
    pub(crate) is_count: bool,
}

impl Bar {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Bar::AtMost(bar) => figure <= bar,
            Bar::AtLeast(bar) => figure >= bar,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bar::AtMost(bar) => write!(f, "<= {bar}"),
            Bar::AtLeast(bar) => write!(f, ">= {bar}"),
        }
    }
}

impl Row {
    /// A figure that stands alone.
    pub(crate) fn alone(what: impl Into<String>, ours: f64, bar: Bar) -> Row {
        Row { what: what.into(), ours, theirs: None, figure: ours, bar, is_count: false }
    }

    /// A count of what must never be.
    pub(crate) fn never(what: impl Into<String>, count: u64) -> Row {
        Row { is_count: true, ..Row::alone(what, count as f64, Bar::AtMost(0.0)) }
    }

    /// Two figures measured in turns: the median of each, and that of their ratios.
    pub(crate) fn ratio(what: impl Into<String>, pairs: &[(f64, f64)], bar: Bar) -> Row {
        let ratios = pairs.iter().map(|(ours, theirs)| ours / theirs);
        Row {
            what: what.into(),
            ours: median(pairs.iter().map(|(ours, _)| *ours)),
            theirs: Some(median(pairs.iter().map(|(_, theirs)| *theirs))),
            figure: median(ratios),
            bar,
            is_count: false,
        }
    }

    /// Whether the figure reaches the bar. What could not be measured does not.
    pub(crate) fn is_met(&self) -> bool {
        self.figure.is_finite() && self.bar.is_met(self.figure)
    }
}

/// The table as text.
pub(crate) fn text(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let mut text = format!(
        "{:width$}  {:>10}  {:>10}  {:>8}  {:>8}\n",
        "", "sotto", "against", "figure", "bar"
    );
    for row in rows {
        let theirs = row.theirs.map_or_else(|| "-".to_owned(), number);
        let verdict = if row.is_met() { "met" } else { "MISSED" };
        text.push_str(&format!(
            "{:width$}  {:>10}  {:>10}  {:>8}  {:>8}  {verdict}\n",
            row.what,
            number(row.ours),
            theirs,
            number(row.figure),
            row.bar.to_string(),
        ));
    }
    text
}

/// With three significant figures, or whole.
fn number(value: f64) -> String {
    match value.abs() {
        it if it == it.trunc() || it >= 100.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        it if it >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle one, or the mean of the middle two; not a number of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => f64::midpoint(values[middle - 1], values[middle]),
        (middle, _) => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_pairs_and_not_of_medians() {
        let row = Row::ratio("", &[(1.0, 2.0), (2.0, 8.0), (9.0, 10.0)], Bar::AtMost(0.5));
        assert_eq!((row.ours, row.theirs, row.figure), (2.0, Some(8.0), 0.5));
        assert!(row.is_met());
    }

    #[test]
    fn a_bar_is_missed_by_what_is_beyond_it_or_unknown() {
        assert!(!Row::alone("", 1.3, Bar::AtMost(1.2)).is_met());
        assert!(!Row::alone("", 1.7, Bar::AtLeast(1.8)).is_met());
        assert!(!Row::ratio("", &[], Bar::AtMost(1.0)).is_met());
        assert!(text(&[Row::alone("a", 2.0, Bar::AtMost(1.0))]).contains("MISSED"));
    }
}
