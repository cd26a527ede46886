//! Lots that are broken on purpose, so that what `torture` says of a good one is worth something: they lose CPUs.
//!
//! An emulator resets the machine when a CPU shuts down; then the last `fire` line names the CPU. Whoever loses a CPU
//! without that reports it.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use cpu_park::policy::carry::{Goal, Outcome};
use park_core::lot::{Stage, bay, header, layout};
use park_core::op::{Confirm, Timing};
use park_core::{Clock, Event, IpiSender, LotMemory, Mechanism, PhysAddr, Ticks};
use park_x86::code::bay_labels;
use park_x86::frame::{Arrival, FRAME_LEN};
use park_x86::registers::control::Cr4;

use crate::choices::Host;
use crate::choices::{Breakage, Choice};
use crate::image::area::{Area, Frame, WIPE_BYTE};
use crate::image::conformance::host;
use crate::image::failure::Failure;
use crate::image::fleet::Fleet;
use crate::image::parking::{Parked, cpu_field, mechanism_field};
use crate::image::torture::{Tally, nmis, wake_all};
use crate::image::world::World;
use crate::image::{serial, sled};
use crate::platform::Owner;
use crate::platform::apic::local_apic;
use crate::report::Value;

global_asm!(
    include_str!("broken.s"),
    WAITING = const Stage::Waiting as u64,
    STAGE = const bay::STAGE,
    EVENTS = const bay::EVENTS,
    options(att_syntax)
);

unsafe extern "C" {
    safe static metal_broken_start: u8;
    safe static metal_broken_enter: u8;
    safe static metal_broken_slow: u8;
    safe static metal_broken_wait: u8;
    safe static metal_broken_nmi: u8;
    safe static metal_broken_end: u8;
}

/// From an early acknowledgement to the end of what it acknowledges. On Bochs a line takes longer if it shows on a screen.
const EARLY_US: u64 = 10_000;
/// From the look at the doorbell to HLT.
const WINDOW_US: u64 = 2_000;
/// From the NMI that makes a CPU look at its doorbell to the one that it must not miss: the steps of a sweep through the
/// window and beyond.
const SWEEP_STEP_US: u64 = 100;
const SWEEP_STEPS: u64 = 40;
/// How long a CPU may take to answer one NMI.
const ANSWER_US: u64 = 300_000;
/// Where the addition lies in the code page: far behind the bay code, which the builder pads.
const ADDITION_OFFSET: u64 = header::CODE_OFFSET + layout::CODE_LEN - 0x100;
/// Words at the beginning of the addition, as broken.s has them.
const SPIN_TICKS: u64 = ADDITION_OFFSET;
const TARGET: u64 = ADDITION_OFFSET + 8;
const BAY_MASK: u64 = ADDITION_OFFSET + 16;
/// Bytes of the IDT of a parked CPU, the first in the lot's tables, and of a gate.
const IDT_BYTES: u64 = 32 * 16;
const GATE_BYTES: u64 = 16;
const NMI_VECTOR: u64 = 2;
/// `HLT; JMP rel8`, and the longer `JMP rel32` (Intel SDM vol. 2, HLT and JMP).
const HLT: u8 = 0xf4;
const JMP_REL8: u8 = 0xeb;
const JMP_REL32: u8 = 0xe9;
const JMP_REL32_BYTES: u64 = 5;
/// HLT of the wait lies within so many bytes of its beginning.
const HLT_WITHIN: u64 = 0x80;

/// Where CPUs arrive instead of `bay_enter`; 0: there.
static ENTER: AtomicU64 = AtomicU64::new(0);
/// Bits of CR4 that parked CPUs lack.
static CR4_OFF: AtomicU64 = AtomicU64::new(0);

/// Breaks an arrival as the lot is broken.
pub(crate) fn amend(arrival: &mut Arrival) {
    let enter = ENTER.load(Ordering::Relaxed);
    if enter != 0 {
        arrival.enter = PhysAddr(enter);
    }
    arrival.cr4 &= !CR4_OFF.load(Ordering::Relaxed);
}

/// Parks every CPU in a lot that is broken, disturbs them, and counts those that are lost.
pub(crate) fn run(world: &World, fleet: &mut Fleet, owner: &Owner, breakage: Breakage) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    spoil(world, owner, breakage)?;
    serial::emit("broken", &[("break", Value::Text(breakage.name()))]);
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    for number in 0..rounds(breakage) {
        if number != 0 {
            wake_all(world, owner, fleet, &mut tally)?;
        }
        round(world, fleet, owner, breakage, number, &mut tally)?;
    }
    Ok(tally)
}

