//! What a test finds: options, a clock, and every CPU of the machine in its job loop.

use core::sync::atomic::Ordering;

use park_core::acpi::{AcpiError, Signature, madt, root};
use park_core::lot::ApicMode;
use park_core::{ApicId, Clock, IpiSender, PhysAddr, Ticks};
use park_x86::features::{FeatureSet, Features};

use crate::choices::Test;
use crate::cmdline::Options;
use crate::image::ap_start::{INIT_US, start_ap};
use crate::image::area::{self, Area};
use crate::image::exit::{self, Verdict};
use crate::image::failure::Failure;
use crate::image::loader::{self, Loaded, identity_bytes};
use crate::image::parking::detect_here;
use crate::image::percpu::{self, PerCpu};
use crate::image::serial;
use crate::image::trouble;
use crate::image::wait::ClockError;
use crate::image::{adopt, levels, linux, parking, pit};
use crate::linux::command_line::CommandLine;
use crate::memory::{self, CPU_AREA_BYTES, MemoryMap, PageBump, Plan};
use crate::platform::apic::local_apic;
use crate::platform::clock::TscClock;
use crate::platform::{Platform, apic};
use crate::report::Value;

unsafe extern "C" {
    safe static metal_boot_area: u8;
}

/// The machine, started.
#[derive(Debug)]
pub(crate) struct World {
    /// The command line.
    pub(crate) options: Options,
    /// Linux's command line.
    pub(crate) append: CommandLine,
    /// The RSDP that the loader named.
    pub(crate) rsdp: Option<PhysAddr>,
    /// The time.
    pub(crate) clock: TscClock,
    /// The machine's memory.
    pub(crate) map: MemoryMap,
    /// Where the image's regions are in it.
    pub(crate) plan: Plan,
}

impl World {
    /// Reads what the loader left, then starts every CPU, if the test [starts CPUs](Test::starts_cpus). Reports `boot` and one
    /// `online` per CPU.
    ///
    /// `info` and `magic` are EBX and EAX at the entry.
    pub(crate) fn build(info: u64, magic: u32) -> Result<Self, Failure> {
        let Loaded { via, options, append, map, rsdp } = loader::read(info, magic)?;
        exit::choose(options.ending);
        apic::X2APIC_WANTED.store(options.apic == ApicMode::X2Apic, Ordering::Relaxed);
        // SAFETY: this is the boot CPU, right after boot.s; `start_boot_cpu` below loads its tables.
        unsafe { levels::choose(options.levels) }?;
        let plan = memory::plan(map.ranges())?;
        let wanted = match options.test {
            // Where the kernel does not want to lie itself.
            Test::Linux if options.lot.is_none() => Some(linux::place_of_lot(&options, &map, &plan)?),
            _ => options.lot,
        };
        let plan = match wanted {
            Some(start) => plan.with_lot_at(start, map.ranges())?,
            None => plan,
        };
        let clock = pit::calibrate()?;
        let mut world = Self { options, append, rsdp, clock, map, plan };
        world.start_boot_cpu()?;
        let &Features { vendor, signature, set, monitor, .. } = detect_here().features();
        serial::emit(
            "boot",
            &[
                ("via", Value::Text(via)),
                ("version", Value::Text(env!("CARGO_PKG_VERSION"))),
                ("ram_bytes", Value::Number(world.map.ram_bytes())),
                ("tsc_hz", Value::Number(clock.ticks_per_second())),
                ("paging_levels", Value::Number(levels::here()? as u64)),
                ("vendor", Value::Text(vendor.name())),
                ("family", Value::Hex(signature.family.into())),
                ("model", Value::Hex(signature.model.into())),
                ("stepping", Value::Hex(signature.stepping.into())),
                ("hypervisor", Value::Truth(set.contains(FeatureSet::HYPERVISOR))),
                // CPUID leaf 5; 0 without MONITOR, and under TCG with it.
                ("smallest_monitor_line_bytes", Value::Number(monitor.smallest_line.into())),
                ("largest_monitor_line_bytes", Value::Number(monitor.largest_line.into())),
            ],
        );
        if world.options.test == Test::Adopt {
            world.plan.lot = adopt::find(&world)?;
        }
        if !world.options.test.starts_cpus() {
            return Ok(world);
        }
        // Found before the regions are used; the table itself is firmware's.
        let root = root::open(rsdp.ok_or(AcpiError::NoRsdp)?, &identity_bytes)?;
        world.start_others(root.find(Signature::MADT, &identity_bytes)?)?;
        let (online, wanted) = (world.online(), world.options.cpus);
        if wanted != 0 && online != wanted {
            return Err(Failure::WrongCpuCount { online, wanted });
        }
        Ok(world)
    }

