//! What a group wake costs its waker: instructions of its own, for one CPU and for more.

use cpu_park::policy::carry::{Carry, Entries, Goal, Outcome};
use park_core::op::{Bay, NoSummon, Performed, Reply, Step, perform};
use park_core::{ApicId, Clock, Entry, Error, ErrorKind, Mechanism, Ticks};

use crate::choices::Choice;
use crate::image::failure::Failure;
use crate::image::fleet::Fleet;
use crate::image::parking::departure;
use crate::image::percpu;
use crate::image::world::World;
use crate::image::{insn, serial};
use crate::memory::MAX_CPUS;
use crate::platform::Owner;
use crate::report::Value;

/// Group wakes of each size; the first is cold.
const REPETITIONS: usize = 4;

/// Wakes groups of one CPU, of two, and so on up to all, and reports the ticks that the waker spent outside its waits.
pub(super) fn run(world: &World, owner: &Owner) -> Result<(), Failure> {
    let fleet = Fleet::take()?;
    let others = world.others().count();
    for size in 1..=others {
        let mut ticks = [0; REPETITIONS];
        for slot in &mut ticks {
            fleet.plan(world, Choice::Only(Mechanism::Hlt), 0)?;
            fleet.keep(size);
            fleet.carry(world, owner, Goal::Park);
            *slot = wake(world, owner, fleet)?;
            for parked in fleet.tasks() {
                let cpu = percpu::with_apic_id(parked.apic_id()).ok_or(Failure::Machine("a CPU without a number"))?;
                world.wait(|| cpu.is_idle(), "a woken CPU in its job loop")?;
            }
            if fleet.report_unless(Outcome::Woken) != 0 {
                return Err(Failure::Machine("a CPU of a group did not wake"));
            }
        }
        let [_, warm @ ..] = ticks;
        serial::emit("group", &[("cpus", Value::Number(size as u64)), ("ticks", Value::Numbers(&warm))]);
    }
    Ok(())
}

/// Wakes all that are parked. Returns the ticks that the waker spent, but for those of its waits: there the others run, or it
/// spins, and how long depends on them.
fn wake(world: &World, owner: &Owner, fleet: &mut Fleet) -> Result<Ticks, Failure> {
    let mut prepared = Prepared::new(owner, fleet)?;
    let mut memory = owner.platform.memory();
    let (mut ipi, mut clock) = (owner.platform, world.clock);
    let mut spent = 0;
    let empty = {
        let before = insn::read_tsc();
        insn::read_tsc() - before
    };
    let mut drive = |carry: &mut Carry<'_>| {
        let mut reply = Reply::Start;
        loop {
            let before = insn::read_tsc();
            let step = carry.next(reply, clock.now());
            let waits = matches!(step, Step::Wait { .. });
            if waits {
                spent += insn::read_tsc() - before - empty;
            }
            let performed = perform(step, &mut memory, &mut ipi, &mut NoSummon);
            if !waits {
                spent += insn::read_tsc() - before - empty;
            }
            match performed {
                Performed::Reply(next) => reply = next,
                Performed::Done(_) => break,
            }
        }
    };
    fleet.carry_by(world, owner, Goal::Wake, &mut prepared, &mut drive);
    Ok(spent)
}

/// Entries that were made ready before the clock runs: what a kernel does once for each CPU.
struct Prepared([Option<(ApicId, Entry)>; MAX_CPUS]);

impl Prepared {
    fn new(owner: &Owner, fleet: &Fleet) -> Result<Self, Failure> {
        let mut entries = [None; MAX_CPUS];
        for (slot, parked) in entries.iter_mut().zip(fleet.parked()) {
            *slot = Some((parked.cpu.apic_id, departure(owner, parked.cpu, parked.bay)?));
        }
        Ok(Self(entries))
    }
}

impl Entries for Prepared {
    fn entry(&mut self, apic_id: ApicId, _bay: Bay) -> Result<Entry, Error> {
        let found = self.0.iter().flatten().find(|(id, _)| *id == apic_id);
        let entry = found.map(|(_, entry)| *entry);
        entry.ok_or(Error::new(ErrorKind::InvalidCpu, "no entry was made ready for this CPU").found(apic_id.0.into()))
    }
}
