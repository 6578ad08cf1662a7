//! The commands of `docs/migrating.md`, run verbatim by an operator while services are migrated.

use rustix::process::Signal;

use crate::support::{Place, Process, ran};

const PAGE: &str = include_str!("../../../docs/migrating.md");

/// The commands of the page, in order.
fn commands() -> Vec<&'static str> {
    let blocks = PAGE.split("```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap()).collect()
}

/// The two databases, and the directory of the program for the path.
struct Road {
    old: Place,
    new: Place,
}

impl Road {
    /// Runs a command of the page, and returns its exit code.
    fn run(&self, command: &str) -> i32 {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_gosd")).parent().unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", command]).current_dir(self.old.directory.path()).env_clear();
        shell.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", program.display()));
        let ran = ran(shell.env("OLD", &self.old.url).env("NEW", &self.new.url));
        assert!([0, 1, 3].contains(&ran.code), "{command}: {ran:?}");
        ran.code
    }

    /// Deploys a service with these databases.
    fn deploy(&self, number: u8, databases: &[&Place]) -> Process {
        let url = format!("http://10.0.0.{number}:25");
        let mut service = self.old.command(&["register", "mail", &url, "--hold"]);
        service.env("gosdDriver", &databases[0].url).env("gosdDrain", "0");
        if let [_, also] = databases {
            service.env("gosdDriverAlso", &also.url);
        }
        let service = Process::start(&mut service);
        service.wait_for("registered, until Ctrl-C");
        service
    }

    /// Deploys a service again.
    fn walk(&self, services: &mut [Process], number: u8, databases: &[&Place]) {
        let new = self.deploy(number, databases);
        let old = std::mem::replace(&mut services[usize::from(number) - 1], new);
        old.signal(Signal::TERM);
        assert!(old.end().0.success());
    }
}

#[tokio::test]
async fn the_commands_say_when_the_next_step_may_be_taken() {
    let road = Road { old: Place::sqlite(), new: Place::redis().await };
    let (old, new) = (&road.old, &road.new);
    let commands = commands();
    let [variables, to_both, to_new, back, _, _] = commands[..] else {
        panic!("another command is on the page: {commands:?}")
    };
    assert!(variables.starts_with("export OLD=sqlite:") && variables.contains(" NEW=redis://"));

    let mut services = vec![road.deploy(1, &[old]), road.deploy(2, &[old])];
    assert_eq!((road.run(to_both), road.run(to_new), road.run(back)), (1, 0, 0));
    road.walk(&mut services, 1, &[old, new]);
    assert_eq!(road.run(to_both), 1, "one is still only in the old one");
    // Half of the services move, and back.
    road.walk(&mut services, 1, &[old]);
    assert_eq!((road.run(to_both), road.run(back)), (1, 0));
    for number in [1, 2] {
        road.walk(&mut services, number, &[old, new]);
    }
    assert_eq!((road.run(to_both), road.run(to_new), road.run(back)), (0, 0, 0));
    road.walk(&mut services, 1, &[new]);
    assert_eq!((road.run(to_new), road.run(back)), (0, 1), "one is still in the old one");
    road.walk(&mut services, 2, &[new]);
    assert_eq!((road.run(to_new), road.run(back)), (3, 1), "it may be switched off");
}

#[test]
fn the_trial_commands_on_the_page_are_those_that_the_trials_test() {
    let trials: Vec<&str> =
        commands().into_iter().filter(|command| command.starts_with("cargo")).collect();
    let tested = ["cargo run -p gosd-trials -- cost", "cargo run -p gosd-trials -- walk"];
    assert_eq!(trials, tested, "see tools/trials/tests/walking.rs");
}
