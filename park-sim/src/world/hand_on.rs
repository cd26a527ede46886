//! The lot on its way from one kernel of a world to the next.

use super::{World, WorldError};
use crate::platform::OnCpu;
use park_core::PhysAddr;
use park_core::lot::verify;
use park_core::op::{Accept, Bay, DeadOwner, HandOver, Seize, TakeOver};

impl World {
    /// The current kernel lets go of the lot: code of `cpu`.
    ///
    /// # Errors
    /// Those of [`HandOver`].
    pub fn hand_over(&mut self, cpu: usize) -> Result<(), WorldError> {
        let lease = self.lot()?.lease;
        self.drive(cpu, HandOver::new(&lease)).map(|_| ())
    }

    /// The current kernel accepts the lot that its predecessor let go of, and finds the same bay under its own lease.
    ///
    /// # Errors
    /// Those of [`verify`] and [`Accept`].
    pub fn accept(&mut self, cpu: usize, bay: Bay) -> Result<Bay, WorldError> {
        let lot = self.verify(cpu)?;
        let taken = self.drive(cpu, Accept::new(&lot))?;
        self.take(&taken, bay)
    }

    /// The current kernel seizes the lot of a predecessor that is dead.
    ///
    /// # Errors
    /// Those of [`verify`] and [`Seize`].
    pub fn seize(&mut self, cpu: usize, bay: Bay) -> Result<(Bay, TakeOver), WorldError> {
        let lot = self.verify(cpu)?;
        let taken = self.drive(cpu, Seize::new(&lot, DeadOwner::declared()))?;
        Ok((self.take(&taken, bay)?, taken))
    }

    /// Verifies the lot where it should be, by code of `cpu`.
    ///
    /// # Errors
    /// Those of [`verify`].
    pub fn verify(&mut self, cpu: usize) -> Result<park_core::lot::Lot, WorldError> {
        let range = self.lot()?.range;
        let mut memory = OnCpu { machine: &mut self.machine, cpu, lot: range };
        Ok(verify(&mut memory, PhysAddr(range.start))?)
    }

    fn take(&mut self, taken: &TakeOver, bay: Bay) -> Result<Bay, WorldError> {
        let lot = self.lot.as_mut().ok_or(WorldError::NoLot)?;
        lot.lease = taken.lease;
        Ok(taken.lease.bay(bay.index())?)
    }
}
