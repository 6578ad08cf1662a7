//! Measures gosd beside the floor of a strict rotation and beside other libraries.
//!
//! `cargo run --release --manifest-path tools/bench/Cargo.toml` prints the tables; with `-- --markdown FILE`
//! they are written too, and with `-- NAME...` only those sections run.

mod changes;
mod fixture;
mod memory;
#[cfg(feature = "peers")]
mod peers;
mod picks;
mod resets;
mod rounds;
mod storm;
mod table;

use table::Table;

type Section = (&'static str, fn() -> Vec<Table>);

const SECTIONS: [Section; 5] = [
    ("picks", picks::tables),
    ("changes", changes::tables),
    ("resets", resets::tables),
    ("storm", storm::tables),
    ("memory", memory::tables),
];

fn main() {
    let mut markdown = None;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--markdown" => markdown = Some(arguments.next().expect("--markdown takes a file")),
            name if SECTIONS.iter().any(|(section, _)| *section == name) => {
                wanted.push(argument);
            }
            other => panic!("no such section: {other}"),
        }
    }
    let mut page = table::INTRODUCTION.to_owned();
    for (name, run) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|it| it == name) {
            for table in run() {
                let table = table.to_string();
                println!("{table}");
                page += &table;
            }
        }
    }
    page += table::CLOSING;
    if let Some(file) = markdown {
        std::fs::write(&file, page).expect("the file can be written");
    }
}
