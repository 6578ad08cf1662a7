//! The lines of `--json`, one object each. Their fields are a promise that README.md makes.

use std::collections::BTreeMap;

use gosd::Instance;
use serde::Serialize;

use crate::listing::started_ms;

/// A service, as printed by `gosd ls`.
#[derive(Serialize)]
pub(crate) struct ServiceLine<'a> {
    pub(crate) service: &'a str,
    pub(crate) instances: usize,
    pub(crate) drained: usize,
}

/// An instance.
#[derive(Serialize)]
pub(crate) struct InstanceLine<'a> {
    id: &'a str,
    service: &'a str,
    url: &'a str,
    metadata: &'a BTreeMap<String, String>,
    started_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drained: Option<bool>,
}

impl<'a> InstanceLine<'a> {
    pub(crate) fn new(instance: &'a Instance) -> Self {
        Self {
            id: instance.id().as_str(),
            service: instance.service(),
            url: instance.url(),
            metadata: instance.metadata(),
            started_ms: started_ms(instance.id()),
            drained: None,
        }
    }

    pub(crate) fn drained(self, drained: bool) -> Self {
        Self { drained: Some(drained), ..self }
    }
}

/// A change, as printed by `gosd watch`.
#[derive(Serialize)]
pub(crate) struct ChangeLine<'a> {
    pub(crate) change: &'a str,
    #[serde(flatten)]
    pub(crate) instance: Option<InstanceLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

/// A line of JSON.
pub(crate) fn line(record: &impl Serialize) -> String {
    let mut line = serde_json::to_string(record).expect("strings and numbers always serialize");
    line.push('\n');
    line
}