    fn start_boot_cpu(&self) -> Result<(), Failure> {
        let apic_id = apic::enable()?;
        let start = PhysAddr((&raw const metal_boot_area).expose_provenance() as u64);
        // SAFETY: boot.s reserves the area with this size and alignment for the boot CPU, whose stack is in it.
        let boot_cpu = unsafe { area::prepare(start, 0, apic_id) };
        // SAFETY: this is the boot CPU, on that stack.
        unsafe { Area::of(boot_cpu).load_tables() };
        percpu::register(boot_cpu).ok_or(Failure::TooManyCpus)
    }

    fn start_others(&self, madt: &'static [u8]) -> Result<(), Failure> {
        let boot_id = self.cpus().next().map(|cpu| cpu.apic_id);
        let mut pages = PageBump::new(self.plan.pool);
        if self.options.test == Test::Trouble {
            trouble::rehearse(self, &mut pages, madt)?;
        }
        for apic_id in madt::enabled_cpus(madt) {
            let apic_id = apic_id?;
            if Some(apic_id) != boot_id {
                self.start(&mut pages, apic_id, &mut local_apic()?)?;
            }
        }
        Ok(())
    }

    /// Starts one CPU. Reports it as `online`, or as `absent` with the reason: the others go on without it.
    pub(crate) fn start(
        &self,
        pages: &mut PageBump,
        apic_id: ApicId,
        apic: &mut impl IpiSender,
    ) -> Result<Option<&'static PerCpu>, Failure> {
        let start = pages.take(CPU_AREA_BYTES, CPU_AREA_BYTES).ok_or(Failure::TooManyCpus)?;
        let index = self.online();
        // SAFETY: the pool is checked memory, identity-mapped, and `take` gives no byte out twice.
        let cpu = unsafe { area::prepare(start, index, apic_id) };
        let stack_top = Area::of(cpu).stack_top();
        // SAFETY: the trampoline page is a checked region; the stack is in the new area; only the boot CPU starts others,
        // one at a time, and one that does not come is sent an INIT below.
        let started =
            unsafe { start_ap(apic, self.clock, self.plan.trampoline, apic_id, stack_top, self.timeout_us()) };
        let arrived = || self.wait(|| cpu.arrivals.load(Ordering::Acquire) == 1, "a CPU in its job loop");
        let id = ("apic_id", Value::Number(apic_id.0.into()));
        if let Err(why) = started.and_then(|()| Ok(arrived()?)) {
            // Wherever it is, if it is: it shall not come into the page when that is another's. Its area is never used again.
            let _ = apic.send_init(apic_id);
            self.clock.pass_us(INIT_US);
            serial::emit("absent", &[id, ("why", Value::Format(format_args!("{why}")))]);
            return Ok(None);
        }
        percpu::register(cpu).ok_or(Failure::TooManyCpus)?;
        serial::emit("online", &[("cpu", Value::Number(index.into())), id]);
        Ok(Some(cpu))
    }

    /// Makes a CPU known that waits in a lot, so that it can be woken: its area is ready, and it has never been at home.
    pub(crate) fn enlist(&self, pages: &mut PageBump, apic_id: ApicId) -> Result<&'static PerCpu, Failure> {
        if percpu::with_apic_id(apic_id).is_some() {
            return Err(Failure::Machine("two bays hold one CPU, or the boot CPU"));
        }
        let start = pages.take(CPU_AREA_BYTES, CPU_AREA_BYTES).ok_or(Failure::TooManyCpus)?;
        // SAFETY: the pool is checked memory, identity-mapped, and `take` gives no byte out twice.
        let cpu = unsafe { area::prepare(start, self.online(), apic_id) };
        percpu::register(cpu).ok_or(Failure::TooManyCpus)?;
        Ok(cpu)
    }

    /// What operations are carried out with.
    pub(crate) const fn platform(&self) -> Platform {
        self.platform_at(0)
    }

    /// The same, where physical memory is mapped at `phys_offset`, by `area::map_alias`.
    pub(crate) const fn platform_at(&self, phys_offset: u64) -> Platform {
        // SAFETY:
        // 1. `memory::plan` found the region in usable memory, for the lot alone; it is mapped at identity and at
        //    every alias.
        // 2. The region begins with a page above 1 MiB.
        // 3. The image accesses the region through its platform alone.
        // 4. Entries are made in `parking.rs` alone: departures, and `ap_start::entry` for CPUs that STARTUP fetches; both
        //    lead into the image's own code, on a root of the image's and a stack of the CPU's own area, which live for ever.
        unsafe { Platform::new(self.clock, self.plan.lot.start, self.plan.lot.len_bytes, phys_offset) }
    }

    /// All CPUs, the boot CPU first.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = &'static PerCpu> {
        percpu::cpus()
    }

    /// All CPUs but the boot CPU.
    pub(crate) fn others(&self) -> impl Iterator<Item = &'static PerCpu> {
        self.cpus().skip(1)
    }

    /// How many CPUs there are, the boot CPU included.
    pub(crate) fn online(&self) -> u32 {
        self.cpus().fold(0, |count, _| count + 1)
    }

    /// The longest wait for another CPU.
    pub(crate) fn timeout_us(&self) -> u64 {
        u64::from(self.options.timeout_ms) * 1000
    }

    /// The moment at which waiting for another CPU ends, in ticks of the clock.
    pub(crate) fn deadline(&self) -> Ticks {
        let mut clock = self.clock;
        clock.now().saturating_add(clock.ticks_of_us(self.timeout_us()))
    }

    /// Waits for another CPU.
    pub(crate) fn wait(&self, done: impl FnMut() -> bool, what: &'static str) -> Result<(), ClockError> {
        self.clock.wait(self.timeout_us(), what, done)
    }
}

