//! The test `sweep`: an NMI at every moment of arriving and of leaving.
//!
//! The CPU says when it is about to arrive; the waker lets a number of instructions pass and sends one NMI. For the way
//! out it sends one as many instructions after the ring. The number goes up by one from step to step, so on a
//! machine that executes both CPUs in lockstep (Bochs with `quantum=1`) the NMI meets every instruction in turn, and on
//! others a good part of them. Whoever takes it counts it: the image, or the bay. None may be lost, and nothing else.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::{ApicMode, bay};
use park_core::op::{self, AwaitArrival, AwaitLeft, Wake};
use park_core::{ApicId, Cpu, IpiSender, LotMemory, Mechanism, PlatformError, Register};
use park_x86::apic::{self, LocalApic};
use park_x86::frame;
use park_x86::hardware::HardwareCpu;
use park_x86::memory::MappedLot;
use park_x86::registers::apic::{
    ICR_ASSERT, ICR_HIGH, ICR_LOW, ICR_NMI, ICR_X2APIC_DESTINATION_SHIFT, ICR_XAPIC_DESTINATION_SHIFT, x2apic_msr,
};

use crate::image::area::{Area, Frame};
use crate::image::failure::Failure;
use crate::image::lot::{self, timing};
use crate::image::parking::{Parked, departure, detect_here, send};
use crate::image::percpu::PerCpu;
use crate::image::serial;
use crate::image::smp::{check_works, expect};
use crate::image::world::World;
use crate::platform::Owner;
use crate::platform::apic::{local_apic, this_cpu};
use crate::report::Value;

/// How late an NMI may be that did not merge with another.
const LATE_US: u64 = 50_000;

/// Times that a CPU was about to arrive.
static AT_THE_DOOR: AtomicU64 = AtomicU64::new(0);

/// Called by a CPU whose next instruction but a few is the first of its arrival.
pub(crate) fn at_the_door() {
    AT_THE_DOOR.fetch_add(1, Ordering::Release);
}

/// What happened over all steps.
#[derive(Default)]
struct Tally {
    fired: u64,
    /// NMIs that the image's handler took: the CPU had not switched its IDT yet, or had switched it back.
    by_image: u64,
    /// NMIs that park's handlers in the image's text took: on the way between the two.
    between: u64,
    /// NMIs that the lot's handlers took.
    by_bay: u64,
    /// NMIs that merged with one before them that was not handled yet.
    merged: u64,
}

/// Runs the test: `steps` arrivals and departures by every mechanism that the second CPU has.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let cpu = world.others().next().ok_or(Failure::Machine("two CPUs are needed; use -smp 2"))?;
    let owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    let detected = detect_here();
    for mechanism in [Mechanism::Hlt, Mechanism::Mwait, Mechanism::Clgi] {
        if detected.orders(mechanism, 0).is_err() {
            continue;
        }
        let mut tally = Tally::default();
        for instructions in 0..u64::from(world.options.steps) {
            step(world, &owner, cpu, mechanism, instructions, &mut tally)?;
        }
        let fields = [
            ("mechanism", Value::Text(mechanism.name())),
            ("steps", Value::Number(world.options.steps.into())),
            ("fired", Value::Number(tally.fired)),
            ("by_image", Value::Number(tally.by_image)),
            ("between", Value::Number(tally.between)),
            ("by_bay", Value::Number(tally.by_bay)),
            ("merged", Value::Number(tally.merged)),
        ];
        serial::emit("sweep", &fields);
        if tally.by_bay == 0 || tally.by_image + tally.between == 0 {
            return Err(Failure::Machine(
                "no NMI came before the CPU was in its bay, or none then: more steps are needed",
            ));
        }
    }
    check_works(world, cpu)
}

