//! A simulated kernel as a platform to be checked, and as one that operations run on.

use park_conformance::platform::{Interrupts, Landing, MapEntry, MemoryType, Platform};
use park_core::lot::ApicMode;
use park_core::op::{Operation, Reply, Step};
use park_core::{Action, ApicId, Clock, Cpu, Error, IpiSender, LotMemory, PlatformError, Register, Summon, Ticks};
use park_sim::platform::{OnCpu, TICKS_PER_SECOND};
use park_sim::world::{TAG_LOT, World};
use park_x86::registers::apic::{ICR_ASSERT, ICR_NMI};
use park_x86::registers::control::Rflags;
use std::collections::VecDeque;

/// Steps of others in one pause.
const PAUSE_STEPS: u64 = 4;

/// Whether the kernel's stores are fenced before an IPI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fences {
    /// MFENCE; LFENCE.
    Yes,
    /// None: in x2APIC mode the IPI may overtake stores.
    No,
}

/// The kernel of a world, as one CPU of it acts.
#[derive(Clone, Debug)]
pub(crate) struct SimPlatform {
    pub(crate) world: World,
    cpu: usize,
    fences: Fences,
    watched: u64,
    /// NMIs that each CPU had taken, and the word as the last one of them read it.
    nmis: Vec<(u64, u64)>,
    summoned: VecDeque<(usize, u32)>,
}

impl SimPlatform {
    /// The CPU `cpu` of a world with a lot.
    pub(crate) fn new(world: World, cpu: usize, fences: Fences) -> Self {
        let nmis = vec![(0, 0); world.machine.cpu_count()];
        Self { world, cpu, fences, watched: 0, nmis, summoned: VecDeque::new() }
    }

    fn on(&mut self, cpu: usize) -> OnCpu<'_> {
        self.world.on(cpu).expect("the world has a lot")
    }

    fn here(&mut self) -> OnCpu<'_> {
        self.on(self.cpu)
    }

    fn index_of(&self, apic_id: ApicId) -> usize {
        let cpus = 0..self.world.machine.cpu_count();
        cpus.into_iter().find(|cpu| self.world.apic_id(*cpu).ok() == Some(apic_id)).expect("a CPU of this id")
    }

    /// Host-modelled: the first thing that the NMI handler does is to read the watched word.
    fn handlers_read(&mut self) {
        let lot = self.world.lot().expect("the world has a lot").range.start;
        let word = self.world.machine.read_phys_u64(lot + self.watched);
        for cpu in 0..self.nmis.len() {
            let count = self.world.machine.cpu(cpu).taken.nmi;
            if self.nmis[cpu].0 != count {
                self.nmis[cpu] = (count, word);
            }
        }
    }
}

impl LotMemory for SimPlatform {
    fn len(&self) -> u64 {
        self.world.lot().expect("the world has a lot").range.len
    }
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.here().load(offset)
    }
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        self.here().store(offset, value)
    }
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        self.here().compare_exchange(offset, current, new)
    }
}

impl Clock for SimPlatform {
    fn now(&mut self) -> Ticks {
        self.here().now()
    }
    fn ticks_per_second(&self) -> u64 {
        TICKS_PER_SECOND
    }
}

impl IpiSender for SimPlatform {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        if self.fences == Fences::Yes {
            return self.here().send_nmi(target);
        }
        let icr = u32::try_from(ICR_NMI | ICR_ASSERT).expect("the low half of the ICR");
        let sent = self.world.machine.send_ipi(self.cpu, target.0, icr);
        sent.map_err(|exception| PlatformError::Fault { vector: exception.vector })
    }
    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.here().send_init(target)
    }
    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.here().send_startup(target, vector)
    }
}

impl Summon for SimPlatform {
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        self.summoned.push_back((self.index_of(target), bay_index));
        Ok(())
    }
}

impl Platform for SimPlatform {
    fn executing(&mut self) -> ApicId {
        self.world.apic_id(self.cpu).expect("a CPU of the world")
    }
    fn pause(&mut self) {
        for _ in 0..PAUSE_STEPS {
            let steps = self.world.let_others_run(self.cpu, 1).expect("the world goes on");
            if steps == 0 {
                self.world.machine.advance_tsc(1);
            }
            self.handlers_read();
        }
    }
    fn pass_us(&mut self, _: u64) -> bool {
        // The simulated machine has no other clock.
        false
    }
    fn now_on(&mut self, cpu: ApicId) -> Option<Ticks> {
        let cpu = self.index_of(cpu);
        Some(self.on(cpu).now())
    }
    fn nmi_count(&mut self, cpu: ApicId) -> u64 {
        let cpu = self.index_of(cpu);
        self.world.kernel.witness(&self.world.machine, cpu).nmi
    }
    fn watch(&mut self, offset: u64) {
        self.watched = offset;
    }
    fn nmi_saw(&mut self, cpu: ApicId) -> u64 {
        self.handlers_read();
        self.nmis[self.index_of(cpu)].1
    }
    fn apic_mode(&mut self) -> ApicMode {
        if self.world.machine.config().x2apic { ApicMode::X2Apic } else { ApicMode::XApic }
    }
    fn lot_memory_type(&mut self) -> MemoryType {
        MemoryType::WriteBack
    }
    fn lot_in_map(&mut self) -> MapEntry {
        let range = self.world.lot().expect("the world has a lot").range;
        let is_lot = |phys| self.world.machine.tag_at(phys) == TAG_LOT;
        if (range.start..range.start + range.len).step_by(0x1000).all(is_lot) {
            MapEntry::Reserved
        } else {
            MapEntry::Usable
        }
    }
    fn landed(&mut self) -> Option<Landing> {
        let (cpu, bay_index) = self.summoned.pop_front()?;
        let apic_id = self.world.apic_id(cpu).ok()?;
        // The kernel's parking code begins with CLI.
        let mut on = self.on(cpu);
        let before = on.read(Register::Rflags).ok()?;
        on.act(Action::Cli).ok()?;
        let flags = Rflags::from_bits_retain(on.read(Register::Rflags).ok()?);
        on.write(Register::Rflags, before).ok()?;
        let interrupts = if flags.contains(Rflags::IF) { Interrupts::On } else { Interrupts::Off };
        Some(Landing { apic_id, bay_index, interrupts })
    }
}

/// Runs an operation on a platform, with a pause wherever it waits and after every access.
pub(crate) fn drive<P: Platform, O: Operation>(platform: &mut P, mut operation: O) -> Result<O::Output, Error> {
    let mut reply = Reply::Start;
    loop {
        let now = platform.now();
        let outcome = match operation.next(reply, now) {
            Step::Load { offset } => platform.load(offset).map(Reply::Value),
            Step::Store { offset, value } => platform.store(offset, value).map(|()| Reply::Stored),
            Step::CompareExchange { offset, current, new } => {
                platform.compare_exchange(offset, current, new).map(Reply::Value)
            }
            Step::SendNmi(target) => platform.send_nmi(target).map(|()| Reply::Sent),
            Step::SendInit(target) => platform.send_init(target).map(|()| Reply::Sent),
            Step::SendStartup { target, vector } => platform.send_startup(target, vector).map(|()| Reply::Sent),
            Step::Summon { target, bay_index } => platform.summon(target, bay_index).map(|()| Reply::Sent),
            Step::Wait { .. } => Ok(Reply::Waited),
            Step::Done(result) => return result,
        };
        platform.pause();
        reply = outcome.unwrap_or_else(Reply::Failed);
    }
}
