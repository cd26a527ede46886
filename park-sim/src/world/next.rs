//! From one kernel to the next: kexec, crash, reset, suspend, hibernation.

use super::{KERNEL_TAGS, Kernel, TAG_FIRST_KERNEL};
use super::{OVERWRITE_PAGE, TAG_LOT, TAG_NOBODY, Whereabouts, World, WorldError, allow};
use crate::machine::cpu::ArmedBy;
use crate::machine::{Activity, Event, EventKind, PhysRange, Tag};
use crate::recording::Place;
use park_core::ApicId;
use park_core::IpiSender;
use park_core::{Entry, PhysAddr};
use park_x86::registers::control::{Cr4, Efer};
use park_x86::startup::{PAGE_LEN, StartupPage};

/// What becomes of the memory of the kernel before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldMemory {
    /// It is overwritten, by stores that monitors see.
    Overwritten,
    /// It is left alone.
    Kept,
}

/// Steps that others take between an INIT and the STARTUPs: 10 ms of the architecture, far less of a simulation.
const INIT_STEPS: u64 = 3000;
/// Steps that others take after a STARTUP.
const STARTUP_STEPS: u64 = 3000;

impl World {
    /// Replaces the kernel: the next one is loaded, `cpu` runs it, and the last one's memory is treated as `old` says.
    ///
    /// CPUs elsewhere stay where they are. What they may touch does not change, but for memory that got another owner.
    ///
    /// # Errors
    /// [`WorldError`] if the next kernel can't be loaded.
    pub fn kexec(&mut self, cpu: usize, old: OldMemory) -> Result<(), WorldError> {
        let last = self.kernel.range;
        self.next_kernel()?;
        self.kernel.run_idle(&mut self.machine, cpu);
        self.sanitisers[cpu] = None;
        self.allow_kernel(cpu);
        for other in (0..self.machine.cpu_count()).filter(|other| *other != cpu) {
            if self.whereabouts[other] == Whereabouts::Kernel {
                self.whereabouts[other] = Whereabouts::Foreign;
                self.record_place(other, Place::Foreign);
            }
            // The new kernel's place may have been an older one's.
            if self.whereabouts[other] == Whereabouts::Foreign {
                let allowed = self.machine.cpu(other).allowed_tags & !allow(&[self.kernel.tag]);
                self.machine.set_allowed(other, allowed);
            }
        }
        match old {
            OldMemory::Overwritten => self.overwrite(cpu, last),
            OldMemory::Kept => Ok(()),
        }
    }

    /// Loads the next kernel and makes it the current one; no CPU runs it yet.
    fn next_kernel(&mut self) -> Result<(), WorldError> {
        let cpus = self.machine.cpu_count();
        let number = self.kernels_so_far;
        self.kernels_so_far += 1;
        self.kernel = Self::load_kernel(&mut self.machine, number, self.levels, cpus)?;
        self.record_kernel();
        if let Some(lot) = self.lot {
            self.kernel.map_lot(&mut self.machine, &lot.lot)?;
        }
        Ok(())
    }

    /// Overwrites `range` by stores of `cpu`, visible to monitors, with INT3, and gives it to nobody.
    ///
    /// # Errors
    /// None now; kept for symmetry with the other actions.
    pub fn overwrite(&mut self, cpu: usize, range: PhysRange) -> Result<(), WorldError> {
        let allowed = self.machine.cpu(cpu).allowed_tags;
        self.machine.set_allowed(cpu, u64::MAX);
        self.record_front_begins(cpu, range);
        for page in (range.start..range.end()).step_by(OVERWRITE_PAGE.len()) {
            self.overwrite_page(cpu, page);
        }
        self.machine.drain_all(cpu);
        self.record_front_ends();
        self.machine.set_allowed(cpu, allowed);
        self.machine.set_tag(range, TAG_NOBODY);
        Ok(())
    }

    /// Word by word where a monitor could see it, at once elsewhere: nobody can tell the difference.
    fn overwrite_page(&mut self, cpu: usize, page: u64) {
        let end = page + OVERWRITE_PAGE.len() as u64;
        let watched = (0..self.machine.cpu_count()).any(|other| {
            let monitor = &self.machine.cpu(other).monitor;
            monitor.armed_by != ArmedBy::Nothing && monitor.line >= page && monitor.line < end
        });
        if !watched {
            self.machine.write_phys(page, &OVERWRITE_PAGE);
            return;
        }
        let word = u64::from_le_bytes(core::array::from_fn(|byte| OVERWRITE_PAGE[byte]));
        for phys in (page..end).step_by(8) {
            self.machine.store(cpu, phys, word);
        }
        self.machine.drain_all(cpu);
    }

    /// Overwrites everything outside the lot, the current kernel and firmware's memory.
    ///
    /// # Errors
    /// As [`World::overwrite`].
    pub fn overwrite_all(&mut self, cpu: usize) -> Result<(), WorldError> {
        for slot in 0..KERNEL_TAGS {
            let tag = Tag(TAG_FIRST_KERNEL + slot);
            let range = Self::kernel_slot(slot.into());
            if tag != self.kernel.tag && self.machine.tag_at(range.start) == tag {
                self.overwrite(cpu, range)?;
            }
        }
        Ok(())
    }

