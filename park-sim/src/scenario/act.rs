//! The verbs about single CPUs: park, wake, confirm, hold, flush, ring, revoke.

use super::error::ScenarioError;
use super::run::{Plan, Run};
use super::step::{By, From, Left, Result as Expected, Verb};
use super::{Cause, End};
use crate::foreign::Parker;
use crate::world::{HandlerKind, IdleLoop, ParkRequest, STARTUP_PAGE, WorldError};
use park_core::lot::Command;
use park_core::op::{
    AwaitArrival, Bay, Confirm, Flush, Hold, Processor, Publish, Quarantine, Rehabilitate, Release, Revoke, SinkToSipi,
    SipiTiming, Timing, WakeSipi,
};
use park_core::{Event, Mechanism, PhysAddr};
use park_x86::registers::control::{Cr4, Efer};
use park_x86::startup::{PAGE_LEN, StartupPage};

/// How soon a deadline is that is to be missed, in ticks: sooner than any arrival.
const IMPATIENCE_TICKS: u64 = 4;
/// How long a parked CPU may take to answer: many kicks, and longer than any stay in SMM.
const PATIENCE_TICKS: u64 = 100_000;
/// Ticks between INIT and STARTUP, and between two STARTUPs, in a simulation whose steps are ticks.
const INIT_DELAY_TICKS: u64 = 5_000;
const STARTUP_DELAY_TICKS: u64 = 5_000;
/// A vector of an interrupt that a kernel handles.
const SERVICE_VECTOR: u8 = 0x41;

type Done<T> = Result<T, ScenarioError>;

