//! The stage on which a harm plays: a kernel that parks one CPU step by step.

use super::{Found, Harm, Step};
use crate::compare::calm;
use crate::compare::observe::ended;
use crate::compare::parked::OrdersOf;
use crate::machine::{Event, EventKind, HostReg, MachineConfig};
use crate::world::{DEFAULT_LOT, FrameKind, OldMemory, ParkRequest, SanitiseStep, World, WorldError};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use park_core::lot::{PagingLevels, Stage as BayStage, bay, header};
use park_core::op::{Bay, Processor};
use park_core::{Cpu, Mechanism, PhysAddr};
use park_x86::code::bay_labels;
use park_x86::features::Features;
use park_x86::frame::{Arrival as Frame, FRAME_LEN};
use park_x86::orders::Orders;

/// Seed of the schedule.
const SEED: u64 = 1;
/// Bays of the lot.
const BAYS: u32 = 4;
/// Steps that an arrival may take.
const ARRIVAL_STEPS: u64 = 20_000;
/// Steps that the machine takes after an event.
const WINDOW_STEPS: u64 = 4000;
/// NOP.
const NOP: u8 = 0x90;

/// A world in which one CPU is to be parked.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The world.
    pub world: World,
    /// The CPU that is parked.
    pub cpu: usize,
    /// The CPU that parks and wakes it.
    pub boss: usize,
    bay: Option<Bay>,
}

/// What an arrival came to.
pub(super) enum Arrival {
    Parked,
    Refused,
    Lost(String),
}

impl Stage {
    /// Boots a machine, builds a lot, and asks for orders.
    pub(super) fn new(
        config: MachineConfig,
        mechanism: Mechanism,
        processor: Processor,
        orders: OrdersOf<'_>,
    ) -> Result<Option<(Self, Vec<SanitiseStep>, ParkRequest)>, WorldError> {
        let features = Features::read(|leaf, subleaf| {
            let regs = config.cpuid.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        });
        let Some(orders): Option<Orders> = orders(mechanism, &features) else { return Ok(None) };
        let (cpu, boss) = match processor {
            Processor::Bootstrap => (0, 1),
            Processor::Application => (1, 0),
        };
        let mut world = World::boot(config, PagingLevels::Four, SEED)?;
        calm(&mut world);
        world.build_lot(DEFAULT_LOT, BAYS)?;
        let steps: Vec<SanitiseStep> = orders.steps().collect();
        let request = ParkRequest::new(cpu, mechanism, orders.wait_flags, orders.mwait_hint, []);
        Ok(Some((Self { world, cpu, boss, bay: None }, steps, request)))
    }

    /// Reserves the bay, before the CPU's registers are touched: time passes meanwhile.
    pub(super) fn reserve(&mut self, request: &ParkRequest) -> Result<(), WorldError> {
        self.bay = Some(self.world.reserve(self.boss, request)?);
        Ok(())
    }

    /// Lets the CPU arrive, one step after the other.
    pub(super) fn arrive(&mut self, harm: &Harm, step: Step, steps: Vec<SanitiseStep>) -> Result<Arrival, WorldError> {
        let bay = self.bay()?;
        self.world.begin_arrival(self.cpu, bay, steps)?;
        let mut at_owner_text = Some(harm.at_owner_text);
        for taken in 0..ARRIVAL_STEPS {
            if let Some(verdict) = ended(&self.world, self.cpu, self.bay_phys()?) {
                return Ok(Arrival::Lost(verdict.to_string()));
            }
            if self.stage_word()? == BayStage::Waiting as u64 {
                self.world.await_arrival(self.boss, bay)?;
                return Ok(Arrival::Parked);
            }
            let sanitised = self.world.machine.cpu(self.cpu).rip == self.world.kernel.arrive();
            if let Some(at_owner_text) = at_owner_text.take_if(|_| sanitised) {
                at_owner_text(self, step)?;
            }
            (harm.during)(self, taken);
            match self.world.step(self.cpu) {
                Ok(()) => {}
                Err(WorldError::Sanitise { error, .. }) => {
                    return Ok(match error {
                        park_x86::sanitise::SanitiseError::Refused { .. } => Arrival::Refused,
                        other => Arrival::Lost(other.to_string()),
                    });
                }
                Err(error) => return Ok(Arrival::Lost(error.to_string())),
            }
        }
        Ok(Arrival::Lost("never arrived".to_owned()))
    }

    fn bay(&self) -> Result<Bay, WorldError> {
        self.bay.ok_or(WorldError::NoLot)
    }

    /// Physical address of the bay; of the first before one is reserved.
    ///
    /// # Errors
    /// [`WorldError::NoLot`].
    pub fn bay_phys(&self) -> Result<u64, WorldError> {
        let lot = self.world.lot()?;
        Ok(lot.range.start + self.bay.map_or(lot.lot.header().bay_offset, |bay| bay.offset()))
    }

    fn stage_word(&self) -> Result<u64, WorldError> {
        Ok(self.world.machine.read_phys_u64(self.bay_phys()? + bay::STAGE))
    }

    /// Writes a register as an instruction of the CPU would. That it can't shows as a harm that does not.
    pub(super) fn set(&mut self, register: HostReg, value: u64) {
        let _ = self.world.machine.write_reg(self.cpu, register, value);
    }

