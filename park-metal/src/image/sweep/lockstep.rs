//! NMIs at a moment: so many ticks after something, or so many instructions.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::{ApicMode, bay};
use park_core::op::{self, AwaitLeft, Wake};
use park_core::{ApicId, Cpu, Entry, IpiSender, LotMemory, Mechanism, PlatformError, Register};
use park_x86::apic::{self, LocalApic};
use park_x86::frame::Departure;
use park_x86::hardware::HardwareCpu;
use park_x86::memory::MappedLot;
use park_x86::registers::apic::{ICR_ASSERT, ICR_HIGH, ICR_LOW, ICR_NMI, ICR_XAPIC_DESTINATION_SHIFT, x2apic_msr};

use crate::image::area::{Area, SweepStack};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::lot::timing;
use crate::image::parking::{self, Parked};
use crate::image::sweep::woken_elsewhere;
use crate::image::world::World;
use crate::platform::Owner;
use crate::platform::apic::{PAGE as APIC_PAGE, local_apic, this_cpu};

/// So many ticks are passed in instructions, not by looking at the TSC again and again, whose laps are long.
const FINE_TICKS: u64 = 400;

/// Waits until the TSC is `tsc`. Where it counts instructions this takes exactly as long each time.
pub(super) fn until(tsc: u64) {
    loop {
        let left = tsc.saturating_sub(insn::read_tsc());
        if left <= FINE_TICKS {
            return pass(left);
        }
    }
}

/// Lets `delay` ticks pass, and a few more.
#[inline(always)]
fn delay(delay: u64) {
    if delay <= FINE_TICKS { pass(delay) } else { until(insn::read_tsc() + delay) }
}

/// Executes so many instructions, and four more.
#[inline(always)]
fn pass(instructions: u64) {
    // SAFETY: counts a register down; touches nothing else.
    unsafe {
        core::arch::asm!(
            "test {n:l}, 1",
            "jz 2f",
            "nop",                      // one more if the number is odd: a lap is two
            "2:",
            "shr {n}, 1",
            "jz 4f",
            "3:",
            "dec {n}",
            "jnz 3b",
            "4:",
            n = inout(reg) instructions => _,
            options(nomem, nostack)
        );
    }
}

/// An NMI that needs no more than one instruction to be sent: in xAPIC mode its destination is set beforehand. Through
/// park's driver it takes some thirty, and the target goes on meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadyNmi {
    /// By a store to the low half of the interrupt command register.
    XApic(NonNull<u32>),
    /// By a WRMSR to that register, with the destination in it.
    X2Apic(ApicId),
}

/// The low half: NMI, asserted.
const MESSAGE: u32 = (ICR_NMI | ICR_ASSERT) as u32;

impl ReadyNmi {
    pub(super) fn new(target: ApicId) -> Result<Self, PlatformError> {
        let mut cpu = this_cpu();
        Ok(match apic::mode(&mut cpu)? {
            ApicMode::X2Apic => Self::X2Apic(target),
            ApicMode::XApic => {
                cpu.write(Register::Apic(ICR_HIGH), u64::from(target.0) << ICR_XAPIC_DESTINATION_SHIFT)?;
                let low = core::ptr::with_exposed_provenance_mut(APIC_PAGE as usize + usize::from(ICR_LOW.0));
                // SAFETY: the page is not at address 0.
                Self::XApic(unsafe { NonNull::new_unchecked(low) })
            }
        })
    }

    /// Sends it. Stores before it are visible to the target first: the image is on x86, where an uncached store comes after
    /// them, and what a target of the WRMSR must see here is ordered by the locked instruction that publishes it.
    #[inline(always)]
    pub(super) fn send(self) {
        match self {
            // SAFETY: an aligned register of the page that `apic::enable` has checked, mapped uncached at identity.
            Self::XApic(low) => unsafe { low.write_volatile(MESSAGE) },
            Self::X2Apic(target) => {
                // SAFETY: the local APIC is in x2APIC mode, so the register exists; the message is an NMI to a CPU that
                // takes it in whatever state it is: that is what is tried.
                unsafe {
                    core::arch::asm!(
                        "wrmsr",
                        in("ecx") x2apic_msr(ICR_LOW),
                        in("eax") MESSAGE,
                        in("edx") target.0,
                        options(nostack, preserves_flags)
                    );
                }
            }
        }
    }
}

