//! The report of a clause that does not hold.

use std::fmt;

/// A clause of the driver contract that does not hold, with what the kit expected and what came instead.
///
/// `Debug` is as readable as `Display`, because it is what the test harness prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    clause: u8,
    expected: String,
    came: String,
}

impl Violation {
    pub(crate) fn new(clause: u8, expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self { clause, expected: expected.into(), came: came.into() }
    }

    pub(crate) fn not_offered(clause: u8, hook: &str) -> Self {
        Self::new(
            clause,
            format!("the fixture to offer `{hook}`, which this test needs"),
            format!(
                "nothing; implement it, or say why there is none: \
                 conformance!(.., without: [{hook} = \"why\"])"
            ),
        )
    }

    /// The number of the clause, 1 to 16.
    pub fn clause(&self) -> u8 {
        self.clause
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clause, expected, came } = self;
        writeln!(f, "clause {clause} of the driver contract does not hold")?;
        writeln!(f, "  expected: {expected}")?;
        writeln!(f, "  came:     {came}")?;
        write!(f, "  see:      DRIVERS.md#clause-{clause}")
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_readable() {
        let text = format!("{:?}", Violation::new(7, "a Reset", "a Put"));
        for part in ["clause 7", "expected: a Reset", "came:     a Put", "DRIVERS.md#clause-7"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_missing_hook_says_what_to_do() {
        let text = Violation::not_offered(5, "wipe").to_string();
        assert!(text.contains("without: [wipe = \"why\"]"), "{text}");
    }
}
