//! Columns for people: as wide as their widest cell, heads in dim letters where there is a terminal.

use std::fmt;

use unicode_width::UnicodeWidthStr;

/// A table that prints itself, each line indented by two.
pub(super) struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heads: &[&str]) -> Self {
        Self { heads: heads.iter().map(|&head| head.to_owned()).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().chain([&self.heads]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.heads.len()).map(|column| self.width(column)).collect();
        let line = |row: &[String]| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let blank = width.saturating_sub(cell.width());
                format!("{cell}{}", " ".repeat(blank))
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let dim = anstyle::Style::new().dimmed();
        writeln!(f, "  {dim}{}{dim:#}", line(&self.heads))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "  {}", line(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["a", "long head"]);
        table.row(vec!["wide cell".into(), "x".into()]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(text, "  a          long head\n  wide cell  x\n");
    }
}
