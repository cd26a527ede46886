//! One named choice for every cell that the manuals leave undocumented or implementation-dependent.
//!
//! Safety must hold for all values. A run records which knobs it consulted, so that a test can say "never explored".

use core::fmt;

/// A knob's typed value: implemented by the enums of this module.
pub trait Choice: Copy + PartialEq {
    /// The knob this value belongs to.
    const KNOB: Knob;
    /// The value with this index in [`Knob::values`]; the default for an index out of range.
    fn from_index(index: u8) -> Self;
}

macro_rules! knobs {
    ($($name:ident, $kebab:literal, $cite:literal, $text:literal, [$first:ident $first_name:literal $(, $value:ident $value_name:literal)*];)*) => {
        /// One undocumented or implementation-dependent cell.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Knob {
            $(#[doc = $text] $name,)*
        }

        impl Knob {
            /// Every knob, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kebab-case name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $kebab,)* }
            }

            /// The names of its values; the first is the default.
            #[must_use]
            pub const fn values(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$first_name $(, $value_name)*],)* }
            }

            /// Why it is open: what the manuals say or omit.
            #[must_use]
            pub const fn citation(self) -> &'static str {
                match self { $(Self::$name => $cite,)* }
            }

            /// What it chooses, in one sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        $(
            #[doc = $text]
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            #[repr(u8)]
            pub enum $name {
                #[doc = concat!("`", $first_name, "`, the default.")]
                $first,
                $(#[doc = concat!("`", $value_name, "`.")] $value,)*
            }

            impl Choice for $name {
                const KNOB: Knob = Knob::$name;
                fn from_index(index: u8) -> Self {
                    const VALUES: &[$name] = &[$name::$first $(, $name::$value)*];
                    match VALUES.get(usize::from(index)) {
                        Some(value) => *value,
                        None => $name::$first,
                    }
                }
            }
        )*
    };
}

