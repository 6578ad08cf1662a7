//! Output for people: one write to standard output, aligned columns, ages, and no control characters.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const ASIDE: Style = AnsiColor::Yellow.on_default();

/// Writes to standard output, in color where that is wanted.
///
/// # Errors
///
/// If the reader has closed the output, where `println!` would panic.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Like [`print`], for commands whose work is another one: that nobody reads of it is no failure of theirs.
///
/// # Errors
///
/// If the output cannot be written, but for a reader that has closed it.
pub(crate) fn announce(text: &str) -> io::Result<()> {
    print(text).or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// A foreign text for a terminal: characters that would move the cursor or change colors are escaped.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        match is_harmful(char) {
            true => clean.extend(char.escape_unicode()),
            false => clean.push(char),
        }
    }
    Cow::Owned(clean)
}

/// Control characters, and characters that change the direction of the text after them.
fn is_harmful(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A duration in its most telling unit: `7s`, `12m`, `3h`, `9d`.
pub(crate) fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Rows under a heading. Each column is as wide as its widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(|cell| (cell.to_owned(), HEADING)).into()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [(&str, Style); N]) {
        self.rows.push(cells.map(|(cell, style)| (clean(cell).into_owned(), style)).into());
    }

    pub(crate) fn to_text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |cell: &str| cell.chars().count();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().map(|row| width(&row[at].0)).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut gap = 0;
            for ((cell, style), column) in row.iter().zip(&widths) {
                if cell.is_empty() {
                    gap += column + 2;
                    continue;
                }
                // The last cell of a line is not padded.
                let _ = write!(text, "{:gap$}{style}{cell}{style:#}", "");
                gap = column - width(cell) + 2;
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("http://ä/\u{1f980}"), "http://ä/\u{1f980}");
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{9b}d"), r"a\u{1b}[2Jb\u{a}c\u{9b}d");
        assert_eq!(clean("\u{202e}x"), r"\u{202e}x");
    }

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        for (seconds, text) in [
            (0, "0s"),
            (99, "99s"),
            (100, "1m"),
            (5_999, "99m"),
            (6_000, "1h"),
            (172_799, "47h"),
            (172_800, "2d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let mut table = Table::new(["A", "LONGER", "C"]);
        table.row([("one", Style::new()), ("", Style::new()), ("x", Style::new())]);
        table.row([("ö", Style::new()), ("2", Style::new()), ("", Style::new())]);
        let plain = anstream::adapter::strip_str(&table.to_text()).to_string();
        assert_eq!(plain, "A    LONGER  C\none          x\nö    2\n");
    }
}
