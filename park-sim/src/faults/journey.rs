//! One CPU's journey: into the lot, its wait there, a ring, and out through the entry; a step at a time, so that anything
//! can happen between two steps.
//!
//! CPU [`BOSS`] holds the lease and rings; CPU [`TARGET`] travels. Between wait and ring another kernel takes over, so
//! that nothing of the first one may serve any more.

use super::plant::Plant;
use super::wrong::{Leg, Wrong};
use crate::machine::knobs::{McGif0, MwaitWaits};
use crate::machine::{Activity, Event, EventKind, HostReg, MachineConfig};
use crate::platform::OnCpu;
use crate::world::{
    DEFAULT_LOT, FrameKind, HandlerKind, KICK_TICKS, OldMemory, ParkRequest, TAG_NOBODY, World, WorldError,
};
use core::fmt;
use park_core::lot::{PagingLevels, Stage, bay};
use park_core::op::{Bay, Operation, Reply, Step, Ticket, Timing, Wake};
use park_core::{Clock, Entry, IpiSender, LotMemory, Mechanism};
use park_x86::registers::control::Efer;
use park_x86::registers::msr;

/// The CPU that holds the lease and rings.
pub const BOSS: usize = 0;
/// The CPU that travels.
pub const TARGET: usize = 1;

/// Bays of the lot: the target's, and one more.
const BAYS: u32 = 2;
/// Steps that the target may take on one leg; the longest takes a tenth of it.
const LEG_STEPS: u64 = 4_000;
/// Steps in the wait before the ring: three laps of the longest polling loop.
const WAIT_STEPS: u64 = 24;
/// Steps after the landing, in which what was held is delivered and handled.
const LANDED_STEPS: u64 = 64;
/// Kicks that a ring may need: one for each event that can swallow one, and some.
const KICKS: u64 = 16;

/// Where the CPU is when it is told to park.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WayIn {
    /// In its kernel's idle loop.
    Idle,
    /// In its kernel's NMI handler: NMIs are blocked.
    NmiHandler,
    /// In its kernel's #MC handler: MCIP is set.
    McHandler,
}

impl WayIn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Idle, Self::NmiHandler, Self::McHandler];

    /// The name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::NmiHandler => "nmi-handler",
            Self::McHandler => "mc-handler",
        }
    }
}

