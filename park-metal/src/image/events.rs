//! Events at parked CPUs, each witnessed at its target.

use core::sync::atomic::Ordering;

use park_core::lot::bay;
use park_core::op::{Confirm, Processor, SinkToSipi, Timing};
use park_core::{Clock, Condition, Event, IpiSender, LotMemory, Mechanism, PlatformError, Response, Ticks};

use crate::choices::Host;
use crate::image::ap_start::INIT_US;
use crate::image::conformance::host;
use crate::image::failure::Failure;
use crate::image::parking::{Parked, cpu_field, detect_here, mechanism_field};
use crate::image::percpu::PerCpu;
use crate::image::smi::SmiStub;
use crate::image::smp::{self, expect};
use crate::image::torture::Tally;
use crate::image::traps::FIXED_VECTOR;
use crate::image::world::World;
use crate::image::{rendezvous, serial};
use crate::platform::Owner;
use crate::platform::apic::{local_apic, send_fixed, send_smi};
use crate::report::Value;

/// NMIs to each CPU in each generation, one after the other.
const NMIS: u64 = 3;
/// SMIs to each CPU in each generation, one after the other.
const SMIS: u64 = 2;
/// Stores to each doorbell line in each generation.
const STORES: u64 = 3;
/// How long a CPU may take to answer that an INIT has taken; if it was not, it answers within some ms.
const SILENCE_US: u64 = 500_000;

/// What is counted at its target, and can be held back there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    Nmi,
    Smi(SmiStub),
    Mc,
}

impl Counted {
    const fn event(self) -> Event {
        match self {
            Self::Nmi => Event::Nmi,
            Self::Smi(_) => Event::Smi,
            Self::Mc => Event::McLocal,
        }
    }

    /// How often a CPU counted it: in its bay, or in its SMI handler.
    fn count(self, owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
        let events = || owner.platform.memory().load(parked.bay.offset() + bay::EVENTS);
        Ok(match self {
            Self::Nmi => events()? & u64::from(u32::MAX),
            Self::Mc => events()? >> u32::BITS,
            Self::Smi(stub) => stub.count().into(),
        })
    }

    fn send(self, world: &World, target: &PerCpu) -> Result<(), Failure> {
        match self {
            Self::Nmi => Ok(local_apic()?.send_nmi(target.apic_id)?),
            Self::Smi(_) => Ok(send_smi(target.apic_id)?),
            Self::Mc => host::ask(world, Event::McLocal, target),
        }
    }
}

/// What is fired at a CPU, and how often. No machine checks where firmware is called: TCG takes an SMI that was held before the
/// #MC that was, so that firmware's handler gets it, and stops (the manuals have #MC first: SDM vol. 3, table 6-2).
fn sources(world: &World, cpu: &PerCpu) -> [Option<(Counted, u64)>; 3] {
    let checks = world.options.host == Host::Answers && !rendezvous::is_called();
    let host = checks.then_some((Counted::Mc, 1));
    [Some((Counted::Nmi, NMIS)), SmiStub::of(cpu).map(|stub| (Counted::Smi(stub), SMIS)), host]
}

