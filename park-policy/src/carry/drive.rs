//! The blocking form.

use super::Carry;
use park_core::op::{Reply, Step};
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
    loop {
        let outcome = match carry.next(reply, clock.now()) {
            Step::Load { offset } => memory.load(offset).map(Reply::Value),
            Step::Store { offset, value } => memory.store(offset, value).map(|()| Reply::Stored),
            Step::CompareExchange { offset, current, new } => {
                memory.compare_exchange(offset, current, new).map(Reply::Value)
            }
            Step::SendNmi(target) => ipi.send_nmi(target).map(|()| Reply::Sent),
            Step::SendInit(target) => ipi.send_init(target).map(|()| Reply::Sent),
            Step::SendStartup { target, vector } => ipi.send_startup(target, vector).map(|()| Reply::Sent),
            Step::Summon { target, bay_index } => summon.summon(target, bay_index).map(|()| Reply::Sent),
            // Not until the time has come: the memory may change at any moment.
            Step::Wait { .. } => {
                core::hint::spin_loop();
                Ok(Reply::Waited)
            }
            Step::Done(()) => return,
        };
        reply = outcome.unwrap_or_else(Reply::Failed);
    }
}
