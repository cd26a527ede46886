//! Platforms that are wrong in one way each, around one that is right.

use park_conformance::platform::{Finding, Interrupts, Landing, MapEntry, MemoryType, Platform};
use park_core::lot::ApicMode;
use park_core::{ApicId, Clock, IpiSender, LotMemory, PlatformError, Summon, Ticks};

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// A TSC rate in kHz given as Hz.
    RateInKilohertz,
    /// A 32-bit counter that is widened wrongly.
    ClockWraps,
    /// A clock that nobody started.
    ClockStands,
    /// TSCs that were never synchronised.
    OtherClockAhead,
    /// The ICR write is lost.
    NmiLost,
    /// The ICR write is retried although it went out.
    NmiSentTwice,
    /// The message goes to everybody but the sender.
    NmiToAllButSelf,
    /// No fence before a WRMSR to the x2APIC ICR: the last store is still in the store buffer.
    NoFence,
    /// Ids are cut to eight bits.
    IdsCut,
    /// The same, by what sends STARTUPs alone.
    StartupIdsCut,
    /// 255 passes as an id.
    BroadcastIsAnId,
    /// The lot is mapped as a device is.
    LotUncached,
    /// The lot is left usable in the map.
    LotUsable,
    /// The lot is in NVS, which a resume restores.
    LotInNvs,
    /// Bounds are those of the pages, not of the lot.
    NoBounds,
    /// Words at any byte.
    AnyByte,
    /// Compare-exchange in two halves that returns what it wanted to see.
    ExchangeReturnsCurrent,
    /// A store that a register keeps.
    StoreKept,
    /// The summons goes to the next CPU.
    SummonNext,
    /// The function call is made with interrupts on.
    SummonInterruptible,
    /// The bay's index is lost on the way.
    SummonToFirstBay,
    /// The call is queued and never run.
    SummonNever,
    /// The call is queued twice.
    SummonTwice,
}

/// The flaws, each with the name of what a check must find.
pub(crate) const FLAWS: [(Flaw, &str); 23] = [
    (Flaw::RateInKilohertz, "clock-rate"),
    (Flaw::ClockWraps, "clock-backwards"),
    (Flaw::ClockStands, "clock-stands"),
    (Flaw::OtherClockAhead, "clock-differs"),
    (Flaw::NmiLost, "nmi-lost"),
    (Flaw::NmiSentTwice, "nmi-counted"),
    (Flaw::NmiToAllButSelf, "nmi-elsewhere"),
    (Flaw::NoFence, "store-after-ipi"),
    (Flaw::IdsCut, "wide-id-accepted"),
    (Flaw::StartupIdsCut, "wide-id-accepted"),
    (Flaw::BroadcastIsAnId, "broadcast-accepted"),
    (Flaw::LotUncached, "not-write-back"),
    (Flaw::LotUsable, "not-reserved"),
    (Flaw::LotInNvs, "not-reserved"),
    (Flaw::NoBounds, "out-of-bounds"),
    (Flaw::AnyByte, "unaligned"),
    (Flaw::ExchangeReturnsCurrent, "compare-exchange-wrong"),
    (Flaw::StoreKept, "store-lost"),
    (Flaw::SummonNext, "summoned-elsewhere"),
    (Flaw::SummonInterruptible, "summoned-interruptible"),
    (Flaw::SummonToFirstBay, "summoned-to-other-bay"),
    (Flaw::SummonNever, "summon-lost"),
    (Flaw::SummonTwice, "summoned-twice"),
];

/// Pauses after which a second landing comes.
const LATER_PAUSES: u32 = 20;

/// A platform with a flaw.
#[derive(Debug)]
pub(crate) struct Wrong<P> {
    pub(crate) inner: P,
    pub(crate) flaw: Flaw,
    /// CPUs that a message to all reaches.
    pub(crate) all: [ApicId; 3],
    reads: u64,
    /// A store that has not left the CPU.
    kept: Option<(u64, u64)>,
    /// A second landing, and after how many pauses it comes.
    last_landing: Option<(Landing, u32)>,
}

impl<P: Platform> Wrong<P> {
    pub(crate) const fn new(inner: P, flaw: Flaw) -> Self {
        Self { inner, flaw, all: [ApicId(0), ApicId(1), ApicId(2)], reads: 0, kept: None, last_landing: None }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn spoil(&mut self, now: Ticks) -> Ticks {
        match self.flaw {
            Flaw::ClockStands => 1,
            // The 100th reading wraps.
            Flaw::ClockWraps if self.reads >= 100 => now % 7,
            _ => now,
        }
    }

    /// What is still in the store buffer becomes visible: after the IPI went out.
    fn drain(&mut self) -> Result<(), PlatformError> {
        self.kept.take().map_or(Ok(()), |(offset, value)| self.inner.store(offset, value))
    }

    fn cut(&self, target: ApicId) -> ApicId {
        if self.has(Flaw::IdsCut) { ApicId(target.0 & 0xff) } else { target }
    }
}

impl<P: Platform> LotMemory for Wrong<P> {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        match (self.kept, self.flaw) {
            // The CPU sees its own stores first.
            (Some((kept, value)), Flaw::NoFence) if kept == offset => Ok(value),
            (_, Flaw::NoBounds) if offset & 7 == 0 => self.inner.load(offset % self.inner.len()),
            (_, Flaw::AnyByte) => self.inner.load(offset & !7),
            _ => self.inner.load(offset),
        }
    }
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        if self.has(Flaw::StoreKept) {
            return Ok(());
        }
        if self.has(Flaw::NoFence) {
            self.drain()?;
            self.kept = Some((offset, value));
            return Ok(());
        }
        self.inner.store(offset, value)
    }
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        self.drain()?;
        let found = self.inner.compare_exchange(offset, current, new)?;
        Ok(if self.has(Flaw::ExchangeReturnsCurrent) { current } else { found })
    }
}