    /// A kernel that knows nothing of park starts a CPU: INIT, STARTUP, STARTUP, through the trampoline into its code.
    /// True if the CPU came.
    ///
    /// # Errors
    /// [`WorldError`] if the trampoline can't be filled.
    pub fn init_sipi_sipi(&mut self, boss: usize, cpu: usize) -> Result<bool, WorldError> {
        let target = self.apic_id(cpu)?;
        let startup = self.startup_page(cpu);
        let mut page = [0; PAGE_LEN];
        let vector = startup.write(&mut page)?;
        self.machine.write_phys(super::STARTUP_PAGE, &page);
        let before = self.kernel.witness(&self.machine, cpu).entries;
        self.send(boss, cpu, target, EventKind::Init)?;
        self.let_others_run(boss, INIT_STEPS)?;
        if self.machine.cpu(cpu).activity == Activity::WaitForSipi {
            // What it executes from now on is this kernel's.
            self.allow_kernel(cpu);
        }
        for _ in 0..2 {
            self.send(boss, cpu, target, EventKind::Sipi(vector))?;
            self.let_others_run(boss, STARTUP_STEPS)?;
        }
        if self.kernel.witness(&self.machine, cpu).entries == before {
            return Ok(false);
        }
        // The entry loads GDT, IDT and TR of its own at once.
        self.kernel.run_idle(&mut self.machine, cpu);
        self.allow_kernel(cpu);
        Ok(true)
    }

    fn startup_page(&self, cpu: usize) -> StartupPage {
        let five = self.levels == park_core::lot::PagingLevels::Five;
        let levels = if five { Cr4::LA57 } else { Cr4::empty() };
        StartupPage {
            page: PhysAddr(super::STARTUP_PAGE),
            entry: Entry {
                rip: self.kernel.code.landed,
                rsp: self.kernel.stack_top(cpu),
                cr3: PhysAddr(self.kernel.root),
                arg: self.kernel.witness_address(cpu),
            },
            cr4: Cr4::PAE | Cr4::MCE | levels,
            efer: Efer::LME | Efer::NXE,
            bay_stage: None,
        }
    }

    /// Sends an IPI from `boss`; without a lot there is no platform to send it by, and the event is thrown.
    pub(super) fn send(&mut self, boss: usize, cpu: usize, target: ApicId, kind: EventKind) -> Result<(), WorldError> {
        let Ok(mut platform) = self.on(boss) else {
            self.machine.inject(Event::at(cpu, kind));
            return Ok(());
        };
        let sent = match kind {
            EventKind::Init => platform.send_init(target),
            EventKind::Sipi(vector) => platform.send_startup(target, vector),
            _ => platform.send_nmi(target),
        };
        Ok(sent.map_err(park_core::Error::from)?)
    }

    /// Resets the machine; all CPUs boot the next kernel. Memory stays, the lot's too.
    ///
    /// # Errors
    /// [`WorldError`] if the next kernel can't be loaded.
    pub fn reset(&mut self) -> Result<(), WorldError> {
        self.machine.clear_stop();
        self.next_kernel()?;
        for cpu in 0..self.machine.cpu_count() {
            self.machine.reset_cpu(cpu);
            self.sanitisers[cpu] = None;
            self.kernel.run_idle(&mut self.machine, cpu);
            self.allow_kernel(cpu);
        }
        Ok(())
    }

    /// The lot's memory loses what it held.
    ///
    /// # Errors
    /// [`WorldError::NoLot`].
    pub fn lose_lot(&mut self) -> Result<(), WorldError> {
        let range = self.lot()?.range;
        for page in (range.start..range.end()).step_by(OVERWRITE_PAGE.len()) {
            self.machine.write_phys(page, &[0; OVERWRITE_PAGE.len()]);
        }
        Ok(())
    }

    /// Suspends to RAM and resumes: `boss` goes on in its kernel, all other CPUs are in wait-for-SIPI. Memory stays.
    pub fn suspend_to_ram(&mut self, boss: usize) {
        for cpu in 0..self.machine.cpu_count() {
            self.machine.reset_cpu(cpu);
            self.sanitisers[cpu] = None;
            self.machine.cpu_mut(cpu).activity = Activity::WaitForSipi;
            self.whereabouts[cpu] = Whereabouts::Foreign;
            self.record_place(cpu, Place::Foreign);
        }
        self.kernel.run_idle(&mut self.machine, boss);
        self.allow_kernel(boss);
    }

    /// The current kernel and its memory, as a hibernation image.
    #[must_use]
    pub fn image(&self) -> (Kernel, Vec<u8>) {
        let mut bytes = vec![0; self.kernel.range.len as usize];
        self.machine.read_phys(self.kernel.range.start, &mut bytes);
        (self.kernel.clone(), bytes)
    }

    /// Writes an image back over whatever is there, and goes on in it on `boss`; the running kernel's memory is
    /// overwritten.
    ///
    /// # Errors
    /// [`WorldError`] if the lot can't be mapped.
    pub fn restore(&mut self, boss: usize, image: &(Kernel, Vec<u8>)) -> Result<(), WorldError> {
        let last = self.kernel.range;
        let (kernel, bytes) = image;
        self.machine.write_phys(kernel.range.start, bytes);
        self.machine.set_tag(kernel.range, kernel.tag);
        let page = PhysRange::new(super::STARTUP_PAGE, park_core::lot::PAGE_SIZE);
        self.machine.set_tag(page, kernel.tag);
        self.kernel = kernel.clone();
        self.record_kernel();
        if let Some(lot) = self.lot {
            self.kernel.map_lot(&mut self.machine, &lot.lot)?;
        }
        self.kernel.run_idle(&mut self.machine, boss);
        self.allow_kernel(boss);
        self.overwrite(boss, last)
    }

    /// What a CPU in the lot may touch, for tests of the bookkeeping.
    #[must_use]
    pub fn is_confined_to_lot(&self, cpu: usize) -> bool {
        self.machine.cpu(cpu).allowed_tags == allow(&[TAG_LOT])
    }
}
