//! The test `torture`: kernel after kernel parks every CPU, dies, and is taken over by the next.
//!
//! Each generation parks all CPUs but its own, overwrites memory, fires events at them and waits until each is
//! witnessed at its target, passes the lot on (in turn by hand-over and accept, and by dying and seize) to a kernel that
//! lives at another virtual address, which confirms every CPU and wakes it into itself.

use core::sync::atomic::Ordering;

use cpu_park::policy::carry::{Goal, Outcome};
use park_core::lot::bay;
use park_core::op::{Accept, ConfirmNext, DeadOwner, HandOver, Lease, Patience, Presence, Seize};
use park_core::{Clock, LotMemory, Mechanism, PlatformError};

use crate::image::area::map_alias;
use crate::image::conformance::landing::Landing;
use crate::image::failure::Failure;
use crate::image::fleet::Fleet;
use crate::image::lot::{self, timing};
use crate::image::parking::{Parked, cpu_field, mechanism_field};
use crate::image::smi::{SMRAM, SmiStub};
use crate::image::smp::{self, expect};
use crate::image::world::World;
use crate::image::{broken, events, percpu, rendezvous, serial, sled};
use crate::platform::Owner;
use crate::report::Value;

/// One CPU that waits by Hlt is taken by an INIT in every so many generations.
const INIT_EVERY: u32 = 4;
/// Slots of the PML4 at which kernels live in turn: the lower half but for the first, which all share.
const ALIAS_SLOTS: u32 = 255;

/// What happened, in one generation or in all.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) parked: u64,
    pub(crate) fired: u64,
    pub(crate) witnessed: u64,
    /// Fixed interrupts that local APICs did not keep while they were switched off.
    pub(crate) dropped: u64,
    /// CPUs that did not answer, or ran what was not theirs.
    pub(crate) lost: u64,
    /// CPUs that went the way that their mechanism declares for an event.
    pub(crate) declared: u64,
    /// CPUs that stopped in their bays with a fault record.
    pub(crate) faulted: u64,
    pub(crate) overwritten_bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.parked += other.parked;
        self.fired += other.fired;
        self.witnessed += other.witnessed;
        self.dropped += other.dropped;
        self.lost += other.lost;
        self.declared += other.declared;
        self.faulted += other.faulted;
        self.overwritten_bytes += other.overwritten_bytes;
    }

    /// Fails unless every CPU and every event is accounted for.
    pub(crate) fn judge(&self) -> Result<(), Failure> {
        let whole = self.lost == 0 && self.faulted == 0;
        if whole && self.fired == self.witnessed + self.dropped && self.witnessed != 0 {
            Ok(())
        } else {
            Err(Failure::Machine("a CPU or an event was lost"))
        }
    }

    pub(crate) fn report(&self, event: &str, number: u32) {
        let fields = [
            ("number", Value::Number(number.into())),
            ("parked", Value::Number(self.parked)),
            ("fired", Value::Number(self.fired)),
            ("witnessed", Value::Number(self.witnessed)),
            ("dropped", Value::Number(self.dropped)),
            ("lost", Value::Number(self.lost)),
            ("declared", Value::Number(self.declared)),
            ("faulted", Value::Number(self.faulted)),
            ("overwritten_bytes", Value::Number(self.overwritten_bytes)),
        ];
        serial::emit(event, &fields);
    }
}

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let fleet = Fleet::take()?;
    let mut owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    let mut total = Tally::default();
    if let Some(breakage) = world.options.breakage {
        total = broken::run(world, fleet, &owner, breakage)?;
        total.report("torture", 0);
        return total.judge();
    }
    events::control(world)?;
    for number in 1..=world.options.generations {
        let mut tally = Tally::default();
        owner = generation(world, fleet, owner, number, &mut tally)?;
        tally.report("generation", number);
        total.add(&tally);
    }
    total.report("torture", world.options.generations);
    total.judge()
}