/// Fires all events at one parked CPU. Each is witnessed before the next; with GIF = 0 each comes once, and is witnessed
/// by [`witness_held`].
pub(crate) fn fire(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    let held = parked.mechanism == Mechanism::Clgi;
    // Nothing reaches a CPU that waits for SIPI, which TCG gets wrong.
    let reachable = parked.mechanism != Mechanism::WaitForSipi;
    for (counted, times) in sources(world, parked.cpu).into_iter().flatten().filter(|_| reachable) {
        let before = counted.count(owner, parked)?;
        if let Counted::Smi(stub) = counted {
            stub.mark();
        }
        for sent in 1..=if held { 1 } else { times } {
            counted.send(world, parked.cpu)?;
            tally.fired += 1;
            let came = || counted.count(owner, parked).is_ok_and(|count| count >= before + sent);
            if held {
                continue;
            }
            if world.wait(came, "an event to be counted").is_ok() {
                tally.witnessed += 1;
            } else {
                report_unwitnessed(parked, counted);
            }
        }
    }
    parked.cpu.fixed_sent.store(reachable.into(), Ordering::Release);
    if reachable {
        parked.cpu.fixed_count.store(0, Ordering::Release);
        // Looked for when the CPU is back: `witness_fixed`.
        send_fixed(parked.cpu.apic_id, FIXED_VECTOR)?;
        tally.fired += 1;
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

/// Counts the fixed interrupt that a CPU was sent while it was parked, now that it is back: it did not come, but waits, or
/// was dropped by a local APIC that is switched off by software, or by an INIT.
///
/// The manuals leave it open what such an APIC does with it (SDM vol. 3, "Local APIC State After It Has Been Software
/// Disabled"): TCG and Bochs keep it.
pub(crate) fn witness_fixed(cpu: &PerCpu, tally: &mut Tally) -> Result<(), Failure> {
    if cpu.fixed_sent.swap(0, Ordering::AcqRel) == 0 {
        return Ok(());
    }
    expect(cpu, "fixed interrupts that it took while it was parked", cpu.fixed_count.load(Ordering::Acquire), 0)?;
    match cpu.fixed_pending.load(Ordering::Acquire) {
        0 => tally.dropped += 1,
        _ => tally.witnessed += 1,
    }
    Ok(())
}

/// Counts what GIF = 0 held back until a confirmation opened it: each event once, since the bay was reserved.
pub(crate) fn witness_held(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    for (counted, _) in sources(world, parked.cpu).into_iter().flatten() {
        let before = match counted {
            Counted::Smi(stub) => stub.marked().into(),
            Counted::Nmi | Counted::Mc => 0,
        };
        let came = || counted.count(owner, parked).is_ok_and(|count| count > before);
        if world.wait(came, "an event that was held").is_ok() && counted.count(owner, parked)? == before + 1 {
            tally.witnessed += 1;
        } else {
            report_unwitnessed(parked, counted);
        }
    }
    Ok(())
}

fn report_unwitnessed(parked: &Parked, counted: Counted) {
    let what = ("what", Value::Text(counted.event().name()));
    serial::emit("unwitnessed", &[cpu_field(parked), mechanism_field(parked), what]);
}

/// Sends an INIT to a CPU that waits by Hlt, which it takes away, as the mechanism declares; it can be fetched by STARTUP.
pub(crate) fn take_by_init(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    let claim = detect_here().claim(parked.mechanism, Event::Init, Condition::Ap);
    local_apic()?.send_init(parked.cpu.apic_id)?;
    world.clock.pass_us(INIT_US);
    tally.fired += 1;
    // One NMI and no more: TCG acts on the INIT when something else ends HLT, and then takes a second NMI in real mode.
    let mut clock = world.clock;
    let deadline = clock.now().saturating_add(clock.ticks_of_us(SILENCE_US));
    let timing = Timing { kick_interval_ticks: Ticks::MAX, deadline };
    if owner.platform.drive(Confirm::new(parked.bay, timing)).is_ok() {
        serial::emit("unwitnessed", &[cpu_field(parked), mechanism_field(parked), ("what", Value::Text("init"))]);
        return Ok(());
    }
    tally.witnessed += 1;
    if claim.is_some_and(|claim| claim.response == Response::WaitsForSipi) {
        tally.declared += 1;
    } else {
        tally.lost += 1;
    }
    let delay = world.clock.ticks_of_us(INIT_US);
    Ok(owner.platform.drive(SinkToSipi::new(parked.bay, Processor::Application, delay))?)
}

/// The control: CPUs that merely run take as many SMIs, and still run. Their SMBASEs are moved first.
pub(crate) fn control(world: &World) -> Result<(), Failure> {
    let mut tally = Tally::default();
    for cpu in world.others() {
        // SAFETY: all CPUs are in their job loops, and below 1 MiB nothing is in use.
        let Some(stub) = (unsafe { SmiStub::install(world, cpu) }) else { continue };
        let before = stub.count();
        for sent in 1..=SMIS {
            send_smi(cpu.apic_id)?;
            tally.fired += 1;
            let came = || u64::from(stub.count() - before) >= sent;
            tally.witnessed += u64::from(world.wait(came, "an SMI to be counted").is_ok());
        }
        smp::check_works(world, cpu)?;
    }
    rendezvous::control(world, &mut tally)?;
    tally.report("control", 0);
    if tally.fired == tally.witnessed { Ok(()) } else { Err(Failure::Machine("a CPU that merely runs lost an SMI")) }
}
