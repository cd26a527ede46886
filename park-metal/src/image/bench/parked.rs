//! Rows of park: into a bay with stamps, and out of it with stamps.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::bay;
use park_core::lot::bay::{OwnerWord, WaitFlags};
use park_core::op::{AwaitLeft, Operation, Reply, Reservation, Reserve, Step, Wake};
use park_core::op::{NoSummon, Performed, perform};
use park_core::{Clock, Entry, LotMemory, Mechanism, Ticks};
use park_x86::arrive;

use crate::bench::Row;
use crate::image::bench::slot::SLOT;
use crate::image::bench::stopwatch::{Arrived, DOOR, Kick, Slice, Times, Watch};
use crate::image::failure::Failure;
use crate::image::lot::timing;
use crate::image::parking::{self, Parked, departure, reservation};
use crate::image::percpu::{self, PerCpu};
use crate::image::world::World;
use crate::image::{insn, serial};
use crate::platform::Owner;
use crate::platform::apic::local_apic;

/// When things happened in a park, in ticks from the request; `None` for what was over before it could be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ParkTimes {
    pub(super) sanitised: Ticks,
    pub(super) framed: Ticks,
    pub(super) arrived: Option<Ticks>,
    pub(super) acknowledged: Ticks,
    /// From the jump into the owner text.
    pub(super) switch: Ticks,
}

/// The target's times.
static SANITISED: AtomicU64 = AtomicU64::new(0);
static FRAMED: AtomicU64 = AtomicU64::new(0);

/// How a row of park waits; `None` for rivals.
pub(super) const fn mechanism(row: Row) -> Option<Mechanism> {
    match row {
        Row::Hlt | Row::Pause => Some(Mechanism::Hlt),
        Row::Mwait | Row::MwaitDeep => Some(Mechanism::Mwait),
        Row::Clgi => Some(Mechanism::Clgi),
        _ => None,
    }
}

/// What the bay of a row must hold.
fn wanted(target: &PerCpu, row: Row) -> Result<Reservation, Failure> {
    let mechanism = mechanism(row).ok_or(Failure::Machine("the row is not one of park"))?;
    let latency_us = if row == Row::MwaitDeep { u32::MAX } else { 0 };
    let reservation = reservation(target, mechanism, latency_us)?;
    // A bay that watches the mailbox polls, unless it waits by MWAIT.
    let more = if row == Row::Pause { WaitFlags::MAILBOX } else { WaitFlags::empty() };
    Ok(Reservation { flags: reservation.flags | more, ..reservation })
}

/// Parks the target, with stamps.
pub(super) fn park(
    world: &World,
    owner: &Owner,
    target: &'static PerCpu,
    row: Row,
    slice: Slice,
) -> Result<(Parked, ParkTimes), Failure> {
    let reservation = wanted(target, row)?;
    let bay = owner.platform.drive(Reserve::any(&owner.lease, reservation))?;
    let stage = owner.lease.bay_phys(bay)?.0 + bay::STAGE;
    DOOR.set(slice);
    let requested = insn::read_tsc();
    target.give(enter, bay.index().into())?;
    // SAFETY: a word of a bay; whoever accesses the lot does so by volatile or locked accesses.
    let Arrived { began, arrived, acknowledged } = unsafe { Watch::of_stage(stage).arrival(world, slice) }?;
    let since = |time: Ticks| time.saturating_sub(requested);
    let framed = FRAMED.load(Ordering::Acquire);
    let times = ParkTimes {
        sanitised: since(SANITISED.load(Ordering::Acquire)),
        framed: since(framed),
        arrived: arrived.map(since),
        acknowledged: since(acknowledged),
        switch: acknowledged.saturating_sub(began.max(framed)),
    };
    Ok((Parked { cpu: target, mechanism: reservation.mechanism, bay }, times))
}

/// The target's half: what `parking::enter` does, with stamps. Comes back only in failure.
extern "C" fn enter(bay_index: u64) {
    let error = match prepare(bay_index) {
        Ok(frame) => {
            FRAMED.store(insn::read_tsc(), Ordering::Release);
            DOOR.pass();
            // SAFETY: as in `parking::enter`, whose steps `prepare` takes.
            unsafe { arrive::arrive(frame) }
        }
        Err(error) => error,
    };
    serial::emit_failure(format_args!("CPU {} can't park: {error}", percpu::current().index));
}

fn prepare(bay_index: u64) -> Result<u64, Failure> {
    let owner = Owner::current().ok_or(Failure::NoOwner)?;
    let bay_index = u32::try_from(bay_index).map_err(|_| Failure::NoOwner)?;
    let word = owner.platform.memory().load(owner.lease.bay(bay_index)?.offset() + bay::OWNER)?;
    parking::sanitise(&owner, OwnerWord::from_raw(word).ok_or(Failure::NoOwner)?.mechanism)?;
    SANITISED.store(insn::read_tsc(), Ordering::Release);
    parking::prepare_arrival(&owner, bay_index)
}

/// Wakes the target by the operation that a kernel uses, with stamps, and waits until it is in its job loop. The beginning is
/// the operation's swap of the doorbell.
pub(super) fn wake(world: &World, owner: &Owner, parked: &Parked, row: Row, slice: Slice) -> Result<Times, Failure> {
    let arrivals = parked.cpu.arrivals.load(Ordering::Acquire);
    let bay = parked.bay;
    let leaves = departure(owner, parked.cpu, bay)?;
    let entry = Entry { rip: SLOT.arm(leaves.rip, leaves.arg), arg: SLOT.address(), ..leaves };
    let phys = owner.lease.bay_phys(bay)?.0;
    // A bay that polls needs no kick, though its mechanism has one: it comes after the claim.
    let kick = if row == Row::Hlt { Kick::Nmi(parked.cpu.apic_id) } else { Kick::None };
    let mut memory = owner.platform.memory();
    let mut clock = world.clock;
    let mut times = None;
    let mut wake = Wake::new(bay, entry, timing(world));
    let mut reply = Reply::Start;
    loop {
        reply = match wake.next(reply, clock.now()) {
            Step::CompareExchange { current, new, .. } if times.is_none() => {
                let watch = Watch::of_doorbell(phys + bay::DOORBELL, current, new, phys + bay::STAGE);
                // SAFETY: words of a bay whose CPU is parked; whoever accesses the lot does so by volatile or locked accesses.
                let (timed, found) = unsafe { watch.ring(world, kick, slice) }?;
                times = Some(timed);
                Reply::Value(found)
            }
            // Sent already, or not needed any more.
            Step::SendNmi(_) => Reply::Sent,
            step => match perform(step, &mut memory, &mut local_apic()?, &mut NoSummon) {
                Performed::Reply(reply) => reply,
                Performed::Done(result) => break result.map(drop)?,
            },
        };
    }
    owner.platform.drive(AwaitLeft::new(bay, world.deadline()))?;
    world.wait(|| parked.cpu.arrivals.load(Ordering::Acquire) > arrivals, "a woken CPU in its job loop")?;
    times.ok_or(Failure::Machine("a wake that never rang"))
}
