//! The rival that every kernel has: INIT and STARTUP, to the first store of 64-bit code.

use core::sync::atomic::Ordering;

use park_core::IpiSender;
use park_x86::startup::{CLAIM_OFFSET, ClaimState};

use crate::bench::Row;
use crate::image::ap_start::{self, INIT_US, STARTUP_US};
use crate::image::area::Area;
use crate::image::bench::slot::SLOT;
use crate::image::bench::stopwatch::{Times, Watch};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::percpu::PerCpu;
use crate::image::world::World;
use crate::platform::apic::local_apic;

/// The claim word of a start-up page has 16 bits.
const CLAIM_MASK: u32 = u16::MAX as u32;

/// Takes the target by INIT and starts it by STARTUP, with MPS' delays or without any, and waits until it is in its job loop.
///
/// A CPU that has not come after some tens of µs gets the STARTUP again, as one does that has not claimed its NMI.
pub(super) fn wake(world: &World, target: &'static PerCpu, row: Row) -> Result<Times, Failure> {
    let area = Area::of(target);
    let arrivals = target.arrivals.load(Ordering::Acquire);
    // SAFETY: the target is in its job loop, which uses neither; an event that came now would find what it finds later.
    unsafe { area.write_tables() };
    let home = ap_start::entry(area.stack_top(), 0);
    let entry = park_core::Entry { rip: SLOT.arm(home.rip, home.arg), arg: SLOT.address(), ..home };
    // SAFETY: the trampoline is a region of its own, and every CPU that was started has left it.
    let vector = unsafe { ap_start::write_page(world.plan.trampoline, entry, None) }?;
    let mut apic = local_apic()?;
    let claim = world.plan.trampoline.start.0 + CLAIM_OFFSET;
    let mut watch = Watch::of_word(claim, CLAIM_MASK, ClaimState::Read as u32);
    watch.began = insn::read_tsc();
    apic.send_init(target.apic_id)?;
    if row == Row::MpsInitSipi {
        world.clock.pass_us(INIT_US);
    }
    apic.send_startup(target.apic_id, vector)?;
    if row == Row::MpsInitSipi {
        world.clock.pass_us(STARTUP_US);
        apic.send_startup(target.apic_id, vector)?;
    }
    // SAFETY: a word of the trampoline's page, which the started CPU alone writes.
    let times = unsafe { watch.look(world, || Ok(apic.send_startup(target.apic_id, vector)?)) }?;
    world.wait(|| target.arrivals.load(Ordering::Acquire) > arrivals, "a started CPU in its job loop")?;
    Ok(times)
}
