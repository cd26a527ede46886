//! QEMU's log of CPU resets, `-d cpu_reset -D FILE`: each INIT that a CPU takes, and each shutdown.

use std::collections::BTreeMap;

/// The file, in the folder of a run.
pub const LOG: &str = "resets.log";
/// Words of the log (QEMU 7.2, target/i386/cpu.c, target/i386/tcg/excp_helper.c).
const RESET: &str = "CPU Reset (CPU ";
const TRIPLE_FAULT: &str = "Triple fault";

/// What the log says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resets {
    /// How often each CPU was reset, by QEMU's number of it.
    pub of_cpu: BTreeMap<u32, u64>,
    /// Shutdowns by a triple fault.
    pub triple_faults: u64,
}

impl Resets {
    /// What `text`, the whole log or its beginning, says.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            if let Some(number) = line.strip_prefix(RESET).and_then(|rest| rest.split(')').next()?.parse().ok()) {
                *found.of_cpu.entry(number).or_default() += 1;
            }
            found.triple_faults += u64::from(line.starts_with(TRIPLE_FAULT));
        }
        found
    }

    /// Resets of all CPUs but the first: INITs, as long as the machine is not reset.
    #[must_use]
    pub fn of_others(&self) -> u64 {
        self.of_cpu.iter().filter(|(cpu, _)| **cpu != 0).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_and_shutdowns_are_counted() {
        let text = "CPU Reset (CPU 0)\nEAX=00000000 EBX=00000000\nCPU Reset (CPU 1)\nRIP=1\nCPU Reset (CPU 1)\nTriple fault\nCPU Reset (CP";
        let found = Resets::parse(text);
        assert_eq!(found, Resets { of_cpu: BTreeMap::from([(0, 1), (1, 2)]), triple_faults: 1 });
        assert_eq!((found.of_others(), Resets::parse("").of_others()), (2, 0));
    }
}