knobs! {
    McGif0, "mc-gif0", "A:Table 15-10: held if possible, otherwise shutdown", "A machine check with GIF=0.", [Pend "pend", Shutdown "shutdown"];
    McWfs, "mc-wfs", "undocumented by both; INIT cleared CR4.MCE", "A machine check in wait-for-SIPI.", [Shutdown "shutdown", Pend "pend", Ignore "ignore"];
    McBroadcastAmd, "mc-broadcast-amd", "no AMD text says broadcast", "Who receives a machine check on AMD.", [Local "local", All "all"];
    McSmm, "mc-smm", "S:34.8: unpredictable without an SMM IDT", "A machine check in SMM.", [Shutdown "shutdown", Pend "pend"];
    Gif0WaitEnds, "gif0-wait-ends", "A:15.17 silent; QEMU never, Bochs falls through", "Whether an event held by GIF=0 ends HLT or MWAIT.", [Never "never", FallThrough "fall-through"];
    Gif0Monitor, "gif0-monitor", "no text gates the monitor by GIF", "Whether a store ends MWAIT while GIF=0.", [Wakes "wakes", Ignored "ignored"];
    SvmeOffGif0, "svme-off-gif0", "undocumented", "GIF when EFER.SVME is cleared while GIF=0.", [Stays "stays", BecomesSet "becomes-set"];
    NmiDepth, "nmi-depth", "S:6.7.1 gives no count; KVM counts two", "How many blocked NMIs are latched.", [One "1", Two "2"];
    NmiWfsIntel, "nmi-wfs-intel", "S:25.2 says blocked, not latched", "An Intel CPU's NMI in wait-for-SIPI.", [Pend "pend", Drop "drop"];
    NmiAcrossInit, "nmi-across-init", "undocumented", "An NMI pending when INIT is taken.", [Kept "kept", Dropped "dropped"];
    NmiBlockAcrossInit, "nmi-block-across-init", "undocumented; QEMU keeps it", "NMI blocking when INIT is taken.", [Cleared "cleared", Kept "kept"];
    NmiBlockAcrossSmm, "nmi-block-across-smm", "S:34.8 says both", "NMI blocking across SMM.", [Kept "kept", Lost "lost"];
    BlockedNmiMwait, "blocked-nmi-mwait", "undocumented", "Whether a blocked NMI ends MWAIT.", [Waits "waits", Ends "ends"];
    MaskedIntrMwait, "masked-intr-mwait", "S:MWAIT: may result in exit even if masked", "Whether a masked interrupt ends MWAIT with `ECX[0]`=0.", [Waits "waits", Ends "ends"];
    NmiApicSoftOff, "nmi-apic-soft-off", "A:16.3.1: may be accepted; measured on Intel 2023", "An NMI at a software-disabled local APIC.", [Deliver "deliver", WakeOnly "wake-only"];
    StiHoldsNmi, "sti-holds-nmi", "A:15.13.2, S:34.2: may be held one instruction", "Whether NMI and SMI wait out the STI shadow.", [No "no", Yes "yes"];
    MonitorLost, "monitor-lost", "errata APL30, ICX143, LNL030, 1109", "Whether a store to the monitored line is missed.", [Never "never", Always "always", Alternate "alternate"];
    MonitorStale, "monitor-stale", "erratum AAI65 (Xeon 7400)", "Whether MONITOR misses stores unless the line was CLFLUSHed first.", [No "no", Yes "yes"];
    NearStoreWakes, "near-store-wakes", "S:8.10.5: false trigger inside the largest line", "Whether a store near the smallest line, inside the largest, ends MWAIT.", [No "no", Yes "yes"];
    MwaitWaits, "mwait-waits", "S:8.10.4: hint may be ignored, false wakes legal", "Whether MWAIT waits at all.", [Yes "yes", Never "never"];
    DmaWakesDeep, "dma-wakes-deep", "S:14.6: deeper than C1 may not cause exit", "Whether device writes end MWAIT deeper than C1.", [No "no", Yes "yes"];
    DmaWakesAmd, "dma-wakes-amd", "AMD text not found", "Whether device writes end MWAIT on AMD.", [No "no", Yes "yes"];
    MonitorAcrossSmm, "monitor-across-smm", "undocumented", "The monitor across SMM.", [Kept "kept", Disarmed "disarmed"];
    AutoHalt, "auto-halt", "S:34.10: the handler may clear the flag", "What the SMI handler leaves in the auto-HALT flag.", [Keep "keep", Clear "clear"];
    SmmRendezvous, "smm-rendezvous", "EDK2 SmmWaitForApArrival; vendor SMM varies", "What SMM does about CPUs that do not check in.", [None "none", TimeOut "time-out", Hang "hang"];
    SmiShutdown, "smi-shutdown", "S:6.15 and S:34.3.2 contradict", "An SMI in shutdown.", [Ignored "ignored", Ends "ends"];
    NmiShutdownAmd, "nmi-shutdown-amd", "A:8.2.9 (not found)", "An NMI in shutdown on AMD.", [Ends "ends", Ignored "ignored"];
    InitWfs, "init-wfs", "undocumented outside VMX", "An INIT in wait-for-SIPI.", [Ignored "ignored", Again "again"];
    IrrAcrossInitAmd, "irr-across-init-amd", "A:16.10 and A:15.27.8 contradict", "Pending interrupts across INIT on AMD.", [Cleared "cleared", Kept "kept"];
    TlbAcrossInit, "tlb-across-init", "S:Table 9-1; A:5.5.3 and Table 14-1 contradict", "The TLB across INIT.", [Flushed "flushed", Kept "kept"];
    RInitAcrossInit, "r-init-across-init", "A:15.30.1 does not list it", "VM_CR.R_INIT across INIT.", [Kept "kept", Cleared "cleared"];
    IcrReorder, "icr-reorder", "S:10.12.3: WRMSR to the ICR is not serialising", "Whether an x2APIC IPI may overtake earlier stores.", [On "on", Off "off"];
    IcrBusy, "icr-busy", "S:10.6.1: delivery status", "The ICR delivery-status bit in xAPIC mode.", [Idle "idle", ThreePolls "three-polls", Stuck "stuck"];
    ShutdownResets, "shutdown-resets", "platform: IERR# and shutdown cycle", "Whether a CPU's shutdown resets the platform.", [No "no", Yes "yes"];
}

/// How many knobs there are.
pub const KNOB_COUNT: usize = Knob::ALL.len();

const _: () = assert!(KNOB_COUNT <= 64, "the set of consulted knobs is one u64");

impl Knob {
    /// The knob with this kebab-case name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|knob| knob.name() == name)
    }
}

/// A value for every knob. Default: the first value of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Knobs([u8; KNOB_COUNT]);

impl Default for Knobs {
    fn default() -> Self {
        Self([0; KNOB_COUNT])
    }
}

