//! Which steps, flags and hints each mechanism needs on an Intel CPU, or why it is not available.

use crate::capabilities::Capabilities;
use crate::depths::deepest;
use crate::errata::ERRATA;
use crate::steps::{REFUSALS, STEPS};
use park_core::Mechanism;
use park_core::lot::bay::WaitFlags;
use park_x86::errata::{self, Consequence};
use park_x86::features::FeatureSet;
use park_x86::orders::{Orders, StoreWake, Unavailable, check_monitor, check_needed};

impl Capabilities {
    /// Orders to park by `mechanism`. `latency_us` bounds the depth of MWAIT, in microseconds; others ignore it.
    ///
    /// That orders exist does not promise that sanitising accepts the CPU: refusals that need a register (the
    /// bootstrap processor, EFER.NXE ...) come when the steps are taken.
    ///
    /// # Errors
    /// [`Unavailable`] with the reason.
    pub fn orders(&self, mechanism: Mechanism, latency_us: u32) -> Result<Orders, Unavailable> {
        let features = &self.features;
        check_needed(features)?;
        let new = |store_wake| Orders::new(mechanism, store_wake, REFUSALS, STEPS).with_features(features);
        match mechanism {
            Mechanism::Hlt | Mechanism::WaitForSipi => Ok(new(StoreWake::None)),
            Mechanism::Clgi => Err(Unavailable::NotOnThisVendor),
            Mechanism::Mwait => {
                check_monitor(features)?;
                let unreliable = errata::first(ERRATA, features.signature, Consequence::StoreWakeUnreliable);
                let mut orders = new(unreliable.map_or(StoreWake::Reliable, StoreWake::Unreliable));
                let flush = errata::first(ERRATA, features.signature, Consequence::FlushBeforeMonitor).is_some();
                orders.wait_flags.set(WaitFlags::CLFLUSH, flush && features.has(FeatureSet::CLFLUSH));
                let depth = deepest(features, latency_us);
                orders.mwait_hint = depth.hint;
                // A deep state may power the caches off; an INIT from there must not strand dirty lines (Xen
                // default_dead_idle()).
                if depth.is_deep() {
                    orders.wait_flags |= WaitFlags::WBINVD;
                }
                Ok(orders)
            }
        }
    }
}
