//! What became of each CPU, from what is found: machine state, breaches, bay words, witness counters.

use super::end::Declared;
use super::error::ScenarioError;
use super::report::{CpuReport, Outcome};
use super::run::{Plan, Run};
use super::step::By;
use super::{Cause, End};
use crate::foreign::Parker;
use crate::machine::{AccessKind, Activity, Breach, ResetCause};
use crate::world::KERNEL_CPUS_MAX;
use park_core::lot::{OwnerState, Stage};
use park_core::op::{Bay, Confirm};
use park_core::{ErrorKind, Event, Mechanism};

type Found = (End, Cause);

impl Run<'_> {
    pub(super) fn measure(&mut self) -> Result<Vec<CpuReport>, ScenarioError> {
        if self.world.machine.was_reset().is_none() {
            self.settle(super::events::SETTLE_STEPS)?;
        }
        let mut reports = Vec::with_capacity(self.cpus.len());
        for cpu in 0..self.cpus.len() {
            let state = self.world.machine.cpu(cpu);
            if let (Some(why), true) = (state.shutdown_why, state.activity != Activity::Shutdown) {
                self.fail(format!("CPU {cpu} shut down, {why}, before an event brought it back"));
            }
            let (end, cause) = self.end_of(cpu)?;
            let apic_id = self.scenario.machine.apic_ids.get(cpu).copied().unwrap_or_default();
            let mechanism = self.cpus[cpu].by.map_or("none", By::name).to_owned();
            reports.push(CpuReport { cpu, apic_id, mechanism, end, cause });
        }
        Ok(reports)
    }

    fn end_of(&mut self, cpu: usize) -> Result<Found, ScenarioError> {
        if let Some(cause) = self.world.machine.was_reset() {
            return Ok((End::Reset, self.why_reset(cause)));
        }
        let breach = self.world.machine.breaches.first().iter().find(|breach| breach.cpu == cpu).map(why_breach);
        match self.world.machine.cpu(cpu).activity {
            Activity::Shutdown => return Ok((End::Shutdown, breach.unwrap_or_else(|| self.why_shutdown(cpu)))),
            Activity::ResetVector => return Ok((End::Reset, Cause::BspInit)),
            _ => {}
        }
        if let Some(cause) = breach {
            return Ok((End::Faulted, cause));
        }
        match self.cpus[cpu].plan {
            Plan::Kernel => Ok(self.in_kernel(cpu, Cause::AsPlanned)),
            Plan::Taken => Ok(self.in_kernel(cpu, Cause::TakenByKernel)),
            Plan::Parked(By::Lot(mechanism)) => self.in_lot(cpu, mechanism),
            Plan::Parked(By::Foreign(parker)) => Ok(self.in_foreign(cpu, parker)),
            Plan::LeftBehind => Ok((End::Faulted, Cause::LeftBehind)),
            Plan::InOldKernel => Ok(self.in_old_kernel(cpu)),
            Plan::Quarantined => Ok((End::Waiting, Cause::Quarantined)),
            Plan::Lost(end, cause) => Ok((end, cause)),
        }
    }

    fn why_reset(&self, cause: ResetCause) -> Cause {
        match cause {
            ResetCause::BspInit { .. } => Cause::BspInit,
            ResetCause::BroadcastMachineCheck { .. } => Cause::BroadcastMc,
            ResetCause::SmmHang { .. } => Cause::SmmHang,
            ResetCause::CpuShutdown { cpu } => {
                let breach = self.world.machine.breaches.first().iter().find(|breach| breach.cpu == cpu);
                breach.map_or_else(|| self.why_shutdown(cpu), why_breach)
            }
            _ => Cause::ResetInjected,
        }
    }

    /// Which of the CPU rules for a shutdown applied, by the state that it left.
    fn why_shutdown(&self, cpu: usize) -> Cause {
        let state = self.world.machine.cpu(cpu);
        match state.shutdown_why {
            Some(text) if text.contains("machine check") && !state.gif => Cause::McWhileGif0,
            Some(text) if text.contains("MCIP") => Cause::McWhileMcip,
            Some(text) if text.contains("machine check") => Cause::McWithoutMce,
            _ => Cause::TripleFault,
        }
    }

    /// A CPU that runs a kernel: in its idle loop, once for each time that it was sent there.
    fn in_kernel(&self, cpu: usize, cause: Cause) -> Found {
        let entries = self.world.kernel.witness(&self.world.machine, cpu).entries;
        if self.world.machine.cpu(cpu).activity == Activity::WaitForSipi {
            return (End::Waiting, Cause::TakenByInit);
        }
        let decoys = self.world.decoys_taken(&self.world.kernel, cpu);
        if entries > self.cpus[cpu].entries || (self.has_spare_slots() && decoys > self.cpus[cpu].decoys) {
            return (End::Running, Cause::DoubleEntry);
        }
        if entries < self.cpus[cpu].entries || !self.world.is_idle(cpu) {
            return (End::Waiting, Cause::LostWake);
        }
        (End::Running, cause)
    }

    /// Whether decoy entries have slots that no CPU uses itself.
    fn has_spare_slots(&self) -> bool {
        2 * self.cpus.len() <= KERNEL_CPUS_MAX
    }

    fn in_old_kernel(&self, cpu: usize) -> Found {
        let Some(kernel) = &self.last_kernel else { return (End::Faulted, Cause::LeftBehind) };
        let state = self.world.machine.cpu(cpu);
        if state.rip < kernel.code.idle || state.rip >= kernel.code.host {
            return (End::Waiting, Cause::LostWake);
        }
        match kernel.witness(&self.world.machine, cpu).entries.saturating_add(self.world.decoys_taken(kernel, cpu)) {
            0 => (End::Running, Cause::AsPlanned),
            1 => (End::Running, Cause::TookOldEntry),
            _ => (End::Running, Cause::DoubleEntry),
        }
    }

    fn in_foreign(&self, cpu: usize, parker: Parker) -> Found {
        let state = self.world.machine.cpu(cpu);
        if parker == Parker::RawInit && state.init_held() {
            return (End::Waiting, Cause::InitHeld);
        }
        match state.activity {
            Activity::WaitForSipi if parker != Parker::RawInit => (End::Waiting, Cause::TakenByInit),
            _ => (End::Parked, Cause::AsPlanned),
        }
    }

    fn in_lot(&mut self, cpu: usize, mechanism: Mechanism) -> Result<Found, ScenarioError> {
        let lot = self.world.lot().map_err(|error| self.world_error(error))?;
        let Some(index) = self.cpus[cpu].bay else { return Ok((End::Absent, Cause::NeverArrived)) };
        let view = {
            let place = Box::new(self.place.clone());
            let failed = |error| ScenarioError::World { place: place.clone(), error: Box::new(error) };
            let mut platform = self.world.on(self.boss).map_err(failed)?;
            lot.lot.view(&mut platform, index).map_err(|error| failed(error.into()))?
        };
        let state = self.world.machine.cpu(cpu);
        let waits_for_sipi = state.activity == Activity::WaitForSipi;
        match Stage::from_raw(view.stage) {
            Some(Stage::Faulted) => return Ok((End::Faulted, Cause::FaultInBay)),
            Some(Stage::Waiting) if waits_for_sipi == (mechanism == Mechanism::WaitForSipi) => {}
            Some(Stage::Waiting) if waits_for_sipi => return Ok((End::Waiting, Cause::TakenByInit)),
            Some(Stage::Waiting) => return Ok((End::Waiting, Cause::InitHeld)),
            _ => return Ok((End::Absent, Cause::NeverArrived)),
        }
        if view.owner_state() != Some(OwnerState::Reserved) {
            return Ok((End::Absent, Cause::Quarantined));
        }
        if mechanism == Mechanism::WaitForSipi || !self.has_lease {
            return Ok((End::Parked, Cause::AsPlanned));
        }
        let bay = self.bay(cpu)?;
        match self.ask(bay)? {
            // A held INIT came with the ring.
            (End::Waiting, _) if self.world.machine.cpu(cpu).activity == Activity::WaitForSipi => {
                Ok((End::Waiting, Cause::TakenByInit))
            }
            found => Ok(found),
        }
    }

    /// A sign of life, as the plan of every mechanism with a doorbell says that it can be had.
    fn ask(&mut self, bay: Bay) -> Result<Found, ScenarioError> {
        let timing = self.timing();
        match self.world.drive(self.boss, Confirm::new(bay, timing)) {
            Ok(_) => Ok((End::Parked, Cause::AsPlanned)),
            Err(crate::world::WorldError::Park(error)) => Ok(match error.kind() {
                ErrorKind::Faulted => (End::Faulted, Cause::FaultInBay),
                _ => (End::Waiting, Cause::LostWake),
            }),
            Err(error) => Err(self.world_error(error)),
        }
    }

    /// Whether every CPU is where the plan, or an `[[expect_cpu]]` of a safe scenario, says.
    pub(super) fn judge(&mut self, cpus: &[CpuReport]) -> Outcome {
        if !self.failures.is_empty() || !self.world.machine.breaches.is_empty() {
            return Outcome::Lost;
        }
        let by_plan = |report: &CpuReport| {
            let said = self.scenario.expect == super::Expect::Safe;
            match self.scenario.expect_cpus.iter().find(|expect| said && expect.cpu == report.cpu) {
                Some(expect) if matches(expect, report) => true,
                // It names what an event does to the CPU: without one the CPU may as well be well.
                Some(_) => self.options.without.is_some() && planned(report),
                None => planned(report),
            }
        };
        if cpus.iter().all(by_plan) {
            return Outcome::Safe;
        }
        match self.declared_end(cpus) {
            Some(declared) => {
                self.declared.push(declared);
                if self.scenario.declared.contains(&declared) { Outcome::Safe } else { Outcome::Lost }
            }
            None => Outcome::Lost,
        }
    }

    /// The end of the machine that a parked CPU's mechanism says beforehand, if it is that.
    fn declared_end(&self, cpus: &[CpuReport]) -> Option<Declared> {
        let bad = cpus.iter().find(|report| !planned(report))?;
        let (declared, events) = match bad.cause {
            Cause::BspInit => (Declared::BspInit, [Event::Init, Event::InitSipiSipi]),
            Cause::BroadcastMc | Cause::McWithoutMce => {
                (Declared::McBroadcast, [Event::McBroadcast, Event::McBroadcast])
            }
            Cause::SmmHang => (Declared::SmiRendezvous, [Event::SmiRendezvous, Event::SmiRendezvous]),
            Cause::McWhileGif0 => (Declared::McGif0, [Event::McLocal, Event::McBroadcast]),
            _ => return None,
        };
        let table = &self.world.machine.config().cpuid;
        let mut cpuid = |leaf, subleaf| {
            let regs = table.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        };
        let mechanisms = self.cpus.iter().filter_map(|cpu| match cpu.by {
            Some(By::Lot(mechanism)) => Some(mechanism),
            _ => None,
        });
        for mechanism in mechanisms {
            if events.iter().any(|event| self.orders.declares(mechanism, *event, &mut cpuid)) {
                return Some(declared);
            }
        }
        None
    }

    pub(super) fn ends_match(&self, cpus: &[CpuReport]) -> bool {
        self.scenario
            .expect_cpus
            .iter()
            .all(|expect| cpus.iter().any(|report| report.cpu == expect.cpu && matches(expect, report)))
    }
}

/// Where every CPU may end that no scenario names.
fn planned(report: &CpuReport) -> bool {
    matches!(report.end, End::Parked | End::Running) && report.cause != Cause::DoubleEntry
}

fn matches(expect: &super::ExpectCpu, report: &CpuReport) -> bool {
    expect.end == report.end && (expect.causes.is_empty() || expect.causes.contains(&report.cause))
}

/// The cause that a breach is.
fn why_breach(breach: &Breach) -> Cause {
    match breach.kind {
        AccessKind::Fetch => Cause::ForeignFetch,
        AccessKind::Push => Cause::ForeignPush,
        AccessKind::Descriptor | AccessKind::DescriptorWrite => Cause::ForeignDescriptor,
        AccessKind::Walk | AccessKind::WalkWrite => Cause::ForeignWalk,
        AccessKind::Read | AccessKind::Write | AccessKind::Trace | AccessKind::Paravirt => Cause::ForeignData,
    }
}
