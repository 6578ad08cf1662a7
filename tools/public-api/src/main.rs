//! Compares the public API of the crates that outsiders build on with its committed listing, or with
//! `--update` writes the listing; refuses a foreign crate in it that is not allowed there.
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

/// The crates, and what of foreign ones may stand in their API: types of a crate, or a re-export.
const CRATES: [(&str, &[&str]); 2] = [
    (
        "gosd-core",
        &["futures_core", "gosd_core::BoxFuture", "gosd_core::BoxStream", "gosd_core::async_trait"],
    ),
    ("gosd-testkit", &["futures_core", "gosd_core"]),
];
/// What rustdoc lists, and nobody can use.
const INTERNAL: [&str; 3] =
    ["marker::Freeze", "marker::StructuralPartialEq", "marker::UnsafeUnpin"];
const UPDATE: &str = "cargo run --manifest-path tools/public-api/Cargo.toml -- --update";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let update = env::args().any(|arg| arg == "--update");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut is_well = true;
    for (name, allowed) in CRATES {
        let api = public_api(&root, name)?;
        let own = name.replace('-', "_");
        let shown: BTreeSet<&str> = api.lines().flat_map(origins).collect();
        let known = ["alloc", "core", "std", &own];
        for leak in shown.iter().filter(|name| !known.contains(name) && !allowed.contains(name)) {
            println!("{name}: the public API shows {leak}, which is another crate's");
            is_well = false;
        }
        let file = root.join(name).join("public-api.txt");
        if update {
            fs::write(&file, &api)?;
        } else if fs::read_to_string(&file).unwrap_or_default() != api {
            let new = root.join("target/public-api/new.txt");
            fs::write(&new, &api)?;
            Command::new("diff").arg("-u").args([&file, &new]).status()?;
            println!("{name}: the public API has changed; if that is meant: {UPDATE}");
            is_well = false;
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for each public item, with full paths.
fn public_api(root: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    let target = root.join("target/public-api");
    let status = Command::new("cargo")
        .args(["rustdoc", "--quiet", "--lib", "--package", name, "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        // Only nightly lets a program ask for JSON otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(root)
        .status()?;
    if !status.success() {
        return Err(format!("cargo rustdoc of {name}: {status}").into());
    }
    let json = target.join("doc").join(format!("{}.json", name.replace('-', "_")));
    let api = listing::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build()?;
    let lines = api.items().map(|item| format!("{item}\n"));
    Ok(lines.filter(|line| !INTERNAL.iter().any(|name| line.contains(name))).collect())
}

/// The crates of the types in a line; what is re-exported as it is, for its own crate is not shown.
fn origins(line: &str) -> Vec<&str> {
    if let Some(item) = line.strip_prefix("pub use ") {
        return vec![item];
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let paths = line.split(|c| !is_path(c)).filter_map(|path| path.split_once("::"));
    paths.map(|(start, _)| start).filter(|start| !start.is_empty()).collect()
}
