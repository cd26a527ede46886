//! The test `skeleton`: one CPU parks with Hlt and one with Clgi, both are disturbed by an NMI, both are woken.
//!
//! While they are parked everything that they had used is overwritten, as a kexec would: stacks, GDT, IDT, TSS, frames
//! and page tables. What is shown for each:
//! it acknowledges from its bay; an NMI reaches the lot's handler and nobody else's (Hlt), or is held and delivered
//! once when the CPU opens GIF (Clgi); it still waits after that; a Wake runs its entry exactly once,
//! with the owner's registers; and it is a whole CPU of the image afterwards.

use core::sync::atomic::Ordering;

use park_core::lot::{Stage, bay};
use park_core::op::Confirm;
use park_core::{IpiSender, LotMemory, Mechanism, PlatformError};

use crate::image::failure::Failure;
use crate::image::lot::{self, timing};
use crate::image::parking::{Parked, await_arrival, cpu_field, mechanism_field, send, wake};
use crate::image::serial;
use crate::image::smp::{self, expect};
use crate::image::traps::FIXED_VECTOR;
use crate::image::world::World;
use crate::platform::Owner;
use crate::platform::apic::{local_apic, send_fixed};
use crate::report::Value;

/// How long it takes to believe that something does *not* happen. An NMI that is not held arrives within some µs, on a
/// host with fewer cores than virtual CPUs within some tens of ms.
const QUIET_US: u64 = 100_000;
/// How the CPUs park: CPU 1 and CPU 2.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Hlt, Mechanism::Clgi];

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    let mut others = world.others();
    let mut sent = |mechanism| {
        let cpu = others.next().ok_or(Failure::Machine("three CPUs are needed; use -smp 4"))?;
        send(&owner, cpu, mechanism)
    };
    let all = [sent(MECHANISMS[0])?, sent(MECHANISMS[1])?];
    for parked in &all {
        await_arrival(world, &owner, parked)?;
    }
    for parked in &all {
        disturb(world, &owner, parked)?;
    }
    for parked in &all {
        wake(world, &owner, parked)?;
    }
    world.clock.pass_us(QUIET_US);
    for parked in &all {
        check_back(world, &owner, parked)?;
    }
    Ok(())
}

/// Sends an NMI and checks what becomes of it; then lets the CPU prove that it still waits.
fn disturb(world: &World, owner: &Owner, parked: &Parked) -> Result<(), Failure> {
    let cpu = parked.cpu;
    let own_before = cpu.nmi_count.load(Ordering::Acquire);
    expect(cpu, "the bay's count of NMIs before one was sent", bay_nmi_count(owner, parked)?, 0)?;
    local_apic()?.send_nmi(cpu.apic_id)?;
    // Must not reach it either: neither wait takes fixed interrupts.
    send_fixed(cpu.apic_id, FIXED_VECTOR)?;
    match parked.mechanism {
        Mechanism::Clgi => {
            world.clock.pass_us(QUIET_US);
            expect(cpu, "the bay's count of NMIs with GIF = 0", bay_nmi_count(owner, parked)?, 0)?;
        }
        _ => world.wait(|| bay_nmi_count(owner, parked) == Ok(1), "the bay to count an NMI")?,
    }
    expect(cpu, "the bay's stage after an NMI", bay_word(owner, parked, bay::STAGE)?, Stage::Waiting as u64)?;
    // Proof of life. A CPU in Clgi opens GIF for it, and takes the NMI that was held.
    owner.platform.drive(Confirm::new(parked.bay, timing(world)))?;
    // The kick of a confirmation may come after the CPU has seen the doorbell by itself, but it comes.
    let sent = 1 + u64::from(parked.mechanism.needs_nmi());
    world.wait(|| bay_nmi_count(owner, parked).is_ok_and(|count| count >= sent), "the bay to count every NMI")?;
    let counted = bay_nmi_count(owner, parked)?;
    if parked.mechanism == Mechanism::Clgi {
        expect(cpu, "the bay's count of NMIs after GIF was opened", counted, sent)?;
    }
    expect(cpu, "the bay's stage after a confirmation", bay_word(owner, parked, bay::STAGE)?, Stage::Waiting as u64)?;
    expect(cpu, "the image's count of NMIs", cpu.nmi_count.load(Ordering::Acquire), own_before)?;
    let fields = [cpu_field(parked), mechanism_field(parked), ("nmis_in_bay", Value::Number(counted))];
    serial::emit("disturbed", &fields);
    Ok(())
}

/// Checks that the CPU has come back once and is whole.
fn check_back(world: &World, owner: &Owner, parked: &Parked) -> Result<(), Failure> {
    let cpu = parked.cpu;
    expect(cpu, "the count of its entries", cpu.entries.load(Ordering::Acquire), 1)?;
    cpu.registers.check(cpu)?;
    expect(cpu, "the count of its arrivals at home", cpu.arrivals.load(Ordering::Acquire), 2)?;
    expect(cpu, "the bay's stage after leaving", bay_word(owner, parked, bay::STAGE)?, Stage::Out as u64)?;
    smp::check_works(world, cpu)?;
    let fields = [cpu_field(parked), mechanism_field(parked), ("entries", Value::Number(1))];
    serial::emit("back", &fields);
    Ok(())
}

/// NMIs that the lot's handlers counted in the bay: the low half of the events word.
fn bay_nmi_count(owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
    Ok(bay_word(owner, parked, bay::EVENTS)? & u64::from(u32::MAX))
}

/// A word of the CPU's bay, by its offset there.
fn bay_word(owner: &Owner, parked: &Parked, offset: u64) -> Result<u64, PlatformError> {
    owner.platform.memory().load(parked.bay.offset() + offset)
}
