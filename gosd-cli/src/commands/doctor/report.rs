//! The report: findings are printed as they come, for people or for programs, and decide the exit code.

use std::fmt::Write as _;
use std::io;

use gosd::{Error, ErrorKind};
use serde::Serialize;

use crate::context::Context;
use crate::failure::{DONE, FAILED, code_of, with_causes};
use crate::output::{BAD, announce, clean};
use crate::record::line;

/// How many ids a message lists; a line of JSON has all of them.
const SHOWN: usize = 3;

/// A problem, and how to fix it. Its fields are a promise that README.md makes.
#[derive(Serialize)]
pub(super) struct Finding {
    finding: &'static str,
    what: String,
    advice: String,
    /// The instances concerned.
    ids: Vec<String>,
}

impl Finding {
    pub(super) fn new(finding: &'static str, what: String, advice: String) -> Self {
        Self { finding, what, advice, ids: Vec::new() }
    }

    pub(super) fn about(self, ids: Vec<String>) -> Self {
        Self { ids, ..self }
    }
}

/// The report so far.
pub(super) struct Report<'a> {
    context: &'a Context,
    count: usize,
    code: u8,
}

impl<'a> Report<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context, count: 0, code: DONE }
    }

    /// Prints a finding. The exit code tells of it, too, whether or not somebody reads it.
    pub(super) fn add(&mut self, finding: Finding) -> io::Result<()> {
        self.count += 1;
        self.code = self.code.max(FAILED);
        announce(&match self.context.json {
            true => line(&finding),
            false => {
                let Finding { finding: name, what, advice, ids: _ } = finding;
                format!("{BAD}{name}{BAD:#}: {}\n    {}\n", clean(&what), clean(&advice))
            }
        })
    }

    /// Prints the error because of which no more can be checked.
    pub(super) fn fatal(&mut self, error: &Error) -> io::Result<()> {
        let (name, advice) = match error.kind() {
            ErrorKind::Config => ("settings", "correct the variable, the flag or the URL"),
            ErrorKind::Denied => ("no-rights", "give the user of gosd the right to read"),
            ErrorKind::Unavailable | ErrorKind::Timeout => (
                "no-contact",
                "see that the database runs, at this address, and that this host may reach it; \
                 services keep what they know meanwhile",
            ),
            _ => ("unusable", "use another database or namespace, or see to what is there"),
        };
        self.code = code_of(error.kind());
        self.add(Finding::new(name, with_causes(error), advice.into()))
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }
}

/// The first few ids, for a message.
pub(super) fn some_of(ids: &[String]) -> String {
    let mut text = ids[..ids.len().min(SHOWN)].join(", ");
    if ids.len() > SHOWN {
        let _ = write!(text, " and {} more", ids.len() - SHOWN);
    }
    text
}
