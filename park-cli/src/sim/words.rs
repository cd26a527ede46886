//! Ends and causes in plain words, for people who never heard of park.

use park_sim::scenario::{Cause, CpuReport, End};

/// What an end means, in a word or three.
#[must_use]
pub const fn end(end: End) -> &'static str {
    match end {
        End::Parked => "parked",
        End::Running => "running",
        End::Faulted => "faulted",
        End::Shutdown => "shut down",
        End::Reset => "reset",
        End::Waiting => "out of reach",
        End::Absent => "absent",
    }
}

/// Words for every cause, by its name.
const CAUSES: &[(&str, &str)] = &[
    ("as-planned", "nothing is wrong"),
    ("foreign-fetch", "it resumed, and fetched code from memory that was taken away"),
    ("foreign-walk", "it resumed, and walked page tables in memory that was taken away"),
    ("foreign-push", "an event pushed its frame onto a stack in memory that was taken away"),
    ("foreign-descriptor", "an event came, and its gate or descriptor was in memory that was taken away"),
    ("foreign-data", "it read or wrote data in memory that was taken away"),
    ("triple-fault", "it faulted while a double fault was delivered"),
    ("mc-without-mce", "a machine check found CR4.MCE = 0"),
    ("mc-while-mcip", "a machine check came while another was being handled"),
    ("mc-while-gif-0", "a machine check came with the global interrupt flag clear"),
    ("broadcast-mc", "a broadcast machine check took the whole machine down"),
    ("bsp-init", "the bootstrap processor took an INIT"),
    ("smm-hang", "firmware waits in SMM for a CPU that can't come"),
    ("reset-injected", "the machine was reset from outside"),
    ("init-held", "an INIT is held and never taken"),
    ("sipi-lost", "a STARTUP came while the CPU could not take it"),
    ("lost-wake", "it was rung and did not come"),
    ("double-entry", "it took its entry more than once"),
    ("fault-in-bay", "it stopped in its bay and left a fault record"),
    ("taken-by-kernel", "a kernel that knows nothing of park started it"),
    ("taken-by-init", "an INIT took it out of its bay, and nobody started it"),
    ("took-old-entry", "it took the entry of a kernel that is no more"),
    ("left-behind", "its kernel went and left it running"),
    ("never-arrived", "it never came to its bay"),
    ("quarantined", "nobody knows whether it acted: its bay is never given away"),
];

/// Why, in words; the cause's name if there are none.
#[must_use]
pub fn cause(cause: Cause) -> &'static str {
    let name = cause.name();
    CAUSES.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words)
}

/// What a way to park does, for people who know neither its name nor park.
const WAYS: &[(&str, &str)] = &[
    ("linux-mwait-kicked", "MWAIT in the old kernel, kicked into HLT before the kexec: Linux since 6.5"),
    ("linux-hlt", "HLT in the old kernel: Linux where there is no MWAIT"),
    ("hlt", "HLT in reserved memory, with code, page tables, handlers and stacks of its own"),
    ("mwait", "MWAIT in reserved memory, with code, page tables, handlers and stacks of its own"),
    ("clgi", "interrupts held by CLGI in reserved memory, with code, page tables and stacks of its own"),
    ("wait-for-sipi", "INIT, so that only a STARTUP reaches it"),
];

/// What a parker or mechanism does; its name if there are no words.
#[must_use]
pub fn way(name: &str) -> &str {
    WAYS.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words)
}

/// Whether a CPU is where it should be: in its wait, or running at an entry that somebody named, once.
#[must_use]
pub fn is_well(cpu: &CpuReport) -> bool {
    matches!(cpu.end, End::Parked | End::Running) && cpu.cause != Cause::DoubleEntry
}

/// What became of a CPU, in a sentence.
#[must_use]
pub fn fate(cpu: &CpuReport) -> String {
    if cpu.cause == Cause::AsPlanned {
        return match (cpu.end, cpu.mechanism.as_str()) {
            (End::Running, "none") => "runs the kernel".to_owned(),
            (End::Running, _) => "woken: runs the kernel".to_owned(),
            (End::Parked, _) => "parked: still there, and can be woken".to_owned(),
            (other, _) => format!("{}, as planned", end(other)),
        };
    }
    format!("{}: {}", end(cpu.end), cause(cpu.cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_words_and_no_words_are_left_over() {
        let known: Vec<&str> = CAUSES.iter().map(|(name, _)| *name).collect();
        assert_eq!(Cause::names().collect::<Vec<_>>(), known);
    }
}
