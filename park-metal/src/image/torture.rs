//! The test `torture`: kernel after kernel parks every CPU, dies, and is taken over by the next.
//!
//! Each generation parks all CPUs but its own, overwrites memory, fires events at them and waits until each is
//! witnessed at its target, passes the lot on (in turn by hand-over and accept, and by dying and seize) to a kernel that
//! lives at another virtual address, which confirms every CPU and wakes it into itself.

use core::sync::atomic::Ordering;

use park_core::lot::bay;
use park_core::op::{Accept, ConfirmNext, DeadOwner, HandOver, Lease, Patience, Presence, Seize};
use park_core::{Clock, IpiSender, LotMemory, Mechanism, PlatformError};

use crate::image::area::map_alias;
use crate::image::failure::Failure;
use crate::image::lot::{self, timing};
use crate::image::parking::{Parked, await_arrival, detect_here, send, wake};
use crate::image::smp::{self, expect};
use crate::image::world::World;
use crate::image::{serial, sled};
use crate::memory::MAX_CPUS;
use crate::platform::Owner;
use crate::platform::apic::local_apic;
use crate::report::Value;

/// NMIs to each CPU in each generation, one after the other.
const NMIS: u64 = 3;
/// Stores to each doorbell line in each generation.
const STORES: u64 = 3;
/// Slots of the PML4 at which kernels live in turn: the lower half but for the first, which all share.
const ALIAS_SLOTS: u32 = 255;

/// What happened, in one generation or in all.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    parked: u64,
    fired: u64,
    witnessed: u64,
    /// CPUs that did not answer, or ran what was not theirs.
    lost: u64,
    /// CPUs that went the way that their mechanism declares for an event.
    declared: u64,
    /// CPUs that stopped in their bays with a fault record.
    faulted: u64,
    overwritten_bytes: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.parked += other.parked;
        self.fired += other.fired;
        self.witnessed += other.witnessed;
        self.lost += other.lost;
        self.declared += other.declared;
        self.faulted += other.faulted;
        self.overwritten_bytes += other.overwritten_bytes;
    }

    fn report(&self, event: &str, number: u32) {
        let fields = [
            ("number", Value::Number(number.into())),
            ("parked", Value::Number(self.parked)),
            ("fired", Value::Number(self.fired)),
            ("witnessed", Value::Number(self.witnessed)),
            ("lost", Value::Number(self.lost)),
            ("declared", Value::Number(self.declared)),
            ("faulted", Value::Number(self.faulted)),
            ("overwritten_bytes", Value::Number(self.overwritten_bytes)),
        ];
        serial::emit(event, &fields);
    }
}

/// Parked CPUs, in the order of their numbers.
type Slots = [Option<Parked>; MAX_CPUS];

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let mut owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    let mut total = Tally::default();
    for number in 1..=world.options.generations {
        let mut tally = Tally::default();
        owner = generation(world, owner, number, &mut tally)?;
        tally.report("generation", number);
        total.add(&tally);
    }
    total.report("torture", world.options.generations);
    let whole = total.lost == 0 && total.faulted == 0 && total.declared == 0;
    if whole && total.fired == total.witnessed && total.witnessed != 0 {
        Ok(())
    } else {
        Err(Failure::Machine("a CPU or an event was lost"))
    }
}

/// One kernel from its first parked CPU to the next kernel's last woken one. Returns the next kernel.
fn generation(world: &World, owner: Owner, number: u32, tally: &mut Tally) -> Result<Owner, Failure> {
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    let mut slots = park_all(world, &owner, tally)?;
    // SAFETY: all are parked.
    tally.overwritten_bytes = unsafe { sled::overwrite(world) };
    for parked in slots.iter().flatten() {
        fire(world, &owner, parked, tally)?;
    }
    let slot = 1 + (number - 1) % ALIAS_SLOTS;
    // SAFETY: this is the boot CPU, on the root of boot.s.
    let phys_offset = unsafe { map_alias(slot as u8) };
    let next = take_over(world, &owner, phys_offset, number)?;
    // SAFETY: every other CPU is parked.
    unsafe { next.set() };
    confirm_all(world, &next, &mut slots, tally)?;
    for parked in slots.iter().flatten() {
        wake(world, &next, parked)?;
        let cpu = parked.cpu;
        expect(cpu, "the count of its entries", cpu.entries.load(Ordering::Acquire), number.into())?;
        cpu.registers.check(cpu)?;
        smp::check_works(world, cpu)?;
    }
    tally.lost += sled::report_landings();
    Ok(next)
}

