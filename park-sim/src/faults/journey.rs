//! One CPU's journey: into the lot, its wait there, a ring, and out through the entry; a step at a time, so that anything
//! can happen between two steps.
//!
//! CPU [`BOSS`] holds the lease and rings; CPU [`TARGET`] travels. Between wait and ring another kernel takes over, so
//! that nothing of the first one may serve any more.

use super::plant::{Change, Plant};
use super::ring::{Order, Ringer, Style, Turn};
use super::wrong::{Leg, Wrong};
use crate::machine::knobs::{McGif0, MwaitWaits};
use crate::machine::{Activity, Event, EventKind, HostReg, MachineConfig};
use crate::world::{DEFAULT_LOT, FrameKind, HandlerKind, OldMemory, ParkRequest, TAG_LOT, TAG_NOBODY, World};
use core::fmt;
use park_core::lot::{Command, Doorbell, PagingLevels, Phase, Stage, WaitFlags, bay};
use park_core::op::{Bay, Confirm, Flush, Hold, Release};
use park_core::{Entry, Mechanism};
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
    /// What happens on the way.
    pub plan: Plan,
    /// The seed of the schedule: when stores drain.
    pub seed: u64,
}

/// What happens on the way, where it is not the plain journey.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Plan {
    /// How the boss rings.
    pub style: Style,
    /// Commands that the CPU carries out in its wait before it is woken.
    pub before: &'static [Command],
    /// Journeys into the same bay before this one.
    pub rounds_before: u32,
    /// Where the entry leads.
    pub entry: EntryKind,
    /// Steps of the target between two accesses of the boss that rings, if not one.
    pub slow_boss: u64,
}

/// Where an entry leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum EntryKind {
    /// Through the owner text to the landing.
    #[default]
    Landing,
    /// To an address that the transit root does not map.
    Nowhere,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.levels as u8;
        let (vendor, mechanism) = (self.machine.vendor, self.request.mechanism);
        write!(f, "{vendor:?} {mechanism}, {levels} levels, from {}, seed {}", self.way_in.name(), self.seed)?;
        if self.plan != Plan::default() {
            write!(f, ", {:?}", self.plan)?;
        }
        Ok(())
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

