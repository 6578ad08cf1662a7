//! The table that says which broken driver fails which tests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use futures_util::future::LocalBoxFuture;
use gosd_core::{Driver, async_trait};
use gosd_testkit::{Fixture, NotOffered, Violation};
use tokio::runtime::Builder;

use crate::backend::{Backend, Namespace};
use crate::mutants::{Broken, Make, Mutant, Sound, mutants};

/// A test of the kit: its name, and in brackets the hooks that it needs.
struct Test {
    name: &'static str,
    needs: &'static str,
    run: for<'a> fn(&'a dyn Fixture) -> LocalBoxFuture<'a, Result<(), Violation>>,
}

/// All tests, in the order of the columns of the table.
fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    macro_rules! add {
        ($needs:tt $name:ident) => {
            tests.push(Test {
                name: stringify!($name),
                needs: stringify!($needs),
                run: |fixture| Box::pin(gosd_testkit::clauses::$name(fixture)),
            });
        };
    }
    gosd_testkit::__for_each_clause!(add);
    tests
}

/// The clause in a test's name, `clause_NN_...`.
fn clause_of(name: &str) -> u8 {
    name["clause_".len()..][..2].parse().unwrap()
}

/// One column for each test, grouped by clause, in the order of `__for_each_clause`. An `x` is a test that
/// the driver fails, a `-` a test that is not run with the driver.
const TABLE: &str = "
NothingBroken            .. .. .. ... ...... .. ....... .. ..... .... . .. ... .. .. ....
KeepsTheFirst            x. x- .. ... ...... .. .-x.... .. ..... .... . .. ... .. .. .x..
Appends                  x. .- .. ... ...... .. .-..... .. ..... .... x .. ... .. .. ....
ReadsAReplica            xx x- xx x.x ..x.xx .x .-..... .. ..... xx.. x x. xx. x. .. x...
AbsentIsAnError          .. .- .x ... ...... .. .-..... .. ..... .... . .. x.. .. .. ....
RemovesByPrefix          .. .- xx ... ...... .. .-..... .. ..... .... . .. ... .. .. ....
FailureIsEmpty           .. .- .. ... ...... .x .-..... .. ..... .... . .. ... .. x. ....
EmptyIsAnError           .. .- .. ... ....xx x. .-..... .x ..... ..x. . x. xx. .. x. ....
NeverAnswers             xx x- xx xxx x.xxxx xx .-.xxxx xx xxxxx xxx. x xx xx. xx xx x..x
WritesInTwoSteps         .. .- .. ... ..xx.. .. .-..... .. ..... xx.. . .. ... .. .. ....
BreaksWhenDropped        .. .- .. ... ...... .. .-..... .. ..... xx.. . .. ... .. .. ....
LosesTheCrowd            .. .- .. ... ...... .. .-..... .. ..... .... x .. ... .. .. ....
ListsSomeTwice           .. .- .. ... ...... .. .-..... .. ..... .... x .. ... .. .. ....
FirstThousand            .. .x .. ... ...... .. .x..... .. ..... .... . .. ... .. .. ....
EmptyAfterAnOutage       .. .- .. ... ...... .x .-..... .. ..... .... . .. ... .. .. ....
FailsOnceAfterALoss      .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. ....
LossIsClosed             .. .- .. ... ...... .x .-..... .. ..... .... . .. ... .. x. ....
WritesInTheBackground    .. .- .. ... ...... .. .-..... .. ..... ..x. . .. ... .. .. ....
BlocksTheThread          .. .- .. ... ...... .. .-..... .. ..... ...x . .. ... .. .. ....
KeepsTheLease            .x .- .. .x. xx.... .. .-..... .. ..... xx.. . .. ... .. .. ....
NeverExpires             .x .- .. xx. ...... .. .-..... xx ..... xx.. . .. ... xx .x ..x.
ExpiresLate              .x .- .. xx. ...... .. .-..... xx ..... xx.. . .. ... xx .. ..x.
OneLeaseForAll           .x .- .. xx. ...... .. .-..... x. ..... xx.. . .. ... xx .x ..x.
CollectsTheLive          .x .- .. xx. ...... .. .-..... x. ..x.. .... . .. ... xx .. ....
CollectsInARace          .. .- .. .x. ...... .. .-..... .. ..... .... . .. ... .. .. ....
OnlyExtends              .. .- x. xx. ....xx .x .-x.... .. ..... .... . .. x.. .. .. ....
WritesTheLeaseLast       .. .- .. ... ...... .. .-..... .. ..... xx.. . .. ... .. .. ....
LeaseIsALocalTimer       .. .- .. x.. ...... .. .-..... x. ..... .... . .. ... .. .x ..x.
TruncatesLeases          .. .- .. x.. ...... .. .-..... .. ..... .... . .. ... .. .. ....
CapsLeases               .. .- .. ..x ...... .. .-..... .. ..... .... . .. ... .. .. ....
RefusesLongLeases        .. .- .. x.. ...... .. .-..... .. ..... .... . .. ... .. .. ....
SweepsLater              .. .- .. .x. ...... .. .-..... .. ..... .... . .. ... .. .. ....
KeepsTheService          x. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. .x..
RenewsWithoutMetadata    x. .- .. ... ..xx.. .. .-..... .. ..... .... . .. ... .. .. ....
MergesMetadata           x. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. ....
IgnoresMetadata          x. .- .. ... ...... .. .-x.... .. ..... .... . .. ... .. .. .x..
DeletesAndInserts        .. .- .. ... .x.x.. .. .-..... .. ..x.. .... . .. ... .. .x ....
BlinksWhileRenewing      .. .- .. ... .xxx.. .. .-..... .. ..x.. ..x. . .. ... .. .x ....
WritesInTwoStepsInATask  .. .- .. ... ..xx.. .. .-..... .. ..... xxx. . .. ... .. .. ....
NoSnapshot               .. .- .. ... .x.x.. .. x-xxxxx xx x.xxx .x.. . .x ..x .x .x xxxx
SubscribesLate           .. .- .. ... ...... .. .-..x.. .. ..... .... . .. ... .. .. ...x
FirstOfABatch            .. .- .. ... ...... .. .-.xxx. xx ..xx. .x.. . .x ... .. .. .x.x
IgnoresOverflow          .. .- .. ... ...... .. .-...xx .. ...x. .... . .. ... .. .. ....
NoUpdates                .. .- .. ... ...... .. .-x.... .. ..... .... . .. ... .. .. .x..
SilentExpiry             .. .- .. ... ...... .. .-..... xx ..x.. .x.. . .. ... .x .x ..x.
ExpiryIsAGoodbye         .. .- .. ... ...... .. .-..... x. ..... .... . .. ... .. .. ..x.
OverlooksRenewals        .. .- .. ... .x.... .. .-..... .. ..x.. .... . .. ... .. .x ....
SwallowsLoss             .. .- .. ... ...... .. .-..... .. xxxx. .... . .. ... .. .x ....
LossIsAnEmptyReset       .. .- .. ... ...... .. .-..... .. xxxx. .... . .. ... .. .x ....
ResumesWithAGap          .. .- .. ... ...... .. .-..... .. ..xx. .... . .. ... .. .. ....
NeverResumes             .. .- .. ... ...... .. .-..... .. xxxx. .... . .. ... .. .x ....
EndsAtOnce               .. .- .. ... .x.x.. .. x-xxxxx xx xxxxx .x.. . .x ..x .x .x xxxx
LeaksWatches             .. .- .. ... ...... .. .-..... .. ....x .... . .. ... .. .. ....
AnnouncesSeparately      .. .- .. ... ...... .. .-..... .. ..x.. .x.. . .. ... .. .. ....
OneWatcherGetsIt         .. .- .. ... ...... .. .-x.... .. ..... .... . .. ... .. .. ...x
ResetsInPieces           .. .- .. ... ...... .. .-...x. .. ..... .... . .. ... .. .. ....
PutsLast                 .. .- .. ... ...... .. .-.xx.. .. xxxx. .x.. . .. ... .. .x ...x
RemovesLast              .. .- .. ... ...... .. .-.x... .. xxxx. .... . .. ... .. .x ....
ExpiresOneOfMany         .. .- .. ... ...... .. .-..... xx xxxx. .x.. . .. ... .. .x ....
ListSweepsSilently       .. .- .. ... ...... .. .-..... .x ..x.. .x.. . .. ... .x .. ....
SnapshotWithTheDead      .. .- .. ... ...... .. .-....x .x ...x. .... . .. ... .. .. ....
WatchHoldsTheConnection  .. .- .. ... ...... .. .-x.... .. ..... .... . .. ... .. .. ....
ResumesAfterALoss        .. .- .. ... ...... .. .-..... .. ...x. .... . .. ... .. .. ....
SleepsToBackOff          .. .- .. ... ...... .. .-..... .. x.... .... . .. ... .. .. ....
NoticesLate              .. .- .. ... ...... .. .-..... .. xx.x. .... . .. ... .. .. ....
ResumesBeforeTheSnapshot .. .- .. ... ...... .. .-..... .. .x... .... . .. ... .. .. ....
EmptyWithoutContact      .. .- .. ... ...... .. .-..... .. .x... .... . .. ... .. .. ....
ListsWhatIsLeft          .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. x. ....
RefusalIsUnseen          .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .x ....
RefusalIsDenied          .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. xx ....
ExpiresMeanwhile         .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .x ....
ExpiresAtOnce            .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .x ....
KeepsAllForEver          .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .x ....
PretendsToWrite          .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. xx ....
CutsUrls                 .. .- .. ... ...... .. .-..... .. ..... .... . xx ... .. .. ....
TrimsMetadata            .. .- .. ... ...... .. .-..... .. ..... .... . xx ... .. .. ....
FoldsCase                .. .- .. ... ...... .. .-..... .. ..... .... . xx ... .. .. ....
WatchesWithoutMetadata   .. .- .. ... ...x.. .. .-x.... .. ..... .... . .x ... .. .. ....
OneNamespace             .. .- .. ... ...... .. .-..... .. ..... .... . .. xxx .. .. ....
NamespaceWithoutCase     .. .- .. ... ...... .. .-..... .. ..... .... . .. x.x .. .. ....
CutsNamespaces           .. .- .. ... ...... .. .-..... .. ..... .... . .. x.. .. .. ....
StripsDots               .. .- .. ... ...... .. .-..... .. ..... .... . .. .x. .. .. ....
LowercasesHosts          .. .- .. ... ...... .. .-..... .. ..... .... . xx ... .. .. ....
UnreadableIsAnError      .. .- .. ... ...... .. .-..... .. ..... .... . .. ... xx .. ....
UnreadableEndsTheWatch   .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .x .. ....
UnreadableStopsExpiry    .. .- .. ... ...... .. .-..... .. ..... .... . .. ... xx .. ....
WatchesTheFirst          .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. xxxx
MatchesBeginnings        .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. x...
BeginsEmpty              .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. x..x
KeepsThoseWhoMove        .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. .x..
TellsNoServiceOfAnId     .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. .xxx
ListsTheFirst            .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. x...
SubscribesToMoreLate     .. .- .. ... ...... .. .-..... .. ..... .... . .. ... .. .. ...x
";