impl Knobs {
    /// The index in [`Knob::values`] that `knob` has here.
    #[must_use]
    #[inline]
    pub const fn index(&self, knob: Knob) -> u8 {
        self.0[knob as usize]
    }

    /// The name of the value that `knob` has here.
    #[must_use]
    pub fn value_name(&self, knob: Knob) -> &'static str {
        knob.values().get(usize::from(self.index(knob))).copied().unwrap_or("")
    }

    /// The typed value of a knob, without recording that it was read.
    #[must_use]
    pub fn get<C: Choice>(&self) -> C {
        C::from_index(self.index(C::KNOB))
    }

    /// Sets `knob` to the value with `index` in [`Knob::values`].
    ///
    /// # Errors
    /// [`KnobError::UnknownValue`] where the knob has no such value; nothing changes then.
    pub fn set_index(&mut self, knob: Knob, index: u8) -> Result<(), KnobError> {
        if usize::from(index) >= knob.values().len() {
            return Err(KnobError::UnknownValue { knob, value: index.to_string() });
        }
        self.0[knob as usize] = index;
        Ok(())
    }

    /// Sets `knob` to the value named `value`.
    ///
    /// # Errors
    /// [`KnobError::UnknownValue`] where the knob has no such value; nothing changes then.
    pub fn set(&mut self, knob: Knob, value: &str) -> Result<(), KnobError> {
        let index = knob.values().iter().position(|name| *name == value);
        match index.and_then(|index| u8::try_from(index).ok()) {
            Some(index) => {
                self.0[knob as usize] = index;
                Ok(())
            }
            None => Err(KnobError::UnknownValue { knob, value: value.to_owned() }),
        }
    }

    /// Applies one `name=value` assignment.
    ///
    /// # Errors
    /// [`KnobError::Syntax`] without `=`, [`KnobError::UnknownKnob`] and [`KnobError::UnknownValue`] as named; nothing changes then.
    pub fn parse(&mut self, assignment: &str) -> Result<Knob, KnobError> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(KnobError::Syntax { text: assignment.to_owned() });
        };
        let Some(knob) = Knob::from_name(name.trim()) else {
            return Err(KnobError::UnknownKnob { name: name.trim().to_owned() });
        };
        self.set(knob, value.trim())?;
        Ok(knob)
    }
}

/// Why a knob assignment was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KnobError {
    /// The text has no `=`.
    Syntax {
        /// The text given.
        text: String,
    },
    /// No knob has this name.
    UnknownKnob {
        /// The name given.
        name: String,
    },
    /// The knob has no such value.
    UnknownValue {
        /// The knob.
        knob: Knob,
        /// The value given.
        value: String,
    },
}

impl fmt::Display for KnobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { text } => write!(f, "knob assignment `{text}` is not of the form name=value"),
            Self::UnknownKnob { name } => write!(f, "no knob is named `{name}`"),
            Self::UnknownValue { knob, value } => {
                write!(f, "knob `{}` has no value `{value}`; it takes {}", knob.name(), knob.values().join(", "))
            }
        }
    }
}

impl core::error::Error for KnobError {}

/// A set of knobs, as bits by declaration order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KnobSet(u64);

impl KnobSet {
    /// No knob.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether `knob` is in the set.
    #[must_use]
    pub const fn contains(self, knob: Knob) -> bool {
        self.0 & (1 << (knob as u8)) != 0
    }

    /// Adds `knob`.
    #[inline]
    pub const fn insert(&mut self, knob: Knob) {
        self.0 |= 1 << (knob as u8);
    }

    /// The union of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The knobs of this set that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Knob> {
        Knob::ALL.iter().copied().filter(move |knob| self.contains(*knob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_parses_and_reads_back() {
        for knob in Knob::ALL {
            for value in knob.values() {
                let mut knobs = Knobs::default();
                assert_eq!(knobs.parse(&format!("{}={value}", knob.name())), Ok(*knob));
                assert_eq!(knobs.value_name(*knob), *value);
            }
        }
    }

    #[test]
    fn bad_assignments_change_nothing() {
        let mut knobs = Knobs::default();
        assert!(matches!(knobs.parse("mc-gif0"), Err(KnobError::Syntax { .. })));
        assert!(matches!(knobs.parse("no-such=1"), Err(KnobError::UnknownKnob { .. })));
        assert!(matches!(knobs.parse("mc-gif0=never"), Err(KnobError::UnknownValue { .. })));
        assert_eq!(knobs, Knobs::default());
    }
}
