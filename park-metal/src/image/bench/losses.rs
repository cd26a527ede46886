//! Wakes whose IPIs are lost on the way: each must be sent again soon, and no CPU may stay where it is.

use core::sync::atomic::Ordering;

use park_conformance::{Faults, Faulty};
use park_core::op::{self, AwaitLeft, Operation, Processor, SinkToSipi, SipiTiming, Timing, Wake, WakeSipi};
use park_core::{ApicId, Clock, Error, IpiSender, PlatformError, Ticks};

use crate::bench::Row;
use crate::image::ap_start::STARTUP_US;
use crate::image::bench::parked;
use crate::image::bench::stopwatch::Slice;
use crate::image::failure::Failure;
use crate::image::parking::{Parked, departure, startup};
use crate::image::percpu::PerCpu;
use crate::image::serial;
use crate::image::world::World;
use crate::platform::{Owner, Platform};
use crate::report::Value;

/// One IPI in eight is lost.
const FAULTS: Faults = Faults { lost_of_256: 32, late_of_256: 0, doubled_of_256: 0, delay_ticks: 0 };
/// From one NMI to the next, and from one round of INIT and STARTUP to the next.
const RETRY_US: u64 = 200;
/// A lost IPI is followed by another one within this time.
const LONGEST_US: u64 = 1_000;
/// One wake in so many is by INIT and STARTUP: an emulator that counts instructions takes millions for each.
const SIPI_EVERY: u32 = 500;
/// From INIT to STARTUP here: CPUs of today need no more, and a retry must come in time.
const INIT_US: u64 = 10;

/// IPIs that are lost, and how long it took until the next one to anybody.
struct Watched {
    faulty: Faulty<Platform>,
    lost_at: Option<Ticks>,
    longest: Ticks,
}

impl Watched {
    fn send(
        &mut self,
        send: impl FnOnce(&mut Faulty<Platform>) -> Result<(), PlatformError>,
    ) -> Result<(), PlatformError> {
        let now = self.faulty.now();
        if let Some(lost_at) = self.lost_at.take() {
            self.longest = self.longest.max(now.saturating_sub(lost_at));
        }
        let before = self.faulty.tally().lost;
        let sent = send(&mut self.faulty);
        if self.faulty.tally().lost > before {
            self.lost_at = Some(now);
        }
        sent
    }
}

impl IpiSender for Watched {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(|faulty| faulty.send_nmi(target))
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(|faulty| faulty.send_init(target))
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.send(|faulty| faulty.send_startup(target, vector))
    }
}

/// Parks and wakes the target so often, and reports what was lost.
pub(super) fn run(world: &World, owner: &Owner, target: &'static PerCpu) -> Result<(), Failure> {
    let wakes = world.options.bench.losses;
    let faulty = Faulty::new(owner.platform, FAULTS, world.options.bench.seed.into());
    let mut ipi = Watched { faulty, lost_at: None, longest: 0 };
    let mut by_sipi = 0;
    for number in 1..=wakes {
        let (parked, _) = parked::park(world, owner, target, Row::Hlt, Slice::Whole)?;
        let arrivals = target.arrivals.load(Ordering::Acquire);
        if number % SIPI_EVERY == 0 {
            by_sipi += 1;
            fetch(world, owner, &parked, &mut ipi)?;
        } else {
            let entry = departure(owner, target, parked.bay)?;
            let timing = Timing { kick_interval_ticks: world.clock.ticks_of_us(RETRY_US), deadline: world.deadline() };
            drive(owner, Wake::new(parked.bay, entry, timing), &mut ipi)?;
        }
        // A loss that needed no other IPI: the CPU had come by an earlier one.
        ipi.lost_at = None;
        owner.platform.drive(AwaitLeft::new(parked.bay, world.deadline()))?;
        world.wait(|| target.arrivals.load(Ordering::Acquire) > arrivals, "a woken CPU in its job loop")?;
    }
    let tally = ipi.faulty.tally();
    let longest_us = ipi.longest.saturating_mul(1_000_000) / world.clock.ticks_per_second();
    let fields = [
        ("wakes", Value::Number(wakes.into())),
        ("by_sipi", Value::Number(by_sipi)),
        ("ipis", Value::Number(tally.asked)),
        ("ipis_lost", Value::Number(tally.lost)),
        ("longest_retry_us", Value::Number(longest_us)),
    ];
    serial::emit("losses", &fields);
    if tally.lost == 0 {
        return Err(Failure::Machine("no IPI was lost, so none had to be sent again"));
    }
    if longest_us > LONGEST_US {
        return Err(Failure::Machine("a lost IPI was not sent again within 1 ms"));
    }
    Ok(())
}

fn drive<O: Operation>(owner: &Owner, operation: O, ipi: &mut Watched) -> Result<O::Output, Error> {
    let mut clock = owner.platform;
    op::drive(operation, &mut owner.platform.memory(), ipi, &mut clock)
}

/// Takes the target by an INIT, which is not lost, and fetches it by STARTUPs, which are.
fn fetch(world: &World, owner: &Owner, parked: &Parked, ipi: &mut Watched) -> Result<(), Failure> {
    let ticks = |us| world.clock.ticks_of_us(us);
    owner.platform.drive(SinkToSipi::new(parked.bay, Processor::Application, ticks(INIT_US)))?;
    let (entry, vector) = startup(world, owner, parked.cpu, parked.bay)?;
    let timing = SipiTiming {
        init_delay_ticks: ticks(INIT_US),
        startup_delay_ticks: ticks(STARTUP_US),
        retry_interval_ticks: ticks(RETRY_US),
        deadline: world.deadline(),
    };
    Ok(drive(owner, WakeSipi::new(parked.bay, entry, vector, timing), ipi).map(drop)?)
}