impl Run<'_> {
    pub(super) fn act(&mut self, verb: &Verb) -> Done<()> {
        match verb {
            Verb::Park { cpus, by, from, expect } => self.each(cpus, |run, cpu| run.park(cpu, *by, *from, *expect)),
            Verb::ParkLate { cpu, mechanism } => self.park_late(*cpu, *mechanism),
            Verb::Event { event, cpus, times, when } => self.throw(*event, cpus, *times, *when),
            Verb::Kexec { boss, old } => self.kexec(*boss, *old),
            Verb::Overwrite => self.overwrite(),
            Verb::Wake { cpus, expect } => self.each(cpus, |run, cpu| run.wake(cpu, *expect)),
            Verb::Confirm { cpus, expect } => self.each(cpus, |run, cpu| run.confirm(cpu, *expect)),
            Verb::Hold { cpus } => self.each(cpus, Self::hold),
            Verb::Release { cpus } => self.each(cpus, Self::release),
            Verb::Flush { cpus } => self.each(cpus, Self::flush),
            Verb::Ring { cpu } => self.ring(*cpu),
            Verb::Revoke { cpu, expect } => self.revoke(*cpu, expect),
            Verb::StaleRing { cpu, expect } => self.stale_ring(*cpu, *expect),
            Verb::HandOver => self.hand_over(),
            Verb::Adopt { how, expect } => self.adopt(*how, *expect),
            Verb::Quarantine { cpus } => self.each(cpus, Self::quarantine),
            Verb::Rehabilitate { cpu } => self.rehabilitate(*cpu),
            Verb::BuildLot => self.build_lot(),
            Verb::Corrupt { what, bit } => self.corrupt(*what, *bit),
            Verb::InitSipiSipi { cpus } => self.each(cpus, Self::init_sipi_sipi),
            Verb::Prepare { cpus, state } => self.each(cpus, |run, cpu| run.prepare(cpu, *state)),
            Verb::Reset { ram } => self.reset(*ram),
            Verb::S3 => {
                self.suspend();
                Ok(())
            }
            Verb::HibernateImage => {
                self.image = Some(self.world.image());
                Ok(())
            }
            Verb::HibernateRestore => self.hibernate_restore(),
            Verb::Run { steps } => self.settle(*steps),
            Verb::Repeat { times, steps } => (0..*times).try_for_each(|_| self.play(steps)),
        }
    }

    fn each(&mut self, cpus: &[usize], mut act: impl FnMut(&mut Self, usize) -> Done<()>) -> Done<()> {
        cpus.iter().try_for_each(|cpu| act(self, *cpu))
    }

    /// The bay of a CPU under the current lease.
    pub(super) fn bay(&self, cpu: usize) -> Done<Bay> {
        let index =
            self.cpus[cpu].bay.ok_or_else(|| self.step_error(format!("CPU {cpu} has no bay: park it first")))?;
        let lot = self.world.lot().map_err(|error| self.world_error(error))?;
        lot.lease.bay(index).map_err(|error| self.world_error(error.into()))
    }

    /// A timing for one CPU that answers or does not: many kicks long.
    pub(super) fn timing(&self) -> Timing {
        Timing { deadline: self.world.machine.tsc() + PATIENCE_TICKS, ..self.world.timing() }
    }

    fn park(&mut self, cpu: usize, by: By, from: From, expect: Expected) -> Done<()> {
        if cpu == self.boss {
            return Err(self.step_error(format!("CPU {cpu} runs the kernel that would park it: choose another boss")));
        }
        if !matches!(self.cpus[cpu].plan, Plan::Kernel | Plan::Taken) {
            return Err(self.step_error(format!("CPU {cpu} does not run the kernel: it can't be parked")));
        }
        let by = self.options.mechanism.map_or(by, By::Lot);
        self.cpus[cpu].by = Some(by);
        match by {
            By::Foreign(parker) => self.park_foreign(cpu, parker),
            By::Lot(mechanism) => self.park_in_lot(cpu, mechanism, from, expect),
        }
    }

    fn park_foreign(&mut self, cpu: usize, parker: Parker) -> Done<()> {
        let result = match parker {
            // Without the INIT the CPU stays in the loop that it waits for it in.
            Parker::RawInit if self.options.without == Some(Event::Init) => {
                self.world.enter_foreign(self.boss, cpu, parker)
            }
            _ => self.world.park_foreign(self.boss, cpu, parker),
        };
        self.cpus[cpu].plan = Plan::Parked(By::Foreign(parker));
        result.map_err(|error| self.world_error(error))
    }

    fn request(&mut self, cpu: usize, mechanism: Mechanism) -> Done<ParkRequest> {
        let orders = self.orders_for(cpu, mechanism)?;
        // A CPU goes into wait-for-SIPI from Hlt.
        let waits_by = if mechanism == Mechanism::WaitForSipi { Mechanism::Hlt } else { mechanism };
        Ok(ParkRequest {
            cpu,
            mechanism: waits_by,
            flags: orders.flags,
            mwait_hint: orders.mwait_hint,
            steps: orders.steps,
        })
    }

    fn park_in_lot(&mut self, cpu: usize, mechanism: Mechanism, from: From, expect: Expected) -> Done<()> {
        let request = self.request(cpu, mechanism)?;
        let boss = self.boss;
        let mut reserved = None;
        let mut result = self.world.reserve(boss, &request);
        if let Ok(bay) = result {
            reserved = Some(bay.index());
            // Not before: while the boss reserves, the CPU would leave its handler again.
            let left = self.leave_what_it_is_in(cpu, from)?;
            result = left.and_then(|()| self.world.begin_arrival(cpu, bay, request.steps.clone())).map(|()| bay);
        }
        if let Ok(bay) = result {
            result = self.world.await_arrival(boss, bay).map(|()| bay);
        }
        self.cpus[cpu].bay = reserved.or(self.cpus[cpu].bay);
        let Some(bay) = self.check("park", result, &[expect])? else {
            self.cpus[cpu].plan = if reserved.is_some() { Plan::Quarantined } else { self.cpus[cpu].plan };
            return Ok(());
        };
        self.cpus[cpu].plan = Plan::Parked(By::Lot(mechanism));
        if mechanism == Mechanism::WaitForSipi {
            let bootstrap = self.world.machine.cpu(cpu).bsp;
            let processor = if bootstrap { Processor::Bootstrap } else { Processor::Application };
            let sunk = self.world.drive(boss, SinkToSipi::new(bay, processor, INIT_DELAY_TICKS));
            self.check("send into wait-for-SIPI", sunk, &[expect])?;
        }
        Ok(())
    }

    /// Brings a CPU to where its kernel lets it park; the inner error is what the parking came to.
    fn leave_what_it_is_in(&mut self, cpu: usize, from: From) -> Done<Result<(), WorldError>> {
        let handler = |run: &mut Self, kind| run.world.interrupt(cpu, kind).map_err(|error| run.world_error(error));
        let boss = self.boss;
        match from {
            From::Idle => Ok(Ok(())),
            From::Nmi => handler(self, HandlerKind::Nmi).map(Ok),
            From::Mc => handler(self, HandlerKind::Mc).map(Ok),
            From::IdleHlt => Ok(self.world.call_out_of_idle(boss, cpu, IdleLoop::StiHlt)),
            From::IdleMwait => Ok(self.world.call_out_of_idle(boss, cpu, IdleLoop::StiMwait)),
            From::IdleMwaitBreak => Ok(self.world.call_out_of_idle(boss, cpu, IdleLoop::MwaitBreak)),
            From::IdleTpause => Ok(self.world.call_out_of_idle(boss, cpu, IdleLoop::Tpause)),
        }
    }

    fn park_late(&mut self, cpu: usize, mechanism: Mechanism) -> Done<()> {
        let mechanism = self.options.mechanism.unwrap_or(mechanism);
        let request = self.request(cpu, mechanism)?;
        let bay = self.world.reserve(self.boss, &request).map_err(|error| self.world_error(error))?;
        let deadline = self.world.now() + IMPATIENCE_TICKS;
        self.cpus[cpu].bay = Some(bay.index());
        self.cpus[cpu].by = Some(By::Lot(mechanism));
        let late = self.world.drive(self.boss, AwaitArrival::new(bay, deadline));
        self.check("await an arrival that comes late", late.map(|_| ()), &[Expected::Uncertain])?;
        self.cpus[cpu].plan = Plan::Quarantined;
        self.world.begin_arrival(cpu, bay, request.steps).map_err(|error| self.world_error(error))
    }

    fn quarantine(&mut self, cpu: usize) -> Done<()> {
        let bay = self.bay(cpu)?;
        let result = self.world.drive(self.boss, Quarantine::new(bay)).map(|_| ());
        self.check("quarantine", result, &[Expected::Done])?;
        if matches!(self.cpus[cpu].plan, Plan::Parked(_)) {
            self.cpus[cpu].plan = Plan::Quarantined;
        }
        Ok(())
    }

    fn rehabilitate(&mut self, cpu: usize) -> Done<()> {
        let bay = self.bay(cpu)?;
        let timing = self.timing();
        let result = self.world.drive(self.boss, Rehabilitate::new(bay, timing));
        if self.check("rehabilitate", result, &[Expected::Done])?.is_some() {
            self.cpus[cpu].plan = self.cpus[cpu].by.map_or(Plan::Kernel, Plan::Parked);
        }
        Ok(())
    }

    fn wake(&mut self, cpu: usize, expect: Expected) -> Done<()> {
        match self.cpus[cpu].plan {
            Plan::Parked(By::Lot(Mechanism::WaitForSipi)) => self.wake_sipi(cpu, expect),
            Plan::Parked(By::Lot(_)) => {
                let bay = self.bay(cpu)?;
                let result = self.world.wake(self.boss, cpu, bay);
                match self.check("wake", result, &[expect])? {
                    Some(()) => self.landed(cpu),
                    None if expect == Expected::Done => self.cpus[cpu].plan = Plan::Lost(End::Waiting, Cause::LostWake),
                    None => {}
                }
                Ok(())
            }
            Plan::Parked(By::Foreign(Parker::RawClgi)) => {
                if self.options.without == Some(Event::Nmi) {
                    return Ok(());
                }
                let came = self.world.wake_raw_clgi(self.boss, cpu).map_err(|error| self.world_error(error))?;
                self.cpus[cpu].plan = Plan::Lost(End::Waiting, Cause::LostWake);
                if came {
                    self.landed(cpu);
                }
                Ok(())
            }
            Plan::Parked(By::Foreign(_)) => self.init_sipi_sipi(cpu),
            _ => Err(self.step_error(format!("CPU {cpu} is not parked: it can't be woken"))),
        }
    }

    fn landed(&mut self, cpu: usize) {
        let state = &mut self.cpus[cpu];
        state.plan = Plan::Kernel;
        state.entries += 1;
        state.bay = None;
    }

    fn wake_sipi(&mut self, cpu: usize, expect: Expected) -> Done<()> {
        let bay = self.bay(cpu)?;
        let result = self.fetch_by_sipi(cpu, bay);
        if self.check("wake by STARTUP", result, &[expect])?.is_some() {
            self.landed(cpu);
        }
        Ok(())
    }

    fn fetch_by_sipi(&mut self, cpu: usize, bay: Bay) -> Result<(), WorldError> {
        let entry = self.world.entry(cpu)?;
        let stage = self.world.lot()?.range.start + bay.offset() + park_core::lot::bay::STAGE;
        let levels =
            if self.scenario.machine.levels == park_core::lot::PagingLevels::Five { Cr4::LA57 } else { Cr4::empty() };
        let startup = StartupPage {
            page: PhysAddr(STARTUP_PAGE),
            entry,
            cr4: Cr4::PAE | Cr4::MCE | levels,
            efer: Efer::LME | Efer::NXE,
            bay_stage: Some(PhysAddr(stage)),
        };
        let mut page = [0; PAGE_LEN];
        let vector = startup.write(&mut page)?;
        self.world.machine.write_phys(STARTUP_PAGE, &page);
        self.world.expect_startup(cpu);
        let deadline = self.timing().deadline;
        let timing = SipiTiming {
            init_delay_ticks: INIT_DELAY_TICKS,
            startup_delay_ticks: STARTUP_DELAY_TICKS,
            retry_interval_ticks: u64::MAX,
            deadline,
        };
        self.world.drive(self.boss, WakeSipi::new(bay, entry, vector, timing))?;
        self.world.await_landing(self.boss, cpu)?;
        self.world.leave(cpu, bay)
    }

    fn confirm(&mut self, cpu: usize, expect: Expected) -> Done<()> {
        let bay = self.bay(cpu)?;
        let timing = self.timing();
        let result = self.world.drive(self.boss, Confirm::new(bay, timing));
        self.check(&format!("confirm CPU {cpu}"), result, &[expect]).map(|_| ())
    }

    fn hold(&mut self, cpu: usize) -> Done<()> {
        let bay = self.bay(cpu)?;
        let timing = self.timing();
        let result = self.world.drive(self.boss, Hold::new(bay, timing));
        self.cpus[cpu].held = self.check("hold", result, &[Expected::Done])?;
        Ok(())
    }

    fn release(&mut self, cpu: usize) -> Done<()> {
        let held = self.cpus[cpu].held.take().ok_or_else(|| self.step_error(format!("CPU {cpu} is not held")))?;
        let deadline = self.timing().deadline;
        let result = self.world.drive(self.boss, Release::new(held, deadline));
        self.check("release", result, &[Expected::Done]).map(|_| ())
    }

    fn flush(&mut self, cpu: usize) -> Done<()> {
        let bay = self.bay(cpu)?;
        let timing = self.timing();
        let result = self.world.drive(self.boss, Flush::new(bay, timing));
        self.check("flush", result, &[Expected::Done]).map(|_| ())
    }

    fn ring(&mut self, cpu: usize) -> Done<()> {
        let bay = self.bay(cpu)?;
        let entry = self.world.decoy_entry(cpu).map_err(|error| self.world_error(error))?;
        let result = self.world.drive(self.boss, Publish::new(bay, Command::Wake, entry));
        self.cpus[cpu].ticket = self.check("ring", result, &[Expected::Done])?;
        Ok(())
    }

    fn revoke(&mut self, cpu: usize, expect: &[Expected]) -> Done<()> {
        let ticket = self.cpus[cpu].ticket.take().ok_or_else(|| self.step_error(format!("CPU {cpu} was not rung")))?;
        let result = self.world.drive(self.boss, Revoke::new(ticket));
        if self.check("revoke", result, expect)?.is_some() {
            return Ok(());
        }
        // The CPU was first, and goes through the entry that it was rung with.
        let bay = self.bay(cpu)?;
        self.world.await_landing(self.boss, cpu).map_err(|error| self.world_error(error))?;
        self.world.leave(cpu, bay).map_err(|error| self.world_error(error))?;
        let state = &mut self.cpus[cpu];
        state.plan = Plan::Kernel;
        state.bay = None;
        state.decoys += 1;
        Ok(())
    }

    fn stale_ring(&mut self, cpu: usize, expect: Expected) -> Done<()> {
        let lease = self.old_lease.ok_or_else(|| self.step_error("there was no kernel before"))?;
        let index = self.cpus[cpu].bay.ok_or_else(|| self.step_error(format!("CPU {cpu} has no bay")))?;
        let bay = lease.bay(index).map_err(|error| self.world_error(error.into()))?;
        let entry = self.world.decoy_entry(cpu).map_err(|error| self.world_error(error))?;
        let result = self.world.drive(self.boss, Publish::new(bay, Command::Wake, entry));
        self.check("ring with a void lease", result, &[expect]).map(|_| ())
    }

    fn init_sipi_sipi(&mut self, cpu: usize) -> Done<()> {
        if self.options.without == Some(Event::InitSipiSipi) {
            return Ok(());
        }
        self.note(Event::InitSipiSipi, &[cpu]);
        let came = self.world.init_sipi_sipi(self.boss, cpu).map_err(|error| self.world_error(error))?;
        let state = self.world.machine.cpu(cpu);
        let plan = match came {
            true => Plan::Taken,
            false if state.init_held() => Plan::Lost(End::Waiting, Cause::InitHeld),
            false => Plan::Lost(End::Waiting, Cause::SipiLost),
        };
        self.cpus[cpu].plan = plan;
        if came {
            self.cpus[cpu].entries += 1;
        }
        Ok(())
    }

    fn prepare(&mut self, cpu: usize, state: Left) -> Done<()> {
        match state {
            Left::VmxRoot => {
                let result = self.world.enter_vmx_root(cpu);
                result.map_err(|error| self.world_error(error))
            }
            Left::MceOff => {
                self.world.machine.cpu_mut(cpu).cr4 &= !Cr4::MCE.bits();
                Ok(())
            }
            Left::InService => {
                let apic = &mut self.world.machine.cpu_mut(cpu).apic;
                apic.isr[usize::from(SERVICE_VECTOR >> 6)] |= 1 << (SERVICE_VECTOR & 63);
                Ok(())
            }
        }
    }
}
