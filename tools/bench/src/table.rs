//! Tables of results, as text and as Markdown.

use std::fmt;

pub const INTRODUCTION: &str = "# Benchmarks

Written by `cargo run --release --manifest-path tools/bench/Cargo.toml -- --markdown docs/benchmarks.md`.

Times move from machine to machine and from run to run; the ratios, each taken within one round of
one run, hold better. A ratio is given as its median over the rounds, with the lower and the upper
quartile in brackets.

What a driver costs beside its database is measured by `cargo bench -p gosd-redis`, and likewise for
`gosd-postgres`, `gosd-etcd` and `gosd-sqlite`; figures of the first three are on the pages of these crates.

";

pub const CLOSING: &str = "## Two round trips of etcd

An arrival in etcd takes two round trips, a grant of a lease and a put that names it, and so about twice as
long as a bare put. etcd makes no lease in a transaction or in a put. Sent at once, in this order and on one
connection, the two are worked at side by side, and the put is refused whenever it comes first.
`cargo bench -p gosd-etcd` prints how often that is, and the time with a second put after such a refusal
beside the time one after the other.
";

/// A table that reads well as text and as Markdown.
pub struct Table {
    title: String,
    note: &'static str,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, note: &'static str, header: &[&str]) -> Self {
        let header = header.iter().map(ToString::to_string).collect();
        Self { title: title.into(), note, rows: vec![header] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n", self.title, self.note)?;
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                match column {
                    0 => write!(f, "| {cell:<0$} |", widths[0])?,
                    _ => write!(f, " {cell:>0$} |", widths[column])?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let bar = "-".repeat(width - usize::from(column > 0));
                    let end = if column == 0 { "" } else { ":" };
                    write!(f, "{} {bar}{end} |", if column == 0 { "|" } else { "" })?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f)
    }
}
