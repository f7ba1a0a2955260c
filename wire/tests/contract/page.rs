//! `subjects.md`, read as tables and examples.

/// The whole page.
pub(crate) const PAGE: &str = include_str!("../../../subjects.md");

/// A table's rows under its heading cells.
pub(crate) struct Table {
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<&'static str>>,
}

fn cells(line: &'static str) -> Vec<&'static str> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

/// The tables that stand under a heading, before the next.
fn tables(heading: &str) -> Vec<Table> {
    let mut lines = PAGE.lines().skip_while(|line| *line != heading);
    assert!(
        lines.next().is_some(),
        "subjects.md has no heading `{heading}`"
    );
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in lines.take_while(|line| !line.starts_with('#')) {
        match (line.starts_with('|'), inside) {
            (true, false) => tables.push(Table {
                head: cells(line),
                rows: Vec::new(),
            }),
            (true, true) if line.starts_with("| ---") => {}
            (true, true) => tables.last_mut().expect("a table").rows.push(cells(line)),
            _ => {}
        }
        inside = line.starts_with('|');
    }
    tables
}

/// The table under a heading whose first cell is this.
pub(crate) fn table(heading: &str, first: &str) -> Table {
    tables(heading)
        .into_iter()
        .find(|table| table.head[0] == first)
        .unwrap_or_else(|| panic!("subjects.md has no table `| {first} |` under `{heading}`"))
}

impl Table {
    /// A row's cell under a heading cell, without code marks.
    pub(crate) fn cell(&self, row: &[&'static str], name: &str) -> &'static str {
        let at = self.head.iter().position(|head| *head == name);
        let at = at.unwrap_or_else(|| panic!("no column `{name}` in {:?}", self.head));
        row.get(at)
            .unwrap_or_else(|| panic!("the row {row:?} is too short"))
            .trim_matches('`')
    }

    pub(crate) fn column(&self, name: &str) -> Vec<&'static str> {
        self.rows.iter().map(|row| self.cell(row, name)).collect()
    }
}

/// The text of the fenced blocks in a language.
pub(crate) fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after = PAGE.split(&*fence).skip(1);
    after
        .map(|rest| rest.split_once("\n```").expect("a closing fence").0)
        .collect()
}
