//! Guarantees: what the claims of a mechanism, and the way a CPU waits by it, amount to.

use crate::cpu::{CpuKind, Idle, StoreWake, Waits};
use core::fmt;
use park_core::op::Processor;
use park_core::{Claim, Condition, Event, Mechanism, Response};

bitflags::bitflags! {
    /// A set of guarantees. [`PROMISES`] says what each means and what it is derived from.
    ///
    /// The order of the flags is their weight as a preference: each weighs more than all that follow.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
    pub struct Guarantees: u32 {
        /// `survives-overwrite`
        const SURVIVES_OVERWRITE = 1 << 0;
        /// `survives-mc`
        const SURVIVES_MC = 1 << 1;
        /// `survives-nmi`
        const SURVIVES_NMI = 1 << 2;
        /// `survives-smi`
        const SURVIVES_SMI = 1 << 3;
        /// `survives-smi-rendezvous`
        const SURVIVES_SMI_RENDEZVOUS = 1 << 4;
        /// `survives-interrupt`
        const SURVIVES_INTERRUPT = 1 << 5;
        /// `survives-sipi`
        const SURVIVES_SIPI = 1 << 6;
        /// `survives-init`
        const SURVIVES_INIT = 1 << 7;
        /// `survives-stray-store`
        const SURVIVES_STRAY_STORE = 1 << 8;
        /// `foreign-kernel-can-take`
        const FOREIGN_KERNEL_CAN_TAKE = 1 << 9;
        /// `foreign-kernel-cannot-take`
        const FOREIGN_KERNEL_CANNOT_TAKE = 1 << 10;
        /// `free-of-errata`
        const FREE_OF_ERRATA = 1 << 11;
        /// `wakes-by-store`
        const WAKES_BY_STORE = 1 << 12;
        /// `saves-power`
        const SAVES_POWER = 1 << 13;
        /// `sleeps-deep`
        const SLEEPS_DEEP = 1 << 14;
    }
}

/// Which responses an event of a guarantee may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepts {
    /// Those after which the CPU is still parked: [`Response::stays_parked`].
    StaysParked,
    /// These alone.
    Only(&'static [Response]),
}

impl Accepts {
    /// True if `response` is among them.
    #[must_use]
    pub fn includes(self, response: Response) -> bool {
        match self {
            Self::StaysParked => response.stays_parked(),
            Self::Only(list) => list.contains(&response),
        }
    }
}

/// What a guarantee is derived from.
#[derive(Clone, Copy, Debug)]
pub enum Basis {
    /// All claims of these events that may apply have a response that is accepted, and each event has one that is not
    /// limited to kind implementations.
    Claims {
        /// The events.
        events: &'static [Event],
        /// What is accepted.
        accepts: Accepts,
    },
    /// The way this model waits.
    Waits(fn(&Waits) -> bool),
}

/// One guarantee: its name, its meaning, and what it is derived from.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The flag.
    pub guarantee: Guarantees,
    /// The name in docs, command lines and JSON.
    pub name: &'static str,
    /// What it means, in a sentence without a full stop.
    pub what: &'static str,
    /// What it is derived from.
    pub basis: Basis,
}

const fn claims(
    guarantee: Guarantees,
    name: &'static str,
    what: &'static str,
    events: &'static [Event],
    accepts: Accepts,
) -> Promise {
    Promise { guarantee, name, what, basis: Basis::Claims { events, accepts } }
}

const fn stays(guarantee: Guarantees, name: &'static str, what: &'static str, events: &'static [Event]) -> Promise {
    claims(guarantee, name, what, events, Accepts::StaysParked)
}

const fn waits(guarantee: Guarantees, name: &'static str, what: &'static str, holds: fn(&Waits) -> bool) -> Promise {
    Promise { guarantee, name, what, basis: Basis::Waits(holds) }
}

