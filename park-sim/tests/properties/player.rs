//! Plays a script in a world: operations of the boss, steps of all others, and events between any two steps.

use super::coverage::{Coverage, State};
use super::draw::{Drawn, Thrown};
use crate::support;
use park_core::lot::{Doorbell, Phase, Stage, bay};
use park_core::op::{AwaitArrival, Bay, Operation, Reply, Step};
use park_core::{Clock, Error, IpiSender, LotMemory, Mechanism};
use park_sim::machine::knobs::{McGif0, NmiBlockAcrossSmm, SmmRendezvous};
use park_sim::machine::{Activity, Event, Gpr, HostReg, ResetCause};
use park_sim::platform::OnCpu;
use park_sim::world::{DEFAULT_LOT, ParkRequest, World, WorldError};
use park_x86::features::Features;
use park_x86::registers::msr;
use std::collections::VecDeque;

pub(crate) use super::known::{Known, Stopped};

/// Steps that others take between two accesses of an operation, at most.
const PAUSE_STEPS: u64 = 8;
/// Steps that others take while an operation waits.
const WAIT_STEPS: u64 = 64;
/// Steps in which a CPU lands that has claimed, whatever SMM takes meanwhile.
const LANDING_STEPS: u64 = 50_000;
/// Steps in which SMM is left, or has reset the machine.
const SMM_PATIENCE_STEPS: u64 = 100_000;
/// Steps in which a CPU comes to rest, and more for each CPU that takes steps beside it.
const SETTLE_STEPS: u64 = 600;
const SETTLE_STEPS_PER_CPU: u64 = 60;

/// A world, what was thrown at it, and what is to come.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    pub(crate) world: World,
    pub(crate) boss: usize,
    pub(crate) known: Vec<Known>,
    pub(crate) coverage: &'a mut Coverage,
    /// The CPU at which events are thrown.
    pub(crate) target: usize,
    /// Events to come: steps until the first, then until the next.
    pub(crate) script: VecDeque<(u64, Thrown)>,
    pub(crate) bsp: usize,
}

impl<'a> Player<'a> {
    pub(crate) fn boot(drawn: &Drawn, coverage: &'a mut Coverage) -> Result<Self, String> {
        let mut world = World::boot(drawn.config(), drawn.levels, drawn.seed).map_err(|error| error.to_string())?;
        world.build_lot(DEFAULT_LOT, drawn.cpus as u32).map_err(|error| error.to_string())?;
        let known = vec![Known::default(); drawn.cpus];
        let bsp = drawn.bsp % drawn.cpus;
        Ok(Self { world, boss: drawn.boss(), known, coverage, target: 0, script: VecDeque::new(), bsp })
    }

    /// What to park a CPU by: what is drawn, if the CPU can.
    pub(crate) fn request(&self, cpu: usize, wanted: Mechanism) -> ParkRequest {
        let config = self.world.machine.config();
        let features = Features::read(|leaf, subleaf| {
            let regs = config.cpuid.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        });
        // The BSP can't be parked by Clgi: an INIT, once taken, resets the machine.
        let wanted = if cpu == self.bsp && wanted == Mechanism::Clgi { Mechanism::Hlt } else { wanted };
        let (mechanism, orders) = match support::orders_of(wanted, &features) {
            Some(orders) => (wanted, orders),
            None => (Mechanism::Hlt, support::orders_of(Mechanism::Hlt, &features).expect("HLT is always there")),
        };
        ParkRequest::new(cpu, mechanism, orders.wait_flags, orders.mwait_hint, orders.steps())
    }

    /// Lets a CPU begin to go, from its kernel's idle loop.
    pub(crate) fn begin(&mut self, cpu: usize, wanted: Mechanism) -> Result<Bay, Stopped> {
        let request = self.request(cpu, wanted);
        let boss = self.boss;
        let bay = self.with(|world| world.reserve(boss, &request))?;
        self.known[cpu].bay = Some(bay);
        self.known[cpu].mechanism = Some(request.mechanism);
        // No kernel's code begins on a CPU that is in SMM.
        self.leave_smm()?;
        self.with(|world| world.begin_arrival(cpu, bay, request.steps))?;
        Ok(bay)
    }

