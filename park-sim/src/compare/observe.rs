//! What a CPU shows after an event, and which response that is.

use crate::machine::{Activity, ResetCause};
use crate::world::World;
use core::fmt;
use park_core::lot::{Stage, bay};
use park_core::{Event, Mechanism, Response};

/// IA32_MCG_STATUS.MCIP (SDM vol. 3, "IA32_MCG_STATUS MSR").
const MCIP: u64 = 1 << 2;

/// What a measurement came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// One of the responses that a claim can state.
    Response(Response),
    /// None of them: the CPU is lost, and how.
    Lost(String),
}

impl Verdict {
    pub(super) fn lost(how: impl Into<String>) -> Self {
        Self::Lost(how.into())
    }
}

impl From<Response> for Verdict {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(response) => response.fmt(f),
            Self::Lost(how) => write!(f, "lost: {how}"),
        }
    }
}

/// Counters of one CPU and its bay, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counters {
    pub(super) smi: u64,
    pub(super) init: u64,
    pub(super) nmi: u64,
    pub(super) mc: u64,
    pub(super) intr: u64,
    /// Laps of the wait loop.
    pub(super) laps: u64,
    /// NMIs and machine checks as bay code counted them.
    pub(super) handled: u64,
    pub(super) wait_ended: u64,
}

/// What is held for a CPU and not yet taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) smi: bool,
    pub(super) init: bool,
    pub(super) nmi: bool,
    pub(super) mc: bool,
    pub(super) intr: bool,
}

impl Held {
    pub(super) fn of(world: &World, cpu: usize) -> Self {
        let state = world.machine.cpu(cpu);
        Self {
            smi: state.smi_held(),
            init: state.init_held(),
            nmi: state.nmis_held() != 0,
            mc: state.mc_held(),
            intr: state.apic.irr != [0; 4],
        }
    }

    pub(super) const fn any(self) -> bool {
        self.smi || self.init || self.nmi || self.mc || self.intr
    }
}

impl Counters {
    /// Reads them for the CPU `cpu`, in the bay at `bay_phys`.
    pub(super) fn of(world: &World, cpu: usize, bay_phys: u64) -> Self {
        let state = world.machine.cpu(cpu);
        let word = |offset| world.machine.read_phys_u64(bay_phys + offset);
        let events = word(bay::EVENTS);
        Self {
            smi: state.smi_count,
            init: state.taken.init,
            nmi: state.taken.nmi,
            mc: state.taken.mc,
            intr: state.taken.intr,
            laps: word(bay::LAPS) & 0xffff_ffff,
            handled: (events & 0xffff_ffff) + (events >> 32),
            wait_ended: state.taken.wait_ended,
        }
    }

    /// How far these are beyond `earlier`.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            smi: self.smi.wrapping_sub(earlier.smi),
            init: self.init.wrapping_sub(earlier.init),
            nmi: self.nmi.wrapping_sub(earlier.nmi),
            mc: self.mc.wrapping_sub(earlier.mc),
            intr: self.intr.wrapping_sub(earlier.intr),
            laps: self.laps.wrapping_sub(earlier.laps),
            handled: self.handled.wrapping_sub(earlier.handled),
            wait_ended: self.wait_ended.wrapping_sub(earlier.wait_ended),
        }
    }

    /// The same but for what a CPU does by itself: laps of a loop that MWAIT does not hold.
    const fn without_laps(self) -> Self {
        Self { laps: 0, ..self }
    }
}

/// Everything that one run of an event showed, before the CPU is woken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    pub(super) mechanism: Mechanism,
    pub(super) event: Event,
    /// Counters that moved during the event.
    pub(super) moved: Counters,
    /// Counters that moved in the same time without an event.
    pub(super) control: Counters,
    pub(super) held: Held,
    /// The CPU ran start-up code of the kernel that sent the STARTUP.
    pub(super) started: bool,
}

/// What the event left to find out.
pub(super) enum Stands {
    /// The verdict stands.
    Verdict(Verdict),
    /// It stands if the CPU can be woken as planned, with nothing left behind.
    IfReachable(Response),
    /// Something is held: what does it do once the CPU is woken?
    Held,
    /// A start-up was sent in vain: does it stay so once the CPU is woken?
    InVain,
}

/// What the machine, or this CPU, came to without any doubt; `None` if the CPU may still be parked.
pub(crate) fn ended(world: &World, cpu: usize, bay_phys: u64) -> Option<Verdict> {
    if let Some(cause) = world.machine.was_reset() {
        return Some(match cause {
            ResetCause::BspInit { .. } => Response::Reset.into(),
            ResetCause::SmmHang { .. } => Response::Hangs.into(),
            ResetCause::BroadcastMachineCheck { .. } | ResetCause::CpuShutdown { .. } => Response::Shutdown.into(),
            other => Verdict::lost(format!("the machine was reset: {other:?}")),
        });
    }
    if let Some(stop) = world.machine.stopped() {
        return Some(Verdict::lost(format!("{stop:?}")));
    }
    if world.machine.cpu(cpu).activity == Activity::Shutdown {
        return Some(Response::Shutdown.into());
    }
    if let Some(breach) = world.machine.breaches.first().iter().find(|breach| breach.cpu == cpu) {
        return Some(Verdict::lost(format!("{:?} at {:#x}, which is not the CPU's", breach.kind, breach.phys)));
    }
    if world.machine.read_phys_u64(bay_phys + bay::STAGE) == Stage::Faulted as u64 {
        return Some(Verdict::lost("faulted in its bay"));
    }
    None
}

/// Classifies a CPU that [`ended`] says may still be parked.
pub(super) fn classify(world: &World, cpu: usize, seen: &Observed) -> Stands {
    if seen.started {
        return Stands::Verdict(Response::Taken.into());
    }
    let state = world.machine.cpu(cpu);
    if state.activity == Activity::WaitForSipi && seen.mechanism != Mechanism::WaitForSipi {
        return Stands::Verdict(Response::WaitsForSipi.into());
    }
    if seen.event == Event::InitSipiSipi {
        return Stands::InVain;
    }
    if seen.held.any() {
        return Stands::Held;
    }
    // In wait-for-SIPI nothing executes, and a repeated INIT changes nothing.
    let repeated = seen.mechanism == Mechanism::WaitForSipi && seen.event == Event::Init;
    let (moved, control) = (seen.moved.without_laps(), seen.control.without_laps());
    if moved == control || repeated {
        return Stands::IfReachable(Response::Unnoticed);
    }
    if state.nmi_blocked {
        return Stands::Verdict(Verdict::lost("NMIs stay blocked"));
    }
    if state.msr.mcg_status() & MCIP != 0 {
        return Stands::Verdict(Verdict::lost("MCIP stays set"));
    }
    if seen.moved.laps != 0 {
        return Stands::IfReachable(Response::Laps);
    }
    if seen.moved.smi != seen.control.smi {
        return Stands::IfReachable(Response::Transparent);
    }
    Stands::Verdict(Verdict::lost(format!("no lap after {:?}", seen.moved)))
}
