//! The waker's stopwatch: the same for every row, in assembly, so that no compiler has a part in what is compared.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::Stage;
use park_core::{ApicId, Clock, Cpu, IpiSender, Register, Ticks};
use park_x86::registers::apic::{LVT_MASKED, LVT_TIMER, TIMER_DIVIDE, TIMER_DIVIDE_BY_1, TIMER_INITIAL};

use crate::image::bench::slot::SLOT;
use crate::image::failure::Failure;
use crate::image::traps::FIXED_VECTOR;
use crate::image::wait::ClockError;
use crate::image::world::World;
use crate::platform::apic::{local_apic, this_cpu};

/// Looks before the waker sees to it that the target is not asleep: some tens of µs.
const LOOKS: u32 = 2_000;

/// One wake, as `rivals.s` works on it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Watch {
    /// Address of the doorbell, and the swap that rings it.
    pub(super) doorbell: u64,
    pub(super) quiet: u64,
    pub(super) rung: u64,
    /// Address of the word that says that the target is on its way, the bits of it that do, and what they are then.
    pub(super) stage: u64,
    pub(super) mask: u32,
    pub(super) wanted: u32,
    /// Address of the entry's stamp.
    pub(super) entered: u64,
    /// Looks until the assembly gives up.
    pub(super) looks: u32,
    /// 1 if the waker kicks between ringing and looking.
    pub(super) kick: u32,
    /// The doorbell, as the swap found it.
    pub(super) found: u64,
    /// Times; 0 for what has not come.
    pub(super) began: u64,
    pub(super) seen: u64,
    pub(super) back: u64,
}

unsafe extern "C" {
    fn metal_bench_ring(watch: *mut Watch);
    fn metal_bench_look(watch: *mut Watch);
    fn metal_bench_arrival(watch: *mut Watch, door: *const AtomicU64);
}

/// When things happened in a wake, in ticks from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Times {
    pub(super) seen: Ticks,
    pub(super) entry: Ticks,
    pub(super) back: Ticks,
    /// Kicks beyond the first.
    pub(super) kicked_again: u64,
}

/// When things happened in an arrival: times, not durations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arrived {
    /// When the door opened; 0 if there was none.
    pub(super) began: Ticks,
    pub(super) arrived: Option<Ticks>,
    pub(super) acknowledged: Ticks,
}

/// Where a target waits before it arrives, so that its slice can be measured from there.
#[derive(Debug)]
pub(super) struct Door(AtomicU64);

pub(super) static DOOR: Door = Door(AtomicU64::new(0));

impl Door {
    const CLOSED: u64 = 1;
    const TAKEN: u64 = 2;
    pub(super) const OPEN: u64 = 3;

    /// Makes the target wait at the door next time, or not.
    pub(super) fn set(&self, slice: Slice) {
        self.0.store(if slice == Slice::Whole { Self::OPEN } else { Self::CLOSED }, Ordering::Release);
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::TAKEN
    }

    /// The target's half: waits until the door is open.
    pub(super) fn pass(&self) {
        if self.0.load(Ordering::Acquire) == Self::CLOSED {
            self.0.store(Self::TAKEN, Ordering::Release);
        }
        while self.0.load(Ordering::Acquire) != Self::OPEN {
            core::hint::spin_loop();
        }
    }
}

/// What ends the target's wait, beside the store to the doorbell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kick {
    /// Nothing.
    None,
    /// An NMI.
    Nmi(ApicId),
}

impl Watch {
    /// Rings a doorbell and times what comes of it. The one way for park's rows and those by hand: not inlined, so that both
    /// execute the same instructions. Returns the doorbell as it was found, too.
    ///
    /// # Safety
    /// Doorbell and stage word are a parked CPU's bay's, or the slot's: mapped, and nobody holds a reference to them but by
    /// atomics.
    #[inline(never)]
    pub(super) unsafe fn ring(mut self, world: &World, kick: Kick, slice: Slice) -> Result<(Times, u64), Failure> {
        let mut apic = local_apic()?;
        let mut send = || match kick {
            Kick::None => Ok(()),
            Kick::Nmi(target) => Ok(apic.send_nmi(target)?),
        };
        self.kick = u32::from(kick != Kick::None);
        slice.begin()?;
        // SAFETY: the watch is valid for writes; its addresses are the caller's promise.
        unsafe { metal_bench_ring(&mut self) };
        if kick != Kick::None {
            send()?;
        }
        // SAFETY: the caller's promise.
        let times = unsafe { self.look(world, send) }?;
        slice.end()?;
        Ok((times, self.found))
    }

