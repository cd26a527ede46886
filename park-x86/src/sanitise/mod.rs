//! Sanitising: what the owner left in a CPU that could hurt it, or others, while it is parked.
//!
//! The list is data: one [`Step`] for each register, each with its reason, its source and what leaving it out
//! costs. A rig can leave out any single step and look for the harm; a program can print the list. Order
//! matters and is part of the list: first every refusal, before anything is touched, then interrupts off and
//! in-service vectors ended, then the vendor's virtualisation, then the rest.
//!
//! What assembly does on the way into the lot, because it must not return to Rust in between, stands in
//! [`BY_ARRIVAL`] with the same fields, so that the printed list is complete; what stays as it is, in [`LEFT_ALONE`].

mod left_alone;
mod list;
mod run;

pub use left_alone::{LEFT_ALONE, LeftAlone};
pub use list::{BY_ARRIVAL, COMMON, FIRST, REFUSALS};
pub use run::{Progress, Report, SanitiseError, StepRun, run};

use crate::features::{FeatureSet, Features};
use core::fmt;
use park_core::{Action, ApicRegister, MechanismSet, Register};

/// Names a step. Unique over all crates' lists; a test asserts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StepId(pub &'static str);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// On which CPUs a step is taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum When {
    /// On all.
    Always,
    /// On those that have all of these.
    All(FeatureSet),
    /// On those that have any of these.
    Any(FeatureSet),
    /// On those that have the first and not the second.
    AllBut(FeatureSet, FeatureSet),
}

impl When {
    /// True if the step is due on a CPU with these features.
    #[must_use]
    pub const fn holds(self, features: &Features) -> bool {
        match self {
            Self::Always => true,
            Self::All(set) => features.set.contains(set),
            Self::Any(set) => features.set.intersects(set),
            Self::AllBut(set, absent) => features.set.contains(set) && !features.set.intersects(absent),
        }
    }
}

/// A register that must read so and so before a step is taken; costs one access more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Guard {
    /// No guard.
    None,
    /// Any bit of the mask is set.
    AnySet {
        /// Where to look.
        register: Register,
        /// Which bits.
        mask: u64,
    },
    /// All bits of the mask are clear.
    AllClear {
        /// Where to look.
        register: Register,
        /// Which bits.
        mask: u64,
    },
    /// A field holds at least this number.
    AtLeast {
        /// Where to look.
        register: Register,
        /// First bit of the field.
        shift: u32,
        /// The field's bits, after the shift.
        mask: u64,
        /// The number.
        minimum: u64,
    },
}

/// Why a CPU is refused: nothing was changed on it, but for end-of-interrupt writes where noted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// EFER.NXE = 0: the lot's tables set bit 63, which would be reserved.
    NoExecuteOff,
    /// CR0.CD = 1: MONITOR and locked instructions need write-back memory.
    CacheDisabled,
    /// PAT entry 0 is not write-back.
    PatEntryNotWriteBack,
    /// CS comes from an LDT: the temporary GDT can't hold it.
    CodeSegmentInLdt,
    /// The CS selector lies beyond the temporary GDT.
    CodeSelectorTooLarge,
    /// Not at CPL 0.
    NotSupervisor,
    /// The encryption mask of the lot is not the one that this CPU's tables use.
    EncryptionMask,
    /// The local APIC is switched off in IA32_APIC_BASE: nobody could send an NMI.
    ApicDisabled,
    /// The bootstrap processor, by a mechanism that ends with an INIT.
    BootstrapProcessor,
    /// A vector is still in service after an end-of-interrupt for each that can be.
    VectorInService,
    /// KVM writes the time to the guest's memory.
    KvmClock,
    /// KVM writes to the guest's memory and injects faults for pages it has swapped out.
    KvmAsyncPageFault,
    /// KVM writes steal time to the guest's memory.
    KvmStealTime,
    /// KVM writes end-of-interrupt state to the guest's memory.
    KvmPvEoi,
    /// Hyper-V writes messages and event flags to the guest's memory.
    HyperVSynIc,
    /// Hyper-V writes to its VP assist page.
    HyperVVpAssist,
    /// Xen writes to the guest's `vcpu_info` and runstate, and no register says whether.
    XenSharedPages,
    /// An SEV-ES or SNP guest: no INIT, STARTUP or plain NMI; only the mailbox reaches its CPUs.
    SevEsGuest,
    /// A TDX guest: CR4.MCE and IPIs are the module's; only the mailbox reaches its CPUs.
    TdxGuest,
    /// AMD: VM_CR.SVMDIS = 1, so EFER.SVME can't be set and CLGI is #UD.
    SvmDisabled,
}