/// One arrival and one departure, each with an NMI after so many instructions.
fn step(
    world: &World,
    owner: &Owner,
    cpu: &'static PerCpu,
    mechanism: Mechanism,
    instructions: u64,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let image_before = cpu.nmi_count.load(Ordering::Acquire);
    let entries_before = cpu.entries.load(Ordering::Acquire);
    let at_the_door = AT_THE_DOOR.load(Ordering::Acquire);
    let parked = send(owner, cpu, mechanism)?;
    let bay_before = bay_nmis(owner, &parked)?;
    let mut nmi = ReadyNmi::new(cpu.apic_id)?;
    // Not `World::wait`, whose laps are long. A CPU that can't park never comes here, and the lab's deadline ends this.
    while AT_THE_DOOR.load(Ordering::Acquire) == at_the_door {}
    pass(instructions);
    nmi.send()?;
    owner.platform.drive(AwaitArrival::new(parked.bay, world.deadline()))?;
    let arriving = frame_nmis(cpu, Frame::Arrival);
    if mechanism != Mechanism::Clgi {
        // An emulator may look for NMIs at the ends of its blocks alone: give it the time, so that this one does not merge.
        let came =
            || cpu.nmi_count.load(Ordering::Acquire) != image_before || bay_nmis(owner, &parked) != Ok(bay_before);
        world.wait(came, "the NMI that was sent to an arriving CPU")?;
    }
    let entry = departure(owner, cpu, parked.bay)?;
    let arrivals = cpu.arrivals.load(Ordering::Acquire);
    let doorbell = parked.bay.offset() + bay::DOORBELL;
    let nmi = ReadyNmi::new(cpu.apic_id)?;
    let mut memory = Ringing { memory: owner.platform.memory(), doorbell, nmi, instructions, sent: 0 };
    let mut sender = Counting { apic: local_apic()?, sent: 0 };
    let mut clock = owner.platform;
    op::drive(Wake::new(parked.bay, entry, timing(world)), &mut memory, &mut sender, &mut clock)?;
    owner.platform.drive(AwaitLeft::new(parked.bay, world.deadline()))?;
    world.wait(|| cpu.arrivals.load(Ordering::Acquire) > arrivals, "a woken CPU in its job loop")?;
    let fired = 1 + memory.sent + sender.sent;
    let between = arriving + frame_nmis(cpu, Frame::Departure);
    let counted = || -> Result<(u64, u64), PlatformError> {
        let by_image = cpu.nmi_count.load(Ordering::Acquire) - image_before;
        // The lot's code takes over what was counted on the way in.
        Ok((by_image, (bay_nmis(owner, &parked)? - bay_before).saturating_sub(arriving)))
    };
    // The one for the arrival was seen before those for the departure were sent; but with GIF = 0 it may be held until then.
    let least = if mechanism == Mechanism::Clgi { 1 } else { 2 };
    let at_least = |wanted| counted().is_ok_and(|(by_image, by_bay)| by_image + between + by_bay >= wanted);
    // What does not merge comes within moments, but may come late: not into the next step.
    if world.clock.wait(LATE_US, "an NMI that is late", || at_least(fired)).is_err() && !at_least(least) {
        let (by_image, by_bay) = counted()?;
        let fields = [
            ("mechanism", Value::Text(mechanism.name())),
            ("instructions", Value::Number(instructions)),
            ("fired", Value::Number(fired)),
            ("by_image", Value::Number(by_image)),
            ("between", Value::Number(between)),
            ("by_bay", Value::Number(by_bay)),
        ];
        serial::emit("nmi-lost", &fields);
        return Err(Failure::Machine("an NMI was lost"));
    }
    let (by_image, by_bay) = counted()?;
    expect(cpu, "the count of its entries in this step", cpu.entries.load(Ordering::Acquire) - entries_before, 1)?;
    let witnessed = by_image + between + by_bay;
    if witnessed > fired {
        return Err(Failure::Wrong { index: cpu.index, what: "its NMIs", found: witnessed, wanted: fired });
    }
    tally.fired += fired;
    tally.by_image += by_image;
    tally.by_bay += by_bay;
    tally.between += between;
    tally.merged += fired - witnessed;
    Ok(())
}

/// NMIs that park's handlers counted in a frame of the CPU's.
fn frame_nmis(cpu: &'static PerCpu, frame: Frame) -> u64 {
    frame::events(&Area::of(cpu).read_frame(frame)).nmi_count.into()
}

/// NMIs that the lot's handlers counted in the bay: the low half of the events word.
fn bay_nmis(owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
    Ok(owner.platform.memory().load(parked.bay.offset() + bay::EVENTS)? & u64::from(u32::MAX))
}

/// Lets so many instructions pass, and a few more.
fn pass(instructions: u64) {
    // SAFETY: counts a register down; touches nothing else.
    unsafe {
        core::arch::asm!(
            "test {n:l}, 1",
            "jz 2f",
            "nop",                      // one more if the number is odd: a lap is two
            "2:",
            "shr {n}, 1",
            "jz 4f",
            "3:",
            "dec {n}",
            "jnz 3b",
            "4:",
            n = inout(reg) instructions => _,
            options(nomem, nostack)
        );
    }
}

/// An NMI that needs no more than one write to be sent: in xAPIC mode its destination is set beforehand.
struct ReadyNmi {
    cpu: HardwareCpu,
    register: Register,
    value: u64,
}

impl ReadyNmi {
    fn new(target: ApicId) -> Result<Self, PlatformError> {
        let mut cpu = this_cpu();
        let message = ICR_NMI | ICR_ASSERT;
        Ok(match apic::mode(&mut cpu)? {
            ApicMode::X2Apic => {
                let value = u64::from(target.0) << ICR_X2APIC_DESTINATION_SHIFT | message;
                Self { cpu, register: Register::Msr(x2apic_msr(ICR_LOW)), value }
            }
            ApicMode::XApic => {
                cpu.write(Register::Apic(ICR_HIGH), u64::from(target.0) << ICR_XAPIC_DESTINATION_SHIFT)?;
                Self { cpu, register: Register::Apic(ICR_LOW), value: message }
            }
        })
    }

    fn send(&mut self) -> Result<(), PlatformError> {
        self.cpu.write(self.register, self.value)
    }
}

/// The lot's memory, with an NMI so many instructions after a ring.
struct Ringing {
    memory: MappedLot,
    doorbell: u64,
    nmi: ReadyNmi,
    instructions: u64,
    sent: u64,
}

impl LotMemory for Ringing {
    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.memory.load(offset)
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        self.memory.store(offset, value)
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let found = self.memory.compare_exchange(offset, current, new)?;
        if offset == self.doorbell && found == current && self.sent == 0 {
            pass(self.instructions);
            self.nmi.send()?;
            self.sent += 1;
        }
        Ok(found)
    }
}

/// Counts the NMIs that a wake sends of its own.
struct Counting {
    apic: LocalApic<HardwareCpu>,
    sent: u64,
}

impl IpiSender for Counting {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.sent += 1;
        self.apic.send_nmi(target)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.apic.send_init(target)
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.apic.send_startup(target, vector)
    }
}
