//! Whose turn it is, what a CPU does with it, and what it may touch from then on.

use super::{TAG_LOT, Whereabouts, World, WorldError, allow};
use crate::machine::Outcome;
use park_core::lot::{Stage, bay};

/// No count of writes to memory: a CPU's stage has yet to be looked at.
pub(super) const NOT_FOLLOWED: u64 = u64::MAX;

impl World {
    /// Lets the CPUs other than `cpu` take up to `steps` steps; returns how many were taken.
    ///
    /// # Errors
    /// [`WorldError::Unsupported`] if the machine met something that it does not model.
    pub fn let_others_run(&mut self, cpu: usize, steps: u64) -> Result<u64, WorldError> {
        let mut quiet_at = None;
        for taken in 0..steps {
            // Its stores drain whatever it waits for.
            if self.machine.cpu(cpu).stores_waiting() && self.scheduler.rng.one_in(self.scheduler.rates.drain) {
                self.machine.drain_one(cpu);
            }
            let Some(other) = self.pick_other(cpu, &mut quiet_at) else {
                if self.machine.drain_one(cpu) {
                    continue;
                }
                return Ok(taken);
            };
            self.step(other)?;
        }
        Ok(steps)
    }

    /// Lets all CPUs run for up to `steps` steps; returns how many were taken.
    ///
    /// # Errors
    /// As [`World::let_others_run`].
    pub fn run(&mut self, steps: u64) -> Result<u64, WorldError> {
        for taken in 0..steps {
            let Some(cpu) = self.pick() else {
                if self.pass_time(self.machine.tsc() + steps - taken) {
                    continue;
                }
                return Ok(taken);
            };
            self.step(cpu)?;
        }
        Ok(steps)
    }

    /// The next CPU that moves: the one that the seed draws, or the next after it that can.
    #[inline]
    fn pick(&mut self) -> Option<usize> {
        self.throw_due();
        let mut cpu = self.draw();
        for _ in 0..self.machine.cpu_count() {
            if self.can_step(cpu) {
                return Some(cpu);
            }
            cpu = self.after(cpu);
        }
        None
    }

    /// As [`World::pick`]; `boss` executes host-modelled code and moves only if an event keeps it from that. `quiet_at`: the machine's count
    /// of arrivals at which nothing did.
    #[inline]
    fn pick_other(&mut self, boss: usize, quiet_at: &mut Option<u64>) -> Option<usize> {
        self.throw_due();
        let arrivals = Some(self.machine.arrivals());
        if *quiet_at != arrivals {
            *quiet_at = arrivals.filter(|_| self.is_quiet_at_home(boss));
        }
        let boss_moves = *quiet_at != arrivals && self.is_disturbed(boss);
        debug_assert!(
            boss_moves || !self.is_disturbed(boss),
            "an event came to CPU {boss} by a way that is not counted"
        );
        let cpus = self.machine.cpu_count();
        if !boss_moves && cpus == 2 && boss < cpus {
            // Nobody to choose from: nothing is drawn.
            let other = self.after(boss);
            return self.can_step(other).then_some(other);
        }
        let mut cpu = self.draw();
        for _ in 0..self.machine.cpu_count() {
            if if cpu == boss { boss_moves } else { self.can_step(cpu) } {
                return Some(cpu);
            }
            cpu = self.after(cpu);
        }
        None
    }

    /// Draws who may move first.
    #[inline]
    fn draw(&mut self) -> usize {
        self.scheduler.rng.below(self.machine.cpu_count() as u64) as usize
    }

    #[inline]
    fn after(&self, cpu: usize) -> usize {
        let next = cpu + 1;
        if next < self.machine.cpu_count() { next } else { 0 }
    }

    /// Whether a CPU executes host-modelled code, and holds no event.
    fn is_quiet_at_home(&self, cpu: usize) -> bool {
        let state = self.machine.cpu(cpu);
        self.kernel.code.is_host_modelled(state.rip) && state.is_undisturbed()
    }

    /// Whether an event keeps a CPU from the host-modelled code that it executes in its kernel.
    #[inline]
    fn is_disturbed(&self, cpu: usize) -> bool {
        let state = self.machine.cpu(cpu);
        let at_home = self.kernel.code.is_host_modelled(state.rip) && !state.in_smm();
        if at_home { self.machine.event_pending(cpu) } else { self.machine.can_step(cpu) }
    }

    #[inline]
    fn can_step(&self, cpu: usize) -> bool {
        self.machine.can_step(cpu) || self.sanitisers[cpu].is_some() || self.machine.cpu(cpu).stores_waiting()
    }

    /// One step of one CPU: an access of its sanitising code, a drained store, or one of its machine.
    ///
    /// # Errors
    /// [`WorldError::Unsupported`] if the machine met something that it does not model.
    pub fn step(&mut self, cpu: usize) -> Result<(), WorldError> {
        self.disturb(cpu);
        if self.sanitises(cpu) {
            self.step_sanitiser(cpu)?;
        } else if self.machine.cpu(cpu).stores_waiting()
            && (!self.machine.can_step(cpu) || self.scheduler.rng.one_in(self.scheduler.rates.drain_own))
        {
            self.machine.drain_one(cpu);
        } else if self.machine.step(cpu) == Outcome::Stopped {
            return Err(WorldError::stopped(&self.machine));
        }
        self.follow(cpu);
        Ok(())
    }

    /// Keeps what a CPU may touch in step with the stage that its bay shows.
    #[inline]
    fn follow(&mut self, cpu: usize) {
        let writes = self.machine.memory.writes;
        if self.followed[cpu] != writes {
            self.followed[cpu] = writes;
            self.follow_stage(cpu);
        }
    }

    fn follow_stage(&mut self, cpu: usize) {
        let Some(lot) = self.lot.as_ref().map(|lot| lot.range.start) else { return };
        match self.whereabouts[cpu] {
            Whereabouts::Arriving(offset) => {
                let stage = self.machine.read_phys_u64(lot + offset + bay::STAGE);
                if stage == Stage::Waiting as u64 {
                    self.whereabouts[cpu] = Whereabouts::Parked(offset);
                    self.machine.set_allowed(cpu, allow(&[TAG_LOT]));
                }
            }
            Whereabouts::Parked(offset) => {
                let stage = self.machine.read_phys_u64(lot + offset + bay::STAGE);
                if stage == Stage::Leaving as u64 {
                    self.whereabouts[cpu] = Whereabouts::Kernel;
                    self.machine.set_allowed(cpu, allow(&[self.entry_tags[cpu], TAG_LOT]));
                }
            }
            Whereabouts::Kernel | Whereabouts::Foreign => {}
        }
    }
}
