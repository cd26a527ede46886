//! Taking over the lot of a dead owner.

use super::take::{Take, Title};
use super::{Operation, Reply, Step, TakeOver};
use crate::lot::Lot;
use crate::{Error, Ticks};

/// The caller's word that a lot's last owner is dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeadOwner(());

impl DeadOwner {
    /// Gives the word: no CPU runs code of the lot's last owner any more, nor of a kernel that began to take the lot
    /// over, and none will: except CPUs that [`TakeOver::took_old_entry`] is about to report, whose entry the caller
    /// accounts for.
    ///
    /// Given falsely, two kernels ring the same CPUs. That is not undefined behaviour of a safe function: what a ring
    /// makes a CPU do is promised where real memory becomes a lot, in the unsafe constructor of the [`LotMemory`]
    /// that the operation is driven with.
    ///
    /// [`LotMemory`]: crate::LotMemory
    #[must_use]
    pub const fn declared() -> Self {
        Self(())
    }
}

/// Takes over a lot whose owner is dead, in whatever state it died. `lot` comes from [`verify`](crate::lot::verify).
///
/// Tickets of the last owner are revoked, unless their CPUs claimed them first: [`TakeOver::took_old_entry`]. CPUs that it
/// held are released. A crash at any step leaves a lot that the next kernel can seize. What success does not promise:
/// see [`Accept`](super::Accept), and [`Wake`](super::Wake) for a lot that is older than a suspend or reset.
///
/// # Errors
/// * [`ErrorKind::WrongState`](crate::ErrorKind::WrongState): another kernel changed the lease at the same time.
/// * [`ErrorKind::AbiMismatch`](crate::ErrorKind::AbiMismatch): the lease word is damaged.
/// * [`ErrorKind::StaleGeneration`](crate::ErrorKind::StaleGeneration): another kernel seized the lot meanwhile.
/// * [`ErrorKind::Platform`](crate::ErrorKind::Platform).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seize(Take);

impl Seize {
    /// Takes over `lot`.
    #[must_use]
    pub const fn new(lot: &Lot, _owner: DeadOwner) -> Self {
        Self(Take::new(*lot, Title::Death))
    }
}

impl Operation for Seize {
    type Output = TakeOver;

    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<TakeOver, Error>> {
        self.0.next(reply, now)
    }
}
