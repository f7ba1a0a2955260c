//! Tables for people: columns as wide as they need, and no wider than a line bears.

use std::fmt;

/// What is longer is cut; JSON has all of it.
const WIDEST: usize = 48;

/// Rows under a head.
pub(super) struct Table {
    /// Names; numbers stand to the right.
    head: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// On which side a column is filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Table {
    pub(super) fn new(head: impl Into<Vec<(&'static str, Align)>>) -> Self {
        Self {
            head: head.into(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|c| shown(&c)).collect());
    }
}

/// A name of somebody else's making, so that it can neither move the cursor nor fill the line.
fn shown(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => plain.extend(c.escape_default()),
            false => plain.push(c),
        }
    }
    match plain.char_indices().nth(WIDEST) {
        Some(_) => plain.chars().take(WIDEST - 1).chain(['…']).collect(),
        None => plain,
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self
            .head
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let lines = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for line in lines() {
            let mut text = String::new();
            for ((cell, width), (_, align)) in line.iter().zip(&widths).zip(&self.head) {
                let fill = " ".repeat(width - cell.chars().count());
                match align {
                    Align::Left => text.extend([cell, &fill, "  "]),
                    Align::Right => text.extend([&fill, cell, "  "]),
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// A time as people say it: the two largest units.
pub(super) fn uptime(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => format!("{minutes}m {}s", secs % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_stands_at_the_end_of_a_line() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("N", Align::Right),
            ("X", Align::Left),
        ]);
        table.row(["a".into(), "5".into(), String::new()]);
        table.row(["世界 and more".into(), "1000".into(), "x".into()]);
        let expected = "NAME            N  X\na               5\n世界 and more  1000  x\n";
        assert_eq!(
            table.to_string().replace("  ", " ").len(),
            expected.replace("  ", " ").len()
        );
        let lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "NAME            N  X");
        assert_eq!(lines[1], "a               5");
        assert_eq!(lines[2], "世界 and more  1000  x");
    }

    #[test]
    fn a_name_can_neither_move_the_cursor_nor_fill_the_line() {
        assert_eq!(shown("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        let long = shown(&"x".repeat(1000));
        assert_eq!(long.chars().count(), WIDEST);
        assert!(long.ends_with('…'));
        assert_eq!(shown(&"x".repeat(WIDEST)).chars().last(), Some('x'));
    }

    #[test]
    fn a_time_has_two_units() {
        let said = [0, 59, 61, 3_599, 3_600, 90_061].map(uptime);
        assert_eq!(said, ["0s", "59s", "1m 1s", "59m 59s", "1h 0m", "1d 1h"]);
    }
}
