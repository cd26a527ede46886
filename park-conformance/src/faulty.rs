//! IPIs that are lost, late or doubled: what hardware, firmware and hypervisors do to them.

use crate::platform::{Landing, MapEntry, MemoryType, Platform};
use park_core::lot::ApicMode;
use park_core::{ApicId, Clock, IpiSender, LotMemory, PlatformError, Summon, Ticks};

/// How often an IPI goes wrong, each out of 256. What is left over goes right. Losses count first, then delays, then doubles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Faults {
    /// How many of 256 are lost.
    pub lost_of_256: u16,
    /// How many of 256 are late.
    pub late_of_256: u16,
    /// How many of 256 come twice.
    pub doubled_of_256: u16,
    /// How late, in ticks of the platform's clock.
    pub delay_ticks: Ticks,
}

/// What became of the IPIs so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tally {
    /// IPIs that were to be sent.
    pub asked: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// Those of them that were, or are still to be, late.
    pub late: u64,
    /// Those of them that were sent twice.
    pub doubled: u64,
    /// Late ones that the platform refused when their time came: nobody was told.
    pub refused_late: u64,
}

/// IPIs that can be under way at once; one more is sent at once.
const UNDER_WAY_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Message {
    Nmi,
    Init,
    Startup(u8),
}

#[derive(Clone, Copy, Debug)]
struct Late {
    due: Ticks,
    target: ApicId,
    message: Message,
}

/// A platform whose IPIs are lost, late or doubled; all else is the platform's own.
///
/// Deterministic: the same seed and the same calls meet the same faults. An IPI that is late is sent by the first reading of
/// the [`Clock`] at which its time has come. `Ok` from a send means what it always means: that the local APIC has the message.
/// An id that the platform refuses is refused only where the message is sent at once.
#[derive(Clone, Debug)]
pub struct Faulty<P> {
    inner: P,
    faults: Faults,
    state: u64,
    under_way: [Option<Late>; UNDER_WAY_MAX],
    tally: Tally,
}

impl<P> Faulty<P> {
    /// `inner`, with faults that `seed` decides.
    #[must_use]
    pub const fn new(inner: P, faults: Faults, seed: u64) -> Self {
        let tally = Tally { asked: 0, lost: 0, late: 0, doubled: 0, refused_late: 0 };
        Self { inner, faults, state: seed, under_way: [None; UNDER_WAY_MAX], tally }
    }

    /// From now on other faults. What is under way stays so.
    pub const fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What became of the IPIs so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The platform.
    pub const fn inner(&mut self) -> &mut P {
        &mut self.inner
    }

    /// The platform; what is still under way is lost.
    #[must_use]
    pub fn into_inner(self) -> P {
        self.inner
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014): its lowest byte.
    fn draw(&mut self) -> u16 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as u16 & 0xff
    }
}

impl<P: IpiSender> Faulty<P> {
    fn pass_on(&mut self, target: ApicId, message: Message) -> Result<(), PlatformError> {
        match message {
            Message::Nmi => self.inner.send_nmi(target),
            Message::Init => self.inner.send_init(target),
            Message::Startup(vector) => self.inner.send_startup(target, vector),
        }
    }

    fn serve(&mut self, now: Ticks) {
        for slot in 0..UNDER_WAY_MAX {
            let Some(late) = self.under_way.get(slot).copied().flatten().filter(|late| late.due <= now) else {
                continue;
            };
            self.under_way[slot] = None;
            self.tally.refused_late += u64::from(self.pass_on(late.target, late.message).is_err());
        }
    }
}

impl<P: IpiSender + Clock> Faulty<P> {
    fn send(&mut self, target: ApicId, message: Message) -> Result<(), PlatformError> {
        self.tally.asked += 1;
        let drawn = self.draw();
        let lost = self.faults.lost_of_256;
        let late = lost.saturating_add(self.faults.late_of_256);
        let doubled = late.saturating_add(self.faults.doubled_of_256);
        if drawn < lost {
            self.tally.lost += 1;
            return Ok(());
        }
        if drawn < late {
            let due = self.inner.now().saturating_add(self.faults.delay_ticks);
            if let Some(free) = self.under_way.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(Late { due, target, message });
                self.tally.late += 1;
                return Ok(());
            }
        } else if drawn < doubled {
            self.tally.doubled += 1;
            self.pass_on(target, message)?;
        }
        self.pass_on(target, message)
    }
}

impl<P: IpiSender + Clock> IpiSender for Faulty<P> {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(target, Message::Nmi)
    }
    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(target, Message::Init)
    }
    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.send(target, Message::Startup(vector))
    }
}

impl<P: IpiSender + Clock> Clock for Faulty<P> {
    fn now(&mut self) -> Ticks {
        let now = self.inner.now();
        self.serve(now);
        now
    }
    fn ticks_per_second(&self) -> u64 {
        self.inner.ticks_per_second()
    }
}

impl<P: LotMemory> LotMemory for Faulty<P> {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.inner.load(offset)
    }
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        self.inner.store(offset, value)
    }
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        self.inner.compare_exchange(offset, current, new)
    }
}

impl<P: Summon> Summon for Faulty<P> {
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        self.inner.summon(target, bay_index)
    }
}

impl<P: Platform> Platform for Faulty<P> {
    fn executing(&mut self) -> ApicId {
        self.inner.executing()
    }
    fn pause(&mut self) {
        self.inner.pause();
        let now = self.inner.now();
        self.serve(now);
    }
    fn pass_us(&mut self, duration_us: u64) -> bool {
        self.inner.pass_us(duration_us)
    }
    fn now_on(&mut self, cpu: ApicId) -> Option<Ticks> {
        self.inner.now_on(cpu)
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
        self.inner.lot_memory_type()
    }
    fn lot_in_map(&mut self) -> MapEntry {
        self.inner.lot_in_map()
    }
    fn landed(&mut self) -> Option<Landing> {
        self.inner.landed()
    }
}
