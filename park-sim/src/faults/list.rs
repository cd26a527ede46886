//! The planted faults.

use super::change::{Change, Owner};
use super::setting::Setting;

mod code;
mod tables;
mod way;

/// A fault: what is changed, and the setting in which it shows.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its name, in kebab-case.
    pub name: &'static str,
    /// What is missing or wrong, in one sentence.
    pub what: &'static str,
    /// The changes.
    pub changes: &'static [Change],
    /// What the owner left in its registers.
    pub owner: &'static [Owner],
    /// The setting in which it shows, and in which all is well without it.
    pub shown_by: Setting,
}

impl Fault {
    const fn new(name: &'static str, what: &'static str, changes: &'static [Change], shown_by: Setting) -> Self {
        Self { name, what, changes, owner: &[], shown_by }
    }

    const fn owner(mut self, owner: &'static [Owner]) -> Self {
        self.owner = owner;
        self
    }

    /// The fault with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        all().find(|fault| fault.name == name)
    }
}

/// All faults: those of the bay code, of tables and header, and of the ways in and out.
pub const FAULTS: [&[Fault]; 3] = [code::FAULTS, tables::FAULTS, way::FAULTS];

/// Every fault.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    FAULTS.into_iter().flatten()
}

/// Fences whose absence no run can show, and why they are kept: where, and what wants them.
pub const KEPT_FENCES: &[(&str, &str)] = &[
    (
        "MFENCE before CLFLUSH of the doorbell line",
        "erratum AAI65 (Xeon 7400) as Linux works around it: mb(); clflush(); mb() before MONITOR. CLFLUSH is ordered \
         with older stores to its own line only, and the machine models the erratum by line, not by time",
    ),
    ("MFENCE after CLFLUSH of the doorbell line", "the same: MONITOR may otherwise be ahead of the flush"),
];