    /// Parks a CPU from its kernel's idle loop, and awaits it.
    pub(crate) fn park(&mut self, cpu: usize, wanted: Mechanism) -> Result<Bay, Stopped> {
        let bay = self.begin(cpu, wanted)?;
        let deadline = self.world.timing().deadline;
        self.drive(AwaitArrival::new(bay, deadline))?.map_err(|error| error.to_string())?;
        Ok(bay)
    }

    /// Something that the world does by itself.
    pub(crate) fn with<T>(&mut self, act: impl FnOnce(&mut World) -> Result<T, WorldError>) -> Result<T, Stopped> {
        act(&mut self.world).or_else(|error| {
            // A machine that was reset does nothing any more.
            self.check()?;
            Err(Stopped::Wrong(error.to_string()))
        })
    }

    /// What is thrown from here on, and at whom.
    pub(crate) fn expect(&mut self, target: usize, script: &[(u64, Thrown)]) {
        self.target = target;
        self.script = script.iter().copied().collect();
    }

    /// Drives an operation of the boss.
    pub(crate) fn drive<O: Operation>(&mut self, operation: O) -> Result<Result<O::Output, Error>, Stopped> {
        self.drive_on(self.boss, operation, u64::MAX).map(|ended| ended.expect("it has all the steps it wants"))
    }

    /// Drives an operation on a CPU for so many of its steps; `None` if it was not over by then: its kernel crashed.
    pub(crate) fn drive_on<O: Operation>(
        &mut self,
        cpu: usize,
        mut operation: O,
        most: u64,
    ) -> Result<Option<Result<O::Output, Error>>, Stopped> {
        let mut reply = Reply::Start;
        for _ in 0..most {
            let steps = self.world.scheduler.rng.below(PAUSE_STEPS);
            self.others(steps)?;
            let mut platform = self.world.on(cpu).map_err(|error| error.to_string())?;
            let now = platform.now();
            reply = match operation.next(reply, now) {
                Step::Done(result) => return Ok(Some(result)),
                Step::Wait { until } => {
                    self.wait(until)?;
                    Reply::Waited
                }
                step => {
                    let reply = perform(&mut platform, &step);
                    let state = self.state(self.target);
                    self.coverage.rung(state, &mut self.world.machine);
                    reply
                }
            };
        }
        Ok(None)
    }

    /// Lets time pass, `until` at most: an early reply is allowed, and the operation looks again.
    fn wait(&mut self, until: u64) -> Result<(), Stopped> {
        if self.others(WAIT_STEPS)? == 0 && self.script.is_empty() {
            let rest = until.saturating_sub(self.world.machine.tsc());
            self.world.machine.advance_tsc(rest);
        }
        Ok(())
    }

    /// Steps of all CPUs but the boss, whose kernel code is host-modelled; events as the script says.
    pub(crate) fn others(&mut self, steps: u64) -> Result<u64, Stopped> {
        let mut taken = 0;
        for _ in 0..steps {
            match self.script.front_mut() {
                Some((0, thrown)) => {
                    let thrown = *thrown;
                    self.script.pop_front();
                    self.throw(thrown);
                }
                Some((left, _)) => *left -= 1,
                None => {}
            }
            taken += self.world.let_others_run(self.boss, 1).map_err(|error| error.to_string()).or_else(|wrong| {
                // A machine that was reset does not run: check() says whether that was declared.
                if self.world.machine.was_reset().is_some() { Ok(0) } else { Err(wrong) }
            })?;
            self.coverage.step(&mut self.world.machine);
            self.check()?;
        }
        Ok(taken)
    }

    /// Lets everybody come to rest.
    pub(crate) fn settle(&mut self) -> Result<(), Stopped> {
        while !self.script.is_empty() {
            self.others(16)?;
        }
        let mut left = SETTLE_STEPS + SETTLE_STEPS_PER_CPU * self.known.len() as u64;
        while left > 0 && self.others(32)? > 0 {
            left = left.saturating_sub(32);
        }
        Ok(())
    }

    /// Lets others run until a CPU has landed, or could have for long.
    pub(crate) fn await_landing(&mut self, cpu: usize) -> Result<u64, Stopped> {
        for _ in 0..LANDING_STEPS {
            if self.landings(cpu) != 0 || self.known[cpu].init || self.known[cpu].doomed {
                break;
            }
            if self.others(1)? == 0 && self.script.is_empty() {
                break;
            }
        }
        self.settle()?;
        Ok(self.landings(cpu))
    }

