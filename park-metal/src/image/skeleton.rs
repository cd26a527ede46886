//! The test `skeleton`: one CPU parks with Hlt and one with Clgi, both are disturbed by an NMI, both are woken.
//!
//! While they are parked everything that they had used is overwritten, as a kexec would: stacks, GDT, IDT, TSS, frames
//! and page tables. What is shown for each:
//! it acknowledges from its bay; an NMI reaches the lot's handler and nobody else's (Hlt), or is held and delivered
//! once when the CPU opens GIF (Clgi); it still waits after that; a Wake runs its entry exactly once,
//! with the owner's registers; and it is a whole CPU of the image afterwards.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use park_core::lot::{ApicMode, Layout, PagingLevels, Stage, WaitFlags, bay};
use park_core::op::{
    self, AwaitArrival, AwaitLeft, Bay, Confirm, Lease, Left, Operation, Reservation, Reserve, Timing, Wake,
};
use park_core::{Cpu, Entry, Error, LotMemory, Mechanism, PhysAddr, PlatformError};
use park_x86::arrive;
use park_x86::builder::{self, LotParameters};
use park_x86::features::{FeatureSet, Features};
use park_x86::frame::{Arrival, Departure, FRAME_LEN, Placement};
use park_x86::memory::MappedLot;

use crate::cpu_tables::{CODE_SELECTOR, DATA_SELECTOR, TSS_SELECTOR};
use crate::image::apic::{self, Ipi, Sender};
use crate::image::area::{Area, Frame};
use crate::image::clock::TscClock;
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::percpu::PerCpu;
use crate::image::serial;
use crate::image::smp::{self, expect};
use crate::image::snapshot::Snapshot;
use crate::image::this_cpu::ThisCpu;
use crate::image::world::{World, come_home};
use crate::memory::LOT;
use crate::report::Value;

/// Tells this image's lots apart; any constant will do for a lot that no other kernel will see.
const LOT_ID: [u64; 2] = [u64::from_le_bytes(*b"park-met"), u64::from_le_bytes(*b"al-skel\0")];
/// How long it takes to believe that something does *not* happen. An NMI that is not held arrives within some µs, on a
/// host with fewer cores than virtual CPUs within some tens of ms.
const QUIET_US: u64 = 100_000;
/// Time between two NMIs to a CPU that does not claim; long, since one that is on its way already is counted.
const KICK_INTERVAL_US: u64 = 500_000;
/// How the CPUs park: CPU 1 and CPU 2.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Hlt, Mechanism::Clgi];

/// One parked CPU. Shared with that CPU, by address, until it has come back.
#[derive(Debug)]
struct Parked {
    cpu: &'static PerCpu,
    mechanism: Mechanism,
    lease: Lease,
    bay: Bay,
    clock: TscClock,
    /// Times that the entry was run.
    entries: AtomicU32,
    /// What the entry found in the registers.
    registers: Snapshot,
}

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let features = Features::read(|leaf, subleaf| ThisCpu.cpuid(leaf, subleaf));
    if !features.has(FeatureSet::SVM) {
        return Err(Failure::Machine("the CPUs have no SVM, so none can park with Clgi; use -cpu EPYC"));
    }
    let layout = Layout::new(world.online(), features.monitor.largest_line.into())?;
    let parameters = LotParameters { phys: LOT.start, layout, lot_id: LOT_ID, encryption_mask: 0, mailbox: None };
    let lot = builder::build(&mut lot_memory(), &parameters)?;
    let lease = Lease::first(lot);
    serial::emit(
        "lot",
        &[
            ("phys", Value::Hex(LOT.start.0)),
            ("bytes", Value::Number(layout.total_len())),
            ("bays", Value::Number(layout.bay_count.into())),
        ],
    );

    let mut others = world.others();
    let mut reserved = |mechanism| {
        let cpu = others.next().ok_or(Failure::Machine("three CPUs are needed; use -smp 4"))?;
        reserve(world, lease, cpu, mechanism)
    };
    let parked = [reserved(MECHANISMS[0])?, reserved(MECHANISMS[1])?];
    // The CPUs get the address of their elements. They outlive its use: this function returns when both are back, or
    // in failure, after which the image ends.
    for parked in &parked {
        parked.cpu.give(enter, core::ptr::from_ref(parked).expose_provenance() as u64)?;
    }
    for parked in &parked {
        await_arrival(world, parked)?;
    }
    for parked in &parked {
        // SAFETY: the CPU has acknowledged its arrival, so it uses nothing outside the lot.
        unsafe { Area::of(parked.cpu).wipe() };
    }
    for parked in &parked {
        disturb(world, parked)?;
    }
    for parked in &parked {
        wake(world, parked)?;
    }
    world.clock.pass_us(QUIET_US);
    for parked in &parked {
        check_back(world, parked)?;
    }
    Ok(())
}

