//! Throwing events at the machine while it runs, at moments that the seed draws.

use super::error::ScenarioError;
use super::report::EventReport;
use super::run::{Plan, Run};
use super::step::{By, When};
use crate::machine::knobs::AutoHalt;
use crate::machine::{Event as Thrown, EventKind, Knob, Target, Vendor};
use park_core::Event;

/// Events come within so many steps.
const WINDOW_STEPS: u64 = 600;
/// Steps after which the machine has digested an event, twice the time that SMM waits for a CPU.
pub(super) const SETTLE_STEPS: u64 = 4000;
/// An ordinary interrupt.
const INTERRUPT_VECTOR: u8 = 0x51;
/// The page of a STARTUP that nobody has prepared: it must be ignored.
const STRAY_STARTUP_PAGE: u8 = 0x9;

impl Run<'_> {
    pub(super) fn note(&mut self, event: Event, cpus: &[usize]) {
        let step = self.world.machine.steps();
        self.events.push(EventReport { event: event.name().to_owned(), cpus: cpus.to_vec(), step });
    }

    /// Lets all CPUs run until nothing moves, or for so many steps.
    pub(super) fn settle(&mut self, steps: u64) -> Result<(), ScenarioError> {
        self.world.run(steps).map(|_| ()).map_err(|error| self.world_error(error))
    }

    pub(super) fn throw(&mut self, event: Event, cpus: &[usize], times: u64, when: When) -> Result<(), ScenarioError> {
        if self.options.without == Some(event) {
            return Ok(());
        }
        for _ in 0..times {
            let delay = self.world.scheduler.rng.below(WINDOW_STEPS);
            match when {
                When::Settled => {
                    self.settle(delay)?;
                    self.note(event, cpus);
                    self.inject(event, cpus, 0)?;
                    self.settle(SETTLE_STEPS)?;
                }
                When::Meanwhile => {
                    self.note(event, cpus);
                    self.inject(event, cpus, delay)?;
                }
            }
        }
        Ok(())
    }

    fn inject(&mut self, event: Event, cpus: &[usize], delay: u64) -> Result<(), ScenarioError> {
        if event == Event::StoreDoorbell {
            return cpus.iter().try_for_each(|cpu| self.touch_line(*cpu));
        }
        self.choose_smm_handler(event);
        let amd = self.scenario.machine.vendor == Vendor::Amd;
        let kind = match event {
            Event::Intr => EventKind::Fixed(INTERRUPT_VECTOR),
            Event::Nmi => EventKind::Nmi,
            Event::Smi | Event::SmiNoRestart | Event::SmiRendezvous => EventKind::Smi,
            Event::Init => EventKind::Init,
            Event::Sipi => EventKind::Sipi(STRAY_STARTUP_PAGE),
            Event::McLocal if amd => EventKind::MachineCheck,
            Event::McLocal => EventKind::MachineCheckLocal,
            Event::McBroadcast => EventKind::MachineCheck,
            _ => return Err(self.step_error(format!("`{event}` can't be thrown: it is a step of its own"))),
        };
        let targets: Vec<Target> = match event {
            // On Intel one machine check reaches all; where it does not, an all-CPU error is one on each.
            Event::McBroadcast if amd => vec![Target::All],
            Event::McBroadcast => vec![Target::Cpu(self.boss)],
            Event::SmiRendezvous => vec![Target::All],
            _ => cpus.iter().map(|cpu| Target::Cpu(*cpu)).collect(),
        };
        for target in targets {
            let thrown = Thrown { target, kind };
            match delay {
                0 => self.world.machine.inject(thrown),
                steps => self.world.schedule(steps, thrown),
            }
        }
        Ok(())
    }

    /// What the SMI handler leaves in the auto-HALT flag is part of the event: `smi-no-restart` clears it.
    fn choose_smm_handler(&mut self, event: Event) {
        let knobs = &mut self.world.machine.knobs;
        if event == Event::SmiNoRestart {
            // The knob has this value: a table of its own says so.
            let _ = knobs.set_index(Knob::AutoHalt, AutoHalt::Clear as u8);
        }
    }

    fn touch_line(&mut self, cpu: usize) -> Result<(), ScenarioError> {
        let boss = self.boss;
        match self.cpus[cpu].plan {
            Plan::Parked(By::Lot(_)) => {
                let offset = self.bay(cpu)?.offset();
                self.world.touch_doorbell_line(boss, offset).map_err(|error| self.world_error(error))
            }
            Plan::Parked(By::Foreign(_)) => {
                self.world.touch_foreign_line(boss, cpu);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