/// Parks every CPU but this one, by the mechanisms that it offers in turn.
fn park_all(world: &World, owner: &Owner, tally: &mut Tally) -> Result<Slots, Failure> {
    let detected = detect_here();
    let offered = || {
        Mechanism::ALL.into_iter().filter(|&mechanism| is_own_way(mechanism) && detected.orders(mechanism, 0).is_ok())
    };
    let mut slots = [None; MAX_CPUS];
    for ((slot, cpu), mechanism) in slots.iter_mut().zip(world.others()).zip(offered().cycle()) {
        *slot = Some(send(owner, cpu, mechanism)?);
    }
    for parked in slots.iter().flatten() {
        await_arrival(world, owner, parked)?;
        tally.parked += 1;
    }
    Ok(slots)
}

/// True if a CPU parks itself that way; wait-for-SIPI is done to it.
const fn is_own_way(mechanism: Mechanism) -> bool {
    !matches!(mechanism, Mechanism::WaitForSipi)
}

/// Fires events at one CPU, each witnessed before the next.
fn fire(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    let held = parked.mechanism == Mechanism::Clgi;
    let before = nmis(owner, parked)?;
    let mut apic = local_apic()?;
    // With GIF = 0 the first is held and the others merge with it; the confirmation opens GIF and shows it.
    let nmi_count = if held { 1 } else { NMIS };
    for sent in 1..=nmi_count {
        apic.send_nmi(parked.cpu.apic_id)?;
        tally.fired += 1;
        if !held {
            world.wait(|| nmis(owner, parked).is_ok_and(|count| count >= before + sent), "the bay to count an NMI")?;
            tally.witnessed += 1;
        }
    }
    let line = parked.bay.offset() + bay::FAULT_CR2;
    for value in 1..=STORES {
        // The fault record's CR2 shares the doorbell's line, and nobody reads it while the CPU waits.
        owner.platform.memory().store(line, value)?;
        tally.fired += 1;
        tally.witnessed += u64::from(owner.platform.memory().load(line)? == value);
    }
    Ok(())
}

/// The next kernel, at `phys_offset`: odd ones get the lot handed over, even ones find their predecessor dead.
fn take_over(world: &World, owner: &Owner, phys_offset: u64, number: u32) -> Result<Owner, Failure> {
    let platform = world.platform_at(phys_offset);
    let lot = park_core::lot::verify(&mut platform.memory(), world.plan.lot.start)?;
    let taken = if number % 2 == 1 {
        owner.platform.drive(HandOver::new(&owner.lease))?;
        platform.drive(Accept::new(&lot))?
    } else {
        platform.drive(Seize::new(&lot, DeadOwner::declared()))?
    };
    let lease: Lease = taken.lease;
    Ok(Owner { platform, lease })
}

/// Confirms every CPU; those that are not there leave their slot.
fn confirm_all(world: &World, owner: &Owner, slots: &mut Slots, tally: &mut Tally) -> Result<(), Failure> {
    let timing = timing(world);
    let mut clock = world.clock;
    let patience = Patience {
        kick_interval_ticks: timing.kick_interval_ticks,
        timeout_ticks: timing.deadline.saturating_sub(clock.now()),
    };
    let mut found = [None; MAX_CPUS];
    let mut index = 0;
    while let Some(confirmed) = owner.platform.drive(ConfirmNext::new(&owner.lease, index, patience))? {
        index = confirmed.bay.index() + 1;
        let slot = found.iter_mut().zip(slots.iter()).find_map(|(found, slot)| {
            let same = slot.as_ref().is_some_and(|parked| parked.cpu.apic_id == confirmed.apic_id);
            same.then_some(found)
        });
        if let Some(slot) = slot {
            *slot = Some(confirmed);
        }
    }
    for (slot, found) in slots.iter_mut().zip(found) {
        let Some(parked) = slot.as_mut() else { continue };
        match found {
            Some(confirmed) if confirmed.presence == Presence::Alive => {
                // The bay of this generation's lease.
                parked.bay = confirmed.bay;
                if parked.mechanism == Mechanism::Clgi {
                    // Held until the confirmation opened GIF.
                    let counted = nmis(owner, parked)?;
                    tally.witnessed += u64::from(counted == 1);
                }
            }
            other => {
                let presence = other.map(|confirmed| confirmed.presence);
                tally.faulted += u64::from(presence == Some(Presence::Faulted));
                tally.lost += u64::from(presence != Some(Presence::Faulted));
                let what = Value::Format(format_args!("{presence:?}"));
                serial::emit("lost", &[("cpu", Value::Number(parked.cpu.index.into())), ("presence", what)]);
                *slot = None;
            }
        }
    }
    Ok(())
}

/// NMIs that the lot's handlers counted in the bay: the low half of the events word.
fn nmis(owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
    Ok(owner.platform.memory().load(parked.bay.offset() + bay::EVENTS)? & u64::from(u32::MAX))
}