/// Reserves a bay for `cpu`.
fn reserve(world: &World, lease: Lease, cpu: &'static PerCpu, mechanism: Mechanism) -> Result<Parked, Failure> {
    let reservation = Reservation {
        apic_id: cpu.apic_id,
        mechanism,
        flags: WaitFlags::empty(),
        levels: PagingLevels::Four,
        apic_mode: ApicMode::XApic,
        mwait_hint: 0,
    };
    let bay = drive(world, Reserve::any(&lease, reservation))?;
    Ok(Parked {
        cpu,
        mechanism,
        lease,
        bay,
        clock: world.clock,
        entries: AtomicU32::new(0),
        registers: Snapshot::new(),
    })
}

/// The job of a CPU that is to park: `parked` is the address of its [`Parked`]. Comes back only in failure.
extern "C" fn enter(parked: u64) {
    let parked = parked_at(parked);
    let error = match prepare_arrival(parked) {
        // SAFETY:
        // 1. The image runs at CPL 0 with interrupts off, and leaves nothing behind that a sanitising step would clear:
        //    no timer, no performance counter, no virtualisation, no CET, no in-service vector.
        // 2. The frame was written for this CPU and this lot, which the builder verified; it is the area's own.
        // 3. The transit root maps all of the low 4 GiB at identity, as the image's own root does.
        // 4. The job runs near the top of a stack of 16 KiB.
        Ok(frame) => unsafe { arrive::arrive(frame) },
        Err(error) => error,
    };
    serial::emit_failure(format_args!("CPU {} can't park: {error}", parked.cpu.index));
}

/// Writes the executing CPU's arrival frame and returns its address.
fn prepare_arrival(parked: &Parked) -> Result<u64, Error> {
    let features = Features::read(|leaf, subleaf| ThisCpu.cpuid(leaf, subleaf));
    let area = Area::of(parked.cpu);
    // SAFETY: this is the area's CPU, and it uses the boot CPU's root.
    let transit_root = unsafe { area.write_transit_root() };
    let arrival = Arrival::for_cpu(&mut ThisCpu, &features, parked.lease.lot(), parked.bay.index(), transit_root)?;
    let mut frame = [0; FRAME_LEN];
    arrival.write(&placement(area, Frame::Arrival), &mut frame)?;
    area.write_frame(Frame::Arrival, &frame);
    Ok(area.frame_address(Frame::Arrival))
}

