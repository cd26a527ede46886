//! The checks.

use super::{Check, Finding, Gap, Interrupts, MapEntry, MemoryType, Outcome, Platform, Report, Scratch};
use park_core::lot::ApicMode;
use park_core::{ApicId, PlatformError};

/// How far a stated rate may be from a measured one, in percent: Linux believes two calibrations of the TSC that differ by
/// less (arch/x86/kernel/tsc.c, `pit_hpet_ptimer_calibrate_cpu`).
const RATE_TOLERANCE_PERCENT: u64 = 10;
/// How long the clock is compared with the other one, in microseconds: less than one period of PIT channel 2 (54.9 ms).
const RATE_WINDOW_US: u64 = 20_000;
/// How often: an SMI or a hypervisor only ever makes the time too long, so the shortest counts.
const RATE_TRIES: u32 = 3;
/// Pauses in which a second NMI or a second landing would show.
const SETTLE_PAUSES: u32 = 100;
/// Ids that differ by this are the same in eight bits.
const XAPIC_IDS: u32 = 256;
/// The id that means everybody in xAPIC mode (Intel SDM vol. 3, "Physical Destination Mode").
const XAPIC_BROADCAST: ApicId = ApicId(255);
/// Vector of a STARTUP that nobody takes: page 0.
const NO_VECTOR: u8 = 0;
/// Bytes of a word.
const WORD: u64 = 8;
/// Two words that differ in every bit.
const PATTERNS: [u64; 2] = [0x5555_aaaa_0f0f_c3c3, !0x5555_aaaa_0f0f_c3c3];

/// What one check comes to on the way: a finding ends it, a gap too.
enum Ends {
    Fails(Finding),
    NotShown(Gap),
}

impl From<Finding> for Ends {
    fn from(finding: Finding) -> Self {
        Self::Fails(finding)
    }
}

impl From<PlatformError> for Ends {
    fn from(error: PlatformError) -> Self {
        Self::Fails(Finding::Refused { error })
    }
}

type Checked = Result<(), Ends>;

/// Checks a platform, every [`Check`] once, and names what is wrong.
///
/// A clean report says that nothing went wrong while it was looked at. It does *not* say that nothing ever will: stores and
/// IPIs that race do so now and then.
#[must_use]
pub fn check<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Report {
    let before = platform.load(scratch.word);
    let outcomes = Check::ALL.map(|check| {
        let checked = match check {
            Check::LotAccess => lot_access(platform, scratch),
            Check::LotBounds => lot_bounds(platform, scratch),
            Check::LotType => lot_type(platform),
            Check::LotReserved => lot_reserved(platform),
            Check::ClockRuns => clock_runs(platform, scratch),
            Check::ClockRate => clock_rate(platform),
            Check::ClockAgrees => clock_agrees(platform, scratch),
            Check::NmiOnce => nmi_once(platform, scratch),
            Check::StoreFirst => store_first(platform, scratch),
            Check::WideIds => wide_ids(platform, scratch),
            Check::Summon => summon(platform, scratch),
        };
        match checked {
            Ok(()) => Outcome::Holds,
            Err(Ends::Fails(finding)) => Outcome::Fails(finding),
            Err(Ends::NotShown(gap)) => Outcome::NotShown(gap),
        }
    });
    if let Ok(before) = before {
        // A word that can't be put back has been found out above.
        let _ = platform.store(scratch.word, before);
    }
    Report { outcomes }
}

fn target(scratch: &Scratch) -> Result<ApicId, Ends> {
    scratch.target.ok_or(Ends::NotShown(Gap::NoOtherCpu))
}

fn lot_access<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let [first, second] = PATTERNS;
    for stored in [first, second] {
        platform.store(scratch.word, stored)?;
        let read = platform.load(scratch.word)?;
        if read != stored {
            return Err(Finding::StoreLost { stored, read }.into());
        }
    }
    // The second is there. One that must fail, then one that must succeed.
    for (current, expected) in [(first, second), (second, first)] {
        let found = platform.compare_exchange(scratch.word, current, first)?;
        if found != second {
            return Err(Finding::CompareExchangeWrong { expected: second, found }.into());
        }
        let found = platform.load(scratch.word)?;
        if found != expected {
            return Err(Finding::CompareExchangeWrong { expected, found }.into());
        }
    }
    Ok(())
}

fn lot_bounds<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let len = platform.len();
    platform.load(len.saturating_sub(WORD))?;
    // The last sum overflows.
    for offset in [len, len.saturating_add(WORD), u64::MAX - (WORD - 1)] {
        if platform.load(offset).is_ok() {
            return Err(Finding::OutOfBounds { offset }.into());
        }
    }
    for offset in [scratch.word + 1, scratch.word + WORD / 2] {
        if platform.load(offset).is_ok() {
            return Err(Finding::Unaligned { offset }.into());
        }
    }
    Ok(())
}

fn lot_type<P: Platform + ?Sized>(platform: &mut P) -> Checked {
    match platform.lot_memory_type() {
        MemoryType::WriteBack => Ok(()),
        found => Err(Finding::NotWriteBack { found }.into()),
    }
}

fn lot_reserved<P: Platform + ?Sized>(platform: &mut P) -> Checked {
    match platform.lot_in_map() {
        MapEntry::Reserved => Ok(()),
        found => Err(Finding::NotReserved { found }.into()),
    }
}

fn clock_runs<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let start = platform.now();
    let mut last = start;
    for _ in 0..scratch.rounds {
        let now = platform.now();
        if now < last {
            return Err(Finding::ClockBackwards { ticks: last - now }.into());
        }
        last = now;
    }
    for _ in 0..scratch.pauses {
        if platform.now() != start {
            return Ok(());
        }
        platform.pause();
    }
    Err(Finding::ClockStands.into())
}