    /// Changes a register by an instruction of the CPU.
    pub(super) fn change(&mut self, register: HostReg, change: impl FnOnce(u64) -> u64) {
        if let Ok(value) = self.world.machine.read_reg(self.cpu, register) {
            self.set(register, change(value));
        }
    }

    /// Throws an event at the CPU.
    pub(super) fn inject(&mut self, kind: EventKind) {
        self.world.machine.inject(Event::at(self.cpu, kind));
    }

    /// Lets everything run for a while; what it came to, if that is beyond doubt.
    pub(super) fn settle(&mut self) -> Result<Found, WorldError> {
        let ran = self.world.run(WINDOW_STEPS);
        let found = ended(&self.world, self.cpu, self.bay_phys()?).map(|verdict| verdict.to_string());
        if found.is_none() {
            ran?;
        }
        Ok(found)
    }

    /// Throws an event at the CPU, and looks.
    pub(super) fn disturb(&mut self, kind: EventKind) -> Result<Found, WorldError> {
        self.inject(kind);
        self.settle()
    }

    /// The next kernel takes over, and the last one's memory is overwritten.
    pub(super) fn next_kernel(&mut self) -> Result<(), WorldError> {
        self.world.kexec(self.boss, OldMemory::Overwritten)
    }

    /// Wakes the CPU; what went wrong, if anything did.
    pub(super) fn wake(&mut self) -> Result<Found, WorldError> {
        let bay = self.bay()?;
        let woken = self.world.wake(self.boss, self.cpu, bay);
        let found = ended(&self.world, self.cpu, self.bay_phys()?).map(|verdict| verdict.to_string());
        Ok(found.or_else(|| woken.err().map(|error| format!("can't be woken: {error}"))))
    }

    /// The bay that the CPU is in.
    pub(super) fn bay_in_use(&self) -> Result<Bay, WorldError> {
        self.bay()
    }

    /// Writes the arrival frame anew, with some of it changed: how a step of the owner text is left out.
    pub(super) fn rewrite_arrival(&mut self, change: impl FnOnce(&mut Frame)) -> Result<(), WorldError> {
        let (lot, index) = (self.world.lot()?.lot, self.bay()?.index());
        let transit = PhysAddr(self.world.kernel.transit_root.ok_or(WorldError::NoLot)?);
        let mut platform = self.world.on(self.cpu)?;
        let features = Features::read(|leaf, subleaf| platform.cpuid(leaf, subleaf));
        let mut arrival = Frame::for_cpu(&mut platform, &features, &lot, index, transit)?;
        change(&mut arrival);
        let placement = self.world.kernel.placement(self.cpu, FrameKind::Arrival);
        let mut frame = [0; FRAME_LEN];
        arrival.write(&placement, &mut frame)?;
        let phys = self.world.kernel.phys(placement.frame);
        self.world.machine.write_phys(phys, &frame);
        Ok(())
    }

    /// Replaces, in the lot's copy of the bay code, every instruction of the way in that `which` names by NOPs.
    pub(super) fn cut_from_way_in(&mut self, which: impl Fn(&Instruction) -> bool) -> Result<usize, WorldError> {
        let start = self.world.lot()?.range.start + header::CODE_OFFSET;
        let mut code = vec![0; bay_labels().wait as usize];
        self.world.machine.read_phys(start, &mut code);
        let mut decoder = Decoder::with_ip(64, &code, start, DecoderOptions::NONE);
        let mut cut = 0;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if which(&instruction) {
                self.world.machine.write_phys(instruction.ip(), &vec![NOP; instruction.len()]);
                cut += 1;
            }
        }
        Ok(cut)
    }

    /// Maps 2 MiB at the lot's linear addresses in the kernel's own root, but onto the kernel's memory; `extra` is set
    /// in the entry. The transit root is another.
    pub(super) fn shadow_the_lot(&mut self, extra: u64) {
        /// Present, writable, large (Intel SDM vol. 3, "4-Level Paging").
        const LARGE: u64 = 1 << 0 | 1 << 1 | 1 << 7;
        const FRAME: u64 = 0x000f_ffff_ffff_f000;
        let machine = &mut self.world.machine;
        let pdpt = machine.read_phys_u64(self.world.kernel.root & FRAME) & FRAME;
        let directory = machine.read_phys_u64(pdpt) & FRAME;
        let entry = directory + 8 * (DEFAULT_LOT.0 >> 21);
        machine.write_phys(entry, &(self.world.kernel.range.start | LARGE | extra).to_le_bytes());
    }

    /// Sets bits in the entries of the kernel's own root that map the kernel.
    pub(super) fn mark_kernel_pages(&mut self, extra: u64) {
        const FRAME: u64 = 0x000f_ffff_ffff_f000;
        let (root, base) = (self.world.kernel.root, self.world.kernel.base);
        let machine = &mut self.world.machine;
        let mut table = root & FRAME;
        for shift in [39, 30] {
            table = machine.read_phys_u64(table + 8 * (base >> shift & 511)) & FRAME;
        }
        for large_page in 0..2 {
            let entry = table + 8 * ((base >> 21 & 511) + large_page);
            let value = machine.read_phys_u64(entry) | extra;
            machine.write_phys(entry, &value.to_le_bytes());
        }
    }
}
