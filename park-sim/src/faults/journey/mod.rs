//! One CPU's journey: into the lot, its wait there, a ring, and out through the entry; a step at a time, so that anything
//! can happen between two steps.
//!
//! CPU [`BOSS`] holds the lease and rings; CPU [`TARGET`] travels. Between wait and ring another kernel takes over, so
//! that nothing of the first one may serve any more.

mod case;
mod checks;
mod legs;

pub use case::{BOSS, Case, Drains, EntryKind, Evictions, Plan, TARGET, WayIn};

use super::plant::Plant;
use super::ring::Ringer;
use super::wrong::{Leg, Wrong};
use crate::machine::knobs::McGif0;
use crate::machine::{Event, EventKind, HostReg};
use crate::world::{DEFAULT_LOT, FrameKind, HandlerKind, ParkRequest, World};
use park_core::op::Bay;
use park_core::{Entry, Mechanism};
use park_x86::registers::msr;

/// Bays of the lot: the target's, and one more.
const BAYS: u32 = 2;
/// Steps that the target may take on one leg; the longest takes a tenth of it.
const LEG_STEPS: u64 = 4_000;

/// Whether a CPU that waits comes to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// It does.
    Sleeps,
    /// It polls: it can be in a handler at any time.
    Polls,
}

/// What a step of a journey came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to come.
    Going,
    /// The CPU has landed and given its bay back; all is well.
    Done,
}

/// A journey on its way. A clone goes on by itself, in the same way.
#[derive(Clone, Debug)]
pub struct Journey<'a> {
    world: World,
    plant: Plant<'a>,
    bay: Bay,
    mechanism: Mechanism,
    leg: Leg,
    /// Steps taken on this leg.
    steps: u64,
    plan: Plan,
    request: ParkRequest,
    rounds: u32,
    ringer: Option<Ringer>,
    /// Steps in which a CPU whose ticket was revoked must stay where it is.
    revoked: Option<u64>,
    /// NMIs that the CPU had taken when it acknowledged.
    nmis_at_ack: u64,
    entry: Option<Entry>,
    entered: u32,
    /// An NMI was thrown.
    nmi_thrown: bool,
    /// A machine check was thrown that the architecture, or the knob `mc-gif0`, turns into a shutdown.
    doomed: bool,
    is_over: bool,
    log: Option<Vec<String>>,
}

impl<'a> Journey<'a> {
    /// Boots the machine, builds the lot, reserves the bay, and brings the CPU to where it begins to go.
    ///
    /// # Errors
    /// [`Wrong`] if that fails.
    pub fn begin(case: &Case, plant: Plant<'a>) -> Result<Self, Wrong> {
        let mut world = World::boot(case.machine.clone(), case.levels, case.seed)?;
        if case.plan.evictions == Evictions::Never {
            world.scheduler.rates.evict = 0;
        }
        if case.plan.drains == Drains::Late {
            world.scheduler.rates.drain_own = 0;
        }
        world.build_lot(DEFAULT_LOT, BAYS)?;
        plant.in_lot(&mut world)?;
        plant.in_kernel(&mut world)?;
        let bay = world.reserve(BOSS, &case.request)?;
        match case.way_in {
            WayIn::Idle => {}
            WayIn::NmiHandler => world.interrupt(TARGET, HandlerKind::Nmi)?,
            WayIn::McHandler => world.interrupt(TARGET, HandlerKind::Mc)?,
        }
        plant.in_owner_state(&mut world, TARGET)?;
        world.begin_arrival(TARGET, bay, plant.steps(&case.request.steps))?;
        Ok(Self {
            world,
            plant,
            bay,
            mechanism: case.request.mechanism,
            leg: Leg::Arriving,
            steps: 0,
            plan: case.plan,
            request: case.request.clone(),
            rounds: case.plan.rounds_before,
            ringer: None,
            revoked: None,
            nmis_at_ack: 0,
            entry: None,
            entered: 0,
            nmi_thrown: false,
            doomed: false,
            is_over: false,
            log: None,
        })
    }

    /// Keeps a line for each step from here on.
    pub fn keep_log(&mut self) {
        self.log = Some(Vec::new());
    }

    /// The lines kept.
    #[must_use]
    pub fn log(&self) -> &[String] {
        self.log.as_deref().unwrap_or(&[])
    }

    /// Where the CPU is.
    #[must_use]
    pub const fn leg(&self) -> Leg {
        self.leg
    }

    /// The world.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Whether a machine check would meet one that is still in progress, which is a shutdown by architecture.
    pub fn mc_in_progress(&mut self) -> bool {
        let status = self.world.machine.read_msr(TARGET, msr::MCG_STATUS).unwrap_or(0);
        status & msr::MCG_STATUS_MCIP != 0
    }

    /// Whether a machine check was thrown that has to end in a shutdown.
    #[must_use]
    pub const fn is_doomed(&self) -> bool {
        self.doomed
    }

    /// Whether the CPU is in a handler of its kernel, which is not park's: a second #MC in that kernel's #MC handler
    /// overwrites the first one's frame once MCIP is clear (Intel SDM vol. 3, "Interrupt Stack Table").
    #[must_use]
    pub fn in_kernel_handler(&self) -> bool {
        let code = &self.world.kernel.code;
        let rip = self.rip();
        rip >= code.nmi_body && rip < self.world.kernel.owner_text()
    }

