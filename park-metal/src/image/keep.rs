//! Where the last step lies: the last page of the pool, which no CPU's area reaches, or bytes 60h to 7Fh of the CMOS RAM.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::image::insn;
use crate::image::serial;
use crate::image::world::World;
use crate::last_step::Keep;
use crate::last_step::{LastStep, RECORD_BYTES, SLOTS, Step};
use crate::memory::PAGE_BYTES;
use crate::report::Value;
use crate::silicon::Question;

/// The CMOS RAM's index and data ports (Motorola MC146818, at the PC's addresses).
const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;
/// In the index: NMIs from the board stay off, as the image has found them or not; it has no handler for parity errors.
const CMOS_NMI_OFF: u8 = 0x80;
/// The first of the bytes used, and there are 32. Bytes below are the clock's and settings of the first PCs; these are free
/// under SeaBIOS and Bochs, and some firmware's own elsewhere: only with `keep=cmos`.
const CMOS_FIRST: u8 = 0x60;

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// What the last run left, reported as `last_step`. Records go on from there.
pub(crate) fn recall(world: &World) -> Option<LastStep> {
    let mut slots = [[0; RECORD_BYTES]; SLOTS];
    for (slot, bytes) in slots.iter_mut().enumerate() {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = read(world, slot * RECORD_BYTES + index);
        }
    }
    let last = LastStep::newest(&slots)?;
    SEQUENCE.store(last.sequence.wrapping_add(1), Ordering::Relaxed);
    let question = Question::ALL.get(last.number as usize).filter(|_| last.step == Step::Ask);
    let fields = [
        ("step", Value::Text(last.step.name())),
        ("number", Value::Number(last.number.into())),
        ("cpu", last.cpu.map_or(Value::Text("none"), |cpu| Value::Number(cpu.into()))),
        ("question", Value::Text(question.map_or("", |question| question.subject().name))),
        ("died", Value::Truth(last.step != Step::Done)),
    ];
    serial::emit("last_step", &fields);
    Some(last)
}

/// Keeps what is under way from here on. One CPU alone does so.
pub(crate) fn note(world: &World, step: Step, number: u32, cpu: Option<u32>) {
    let cpu = cpu.and_then(|cpu| u8::try_from(cpu).ok());
    let record = LastStep { step, cpu, number, sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed) };
    let slot = record.slot();
    for (index, byte) in record.encode().into_iter().enumerate() {
        write(world, slot * RECORD_BYTES + index, byte);
    }
    if world.options.keep == Keep::Ram {
        // A reset throws away what only a cache has. A record never crosses a line.
        insn::clflush(address(world, slot * RECORD_BYTES));
    }
}

fn address(world: &World, offset: usize) -> u64 {
    world.plan.pool.end().0 - PAGE_BYTES + offset as u64
}

fn read(world: &World, offset: usize) -> u8 {
    match world.options.keep {
        Keep::Ram => {
            let byte: *const u8 = core::ptr::with_exposed_provenance(address(world, offset) as usize);
            // SAFETY: the pool's last page: mapped, and nobody's but this file's.
            unsafe { byte.read_volatile() }
        }
        Keep::Cmos => {
            insn::out_u8(CMOS_INDEX, CMOS_NMI_OFF | (CMOS_FIRST + offset as u8));
            insn::in_u8(CMOS_DATA)
        }
    }
}

fn write(world: &World, offset: usize, value: u8) {
    match world.options.keep {
        Keep::Ram => {
            let byte: *mut u8 = core::ptr::with_exposed_provenance_mut(address(world, offset) as usize);
            // SAFETY: as in `read`.
            unsafe { byte.write_volatile(value) }
        }
        Keep::Cmos => {
            insn::out_u8(CMOS_INDEX, CMOS_NMI_OFF | (CMOS_FIRST + offset as u8));
            insn::out_u8(CMOS_DATA, value);
        }
    }
}