    /// How often a CPU took an entry of the current kernel's.
    fn landings(&self, cpu: usize) -> u64 {
        self.world.kernel.witness(&self.world.machine, cpu).entries - self.known[cpu].fetched
    }

    /// Lets SMM be left, before the boss's state is replaced by another kernel's.
    pub(crate) fn leave_smm(&mut self) -> Result<(), Stopped> {
        for _ in 0..SMM_PATIENCE_STEPS {
            let machine = &self.world.machine;
            let inside = (0..self.known.len()).any(|cpu| machine.cpu(cpu).in_smm());
            if !inside && !machine.cpu(self.boss).smi_held() {
                return Ok(());
            }
            self.others(1)?;
        }
        Err(Stopped::Wrong("SMM is not left".to_owned()))
    }

    pub(crate) fn stage(&self, cpu: usize) -> Option<Stage> {
        Stage::from_raw(self.word(cpu, bay::STAGE)?)
    }

    /// Whether a CPU waits and no command is in its doorbell: of the last owner's, it may be carrying one out still.
    pub(crate) fn can_be_rung(&self, cpu: usize) -> bool {
        let phase = self.word(cpu, bay::DOORBELL).and_then(|word| Doorbell(word).phase());
        self.stage(cpu) == Some(Stage::Waiting) && phase == Some(Phase::Quiet)
    }

    pub(crate) fn word(&self, cpu: usize, offset: u64) -> Option<u64> {
        let lot = self.world.lot?.range.start;
        Some(self.world.machine.read_phys_u64(lot + self.known[cpu].bay?.offset() + offset))
    }

    fn state(&self, cpu: usize) -> Option<State> {
        let known = self.known[cpu];
        match self.stage(cpu)? {
            Stage::Out | Stage::Arriving => Some(State::Arriving),
            Stage::Leaving | Stage::LeavingByMailbox => Some(State::Leaving),
            Stage::Faulted => None,
            Stage::Waiting => {
                let doorbell = Doorbell(self.word(cpu, bay::DOORBELL)?);
                Some(if doorbell.phase() == Some(Phase::Quiet) {
                    State::waiting(known.mechanism?)
                } else {
                    State::Rung
                })
            }
        }
    }

    fn throw(&mut self, thrown: Thrown) {
        let target = self.target;
        let Some(state) = self.state(target) else { return };
        if self.known[target].init || self.known[target].doomed {
            return;
        }
        match thrown {
            // What the BSP does on INIT is declared: the machine resets.
            Thrown::Init if target == self.bsp => return,
            Thrown::Init => self.known[target].init = true,
            Thrown::Mc if !self.may_machine_check() => return,
            Thrown::Nmi | Thrown::Smi if self.may_nest_in_kernel(target) => return,
            _ => {}
        }
        self.coverage.throw(thrown, state, &mut self.world.machine);
        let meets = self.world.machine.knobs.get::<SmmRendezvous>() != SmmRendezvous::None;
        let event = if thrown == Thrown::Smi && meets {
            // Where SMI handlers meet, the chipset sends the SMI to all.
            Event::all(thrown.kind())
        } else {
            Event::at(target, thrown.kind())
        };
        self.world.machine.inject(event);
    }

    /// Whether an NMI could come into the simulated kernel's own NMI handler, which has one stack: SMM in between has
    /// taken the blocking away. What the lot's handler does then is another matter, and park's.
    fn may_nest_in_kernel(&self, cpu: usize) -> bool {
        let machine = &self.world.machine;
        let state = machine.cpu(cpu);
        let in_kernel = self.kernel_handlers().contains(&state.rip) || state.in_smm() || state.smi_held();
        let in_lot = self.stage(cpu) == Some(Stage::Waiting);
        machine.knobs.get::<NmiBlockAcrossSmm>() == NmiBlockAcrossSmm::Lost && in_kernel && !in_lot
    }

    /// Where the simulated kernel's handlers lie.
    fn kernel_handlers(&self) -> core::ops::Range<u64> {
        self.world.kernel.code.landed + 1..self.world.kernel.owner_text()
    }

