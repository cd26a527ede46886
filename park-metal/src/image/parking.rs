//! A CPU on its way into a bay and out of it.

use core::sync::atomic::{AtomicU32, Ordering};

use cpu_park::Detected;
use park_core::lot::PagingLevels;
use park_core::op::{AwaitArrival, AwaitLeft, Bay, Lease, Left, Reservation, Reserve, Wake};
use park_core::{Cpu, Entry, Error, Mechanism, PhysAddr, Register};
use park_x86::arrive;
use park_x86::frame::{Arrival, Departure, FRAME_LEN, Placement, SELECTOR_MAX};
use park_x86::sanitise::{self, Context, Paravirtual};

use crate::cpu_tables::{CODE_SELECTOR, DATA_SELECTOR, TSS_SELECTOR};
use crate::image::apic::{local_apic, this_cpu};
use crate::image::area::{Area, Frame};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::lot::{Platform, timing};
use crate::image::percpu::PerCpu;
use crate::image::serial;
use crate::image::snapshot::Snapshot;
use crate::image::world::{World, come_home};
use crate::report::Value;

/// A CPU that parks. Shared with that CPU, by address, until it has come back.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The CPU.
    pub(crate) cpu: &'static PerCpu,
    /// How it waits.
    pub(crate) mechanism: Mechanism,
    /// Its bay.
    pub(crate) bay: Bay,
    /// Times that the entry was run.
    pub(crate) entries: AtomicU32,
    /// What the entry found in the registers.
    pub(crate) registers: Snapshot,
    lease: Lease,
    /// What it and its waker carry out operations with.
    pub(crate) platform: Platform,
}

/// What the executing CPU is.
pub(crate) fn detect_here() -> Detected {
    let cpu = this_cpu();
    cpu_park::detect(|leaf, subleaf| {
        let mut cpu = cpu;
        cpu.cpuid(leaf, subleaf)
    })
}

/// Reserves a bay for `cpu`, as the executing CPU would need it: all CPUs of the machine are taken for alike.
pub(crate) fn reserve(
    world: &World,
    lease: Lease,
    cpu: &'static PerCpu,
    mechanism: Mechanism,
) -> Result<Parked, Failure> {
    let platform = Platform::of(world);
    let orders = detect_here().orders(mechanism, 0)?;
    let reservation = Reservation {
        apic_id: cpu.apic_id,
        mechanism,
        flags: orders.wait_flags,
        levels: PagingLevels::Four,
        apic_mode: local_apic()?.mode(),
        mwait_hint: orders.mwait_hint,
    };
    let bay = platform.drive(Reserve::any(&lease, reservation))?;
    let (entries, registers) = (AtomicU32::new(0), Snapshot::new());
    Ok(Parked { cpu, mechanism, lease, bay, platform, entries, registers })
}

/// Sends the CPU on its way.
///
/// # Safety
/// `parked` stays where it is until the CPU has come back, or the image ends.
pub(crate) unsafe fn send(parked: &Parked) -> Result<(), Failure> {
    Ok(parked.cpu.give(enter, address_of(parked))?)
}

