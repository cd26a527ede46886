//! Encodings of x86 registers: the only place in park where bits and MSR numbers stand.
//!
//! Numbers only: what the CPU *does* with them is the simulator's business, what a mechanism promises is the
//! vendor crates'. Sources are named beside each item: "SDM" is the Intel Software Developer's Manual, "APM"
//! the AMD Architecture Programmer's Manual, by section title.

pub mod apic;
pub mod control;
pub mod cpuid;
pub mod msr;