impl Refusal {
    /// What is wrong and what to do, as a sentence without a full stop.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::NoExecuteOff => "EFER.NXE is 0, but the lot's tables use it: set it before parking",
            Self::CacheDisabled => "CR0.CD is 1: enable caching before parking",
            Self::PatEntryNotWriteBack => "PAT entry 0 is not write-back: restore it before parking",
            Self::CodeSegmentInLdt => "CS comes from an LDT: load one from the GDT before parking",
            Self::CodeSelectorTooLarge => "the CS selector lies beyond the arrival GDT: load a smaller one",
            Self::NotSupervisor => "CPL is not 0: only the kernel can park a CPU",
            Self::EncryptionMask => "the lot's encryption mask is not the one of this CPU's tables: rebuild the lot",
            Self::ApicDisabled => "the local APIC is disabled in IA32_APIC_BASE: no NMI could wake the CPU",
            Self::BootstrapProcessor => {
                "an INIT of the bootstrap processor resets the machine: park it by Hlt or Mwait"
            }
            Self::VectorInService => "a vector stays in service after every end-of-interrupt: finish it first",
            Self::KvmClock => "KVM's clock still writes to memory: clear its MSR before parking",
            Self::KvmAsyncPageFault => "KVM's asynchronous page faults are on: clear the MSR before parking",
            Self::KvmStealTime => "KVM's steal time still writes to memory: clear its MSR before parking",
            Self::KvmPvEoi => "KVM's paravirtual EOI still writes to memory: clear its MSR before parking",
            Self::HyperVSynIc => "Hyper-V's SynIC still writes to memory: disable its pages before parking",
            Self::HyperVVpAssist => "Hyper-V's VP assist page is in use: disable it before parking",
            Self::XenSharedPages => "Xen may write to vcpu_info and runstate: unregister both, and say so",
            Self::SevEsGuest => "an SEV-ES guest's CPU can be parked through the ACPI mailbox only",
            Self::TdxGuest => "a TDX guest's CPU can be parked through the ACPI mailbox only",
            Self::SvmDisabled => "VM_CR.SVMDIS is 1: CLGI is not available; choose another mechanism",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Writes a value.
    Write {
        /// Where.
        register: Register,
        /// What.
        value: u64,
    },
    /// Writes a value to each of several registers.
    WriteEach {
        /// Where, in this order.
        registers: &'static [Register],
        /// What.
        value: u64,
    },
    /// Clears bits, if any is set.
    Clear {
        /// Where.
        register: Register,
        /// Which bits.
        mask: u64,
    },
    /// Sets bits, if any is clear.
    Set {
        /// Where.
        register: Register,
        /// Which bits.
        mask: u64,
    },
    /// Executes an instruction.
    Act(Action),
    /// Executes an instruction that faults where there is nothing to do; the fault is no failure.
    ///
    /// VMXOFF outside VMX operation is #UD, and no register says whether the CPU is in it.
    ActOrFault(Action),
    /// Writes end-of-interrupt until no vector is in service, at most once for each vector.
    EndInService,
    /// Refuses the CPU unless the bits read as expected.
    Demand {
        /// Where.
        register: Register,
        /// Which bits.
        mask: u64,
        /// How they must read.
        expected: u64,
        /// The refusal otherwise.
        refusal: Refusal,
    },
    /// Refuses the CPU outright: [`Step::when`] says which.
    Refuse(Refusal),
    /// Refuses the CPU unless the caller said that shared pages are gone ([`Paravirtual::TornDown`]).
    RefuseUnlessTornDown(Refusal),
    /// Refuses the CPU if its CS selector is larger than [`Context::cs_selector_max`].
    DemandSelector,
    /// Refuses the CPU if CR3's encryption bit is not [`Context::encryption_mask`].
    DemandEncryption,
    /// Nothing here: assembly does it on the way into the lot.
    ByArrival,
}

