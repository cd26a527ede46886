//! Which steps, flags and hints each mechanism needs on an AMD or Hygon CPU, or why it is not available.

use crate::capabilities::Capabilities;
use crate::depths::deepest;
use crate::errata::ERRATA;
use crate::steps::{REFUSALS, STEPS};
use park_core::Mechanism;
use park_x86::errata::{self, Consequence};
use park_x86::orders::{Orders, StoreWake, Unavailable, check_monitor, check_needed};

impl Capabilities {
    /// Orders to park by `mechanism`. `latency_us` bounds the depth of MWAIT, in microseconds; others ignore it.
    ///
    /// That orders exist does not promise that sanitising accepts the CPU: refusals that need a register (VM_CR.SVMDIS,
    /// the bootstrap processor, EFER.NXE ...) come when the steps are taken.
    ///
    /// # Errors
    /// [`Unavailable`] with the reason.
    pub fn orders(&self, mechanism: Mechanism, latency_us: u32) -> Result<Orders, Unavailable> {
        let features = &self.features;
        check_needed(features)?;
        let new = |store_wake| Orders::new(mechanism, store_wake, REFUSALS, STEPS).with_features(features);
        match mechanism {
            Mechanism::Hlt | Mechanism::WaitForSipi => Ok(new(StoreWake::None)),
            // PAUSE, never MONITOR: whether a store ends MWAIT while GIF = 0 is undocumented (APM vol. 2, 15.17), and
            // no NMI could help.
            Mechanism::Clgi => match self.svm {
                Some(_) => Ok(new(StoreWake::Reliable)),
                None => Err(Unavailable::NoSvm),
            },
            Mechanism::Mwait => {
                check_monitor(features)?;
                let signature = features.signature;
                if let Some(erratum) = errata::first(ERRATA, signature, Consequence::MwaitPointless) {
                    return Err(Unavailable::Erratum(erratum));
                }
                let unreliable = errata::first(ERRATA, signature, Consequence::StoreWakeUnreliable);
                let mut orders = new(unreliable.map_or(StoreWake::Reliable, StoreWake::Unreliable));
                orders.mwait_hint = deepest(features, latency_us);
                Ok(orders)
            }
        }
    }
}
