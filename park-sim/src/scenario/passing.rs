//! The verbs about kernels and the lot: kexec, reset, suspend, hand-over, adoption, damage.

use super::error::ScenarioError;
use super::run::{Plan, Run};
use super::step::{By, Damage, How, Old, Ram, Result as Expected};
use crate::machine::{PhysRange, Vendor};
use crate::platform::Loader;
use crate::world::{DEFAULT_LOT, OldMemory, WorldError};
use park_core::Event;
use park_core::lot::{PAGE_SIZE, header, header_checksum};
use park_core::op::{Accept, DeadOwner, HandOver, Seize};
use park_x86::registers::msr;

type Done<T> = Result<T, ScenarioError>;

/// A feature bit that no version has: what a lot from the future carries.
const UNKNOWN_FEATURE: u64 = 1 << 31;

impl Run<'_> {
    pub(super) fn enable_local_machine_checks(&mut self) {
        if self.scenario.machine.vendor == Vendor::Intel {
            for cpu in 0..self.cpus.len() {
                // Where the CPU has none, a local machine check is a broadcast one.
                let _ = self.world.machine.write_msr(cpu, msr::MCG_EXT_CTL, msr::MCG_EXT_CTL_LMCE_EN);
            }
        }
    }

    pub(super) fn kexec(&mut self, boss: Option<usize>, old: Old) -> Done<()> {
        let boss = boss.unwrap_or(self.boss);
        if self.cpus[boss].plan != Plan::Kernel {
            return Err(self.step_error(format!("CPU {boss} does not run the kernel: the next one can't start on it")));
        }
        let old = match old {
            _ if self.options.without == Some(Event::Overwrite) => OldMemory::Kept,
            Old::Overwritten => OldMemory::Overwritten,
            Old::Kept => OldMemory::Kept,
        };
        self.last_kernel = Some(self.world.kernel.clone());
        self.boss = boss;
        self.world.kexec(boss, old).map_err(|error| self.world_error(error))?;
        self.next_kernel();
        for (cpu, state) in self.cpus.iter_mut().enumerate() {
            if state.plan == Plan::Kernel && cpu != boss {
                state.plan = if old == OldMemory::Kept { Plan::InOldKernel } else { Plan::LeftBehind };
            }
        }
        self.settle(super::events::SETTLE_STEPS)
    }

    fn next_kernel(&mut self) {
        self.old_lease = self.world.lot.map(|lot| lot.lease);
        self.has_lease = false;
        for state in &mut self.cpus {
            state.entries = 0;
            state.decoys = 0;
            state.held = None;
        }
    }

    pub(super) fn overwrite(&mut self) -> Done<()> {
        if self.options.without == Some(Event::Overwrite) {
            return Ok(());
        }
        self.note(Event::Overwrite, &[]);
        self.world.overwrite_all(self.boss).map_err(|error| self.world_error(error))?;
        self.settle(super::events::SETTLE_STEPS)
    }

    pub(super) fn hand_over(&mut self) -> Done<()> {
        let lease = self.world.lot().map_err(|error| self.world_error(error))?.lease;
        let result = self.world.drive(self.boss, HandOver::new(&lease)).map(|_| ());
        self.check("hand over", result, &[Expected::Done]).map(|_| ())
    }

    pub(super) fn adopt(&mut self, how: How, expect: Expected) -> Done<()> {
        let result = self.take_over(how);
        let adopted = self.check("adopt", result, &[expect])?.is_some();
        self.has_lease = adopted;
        if !adopted {
            self.check_untouched();
        }
        Ok(())
    }

    fn take_over(&mut self, how: How) -> Result<(), WorldError> {
        let lot = self.world.verify(self.boss)?;
        let taken = match how {
            How::Accept => self.world.drive(self.boss, Accept::new(&lot))?,
            How::Seize => self.world.drive(self.boss, Seize::new(&lot, DeadOwner::declared()))?,
        };
        if let Some(mine) = &mut self.world.lot {
            mine.lot = lot;
            mine.lease = taken.lease;
        }
        // CPUs that had claimed first are on their way to the entry that they were given.
        for state in &mut self.cpus {
            if state.ticket.take().is_some() && taken.took_old_entry > 0 {
                state.plan = Plan::InOldKernel;
            }
        }
        Ok(())
    }

    pub(super) fn build_lot(&mut self) -> Done<()> {
        let bays = self.scenario.machine.bays;
        self.world.build_lot(DEFAULT_LOT, bays).map_err(|error| self.world_error(error))?;
        self.has_lease = true;
        self.untouched = None;
        for state in &mut self.cpus {
            state.bay = None;
        }
        Ok(())
    }

    /// One bit of the lot changes in memory, or what a newer version would change; from then on nobody may write to it.
    pub(super) fn corrupt(&mut self, what: Damage, bit: u64) -> Done<()> {
        let lot = self.world.lot().map_err(|error| self.world_error(error))?;
        let head = *lot.lot.header();
        let (start, len) = match what {
            Damage::Header => (0, u64::from(header::HEADER_LEN)),
            Damage::Code => (u64::from(head.code_offset), u64::from(head.code_len)),
            Damage::Tables => (u64::from(head.tables_offset), u64::from(head.tables_len)),
            Damage::Lease => (header::LEASE, 8),
            Damage::Newer => {
                self.make_newer(lot.range);
                self.remember_lot();
                return Ok(());
            }
        };
        if bit >= len * 8 {
            return Err(self.step_error(format!("bit {bit} is beyond the {what}, which has {} bits", len * 8)));
        }
        let phys = lot.range.start + start + bit / 8;
        let mut byte = [0];
        self.world.machine.read_phys(phys, &mut byte);
        self.world.machine.write_phys(phys, &[byte[0] ^ 1 << (bit % 8)]);
        self.remember_lot();
        Ok(())
    }

    /// A sound header with a feature that this version does not know.
    fn make_newer(&mut self, range: PhysRange) {
        let lot = range.start;
        let machine = &mut self.world.machine;
        let word = machine.read_phys_u64(lot + header::INCOMPAT_BAYS);
        machine.write_phys(lot + header::INCOMPAT_BAYS, &(word | UNKNOWN_FEATURE).to_le_bytes());
        let len = machine.read_phys_u64(lot + header::LEN_CRC) & 0xffff_ffff;
        let mut memory = Loader { machine, range };
        let Ok(crc) = header_checksum(&mut memory) else { return };
        let word = len | u64::from(crc) << 32;
        machine.write_phys(lot + header::LEN_CRC, &word.to_le_bytes());
    }

    fn lot_page(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_SIZE as usize];
        if let Some(lot) = self.world.lot {
            self.world.machine.read_phys(lot.range.start, &mut page);
        }
        page
    }

    fn remember_lot(&mut self) {
        self.untouched = Some(self.lot_page());
    }

    fn check_untouched(&mut self) {
        if self.untouched.as_ref().is_some_and(|before| *before != self.lot_page()) {
            self.fail("a lot that was refused has changed: it must be left untouched");
        }
    }

    pub(super) fn reset(&mut self, ram: Ram) -> Done<()> {
        self.last_kernel = Some(self.world.kernel.clone());
        if ram == Ram::Lost {
            self.world.lose_lot().map_err(|error| self.world_error(error))?;
        }
        self.world.reset().map_err(|error| self.world_error(error))?;
        self.next_kernel();
        for state in &mut self.cpus {
            state.plan = Plan::Kernel;
        }
        self.boss = self.scenario.machine.bsp;
        self.enable_local_machine_checks();
        Ok(())
    }

    pub(super) fn suspend(&mut self) {
        self.world.suspend_to_ram(self.boss);
        for (cpu, state) in self.cpus.iter_mut().enumerate() {
            if cpu != self.boss {
                // Where firmware left it, for the kernel to start: as after an INIT.
                state.plan = Plan::Parked(By::Foreign(crate::foreign::Parker::RawInit));
            }
        }
    }

    pub(super) fn hibernate_restore(&mut self) -> Done<()> {
        let image = self.image.clone().ok_or_else(|| self.step_error("there is no image: hibernate-image first"))?;
        let held = self.world.lot.map(|lot| lot.lease);
        self.world.restore(self.boss, &image).map_err(|error| self.world_error(error))?;
        self.next_kernel();
        self.old_lease = held;
        for cpu in 0..self.cpus.len() {
            self.cpus[cpu].entries = self.world.kernel.witness(&self.world.machine, cpu).entries;
            self.cpus[cpu].decoys = self.world.decoys_taken(&self.world.kernel, cpu);
        }
        Ok(())
    }
}