impl<P: Platform> Clock for Wrong<P> {
    fn now(&mut self) -> Ticks {
        self.reads += 1;
        let now = self.inner.now();
        self.spoil(now)
    }
    fn ticks_per_second(&self) -> u64 {
        let ticks = self.inner.ticks_per_second();
        if self.has(Flaw::RateInKilohertz) { ticks / 1000 } else { ticks }
    }
}

impl<P: Platform> IpiSender for Wrong<P> {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        let target = self.cut(target);
        match self.flaw {
            Flaw::NmiLost if target <= ApicId::XAPIC_MAX => Ok(()),
            Flaw::NmiSentTwice => {
                self.inner.send_nmi(target)?;
                self.inner.pause();
                self.inner.send_nmi(target)
            }
            Flaw::NmiToAllButSelf if target <= ApicId::XAPIC_MAX => {
                let own = self.inner.executing();
                self.all.into_iter().filter(|id| *id != own).try_for_each(|id| self.inner.send_nmi(id))
            }
            Flaw::BroadcastIsAnId if target == ApicId(255) => Ok(()),
            Flaw::NoFence => {
                self.inner.send_nmi(target)?;
                // Handlers run before the store is visible.
                for _ in 0..1000 {
                    self.inner.pause();
                }
                self.drain()
            }
            _ => self.inner.send_nmi(target),
        }
    }
    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.inner.send_init(target)
    }
    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        let cut = ApicId(target.0 & 0xff);
        let target = if self.has(Flaw::StartupIdsCut) { cut } else { self.cut(target) };
        self.inner.send_startup(target, vector)
    }
}

impl<P: Platform> Summon for Wrong<P> {
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        match self.flaw {
            Flaw::SummonNext => self.inner.summon(ApicId(target.0 + 1), bay_index),
            Flaw::SummonToFirstBay => self.inner.summon(target, 0),
            Flaw::SummonNever => Ok(()),
            _ => self.inner.summon(target, bay_index),
        }
    }
}

impl<P: Platform> Platform for Wrong<P> {
    fn executing(&mut self) -> ApicId {
        self.inner.executing()
    }
    fn pause(&mut self) {
        self.inner.pause();
        if let Some((_, pauses)) = &mut self.last_landing {
            *pauses = pauses.saturating_sub(1);
        }
    }
    fn pass_us(&mut self, duration_us: u64) -> bool {
        self.inner.pass_us(duration_us)
    }
    fn now_on(&mut self, cpu: ApicId) -> Option<Ticks> {
        let now = self.inner.now_on(cpu)?;
        let ahead = if self.has(Flaw::OtherClockAhead) { 1_000_000 } else { 0 };
        Some(self.spoil(now) + ahead)
    }
    fn nmi_count(&mut self, cpu: ApicId) -> u64 {
        self.inner.nmi_count(cpu)
    }
    fn watch(&mut self, offset: u64) {
        self.inner.watch(offset);
    }
    fn nmi_saw(&mut self, cpu: ApicId) -> u64 {
        self.inner.nmi_saw(cpu)
    }
    fn apic_mode(&mut self) -> ApicMode {
        self.inner.apic_mode()
    }
    fn lot_memory_type(&mut self) -> MemoryType {
        if self.has(Flaw::LotUncached) { MemoryType::Uncached } else { self.inner.lot_memory_type() }
    }
    fn lot_in_map(&mut self) -> MapEntry {
        match self.flaw {
            Flaw::LotUsable => MapEntry::Usable,
            Flaw::LotInNvs => MapEntry::Nvs,
            _ => self.inner.lot_in_map(),
        }
    }
    fn landed(&mut self) -> Option<Landing> {
        if let Some((landing, 0)) = self.last_landing {
            self.last_landing = None;
            return Some(landing);
        }
        let mut landing = self.inner.landed()?;
        if self.has(Flaw::SummonInterruptible) {
            landing.interrupts = Interrupts::On;
        }
        if self.has(Flaw::SummonTwice) {
            self.last_landing = Some((landing, LATER_PAUSES));
        }
        Some(landing)
    }
}

/// Names of findings, each once.
pub(crate) fn names(findings: impl Iterator<Item = Finding>) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = findings.map(Finding::name).collect();
    names.dedup();
    names
}
