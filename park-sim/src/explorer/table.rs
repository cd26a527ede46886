//! The configurations that the tests explore, and what none of them can reach.

use super::config::{ApicState, Config, Do, Faults, Mortality, Start, Time};
use crate::machine::{EventKind, Knob, Vendor};
use park_core::Mechanism;
use park_core::lot::WaitFlags;

/// Something that no exploration reaches, and where it is tested instead.
#[derive(Clone, Copy, Debug)]
pub struct Excluded<T> {
    /// What.
    pub what: T,
    /// Why, and who looks at it.
    pub reason: &'static str,
}

/// Knobs that no exploration varies.
pub const EXCLUDED_KNOBS: &[Excluded<Knob>] = &[];

/// Instructions that no exploration executes, by the range of their offsets in the bay code.
pub const EXCLUDED_CODE: &[Excluded<(&str, &str)>] = &[];

/// All configurations.
#[must_use]
pub fn configurations() -> Vec<Config> {
    use EventKind::{Init, MachineCheck, Nmi, Smi};
    let hlt = |name| Config { apic: ApicState::SoftOff, ..Config::new(name, Vendor::Intel, Mechanism::Hlt) };
    let mwait = |name| Config::new(name, Vendor::Intel, Mechanism::Mwait);
    let clgi = |name| Config::new(name, Vendor::Amd, Mechanism::Clgi);
    vec![
        hlt("hlt-wake"),
        mwait("mwait-wake"),
        clgi("clgi-wake"),
        hlt("hlt-wake-1").events(1, &[Nmi, MachineCheck, Smi, Init]),
        mwait("mwait-wake-1").events(1, &[Nmi, MachineCheck, Smi, Init, EventKind::FalseWake]),
        clgi("clgi-wake-1").events(1, &[Nmi, MachineCheck, Smi, Init]),
        Config { time: Time::Hasty, ..hlt("hlt-hasty") }.holders(&[Do::Wake(0), Do::Wake(1)], &[]),
        Config { mortality: Mortality::MayDie, time: Time::Hasty, ..hlt("hlt-seize") }
            .holders(&[Do::Wake(0), Do::Wake(1)], &[Do::Seize, Do::Confirm, Do::Wake(2)]),
        Config { start: Start::Arrival, flags: WaitFlags::WBINVD, faults: Faults::Never, ..hlt("hlt-arrival") }
            .holders(&[Do::AwaitArrival, Do::Confirm], &[]),
    ]
}
