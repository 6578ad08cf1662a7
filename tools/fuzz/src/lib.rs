//! What the fuzz targets have in common.

use std::error::Error as StdError;

use arbitrary::Arbitrary;
use gosd_core::{Error, Instance};

/// An instance of any text, as a backend may hold it.
#[derive(Arbitrary, Debug)]
pub struct AnyInstance {
    id: String,
    service: String,
    url: String,
    metadata: std::collections::BTreeMap<String, String>,
}

impl From<AnyInstance> for Instance {
    fn from(any: AnyInstance) -> Self {
        Self::from_parts(any.id.as_str().into(), &any.service, &any.url, any.metadata)
    }
}

/// All that an error and its causes say.
pub fn words(error: &Error) -> String {
    let mut words = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    words
}
