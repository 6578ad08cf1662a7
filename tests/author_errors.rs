//! What the compiler says to a driver's author who has made a mistake, and that DRIVERS.md explains it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

const REGISTER: &str = "
    async fn register(&self, _: &Instance, _: Duration) -> Result<()> { todo!() }";
const DEREGISTER: &str = "
    async fn deregister(&self, _: &InstanceId) -> Result<()> { todo!() }";
const LIST: &str = "
    async fn list(&self) -> Result<Vec<Instance>> { todo!() }";

/// The source of a driver with these methods.
fn driver(fields: &str, attribute: &str, methods: &[&str]) -> String {
    let methods = methods.concat();
    format!("struct Mine{fields};\n{attribute}\nimpl Driver for Mine {{{methods}\n}}\n")
}

/// Compiles a library as an author would, and returns the compiler's messages if it fails.
fn compile(source: &str) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lib.rs");
    let uses = "#![allow(unused_imports, dead_code)]\n\
                use std::{sync::Arc, time::Duration};\n\
                use gosd_core::{Driver, Instance, InstanceId, Result, async_trait};\n";
    fs::write(&file, format!("{uses}{source}")).unwrap();
    let libraries = env::current_exe().unwrap().parent().unwrap().to_owned();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "--crate-type=lib", "--emit=metadata"]);
    rustc.arg(file).arg("--out-dir").arg(folder.path()).arg("-L").arg(&libraries);
    for name in ["gosd_core", "gosd_testkit"] {
        let library = newest(&libraries, name);
        rustc.arg("--extern").arg(format!("{name}={}", library.display()));
    }
    let done = rustc.output().expect("there is a compiler");
    let said = String::from_utf8(done.stderr).unwrap();
    if done.status.success() { Ok(()) } else { Err(said) }
}

/// The library of this crate that was built last.
fn newest(libraries: &PathBuf, name: &str) -> PathBuf {
    let start = format!("lib{name}-");
    let files = fs::read_dir(libraries).unwrap().map(|file| file.unwrap());
    let ours = files.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.starts_with(&start) && name.ends_with(".rlib")
    });
    ours.max_by_key(|file| file.metadata().unwrap().modified().unwrap())
        .expect("it is built")
        .path()
}

#[test]
fn a_correct_driver_compiles() {
    compile(&driver("", "#[async_trait]", &[REGISTER, DEREGISTER, LIST])).unwrap();
}

#[test]
fn the_page_explains_the_message_for_each_mistake() {
    let attribute = "#[async_trait]";
    let all = [REGISTER, DEREGISTER, LIST];
    let by_value = REGISTER.replace("&Instance", "Instance");
    let of_ids = LIST.replace("Vec<Instance>", "Vec<InstanceId>");
    let with_rc = LIST.replace(
        "todo!()",
        "let one = std::rc::Rc::new(1); std::future::ready(()).await; drop(one); todo!()",
    );
    let opener = "fn open(_: &str) -> Result<Arc<dyn Driver>> { Ok(Arc::new(Mine)) }";
    let slips = [
        ("not all trait items implemented, missing: `list`", driver("", attribute, &all[..2])),
        ("incompatible type for trait", driver("", attribute, &[REGISTER, DEREGISTER, &of_ids])),
        (
            "do not match the trait declaration",
            driver("", attribute, &[&by_value, DEREGISTER, LIST]),
        ),
        ("do not match the trait declaration", driver("", "", &all)),
        (
            "future cannot be sent between threads safely",
            driver("", attribute, &[REGISTER, DEREGISTER, &with_rc]),
        ),
        (
            "cannot be shared between threads safely",
            driver("(std::cell::Cell<u8>)", attribute, &all),
        ),
        ("`Mine` is not a driver", format!("struct Mine;\n{opener}")),
        (
            "cannot find value `watches` in module",
            "gosd_testkit::conformance!(todo!(), without: [watches = \"it has none\"]);".into(),
        ),
    ];
    let page = include_str!("../DRIVERS.md");
    for (words, source) in slips {
        let said = compile(&source).expect_err(words);
        assert!(said.contains(words), "{words:?} expected:\n{said}");
        assert!(page.contains(words), "DRIVERS.md does not explain {words:?}");
    }
}
