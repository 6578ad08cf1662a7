//! The entry points of the fuzz targets; compiled only with `--cfg fuzzing`.

use gosd_core::{Instance, Result};

use crate::layout::{self, Keys};

/// The instance of a key and its value; `None` for a goodbye.
pub fn read(key: &[u8], value: &[u8]) -> Result<Option<Instance>> {
    let id = keys().id(key)?;
    layout::read(id, value)
}

/// The key and the value of an instance.
pub fn write(instance: &Instance) -> (Vec<u8>, Vec<u8>) {
    (keys().key(instance.id()).into_bytes(), instance.to_json().into_bytes())
}

fn keys() -> Keys {
    Keys::new("gosd")
}