/// What leaving a step out costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Harm {
    /// The CPU, or another, can be hurt, or the CPU can't be reached: the simulator shows it.
    Safety,
    /// Power or another CPU's speed; nothing breaks.
    PowerOnly,
    /// Something that the simulator does not model; the source says what.
    NotModelled,
}

impl Harm {
    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::PowerOnly => "power-only",
            Self::NotModelled => "not-modelled",
        }
    }
}

/// One entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// For which mechanisms it is taken.
    pub mechanisms: MechanismSet,
    /// On which CPUs it is taken.
    pub when: When,
    /// What must read so and so first.
    pub guard: Guard,
    /// What it does.
    pub effect: Effect,
    /// What leaving it out costs.
    pub harm: Harm,
    /// Why it is there.
    pub why: &'static str,
    /// Manual section, commit or erratum that says so.
    pub source: &'static str,
}

impl Step {
    /// A step on every CPU for every mechanism, without guard.
    #[must_use]
    pub const fn new(id: &'static str, effect: Effect, harm: Harm, why: &'static str, source: &'static str) -> Self {
        Self {
            id: StepId(id),
            mechanisms: MechanismSet::all(),
            when: When::Always,
            guard: Guard::None,
            effect,
            harm,
            why,
            source,
        }
    }

    /// The same step, on some CPUs only.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// The same step, behind a guard.
    #[must_use]
    pub const fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// The same step, for some mechanisms only.
    #[must_use]
    pub const fn only(mut self, mechanisms: MechanismSet) -> Self {
        self.mechanisms = mechanisms;
        self
    }

    /// True if the step only looks, and may refuse.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self.effect,
            Effect::Demand { .. }
                | Effect::Refuse(_)
                | Effect::RefuseUnlessTornDown(_)
                | Effect::DemandSelector
                | Effect::DemandEncryption
        )
    }
}

/// What the caller says of memory that a hypervisor may still write to, where no register tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Paravirtual {
    /// Nothing is known: a Xen guest is refused.
    #[default]
    Unknown,
    /// Every page that this CPU shared with the hypervisor has been unregistered.
    TornDown,
}

/// What sanitising needs to know beside the registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Context {
    /// What the CPU can do.
    pub features: Features,
    /// Largest CS selector that the temporary GDT of arrival has room for.
    pub cs_selector_max: u16,
    /// Encryption bit in the lot's tables, from its header; 0 for none.
    pub encryption_mask: u64,
    /// What the caller says of shared pages.
    pub paravirtual: Paravirtual,
}

impl Context {
    /// For a CPU with these features and a lot with this encryption mask, arriving through a [`frame`](crate::frame);
    /// nothing is known of shared pages.
    #[must_use]
    pub const fn new(features: Features, encryption_mask: u64) -> Self {
        Self {
            features,
            cs_selector_max: crate::frame::SELECTOR_MAX,
            encryption_mask,
            paravirtual: Paravirtual::Unknown,
        }
    }

    /// The same, by the caller's word that every page shared with a hypervisor has been unregistered.
    #[must_use]
    pub const fn torn_down(mut self) -> Self {
        self.paravirtual = Paravirtual::TornDown;
        self
    }
}

/// The local APIC register at `register`, as a [`Register`].
const fn apic(register: ApicRegister) -> Register {
    Register::Apic(register)
}
