//! Drivers that are each broken in one way. Most of the ways occur in real drivers.

mod contact;
mod events;
mod leases;
mod records;
mod refusals;
mod renewals;
mod services;
mod values;
mod watches;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use gosd_core::{Driver, Event, Instance, InstanceId, Memory, Result, async_trait};

/// A sound driver, and the records behind it.
pub(crate) struct Sound {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) records: Memory,
}

impl Deref for Sound {
    type Target = dyn Driver;

    fn deref(&self) -> &Self::Target {
        &*self.driver
    }
}

pub(crate) type Items<'a> = BoxStream<'a, Result<Event>>;

/// The items of the sound driver's watch.
fn items(sound: &Sound) -> Items<'_> {
    sound.watch().expect("the sound driver has a watch")
}

/// What is broken: each method behaves like the sound driver unless overridden. The clients of a namespace
/// share one mutant.
#[async_trait]
pub(crate) trait Mutant: Send + Sync + 'static {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl).await
    }

    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        sound.deregister(id).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        sound.list().await
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        items(sound)
    }

    /// By default a watch of everything, which is more than it has to be.
    fn watch_services<'a>(&'a self, sound: &'a Sound, _: &BTreeSet<String>) -> Items<'a> {
        self.watch(sound)
    }

    async fn list_services(&self, sound: &Sound, _: &BTreeSet<String>) -> Result<Vec<Instance>> {
        self.list(sound).await
    }

    /// The namespace that the mutant uses instead of the one that it was asked for.
    fn namespace(&self, asked: &str) -> String {
        asked.to_owned()
    }
}

/// A sound driver with a mutant's methods in front of its own.
pub(crate) struct Broken {
    pub(crate) mutant: Arc<dyn Mutant>,
    pub(crate) sound: Sound,
}

#[async_trait]
impl Driver for Broken {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.mutant.register(&self.sound, instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.mutant.deregister(&self.sound, id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.mutant.list(&self.sound).await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(self.mutant.watch(&self.sound))
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        Some(self.mutant.watch_services(&self.sound, services))
    }

    async fn list_services(&self, services: &BTreeSet<String>) -> Result<Vec<Instance>> {
        self.mutant.list_services(&self.sound, services).await
    }
}

#[derive(Default)]
struct NothingBroken;
impl Mutant for NothingBroken {}

pub(crate) type Make = fn() -> Arc<dyn Mutant>;

/// All mutants, by name.
pub(crate) fn mutants() -> Vec<(&'static str, Make)> {
    macro_rules! named {
        ($($file:ident::{$($name:ident),* $(,)?})*) => {
            vec![
                ("NothingBroken", (|| Arc::new(NothingBroken)) as Make),
                $($((stringify!($name), || Arc::new($file::$name::default())),)*)*
            ]
        };
    }
    named! {
        records::{
            KeepsTheFirst, Appends, ReadsAReplica, AbsentIsAnError, RemovesByPrefix,
            FailureIsEmpty, EmptyIsAnError, NeverAnswers, WritesInTwoSteps, BreaksWhenDropped,
            LosesTheCrowd, ListsSomeTwice, FirstThousand, EmptyAfterAnOutage, FailsOnceAfterALoss,
            LossIsClosed, WritesInTheBackground, BlocksTheThread,
        }
        leases::{
            KeepsTheLease, NeverExpires, ExpiresLate, OneLeaseForAll, CollectsTheLive,
            CollectsInARace, OnlyExtends, WritesTheLeaseLast, LeaseIsALocalTimer, TruncatesLeases,
            CapsLeases, RefusesLongLeases, SweepsLater,
        }
        renewals::{
            KeepsTheService, RenewsWithoutMetadata, MergesMetadata, IgnoresMetadata,
            DeletesAndInserts, BlinksWhileRenewing, WritesInTwoStepsInATask,
        }
        watches::{
            NoSnapshot, SubscribesLate, FirstOfABatch, IgnoresOverflow, NoUpdates, SilentExpiry,
            ExpiryIsAGoodbye, OverlooksRenewals, SwallowsLoss, LossIsAnEmptyReset, ResumesWithAGap, NeverResumes,
            EndsAtOnce, LeaksWatches, AnnouncesSeparately,
        }
        events::{
            OneWatcherGetsIt, ResetsInPieces, PutsLast, RemovesLast, ExpiresOneOfMany,
            ListSweepsSilently, SnapshotWithTheDead, WatchHoldsTheConnection,
        }
        contact::{
            ResumesAfterALoss, SleepsToBackOff, NoticesLate, ResumesBeforeTheSnapshot,
            EmptyWithoutContact,
        }
        refusals::{
            ListsWhatIsLeft, RefusalIsUnseen, RefusalIsDenied, ExpiresMeanwhile, ExpiresAtOnce,
            KeepsAllForEver, PretendsToWrite,
        }
        values::{
            CutsUrls, TrimsMetadata, FoldsCase, WatchesWithoutMetadata, OneNamespace,
            NamespaceWithoutCase, CutsNamespaces, StripsDots, LowercasesHosts, UnreadableIsAnError,
            UnreadableEndsTheWatch, UnreadableStopsExpiry,
        }
        services::{
            WatchesTheFirst, MatchesBeginnings, BeginsEmpty, KeepsThoseWhoMove,
            TellsNoServiceOfAnId, ListsTheFirst, SubscribesToMoreLate,
        }
    }
}
