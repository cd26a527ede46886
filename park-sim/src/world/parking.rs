//! Parking and waking in a world: the target's sanitising, its arrival, its departure.

use super::sanitising::{InProgress, SanitiseStep, Sanitiser};
use super::{FrameKind, KERNEL_CPUS_MAX, Kernel, TAG_LOT, Whereabouts, World, WorldError, allow};
use crate::machine::{Activity, Event, EventKind, Gpr, HostReg, Special};
use crate::recording::Place;
use park_core::lot::{ApicMode, PagingLevels, WaitFlags};
use park_core::op::{AwaitArrival, Bay, Left, Reservation, Reserve, Timing, Wake};
use park_core::{ApicId, Clock, Entry, Mechanism, PhysAddr, Ticks};
use park_x86::features::Features;
use park_x86::frame::{Arrival, Departure, FRAME_LEN};

/// How long an operation of a world may take, in ticks: far more than any schedule stretches it.
pub const PATIENCE_TICKS: Ticks = 2_000_000;
/// Time between two kicks, in ticks.
pub const KICK_TICKS: Ticks = 2_000;

/// A handler of a simulated kernel out of which a CPU can park.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandlerKind {
    /// The NMI handler.
    Nmi,
    /// The machine-check handler, with MCIP still set.
    Mc,
}

/// The slot of a kernel that a CPU's decoy entry uses. Above half of the CPUs that a kernel has room for, it is another
/// CPU's own.
const fn decoy_slot(cpu: usize) -> usize {
    (KERNEL_CPUS_MAX - 1).saturating_sub(cpu)
}

/// Steps that a CPU may need from its bay into its kernel.
const LANDING_STEPS: u64 = 4000;
/// How many steps a CPU may need to the body of a handler.
const HANDLER_STEPS: u64 = 256;

/// Which CPU parks, and how. Steps and options come from a vendor crate, through the caller.
#[derive(Clone, Debug)]
pub struct ParkRequest {
    /// Index of the CPU in the machine.
    pub cpu: usize,
    /// How it will wait.
    pub mechanism: Mechanism,
    /// How it will wait, in detail.
    pub flags: WaitFlags,
    /// EAX of MWAIT.
    pub mwait_hint: u32,
    /// What it does before it goes.
    pub steps: Vec<SanitiseStep>,
}

impl ParkRequest {
    /// A request for the CPU with index `cpu`, in the terms of a vendor crate's orders.
    #[must_use]
    pub fn new(
        cpu: usize,
        mechanism: Mechanism,
        flags: WaitFlags,
        mwait_hint: u32,
        steps: impl IntoIterator<Item = SanitiseStep>,
    ) -> Self {
        Self { cpu, mechanism, flags, mwait_hint, steps: steps.into_iter().collect() }
    }
}

impl World {
    /// The APIC id of a CPU.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`].
    pub fn apic_id(&self, cpu: usize) -> Result<ApicId, WorldError> {
        let config = self.machine.config().cpus.get(cpu).ok_or(WorldError::NoSuchCpu { cpu })?;
        Ok(ApicId(config.apic_id))
    }