/// NMIs that a wake sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sent {
    /// What makes the CPU look at its doorbell, and what comes so many ticks after that.
    meant: u64,
    /// What the operation had to send on top, since the CPU did not come.
    pub(super) kicks: u64,
}

impl Sent {
    pub(super) const fn in_all(self) -> u64 {
        self.meant + self.kicks
    }
}

/// Wakes the CPU into its job loop. With `swept`, an NMI comes so many ticks after the ring.
///
/// An NMI makes the CPU look at its doorbell, also one that waits by a store: while its handler runs the ring comes, and
/// the NMI that is swept, if the delay is short. So whatever the delay, that one finds the CPU behind the handler. With
/// GIF = 0 both would be one: there the CPU sees the ring by itself, and takes the NMI at STGI at the earliest.
///
/// The ring comes when the TSC is `ring_tsc`: a CPU that polls is at the same instruction then, each time.
pub(super) fn wake(
    world: &World,
    owner: &Owner,
    parked: &Parked,
    ring_tsc: u64,
    swept: Option<u64>,
) -> Result<Sent, Failure> {
    let cpu = parked.cpu;
    let top = |stack| Area::of(cpu).sweep_stack_top(stack);
    let leaving = parking::leaving(owner, cpu, parked.bay)?;
    let departure = Departure { rsp: top(SweepStack::Left), rip: woken_elsewhere(), ..leaving };
    let entry = Entry { rsp: top(SweepStack::Leaving), ..parking::entry(cpu, &departure)? };
    let arrivals = cpu.arrivals.load(Ordering::Acquire);
    let nmi = ReadyNmi::new(cpu.apic_id)?;
    let mut memory = Ringing {
        memory: owner.platform.memory(),
        phys: owner.lease.lot().header().self_phys.0,
        doorbell: parked.bay.offset() + bay::DOORBELL,
        nmi,
        first: (parked.mechanism != Mechanism::Clgi).then_some(nmi),
        ring_tsc,
        swept,
        sent: 0,
    };
    let spared = u64::from(parked.mechanism == Mechanism::Hlt);
    let mut sender = Kicking { apic: local_apic()?, spared, sent: 0 };
    let mut clock = owner.platform;
    op::drive(Wake::new(parked.bay, entry, timing(world)), &mut memory, &mut sender, &mut clock)?;
    owner.platform.drive(AwaitLeft::new(parked.bay, world.deadline()))?;
    world.wait(|| cpu.arrivals.load(Ordering::Acquire) > arrivals, "a woken CPU in its job loop")?;
    Ok(Sent { meant: memory.sent, kicks: sender.sent })
}

/// The lot's memory, with an NMI right before a ring, and one so many ticks after it.
struct Ringing {
    memory: MappedLot,
    phys: u64,
    doorbell: u64,
    nmi: ReadyNmi,
    first: Option<ReadyNmi>,
    ring_tsc: u64,
    swept: Option<u64>,
    sent: u64,
}

impl LotMemory for Ringing {
    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.memory.load(offset)
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        self.memory.store(offset, value)
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let (first, swept) = (self.first.take(), self.swept.take());
        if offset != self.doorbell || self.memory.load(offset)? != current || (first, swept) == (None, None) {
            return self.memory.compare_exchange(offset, current, new);
        }
        self.sent += u64::from(first.is_some()) + u64::from(swept.is_some());
        let word = core::ptr::with_exposed_provenance_mut((self.phys + offset) as usize);
        // SAFETY: the doorbell of a bay, in the lot that the platform has mapped at identity; only atomic accesses change it.
        let word = unsafe { AtomicU64::from_ptr(word) };
        until(self.ring_tsc);
        // From here on every instruction counts: before the CPU is behind its handler of the first NMI the second is sent.
        if let Some(nmi) = first {
            nmi.send();
        }
        let result = word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        if let Some(ticks) = swept {
            delay(ticks);
            self.nmi.send();
        }
        Ok(result.unwrap_or_else(|found| found))
    }
}

/// Sends the NMIs that a wake sends of its own, but for those that [`Ringing`] has sent before the ring.
struct Kicking {
    apic: LocalApic<HardwareCpu>,
    spared: u64,
    sent: u64,
}

impl IpiSender for Kicking {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        if let Some(left) = self.spared.checked_sub(1) {
            self.spared = left;
            return Ok(());
        }
        self.sent += 1;
        self.apic.send_nmi(target)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.apic.send_init(target)
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.apic.send_startup(target, vector)
    }
}
