//! The configurations that the tests explore, and the little that none of them can reach.

use super::config::{Afterwards, ApicState, Config, Do, Faults, MonitorLine, Mortality, Post, Start, Time};
use crate::machine::{EventKind, Knob, Vendor};
use park_core::Mechanism;
use park_core::lot::{PagingLevels, WaitFlags};

/// Something that no exploration reaches, and where it is tested instead.
#[derive(Clone, Copy, Debug)]
pub struct Excluded<T> {
    /// What.
    pub what: T,
    /// Why, and who looks at it.
    pub reason: &'static str,
}

const fn excluded<T: Copy>(what: T, reason: &'static str) -> Excluded<T> {
    Excluded { what, reason }
}

/// Knobs that no exploration varies, because no path consults them. If one did, the test would say so.
pub const EXCLUDED_KNOBS: &[Excluded<Knob>] = &[
    excluded(
        Knob::IcrReorder,
        "consulted by an IPI that leaves while earlier stores wait: MFENCE; LFENCE stands before every one, as a planted \
         fault shows that leaves it out",
    ),
    excluded(
        Knob::SvmeOffGif0,
        "consulted where EFER.SVME is cleared while GIF = 0: STGI stands before the only WRMSR that clears it",
    ),
    excluded(
        Knob::BlockedNmiMwait,
        "consulted in MWAIT with NMIs blocked: an IRETQ, which unblocks them, stands before every way into the wait; the \
         explorer checks in every state that no CPU waits blocked",
    ),
    excluded(
        Knob::RInitAcrossInit,
        "consulted by an INIT that is taken with VM_CR.R_INIT = 1: that turns INIT into #SX (AMD APM vol. 2, 15.30.1), for a \
         parked CPU the end in a fault record, so it never comes to wait for SIPI, where alone it would take one",
    ),
];

/// Offsets in the bay code that no exploration executes: the stubs of two vectors whose gates lead to handlers of their
/// own, in all three tables of the lot. A test reads the gates.
pub const STUBS_WITHOUT_GATE: &[Excluded<u8>] =
    &[excluded(2, "the gates of NMI lead to its handlers"), excluded(18, "the gates of #MC lead to its handlers")];

/// As [`PINNED`], and stores end MWAIT while GIF = 0.
const STORES_WAKE: &[(Knob, u8)] = &[
    (Knob::SmmRendezvous, 0),
    (Knob::IcrBusy, 0),
    (Knob::McBroadcastAmd, 0),
    (Knob::MonitorLost, 0),
    (Knob::MonitorStale, 0),
    (Knob::Gif0Monitor, 0),
];

/// A CPU moves to another lot, and lives there.
const REPARK: &[Do] = &[Do::Repark, Do::AwaitSecond, Do::Vacate, Do::ConfirmSecond];

/// A vector that some device or CPU sends to a parked CPU: held, since IF = 0.
const STRAY_VECTOR: u8 = 0x31;

/// All vectors that a gate of the lot leads to the exception stubs.
const EXCEPTIONS: &[u8] =
    &[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31];