    /// Times an arrival in the place whose stage word the watch has: when the target was seen to run its code, and when it had
    /// acknowledged. The beginning is when the target passes the door, if it waits there.
    ///
    /// # Safety
    /// As [`ring`](Self::ring), for the stage word.
    #[inline(never)]
    pub(super) unsafe fn arrival(mut self, world: &World, slice: Slice) -> Result<Arrived, Failure> {
        let mut door = core::ptr::null();
        if slice != Slice::Whole {
            world.wait(|| DOOR.is_taken(), "a target that was to park")?;
            door = &raw const DOOR.0;
            slice.begin()?;
        }
        let mut deadline = None;
        loop {
            // SAFETY: the watch is valid for writes, the door is one; the stage is the caller's promise.
            unsafe { metal_bench_arrival(&mut self, door) };
            if self.back != 0 {
                break;
            }
            door = core::ptr::null();
            if { world.clock }.now() > *deadline.get_or_insert_with(|| world.deadline()) {
                return Err(ClockError::TimedOut { what: "a target that was to park" }.into());
            }
        }
        slice.end()?;
        let seen = Some(self.seen).filter(|&seen| seen != 0);
        Ok(Arrived { began: self.began, arrived: seen, acknowledged: self.back })
    }

    /// Waits until the target has entered; `kick` is called whenever that takes unusually long.
    ///
    /// # Safety
    /// As [`ring`](Self::ring), for the stage word.
    pub(super) unsafe fn look(
        &mut self,
        world: &World,
        mut kick: impl FnMut() -> Result<(), Failure>,
    ) -> Result<Times, Failure> {
        let mut kicked_again = 0;
        let mut deadline = None;
        loop {
            // SAFETY: the watch is valid for writes; its addresses are the caller's promise.
            unsafe { metal_bench_look(self) };
            if self.back != 0 {
                break;
            }
            if { world.clock }.now() > *deadline.get_or_insert_with(|| world.deadline()) {
                return Err(ClockError::TimedOut { what: "a target that was woken" }.into());
            }
            kick()?;
            kicked_again += 1;
        }
        let entered = SLOT.entered.load(Ordering::Acquire);
        let since = |time: Ticks| time.saturating_sub(self.began);
        Ok(Times { seen: since(self.seen), entry: since(entered), back: since(self.back), kicked_again })
    }

    /// An arrival in the place with the stage word at `stage`.
    pub(super) fn of_stage(stage: u64) -> Self {
        Self::of_word(stage, u32::MAX, Stage::Waiting as u32)
    }

    /// A wake that swaps the doorbell at `doorbell` from `quiet` to `rung`, and is on its way when the stage word at `stage`
    /// says so.
    pub(super) fn of_doorbell(doorbell: u64, quiet: u64, rung: u64, stage: u64) -> Self {
        Self { doorbell, quiet, rung, ..Self::of_word(stage, u32::MAX, Stage::Leaving as u32) }
    }

    /// A wake that began at `began`, and is on its way when these bits of the word at `stage` are what is wanted.
    pub(super) fn of_word(stage: u64, mask: u32, wanted: u32) -> Self {
        let entered = core::ptr::from_ref(&SLOT.entered).expose_provenance() as u64;
        let looks = LOOKS;
        let (doorbell, quiet, rung, kick, found, began, seen, back) = (0, 0, 0, 0, 0, 0, 0, 0);
        Self { doorbell, quiet, rung, stage, mask, wanted, entered, looks, kick, found, began, seen, back }
    }
}

/// How soon the target loses its turn, where CPUs take turns and time counts instructions: so the waker sees what the target
/// has stored by then, which otherwise goes on until it waits. Elsewhere it is nothing but an interrupt that pends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slice {
    /// When it waits.
    Whole,
    /// After so many ticks.
    Ticks(u32),
}

impl Slice {
    /// The slice of a round: 1, 2 and so on up to `longest`, and again; 0 for whole ones.
    pub(super) const fn of_round(round: u32, longest: u32) -> Self {
        match round.checked_rem(longest) {
            Some(rest) => Self::Ticks(rest + 1),
            None => Self::Whole,
        }
    }

    fn begin(self) -> Result<(), Failure> {
        let Self::Ticks(ticks) = self else { return Ok(()) };
        let mut cpu = this_cpu();
        cpu.write(Register::Apic(TIMER_DIVIDE), TIMER_DIVIDE_BY_1)?;
        cpu.write(Register::Apic(LVT_TIMER), FIXED_VECTOR.into())?;
        Ok(cpu.write(Register::Apic(TIMER_INITIAL), ticks.into())?)
    }

    fn end(self) -> Result<(), Failure> {
        if self != Self::Whole {
            this_cpu().write(Register::Apic(LVT_TIMER), LVT_MASKED)?;
            this_cpu().write(Register::Apic(TIMER_INITIAL), 0)?;
            // The interrupt stays pending: the image has IF = 0, and with 1 it would take those of the PIC, too.
        }
        Ok(())
    }
}