#[test]
fn every_driver_fails_the_tests_of_what_it_breaks_and_no_others() {
    let (mutants, tests) = (mutants(), tests());
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(vec![String::new(); mutants.len()]);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some((name, make)) = mutants.get(n) else { break };
                    let row = row(name, &tests, *make);
                    rows.lock().unwrap()[n] = row;
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let came = format!("\n{}\n", rows.join("\n"));
    assert!(came == TABLE, "the table should be:{came}");
    let uncaught = tests.iter().enumerate().filter(|(n, _)| {
        let marks = |row: &String| row[NAME..].chars().filter(|c| *c != ' ').nth(*n) == Some('x');
        !rows.iter().any(marks)
    });
    let uncaught: Vec<&str> = uncaught.map(|(_, test)| test.name).collect();
    assert!(uncaught.is_empty(), "no driver fails {uncaught:?}");
}

/// A fixture without hooks, for a driver without a watch.
#[derive(Default)]
struct Bare(Backend);

#[async_trait]
impl Fixture for Bare {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        Arc::new(self.0.namespace(namespace).connection.without_watch())
    }
}

#[test]
fn a_test_whose_hook_is_neither_offered_nor_left_out_fails() {
    for test in tests() {
        if test.needs.contains("services") {
            let violation = run(&test, &Bare::default()).unwrap_err().to_string();
            assert!(violation.contains("with: [services]"), "{}: {violation}", test.name);
            continue;
        }
        let needed = ["watch", "interrupt", "wipe", "refuse_writes", "write_unreadable"];
        let needed = needed.iter().filter(|hook| test.needs.contains(*hook));
        let needed: Vec<String> = needed.map(|hook| format!("without: [{hook} = ")).collect();
        match run(&test, &Bare::default()) {
            Ok(()) => assert!(needed.is_empty(), "{} passed without {needed:?}", test.name),
            Err(violation) => {
                let text = violation.to_string();
                assert!(needed.iter().any(|hook| text.contains(hook)), "{}: {text}", test.name);
            }
        }
    }
}

