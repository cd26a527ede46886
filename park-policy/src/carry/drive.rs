//! The blocking form.

use super::Carry;
use park_core::op::{Performed, Reply, perform};
use park_core::{Clock, IpiSender, LotMemory, Summon};

/// Carries out to the end on this CPU, spinning where it waits. What became of each CPU stands in its task.
///
/// Where nothing is parked, [`NoSummon`](park_core::op::NoSummon) will do for `summon`.
pub fn drive(
    carry: &mut Carry<'_>,
    memory: &mut (impl LotMemory + ?Sized),
    ipi: &mut (impl IpiSender + ?Sized),
    clock: &mut (impl Clock + ?Sized),
    summon: &mut (impl Summon + ?Sized),
) {
    let mut reply = Reply::Start;
    while let Performed::Reply(next) = perform(carry.next(reply, clock.now()), memory, ipi, summon) {
        reply = next;
    }
}
