//! Recording what happens in a world.

use super::{Kernel, World};
use crate::machine::PhysRange;
use crate::recording::{Place, Recorder, Recording};

impl World {
    /// Begins a recording. Kernels, lot and CPUs are taken as they are now.
    pub fn record(&mut self) {
        let mut recorder = Recorder::new(&self.machine);
        if let Some(lot) = &self.lot {
            recorder.lot(lot.range);
        }
        self.machine.trace.record(recorder);
        self.record_kernel();
    }

    /// Ends the recording and hands it out; `None` if there is none.
    pub fn take_recording(&mut self) -> Option<Recording> {
        let recorder = self.machine.trace.take_recorder()?;
        Some(recorder.finish(&self.machine))
    }

    /// Notes in the recording that something is done now, for instance a step of a scenario from `line` of its file.
    pub fn note(&mut self, what: impl FnOnce() -> String, line: usize) {
        self.machine.recorded(|recorder, machine| recorder.act(machine, what(), line));
    }

    /// There is another kernel.
    pub(super) fn record_kernel(&mut self) {
        let Kernel { range, .. } = self.kernel;
        let text = self.kernel.text();
        self.machine.recorded(|recorder, machine| recorder.kernel(machine, range, text));
    }

    pub(super) fn record_place(&mut self, cpu: usize, place: Place) {
        self.machine.recorded(|recorder, machine| recorder.place(machine, cpu, place));
    }

    pub(super) fn record_front_begins(&mut self, cpu: usize, range: PhysRange) {
        self.machine.recorded(|recorder, machine| recorder.front_begins(machine, cpu, range));
    }

    pub(super) fn record_front_ends(&mut self) {
        self.machine.recorded(|recorder, _| recorder.front_ends());
    }
}
