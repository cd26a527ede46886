//! What the benches measure on: a lot in plain memory, and worlds of the simulator.
#![forbid(unsafe_code)]

pub mod doorbell;
pub mod guest;

use cpu_park::detect;
use park_core::lot::{Layout, Lot, PagingLevels};
use park_core::op::Bay;
use park_core::{ApicId, Clock, IpiSender, LotMemory, Mechanism, PhysAddr, PlatformError, Ticks};
use park_sim::machine::MachineConfig;
use park_sim::machine::schedule::Rates;
use park_sim::world::{DEFAULT_LOT, ParkRequest, World, WorldError};
use park_x86::builder::{LotParameters, build};

/// Where the lots of the benches lie.
pub const LOT_PHYS: PhysAddr = PhysAddr(0x0100_0000);
/// Bytes of the largest monitor line of ordinary CPUs.
pub const MONITOR_LINE: u64 = 64;
/// Instructions of one turn around a lot: parking, waking, landing and parking again must take at least so many.
const TURN_STEPS_MIN: u64 = 100;

/// A lot in plain memory.
#[derive(Clone, Debug)]
pub struct PlainLot {
    words: Vec<u64>,
}

impl PlainLot {
    /// Zeroed memory of `len` bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { words: vec![0; usize::try_from(len / 8).unwrap_or(0)] }
    }

    fn word(&mut self, offset: u64) -> Result<&mut u64, PlatformError> {
        let index = usize::try_from(offset / 8).ok().filter(|_| offset.is_multiple_of(8));
        index.and_then(|index| self.words.get_mut(index)).ok_or(PlatformError::OutOfBounds { offset })
    }
}

impl LotMemory for PlainLot {
    fn len(&self) -> u64 {
        8 * self.words.len() as u64
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.word(offset).copied()
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        *self.word(offset)? = value;
        Ok(())
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let word = self.word(offset)?;
        let found = *word;
        if found == current {
            *word = new;
        }
        Ok(found)
    }
}

/// A clock that moves by one tick on each reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingClock {
    now: Ticks,
}

impl Clock for CountingClock {
    fn now(&mut self) -> Ticks {
        self.now += 1;
        self.now
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }
}

/// IPIs that nobody receives.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl IpiSender for Nobody {
    fn send_nmi(&mut self, _target: ApicId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn send_init(&mut self, _target: ApicId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn send_startup(&mut self, _target: ApicId, _vector: u8) -> Result<(), PlatformError> {
        Ok(())
    }
}

/// What a lot of `bays` bays is built from.
///
/// # Errors
/// Those of [`Layout::new`].
pub fn parameters(bays: u32) -> Result<LotParameters, park_core::Error> {
    let layout = Layout::new(bays, MONITOR_LINE)?;
    Ok(LotParameters { phys: LOT_PHYS, layout, lot_id: [1, 2], encryption_mask: 0, mailbox: None })
}

/// Builds a lot of `bays` bays in plain memory.
///
/// # Errors
/// Those of [`build`].
pub fn plain_lot(bays: u32) -> Result<(PlainLot, Lot), park_core::Error> {
    let parameters = parameters(bays)?;
    let mut memory = PlainLot::new(parameters.layout.total_len());
    let lot = build(&mut memory, &parameters)?;
    Ok((memory, lot))
}

/// Two simulated Intel CPUs and a lot; all checks are on, as in every scenario.
#[derive(Clone, Debug)]
pub struct TwoCpus {
    /// The world.
    pub world: World,
    request: ParkRequest,
    bay: Bay,
}

impl TwoCpus {
    /// Boots, builds a lot and parks CPU 1 by HLT.
    ///
    /// # Errors
    /// Those of [`World`].
    pub fn parked(seed: u64) -> Result<Self, WorldError> {
        let config = MachineConfig::intel(2);
        let cpuid = config.cpuid.clone();
        let machine = detect(|leaf, subleaf| {
            let regs = cpuid.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        });
        let unavailable = |_| park_core::Error::new(park_core::ErrorKind::NotSupported, "no HLT on this machine");
        let orders = machine.orders(Mechanism::Hlt, u32::MAX).map_err(unavailable)?;
        let request = ParkRequest::new(1, Mechanism::Hlt, orders.wait_flags, orders.mwait_hint, orders.steps());
        let mut world = World::boot(config, PagingLevels::Four, seed)?;
        // The schedule draws who moves and when stores drain; translations live until something flushes them.
        world.scheduler.rates = Rates { evict: 0, false_wake: 0, ..world.scheduler.rates };
        world.build_lot(DEFAULT_LOT, 2)?;
        let bay = world.park(0, request.clone())?;
        Ok(Self { world, request, bay })
    }

    /// Wakes CPU 1, lets it land in the kernel, and parks it again. Returns how many instructions that took: see
    /// [`World::instructions`].
    ///
    /// # Errors
    /// Those of [`World`].
    pub fn turn(&mut self) -> Result<u64, WorldError> {
        let before = self.world.instructions();
        self.world.wake(0, 1, self.bay)?;
        self.bay = self.world.park(0, self.request.clone())?;
        Ok(self.world.instructions() - before)
    }

    /// Whether a turn of so many steps can have gone all the way round.
    #[must_use]
    pub const fn is_whole_turn(steps: u64) -> bool {
        steps >= TURN_STEPS_MIN
    }
}
