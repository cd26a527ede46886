//! Taking a ticket back.

use super::step::operation;
use super::{Reply, Step, Ticket};
use crate::lot::Phase;
use crate::{Error, ErrorKind, Ticks};

/// Takes a ticket back, if its CPU has not claimed it: one compare-and-swap, exactly one winner.
///
/// Success means that the CPU certainly does not carry the command out, and that it is where it was. It does *not*
/// promise that the CPU is alive.
///
/// # Errors
/// * [`ErrorKind::TooLate`]: the CPU has claimed it, or carried it out already, or the doorbell moved on; what was
///   found is the doorbell. [`Poll`](super::Poll) tells which.
/// * [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Revoke {
    ticket: Ticket,
    swapped: bool,
    end: Option<Result<(), Error>>,
}

operation!(Revoke => ());

impl Revoke {
    /// Takes `ticket` back.
    #[must_use]
    pub const fn new(ticket: Ticket) -> Self {
        Self { ticket, swapped: false, end: None }
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<()>, Error> {
        let (rung, offset) = (self.ticket.word, self.ticket.bay.doorbell());
        if !self.swapped {
            self.swapped = true;
            return Ok(Step::CompareExchange { offset, current: rung.0, new: rung.with_phase(Phase::Quiet).0 });
        }
        let found = reply.value()?;
        if found != rung.0 {
            return Err(Error::new(ErrorKind::TooLate, "the CPU took the command first").at(offset).found(found));
        }
        Ok(Step::Done(()))
    }
}
