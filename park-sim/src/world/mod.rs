//! A machine with kernels, a lot and CPUs that park: the stage on which scenarios, properties and benches play.
//!
//! Kernels are memory and machine code ([`Kernel`]); what they *decide* is Rust, executed access by access on one of
//! their CPUs ([`World::drive`]), while all other CPUs go on ([`World::let_others_run`]).

mod agenda;
mod error;
mod foreign;
mod hand_on;
mod idle;
mod kernel;
mod kernel_code;
mod next;
mod parking;
mod record;
mod sanitising;
mod turn;

pub use error::WorldError;
pub use idle::IdleLoop;
pub use kernel::{FrameKind, KERNEL_CPUS_MAX, KERNEL_CS, KERNEL_LEN, Kernel, STARTUP_PAGE, Witness};
pub use kernel_code::KernelCode;
pub use next::OldMemory;
pub use parking::{HandlerKind, KICK_TICKS, PATIENCE_TICKS, ParkRequest};
pub use sanitising::{SanitiseStep, Sanitiser};

use crate::machine::{Event, Machine, MachineConfig, PhysRange, Scheduler, Tag};
use crate::platform::{Loader, OnCpu};
use crate::recording::Place;
use park_core::lot::{Layout, Lot, PagingLevels};
use park_core::op::{Lease, Operation, Reply, Step};
use park_core::{Clock, IpiSender, LotMemory, PhysAddr};
use park_x86::builder::{LotParameters, build};
use park_x86::features::Features;
use std::collections::BTreeMap;

/// Tag of memory that belongs to nobody.
pub const TAG_NOBODY: Tag = Tag(0);
/// Tag of the lot.
pub const TAG_LOT: Tag = Tag(1);
/// Tags of kernels: the first of them; the next kernel's is the next, around a ring of [`KERNEL_TAGS`].
pub const TAG_FIRST_KERNEL: u8 = 2;
/// Kernels of which memory may exist at once.
pub const KERNEL_TAGS: u8 = 4;
/// Where the lot lies unless a world is told otherwise.
pub const DEFAULT_LOT: PhysAddr = PhysAddr(0x0100_0000);
/// Where the first kernel's memory lies; the others follow.
const FIRST_KERNEL_PHYS: u64 = 0x0200_0000;
/// Linear address of the first kernel; each next one is [`KERNEL_BASE_STEP`] higher.
const FIRST_KERNEL_BASE: u64 = 0xffff_8000_0000_0000;
/// Distance of kernels in linear memory: another entry of the root, so that nothing of the last one serves.
const KERNEL_BASE_STEP: u64 = 1 << 39;
/// Linear slots for kernels before the first is used again.
const KERNEL_BASES: u64 = 200;
/// Bytes of RAM in a world: low memory, the lot, and room for [`KERNEL_TAGS`] kernels.
pub const RAM_LEN: u64 = FIRST_KERNEL_PHYS + KERNEL_TAGS as u64 * KERNEL_LEN;

/// A set of tags, one bit each: what [`Machine::set_allowed`] takes.
#[must_use]
pub const fn allow(tags: &[Tag]) -> u64 {
    let mut set = 0;
    let mut index = 0;
    while index < tags.len() {
        set |= 1 << tags[index].0;
        index += 1;
    }
    set
}

/// A lot in a world.
#[derive(Clone, Copy, Debug)]
pub struct LotInWorld {
    /// Its memory.
    pub range: PhysRange,
    /// The lot.
    pub lot: Lot,
    /// The lease of the current kernel.
    pub lease: Lease,
}

/// What a CPU may touch follows from where it is; the world keeps track by the bays' stages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Whereabouts {
    /// Under the current kernel.
    #[default]
    Kernel,
    /// On its way into the bay with this offset; the kernel's memory is still in use.
    Arriving(u64),
    /// In the bay with this offset.
    Parked(u64),
    /// In a foreign parker's memory, or taken by a kernel that knows nothing of park.
    Foreign,
}