/// The width of the column of driver names.
const NAME: usize = 25;

/// Runs one test with a paused clock of its own.
fn run(test: &Test, fixture: &dyn Fixture) -> Result<(), Violation> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on((test.run)(fixture))
}

/// The drivers that run the tests with thousands of records. The others read all records at each write, which
/// is too slow.
const MANY: [&str; 2] = ["NothingBroken", "FirstThousand"];

/// Runs all tests, each on a new fixture.
fn row(name: &str, tests: &[Test], make: Make) -> String {
    let mut row = format!("{name:NAME$}");
    let mut clause = 1;
    for test in tests {
        if clause_of(test.name) > clause {
            clause = clause_of(test.name);
            row.push(' ');
        }
        if test.needs.contains("many") && !MANY.contains(&name) {
            row.push('-');
            continue;
        }
        row.push(match run(test, &Mutated::new(make)) {
            Ok(()) => '.',
            Err(violation) => {
                assert_eq!(violation.clause(), clause, "{}: {violation}", test.name);
                'x'
            }
        });
    }
    row
}

/// A fixture whose drivers all have the same mutant.
struct Mutated {
    backend: Backend,
    make: Make,
    /// One mutant for each namespace, shared by the clients, so that they share its memory.
    mutants: Mutex<HashMap<String, Arc<dyn Mutant>>>,
}

