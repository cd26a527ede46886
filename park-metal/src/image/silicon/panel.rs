//! Whom the questions are asked of, and what comes back.

use crate::image::failure::Failure;
use crate::image::percpu::{Job, PerCpu};
use crate::image::serial;
use crate::image::smp;
use crate::image::world::{self, World};
use crate::memory::MAX_CPUS;
use crate::report::Value;

/// How long it takes to believe that something does *not* happen: virtual CPUs may have to wait for a host's core.
pub(super) const QUIET_US: u64 = 200_000;

/// What a question brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    /// The answer's name, one of the question's own.
    pub(super) answer: Option<&'static str>,
    /// Why there is none.
    pub(super) why: &'static str,
    /// What was counted; those that are not used, last, have no name.
    pub(super) figures: [(&'static str, Value<'static>); 3],
}

impl Reply {
    const NO_FIGURES: [(&'static str, Value<'static>); 3] = [("", Value::Number(0)); 3];

    pub(super) const fn answer(name: &'static str) -> Self {
        Self { answer: Some(name), why: "", figures: Self::NO_FIGURES }
    }

    pub(super) const fn none(why: &'static str) -> Self {
        Self { answer: None, why, figures: Self::NO_FIGURES }
    }

    /// With one more figure.
    pub(super) fn with(mut self, name: &'static str, value: u64) -> Self {
        if let Some(figure) = self.figures.iter_mut().find(|(name, _)| name.is_empty()) {
            *figure = (name, Value::Number(value));
        }
        self
    }
}

/// The CPUs that can be asked.
#[derive(Debug)]
pub(super) struct Panel<'w> {
    pub(super) world: &'w World,
    cpus: [Option<&'static PerCpu>; MAX_CPUS],
    lost: u64,
}

impl<'w> Panel<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let mut cpus = [None; MAX_CPUS];
        for (slot, cpu) in cpus.iter_mut().zip(world.others()) {
            *slot = Some(cpu);
        }
        Self { world, cpus, lost: 0 }
    }

    /// The CPU that is asked: the last one.
    pub(super) fn victim(&self) -> Option<&'static PerCpu> {
        self.cpus.iter().flatten().last().copied()
    }

    /// The same, where it has been made sure that there is one.
    pub(super) fn asked(&self) -> Result<&'static PerCpu, Failure> {
        self.victim().ok_or(Failure::Machine("there is no CPU left to ask"))
    }

    /// How many CPUs have been lost.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Lets microseconds pass.
    pub(super) fn pass_us(&self, duration_us: u64) {
        self.world.clock.pass_us(duration_us);
    }

    /// True if `done` becomes true within `timeout_us`.
    pub(super) fn within(&self, timeout_us: u64, done: impl FnMut() -> bool) -> bool {
        self.world.clock.wait(timeout_us, "an answer", done).is_ok()
    }

    /// Runs a job on the CPU that is asked, to its end.
    pub(super) fn run(&self, job: Job, argument: u64) -> Result<(), Failure> {
        let cpu = self.asked()?;
        cpu.give(job, argument)?;
        Ok(self.world.wait(|| cpu.is_idle(), "a job to end")?)
    }

    /// Starts the CPU that is asked again, wherever it is, by INIT and STARTUP. If it does not come, it is lost, and the
    /// one before it is asked from now on. Says whether it came.
    pub(super) fn restart(&mut self) -> Result<bool, Failure> {
        let cpu = self.asked()?;
        cpu.on_nmi(None);
        // SAFETY: whatever of its area it uses, INIT makes it begin anew; the boot CPU is never asked.
        if unsafe { world::restart(self.world, cpu) }.is_ok() {
            return Ok(true);
        }
        self.lose(cpu);
        Ok(false)
    }

    /// After a question that may have left the CPU anywhere: makes sure that it works, or does without it.
    pub(super) fn recover(&mut self) -> Result<(), Failure> {
        let cpu = self.asked()?;
        let idle = self.within(QUIET_US, || cpu.is_idle());
        if idle || self.restart()? {
            smp::check_works(self.world, cpu)?;
        }
        Ok(())
    }

    fn lose(&mut self, cpu: &'static PerCpu) {
        self.lost += 1;
        serial::emit("lost", &[("cpu", Value::Number(cpu.index.into()))]);
        for slot in &mut self.cpus {
            if slot.is_some_and(|other| other.index == cpu.index) {
                *slot = None;
            }
        }
    }
}