/// A machine, its kernels, and a lot.
#[derive(Clone, Debug)]
pub struct World {
    /// The machine.
    pub machine: Machine,
    /// The seeded schedule.
    pub scheduler: Scheduler,
    /// The current kernel.
    pub kernel: Kernel,
    /// The lot, once there is one.
    pub lot: Option<LotInWorld>,
    levels: PagingLevels,
    kernels_so_far: u64,
    whereabouts: Vec<Whereabouts>,
    /// Writes to memory when each CPU's stage was last looked at.
    followed: Vec<u64>,
    sanitisers: Vec<Option<sanitising::InProgress>>,
    /// The tag of the kernel whose entry each CPU was last given.
    entry_tags: Vec<Tag>,
    host_accesses: u64,
    /// What the CPUs' kernels read from CPUID, once: it does not change while they run.
    features: Features,
    /// Events that are due when the machine has taken so many steps.
    agenda: BTreeMap<u64, Vec<Event>>,
}

impl World {
    /// Boots a first kernel on a machine made from `config` (its RAM is replaced): every CPU idles in it.
    ///
    /// # Errors
    /// [`WorldError`] if the machine can't be built, or has more CPUs than a kernel has room for.
    pub fn boot(mut config: MachineConfig, levels: PagingLevels, seed: u64) -> Result<Self, WorldError> {
        let cpus = config.cpus.len();
        if cpus > KERNEL_CPUS_MAX {
            return Err(WorldError::TooManyCpus { cpus });
        }
        config.ram = vec![PhysRange::new(0, RAM_LEN)];
        let features = Features::read(|leaf, subleaf| {
            let regs = config.cpuid.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        });
        let mut machine = Machine::new(&config)?;
        let kernel = Self::load_kernel(&mut machine, 0, levels, cpus)?;
        let mut world = Self {
            machine,
            scheduler: Scheduler::new(seed, cpus),
            kernel,
            lot: None,
            levels,
            kernels_so_far: 1,
            whereabouts: vec![Whereabouts::default(); cpus],
            followed: vec![0; cpus],
            sanitisers: vec![None; cpus],
            entry_tags: vec![TAG_NOBODY; cpus],
            host_accesses: 0,
            features,
            agenda: BTreeMap::new(),
        };
        for cpu in 0..cpus {
            world.kernel.run_idle(&mut world.machine, cpu);
            world.allow_kernel(cpu);
        }
        Ok(world)
    }

    fn load_kernel(
        machine: &mut Machine,
        number: u64,
        levels: PagingLevels,
        cpus: usize,
    ) -> Result<Kernel, WorldError> {
        let slot = number % u64::from(KERNEL_TAGS);
        let phys = Self::kernel_slot(slot).start;
        let base = FIRST_KERNEL_BASE + number % KERNEL_BASES * KERNEL_BASE_STEP;
        Kernel::load(machine, phys, base, Tag(TAG_FIRST_KERNEL + slot as u8), levels, cpus)
    }

    /// The memory of the kernels that use a slot.
    const fn kernel_slot(slot: u64) -> PhysRange {
        PhysRange::new(FIRST_KERNEL_PHYS + slot * KERNEL_LEN, KERNEL_LEN)
    }

    fn allow_kernel(&mut self, cpu: usize) {
        self.whereabouts[cpu] = Whereabouts::Kernel;
        let tags = allow(&[self.kernel.tag, TAG_LOT]);
        self.machine.set_allowed(cpu, tags);
        self.record_place(cpu, Place::Kernel);
    }

    /// Builds a lot of `bays` bays at `phys` under the current kernel.
    ///
    /// # Errors
    /// [`WorldError::Park`] if the lot can't be built.
    pub fn build_lot(&mut self, phys: PhysAddr, bays: u32) -> Result<(), WorldError> {
        let layout = Layout::new(bays, MONITOR_LINE)?;
        let range = PhysRange::new(phys.0, layout.total_len());
        let parameters = LotParameters { phys, layout, lot_id: [phys.0, 1], encryption_mask: 0, mailbox: None };
        let lot = build(&mut Loader { machine: &mut self.machine, range }, &parameters)?;
        self.machine.set_tag(range, TAG_LOT);
        self.kernel.map_lot(&mut self.machine, &lot)?;
        self.lot = Some(LotInWorld { range, lot, lease: Lease::first(lot) });
        Ok(())
    }

