//! The operations on a lot, as sans-IO values: one memory access, IPI or wait per step.
//!
//! An [`Operation`] is a small `Copy + Eq + Hash` value. [`next`](Operation::next) takes the reply to its last
//! [`Step`] and the time, and says what to do next. So a kernel can run it to its end with [`drive`], or step it from
//! a timer, and an explorer can clone, hash and interleave it access by access. After [`Step::Done`] a further `next`
//! repeats the result.
//!
//! # What the caller sees to
//! * At most one operation that publishes, reserves or frees runs on a bay at a time: the entry's words are plain
//!   stores, before the swap that publishes them. Operations on *different* bays may run side by side.
//! * No operation of a [`Lease`] is in flight when the lot is [handed over](HandOver).
//! * An NMI that was sent may arrive late, after its CPU has left: the woken kernel's NMI handler takes it as spurious.
//!
//! | to | use |
//! |---|---|
//! | park | [`Reserve`], then the CPU enters its bay, then [`AwaitArrival`]; or [`Park`] for all three |
//! | wake | [`Wake`], then the CPU itself runs [`Left`]; [`AwaitLeft`] for others |
//! | wait-for-SIPI | [`SinkToSipi`], [`WakeSipi`] |
//! | prove alive | [`Confirm`], [`ConfirmNext`] |
//! | hold, flush | [`Hold`] and [`Release`], [`Flush`] |
//! | move to another lot | [`Reserve`] there, [`Repark`], [`AwaitArrival`] there, [`Vacate`] here |
//! | pass the lot on | [`HandOver`], then [`Accept`]; [`Seize`] after a crash; [`CheckIds`] |
//! | give up on a CPU | [`Quarantine`], and [`Rehabilitate`] when it comes late |

mod accept;
mod arrival;
mod check_ids;
mod commands;
mod confirm_all;
mod drive;
mod hand_over;
mod lease;
mod left;
mod park;
mod publish;
mod quarantine;
mod repark;
mod reserve;
mod revoke;
mod ring;
mod seize;
mod sipi;
mod step;
mod take;
mod ticket;

pub use accept::Accept;
pub use arrival::{Arrived, AwaitArrival};
pub use check_ids::CheckIds;
pub use commands::{Confirm, Flush, Held, Hold, Release, Wake};
pub use confirm_all::{ConfirmNext, Confirmed, Patience, Presence};
pub use drive::{NoSummon, Performed, drive, drive_with_summon, perform};
pub use hand_over::HandOver;
pub use lease::{Bay, Lease};
pub use left::{AwaitLeft, Left};
pub use park::Park;
pub use publish::Publish;
pub use quarantine::{Quarantine, Rehabilitate};
pub use repark::{Repark, Vacate};
pub use reserve::{Reservation, Reserve};
pub use revoke::Revoke;
pub use ring::{Ring, Timing};
pub use seize::{DeadOwner, Seize};
pub use sipi::{Processor, SinkToSipi, SipiTiming, WakeSipi};
pub use step::{Operation, Reply, Step};
pub use take::TakeOver;
pub use ticket::{Poll, Ticket, TicketState};

const _: () = {
    /// The most bytes that an operation may have: it is passed by value, on the stacks of kernels.
    const SIZE_MAX: usize = 512;
    assert!(size_of::<Park>() <= SIZE_MAX && size_of::<Reserve>() <= SIZE_MAX && size_of::<ConfirmNext>() <= SIZE_MAX);
    assert!(size_of::<Ring>() <= SIZE_MAX && size_of::<Rehabilitate>() <= SIZE_MAX && size_of::<Repark>() <= SIZE_MAX);
    assert!(size_of::<Accept>() <= SIZE_MAX && size_of::<CheckIds>() <= SIZE_MAX && size_of::<Hold>() <= SIZE_MAX);
    assert!(size_of::<WakeSipi>() <= SIZE_MAX && size_of::<Release>() <= SIZE_MAX && size_of::<Vacate>() <= SIZE_MAX);
};
