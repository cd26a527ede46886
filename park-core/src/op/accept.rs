//! Taking over a lot that was handed over.

use super::take::{Take, Title};
use super::{Operation, Reply, Step, TakeOver};
use crate::lot::Lot;
use crate::{Error, Ticks};

/// Takes over a lot whose owner has [handed it over](super::HandOver). `lot` comes from
/// [`verify`](crate::lot::verify).
///
/// A crash at any step leaves a lot that the next kernel can seize. Success does *not* promise that any CPU is there:
/// confirm each ([`ConfirmNext`](super::ConfirmNext)). Nor that no two bays have the same APIC id:
/// [`CheckIds`](super::CheckIds).
///
/// # Errors
/// * [`ErrorKind::WrongState`](crate::ErrorKind::WrongState): the lot was not handed over, or another kernel takes it.
/// * [`ErrorKind::AbiMismatch`](crate::ErrorKind::AbiMismatch): the lease word is damaged.
/// * [`ErrorKind::StaleGeneration`](crate::ErrorKind::StaleGeneration): another kernel seized the lot meanwhile.
/// * [`ErrorKind::Platform`](crate::ErrorKind::Platform).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Accept(Take);

impl Accept {
    /// Takes over `lot`.
    #[must_use]
    pub const fn new(lot: &Lot) -> Self {
        Self(Take::new(*lot, Title::Offer))
    }
}

impl Operation for Accept {
    type Output = TakeOver;

    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<TakeOver, Error>> {
        self.0.next(reply, now)
    }
}
