//! What a policy sees of a detected CPU.

use crate::{Backend, Detected};
use park_core::Mechanism;
use park_policy::{Absence, CpuKind, Idle, Offer, Offers, StoreWake, Waits};
use park_x86::orders::{self, Orders, Unavailable, first_needed};

/// Longest time from a STARTUP to an application processor's first sign of life, in microseconds: Linux commit messages
/// say 350 us to 3.5 ms, "depending on vendor and CPU type, BIOS microcode size".
const STARTUP_LATENCY_US: u32 = 3_500;
/// Time out of a poll of the doorbell, in microseconds: one lap, rounded up.
const POLL_LATENCY_US: u32 = 1;
/// Time out of HLT where no vendor's table is at hand, in microseconds: the longest of any vendor's.
const UNKNOWN_HLT_LATENCY_US: u32 = 400;

impl Detected {
    /// What a policy sees of CPUs like this one: the vendor's claims, and what each mechanism offers if MWAIT may be as
    /// deep as `latency_us` microseconds allow. [`CpuView`](park_policy::CpuView) adds where a CPU is.
    ///
    /// Plan with the same latency, and park by [`orders`](Self::orders) of the same.
    #[must_use]
    pub fn kind(&self, latency_us: u32) -> CpuKind<'static> {
        let offers = self.mechanisms(latency_us).fold(Offers::NONE, |offers, (mechanism, orders)| {
            let offer = match orders {
                Ok(orders) => Offer::Here(self.waits(&orders, latency_us)),
                Err(why) => Offer::Absent(absence(why)),
            };
            offers.with(mechanism, offer)
        });
        CpuKind::new(self.claims(), offers)
    }

    fn waits(&self, orders: &Orders, latency_us: u32) -> Waits {
        let store_wake = match orders.store_wake {
            orders::StoreWake::Reliable => StoreWake::Reliable,
            orders::StoreWake::Unreliable(erratum) => StoreWake::Unreliable(erratum.name),
            _ => StoreWake::None,
        };
        let (wake_latency_us, idle) = match orders.mechanism {
            Mechanism::Hlt => (self.hlt_latency_us(), Idle::Halts),
            Mechanism::Mwait => self.mwait_depth(latency_us),
            Mechanism::Clgi => (POLL_LATENCY_US, Idle::Polls),
            Mechanism::WaitForSipi => (STARTUP_LATENCY_US, Idle::Unknown),
        };
        Waits { wake_latency_us, store_wake, idle }
    }

    const fn hlt_latency_us(&self) -> u32 {
        match self.backend() {
            #[cfg(feature = "intel")]
            Backend::Intel(_) => park_intel::HLT_EXIT_LATENCY_US,
            #[cfg(feature = "amd")]
            Backend::Amd(_) => park_amd::HLT_EXIT_LATENCY_US,
            Backend::Generic => UNKNOWN_HLT_LATENCY_US,
        }
    }

    /// Time out of MWAIT as deep as `latency_us` allows, in microseconds, and what it saves.
    fn mwait_depth(&self, latency_us: u32) -> (u32, Idle) {
        match self.backend() {
            #[cfg(feature = "intel")]
            Backend::Intel(capabilities) => {
                let depth = park_intel::deepest(&capabilities.features, latency_us);
                (depth.exit_latency_us, if depth.is_deep() { Idle::Deep } else { Idle::Halts })
            }
            #[cfg(feature = "amd")]
            Backend::Amd(_) => (park_amd::MWAIT_EXIT_LATENCY_US, Idle::Halts),
            Backend::Generic => {
                let _ = latency_us;
                (UNKNOWN_HLT_LATENCY_US, Idle::Unknown)
            }
        }
    }
}

fn absence(why: Unavailable) -> Absence {
    match why {
        Unavailable::NotOnThisVendor => Absence::NotOnThisVendor,
        Unavailable::Lacks(set) => Absence::Lacks(first_needed(set)),
        Unavailable::NoMonitor => Absence::Lacks("MONITOR/MWAIT, or firmware switched it off"),
        Unavailable::MonitorLineTooSmall { .. } => Absence::Lacks("a monitor line that can hold the doorbell"),
        Unavailable::Erratum(erratum) => Absence::Erratum { name: erratum.name, what: erratum.what },
        Unavailable::NoSvm => Absence::Lacks("SVM, or firmware hides it"),
        Unavailable::MailboxOnly => Absence::Other("the guest's CPUs are reached through the ACPI mailbox only"),
        _ => Absence::Other("the vendor's backend gives no orders"),
    }
}
