//! Who is handed on through the mailbox, and who stays.

use cpu_park::policy::carry::{Goal, Outcome};
use park_core::Mechanism;
use park_x86::orders::{Orders, Unavailable};

use crate::image::failure::Failure;
use crate::image::fleet::Fleet;
use crate::image::parking::{await_arrival, detect_here, send_with};
use crate::image::world::World;
use crate::platform::Owner;

/// Orders for a CPU that watches the mailbox: by MONITOR where that is reliable, else it polls.
pub(super) fn orders() -> Result<Orders, Unavailable> {
    let detected = detect_here();
    let watching = |mechanism| detected.orders(mechanism, 0).and_then(Orders::watching_mailbox);
    watching(Mechanism::Mwait).or_else(|_| watching(Mechanism::Hlt))
}

/// Parks every other CPU: the first `handed=` of them at the mailbox, the rest by `mechanism=`. Returns how many are handed
/// on.
pub(super) fn park_all(world: &World, owner: &Owner) -> Result<u32, Failure> {
    let others = world.online() - 1;
    let handed = world.options.handed.unwrap_or(others);
    if handed > others {
        return Err(Failure::TooFewToHand { handed, others });
    }
    let orders = orders()?;
    for cpu in world.others().take(handed as usize) {
        let parked = send_with(owner, cpu, orders.mechanism, orders.wait_flags)?;
        await_arrival(world, owner, &parked)?;
    }
    if handed < others {
        let fleet = Fleet::take()?;
        fleet.plan(world, world.options.choice, 0)?;
        fleet.carry(world, owner, Goal::Park);
        if fleet.report_unless(Outcome::Parked) != 0 {
            return Err(Failure::Machine("a CPU did not come into its bay"));
        }
    }
    Ok(handed)
}