/// How often CPUs park. A virtual CPU may be taken off its host's for longer than an early acknowledgement is early; then
/// nobody is lost, and the next round tells.
const fn rounds(breakage: Breakage) -> u32 {
    match breakage {
        Breakage::EarlyAck | Breakage::SlowArrival => 3,
        _ => 1,
    }
}

/// Parks every CPU, overwrites memory and disturbs them.
fn round(
    world: &World,
    fleet: &mut Fleet,
    owner: &Owner,
    breakage: Breakage,
    number: u32,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let swept = matches!(breakage, Breakage::NoWindow | Breakage::WideWindow);
    fleet.plan(world, if swept { Choice::Only(Mechanism::Hlt) } else { world.options.choice }, number)?;
    fleet.carry(world, owner, Goal::Park);
    serial::emit("overwriting", &[]);
    // What an early CPU still uses comes first: the rest takes longer than the 10 ms on slow emulators.
    for parked in fleet.parked() {
        Area::of(parked.cpu).write_frame(Frame::Arrival, &[WIPE_BYTE; FRAME_LEN]);
    }
    // SAFETY: all have acknowledged, truly or not.
    tally.overwritten_bytes += unsafe { sled::overwrite(world, &[]) };
    tally.lost += fleet.report_unless(Outcome::Parked);
    tally.parked += fleet.parked().count() as u64;
    for parked in fleet.parked() {
        if swept {
            sweep(world, owner, &parked, tally)?;
        } else if matches!(breakage, Breakage::NoMce | Breakage::WithMce) {
            check_machine(world, owner, &parked, tally)?;
        } else {
            fire(world, owner, &parked, tally)?;
        }
    }
    tally.lost += sled::report_landings();
    Ok(())
}

/// Breaks the lot.
fn spoil(world: &World, owner: &Owner, breakage: Breakage) -> Result<(), Failure> {
    let lot = owner.lease.lot();
    let (phys, mut memory) = (lot.header().self_phys.0, owner.platform.memory());
    let at = |label: &u8| phys + ADDITION_OFFSET + offset_of(label);
    let wait = phys + header::CODE_OFFSET + u64::from(bay_labels().wait);
    add(owner, !(lot.header().bay_stride - 1))?;
    match breakage {
        Breakage::NoMce => CR4_OFF.store(Cr4::MCE.bits(), Ordering::Relaxed),
        Breakage::WithMce => {}
        Breakage::NoIdt => {
            for offset in (0..IDT_BYTES).step_by(8) {
                memory.store(u64::from(lot.header().tables_offset) + offset, 0)?;
            }
        }
        Breakage::EarlyAck | Breakage::SlowArrival => {
            memory.store(SPIN_TICKS, world.clock.ticks_of_us(EARLY_US))?;
            memory.store(TARGET, lot.header().enter().0)?;
            let early = breakage == Breakage::EarlyAck;
            let enter = if early { &metal_broken_enter } else { &metal_broken_slow };
            ENTER.store(at(enter), Ordering::Relaxed);
        }
        Breakage::NoWindow | Breakage::WideWindow => {
            memory.store(SPIN_TICKS, world.clock.ticks_of_us(WINDOW_US))?;
            memory.store(TARGET, wait)?;
            let hlt = find_hlt(owner)?;
            let distance = at(&metal_broken_wait) - (phys + hlt + JMP_REL32_BYTES);
            write(owner, hlt, JMP_REL32)?;
            for (offset, byte) in (hlt + 1..).zip(distance.to_le_bytes().into_iter().take(4)) {
                write(owner, offset, byte)?;
            }
        }
    }
    if breakage == Breakage::NoWindow {
        let gate = u64::from(lot.header().tables_offset) + NMI_VECTOR * GATE_BYTES;
        let handler = at(&metal_broken_nmi);
        // Intel SDM vol. 3, "64-Bit IDT Gate Descriptors": the address in three pieces.
        let rest = memory.load(gate)? & 0x0000_ffff_ffff_0000;
        memory.store(gate, rest | handler & 0xffff | (handler >> 16 & 0xffff) << 48)?;
        memory.store(gate + 8, handler >> 32)?;
    }
    Ok(())
}

/// Copies the addition into the lot.
fn add(owner: &Owner, bay_mask: u64) -> Result<(), Failure> {
    let start = &raw const metal_broken_start;
    let len = (&raw const metal_broken_end).addr() - start.addr();
    // SAFETY: first and last label of one piece of read-only bytes of the image.
    let bytes = unsafe { core::slice::from_raw_parts(start, len) };
    let mut memory = owner.platform.memory();
    for (offset, chunk) in (ADDITION_OFFSET..).step_by(8).zip(bytes.chunks_exact(8)) {
        let word = chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        memory.store(offset, word)?;
    }
    Ok(memory.store(BAY_MASK, bay_mask)?)
}

