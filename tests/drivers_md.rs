//! The driver and the fixture in DRIVERS.md are those of the tests, and they pass the kit.

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
        std::fs::remove_dir_all(self.0.path().join(format!("{namespace}.d"))).expect("it is there");
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        let folder = self.0.path().join(format!("{namespace}.d"));
        std::fs::create_dir_all(folder.join("a-folder")).expect("a folder");
        std::fs::write(folder.join("00"), b"not UTF-8: \xff").expect("a file");
        let file =
            std::fs::File::options().write(true).open(folder.join("00")).expect("it is there");
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

#[tokio::test]
async fn what_the_page_says_about_the_folder_holds() {
    for url in ["folder://host/x", "folder:", "folder:x?y=z", "folder:x?namespace=a/b"] {
        let error = open(url).await.err().expect(url);
        assert_eq!(error.kind(), gosd::ErrorKind::Config, "{url}");
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().display().to_string();
    let driver = open(&format!("folder:{path}?namespace=shop")).await.unwrap();
    for _ in 0..20 {
        let dead = gosd::Instance::new("mail", "http://10.0.0.7").unwrap();
        driver.register(&dead, std::time::Duration::ZERO).await.unwrap();
    }
    assert_eq!(driver.list().await.unwrap(), []);
    let files = std::fs::read_dir(place.path().join("shop.d")).unwrap().count();
    assert!(files <= 2, "{files} files are left of the dead");
    // A missing folder is an error, and no empty registry.
    drop(place);
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), gosd::ErrorKind::Unavailable);
}

#[test]
fn drivers_md_shows_the_code_that_is_tested_here() {
    let page = include_str!("../DRIVERS.md");
    let page: String = page.split_inclusive('\n').filter(|line| !line.starts_with("# ")).collect();
    assert!(page.contains(include_str!("folder/mod.rs")), "the driver differs");
    let (_, fixture) =
        include_str!("drivers_md.rs").split_once("struct Folders").expect("it is above");
    let (fixture, _) = fixture.split_once("\n#[tokio::test]").expect("it is above");
    assert!(page.contains(fixture.trim()), "the fixture differs");
}