fn await_arrival(world: &World, parked: &Parked) -> Result<(), Failure> {
    drive(world, AwaitArrival::new(parked.bay, world.deadline()))?;
    serial::emit("parked", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// Sends an NMI and checks what becomes of it; then lets the CPU prove that it still waits.
fn disturb(world: &World, parked: &Parked) -> Result<(), Failure> {
    let cpu = parked.cpu;
    let own_before = cpu.nmi_count.load(Ordering::Acquire);
    expect(cpu, "the bay's count of NMIs before one was sent", bay_nmi_count(parked)?, 0)?;
    apic::send(world.clock, cpu.apic_id, Ipi::Nmi)?;
    match parked.mechanism {
        Mechanism::Clgi => {
            world.clock.pass_us(QUIET_US);
            expect(cpu, "the bay's count of NMIs with GIF = 0", bay_nmi_count(parked)?, 0)?;
        }
        _ => world.wait(|| bay_nmi_count(parked) == Ok(1), "the bay to count an NMI")?,
    }
    expect(cpu, "the bay's stage after an NMI", bay_word(parked, bay::STAGE)?, Stage::Waiting as u64)?;
    // Proof of life. A CPU in Clgi opens GIF for it, and takes the NMI that was held.
    drive(world, Confirm::new(parked.bay, timing(world)))?;
    let kicks = u64::from(parked.mechanism.needs_nmi());
    let counted = bay_nmi_count(parked)?;
    if counted < 1 + kicks {
        return expect(cpu, "the bay's count of NMIs after a confirmation", counted, 1 + kicks);
    }
    if parked.mechanism == Mechanism::Clgi {
        expect(cpu, "the bay's count of NMIs after GIF was opened", counted, 1)?;
    }
    expect(cpu, "the bay's stage after a confirmation", bay_word(parked, bay::STAGE)?, Stage::Waiting as u64)?;
    expect(cpu, "the image's count of NMIs", cpu.nmi_count.load(Ordering::Acquire), own_before)?;
    let fields = [cpu_field(parked), mechanism_field(parked), ("nmis_in_bay", Value::Number(counted))];
    serial::emit("disturbed", &fields);
    Ok(())
}

/// Gives the CPU its tables and stack back and wakes it into [`woken`].
fn wake(world: &World, parked: &Parked) -> Result<(), Failure> {
    let area = Area::of(parked.cpu);
    // SAFETY: the CPU is parked.
    unsafe { area.write_tables() };
    // SAFETY: as above. Whoever loaded the TSS last left it busy; leaving must cope with that.
    unsafe { area.mark_tss_busy() };
    // SAFETY: as above.
    let transit_root = unsafe { area.write_transit_root() };
    let departure = Departure {
        root: PhysAddr(insn::read_cr3()),
        gdt: area.gdt(),
        idt: area.idt(),
        ss: DATA_SELECTOR,
        tr: TSS_SELECTOR,
        cr0: insn::read_cr0(),
        cr4: insn::read_cr4(),
        // It is jumped to, not called: with the place of a return address, as the System V ABI has it.
        rsp: area.stack_top() - 8,
        rip: woken as *const () as u64,
        arg: core::ptr::from_ref(parked).expose_provenance() as u64,
    };
    let mut frame = [0; FRAME_LEN];
    departure.write(&placement(area, Frame::Departure), &mut frame)?;
    area.write_frame(Frame::Departure, &frame);
    let entry = Entry {
        rip: arrive::depart_address(),
        rsp: area.stack_top(),
        cr3: transit_root,
        arg: area.frame_address(Frame::Departure),
    };
    drive(world, Wake::new(parked.bay, entry, timing(world)))?;
    drive(world, AwaitLeft::new(parked.bay, world.deadline()))?;
    world.wait(|| parked.cpu.arrivals.load(Ordering::Acquire) >= 2, "a woken CPU in its job loop")?;
    serial::emit("woken", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// Where a woken CPU enters: on its own stack, with its own tables.
extern "C" fn woken(parked: u64) -> ! {
    let parked = parked_at(parked);
    parked.registers.take();
    parked.entries.fetch_add(1, Ordering::AcqRel);
    let cpu = parked.cpu;
    let left = Left::new(&parked.lease, parked.bay.index(), cpu.apic_id, &mut ThisCpu)
        .and_then(|left| op::drive(left, &mut lot_memory(), &mut Sender(parked.clock), &mut parked.clock.clone()));
    if let Err(error) = left {
        serial::emit_failure(format_args!("CPU {} can't give back its bay: {error}", cpu.index));
    }
    come_home()
}

/// Checks that the CPU has come back once and is whole.
fn check_back(world: &World, parked: &Parked) -> Result<(), Failure> {
    let cpu = parked.cpu;
    expect(cpu, "the count of its entries", parked.entries.load(Ordering::Acquire).into(), 1)?;
    parked.registers.check(cpu)?;
    expect(cpu, "the count of its arrivals at home", cpu.arrivals.load(Ordering::Acquire), 2)?;
    expect(cpu, "the bay's stage after leaving", bay_word(parked, bay::STAGE)?, Stage::Out as u64)?;
    smp::check_works(world, cpu)?;
    let fields = [cpu_field(parked), mechanism_field(parked), ("entries", Value::Number(1))];
    serial::emit("back", &fields);
    Ok(())
}

/// The lot, as this CPU accesses it.
fn lot_memory() -> MappedLot {
    let base = core::ptr::with_exposed_provenance_mut(LOT.start.0 as usize);
    // SAFETY: the region does not begin at address 0.
    let base = unsafe { NonNull::new_unchecked(base) };
    // SAFETY:
    // 1. The region was checked to be usable memory, and is mapped at identity, write-back, for ever.
    // 2. It begins with a page.
    // 3. Nothing but this test uses it, through this function and through the lot's own code.
    // 4. No reference into it is ever made.
    unsafe { MappedLot::new(base, LOT.len_bytes) }
}

/// The [`Parked`] at an address that [`run`] gave out.
fn parked_at(address: u64) -> &'static Parked {
    // SAFETY: `run` gives out addresses of its own elements only, does not return successfully while a CPU uses them,
    // and changes them through atomics alone.
    unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
}

fn placement(area: Area, frame: Frame) -> Placement {
    Placement { frame: area.frame_address(frame), text: arrive::owner_text_address(), cs: CODE_SELECTOR }
}

fn drive<O: Operation>(world: &World, operation: O) -> Result<O::Output, Error> {
    op::drive(operation, &mut lot_memory(), &mut Sender(world.clock), &mut world.clock.clone())
}

fn timing(world: &World) -> Timing {
    Timing { kick_interval_ticks: world.clock.ticks_of_us(KICK_INTERVAL_US), deadline: world.deadline() }
}

/// A word of the bay.
fn bay_word(parked: &Parked, offset: u64) -> Result<u64, PlatformError> {
    lot_memory().load(parked.bay.offset() + offset)
}

/// NMIs that the lot's handlers counted in the bay: the low half of the events word.
fn bay_nmi_count(parked: &Parked) -> Result<u64, PlatformError> {
    Ok(bay_word(parked, bay::EVENTS)? & u64::from(u32::MAX))
}

fn cpu_field(parked: &Parked) -> (&'static str, Value<'static>) {
    ("cpu", Value::Number(parked.cpu.index.into()))
}

fn mechanism_field(parked: &Parked) -> (&'static str, Value<'static>) {
    ("mechanism", Value::Text(parked.mechanism.name()))
}
