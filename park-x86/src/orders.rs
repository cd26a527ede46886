//! Orders: all that a CPU needs to park by one mechanism. A vendor crate gives them; arriving carries them out.

use crate::errata::Erratum;
use crate::features::{FeatureSet, Features};
use crate::sanitise::{COMMON, FIRST, REFUSALS, Step};
use core::fmt;
use park_core::Mechanism;
use park_core::lot::bay::WaitFlags;

/// Why a mechanism is not available on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Unavailable {
    /// No such mechanism on CPUs of this vendor.
    NotOnThisVendor,
    /// The CPU lacks what every lot needs: long mode, no-execute, a local APIC or machine-check exceptions.
    Lacks(FeatureSet),
    /// No MONITOR, or firmware switched it off.
    NoMonitor,
    /// The smallest monitor line can't hold the doorbell word.
    MonitorLineTooSmall {
        /// Bytes of the smallest monitor line.
        smallest_line: u16,
    },
    /// An erratum forbids the mechanism, or makes it useless.
    Erratum(&'static Erratum),
    /// No SVM, or firmware hides it.
    NoSvm,
    /// A guest whose CPUs are reached through the ACPI mailbox only.
    MailboxOnly,
    /// The wait can't watch the ACPI mailbox, or not reliably.
    NoMailbox(Mechanism),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnThisVendor => f.write_str("no CPU of this vendor has it"),
            Self::Lacks(set) => {
                write!(f, "the CPU lacks {}", first_needed(*set))
            }
            Self::NoMonitor => f.write_str("the CPU lacks MONITOR/MWAIT, or firmware switched it off"),
            Self::MonitorLineTooSmall { smallest_line } => {
                write!(
                    f,
                    "the CPU lacks a monitor line that can hold the doorbell: its smallest has {smallest_line} bytes"
                )
            }
            Self::Erratum(erratum) => write!(f, "erratum {}: {}", erratum.name, erratum.what),
            Self::NoSvm => f.write_str("the CPU lacks SVM, or firmware hides it"),
            Self::MailboxOnly => f.write_str("the guest's CPUs are reached through the ACPI mailbox only"),
            Self::NoMailbox(mechanism) => {
                write!(f, "a CPU that parks by {mechanism} can't watch the ACPI mailbox reliably; hlt polls it")
            }
        }
    }
}

impl core::error::Error for Unavailable {}

/// Whether a store to the doorbell can be relied on to end the wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StoreWake {
    /// Yes: it is polled, or MONITOR watches it and no erratum is known.
    Reliable,
    /// No: this erratum may lose it. The waker sends an NMI too, as for Hlt.
    Unreliable(&'static Erratum),
    /// The mechanism does not look at the doorbell until something else ends the wait.
    None,
}

/// What a CPU needs to park by one mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Orders {
    /// How it waits.
    pub mechanism: Mechanism,
    /// Details of the wait, for the bay.
    pub wait_flags: WaitFlags,
    /// EAX of MWAIT, for the bay; 0 with other mechanisms.
    pub mwait_hint: u32,
    /// What a ring may rely on.
    pub store_wake: StoreWake,
    vendor_refusals: &'static [Step],
    vendor_steps: &'static [Step],
}

impl Orders {
    /// Orders with the vendor's own refusals and steps, both empty where there are none.
    #[must_use]
    pub const fn new(
        mechanism: Mechanism,
        store_wake: StoreWake,
        vendor_refusals: &'static [Step],
        vendor_steps: &'static [Step],
    ) -> Self {
        Self { mechanism, wait_flags: WaitFlags::empty(), mwait_hint: 0, store_wake, vendor_refusals, vendor_steps }
    }

    /// Adds the flag that follows from the CPU's features alone: WBINVD, where memory may be encrypted.
    #[must_use]
    pub fn with_features(mut self, features: &Features) -> Self {
        // A dirty line with another C-bit would be written over the next kernel's data (Linux 83214a775f33).
        // WBINVD is #VE in a TDX guest; MailboxOnly has refused those.
        let encrypts = features.set.intersects(FeatureSet::SME.union(FeatureSet::SEV));
        self.wait_flags.set(WaitFlags::WBINVD, encrypts || self.mechanism == Mechanism::WaitForSipi);
        self
    }

    /// The same orders for a bay that watches the ACPI mailbox: by Mwait the CPU monitors the command line, by Hlt it does
    /// not halt but polls it, and takes power.
    ///
    /// # Errors
    /// [`Unavailable::NoMailbox`]: with Clgi the operating system would get a CPU that holds all its events, one that
    /// waits for SIPI looks at nothing, and where an erratum makes a store's wake unreliable nobody would send an NMI.
    pub fn watching_mailbox(mut self) -> Result<Self, Unavailable> {
        let sees_stores = match self.mechanism {
            Mechanism::Hlt => true,
            Mechanism::Mwait => self.store_wake == StoreWake::Reliable && !self.wait_flags.contains(WaitFlags::CLFLUSH),
            _ => false,
        };
        if !sees_stores {
            return Err(Unavailable::NoMailbox(self.mechanism));
        }
        self.wait_flags |= WaitFlags::MAILBOX;
        Ok(self)
    }

