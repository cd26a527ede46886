//! What an exploration can find.

use crate::machine::{Breach, ResetCause};
use core::fmt;
use park_core::{Entry, Error};

/// A property that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Violation {
    /// The parked CPU touched memory that is not its own at that stage.
    Breach(Breach),
    /// The parked CPU shut down where no manual says so.
    Shutdown,
    /// The machine was reset.
    Reset(Option<ResetCause>),
    /// The machine met something that it does not model.
    Unsupported(String),
    /// The doorbell changed in a way that the protocol does not have.
    Doorbell {
        /// Whether the parked CPU changed it.
        by_cpu: bool,
        /// What it was.
        before: u64,
        /// What it is.
        after: u64,
    },
    /// The CPU acknowledged before it was home; the text says what is not.
    EarlyAck(&'static str),
    /// The CPU wrote a stage that it can't be in.
    Stage {
        /// The stage that its bay shows.
        stage: u64,
    },
    /// The CPU stopped with a fault record where it must not.
    Faulted {
        /// The vector on record.
        vector: u8,
        /// The RIP on record.
        rip: u64,
    },
    /// The CPU reached an entry that it was not given, or not with that entry's registers.
    WrongEntry {
        /// The entry that it claimed, if it did.
        claimed: Option<Entry>,
        /// The RIP that it reached.
        rip: u64,
    },
    /// The CPU reached its entry twice.
    EntryTwice,
    /// A ticket of an older generation was claimed after a later holder had taken over.
    ClaimAfterTakeOver,
    /// A held INIT was carried into a claim, which it will eat.
    InitHeldOnClaim,
    /// The CPU went to sleep in MWAIT with NMIs blocked: kicks may not reach it.
    WaitsBlocked,
    /// A ring was lost: the CPU sleeps, and nothing more comes to wake it.
    LostWake,
    /// A holder was told that a ticket was revoked which the CPU claimed.
    RevokedAndClaimed,
    /// A holder was told that the CPU took an entry that it did not claim.
    WokenWithoutClaim,
    /// A take-over reported something else than what happened.
    TakeOver(&'static str),
    /// An operation failed where it can't.
    Operation(Error),
    /// Nothing moves any more, and a ticket is neither claimed, revoked nor reported.
    OpenTicket {
        /// The doorbell.
        doorbell: u64,
    },
    /// From here on, nothing that can happen brings everyone to rest.
    Livelock,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breach(breach) => {
                write!(f, "{:?} at {:#x}, which is not the CPU's (tag {})", breach.kind, breach.phys, breach.tag)
            }
            Self::Shutdown => f.write_str("shutdown"),
            Self::Reset(cause) => write!(f, "reset: {cause:?}"),
            Self::Unsupported(text) => write!(f, "not modelled: {text}"),
            Self::Doorbell { by_cpu, before, after } => {
                let who = if *by_cpu { "the CPU" } else { "a lease holder" };
                write!(f, "{who} changed the doorbell from {before:#x} to {after:#x}")
            }
            Self::EarlyAck(what) => write!(f, "acknowledged before it was home: {what}"),
            Self::Stage { stage } => write!(f, "the bay shows stage {stage}"),
            Self::Faulted { vector, rip } => write!(f, "stopped by exception {vector} at {rip:#x}"),
            Self::WrongEntry { claimed, rip } => write!(f, "reached {rip:#x}, having claimed {claimed:x?}"),
            Self::EntryTwice => f.write_str("reached its entry twice"),
            Self::ClaimAfterTakeOver => f.write_str("claimed an older generation's ticket after the take-over"),
            Self::InitHeldOnClaim => f.write_str("claimed while an INIT was held"),
            Self::WaitsBlocked => f.write_str("waits in MWAIT with NMIs blocked"),
            Self::LostWake => f.write_str("lost wake: the CPU sleeps, and the ring ran into its deadline"),
            Self::RevokedAndClaimed => f.write_str("reported as revoked, and claimed"),
            Self::WokenWithoutClaim => f.write_str("reported as woken, and not claimed"),
            Self::TakeOver(what) => write!(f, "the take-over misreported: {what}"),
            Self::Operation(error) => write!(f, "an operation failed: {error}"),
            Self::OpenTicket { doorbell } => write!(f, "a ticket is left open for ever: {doorbell:#x}"),
            Self::Livelock => f.write_str("from here on nothing brings everyone to rest"),
        }
    }
}