fn clock_rate<P: Platform + ?Sized>(platform: &mut P) -> Checked {
    let stated = platform.ticks_per_second();
    let mut shortest = u64::MAX;
    for _ in 0..RATE_TRIES {
        let start = platform.now();
        if !platform.pass_us(RATE_WINDOW_US) {
            return Err(Ends::NotShown(Gap::NoOtherClock));
        }
        shortest = shortest.min(platform.now().saturating_sub(start));
    }
    let measured = shortest.saturating_mul(1_000_000 / RATE_WINDOW_US);
    let tolerance = stated / 100 * RATE_TOLERANCE_PERCENT;
    if stated == 0 || measured.abs_diff(stated) > tolerance {
        return Err(Finding::ClockRate { stated, measured }.into());
    }
    Ok(())
}

fn clock_agrees<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let cpu = target(scratch)?;
    for _ in 0..scratch.rounds {
        let before = platform.now();
        let there = platform.now_on(cpu).ok_or(Ends::NotShown(Gap::CannotAsk))?;
        let after = platform.now();
        let ticks = before.saturating_sub(there).max(there.saturating_sub(after));
        if ticks != 0 {
            return Err(Finding::ClockDiffers { cpu, ticks }.into());
        }
    }
    Ok(())
}

fn settle<P: Platform + ?Sized>(platform: &mut P) {
    for _ in 0..SETTLE_PAUSES {
        platform.pause();
    }
}

/// Waits until `cpu` has counted an NMI more than `before`.
fn await_nmi<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch, cpu: ApicId, before: u64) -> Checked {
    for _ in 0..scratch.pauses {
        if platform.nmi_count(cpu) != before {
            return Ok(());
        }
        platform.pause();
    }
    Err(Finding::NmiLost.into())
}

fn nmi_once<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let cpu = target(scratch)?;
    let others = [Some(platform.executing()), scratch.bystander];
    for _ in 0..scratch.rounds {
        let before = platform.nmi_count(cpu);
        let others_before = others.map(|other| other.map_or(0, |other| platform.nmi_count(other)));
        platform.send_nmi(cpu)?;
        let came = await_nmi(platform, scratch, cpu, before);
        settle(platform);
        // One that went astray says more than that none came.
        for (other, before) in others.into_iter().zip(others_before) {
            match other {
                Some(cpu) if platform.nmi_count(cpu) != before => return Err(Finding::NmiElsewhere { cpu }.into()),
                _ => {}
            }
        }
        came?;
        let times = platform.nmi_count(cpu).wrapping_sub(before);
        if times != 1 {
            return Err(Finding::NmiCounted { times }.into());
        }
    }
    Ok(())
}

fn store_first<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let cpu = target(scratch)?;
    platform.watch(scratch.word);
    let mut stored = platform.load(scratch.word)?;
    for _ in 0..scratch.rounds {
        stored = stored.wrapping_add(1);
        let before = platform.nmi_count(cpu);
        platform.store(scratch.word, stored)?;
        platform.send_nmi(cpu)?;
        await_nmi(platform, scratch, cpu, before)?;
        let seen = platform.nmi_saw(cpu);
        let read = platform.load(scratch.word)?;
        if read != stored {
            return Err(Finding::StoreLost { stored, read }.into());
        }
        if seen != stored {
            return Err(Finding::StoreAfterIpi { stored, seen }.into());
        }
    }
    Ok(())
}

/// Whatever such an IPI reaches lives: handlers count NMIs, and a CPU that runs drops a STARTUP.
fn wide_ids<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    if platform.apic_mode() == ApicMode::X2Apic {
        return Err(Ends::NotShown(Gap::X2Apic));
    }
    let named = scratch.target.unwrap_or_else(|| platform.executing());
    let id = ApicId(named.0.wrapping_add(XAPIC_IDS));
    let accepted = [platform.send_nmi(id).is_ok(), platform.send_startup(id, NO_VECTOR).is_ok()];
    let broadcast = platform.send_nmi(XAPIC_BROADCAST).is_ok();
    settle(platform);
    if accepted.contains(&true) {
        return Err(Finding::WideIdAccepted { id }.into());
    }
    if broadcast { Err(Finding::BroadcastAccepted.into()) } else { Ok(()) }
}

fn summon<P: Platform + ?Sized>(platform: &mut P, scratch: &Scratch) -> Checked {
    let cpu = target(scratch)?;
    // Whoever came before was not summoned by this.
    for _ in 0..scratch.rounds {
        if platform.landed().is_none() {
            break;
        }
    }
    match platform.summon(cpu, scratch.bay_index) {
        Err(PlatformError::CannotSummon) => return Err(Ends::NotShown(Gap::CannotSummon)),
        other => other?,
    }
    let mut landing = None;
    for _ in 0..scratch.pauses {
        landing = platform.landed();
        if landing.is_some() {
            break;
        }
        platform.pause();
    }
    let landing = landing.ok_or(Finding::SummonLost)?;
    settle(platform);
    let finding = if landing.apic_id != cpu {
        Finding::SummonedElsewhere { cpu: landing.apic_id }
    } else if landing.bay_index != scratch.bay_index {
        Finding::SummonedToOtherBay { bay_index: landing.bay_index }
    } else if landing.interrupts == Interrupts::On {
        Finding::SummonedInterruptible
    } else if platform.landed().is_some() {
        Finding::SummonedTwice
    } else {
        return Ok(());
    };
    Err(finding.into())
}