    /// Steps of the travelling CPU alone, while nobody else does anything.
    ///
    /// # Errors
    /// As [`Journey::step`].
    pub fn alone(&mut self, steps: u64) -> Result<(), Wrong> {
        for _ in 0..steps {
            if !self.can_move() {
                return Ok(());
            }
            self.target()?;
            self.check()?;
        }
        Ok(())
    }
    /// Throws an event at the travelling CPU, before its next step.
    pub fn inject(&mut self, kind: EventKind) {
        if kind == EventKind::MachineCheck {
            let held =
                !self.world.machine.cpu(TARGET).gif && self.world.machine.knobs.get::<McGif0>() == McGif0::Shutdown;
            self.doomed |= held || self.mc_in_progress();
        }
        self.nmi_thrown |= kind == EventKind::Nmi;
        if self.log.is_some() {
            self.note(format!("event {kind:?}"));
        }
        self.world.machine.inject(Event::at(TARGET, kind));
    }

    fn note(&mut self, line: String) {
        if let Some(log) = &mut self.log {
            let number = log.len() + 1;
            log.push(format!("{number:4}  {line}"));
        }
    }

    /// One step: an access of the sanitising, an instruction or event of the CPU, or an access of the ring.
    ///
    /// # Errors
    /// [`Wrong`]: what must not be.
    pub fn step(&mut self) -> Result<Progress, Wrong> {
        if self.is_over {
            return Ok(Progress::Done);
        }
        if self.world.machine.can_step(BOSS) {
            // A broadcast machine check meets the other CPU too.
            self.world.step(BOSS)?;
        }
        let progress = match self.leg {
            Leg::Arriving => self.arrive(),
            Leg::Waiting => self.wait(),
            Leg::Ringing => self.ring(),
            Leg::Leaving => self.leave(),
            Leg::Landed => self.land(),
        }?;
        self.steps += 1;
        self.is_over = progress == Progress::Done;
        self.check()?;
        if self.steps > LEG_STEPS {
            return Err(Wrong::TooSlow { leg: self.leg });
        }
        Ok(progress)
    }

    /// Goes on to the end.
    ///
    /// # Errors
    /// As [`Journey::step`].
    pub fn finish(&mut self) -> Result<(), Wrong> {
        while self.step()? == Progress::Going {}
        Ok(())
    }

    fn target(&mut self) -> Result<(), Wrong> {
        let before = self.world.machine.cpu(TARGET).rip;
        let code = self.world.lot()?.range.start + park_core::lot::header::CODE_OFFSET;
        let in_bay_code = before.wrapping_sub(code) < park_core::lot::layout::CODE_LEN;
        if self.log.is_some() {
            let text = self.world.machine.disassemble(TARGET);
            let pending = if self.world.machine.event_pending(TARGET) { " (an event comes first)" } else { "" };
            let place = if in_bay_code { format!("bay code + {:03x}", before - code) } else { format!("{before:#x}") };
            self.note(format!("CPU {TARGET} at {place}: {text}{pending}"));
        }
        let instructions = self.world.machine.cpu(TARGET).instructions;
        self.world.step(TARGET)?;
        let state = self.world.machine.cpu(TARGET);
        let executed = state.instructions != instructions;
        // Only the jump through the entry counts: a handler returns to the entry's first instruction too.
        if executed && in_bay_code && self.entry.is_some_and(|entry| entry.rip == state.rip) && !self.is_iret(before) {
            self.entered += 1;
        }
        if self.leg == Leg::Arriving && state.rip == self.world.kernel.arrive() && state.rip != before {
            let plant = self.plant;
            plant.in_frame(&mut self.world, TARGET, self.bay, FrameKind::Arrival)?;
        }
        Ok(())
    }

    /// Whether IRETQ stands at `phys` (REX.W CF: Intel SDM vol. 2A, IRET).
    fn is_iret(&self, phys: u64) -> bool {
        let mut bytes = [0; 2];
        self.world.machine.read_phys(phys, &mut bytes);
        bytes == [0x48, 0xcf]
    }

    fn enter(&mut self, leg: Leg) {
        self.leg = leg;
        self.steps = 0;
        if self.log.is_some() {
            self.note(format!("-- {leg}"));
        }
    }
    fn can_move(&self) -> bool {
        let machine = &self.world.machine;
        machine.can_step(TARGET) || machine.cpu(TARGET).stores_waiting()
    }

    fn bay_address(&self, word: u64) -> Result<u64, Wrong> {
        Ok(self.world.lot()?.range.start + self.bay.offset() + word)
    }

    fn bay_word(&self, word: u64) -> Result<u64, Wrong> {
        Ok(self.world.machine.read_phys_u64(self.bay_address(word)?))
    }

    /// A register of the travelling CPU, for reports.
    #[must_use]
    pub fn register(&mut self, register: HostReg) -> Option<u64> {
        self.world.machine.read_reg(TARGET, register).ok()
    }

    /// RIP of the travelling CPU.
    #[must_use]
    pub fn rip(&self) -> u64 {
        self.world.machine.cpu(TARGET).rip
    }
}