    /// The lot, or an error that says that there is none.
    ///
    /// # Errors
    /// [`WorldError::NoLot`].
    pub fn lot(&self) -> Result<LotInWorld, WorldError> {
        self.lot.ok_or(WorldError::NoLot)
    }

    /// The platform of one CPU.
    ///
    /// # Errors
    /// [`WorldError::NoLot`].
    pub fn on(&mut self, cpu: usize) -> Result<OnCpu<'_>, WorldError> {
        let lot = self.lot.as_ref().ok_or(WorldError::NoLot)?.range;
        Ok(OnCpu { machine: &mut self.machine, cpu, lot })
    }

    /// Drives `operation` on `cpu`, one access a turn, while the others go on as the schedule says.
    ///
    /// # Errors
    /// [`WorldError`] of the operation, or of the world if the machine stopped.
    pub fn drive<O: Operation>(&mut self, cpu: usize, mut operation: O) -> Result<O::Output, WorldError> {
        let mut reply = Reply::Start;
        loop {
            let steps = self.scheduler.rng.below(PAUSE_STEPS);
            self.let_others_run(cpu, steps)?;
            if self.machine.stopped().is_some() || self.machine.was_reset().is_some() {
                return Err(WorldError::stopped(&self.machine));
            }
            let mut platform = self.on(cpu)?;
            let now = platform.now();
            let step = operation.next(reply, now);
            self.host_accesses += 1;
            let mut platform = self.on(cpu)?;
            reply = match perform(&mut platform, &step) {
                Performed::Reply(reply) => reply,
                Performed::Wait(until) => {
                    self.wait(cpu, until)?;
                    Reply::Waited
                }
                Performed::Done => {
                    let Step::Done(result) = step else { return Err(WorldError::Stuck) };
                    return Ok(result?);
                }
            };
        }
    }

    /// Instructions executed so far: decoded ones of all CPUs, and accesses of host-modelled kernel code, each of which
    /// stands for one (a load, a store, a register access, an IPI).
    #[must_use]
    pub fn instructions(&self) -> u64 {
        let decoded = (0..self.machine.cpu_count()).map(|cpu| self.machine.cpu(cpu).instructions).sum::<u64>();
        decoded + self.host_accesses
    }

    /// Lets the other CPUs run until the clock shows `until`; moves the clock if none can run.
    fn wait(&mut self, cpu: usize, until: u64) -> Result<(), WorldError> {
        while self.machine.tsc() < until {
            if self.let_others_run(cpu, 64)? == 0 {
                self.pass_time(until);
            }
        }
        Ok(())
    }
}

/// A page of INT3: what a successor leaves where its predecessor was.
const OVERWRITE_PAGE: [u8; 4096] = [0xcc; 4096];
/// Monitor line of the simulated CPUs, in bytes.
const MONITOR_LINE: u64 = 64;
/// Between two accesses of an operation the others take fewer steps than this, as the seed draws.
const PAUSE_STEPS: u64 = 8;

/// What performing a step came to.
enum Performed {
    Reply(Reply),
    Wait(u64),
    Done,
}

/// Performs one step of an operation.
fn perform<T>(platform: &mut OnCpu<'_>, step: &Step<T>) -> Performed {
    let value = |result: Result<u64, _>| match result {
        Ok(value) => Reply::Value(value),
        Err(error) => Reply::Failed(error),
    };
    let sent = |result: Result<(), _>| match result {
        Ok(()) => Reply::Sent,
        Err(error) => Reply::Failed(error),
    };
    Performed::Reply(match *step {
        Step::Load { offset } => value(platform.load(offset)),
        Step::Store { offset, value } => match platform.store(offset, value) {
            Ok(()) => Reply::Stored,
            Err(error) => Reply::Failed(error),
        },
        Step::CompareExchange { offset, current, new } => value(platform.compare_exchange(offset, current, new)),
        Step::SendNmi(target) => sent(platform.send_nmi(target)),
        Step::SendInit(target) => sent(platform.send_init(target)),
        Step::SendStartup { target, vector } => sent(platform.send_startup(target, vector)),
        Step::Summon { .. } => Reply::Failed(park_core::PlatformError::NoSuchRegister),
        Step::Wait { until } => return Performed::Wait(until),
        Step::Done(_) => return Performed::Done,
    })
}
