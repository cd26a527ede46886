//! A CPU that sanitises itself on its way into the lot: one register access a turn.

use super::{World, WorldError};
use crate::machine::Activity;
use crate::platform::OnCpu;
use park_core::op::Bay;
use park_x86::features::Features;
use park_x86::frame::SELECTOR_MAX;
use park_x86::sanitise::{Context, Paravirtual, Progress, Step, StepRun};

/// One step of a CPU's sanitising.
pub type SanitiseStep = &'static Step;

/// Steps that a CPU has still to take, one register access at a time.
#[derive(Clone, Debug)]
pub struct Sanitiser {
    steps: Vec<SanitiseStep>,
    next: usize,
    run: Option<StepRun<'static>>,
    context: Context,
}

impl Sanitiser {
    /// `steps`, for a CPU with `features`.
    #[must_use]
    pub const fn new(features: Features, steps: Vec<SanitiseStep>) -> Self {
        let context =
            Context { features, cs_selector_max: SELECTOR_MAX, encryption_mask: 0, paravirtual: Paravirtual::TornDown };
        Self { steps, next: 0, run: None, context }
    }

    /// Makes at most one register access; true when all steps are done.
    ///
    /// # Errors
    /// [`SanitiseError`](park_x86::sanitise::SanitiseError) of the step.
    pub fn advance(&mut self, cpu: &mut OnCpu<'_>) -> Result<bool, park_x86::sanitise::SanitiseError> {
        let Some(step) = self.steps.get(self.next) else { return Ok(true) };
        let run = self.run.get_or_insert_with(|| StepRun::new(step));
        if run.advance(cpu, &self.context)? != Progress::Accessed {
            self.run = None;
            self.next += 1;
        }
        Ok(self.next == self.steps.len())
    }
}

/// A CPU between its kernel's decision to park and the jump into the owner text.
#[derive(Clone, Debug)]
pub(super) struct InProgress {
    pub(super) sanitiser: Sanitiser,
    pub(super) bay: Bay,
    /// Where its RIP stands still while host-modelled code runs; elsewhere, a handler of the kernel is running.
    pub(super) rip: u64,
}

impl World {
    /// Whether a CPU's next step belongs to its sanitising and not to a handler of its kernel.
    #[inline]
    pub(super) fn sanitises(&self, cpu: usize) -> bool {
        self.sanitisers[cpu].as_ref().is_some_and(|task| {
            let state = self.machine.cpu(cpu);
            task.rip == state.rip && state.activity == Activity::Running && !self.machine.event_pending(cpu)
        })
    }

    /// One register access of a CPU's sanitising; after the last, the CPU stands before the owner text's first instruction.
    pub(super) fn step_sanitiser(&mut self, cpu: usize) -> Result<(), WorldError> {
        let lot = self.lot.as_ref().ok_or(WorldError::NoLot)?.range;
        let Some(task) = &mut self.sanitisers[cpu] else { return Ok(()) };
        self.host_accesses += 1;
        // In place: a task is some hundred bytes, and this is every second step of a CPU that goes.
        match task.sanitiser.advance(&mut OnCpu { machine: &mut self.machine, cpu, lot }) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let (bay, features) = (task.bay, task.sanitiser.context.features);
                self.sanitisers[cpu] = None;
                self.machine.recorded(|recorder, _| recorder.sanitised());
                self.write_arrival(cpu, bay, &features)
            }
            Err(error) => {
                self.sanitisers[cpu] = None;
                Err(WorldError::Sanitise { cpu, error })
            }
        }
    }
}
