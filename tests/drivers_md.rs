//! The driver and the fixture that DRIVERS.md shows are these, and pass the kit.

#[expect(unreachable_pub, reason = "on the page it is the face of a crate")]
mod folder;

use std::sync::Arc;

use folder::open;
use gosd::{Driver, async_trait};
use gosd_testkit::{Fixture, NotOffered};

struct Folders(tempfile::TempDir);

#[async_trait]
impl Fixture for Folders {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        let folder = self.0.path().display();
        open(&format!("folder:{folder}?namespace={namespace}")).await.expect("a good URL")
    }

    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        std::fs::remove_dir_all(self.0.path().join(namespace)).expect("it is there");
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        let folder = self.0.path().join(namespace);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = std::fs::File::create(folder.join("00")).expect("a file");
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(600);
        file.set_modified(later).expect("it is ours");
        Ok(())
    }
}

gosd_testkit::conformance!(
    Folders(tempfile::tempdir().expect("a folder")),
    without: [
        watch = "it is polled",
        interrupt = "a folder is always there",
        refuse_writes = "root writes into any folder",
    ]
);

#[test]
fn drivers_md_shows_what_is_tested_here() {
    let page = include_str!("../DRIVERS.md");
    let page: String = page.split_inclusive('\n').filter(|line| !line.starts_with("# ")).collect();
    assert!(page.contains(include_str!("folder/mod.rs")), "the driver differs");
    let (_, fixture) =
        include_str!("drivers_md.rs").split_once("struct Folders").expect("it is above");
    let (fixture, _) = fixture.split_once("\n#[test]").expect("it is above");
    assert!(page.contains(fixture.trim()), "the fixture differs");
}
