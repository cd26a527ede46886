//! Foreign parkers in a world: putting a CPU into one, and waking it as its parker's plan says.

use super::{Whereabouts, World, WorldError, allow};
use crate::foreign::Parker;
use crate::foreign::code::{self, data};
use crate::foreign::firmware::{self, HasMonitor, TAG_FIRMWARE};
use crate::machine::{Activity, EventKind, Evict, Gpr};
use crate::recording::Place;

/// Steps that a CPU may need from its kernel into a foreign parker's wait.
const SETTLE_STEPS: u64 = 400;
/// Steps that others take after an INIT that nobody acknowledges.
const INIT_STEPS: u64 = 3000;
/// Spurious-vector register with the local APIC soft-disabled, as Linux leaves an offline CPU (SDM vol. 3, 10.9).
const SVR_SOFT_DISABLED: u32 = 0xff;

impl World {
    /// Parks a CPU, from its idle loop, by a parker that is not park's.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`]; [`WorldError::Assemble`].
    pub fn park_foreign(&mut self, boss: usize, cpu: usize, parker: Parker) -> Result<(), WorldError> {
        self.enter_foreign(boss, cpu, parker)?;
        match parker {
            Parker::LinuxMwaitKicked => {
                // smp_kick_mwait_play_dead(): a store, and the CPU answers.
                self.store_word(boss, self.kernel.foreign_data(cpu), code::MWAIT_KEXEC_HLT.into());
                self.let_others_run(boss, SETTLE_STEPS)?;
            }
            Parker::RawInit => self.send_raw_init(boss, cpu)?,
            _ => {}
        }
        Ok(())
    }

    /// Sends the INIT of raw-init.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`]; [`WorldError::Park`] if the IPI can't be sent.
    pub fn send_raw_init(&mut self, boss: usize, cpu: usize) -> Result<(), WorldError> {
        let target = self.apic_id(cpu)?;
        self.send(boss, cpu, target, EventKind::Init)?;
        self.let_others_run(boss, INIT_STEPS).map(|_| ())
    }

    /// Puts a CPU into the parker's code; another CPU's part is not done.
    ///
    /// # Errors
    /// As [`World::park_foreign`].
    pub fn enter_foreign(&mut self, boss: usize, cpu: usize, parker: Parker) -> Result<(), WorldError> {
        self.apic_id(cpu)?;
        let text = code::assemble(self.kernel.foreign_text())?;
        let (data, phys) = (self.kernel.foreign_data(cpu), self.kernel.phys(self.kernel.foreign_text()));
        self.machine.write_phys(phys, &text.bytes);
        self.whereabouts[cpu] = Whereabouts::Foreign;
        self.machine.set_allowed(cpu, allow(&[self.kernel.tag]));
        self.record_place(cpu, Place::Foreign);
        let rip = match parker {
            Parker::LinuxMwait | Parker::LinuxMwaitKicked => text.linux_mwait,
            Parker::LinuxHlt | Parker::RawInit => text.linux_hlt,
            Parker::RawClgi => text.raw_clgi,
            Parker::Edk2Loop => {
                self.enter_firmware(cpu)?;
                return self.let_others_run(boss, SETTLE_STEPS).map(|_| ());
            }
        };
        let state = self.machine.cpu_mut(cpu);
        state.activity = Activity::Running;
        state.rip = rip;
        state.set_reg(Gpr::Rdi, data);
        state.apic.svr = SVR_SOFT_DISABLED;
        self.let_others_run(boss, SETTLE_STEPS).map(|_| ())
    }

    fn enter_firmware(&mut self, cpu: usize) -> Result<(), WorldError> {
        let has_monitor = if self.machine.features().monitor { HasMonitor::Yes } else { HasMonitor::No };
        let entry = firmware::build_loop(&mut self.machine, self.levels, has_monitor)?;
        self.machine.set_allowed(cpu, allow(&[TAG_FIRMWARE]));
        let state = self.machine.cpu_mut(cpu);
        state.activity = Activity::Running;
        state.cr3 = entry.cr3;
        state.rip = entry.rip;
        state.set_reg(Gpr::Rsp, entry.stack(cpu));
        self.machine.evict_tlb(cpu, Evict::All);
        Ok(())
    }

    /// Rings a CPU in raw-clgi: the word it looks at after HLT, and an NMI to end the HLT. True if it came.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`].
    pub fn wake_raw_clgi(&mut self, boss: usize, cpu: usize) -> Result<bool, WorldError> {
        let target = self.apic_id(cpu)?;
        let slot = self.kernel.foreign_data(cpu);
        let before = self.kernel.witness(&self.machine, cpu).entries;
        self.store_word(boss, slot + data::ENTRY, self.kernel.code.landed);
        self.store_word(boss, slot + data::ARGUMENT, self.kernel.witness_address(cpu));
        self.store_word(boss, slot + data::FLAG, 1);
        self.send(boss, cpu, target, EventKind::Nmi)?;
        self.let_others_run(boss, SETTLE_STEPS)?;
        let came = self.kernel.witness(&self.machine, cpu).entries == before + 1;
        if came {
            self.allow_kernel(cpu);
        }
        Ok(came)
    }

    /// A store of `boss` to the line that a CPU's parker may watch, which changes nothing.
    pub fn touch_foreign_line(&mut self, boss: usize, cpu: usize) {
        let linear = self.kernel.foreign_data(cpu);
        let value = self.machine.read_phys_u64(self.kernel.phys(linear));
        self.store_word(boss, linear, value);
    }

    fn store_word(&mut self, boss: usize, linear: u64, value: u64) {
        let phys = self.kernel.phys(linear);
        self.machine.store(boss, phys, value);
        self.machine.drain_all(boss);
    }

    /// A store of `boss` to the doorbell line of a bay, without a ring: it writes what is there.
    ///
    /// # Errors
    /// [`WorldError::NoLot`].
    pub fn touch_doorbell_line(&mut self, boss: usize, offset: u64) -> Result<(), WorldError> {
        let phys = self.lot()?.range.start + offset + park_core::lot::bay::RELEASE;
        let value = self.machine.read_phys_u64(phys);
        self.machine.store(boss, phys, value);
        self.machine.drain_all(boss);
        Ok(())
    }
}