/// All configurations.
#[must_use]
pub fn configurations() -> Vec<Config> {
    use EventKind::{FalseWake, Fixed, Init, MachineCheck, MachineCheckFatal, Nmi, Smi};
    let hlt = |name| Config { apic: ApicState::SoftOff, ..Config::new(name, Vendor::Intel, Mechanism::Hlt) };
    let mwait = |name| Config::new(name, Vendor::Intel, Mechanism::Mwait);
    let clgi = |name| Config::new(name, Vendor::Amd, Mechanism::Clgi);
    vec![
        // One command, and two events at any moment.
        hlt("hlt-wake").events(2, &[Nmi, MachineCheck]),
        hlt("hlt-wake-smi-init").events(1, &[Smi, Init]),
        mwait("mwait-wake").events(1, &[Nmi, MachineCheck, Smi, Init, FalseWake]),
        Config { mwait_hint: 0x20, ..mwait("mwait-deep") }.events(1, &[Nmi]),
        clgi("clgi-wake").events(2, &[Nmi, MachineCheck, Smi, Init]),
        // No vendor's orders wait so: a store may be lost, and no NMI comes. Without those two it is right.
        Config { flags: WaitFlags::MONITOR, pinned: STORES_WAKE, ..clgi("clgi-monitor") }
            .events(1, &[Nmi, Smi, Init, FalseWake]),
        // Claims race with revocations, and a second ticket has other arguments.
        Config { time: Time::Hasty, ..hlt("hlt-hasty") }.holders(&[Do::Wake(0), Do::Wake(1)], &[]),
        Config { time: Time::Hasty, ..mwait("mwait-hasty") }.holders(&[Do::Wake(0), Do::Wake(1)], &[]),
        Config { time: Time::Hasty, ..clgi("clgi-hasty") }
            .holders(&[Do::Wake(0), Do::Wake(1)], &[])
            .events(1, &[Nmi, MachineCheck, Init]),
        // Commands that return.
        hlt("hlt-commands").holders(&[Do::Confirm, Do::Flush, Do::Wake(0)], &[]),
        hlt("hlt-hold").holders(&[Do::Hold, Do::Release, Do::Wake(0)], &[]).events(1, &[Nmi, MachineCheck]),
        mwait("mwait-commands").holders(&[Do::Confirm, Do::Hold, Do::Release, Do::Flush, Do::Wake(0)], &[]),
        clgi("clgi-commands")
            .holders(&[Do::Confirm, Do::Hold, Do::Release, Do::Flush, Do::Wake(0)], &[])
            .events(1, &[Nmi, MachineCheck, Init]),
        Config { flags: WaitFlags::CLFLUSH, ..mwait("mwait-unknown") }.holders(&[Do::Unknown, Do::Wake(0)], &[]),
        // The lot changes hands.
        hlt("hlt-accept").holders(&[Do::Confirm, Do::HandOver], &[Do::Accept, Do::Wake(2)]),
        mwait("mwait-accept").holders(&[Do::Confirm, Do::HandOver], &[Do::Accept, Do::Wake(2)]),
        clgi("clgi-accept")
            .holders(&[Do::Confirm, Do::HandOver], &[Do::Accept, Do::Confirm, Do::Wake(2)])
            .events(1, &[Nmi, MachineCheck]),
        Config { mortality: Mortality::MayDie, ..hlt("hlt-seize") }.holders(&[Do::Wake(0)], &[Do::Seize, Do::Wake(2)]),
        Config { mortality: Mortality::MayDie, ..mwait("mwait-seize") }
            .holders(&[Do::Wake(0)], &[Do::Seize, Do::Wake(2)]),
        Config { mortality: Mortality::MayDie, ..clgi("clgi-seize") }
            .holders(&[Do::Wake(0), Do::HandOver], &[Do::Seize, Do::Confirm, Do::Wake(2)])
            .events(1, &[MachineCheck]),
        Config { mortality: Mortality::MayDie, ..clgi("clgi-seize-hold") }
            .holders(&[Do::Hold, Do::Release, Do::HandOver], &[Do::Seize, Do::Confirm, Do::Wake(2)]),
        Config { mortality: Mortality::MayDie, ..hlt("hlt-seize-hand-over") }
            .holders(&[Do::Confirm, Do::HandOver], &[Do::Seize, Do::Confirm, Do::Wake(2)]),
        Config { mortality: Mortality::MayDie, ..hlt("hlt-seize-events") }
            .holders(&[Do::Wake(0)], &[Do::Seize, Do::Wake(2)])
            .events(1, &[Nmi, Init]),
        Config { mortality: Mortality::MayDie, time: Time::Hasty, ..clgi("clgi-seize-hasty") }
            .holders(&[Do::Wake(0), Do::Wake(1)], &[Do::Seize, Do::Wake(2), Do::Wake(3)])
            .events(1, &[Init]),
        Config { pinned: STORES_WAKE, ..mwait("mwait-wake-2") }.events(2, &[Nmi, MachineCheck, Smi, Init, FalseWake]),
        hlt("hlt-accept-events")
            .holders(&[Do::Confirm, Do::HandOver], &[Do::Accept, Do::Wake(2)])
            .events(1, &[Nmi, MachineCheck, Init]),
        // Two crashes in a row: the one that takes over dies too.
        Config { mortality: Mortality::BothMayDie, third: &[Do::Seize, Do::Wake(3)], ..hlt("hlt-seize-twice") }
            .holders(&[Do::Wake(0)], &[Do::Seize, Do::Wake(2)]),
        Config { mortality: Mortality::BothMayDie, third: &[Do::Seize, Do::Wake(3)], ..clgi("clgi-seize-twice") }
            .holders(&[Do::Hold, Do::Release, Do::HandOver], &[Do::Seize, Do::Wake(2)]),
        Config { mortality: Mortality::NewMayDie, third: &[Do::Seize, Do::Wake(3)], ..mwait("mwait-accept-crash") }
            .holders(&[Do::Confirm, Do::HandOver], &[Do::Accept, Do::Wake(2)]),
        // What else may come: SMIs on which all CPUs meet, machine checks that reach all, busy ICRs, vectors, devices.
        Config { pinned: &[], ..hlt("hlt-smm-rendezvous") }.events(1, &[Smi]),
        Config { pinned: &[(Knob::SmmRendezvous, 0)], ..Config::new("hlt-amd", Vendor::Amd, Mechanism::Hlt) }
            .holders(&[], &[])
            .events(1, &[MachineCheck]),
        Config { time: Time::Hasty, flags: WaitFlags::MONITOR, ..clgi("clgi-monitor-lost") },
        Config { monitor_line: MonitorLine::Doorbell, ..mwait("mwait-near") }.holders(&[Do::Confirm, Do::Wake(0)], &[]),
        mwait("mwait-vector").events(1, &[Fixed(STRAY_VECTOR)]),
        Config { device_writes: 2, mwait_hint: 0x20, ..mwait("mwait-device") },
        Config { device_writes: 2, ..Config::new("mwait-device-amd", Vendor::Amd, Mechanism::Mwait) },
        // To another lot.
        hlt("hlt-repark").holders(REPARK, &[]),
        clgi("clgi-repark").holders(REPARK, &[]).events(1, &[Nmi, MachineCheck]),
        // The ACPI mailbox, with an operating system as partner.
        Config { flags: WaitFlags::MAILBOX, pinned: STORES_WAKE, ..mwait("mwait-mailbox") }
            .holders(&[Do::Mailbox(Post::Test), Do::Mailbox(Post::Wakeup)], &[])
            .events(1, &[Nmi, MachineCheck, Smi, FalseWake]),
        Config { flags: WaitFlags::MAILBOX, ..hlt("hlt-mailbox") }
            .holders(&[Do::Mailbox(Post::Test), Do::Mailbox(Post::Wakeup)], &[])
            .events(1, &[Nmi, MachineCheck]),
        Config { flags: WaitFlags::MAILBOX, time: Time::Hasty, ..hlt("hlt-mailbox-others") }
            .holders(&[Do::Mailbox(Post::Unknown), Do::Mailbox(Post::ToAnother), Do::Mailbox(Post::TooFar)], &[])
            .events(1, &[Nmi]),
        Config { flags: WaitFlags::MAILBOX, pinned: STORES_WAKE, time: Time::Hasty, ..mwait("mwait-mailbox-next") }
            .holders(&[Do::Mailbox(Post::Wakeup), Do::Mailbox(Post::ToAnother)], &[])
            .events(1, &[Nmi, MachineCheck]),
        Config { flags: WaitFlags::MAILBOX, ..hlt("hlt-mailbox-doorbell") }
            .holders(&[Do::Wake(0)], &[Do::Mailbox(Post::Wakeup)]),
        // NMIs inside NMIs, and inside machine checks.
        hlt("hlt-nested").events(2, &[Nmi, Smi]),
        hlt("hlt-nested-mc").holders(&[], &[]).events(4, &[MachineCheck, Nmi, Smi]),
        // Exceptions that nobody has thought of, anywhere.
        Config { faults: Faults::ByException, exceptions: EXCEPTIONS, ..hlt("hlt-exceptions") }
            .holders(&[], &[])
            .events(1, &[]),
        Config { faults: Faults::ByException, exceptions: &[13], time: Time::Hasty, ..clgi("clgi-exception") }
            .events(2, &[Nmi]),
        // A CPU that is gone: what arrives there.
        Config { afterwards: Afterwards::GoesOn, ..hlt("hlt-gone") }
            .holders(&[], &[])
            .events(3, &[Init, Nmi, MachineCheck, Smi]),
        Config { afterwards: Afterwards::GoesOn, ..Config::new("hlt-gone-amd", Vendor::Amd, Mechanism::Hlt) }
            .holders(&[], &[])
            .events(3, &[Init, Nmi, MachineCheck, Smi, Fixed(STRAY_VECTOR)]),
        // The way in, from the owner text.
        Config { start: Start::Arrival, flags: WaitFlags::WBINVD, ..hlt("hlt-arrival") }
            .holders(&[Do::AwaitArrival], &[])
            .events(1, &[Nmi, MachineCheck, Smi, Init]),
        Config { start: Start::Arrival, ..clgi("clgi-arrival") }
            .holders(&[Do::AwaitArrival, Do::Confirm], &[])
            .events(1, &[Nmi, MachineCheck]),
        Config { start: Start::Arrival, levels: PagingLevels::Five, ..hlt("hlt-arrival-5-level") }
            .holders(&[Do::AwaitArrival], &[])
            .events(1, &[Nmi, MachineCheck]),
        Config { start: Start::Arrival, faults: Faults::ByMachineCheck, ..mwait("mwait-arrival-fatal") }
            .holders(&[Do::AwaitArrival], &[])
            .events(1, &[MachineCheckFatal]),
        // Machine checks that end in a fault record, and entries that no CPU can take.
        Config { faults: Faults::ByMachineCheck, mc_row: 15, ..hlt("hlt-storm") }
            .events(1, &[MachineCheck, MachineCheckFatal]),
        Config { faults: Faults::ByMachineCheck, mc_row: 14, ..clgi("clgi-storm") }
            .events(2, &[MachineCheck, MachineCheckFatal]),
        Config { faults: Faults::ByBadEntry, ..hlt("hlt-bad-root") }
            .holders(&[Do::WakeByBadRoot], &[])
            .events(1, &[Nmi]),
        Config { faults: Faults::ByBadEntry, ..clgi("clgi-bad-rip") }
            .holders(&[Do::WakeToBadRip], &[])
            .events(1, &[MachineCheck]),
    ]
}