    /// The sanitising steps of this mechanism, in their order, refusals first.
    pub fn steps(&self) -> impl Iterator<Item = &'static Step> + Clone + use<> {
        let mechanism = self.mechanism;
        [REFUSALS, self.vendor_refusals, FIRST, self.vendor_steps, COMMON]
            .into_iter()
            .flatten()
            .filter(move |step| step.mechanisms.contains(mechanism.into()))
    }
}

/// What every lot needs of a CPU, the weightiest first.
const NEEDED: [(FeatureSet, &str); 4] = [
    (FeatureSet::LONG_MODE, "long mode"),
    (FeatureSet::NX, "no-execute pages"),
    (FeatureSet::APIC, "a local APIC, or it is switched off"),
    (FeatureSet::MCE, "machine-check exceptions"),
];

/// The weightiest of the features in `lacking` that every lot needs, in words: the others matter no more without it.
#[must_use]
pub fn first_needed(lacking: FeatureSet) -> &'static str {
    let first = NEEDED.iter().find(|(feature, _)| lacking.contains(*feature));
    first.map_or("what every lot needs", |(_, what)| what)
}

/// Bytes of the doorbell word: what must fit into the smallest monitor line.
const DOORBELL_LEN: u16 = 8;

/// What holds for every mechanism and vendor.
///
/// # Errors
/// [`Unavailable::Lacks`] or [`Unavailable::MailboxOnly`].
pub fn check_needed(features: &Features) -> Result<(), Unavailable> {
    if features.has(FeatureSet::TDX_GUEST) {
        return Err(Unavailable::MailboxOnly);
    }
    let lacking = NEEDED.iter().fold(FeatureSet::empty(), |all, (one, _)| all | *one).difference(features.set);
    if lacking.is_empty() { Ok(()) } else { Err(Unavailable::Lacks(lacking)) }
}

/// What MONITOR needs on every vendor's CPUs.
///
/// A smallest line of 0 is taken for "not said": QEMU says so, and its MWAIT ends at once.
///
/// # Errors
/// [`Unavailable::NoMonitor`] or [`Unavailable::MonitorLineTooSmall`].
pub fn check_monitor(features: &Features) -> Result<(), Unavailable> {
    if !features.has(FeatureSet::MONITOR) {
        return Err(Unavailable::NoMonitor);
    }
    let smallest_line = features.monitor.smallest_line;
    if smallest_line != 0 && smallest_line < DOORBELL_LEN {
        return Err(Unavailable::MonitorLineTooSmall { smallest_line });
    }
    Ok(())
}

/// Orders for HLT without any knowledge of the vendor: what cpu-park gives to CPUs of neither vendor crate.
///
/// Not known, then: VMX on CPUs that are not Intel's (a CPU in VMX operation holds INIT), errata, vendor MSRs of
/// counters and tracing, and every claim.
///
/// # Errors
/// As [`check_needed`].
pub fn generic_hlt(features: &Features) -> Result<Orders, Unavailable> {
    check_needed(features)?;
    Ok(Orders::new(Mechanism::Hlt, StoreWake::None, &[], &[]).with_features(features))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mailbox_is_watched_by_those_that_see_its_stores() {
        let orders = |mechanism, store_wake| Orders::new(mechanism, store_wake, &[], &[]);
        let reliable = StoreWake::Reliable;
        for (mechanism, store_wake) in [(Mechanism::Mwait, reliable), (Mechanism::Hlt, StoreWake::None)] {
            let watching = orders(mechanism, store_wake).watching_mailbox().map(|orders| orders.wait_flags);
            assert_eq!(watching, Ok(WaitFlags::MAILBOX));
        }
        let refused = |orders: Orders| {
            orders.watching_mailbox().is_err_and(|why| why == Unavailable::NoMailbox(orders.mechanism))
        };
        assert!(refused(orders(Mechanism::Clgi, reliable)) && refused(orders(Mechanism::WaitForSipi, StoreWake::None)));
        assert!(refused(orders(Mechanism::Mwait, StoreWake::None)));
        // AAI65: MONITOR may miss a store to a cached line, and the mailbox's line is not flushed.
        let mut flushing = orders(Mechanism::Mwait, reliable);
        flushing.wait_flags = WaitFlags::CLFLUSH;
        assert!(refused(flushing));
    }
}
