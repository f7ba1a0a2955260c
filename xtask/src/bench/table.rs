//! Results as text.

use std::fmt::Write as _;

use crate::bench::{
    results::{Measured, Results},
    rows::Target,
};

/// A change of less than this share is noise.
const NOISE: f64 = 0.05;

/// All rows, against the limit and against their targets.
pub(crate) fn table(results: &Results) -> String {
    let head = [
        "what",
        "limit",
        "Gatebus",
        "× limit",
        "target",
        "",
        "processes",
    ]
    .map(str::to_owned);
    let mut lines = vec![head];
    for measured in &results.rows {
        let Some(row) = measured.row() else { continue };
        lines.push([
            format!("{}, {}", row.title, row.detail),
            measured
                .limit
                .map_or("–".to_owned(), |limit| figure(limit, &measured.unit)),
            figure(measured.gatebus, &measured.unit),
            measured
                .ratio
                .map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            target(measured, row.target),
            verdict(measured),
            processes(measured),
        ]);
    }
    let mut out = align(&lines);
    let _ = writeln!(
        out,
        "\nmedian of {}; commit {}; {}",
        runs(results.runs),
        results.commit,
        results.machine
    );
    if results.quick {
        out.push_str("measured with --quick: the figures mean little\n");
    }
    out
}

/// What changed since earlier results.
pub(crate) fn comparison(before: &Results, now: &Results) -> String {
    let head = ["since", &before.commit, "now", "change", ""].map(str::to_owned);
    let mut lines = vec![head];
    for measured in &now.rows {
        let Some(old) = before.rows.iter().find(|old| old.key == measured.key) else {
            continue;
        };
        let show = |measured: &Measured| match measured.ratio {
            Some(ratio) => format!("{ratio:.2} × limit"),
            None => figure(measured.gatebus, &measured.unit),
        };
        let change = measured.comparable() / old.comparable() - 1.0;
        let word = match change {
            change if change > NOISE => "worse",
            change if change < -NOISE => "better",
            _ => "",
        };
        lines.push([
            measured.key.clone(),
            show(old),
            show(measured),
            format!("{:+.1} %", change * 100.0),
            word.to_owned(),
        ]);
    }
    align(&lines)
}

/// A figure with its unit, short.
pub(crate) fn figure(value: f64, unit: &str) -> String {
    match unit {
        "B" if value.abs() >= 1000.0 => figure(value / 1000.0, "KB"),
        "B" => format!("{value:.0} B"),
        _ if value >= 100.0 => format!("{value:.0} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

/// The target in words.
pub(crate) fn target(measured: &Measured, target: Target) -> String {
    match target {
        Target::TimesLimit(times) => format!("≤ {times} × limit"),
        Target::AtMost(most) if measured.unit == "B" && most >= 1000.0 => {
            format!("≤ {} KB", most / 1000.0)
        }
        Target::AtMost(most) => format!("≤ {most} {}", measured.unit),
    }
}

fn verdict(measured: &Measured) -> String {
    if measured.lost > 0 {
        return format!("LOST {}", measured.lost);
    }
    match measured.of_target {
        share if share <= 1.0 => "met".to_owned(),
        share => format!("{:.0} % over", (share - 1.0) * 100.0),
    }
}

fn processes(measured: &Measured) -> String {
    let each = measured
        .processes
        .iter()
        .map(|(name, value)| format!("{name} {}", figure(*value, &measured.unit)));
    each.collect::<Vec<_>>().join(", ")
}

/// How many runs, in words.
pub(crate) fn runs(count: u16) -> String {
    if count == 1 {
        "1 run".to_owned()
    } else {
        format!("{count} runs")
    }
}

/// Puts cells under each other; the first and the last column stand left, numbers right.
fn align<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            if at == 0 || at == N - 1 {
                let _ = write!(text, "{cell:width$}  ");
            } else {
                let _ = write!(text, "{cell:>width$}  ");
            }
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_keep_their_unit() {
        assert_eq!(figure(1957.0, "B"), "1.96 KB");
        assert_eq!(figure(-12.0, "B"), "-12 B");
        assert_eq!(figure(13.456, "µs"), "13.46 µs");
        assert_eq!(figure(226.4, "µs"), "226 µs");
    }

    #[test]
    fn cells_stand_under_each_other() {
        let lines = [["a", "1", "x"], ["bbb", "22", ""]].map(|line| line.map(str::to_owned));
        assert_eq!(align(&lines), "a     1  x\nbbb  22\n");
    }
}