    /// Whether a machine check is park's business now; notes which CPUs it is a declared shutdown for.
    fn may_machine_check(&mut self) -> bool {
        let handlers = self.kernel_handlers();
        let shuts = self.world.machine.knobs.get::<McGif0>() == McGif0::Shutdown;
        let mut doomed = Vec::new();
        for cpu in 0..self.known.len() {
            let in_progress = self.world.machine.read_reg(cpu, HostReg::Msr(msr::MCG_STATUS)).unwrap_or(0);
            let state = self.world.machine.cpu(cpu);
            let mcip = in_progress & msr::MCG_STATUS_MCIP != 0;
            // Machine checks in SMM, in the simulated kernel's own handlers, and one on top of another are not park's.
            let elsewhere = state.in_smm() || state.smi_held() || state.mc_held() || handlers.contains(&state.rip);
            if elsewhere || (mcip && self.known[cpu].bay.is_none()) {
                return false;
            }
            if mcip || (!state.gif && shuts) || state.activity == Activity::WaitForSipi {
                doomed.push(cpu);
            }
        }
        // Only those that receive it shut down; a CPU that does not is merely not asked any more.
        doomed.into_iter().for_each(|cpu| self.known[cpu].doomed = true);
        true
    }

    /// What must never be.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        let machine = &self.world.machine;
        if let Some(breach) = machine.breaches.first().first() {
            // An NMI takes a CPU out of a declared shutdown, to nowhere.
            if self.known[breach.cpu].doomed {
                return Err(Stopped::Over);
            }
            return Err(format!("CPU {} touched what is not its own: {breach:x?}", breach.cpu).into());
        }
        if let Some(cause) = machine.was_reset() {
            let declared = match cause {
                ResetCause::BroadcastMachineCheck { cpu } | ResetCause::CpuShutdown { cpu } => self.known[cpu].doomed,
                // Firmware waits for a CPU that holds SMIs, waits for SIPI, or has shut down.
                ResetCause::SmmHang { .. } => self
                    .known
                    .iter()
                    .any(|known| known.mechanism == Some(Mechanism::Clgi) || known.init || known.doomed),
                _ => false,
            };
            return if declared { Err(Stopped::Over) } else { Err(format!("the machine was reset: {cause:?}").into()) };
        }
        for (cpu, known) in self.known.iter().enumerate() {
            if machine.cpu(cpu).activity == Activity::Shutdown && !known.doomed {
                return Err(format!("CPU {cpu} shut down").into());
            }
            if self.stage(cpu) == Some(Stage::Faulted) && !known.doomed {
                let rip = self.word(cpu, bay::FAULT_RIP);
                return Err(format!("CPU {cpu} faulted in its bay at {rip:x?}").into());
            }
        }
        Ok(())
    }

    /// Whether an acknowledged CPU that came to rest is where it says; `settle` came before.
    pub(crate) fn check_parked(&mut self, cpu: usize) -> Result<(), Stopped> {
        let known = self.known[cpu];
        let in_smm = self.world.machine.cpu(cpu).in_smm();
        if known.init || known.doomed || in_smm || self.stage(cpu) != Some(Stage::Waiting) {
            return Ok(());
        }
        let status = self.world.machine.read_reg(cpu, HostReg::Msr(msr::MCG_STATUS)).unwrap_or(0);
        let rests = !self.world.machine.can_step(cpu);
        let state = self.world.machine.cpu(cpu);
        let waits = match known.mechanism {
            Some(Mechanism::Hlt) => state.activity == Activity::Hlt,
            Some(Mechanism::Mwait) => matches!(state.activity, Activity::Mwait { .. }),
            Some(Mechanism::Clgi) => !state.gif,
            _ => false,
        };
        let blocked = state.nmi_blocked;
        if rests && !waits {
            let wrong = format!("CPU {cpu} says that it waits by {:?}, and is {:?}", known.mechanism, state.activity);
            return Err(wrong.into());
        }
        if rests && (blocked || status & msr::MCG_STATUS_MCIP != 0) {
            let place = format!("RIP {:#x}, RSP {:#x}", state.rip, state.reg(Gpr::Rsp));
            return Err(format!("CPU {cpu} rests at {place}, NMIs blocked {blocked}, MCG_STATUS {status:#x}").into());
        }
        if !self.world.is_confined_to_lot(cpu) {
            return Err(format!("CPU {cpu} says that it waits, and may touch more than the lot").into());
        }
        Ok(())
    }
}

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