impl Mutated {
    fn new(make: Make) -> Self {
        Self { backend: Backend::default(), make, mutants: Mutex::default() }
    }

    /// The namespace that the mutant uses for this one.
    fn namespace(&self, asked: &str) -> String {
        (self.make)().namespace(asked)
    }

    fn broken(&self, namespace: &str, unaffected: bool) -> Arc<dyn Driver> {
        let mut mutants = self.mutants.lock().unwrap();
        let namespace = self.namespace(namespace);
        let mutant = mutants.entry(namespace.clone()).or_insert_with(self.make);
        let Namespace { texts, connection } = self.backend.namespace(&namespace);
        let records = texts.0.clone();
        let driver: Arc<dyn Driver> =
            if unaffected { Arc::new(texts) } else { Arc::new(connection) };
        Arc::new(Broken { mutant: Arc::clone(mutant), sound: Sound { driver, records } })
    }
}

#[async_trait]
impl Fixture for Mutated {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        self.broken(namespace, false)
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.backend.interrupt().await
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.backend.restore().await
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Ok(self.broken(namespace, true))
    }

    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        self.backend.wipe(&self.namespace(namespace)).await
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        self.backend.refuse_writes().await
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        self.backend.accept_writes().await
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        self.backend.write_unreadable(&self.namespace(namespace)).await
    }
}
