//! `gosd watch`: prints what comes and goes.

use std::pin::pin;
use std::sync::Arc;

use anstyle::Style;
use futures_util::StreamExt;
use futures_util::stream::select;
use gosd::{Change, Instance, Status, View};

use crate::cli::WatchArgs;
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome, with_causes};
use crate::output::{ASIDE, BAD, GOOD, clean, print};
use crate::record::{ChangeLine, InstanceLine, line};

enum News {
    Change(Change),
    Status(Status),
}

pub(crate) async fn run(context: &Context, args: &WatchArgs) -> Outcome {
    let (builder, backend) = context.client().await?;
    let client = builder.start().await?;
    let changes = client.changes().map(News::Change);
    let status = client.status_changes().map(News::Status);
    let mut news = pin!(select(changes, status));
    let mut watcher = Watcher {
        context,
        service: args.service.as_deref(),
        backend: backend.name(),
        is_lost: false,
    };
    while let Some(news) = news.next().await {
        match news {
            News::Change(change) => watcher.change(&change)?,
            News::Status(status) => watcher.status(&status.view)?,
        }
    }
    Ok(DONE)
}

struct Watcher<'a> {
    context: &'a Context,
    service: Option<&'a str>,
    backend: &'a str,
    /// Whether the loss of contact was printed.
    is_lost: bool,
}

impl Watcher<'_> {
    fn change(&self, change: &Change) -> Result<(), Failure> {
        let (word, style, instance) = match change {
            Change::Reset(all) => return self.reset(all),
            Change::Added(it) => ("added", GOOD, it),
            Change::Updated(it) => ("updated", Style::new(), it),
            Change::Removed(it) => ("removed", BAD, it),
            Change::Drained(it) => ("drained", ASIDE, it),
            Change::Readmitted(it) => ("readmitted", GOOD, it),
            _ => return Ok(()),
        };
        self.tell(word, style, instance)
    }

    /// Prints all instances. One that was printed before and is not among them is gone.
    fn reset(&self, all: &[Arc<Instance>]) -> Result<(), Failure> {
        if self.context.json {
            print(&line(&ChangeLine { change: "reset", instance: None, error: None }))?;
        }
        let mut all: Vec<&Arc<Instance>> = all.iter().collect();
        all.sort_by_key(|it| (it.service(), it.id()));
        for instance in all {
            self.tell("present", Style::new(), instance)?;
        }
        Ok(())
    }

    fn tell(&self, word: &str, style: Style, instance: &Instance) -> Result<(), Failure> {
        let service = instance.service();
        if self.service.is_some_and(|only| only != service) {
            return Ok(());
        }
        let text = match self.context.json {
            true => {
                let instance = Some(InstanceLine::new(instance));
                line(&ChangeLine { change: word, instance, error: None })
            }
            false => {
                let [service, url, id] =
                    [service, instance.url(), instance.id().as_str()].map(clean);
                format!("{style}{word:10}{style:#}  {service}  {url}  {id}\n")
            }
        };
        Ok(print(&text)?)
    }

    fn status(&mut self, view: &View) -> Result<(), Failure> {
        let (word, error) = match view {
            View::Fresh if self.is_lost => ("contact", None),
            View::Stale { error, .. } if !self.is_lost => {
                ("contact-lost", Some(with_causes(error)))
            }
            _ => return Ok(()),
        };
        self.is_lost = error.is_some();
        if self.context.json {
            let error = error.as_deref();
            print(&line(&ChangeLine { change: word, instance: None, error }))?;
            return Ok(());
        }
        self.context.note(match error {
            Some(error) => format!("no contact with {}: {error}", self.backend),
            None => format!("in contact with {} again", self.backend),
        });
        Ok(())
    }
}
