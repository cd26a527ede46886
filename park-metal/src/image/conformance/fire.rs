//! Making events happen.

use core::sync::atomic::Ordering;

use park_core::lot::bay;
use park_core::{Event, IpiSender, LotMemory, PhysAddr};

use super::rig::{MetalRig, SETTLE_US};
use crate::image::ap_start::INIT_US;
use crate::image::area::Area;
use crate::image::conformance::host;
use crate::image::conformance::landing::Landing;
use crate::image::failure::Failure;
use crate::image::smi::{AutoHalt, SMRAM};
use crate::image::traps::FIXED_VECTOR;
use crate::image::{rendezvous, sled};
use crate::memory::{IMAGE, MAX_CPUS, Region};
use crate::platform::apic::{local_apic, send_fixed, send_smi};

/// Between two events: longer than a handler takes, so that few merge.
const BETWEEN_US: u64 = 20_000;

impl MetalRig<'_> {
    /// Makes `event` happen to the target up to `times` times. Returns how often it did.
    pub(super) fn make_happen(&mut self, event: Event, times: u32) -> Result<u32, Failure> {
        if let (Some(stub), Event::Smi | Event::SmiNoRestart) = (self.smi, event) {
            let auto_halt = if event == Event::Smi { AutoHalt::Kept } else { AutoHalt::Cleared };
            // SAFETY: the last SMI was counted long ago.
            unsafe { stub.set(auto_halt) };
        }
        let target = self.target.apic_id;
        for number in 1..=times {
            let mut apic = local_apic()?;
            match event {
                Event::Intr => send_fixed(target, FIXED_VECTOR)?,
                Event::Nmi => apic.send_nmi(target)?,
                Event::Init => apic.send_init(target)?,
                Event::Sipi => {
                    let laps = self.laps()?;
                    apic.send_startup(target, self.landing.vector())?;
                    // Where it ends a wait, each is to show before the next; where it does not, nothing is lost.
                    let _ = self.world.clock.wait(SETTLE_US, "a lap", || self.laps().is_ok_and(|now| now != laps));
                }
                Event::InitSipiSipi => {
                    apic.send_init(target)?;
                    self.pass(INIT_US);
                    apic.send_startup(target, self.landing.vector())?;
                    self.pass(BETWEEN_US);
                    apic.send_startup(target, self.landing.vector())?;
                }
                Event::Smi | Event::SmiNoRestart => send_smi(target)?,
                Event::SmiRendezvous => rendezvous::call(),
                Event::McLocal | Event::McBroadcast => {
                    if !self.check_machine(event)? {
                        return Ok(number);
                    }
                }
                Event::StoreDoorbell => self.store(number)?,
                Event::Overwrite => self.overwrite(),
                _ => return Ok(number - 1),
            }
            self.pass(BETWEEN_US);
        }
        Ok(times)
    }

    /// Has the host raise one machine check. Returns whether the target took it: if not, it is held, and another one would
    /// shut the CPU down before it takes the first (SDM vol. 3, "IA32_MCG_STATUS MSR", MCIP).
    fn check_machine(&mut self, event: Event) -> Result<bool, Failure> {
        let others = || {
            let counted = self.world.cpus().filter(|cpu| cpu.index != self.target.index);
            counted.fold(0_u64, |sum, cpu| sum.wrapping_add(cpu.mc_count.load(Ordering::Acquire)))
        };
        let (mine, theirs) = (self.machine_checks()?, others());
        host::ask(self.world, event, self.target)?;
        if event == Event::McBroadcast {
            let all = u64::from(self.world.online()) - 1;
            self.world.wait(|| others().wrapping_sub(theirs) >= all, "a machine check on every other CPU")?;
        }
        let came = || self.machine_checks().is_ok_and(|now| now != mine);
        Ok(self.world.clock.wait(SETTLE_US, "a machine check to be counted", came).is_ok())
    }

    /// Stores to the doorbell's line: the fault record's CR2 shares it, and nobody reads that while the CPU waits.
    fn store(&mut self, number: u32) -> Result<(), Failure> {
        let now = *self.now()?;
        let mut memory = now.owner.platform.memory();
        let offset = now.parked.bay.offset() + bay::FAULT_CR2;
        memory.store(offset, number.into())?;
        let stored = u32::from(memory.load(offset)? == u64::from(number));
        self.counted.stores = self.counted.stores.wrapping_add(stored);
        Ok(())
    }

    /// Overwrites everything but the image, the lot, and what CPUs use that are not parked.
    fn overwrite(&mut self) {
        let mut kept = [IMAGE; MAX_CPUS + 2];
        let bystanders = self.world.others().filter(|cpu| cpu.index != self.target.index);
        let regions: [Region; 2] = [self.landing.region(), SMRAM];
        for (slot, region) in
            kept.iter_mut().zip(regions.into_iter().chain(bystanders.map(|cpu| Area::of(cpu).region())))
        {
            *slot = region;
        }
        // SAFETY: the target is parked, and what the others use is kept.
        unsafe { sled::overwrite(self.world, &kept) };
        let gone = u32::from(sled::is_sled(PhysAddr(self.world.plan.trampoline.start.0)));
        self.counted.overwrites = self.counted.overwrites.wrapping_add(gone);
        // SAFETY: as at `MetalRig::new`; the first page is memory like any other, and was not overwritten.
        self.landing = unsafe { Landing::fill(self.world.plan.landing) };
    }
}
