//! A CPU on its way into a bay and out of it.

use core::sync::atomic::Ordering;

use cpu_park::Detected;
use park_core::lot::{OwnerWord, WaitFlags, bay};
use park_core::op::{AwaitArrival, AwaitLeft, Bay, Left, Reservation, Reserve, SipiTiming, Wake, WakeSipi};
use park_core::{Cpu, Entry, LotMemory, Mechanism, PhysAddr, Register, Summon, Ticks};
use park_x86::arrive;
use park_x86::frame::{Arrival, Departure, FRAME_LEN, Placement, SELECTOR_MAX};
use park_x86::registers::apic::{IRR, nth};
use park_x86::sanitise::{self, Context, Paravirtual};

use crate::cpu_tables::{CODE_SELECTOR, DATA_SELECTOR, TSS_SELECTOR};
use crate::image::ap_start::{self, INIT_US, STARTUP_US};
use crate::image::area::{Area, Frame};
use crate::image::failure::Failure;
use crate::image::lot::timing;
use crate::image::percpu::{self, PerCpu};
use crate::image::traps::FIXED_VECTOR;
use crate::image::world::{World, come_home};
use crate::image::{broken, insn, levels, serial, trouble};
use crate::platform::Owner;
use crate::platform::apic::{local_apic, this_cpu};
use crate::report::Value;

/// A CPU on its way into a bay, in it, or on its way out, as its waker sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    /// The CPU.
    pub(crate) cpu: &'static PerCpu,
    /// How it waits.
    pub(crate) mechanism: Mechanism,
    /// Its bay.
    pub(crate) bay: Bay,
}

/// What the executing CPU is.
pub(crate) fn detect_here() -> Detected {
    let cpu = this_cpu();
    cpu_park::detect(|leaf, subleaf| {
        let mut cpu = cpu;
        cpu.cpuid(leaf, subleaf)
    })
}

/// What a bay for `cpu` must hold, as the executing CPU would need it: all CPUs of the machine are taken for alike. MWAIT may
/// be so deep that its way out takes `latency_us`.
pub(crate) fn reservation(cpu: &PerCpu, mechanism: Mechanism, latency_us: u32) -> Result<Reservation, Failure> {
    let orders = detect_here().orders(mechanism, latency_us)?;
    Ok(Reservation {
        apic_id: cpu.apic_id,
        mechanism,
        flags: orders.wait_flags,
        levels: levels::here()?,
        apic_mode: local_apic()?.mode(),
        mwait_hint: orders.mwait_hint,
    })
}

/// Reserves a bay for `cpu` and sends it on its way.
pub(crate) fn send(owner: &Owner, cpu: &'static PerCpu, mechanism: Mechanism) -> Result<Parked, Failure> {
    send_with(owner, cpu, mechanism, WaitFlags::empty())
}

/// Reserves a bay for `cpu` and sends it on its way; it waits with `flags` beside those that its orders have.
pub(crate) fn send_with(
    owner: &Owner,
    cpu: &'static PerCpu,
    mechanism: Mechanism,
    flags: WaitFlags,
) -> Result<Parked, Failure> {
    let mut platform = owner.platform;
    let reservation = reservation(cpu, mechanism, 0)?;
    let reservation = Reservation { flags: reservation.flags | flags, ..reservation };
    let bay = platform.drive(Reserve::any(&owner.lease, reservation))?;
    platform.summon(cpu.apic_id, bay.index())?;
    Ok(Parked { cpu, mechanism, bay })
}