/// One kernel from its first parked CPU to the next kernel's last woken one. Returns the next kernel.
fn generation(
    world: &World,
    fleet: &mut Fleet,
    owner: Owner,
    number: u32,
    tally: &mut Tally,
) -> Result<Owner, Failure> {
    // SAFETY: every other CPU is in its job loop, or lost.
    unsafe { owner.set() };
    fleet.plan(world, world.options.choice, number)?;
    rendezvous::note(world)?;
    fleet.carry(world, &owner, Goal::Park);
    tally.lost += fleet.report_unless(Outcome::Parked);
    tally.parked += fleet.parked().count() as u64;
    // SAFETY: all are parked.
    tally.overwritten_bytes = unsafe { sled::overwrite(world, &[SMRAM]) };
    // SAFETY: the region is a page of `memory::plan`, and no CPU is in real mode.
    unsafe { Landing::fill(world.plan.landing) };
    for parked in fleet.parked() {
        events::fire(world, &owner, &parked, tally)?;
    }
    rendezvous::gather(fleet, tally);
    if number % INIT_EVERY == 0 {
        if let Some(parked) = fleet.parked().find(|parked| parked.mechanism == Mechanism::Hlt) {
            events::take_by_init(world, &owner, &parked, tally)?;
        }
    }
    let slot = 1 + (number - 1) % ALIAS_SLOTS;
    // SAFETY: this is the boot CPU, on the root of boot.s.
    let phys_offset = unsafe { map_alias(slot as u8) };
    let next = take_over(world, &owner, phys_offset, number)?;
    // SAFETY: every other CPU is parked.
    unsafe { next.set() };
    confirm_all(world, &next, fleet, tally)?;
    wake_all(world, &next, fleet, tally)?;
    tally.lost += sled::report_landings();
    Ok(next)
}

/// Wakes every CPU that is parked, and checks that each is whole again.
pub(crate) fn wake_all(world: &World, owner: &Owner, fleet: &mut Fleet, tally: &mut Tally) -> Result<(), Failure> {
    for parked in fleet.parked() {
        parked.cpu.entries.store(0, Ordering::Release);
    }
    fleet.carry(world, owner, Goal::Wake);
    tally.lost += fleet.report_unless(Outcome::Woken);
    for task in fleet.tasks().iter().filter(|task| task.outcome() == Outcome::Woken) {
        let Some(cpu) = percpu::with_apic_id(task.apic_id()) else { continue };
        world.wait(|| cpu.is_idle(), "a woken CPU in its job loop")?;
        expect(cpu, "the count of its entries", cpu.entries.load(Ordering::Acquire), 1)?;
        cpu.registers.check(cpu)?;
        events::witness_fixed(cpu, tally)?;
        rendezvous::witness(world, cpu, tally)?;
        smp::check_works(world, cpu)?;
        if task.mechanism() == Mechanism::WaitForSipi && SmiStub::of(cpu).is_some() {
            // An INIT keeps SMBASE; who does not is seen here.
            // SAFETY: nothing uses the region but stubs, and no SMI is under way.
            unsafe { SmiStub::install(world, cpu) };
        }
    }
    Ok(())
}

/// The next kernel, at `phys_offset`: odd ones get the lot handed over, even ones find their predecessor dead.
pub(crate) fn take_over(world: &World, owner: &Owner, phys_offset: u64, number: u32) -> Result<Owner, Failure> {
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

/// Confirms every CPU, as the next kernel finds it in the lot: those that are there become its fleet.
pub(crate) fn confirm_all(world: &World, owner: &Owner, fleet: &mut Fleet, tally: &mut Tally) -> Result<(), Failure> {
    let timing = timing(world);
    let mut clock = world.clock;
    let patience = Patience {
        kick_interval_ticks: timing.kick_interval_ticks,
        timeout_ticks: timing.deadline.saturating_sub(clock.now()),
    };
    let mut index = 0;
    while let Some(confirmed) = owner.platform.drive(ConfirmNext::new(&owner.lease, index, patience))? {
        index = confirmed.bay.index() + 1;
        fleet.found(confirmed);
    }
    fleet.adopt(|parked, found| match found.map(|found| (found.presence, found.bay)) {
        Some((Presence::Alive, bay)) => {
            // The bay of this generation's lease.
            let parked = Parked { bay, ..parked };
            if parked.mechanism == Mechanism::Clgi {
                events::witness_held(world, owner, &parked, tally)?;
            }
            Ok(Some(parked))
        }
        Some((Presence::WaitsForSipi, bay)) => Ok(Some(Parked { bay, mechanism: Mechanism::WaitForSipi, ..parked })),
        other => {
            let presence = other.map(|(presence, _)| presence);
            tally.faulted += u64::from(presence == Some(Presence::Faulted));
            tally.lost += u64::from(presence != Some(Presence::Faulted));
            let what = Value::Format(format_args!("{presence:?}"));
            serial::emit("lost", &[cpu_field(&parked), mechanism_field(&parked), ("presence", what)]);
            Ok(None)
        }
    })
}

/// NMIs that the lot's handlers counted in the bay: the low half of the events word.
pub(crate) fn nmis(owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
    Ok(owner.platform.memory().load(parked.bay.offset() + bay::EVENTS)? & u64::from(u32::MAX))
}
