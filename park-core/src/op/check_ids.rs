//! Finding two bays that claim the same CPU.

use super::step::operation;
use super::{Reply, Step};
use crate::lot::{Lot, OwnerState, bay};
use crate::{Error, ErrorKind, Ticks};

/// Ids that are compared in one pass over the rest of the bays: 8192 bays take some 2 million loads, not 67 million.
const WINDOW: usize = 32;

/// Checks that no two reserved bays of a lot hold the same APIC id. Run it before a lot is taken over: it changes
/// nothing. It is an operation of its own because it takes up to `n * n / 32` loads for `n` bays.
///
/// # Errors
/// * [`ErrorKind::AbiMismatch`]: the offset is the later bay's, what was found is the id.
/// * [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CheckIds {
    lot: Lot,
    window: [u32; WINDOW],
    filled: usize,
    /// The bay that is being read.
    index: u32,
    /// Where the next window starts, once this one is full.
    after: Option<u32>,
    state: State,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Owner,
    Identity,
}

operation!(CheckIds => ());

impl CheckIds {
    /// Checks the bays of `lot`.
    #[must_use]
    pub const fn new(lot: &Lot) -> Self {
        Self { lot: *lot, window: [0; WINDOW], filled: 0, index: 0, after: None, state: State::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<()>, Error> {
        match self.state {
            State::Start => Ok(self.read()),
            State::Owner => {
                if OwnerState::from_raw(reply.value()? as u8) != Some(OwnerState::Reserved) {
                    self.index += 1;
                    return Ok(self.read());
                }
                self.state = State::Identity;
                Ok(Step::Load { offset: self.lot.bay(self.index)? + bay::IDENTITY })
            }
            State::Identity => {
                self.compare(reply.value()? as u32)?;
                self.index += 1;
                Ok(self.read())
            }
        }
    }

    /// Reads the bay at `index`; behind the last one begins the next window, or all is done.
    fn read(&mut self) -> Step<()> {
        if self.index >= self.lot.header().bay_count {
            match self.after.take() {
                Some(after) => (self.index, self.filled) = (after, 0),
                None => return Step::Done(()),
            }
        }
        match self.lot.bay(self.index) {
            Ok(offset) => {
                self.state = State::Owner;
                Step::Load { offset: offset + bay::OWNER }
            }
            // The window was filled by the last bay.
            Err(_) => Step::Done(()),
        }
    }

    fn compare(&mut self, id: u32) -> Result<(), Error> {
        let (ids, free) = self.window.split_at_mut(self.filled.min(WINDOW));
        if ids.contains(&id) {
            let error = Error::new(ErrorKind::AbiMismatch, "two bays hold the same APIC id: the lot can't be trusted");
            return Err(error.at(self.lot.bay(self.index)?).found(id.into()));
        }
        if let Some(slot) = free.first_mut() {
            *slot = id;
            self.filled += 1;
            if self.filled == WINDOW {
                self.after = Some(self.index + 1);
            }
        }
        Ok(())
    }
}
