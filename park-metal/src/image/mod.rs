//! What needs the machine for itself: from the entry to the end of the test.

mod adopt;
mod ap_start;
mod area;
mod bench;
mod boot;
pub(crate) mod broken;
mod conformance;
mod counters;
mod events;
mod exit;
pub(crate) mod failure;
mod fleet;
pub(crate) mod insn;
mod keep;
mod levels;
mod linux;
mod loader;
mod lot;
mod mailbox;
pub(crate) mod parking;
pub(crate) mod percpu;
mod pit;
mod probe;
mod rendezvous;
mod screen;
mod serial;
mod silicon;
mod skeleton;
mod sled;
mod smi;
mod smp;
mod snapshot;
mod soak;
mod strangers;
mod sweep;
mod torture;
pub(crate) mod traps;
mod trouble;
mod uefi;
pub(crate) mod wait;
mod world;

use core::panic::PanicInfo;

use self::exit::Verdict;
use self::failure::Failure;
use self::world::World;
use crate::choices::Test;
use crate::report::Value;

/// The 64-bit entry, called by `boot.s` on the boot CPU's own stack.
extern "C" fn boot_main(info: u64, magic: u32) -> ! {
    serial::init();
    let verdict = match World::build(info, magic) {
        Ok(world) => run(&world),
        Err(error) => {
            serial::emit_failure(format_args!("{error}"));
            Verdict::Failed
        }
    };
    exit::leave(verdict)
}

/// Runs the test and reports its end. The line `complete` is the only proof that the test ran to its end.
fn run(world: &World) -> Verdict {
    let test = world.options.test;
    // Through a pointer: inlined, the frames of all tests would add up to more than the stack holds.
    let run: fn(&World) -> Result<(), Failure> = match test {
        Test::Smp => smp::run,
        Test::Skeleton => skeleton::run,
        Test::Torture => torture::run,
        Test::Trouble => trouble::run,
        Test::Conformance => conformance::run,
        Test::Silicon => silicon::run,
        Test::Soak => soak::run,
        Test::Strangers => strangers::run,
        Test::Linux => linux::run,
        Test::Adopt => adopt::run,
        Test::Mailbox => mailbox::run,
        Test::Sweep => sweep::run,
        Test::Bench => bench::run,
        Test::Fault => |_| insn::undefined(),
    };
    let result = core::hint::black_box(run)(world);
    if let Err(error) = result {
        serial::emit_failure(format_args!("{error}"));
    }
    let fields = [("test", Value::Text(test.name())), ("ok", Value::Truth(result.is_ok()))];
    serial::emit("complete", &fields);
    if result.is_ok() { Verdict::Passed } else { Verdict::Failed }
}

/// Reports a panic and ends the image: the binary's panic handler.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    serial::emit("panic", &[("why", Value::Format(format_args!("{info}")))]);
    exit::leave(Verdict::Broken)
}