    /// A timing that starts now and is generous.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing { kick_interval_ticks: KICK_TICKS, deadline: self.machine.tsc() + PATIENCE_TICKS }
    }

    /// Parks a CPU from its idle loop: reserves a bay on `boss`, lets the CPU sanitise itself and arrive, awaits it.
    ///
    /// # Errors
    /// [`WorldError`] of any of the three.
    pub fn park(&mut self, boss: usize, request: ParkRequest) -> Result<Bay, WorldError> {
        let bay = self.reserve(boss, &request)?;
        self.begin_arrival(request.cpu, bay, request.steps)?;
        self.await_arrival(boss, bay)?;
        Ok(bay)
    }

    /// Reserves a bay for a CPU.
    ///
    /// # Errors
    /// Those of [`Reserve`].
    pub fn reserve(&mut self, boss: usize, request: &ParkRequest) -> Result<Bay, WorldError> {
        let lease = self.lot()?.lease;
        let reservation = Reservation {
            apic_id: self.apic_id(request.cpu)?,
            mechanism: request.mechanism,
            flags: request.flags,
            levels: self.levels,
            apic_mode: if self.machine.config().x2apic { ApicMode::X2Apic } else { ApicMode::XApic },
            mwait_hint: request.mwait_hint,
        };
        self.drive(boss, Reserve::any(&lease, reservation))
    }

    /// Lets a CPU begin to go, from wherever it is in the kernel: idle, or inside a handler of it.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`], [`WorldError::NoLot`].
    pub fn begin_arrival(&mut self, cpu: usize, bay: Bay, steps: Vec<SanitiseStep>) -> Result<(), WorldError> {
        self.apic_id(cpu)?;
        self.lot()?;
        let sanitiser = Sanitiser::new(self.features, steps);
        let host = self.kernel.code.host;
        let state = self.machine.cpu_mut(cpu);
        if state.activity != Activity::Running {
            state.activity = Activity::Running;
            state.rip = host;
        }
        let rip = state.rip;
        self.sanitisers[cpu] = Some(InProgress { sanitiser, bay, rip });
        let phys = self.lot()?.range.start + bay.offset();
        self.record_place(cpu, Place::Bay(phys));
        self.whereabouts[cpu] = Whereabouts::Arriving(bay.offset());
        self.followed[cpu] = super::turn::NOT_FOLLOWED;
        let tags = allow(&[self.kernel.tag, TAG_LOT]);
        self.machine.set_allowed(cpu, tags);
        Ok(())
    }

    /// Brings a CPU into a handler of its kernel, as far as the handler would decide to park.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`]; [`WorldError::NotLanded`] if it does not come to the handler.
    pub fn interrupt(&mut self, cpu: usize, kind: HandlerKind) -> Result<(), WorldError> {
        self.apic_id(cpu)?;
        let (body, event) = match kind {
            HandlerKind::Nmi => (self.kernel.code.nmi_body, EventKind::Nmi),
            HandlerKind::Mc => (self.kernel.code.mc_body, EventKind::MachineCheck),
        };
        self.machine.inject(Event::at(cpu, event));
        for _ in 0..HANDLER_STEPS {
            if self.machine.cpu(cpu).rip == body {
                return Ok(());
            }
            self.step(cpu)?;
        }
        Err(WorldError::NotLanded { cpu })
    }

    /// Awaits a CPU's acknowledgement.
    ///
    /// # Errors
    /// Those of [`AwaitArrival`].
    pub fn await_arrival(&mut self, boss: usize, bay: Bay) -> Result<(), WorldError> {
        let deadline = self.timing().deadline;
        self.drive(boss, AwaitArrival::new(bay, deadline)).map(|_| ())
    }

    /// The frame of a CPU that is sanitised, and its first instruction in the owner text.
    pub(super) fn write_arrival(&mut self, cpu: usize, bay: Bay, features: &Features) -> Result<(), WorldError> {
        let lot = self.lot()?.lot;
        let transit = PhysAddr(self.kernel.transit_root.ok_or(WorldError::NoLot)?);
        let arrival = Arrival::for_cpu(&mut self.on(cpu)?, features, &lot, bay.index(), transit)?;
        let placement = self.kernel.placement(cpu, FrameKind::Arrival);
        let mut frame = [0; FRAME_LEN];
        arrival.write(&placement, &mut frame)?;
        self.machine.write_phys(self.kernel.phys(placement.frame), &frame);
        let (rip, rsp) = (self.kernel.arrive(), self.kernel.stack_top(cpu));
        let state = self.machine.cpu_mut(cpu);
        state.rip = rip;
        state.set_reg(Gpr::Rdi, placement.frame);
        // Out of a handler, the CPU stays on the stack that it is on.
        if state.reg(Gpr::Rsp) > rsp || state.reg(Gpr::Rsp) < rsp - ARRIVAL_STACK {
            state.set_reg(Gpr::Rsp, rsp);
        }
        Ok(())
    }

    /// The entry that brings a CPU back into the current kernel: through the owner text, into the landing.
    ///
    /// # Errors
    /// [`WorldError::NoLot`]; [`WorldError::Park`] if the frame can't be written.
    pub fn entry(&mut self, cpu: usize) -> Result<Entry, WorldError> {
        self.entry_through(cpu, cpu)
    }

    /// An entry whose frame and witness are those of `slot`.
    fn entry_through(&mut self, cpu: usize, slot: usize) -> Result<Entry, WorldError> {
        let transit = self.kernel.transit_root.ok_or(WorldError::NoLot)?;
        let placement = self.kernel.placement(slot, FrameKind::Departure);
        let [gdt, idt] = self.kernel.tables();
        let rsp = self.kernel.stack_top(cpu);
        // The kernel's, whatever the CPU has now: INIT leaves it one without paging.
        let cr0 = park_x86::state::CR0_IN_LOT.bits();
        let cr4 = self.kernel_cr4();
        let departure = Departure {
            root: PhysAddr(self.kernel.root),
            gdt,
            idt,
            ss: super::kernel::KERNEL_SS,
            tr: self.kernel.tr(cpu),
            cr0,
            cr4,
            rsp,
            rip: self.kernel.code.landed,
            arg: self.kernel.witness_address(slot),
        };
        self.entry_tags[cpu] = self.kernel.tag;
        let mut frame = [0; FRAME_LEN];
        departure.write(&placement, &mut frame)?;
        self.machine.write_phys(self.kernel.phys(placement.frame), &frame);
        Ok(Entry { rip: self.kernel.depart(), rsp, cr3: PhysAddr(transit), arg: placement.frame })
    }

    fn kernel_cr4(&self) -> u64 {
        use park_x86::registers::control::Cr4;
        let levels = if self.levels == PagingLevels::Five { Cr4::LA57 } else { Cr4::empty() };
        (Cr4::PAE | Cr4::MCE | levels).bits()
    }

    /// Wakes a CPU into the current kernel, and lets it run until it has landed and freed its bay.
    ///
    /// # Errors
    /// Those of [`Wake`] and [`Left`]; [`WorldError::NotLanded`] if the CPU took the entry and never reached it.
    pub fn wake(&mut self, boss: usize, cpu: usize, bay: Bay) -> Result<(), WorldError> {
        let entry = self.entry(cpu)?;
        let before = self.kernel.witness(&self.machine, cpu).entries;
        let timing = self.timing();
        self.drive(boss, Wake::new(bay, entry, timing))?;
        self.await_entry(boss, cpu, before)?;
        self.leave(cpu, bay)
    }

    /// Lets a CPU that has taken its entry run until it idles in the current kernel.
    ///
    /// # Errors
    /// [`WorldError::NotLanded`].
    pub fn await_landing(&mut self, boss: usize, cpu: usize) -> Result<(), WorldError> {
        if self.machine.cpu(cpu).rip == self.kernel.code.idle {
            return Ok(());
        }
        self.let_others_run(boss, LANDING_STEPS)?;
        if self.is_idle(cpu) { Ok(()) } else { Err(WorldError::NotLanded { cpu }) }
    }

    /// Whether a CPU is in the current kernel's idle loop.
    #[must_use]
    pub fn is_idle(&self, cpu: usize) -> bool {
        let (rip, code) = (self.machine.cpu(cpu).rip, &self.kernel.code);
        rip >= code.idle && rip < code.host
    }

    fn await_entry(&mut self, boss: usize, cpu: usize, before: u64) -> Result<(), WorldError> {
        let deadline = self.machine.tsc() + PATIENCE_TICKS;
        while self.kernel.witness(&self.machine, cpu).entries == before {
            if self.machine.tsc() > deadline || self.let_others_run(boss, 16)? == 0 {
                return Err(WorldError::NotLanded { cpu });
            }
        }
        Ok(())
    }

    /// An entry of the current kernel with another argument and frame than [`World::entry`]: which of two the CPU took
    /// shows in [`World::decoys_taken`].
    ///
    /// # Errors
    /// As [`World::entry`].
    pub fn decoy_entry(&mut self, cpu: usize) -> Result<Entry, WorldError> {
        self.entry_through(cpu, decoy_slot(cpu))
    }

    /// How often a CPU took a decoy entry of `kernel`.
    #[must_use]
    pub fn decoys_taken(&self, kernel: &Kernel, cpu: usize) -> u64 {
        kernel.witness(&self.machine, decoy_slot(cpu)).entries
    }

    /// From now on a CPU in wait-for-SIPI may use the current kernel and the lot: it is about to be started.
    pub fn expect_startup(&mut self, cpu: usize) {
        self.allow_kernel(cpu);
    }

    /// Puts a CPU into VMX root operation, as a hypervisor does.
    ///
    /// # Errors
    /// [`WorldError::NotVmx`].
    pub fn enter_vmx_root(&mut self, cpu: usize) -> Result<(), WorldError> {
        use park_x86::registers::control::Cr4;
        let cr4 = self.machine.cpu(cpu).cr4 | Cr4::VMXE.bits();
        self.machine
            .write_reg(cpu, HostReg::Cr4, cr4)
            .and_then(|()| self.machine.exec_special(cpu, Special::Vmxon))
            .map_err(|_| WorldError::NotVmx { cpu })
    }

    /// Frees the bay of a CPU that has landed: code of that CPU.
    ///
    /// # Errors
    /// Those of [`Left`].
    pub fn leave(&mut self, cpu: usize, bay: Bay) -> Result<(), WorldError> {
        let lease = self.lot()?.lease;
        let apic_id = self.apic_id(cpu)?;
        let left = Left::new(&lease, bay.index(), apic_id, &mut self.on(cpu)?)?;
        self.drive(cpu, left)?;
        self.whereabouts[cpu] = Whereabouts::Kernel;
        Ok(())
    }

    /// The time now, in ticks.
    #[must_use]
    pub fn now(&mut self) -> Ticks {
        match self.on(0) {
            Ok(mut platform) => platform.now(),
            Err(_) => self.machine.tsc(),
        }
    }
}

/// Bytes of stack that arrival may use: how far below its top a CPU's RSP may be to stay.
const ARRIVAL_STACK: u64 = 0x1e00;