/// Where a started CPU begins: on its own stack, with 0, or with [`parking::FETCHED`] and the index of the bay that it was
/// fetched from.
pub(crate) extern "C" fn ap_main(argument: u64) -> ! {
    if argument & parking::FETCHED != 0 {
        // SAFETY: this is the area's CPU, on its stack.
        unsafe { Area::current().load_tables() };
        parking::woken(argument & !parking::FETCHED)
    }
    come_home()
}

/// How often a CPU is told to start again: it may still have to take a STARTUP that was sent before, which a virtual CPU
/// that its host is too busy for does after the INIT that should have come later.
const RESTARTS: u64 = 3;

/// Starts `cpu` again, wherever it is, into its job loop.
///
/// # Safety
/// Nothing of its area is needed any more but its counters; it is not the boot CPU.
pub(crate) unsafe fn restart(world: &World, cpu: &'static PerCpu) -> Result<(), Failure> {
    cpu.phys_offset.store(0, Ordering::Release);
    let area = Area::of(cpu);
    let arrivals = cpu.arrivals.load(Ordering::Acquire);
    // SAFETY: the caller's promise, and the INIT below stops the CPU before it could use them.
    unsafe { area.write_tables() };
    let (mut apic, clock, page, stack_top) = (local_apic()?, world.clock, world.plan.trampoline, area.stack_top());
    let timeout_us = world.timeout_us() / RESTARTS;
    let mut restarts = 1;
    // SAFETY: the trampoline is a region of its own; the stack is in the CPU's area; the boot CPU alone starts others; and a
    // CPU that did not come is sent an INIT, here and at the beginning of the next attempt.
    while let Err(why) = unsafe { start_ap(&mut apic, clock, page, cpu.apic_id, stack_top, timeout_us) } {
        if restarts == RESTARTS {
            return Err(why);
        }
        restarts += 1;
        let fields = [("cpu", Value::Number(cpu.index.into())), ("why", Value::Format(format_args!("{why}")))];
        serial::emit("not-restarted", &fields);
        apic.send_init(cpu.apic_id)?;
        clock.pass_us(INIT_US);
    }
    Ok(world.wait(|| cpu.arrivals.load(Ordering::Acquire) > arrivals, "a CPU that was started again")?)
}

/// Makes the executing CPU a CPU of the image again, wherever it comes from, and puts it into its job loop. It must be
/// on its own stack.
pub(crate) fn come_home() -> ! {
    let area = Area::current();
    // SAFETY: `current` found the area by this CPU's stack.
    unsafe { area.load_tables() };
    let cpu = area.percpu();
    match apic::enable() {
        Ok(apic_id) if apic_id == cpu.apic_id => cpu.job_loop(),
        Ok(apic_id) => serial::emit_failure(format_args!("{:?} calls itself {apic_id:?}", cpu.apic_id)),
        Err(error) => serial::emit_failure(format_args!("{:?}: {error}", cpu.apic_id)),
    }
    exit::leave(Verdict::Broken)
}
