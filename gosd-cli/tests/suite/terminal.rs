//! Output for people: aligned columns, color only on a terminal, and nothing that moves the cursor.

use std::process::Command;

use gosd::{Instance, InstanceId};

use crate::support::{LEASE, Place, fixed, ran};

async fn filled() -> Place {
    let place = Place::sqlite();
    let driver = place.driver().await;
    let one = fixed("mail", 1, "http://10.0.0.7:25").with_metadata("zone", "b");
    let old = InstanceId::from("mail-20160315122936.17256541");
    let old = Instance::from_parts(old, "mail", "http://10.0.0.107:2525", [].into());
    for instance in [&one, &old, &Instance::drain_of(one.id())] {
        driver.register(instance, LEASE).await.unwrap();
    }
    place
}

#[tokio::test]
async fn columns_are_aligned() {
    let place = filled().await;
    assert_eq!(place.out(&["ls"]), "SERVICE  INSTANCES  DRAINED\nmail     2          1\n");
    let instances = place.out(&["ls", "mail"]);
    let lines: Vec<&str> = instances.lines().collect();
    let columns = |line: &str| ["STATE", "ID", "METADATA"].map(|heading| line.find(heading));
    let [state, id, metadata] = columns(lines[0]).map(Option::unwrap);
    assert_eq!(&lines[1][state..][..7], "drained");
    assert_eq!(&lines[1][metadata..], "zone=b");
    assert_eq!(&lines[2][id..], "mail-20160315122936.17256541");
    assert!(lines[2].starts_with("http://10.0.0.107:2525  ?"), "{instances}");
}

#[tokio::test]
async fn color_is_only_for_terminals() {
    let place = filled().await;
    let is_colored = |text: &str| text.contains("\u{1b}[");
    assert!(!is_colored(&place.out(&["ls"])));
    assert!(is_colored(&place.out(&["ls", "--color", "always"])));
    // `script` runs the command on a terminal.
    let gosd = env!("CARGO_BIN_EXE_gosd");
    let on_terminal = |line: &str, env: &[(&str, &str)]| {
        let mut script = Command::new("script");
        script.args(["-qec", line, "/dev/null"]).env("gosdDriver", &place.url);
        ran(script.env("TERM", "xterm").env_remove("NO_COLOR").envs(env.iter().copied())).out
    };
    assert!(is_colored(&on_terminal(&format!("{gosd} ls"), &[])));
    assert!(!is_colored(&on_terminal(&format!("{gosd} ls"), &[("NO_COLOR", "1")])));
    assert!(!is_colored(&on_terminal(&format!("{gosd} ls --color never"), &[])));
}

#[tokio::test]
async fn registered_values_cannot_move_the_cursor() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    let id = InstanceId::from("mail-\u{1b}[2J");
    let metadata = [("zone".into(), "a\nb\u{9b}1m".into())].into();
    let evil = Instance::from_parts(id, "mail", "http://h/\u{1b}]0;title\u{7}", metadata);
    driver.register(&evil, LEASE).await.unwrap();
    for args in [&["ls", "mail"][..], &["ls", "mail", "-o", "url"], &["get", "mail"]] {
        let out = place.out(args);
        assert!(out.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {out:?}");
        assert!(out.contains(r"\u{1b}]0;title\u{7}"), "{args:?}: {out:?}");
    }
}