/// A machine, a CPU of it that parks, and how.
#[derive(Clone, Debug)]
pub struct Case {
    /// The machine: at least two CPUs.
    pub machine: MachineConfig,
    /// How [`TARGET`] parks.
    pub request: ParkRequest,
    /// Levels of paging.
    pub levels: PagingLevels,
    /// Where the CPU comes from.
    pub way_in: WayIn,
    /// The seed of the schedule: when stores drain.
    pub seed: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.levels as u8;
        let (vendor, mechanism) = (self.machine.vendor, self.request.mechanism);
        write!(f, "{vendor:?} {mechanism}, {levels} levels, from {}, seed {}", self.way_in.name(), self.seed)
    }
}

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
    ring: Option<(Wake, Reply)>,
    ticket: Option<Ticket>,
    entry: Option<Entry>,
    entered: u32,
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
        world.build_lot(DEFAULT_LOT, BAYS)?;
        plant.in_lot(&mut world)?;
        plant.in_kernel(&mut world)?;
        let bay = world.reserve(BOSS, &case.request)?;
        match case.way_in {
            WayIn::Idle => {}
            WayIn::NmiHandler => world.interrupt(TARGET, HandlerKind::Nmi)?,
            WayIn::McHandler => world.interrupt(TARGET, HandlerKind::Mc)?,
        }
        plant.in_owner_state(&mut world, TARGET);
        world.begin_arrival(TARGET, bay, plant.steps(&case.request.steps))?;
        Ok(Self {
            world,
            plant,
            bay,
            mechanism: case.request.mechanism,
            leg: Leg::Arriving,
            steps: 0,
            ring: None,
            ticket: None,
            entry: None,
            entered: 0,
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

    /// Throws an event at the travelling CPU, before its next step.
    pub fn inject(&mut self, kind: EventKind) {
        if kind == EventKind::MachineCheck {
            let held =
                !self.world.machine.cpu(TARGET).gif && self.world.machine.knobs.get::<McGif0>() == McGif0::Shutdown;
            self.doomed |= held || self.mc_in_progress();
        }
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

    fn arrive(&mut self) -> Result<Progress, Wrong> {
        if self.bay_word(bay::STAGE)? != Stage::Waiting as u64 {
            if !self.can_move() {
                return Err(Wrong::TooSlow { leg: self.leg });
            }
            self.target()?;
            return Ok(Progress::Going);
        }
        self.world.await_arrival(BOSS, self.bay)?;
        self.enter(Leg::Waiting);
        Ok(Progress::Going)
    }

    fn wait(&mut self) -> Result<Progress, Wrong> {
        let polls =
            self.mechanism == Mechanism::Clgi || self.world.machine.knobs.get::<MwaitWaits>() == MwaitWaits::Never;
        if self.can_move() && (self.steps < WAIT_STEPS || !polls) {
            self.target()?;
            return Ok(Progress::Going);
        }
        self.check_parked(if polls { Wait::Polls } else { Wait::Sleeps })?;
        self.change_kernels()?;
        let entry = self.world.entry(TARGET)?;
        let now = self.world.machine.tsc();
        let timing = Timing { kick_interval_ticks: KICK_TICKS, deadline: now + KICKS * KICK_TICKS };
        self.entry = Some(entry);
        self.ring = Some((Wake::new(self.bay, entry, timing), Reply::Start));
        self.enter(Leg::Ringing);
        Ok(Progress::Going)
    }

    fn change_kernels(&mut self) -> Result<(), Wrong> {
        let old = self.world.kernel.range;
        self.world.hand_over(BOSS)?;
        self.world.kexec(BOSS, OldMemory::Kept)?;
        // By its tag the old kernel's memory is gone; to write all of it would only take time.
        self.world.machine.set_tag(old, TAG_NOBODY);
        let plant = self.plant;
        plant.in_kernel(&mut self.world)?;
        self.bay = self.world.accept(BOSS, self.bay)?;
        Ok(())
    }

    fn ring(&mut self) -> Result<Progress, Wrong> {
        // In turns: an access of the boss, a step of the target.
        if self.steps % 2 == 1 && self.can_move() {
            self.target()?;
            return Ok(Progress::Going);
        }
        let Some((mut wake, reply)) = self.ring else { return Err(Wrong::TooSlow { leg: self.leg }) };
        let mut platform = self.world.on(BOSS)?;
        let now = platform.now();
        let step = wake.next(reply, now);
        let reply = match step {
            Step::Done(result) => {
                self.ticket = Some(result.map_err(WorldError::from)?);
                self.ring = None;
                self.enter(Leg::Leaving);
                return Ok(Progress::Going);
            }
            // An early reply is allowed: the operation looks again.
            Step::Wait { until } => {
                if !self.can_move() {
                    self.world.machine.advance_tsc(until.saturating_sub(now));
                }
                Reply::Waited
            }
            other => perform(&mut platform, &other),
        };
        self.world.machine.drain_one(BOSS);
        if self.log.is_some() {
            self.note(format!("CPU {BOSS}: {step:x?} -> {reply:x?}"));
        }
        self.ring = Some((wake, reply));
        Ok(Progress::Going)
    }

    fn leave(&mut self) -> Result<Progress, Wrong> {
        if self.world.kernel.witness(&self.world.machine, TARGET).entries == 0 {
            if !self.can_move() {
                return Err(Wrong::TooSlow { leg: self.leg });
            }
            self.target()?;
            return Ok(Progress::Going);
        }
        self.enter(Leg::Landed);
        Ok(Progress::Going)
    }

    fn land(&mut self) -> Result<Progress, Wrong> {
        if self.steps < LANDED_STEPS && self.can_move() {
            self.target()?;
            return Ok(Progress::Going);
        }
        let witness = self.world.kernel.witness(&self.world.machine, TARGET);
        if self.entered != 1 || witness.entries != 1 {
            return Err(Wrong::Entered { times: self.entered.max(witness.entries as u32) });
        }
        if witness.argument != self.world.kernel.witness_address(TARGET) {
            return Err(Wrong::WrongEntry { found: witness.argument });
        }
        self.check_landed()?;
        self.world.leave(TARGET, self.bay)?;
        if self.world.machine.load(BOSS, self.bay_address(bay::OWNER)?) & 0xff != 0 {
            return Err(Wrong::NotFreed);
        }
        Ok(Progress::Done)
    }

    fn check_parked(&mut self, wait: Wait) -> Result<(), Wrong> {
        let mcip = self.mc_in_progress();
        let state = self.world.machine.cpu(TARGET);
        let waits = match self.mechanism {
            Mechanism::Hlt => state.activity == Activity::Hlt,
            Mechanism::Mwait => wait == Wait::Polls || matches!(state.activity, Activity::Mwait { .. }),
            Mechanism::Clgi => !state.gif,
            Mechanism::WaitForSipi => state.activity == Activity::WaitForSipi,
        };
        let wrong = [
            (!waits, "it does not wait as its mechanism does"),
            (mcip && wait == Wait::Sleeps, "MCIP is set"),
            (state.nmi_blocked && wait == Wait::Sleeps, "NMIs are blocked"),
            (!self.world.is_confined_to_lot(TARGET), "its stage is not that of a waiting CPU"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => Err(Wrong::NotParked { what }),
            None => Ok(()),
        }
    }

    fn check_landed(&mut self) -> Result<(), Wrong> {
        let mcip = self.mc_in_progress();
        let state = self.world.machine.cpu(TARGET);
        let held = state.nmis_held() != 0 || state.mc_held() || state.init_held() || state.smi_held();
        let left = [
            (state.nmi_blocked, "NMIs are blocked"),
            (!state.gif, "GIF is 0"),
            (held, "an event is held"),
            (self.mechanism == Mechanism::Clgi && state.efer & Efer::SVME.bits() != 0, "EFER.SVME is set"),
            (mcip, "MCIP is set"),
        ];
        match left.into_iter().find(|(is_left, _)| *is_left) {
            Some((_, what)) => Err(Wrong::LeftBehind { what }),
            None => Ok(()),
        }
    }

    /// What must never be, whatever leg it is.
    fn check(&mut self) -> Result<(), Wrong> {
        let machine = &self.world.machine;
        if let Some(breach) = machine.breaches.first().first() {
            return Err(Wrong::Breach { kind: breach.kind, rip: breach.rip, phys: breach.phys, cpu: breach.cpu });
        }
        if let Some(cause) = machine.was_reset() {
            return Err(Wrong::Reset { cause });
        }
        let state = machine.cpu(TARGET);
        if state.activity == Activity::Shutdown {
            return Err(Wrong::Shutdown);
        }
        if self.bay_word(bay::STAGE)? == Stage::Faulted as u64 {
            let vector = (self.bay_word(bay::FAULT)? >> 32) as u8;
            return Err(Wrong::Faulted { vector, rip: self.bay_word(bay::FAULT_RIP)? });
        }
        if self.world.kernel.witness(&self.world.machine, TARGET).faults != 0 {
            return Err(Wrong::KernelFault);
        }
        Ok(())
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

/// Performs one access or IPI of an operation.
fn perform<T>(platform: &mut OnCpu<'_>, step: &Step<T>) -> Reply {
    let done = match *step {
        Step::Load { offset } => platform.load(offset).map(Reply::Value),
        Step::CompareExchange { offset, current, new } => {
            platform.compare_exchange(offset, current, new).map(Reply::Value)
        }
        Step::Store { offset, value } => platform.store(offset, value).map(|()| Reply::Stored),
        Step::SendNmi(target) => platform.send_nmi(target).map(|()| Reply::Sent),
        Step::SendInit(target) => platform.send_init(target).map(|()| Reply::Sent),
        Step::SendStartup { target, vector } => platform.send_startup(target, vector).map(|()| Reply::Sent),
        Step::Summon { .. } => Err(park_core::PlatformError::NoSuchRegister),
        Step::Wait { .. } | Step::Done(_) => Ok(Reply::Waited),
    };
    done.unwrap_or_else(Reply::Failed)
}