/// Waits for the CPU's acknowledgement, then destroys all that it had used: the area but [`PerCpu`].
pub(crate) fn await_arrival(world: &World, owner: &Owner, parked: &Parked) -> Result<(), Failure> {
    owner.platform.drive(AwaitArrival::new(parked.bay, world.deadline()))?;
    // SAFETY: the CPU has acknowledged its arrival, so it uses nothing outside the lot.
    unsafe { Area::of(parked.cpu).wipe() };
    serial::emit("parked", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// The job of a CPU that is to park in the bay with this index. Comes back only in failure.
pub(crate) extern "C" fn enter(bay_index: u64) {
    trouble::hold_up();
    let error = match prepare(bay_index) {
        Ok(ready) => {
            ready.report();
            // SAFETY:
            // 1. The image runs at CPL 0, and `prepare` has just sanitised the CPU.
            // 2. The frame was written for this CPU and this lot, which the builder verified; it is the area's own.
            // 3. The transit root maps all of the low 4 GiB at identity, as the image's own root does.
            // 4. The job runs near the top of a stack of 80 KiB.
            unsafe { arrive::arrive(ready.frame) }
        }
        Err(error) => error,
    };
    serial::emit_failure(format_args!("CPU {} can't park: {error}", percpu::current().index));
}

/// A CPU that is ready for its bay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// Address of its arrival frame.
    pub(crate) frame: u64,
    mechanism: Mechanism,
    steps_taken: u32,
}

impl Ready {
    fn report(&self) {
        let fields = [
            ("cpu", Value::Number(percpu::current().index.into())),
            ("mechanism", Value::Text(self.mechanism.name())),
            ("steps_taken", Value::Number(self.steps_taken.into())),
        ];
        serial::emit("sanitised", &fields);
    }
}

/// Makes the executing CPU ready for a bay.
pub(crate) fn prepare(bay_index: u64) -> Result<Ready, Failure> {
    let owner = Owner::current().ok_or(Failure::NoOwner)?;
    let bay_index = u32::try_from(bay_index).map_err(|_| Failure::NoOwner)?;
    let bay = owner.lease.bay(bay_index)?;
    let word = owner.platform.memory().load(bay.offset() + bay::OWNER)?;
    let mechanism = OwnerWord::from_raw(word).ok_or(Failure::NoOwner)?.mechanism;
    let steps_taken = sanitise(&owner, mechanism)?;
    let frame = prepare_arrival(&owner, bay_index)?;
    Ok(Ready { frame, mechanism, steps_taken })
}

/// Takes the sanitising steps on the executing CPU, and returns how many there were.
pub(crate) fn sanitise(owner: &Owner, mechanism: Mechanism) -> Result<u32, Failure> {
    let detected = detect_here();
    let context = Context {
        features: *detected.features(),
        cs_selector_max: SELECTOR_MAX,
        encryption_mask: owner.lease.lot().header().encryption_mask,
        paravirtual: Paravirtual::Unknown,
    };
    let orders = detected.orders(mechanism, 0)?;
    let report = sanitise::run(&mut this_cpu(), orders.steps(), &context)?;
    Ok(report.taken.into())
}

/// Writes the executing CPU's arrival frame and returns its address.
pub(crate) fn prepare_arrival(owner: &Owner, bay_index: u32) -> Result<u64, Failure> {
    let detected = detect_here();
    let area = Area::current();
    // SAFETY: this is the area's CPU, and it uses the boot CPU's root.
    let transit_root = unsafe { area.write_transit_root() };
    let lot = owner.lease.lot();
    let mut arrival = Arrival::for_cpu(&mut this_cpu(), detected.features(), lot, bay_index, transit_root)?;
    broken::amend(&mut arrival);
    let mut frame = [0; FRAME_LEN];
    arrival.write(&placement(area, Frame::Arrival), &mut frame)?;
    area.write_frame(Frame::Arrival, &frame);
    Ok(area.frame_address(Frame::Arrival))
}

/// In the argument of a CPU that STARTUP fetches out of a bay.
pub(crate) const FETCHED: u64 = 1 << 32;

/// Fetches a CPU out of wait-for-SIPI, through the start-up page, into [`woken`].
pub(crate) fn fetch(world: &World, owner: &Owner, parked: &Parked) -> Result<(), Failure> {
    let (entry, vector) = startup(world, owner, parked.cpu, parked.bay)?;
    let ticks = |duration_us| world.clock.ticks_of_us(duration_us);
    let timing = SipiTiming {
        init_delay_ticks: ticks(INIT_US),
        startup_delay_ticks: ticks(STARTUP_US),
        retry_interval_ticks: Ticks::MAX,
        deadline: world.deadline(),
    };
    let arrivals = parked.cpu.arrivals.load(Ordering::Acquire);
    owner.platform.drive(WakeSipi::new(parked.bay, entry, vector, timing))?;
    world.wait(|| parked.cpu.arrivals.load(Ordering::Acquire) > arrivals, "a fetched CPU in its job loop")?;
    serial::emit("woken", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// Gives a CPU that waits for SIPI its tables and stack back, and fills the start-up page, which leads it to [`woken`]: the
/// entry and the vector of the page.
pub(crate) fn startup(
    world: &World,
    owner: &Owner,
    cpu: &'static PerCpu,
    bay: Bay,
) -> Result<(Entry, u8), park_core::Error> {
    cpu.phys_offset.store(0, Ordering::Release);
    let area = Area::of(cpu);
    // SAFETY: the CPU waits for SIPI.
    unsafe { area.write_tables() };
    let stage = PhysAddr(owner.lease.bay_phys(bay)?.0 + bay::STAGE);
    let entry = ap_start::entry(area.stack_top(), FETCHED | u64::from(bay.index()));
    // SAFETY: the trampoline is a region of its own, and every CPU that was started has left it.
    let vector = unsafe { ap_start::write_page(world.plan.trampoline, entry, Some(stage)) }?;
    Ok((entry, vector))
}

/// Wakes the CPU into [`woken`], and waits until it is in its job loop.
pub(crate) fn wake(world: &World, owner: &Owner, parked: &Parked) -> Result<(), Failure> {
    let arrivals = parked.cpu.arrivals.load(Ordering::Acquire);
    let entry = departure(owner, parked.cpu, parked.bay)?;
    owner.platform.drive(Wake::new(parked.bay, entry, timing(world)))?;
    owner.platform.drive(AwaitLeft::new(parked.bay, world.deadline()))?;
    world.wait(|| parked.cpu.arrivals.load(Ordering::Acquire) > arrivals, "a woken CPU in its job loop")?;
    serial::emit("woken", &[cpu_field(parked), mechanism_field(parked)]);
    Ok(())
}

/// Gives a parked CPU its tables and stack back, and returns the entry that leads it to [`woken`].
pub(crate) fn departure(owner: &Owner, cpu: &'static PerCpu, bay: Bay) -> Result<Entry, park_core::Error> {
    entry(cpu, &leaving(owner, cpu, bay)?)
}

/// What a parked CPU leaves with, its tables and stack being given back to it.
pub(crate) fn leaving(owner: &Owner, cpu: &'static PerCpu, bay: Bay) -> Result<Departure, park_core::Error> {
    let phys_offset = owner.platform.phys_offset();
    cpu.phys_offset.store(phys_offset, Ordering::Release);
    let area = Area::of(cpu);
    // SAFETY: the CPU is parked.
    unsafe { area.write_tables() };
    // SAFETY: as above. Whoever loaded the TSS last left it busy; leaving must cope with that.
    unsafe { area.mark_tss_busy() };
    Ok(Departure {
        root: PhysAddr(insn::read_cr3()),
        gdt: area.gdt(),
        idt: area.idt(),
        ss: DATA_SELECTOR,
        tr: TSS_SELECTOR,
        cr0: this_cpu().read(Register::Cr0)?,
        cr4: this_cpu().read(Register::Cr4)?,
        rsp: area.stack_top(),
        rip: woken as *const () as u64 + phys_offset,
        arg: bay.index().into(),
    })
}

/// Writes a parked CPU's departure frame, and returns the entry that leads through it.
pub(crate) fn entry(cpu: &'static PerCpu, departure: &Departure) -> Result<Entry, park_core::Error> {
    let area = Area::of(cpu);
    // SAFETY: the CPU is parked.
    let transit_root = unsafe { area.write_transit_root() };
    let mut frame = [0; FRAME_LEN];
    departure.write(&placement(area, Frame::Departure), &mut frame)?;
    area.write_frame(Frame::Departure, &frame);
    Ok(Entry {
        rip: arrive::depart_address(),
        rsp: area.stack_top(),
        cr3: transit_root,
        arg: area.frame_address(Frame::Departure),
    })
}

/// Where a woken CPU enters: on its own stack, with its own tables, and the index of the bay that it was in.
pub(crate) extern "C" fn woken(bay_index: u64) -> ! {
    let cpu = percpu::current();
    if let Err(error) = cpu.registers.take() {
        serial::emit_failure(format_args!("CPU {} can't read its registers: {error}", cpu.index));
    }
    cpu.fixed_pending.store(u64::from(fixed_is_pending()), Ordering::Release);
    cpu.entries.fetch_add(1, Ordering::AcqRel);
    if let Err(error) = give_back(bay_index) {
        serial::emit_failure(format_args!("CPU {} can't give back its bay: {error}", cpu.index));
    }
    come_home()
}

/// True if the image's fixed interrupt waits in the executing CPU's local APIC, which is still switched off by software.
pub(crate) fn fixed_is_pending() -> bool {
    let (register, bit) = (nth(IRR, u16::from(FIXED_VECTOR / 32)), FIXED_VECTOR % 32);
    this_cpu().read(Register::Apic(register)).is_ok_and(|pending| pending >> bit & 1 == 1)
}

/// Gives back the bay of the executing CPU.
fn give_back(bay_index: u64) -> Result<(), Failure> {
    let owner = Owner::current().ok_or(Failure::NoOwner)?;
    let bay_index = u32::try_from(bay_index).map_err(|_| Failure::NoOwner)?;
    let left = Left::new(&owner.lease, bay_index, percpu::current().apic_id, &mut this_cpu())?;
    Ok(owner.platform.drive(left)?)
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