/// Bytes of a cache line.
const LINE: u64 = 64;
/// Steps in which a CPU that faulted comes to rest.
const FAULTED_STEPS: u64 = 300;
/// Steps for which a held CPU is watched.
const HELD_STEPS: u64 = 200;
/// Steps for which a CPU is watched whose ticket was revoked.
const REVOKED_STEPS: u64 = 200;
/// A linear address that no kernel maps: canonical, in the low half, far from any lot.
const NOWHERE: u64 = 0x4000_0000_0000;

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

    /// Whether a CPU that stopped with a fault record stays where it is.
    ///
    /// # Errors
    /// [`Wrong`] if it does not.
    pub fn check_stays_faulted(&mut self) -> Result<(), Wrong> {
        for _ in 0..FAULTED_STEPS {
            if !self.can_move() {
                break;
            }
            self.target()?;
            match self.check() {
                Err(Wrong::Faulted { .. }) => {}
                Err(wrong) => return Err(wrong),
                Ok(()) => return Err(Wrong::NotFaulted),
            }
        }
        let mcip = self.mc_in_progress();
        if self.world.machine.cpu(TARGET).activity != Activity::Hlt || mcip {
            return Err(Wrong::NotFaulted);
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
        self.check_acknowledged()?;
        self.world.await_arrival(BOSS, self.bay)?;
        self.enter(Leg::Waiting);
        Ok(Progress::Going)
    }

    /// At the acknowledgement nothing of the owner's is dirty, where caches were to be written back.
    fn check_acknowledged(&mut self) -> Result<(), Wrong> {
        let machine = &self.world.machine;
        self.nmis_at_ack = machine.cpu(TARGET).taken.nmi;
        let is_owners = |line: u64| machine.tag_at(line) != TAG_LOT;
        if self.request.flags.contains(WaitFlags::WBINVD) && machine.dirty_lines(TARGET).any(is_owners) {
            return Err(Wrong::NotParked { what: "a line of its owner's is dirty in its cache" });
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Progress, Wrong> {
        let never_waits = self.world.machine.knobs.get::<MwaitWaits>() == MwaitWaits::Never;
        let polls = self.mechanism == Mechanism::Clgi || (self.mechanism == Mechanism::Mwait && never_waits);
        if self.can_move() && (self.steps < WAIT_STEPS || !polls) {
            self.target()?;
            return Ok(Progress::Going);
        }
        self.check_parked(if polls { Wait::Polls } else { Wait::Sleeps })?;
        self.change_kernels()?;
        for command in self.plan.before {
            self.command(*command)?;
        }
        if self.mechanism == Mechanism::Clgi && !self.plan.before.is_empty() {
            self.world.let_others_run(BOSS, HELD_STEPS)?;
            if self.world.machine.cpu(TARGET).gif {
                return Err(Wrong::NotParked { what: "after a command GIF is 1" });
            }
        }
        let mut entry = self.world.entry(TARGET)?;
        if self.plan.entry == EntryKind::Nowhere {
            entry.rip = NOWHERE;
        }
        self.entry = Some(entry);
        self.ring_by(self.plan.style)?;
        self.enter(Leg::Ringing);
        Ok(Progress::Going)
    }

    fn ring_by(&mut self, style: Style) -> Result<(), Wrong> {
        let late = self.plant.changes.iter().any(|change| matches!(change, Change::EntryAfterDoorbell));
        let order = if late { Order::DoorbellFirst } else { Order::EntryFirst };
        let entry = self.entry.ok_or(Wrong::Seen { what: "there is no entry to ring for" })?;
        self.ringer = Some(Ringer::new(style, order, self.bay, entry, self.world.machine.tsc()));
        Ok(())
    }

    /// Has the CPU carry out a command that returns.
    fn command(&mut self, command: Command) -> Result<(), Wrong> {
        let timing = self.world.timing();
        match command {
            Command::Confirm => self.world.drive(BOSS, Confirm::new(self.bay, timing)).map(|_| ())?,
            Command::Flush => {
                self.world.drive(BOSS, Flush::new(self.bay, timing))?;
                let stack_line = self.bay_address(bay::FAULT_STACK_TOP)? - LINE;
                if self.world.machine.dirty_lines(TARGET).any(|line| line == stack_line) {
                    return Err(Wrong::Seen { what: "a line is dirty that was written before the flush" });
                }
            }
            Command::Hold => {
                let held = self.world.drive(BOSS, Hold::new(self.bay, timing))?;
                self.world.let_others_run(BOSS, HELD_STEPS)?;
                let doorbell = Doorbell(self.bay_word(bay::DOORBELL)?);
                if doorbell.phase() != Some(Phase::Claimed) {
                    return Err(Wrong::Seen { what: "a held CPU did not wait for its release" });
                }
                let deadline = self.world.timing().deadline;
                self.world.drive(BOSS, Release::new(held, deadline))?;
            }
            Command::None | Command::Wake | Command::Repark => {}
        }
        Ok(())
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
        if let Some(left) = self.revoked {
            return self.stay(left);
        }
        // In turns: an access of the boss, a step or more of the target.
        let turn = self.steps % (self.plan.slow_boss.max(1) + 1);
        if turn != 0 && self.can_move() {
            self.target()?;
            return Ok(Progress::Going);
        }
        let Some(mut ringer) = self.ringer.take() else { return Err(Wrong::TooSlow { leg: self.leg }) };
        let (turn, line) = ringer.turn(&mut self.world.on(BOSS)?)?;
        self.world.machine.drain_one(BOSS);
        if self.log.is_some() {
            self.note(format!("CPU {BOSS} {line}"));
        }
        self.ringer = Some(ringer);
        match turn {
            Turn::Going => {}
            Turn::Idle(until) if self.can_move() || until < self.world.machine.tsc() => {}
            Turn::Idle(until) => {
                let now = self.world.machine.tsc();
                self.world.machine.advance_tsc(until - now);
            }
            Turn::Claimed => self.enter(Leg::Leaving),
            Turn::Revoked => self.revoked = Some(REVOKED_STEPS),
        }
        Ok(Progress::Going)
    }

    /// A CPU whose ticket was taken back stays in its bay; later it is rung again.
    fn stay(&mut self, left: u64) -> Result<Progress, Wrong> {
        if left > 0 {
            self.revoked = Some(left - 1);
            if self.can_move() {
                self.target()?;
            }
            let doorbell = Doorbell(self.bay_word(bay::DOORBELL)?);
            if self.bay_word(bay::STAGE)? != Stage::Waiting as u64 || doorbell.phase() != Some(Phase::Quiet) {
                return Err(Wrong::Seen { what: "the CPU claimed a ticket that was revoked" });
            }
            return Ok(Progress::Going);
        }
        self.revoked = None;
        self.ring_by(Style::Wake)?;
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
        if self.rounds == 0 {
            return Ok(Progress::Done);
        }
        self.rounds -= 1;
        self.again()?;
        Ok(Progress::Going)
    }

    /// Into the same bay once more.
    fn again(&mut self) -> Result<(), Wrong> {
        let bay = self.world.reserve(BOSS, &self.request)?;
        if bay.offset() != self.bay.offset() {
            return Err(Wrong::NotFreed);
        }
        self.bay = bay;
        (self.entry, self.ringer, self.entered) = (None, None, 0);
        let steps = self.plant.steps(&self.request.steps);
        self.world.begin_arrival(TARGET, bay, steps)?;
        self.enter(Leg::Arriving);
        Ok(())
    }

    fn check_parked(&mut self, wait: Wait) -> Result<(), Wrong> {
        let mcip = self.mc_in_progress();
        let state = self.world.machine.cpu(TARGET);
        let took_nmi = self.mechanism == Mechanism::Clgi && state.taken.nmi != self.nmis_at_ack;
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
            (took_nmi, "it took an NMI that GIF = 0 should hold"),
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