/// Every guarantee, in the order of its weight as a preference: the only place that says what one means.
pub const PROMISES: [Promise; 15] = [
    stays(
        Guarantees::SURVIVES_OVERWRITE,
        "survives-overwrite",
        "another kernel overwrites all memory outside the lot, and the CPU stays parked",
        &[Event::Overwrite],
    ),
    stays(
        Guarantees::SURVIVES_MC,
        "survives-mc",
        "a machine check, its own or one that all CPUs get, leaves the CPU parked and the machine up",
        &[Event::McLocal, Event::McBroadcast],
    ),
    stays(Guarantees::SURVIVES_NMI, "survives-nmi", "an NMI leaves the CPU parked", &[Event::Nmi]),
    stays(
        Guarantees::SURVIVES_SMI,
        "survives-smi",
        "an SMI leaves the CPU parked, whether or not its handler sends the CPU back into HLT",
        &[Event::Smi, Event::SmiNoRestart],
    ),
    stays(
        Guarantees::SURVIVES_SMI_RENDEZVOUS,
        "survives-smi-rendezvous",
        "firmware that calls all CPUs into SMM and waits for them does not wait in vain",
        &[Event::SmiRendezvous],
    ),
    stays(
        Guarantees::SURVIVES_INTERRUPT,
        "survives-interrupt",
        "a maskable interrupt leaves the CPU parked",
        &[Event::Intr],
    ),
    stays(
        Guarantees::SURVIVES_SIPI,
        "survives-sipi",
        "a STARTUP IPI with no INIT before it leaves the CPU parked",
        &[Event::Sipi],
    ),
    stays(Guarantees::SURVIVES_INIT, "survives-init", "an INIT leaves the CPU parked", &[Event::Init]),
    stays(
        Guarantees::SURVIVES_STRAY_STORE,
        "survives-stray-store",
        "a store to the doorbell line that is no ring leaves the CPU parked",
        &[Event::StoreDoorbell],
    ),
    claims(
        Guarantees::FOREIGN_KERNEL_CAN_TAKE,
        "foreign-kernel-can-take",
        "a kernel that knows nothing of park starts the CPU by INIT and STARTUP",
        &[Event::InitSipiSipi],
        Accepts::Only(&[Response::Taken]),
    ),
    stays(
        Guarantees::FOREIGN_KERNEL_CANNOT_TAKE,
        "foreign-kernel-cannot-take",
        "a kernel that knows nothing of park can't take the CPU by INIT and STARTUP",
        &[Event::InitSipiSipi],
    ),
    waits(
        Guarantees::FREE_OF_ERRATA,
        "free-of-errata",
        "no erratum is known by which this model misses a ring",
        |waits| !matches!(waits.store_wake, StoreWake::Unreliable(_)),
    ),
    waits(Guarantees::WAKES_BY_STORE, "wakes-by-store", "a store wakes the CPU; no IPI is needed", |waits| {
        matches!(waits.store_wake, StoreWake::Reliable)
    }),
    waits(Guarantees::SAVES_POWER, "saves-power", "the CPU's clocks stand still while it waits", |waits| {
        waits.idle >= Idle::Halts
    }),
    waits(Guarantees::SLEEPS_DEEP, "sleeps-deep", "the CPU waits in a state deeper than C1", |waits| {
        waits.idle >= Idle::Deep
    }),
];

/// True if a claim under `condition` may apply to `processor`. Conditions that nobody here can judge apply.
const fn may_apply(condition: Condition, processor: Processor) -> bool {
    match condition {
        Condition::Bsp => matches!(processor, Processor::Bootstrap),
        Condition::Ap => matches!(processor, Processor::Application),
        _ => true,
    }
}

impl Guarantees {
    /// What `mechanism` guarantees on a CPU that is `processor`, by `claims` alone: a flag is there if each of its events
    /// has a claim that applies also where the implementation is unkind, and *every* claim that may apply has a response
    /// that the flag accepts. So nothing is guaranteed of what nobody claims.
    ///
    /// Flags that depend on the model ([`Basis::Waits`]) are not; see [`of_kind`](Self::of_kind).
    #[must_use]
    pub fn of(mechanism: Mechanism, claims: &[Claim], processor: Processor) -> Self {
        let (mut claimed, mut refuted) = ([0u32; PROMISES.len()], Self::empty());
        for claim in claims {
            if claim.mechanism != mechanism || !may_apply(claim.condition, processor) {
                continue;
            }
            for (promise, claimed) in PROMISES.iter().zip(&mut claimed) {
                let Basis::Claims { events, accepts } = promise.basis else { continue };
                let Some(index) = events.iter().position(|event| *event == claim.event) else { continue };
                // What a kind implementation does says nothing of an unkind one.
                if claim.condition != Condition::ImplementationKind {
                    *claimed |= 1 << index;
                }
                if !accepts.includes(claim.response) {
                    refuted |= promise.guarantee;
                }
            }
        }
        let mut provided = Self::empty();
        for (promise, claimed) in PROMISES.iter().zip(claimed) {
            if let Basis::Claims { events, .. } = promise.basis {
                let all = (1u32 << events.len()) - 1;
                provided.set(promise.guarantee, claimed == all && !refuted.contains(promise.guarantee));
            }
        }
        provided
    }

    /// What follows from the way a model waits: the flags with [`Basis::Waits`].
    #[must_use]
    pub fn of_waits(waits: &Waits) -> Self {
        let mut provided = Self::empty();
        for promise in &PROMISES {
            if let Basis::Waits(holds) = promise.basis {
                provided.set(promise.guarantee, holds(waits));
            }
        }
        provided
    }

    /// All that `mechanism` guarantees on a CPU of this kind; nothing if the CPU does not have it.
    #[must_use]
    pub fn of_kind(mechanism: Mechanism, kind: &CpuKind<'_>, processor: Processor) -> Self {
        match kind.offers.of(mechanism).waits() {
            Some(waits) => Self::of(mechanism, kind.claims, processor) | Self::of_waits(waits),
            None => Self::empty(),
        }
    }

    /// The guarantee with this name.
    #[must_use]
    pub fn from_promise_name(name: &str) -> Option<Self> {
        PROMISES.iter().find(|promise| promise.name == name).map(|promise| promise.guarantee)
    }

    /// The promises in this set, in the order of [`PROMISES`].
    pub fn promises(self) -> impl Iterator<Item = &'static Promise> {
        PROMISES.iter().filter(move |promise| self.contains(promise.guarantee))
    }

    /// How much this set weighs as what is met of a preference: the more, the better. The earlier guarantee decides.
    #[must_use]
    pub const fn weight(self) -> u32 {
        self.bits().reverse_bits()
    }
}

impl fmt::Display for Guarantees {
    /// Names, separated by commas; `nothing` for an empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for promise in self.promises() {
            write!(f, "{between}{}", promise.name)?;
            between = ", ";
        }
        if between.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
