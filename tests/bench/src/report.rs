//! What was measured: one table for people, one file for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The benchmark, as it is numbered.
    number: &'static str,
    /// What was measured.
    what: String,
    measured: f64,
    /// What the figure counts; empty for a ratio.
    unit: &'static str,
    /// The peer with what was measured of it in the same run; empty where there is none.
    peer: String,
    /// What no program can undercut.
    limit: String,
    goal: Option<Goal>,
    verdict: &'static str,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// 1, give or take this share.
    Within(f64),
}

impl Goal {
    fn met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
            Self::Within(share) => (figure - 1.0).abs() <= share,
        }
    }
}

impl Row {
    /// A figure without a goal.
    pub(crate) fn new(
        number: &'static str,
        what: impl Into<String>,
        measured: f64,
        unit: &'static str,
    ) -> Self {
        let (what, peer, limit) = (what.into(), String::new(), String::new());
        Self { number, what, measured, unit, peer, limit, goal: None, verdict: "measured" }
    }

    /// What it was measured beside.
    pub(crate) fn beside(mut self, peer: impl Into<String>) -> Self {
        self.peer = peer.into();
        self
    }

    /// What cannot be undercut.
    pub(crate) fn limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = limit.into();
        self
    }

    /// What it is to be.
    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.verdict = if goal.met(self.measured) { "met" } else { "missed" };
        self.goal = Some(goal);
        self
    }

    /// The benchmark's number.
    pub(crate) fn number(&self) -> &'static str {
        self.number
    }

    fn cells(&self) -> [String; 7] {
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtMost(most)) => format!("≤{} {}", short(most), self.unit),
            Some(Goal::AtLeast(least)) => format!("≥{} {}", short(least), self.unit),
            Some(Goal::Within(share)) => format!("1 ±{} %", short(share * 100.0)),
        };
        [
            self.number.to_owned(),
            self.what.clone(),
            format!("{} {}", short(self.measured), self.unit).trim_end().to_owned(),
            self.peer.clone(),
            self.limit.clone(),
            goal.trim_end().to_owned(),
            self.verdict.to_owned(),
        ]
    }
}

/// A figure with as many digits as say something.
pub(crate) fn short(figure: f64) -> String {
    let digits = match figure.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 0.01 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{figure:.digits$}");
    match text.trim_end_matches('0').strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None if text.contains('.') => text.trim_end_matches('0').to_owned(),
        None => text,
    }
}

const HEADER: [&str; 7] = ["number", "what", "measured", "peer", "limit", "goal", "verdict"];

/// The table, as Markdown that is also read as it is.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut all = vec![HEADER.map(str::to_owned)];
    all.extend(rows.iter().map(Row::cells));
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADER.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in all.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let lines = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
            let _ = writeln!(text, "| {} |", lines.join(" | "));
        }
    }
    text
}

/// Writes the file.
pub(crate) fn store(rows: &[Row], quick: bool, path: &Path) -> Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        version: &'static str,
        quick: bool,
        cores: usize,
        rows: &'a [Row],
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let document = Document { version: env!("CARGO_PKG_VERSION"), quick, cores, rows };
    let text = serde_json::to_string_pretty(&document)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_a_word_and_a_bad_figure_is_printed_as_it_is() {
        let row = Row::new("P0", "ratio", 1.2345, "").beside("loop 3.1").limit("1");
        let missed = row.clone().goal(Goal::AtMost(1.05));
        assert_eq!(missed.cells()[2..], ["1.23", "loop 3.1", "1", "≤1.05", "missed"]);
        assert_eq!(row.clone().goal(Goal::AtLeast(1.2)).cells()[6], "met");
        assert_eq!(row.cells()[5..], ["", "measured"]);
    }

    #[test]
    fn figures_are_short() {
        let cases =
            [(0.0, "0"), (1.0, "1"), (1.504, "1.5"), (123.45, "123.5"), (10_000.0, "10000")];
        for (figure, text) in cases {
            assert_eq!(short(figure), text);
        }
        assert_eq!(short(0.00123), "0.0012");
    }

    #[test]
    fn the_table_is_markdown() {
        let text = table(&[Row::new("P0", "a", 1.0, "s")]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("| number | what |"), "{text}");
        assert!(lines[1].starts_with("| ------ | ---- |"), "{text}");
        assert!(lines[2].starts_with("| P0     | a    | 1 s"), "{text}");
    }
}
