//! Plain tables: columns as wide as they must be, figures to the right. No colours, so output reads the same in a log.

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table under construction.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

const GAP: &str = "  ";

impl Table {
    /// Columns by title; a title that begins with `>` stands to the right.
    #[must_use]
    pub fn new(titles: &[&str]) -> Self {
        let columns = titles
            .iter()
            .map(|title| match title.strip_prefix('>') {
                Some(title) => (title.to_owned(), Align::Right),
                None => ((*title).to_owned(), Align::Left),
            })
            .collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, every line indented by `indent` blanks and without blanks at its end.
    #[must_use]
    pub fn render(&self, indent: usize) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| title.clone()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|c| lines.iter().map(|line| width(cell(line, c))).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for line in lines {
            let mut rendered = " ".repeat(indent);
            for (c, ((_, align), column_width)) in self.columns.iter().zip(&widths).enumerate() {
                if c > 0 {
                    rendered.push_str(GAP);
                }
                let cell = cell(line, c);
                let pad = " ".repeat(column_width - width(cell));
                match align {
                    Align::Left => {
                        rendered.push_str(cell);
                        rendered.push_str(&pad);
                    }
                    Align::Right => {
                        rendered.push_str(&pad);
                        rendered.push_str(cell);
                    }
                }
            }
            text.push_str(rendered.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell(line: &[String], column: usize) -> &str {
    line.get(column).map_or("", String::as_str)
}

/// Names and codes are ASCII; a mark such as ✓ is one wide.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_figures_right() {
        let mut table = Table::new(&["object", ">read", "ok"]);
        table.row(["Account", "12,000", "✓"]);
        table.row(["Case", "7"]);
        assert_eq!(table.render(2), "  object     read  ok\n  Account  12,000  ✓\n  Case          7\n");
    }
}