/// Where a label of the addition lies in it.
fn offset_of(label: &u8) -> u64 {
    (core::ptr::from_ref(label).addr() - (&raw const metal_broken_start).addr()) as u64
}

/// The offset in the lot of HLT in the wait.
fn find_hlt(owner: &Owner) -> Result<u64, Failure> {
    let wait = header::CODE_OFFSET + u64::from(bay_labels().wait);
    for offset in wait..wait + HLT_WITHIN {
        if read(owner, offset)? == HLT && read(owner, offset + 1)? == JMP_REL8 {
            return Ok(offset);
        }
    }
    Err(Failure::Machine("the bay code has no HLT where it waits"))
}

fn read(owner: &Owner, offset: u64) -> Result<u8, Failure> {
    Ok((owner.platform.memory().load(offset & !7)? >> (offset % 8 * 8)) as u8)
}

fn write(owner: &Owner, offset: u64, byte: u8) -> Result<(), Failure> {
    let (mut memory, shift) = (owner.platform.memory(), offset % 8 * 8);
    let word = memory.load(offset & !7)? & !(0xff << shift);
    Ok(memory.store(offset & !7, word | u64::from(byte) << shift)?)
}

/// Asks the host for a machine check, and waits for what a good lot does about it.
fn check_machine(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    if world.options.host != Host::Answers {
        return Err(Failure::Machine("machine checks need a host that raises machine checks; give host=yes"));
    }
    let count = || owner.platform.memory().load(parked.bay.offset() + bay::EVENTS).map(|events| events >> u32::BITS);
    let before = count()?;
    serial::emit("fire", &[cpu_field(parked), mechanism_field(parked), ("what", Value::Text(Event::McLocal.name()))]);
    host::ask(world, Event::McLocal, parked.cpu)?;
    tally.fired += 1;
    if world.wait(|| count().is_ok_and(|count| count > before), "a machine check").is_ok() {
        tally.witnessed += 1;
    } else {
        lose(parked, "it did not count its machine check", tally);
    }
    Ok(())
}

/// Sends one NMI, and waits for what a good lot does about it.
fn fire(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    serial::emit("fire", &[cpu_field(parked), mechanism_field(parked), ("what", Value::Text("nmi"))]);
    // It may be the last line of this machine.
    serial::flush();
    let before = nmis(owner, parked)?;
    local_apic()?.send_nmi(parked.cpu.apic_id)?;
    tally.fired += 1;
    // A CPU that holds the NMI shows it when it is asked for a sign of life.
    let timing = Timing { kick_interval_ticks: Ticks::MAX, deadline: world.deadline() };
    let answered =
        parked.mechanism != Mechanism::Clgi || owner.platform.drive(Confirm::new(parked.bay, timing)).is_ok();
    if answered && world.wait(|| nmis(owner, parked).is_ok_and(|count| count > before), "an NMI").is_ok() {
        tally.witnessed += 1;
    } else {
        lose(parked, "it did not count its NMI", tally);
    }
    Ok(())
}

/// Makes a CPU look at its doorbell, and rings it with one NMI a little later, each time later.
fn sweep(world: &World, owner: &Owner, parked: &Parked, tally: &mut Tally) -> Result<(), Failure> {
    for step in 0..SWEEP_STEPS {
        local_apic()?.send_nmi(parked.cpu.apic_id)?;
        world.clock.pass_us(step * SWEEP_STEP_US);
        let mut clock = world.clock;
        let deadline = clock.now().saturating_add(world.clock.ticks_of_us(ANSWER_US));
        let timing = Timing { kick_interval_ticks: Ticks::MAX, deadline };
        tally.fired += 1;
        if owner.platform.drive(Confirm::new(parked.bay, timing)).is_err() {
            let delay = ("delay_us", Value::Number(step * SWEEP_STEP_US));
            serial::emit("unanswered", &[cpu_field(parked), delay]);
            lose(parked, "it slept through its ring", tally);
            return Ok(());
        }
        tally.witnessed += 1;
    }
    Ok(())
}

fn lose(parked: &Parked, why: &'static str, tally: &mut Tally) {
    tally.lost += 1;
    serial::emit("lost", &[cpu_field(parked), mechanism_field(parked), ("why", Value::Text(why))]);
}
