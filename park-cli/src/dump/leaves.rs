//! What CPUID answered on one CPU, as somebody wrote it down.

use cpu_park::core::CpuidResult;
use std::collections::BTreeMap;

/// Answers by leaf and subleaf.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leaves {
    answers: BTreeMap<(u32, u32), CpuidResult>,
}

impl Leaves {
    /// The answer for (leaf, subleaf); zeros for what was not written down.
    #[must_use]
    pub fn get(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.answers.get(&(leaf, subleaf)).copied().unwrap_or_default()
    }

    /// True if something was written down for (leaf, subleaf).
    #[must_use]
    pub fn has(&self, leaf: u32, subleaf: u32) -> bool {
        self.answers.contains_key(&(leaf, subleaf))
    }

    /// The subleaf after the last one of `leaf`.
    #[must_use]
    pub fn next_subleaf(&self, leaf: u32) -> u32 {
        let last = self.answers.range((leaf, 0)..=(leaf, u32::MAX)).next_back();
        last.map_or(0, |((_, subleaf), _)| subleaf.saturating_add(1))
    }

    /// Notes an answer; the first one for (leaf, subleaf) stays.
    pub fn note(&mut self, leaf: u32, subleaf: u32, answer: CpuidResult) {
        self.answers.entry((leaf, subleaf)).or_insert(answer);
    }

    /// True if nothing was written down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}