/// Waits for the CPU's acknowledgement, then destroys all that it had used: the area but [`PerCpu`].
pub(crate) fn await_arrival(world: &World, parked: &Parked) -> Result<(), Failure> {
    parked.platform.drive(AwaitArrival::new(parked.bay, world.deadline()))?;
    // SAFETY: the CPU has acknowledged its arrival, so it uses nothing outside the lot.
    unsafe { Area::of(parked.cpu).wipe() };
    serial::emit("parked", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// The job of a CPU that is to park: `parked` is the address of its [`Parked`]. Comes back only in failure.
extern "C" fn enter(parked: u64) {
    let parked = parked_at(parked);
    let error = match sanitise(parked).and_then(|()| prepare_arrival(parked)) {
        // SAFETY:
        // 1. The image runs at CPL 0, and `sanitise` was just done.
        // 2. The frame was written for this CPU and this lot, which the builder verified; it is the area's own.
        // 3. The transit root maps all of the low 4 GiB at identity, as the image's own root does.
        // 4. The job runs near the top of a stack of 16 KiB.
        Ok(frame) => unsafe { arrive::arrive(frame) },
        Err(error) => error,
    };
    serial::emit_failure(format_args!("CPU {} can't park: {error}", parked.cpu.index));
}

/// Takes the sanitising steps on the executing CPU.
fn sanitise(parked: &Parked) -> Result<(), Failure> {
    let detected = detect_here();
    let context = Context {
        features: *detected.features(),
        cs_selector_max: SELECTOR_MAX,
        encryption_mask: parked.lease.lot().header().encryption_mask,
        paravirtual: Paravirtual::Unknown,
    };
    let orders = detected.orders(parked.mechanism, 0)?;
    let report = sanitise::run(&mut this_cpu(), orders.steps(), &context)?;
    let taken = ("steps_taken", Value::Number(report.taken.into()));
    serial::emit("sanitised", &[cpu_field(parked), mechanism_field(parked), taken]);
    Ok(())
}

/// Writes the executing CPU's arrival frame and returns its address.
fn prepare_arrival(parked: &Parked) -> Result<u64, Failure> {
    let detected = detect_here();
    let area = Area::of(parked.cpu);
    // SAFETY: this is the area's CPU, and it uses the boot CPU's root.
    let transit_root = unsafe { area.write_transit_root() };
    let (lot, bay_index) = (parked.lease.lot(), parked.bay.index());
    let arrival = Arrival::for_cpu(&mut this_cpu(), detected.features(), lot, bay_index, transit_root)?;
    let mut frame = [0; FRAME_LEN];
    arrival.write(&placement(area, Frame::Arrival), &mut frame)?;
    area.write_frame(Frame::Arrival, &frame);
    Ok(area.frame_address(Frame::Arrival))
}

/// Gives the CPU its tables and stack back and wakes it into [`woken`].
pub(crate) fn wake(world: &World, parked: &Parked) -> Result<(), Failure> {
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
        cr0: this_cpu().read(Register::Cr0)?,
        cr4: this_cpu().read(Register::Cr4)?,
        rsp: area.stack_top(),
        rip: woken as *const () as u64,
        arg: address_of(parked),
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
    parked.platform.drive(Wake::new(parked.bay, entry, timing(world)))?;
    parked.platform.drive(AwaitLeft::new(parked.bay, world.deadline()))?;
    world.wait(|| parked.cpu.arrivals.load(Ordering::Acquire) >= 2, "a woken CPU in its job loop")?;
    serial::emit("woken", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// Where a woken CPU enters: on its own stack, with its own tables.
extern "C" fn woken(parked: u64) -> ! {
    let parked = parked_at(parked);
    if let Err(error) = parked.registers.take() {
        serial::emit_failure(format_args!("CPU {} can't read its registers: {error}", parked.cpu.index));
    }
    parked.entries.fetch_add(1, Ordering::AcqRel);
    if let Err(error) = give_back(parked) {
        serial::emit_failure(format_args!("CPU {} can't give back its bay: {error}", parked.cpu.index));
    }
    come_home()
}

/// Gives back the bay of the executing CPU.
fn give_back(parked: &Parked) -> Result<(), Error> {
    let left = Left::new(&parked.lease, parked.bay.index(), parked.cpu.apic_id, &mut this_cpu())?;
    parked.platform.drive(left)
}

fn address_of(parked: &Parked) -> u64 {
    core::ptr::from_ref(parked).expose_provenance() as u64
}

/// The [`Parked`] at an address that [`send`] or [`wake`] gave out.
fn parked_at(address: u64) -> &'static Parked {
    // SAFETY: the promise at `send`; and it changes through atomics alone.
    unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
}

fn placement(area: Area, frame: Frame) -> Placement {
    Placement { frame: area.frame_address(frame), text: arrive::owner_text_address(), cs: CODE_SELECTOR }
}

/// The CPU, in a report line.
pub(crate) fn cpu_field(parked: &Parked) -> (&'static str, Value<'static>) {
    ("cpu", Value::Number(parked.cpu.index.into()))
}

/// The mechanism, in a report line.
pub(crate) fn mechanism_field(parked: &Parked) -> (&'static str, Value<'static>) {
    ("mechanism", Value::Text(parked.mechanism.name()))
}
