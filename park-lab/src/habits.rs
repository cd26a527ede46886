//! Habits: what an emulator does otherwise than the manuals say where no case shows it, as far as a run of park's shows it.
//!
//! What a case shows is in [`deviations`](crate::deviations).

use crate::configuration::Emulator;

/// One habit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Habit {
    /// The emulators that have it.
    pub emulators: &'static [Emulator],
    /// What the manuals say.
    pub manuals: &'static str,
    /// What the emulator does.
    pub does: &'static str,
    /// Why, with the place in its source where that is known.
    pub reason: &'static str,
    /// Which run shows it, and how.
    pub shown_by: &'static str,
}

/// All habits.
pub const ALL: &[Habit] = &[
    Habit {
        emulators: &[Emulator::Qemu],
        manuals: "CPUID leaf 5 tells the sizes of monitor lines (SDM vol. 2A, CPUID)",
        does: "it says 0 and 0, with MONITOR in leaf 1",
        reason: "cpu_x86_cpuid, target/i386/cpu.c: filled in from the host alone",
        shown_by: "the line `boot` of every trial: smallest_monitor_line_bytes",
    },
    Habit {
        emulators: &[Emulator::Qemu, Emulator::Bochs],
        manuals: "an SMI saves the state of Intel's CPUs at Intel's offsets (SDM vol. 3, table 32-3)",
        does: "their models of Intel's CPUs save it at AMD's (APM vol. 2, table 10-1)",
        reason: "one map for all vendors: target/i386/tcg/sysemu/smm_helper.c; cpu/smm.cc",
        shown_by: "conformance on models of Intel's CPUs: with Intel's map alone the image can't move SMBASE, and no SMI is counted",
    },
    Habit {
        emulators: &[Emulator::Qemu],
        manuals: "INIT ends HLT (SDM vol. 2A, HLT)",
        does: "the INIT waits until something else ends HLT",
        reason: "x86_cpu_pending_interrupt, target/i386/cpu.c, does not count it as work",
        shown_by: "conformance: without a landing that waits in a loop, not in HLT, `wait-for-sipi/mc-*` come to no verdict",
    },
    Habit {
        emulators: &[Emulator::Qemu],
        manuals: "a machine check comes before an SMI (SDM vol. 3, table 6-2)",
        does: "of the two, held while GIF = 0, the SMI comes first: the machine check meets firmware's handlers",
        reason: "x86_cpu_pending_interrupt, target/i386/cpu.c, asks for SMIs before machine checks",
        shown_by: "a torture with both on firmware that gathers its CPUs loses the one that waits by Clgi: there the image raises none",
    },
];
