//! What a CPU can do, from CPUID: read once, handed around by reference.

use crate::registers::cpuid::{self, Bit};
use core::fmt;
use park_core::CpuidResult;

/// Who made the CPU, as far as park tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Vendor {
    /// `GenuineIntel`.
    Intel,
    /// `AuthenticAMD`.
    Amd,
    /// `HygonGenuine`: AMD's first Zen under another name.
    Hygon,
    /// `CentaurHauls`.
    Centaur,
    /// `  Shanghai  `.
    Zhaoxin,
    /// Anyone else.
    Other,
}

impl Vendor {
    /// The vendor by the twelve bytes of CPUID leaf 0: EBX, EDX, ECX.
    #[must_use]
    pub const fn from_id(id: [u8; 12]) -> Self {
        match &id {
            b"GenuineIntel" => Self::Intel,
            b"AuthenticAMD" => Self::Amd,
            b"HygonGenuine" => Self::Hygon,
            b"CentaurHauls" => Self::Centaur,
            b"  Shanghai  " => Self::Zhaoxin,
            _ => Self::Other,
        }
    }

    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
            Self::Hygon => "Hygon",
            Self::Centaur => "Centaur",
            Self::Zhaoxin => "Zhaoxin",
            Self::Other => "unknown vendor",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Family, model and stepping, extended fields added in (SDM vol. 2A, "CPUID", leaf 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Signature {
    /// Family: 6 for most of Intel, 17h for the first Zen.
    pub family: u16,
    /// Model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl Signature {
    /// Decodes EAX of leaf 1.
    #[must_use]
    pub const fn from_eax(eax: u32) -> Self {
        let base_family = (eax >> 8 & 0xf) as u16;
        let base_model = (eax >> 4 & 0xf) as u8;
        let extended_family = (eax >> 20 & 0xff) as u16;
        let extended_model = (eax >> 16 & 0xf) as u8;
        let family = if base_family == 0xf { base_family + extended_family } else { base_family };
        // The extended model counts for families 6 and 0Fh; AMD's families above 0Fh have base family 0Fh.
        let model = if base_family == 6 || base_family == 0xf { base_model | extended_model << 4 } else { base_model };
        Self { family, model, stepping: (eax & 0xf) as u8 }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "family {:x}h model {:x}h stepping {}", self.family, self.model, self.stepping)
    }
}

bitflags::bitflags! {
    /// What the CPU has, one bit each. Each name stands for the bit of the same name in
    /// [`registers::cpuid`](crate::registers::cpuid) unless said otherwise.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FeatureSet: u64 {
        /// MONITOR and MWAIT, enabled.
        const MONITOR = 1 << 0;
        /// x2APIC mode exists.
        const X2APIC = 1 << 1;
        /// A local APIC, enabled.
        const APIC = 1 << 2;
        /// Machine-check architecture.
        const MCA = 1 << 3;
        /// Five-level paging exists.
        const LA57 = 1 << 4;
        /// Process-context identifiers.
        const PCID = 1 << 5;
        /// Control-flow enforcement: shadow stacks or branch tracking.
        const CET = 1 << 6;
        /// FRED.
        const FRED = 1 << 7;
        /// Linear-address space separation.
        const LASS = 1 << 8;
        /// Protection keys of supervisor pages.
        const PKS = 1 << 9;
        /// AMX tiles.
        const AMX = 1 << 10;
        /// XGETBV works: CR4.OSXSAVE is set on this CPU.
        const OSXSAVE = 1 << 11;
        /// XGETBV with ECX = 1.
        const XINUSE = 1 << 12;
        /// VMX.
        const VMX = 1 << 13;
        /// SVM.
        const SVM = 1 << 14;
        /// SVM lock.
        const SVM_LOCK = 1 << 15;
        /// SKINIT; then STGI works with EFER.SVME = 0 too.
        const SKINIT = 1 << 16;
        /// Secure memory encryption.
        const SME = 1 << 17;
        /// Secure encrypted virtualisation.
        const SEV = 1 << 18;
        /// A hypervisor is present.
        const HYPERVISOR = 1 << 19;
        /// Long mode.
        const LONG_MODE = 1 << 20;
        /// No-execute.
        const NX = 1 << 21;
        /// CLFLUSH.
        const CLFLUSH = 1 << 22;
        /// TSC-deadline timer.
        const TSC_DEADLINE = 1 << 23;
        /// Architectural performance monitoring, version 1: event selects, no global control.
        const PERFMON_V1 = 1 << 24;
        /// Architectural performance monitoring, version 2 or later.
        const PERFMON_V2 = 1 << 25;
        /// Debug store: BTS and PEBS write to memory.
        const DS = 1 << 26;
        /// Processor Trace.
        const PROCESSOR_TRACE = 1 << 27;
        /// Architectural last-branch records.
        const ARCH_LBR = 1 << 28;
        /// IA32_SPEC_CTRL exists, by any of its bits.
        const SPEC_CTRL = 1 << 29;
        /// User interrupts.
        const UINTR = 1 << 30;
        /// UMONITOR, UMWAIT, TPAUSE.
        const WAITPKG = 1 << 31;
        /// MWAIT with ECX\[0\] = 1 ends on a masked interrupt.
        const MWAIT_INTERRUPT_BREAK = 1 << 32;
        /// MONITORX and MWAITX.
        const MONITORX = 1 << 33;
        /// AMD: extended local APIC space.
        const EXT_APIC_SPACE = 1 << 34;
        /// AMD: instruction-based sampling.
        const IBS = 1 << 35;
        /// AMD: six performance counters with extended MSRs.
        const PERFCTR_CORE = 1 << 36;
        /// AMD: performance monitoring version 2.
        const AMD_PERFMON_V2 = 1 << 37;
        /// AMD: a guest's machine checks exit to the host.
        const HOST_MCE_OVERRIDE = 1 << 38;
        /// More than one logical processor per package is possible.
        const HTT = 1 << 39;
        /// The local APIC timer runs in every C-state.
        const ARAT = 1 << 40;
        /// This is a TDX guest: CPUID leaf 21h says `IntelTDX`.
        const TDX_GUEST = 1 << 41;
        /// KVM's interface is there.
        const KVM = 1 << 42;
        /// KVM: clock MSR of the first form.
        const KVM_CLOCK_OLD = 1 << 43;
        /// KVM: clock MSR.
        const KVM_CLOCK = 1 << 44;
        /// KVM: asynchronous page faults.
        const KVM_ASYNC_PF = 1 << 45;
        /// KVM: steal time.
        const KVM_STEAL_TIME = 1 << 46;
        /// KVM: paravirtual EOI.
        const KVM_PV_EOI = 1 << 47;
        /// Hyper-V: the SynIC's MSRs.
        const HV_SYNIC = 1 << 48;
        /// Hyper-V: the VP assist page.
        const HV_VP_ASSIST = 1 << 49;
        /// Xen's interface is there.
        const XEN = 1 << 50;
        /// CR4.MCE exists.
        const MCE = 1 << 51;
    }
}

const TABLE: &[(FeatureSet, &[Bit])] = &[
    (FeatureSet::MONITOR, &[cpuid::MONITOR]),
    (FeatureSet::X2APIC, &[cpuid::X2APIC]),
    (FeatureSet::APIC, &[cpuid::APIC]),
    (FeatureSet::MCA, &[cpuid::MCA]),
    (FeatureSet::MCE, &[cpuid::MCE]),
    (FeatureSet::LA57, &[cpuid::LA57]),
    (FeatureSet::PCID, &[cpuid::PCID]),
    (FeatureSet::CET, &[cpuid::CET_SS, cpuid::CET_IBT]),
    (FeatureSet::FRED, &[cpuid::FRED]),
    (FeatureSet::LASS, &[cpuid::LASS]),
    (FeatureSet::PKS, &[cpuid::PKS]),
    (FeatureSet::AMX, &[cpuid::AMX_TILE]),
    (FeatureSet::OSXSAVE, &[cpuid::OSXSAVE]),
    (FeatureSet::XINUSE, &[cpuid::XINUSE]),
    (FeatureSet::VMX, &[cpuid::VMX]),
    (FeatureSet::SVM, &[cpuid::SVM]),
    (FeatureSet::SVM_LOCK, &[cpuid::SVM_LOCK]),
    (FeatureSet::SKINIT, &[cpuid::SKINIT]),
    (FeatureSet::SME, &[cpuid::SME]),
    (FeatureSet::SEV, &[cpuid::SEV]),
    (FeatureSet::HYPERVISOR, &[cpuid::HYPERVISOR]),
    (FeatureSet::LONG_MODE, &[cpuid::LONG_MODE]),
    (FeatureSet::NX, &[cpuid::NX]),
    (FeatureSet::CLFLUSH, &[cpuid::CLFLUSH]),
    (FeatureSet::TSC_DEADLINE, &[cpuid::TSC_DEADLINE]),
    (FeatureSet::DS, &[cpuid::DS]),
    (FeatureSet::PROCESSOR_TRACE, &[cpuid::PROCESSOR_TRACE]),
    (FeatureSet::ARCH_LBR, &[cpuid::ARCH_LBR]),
    (
        FeatureSet::SPEC_CTRL,
        &[cpuid::IBRS, cpuid::STIBP, cpuid::SSBD, cpuid::AMD_IBRS, cpuid::AMD_STIBP, cpuid::AMD_SSBD],
    ),
    (FeatureSet::UINTR, &[cpuid::UINTR]),
    (FeatureSet::WAITPKG, &[cpuid::WAITPKG]),
    (FeatureSet::MONITORX, &[cpuid::MONITORX]),
    (FeatureSet::EXT_APIC_SPACE, &[cpuid::EXT_APIC_SPACE]),
    (FeatureSet::IBS, &[cpuid::IBS]),
    (FeatureSet::PERFCTR_CORE, &[cpuid::PERFCTR_CORE]),
    (FeatureSet::AMD_PERFMON_V2, &[cpuid::AMD_PERFMON_V2]),
    (FeatureSet::HOST_MCE_OVERRIDE, &[cpuid::HOST_MCE_OVERRIDE]),
    (FeatureSet::HTT, &[cpuid::HTT]),
    (FeatureSet::ARAT, &[cpuid::ARAT]),
];

/// CPUID leaf 5: what MONITOR watches and how deep MWAIT may go (SDM vol. 2A, "CPUID").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct MonitorLeaf {
    /// Bytes of the smallest monitor line: the doorbell must fit inside. QEMU says 0.
    pub smallest_line: u16,
    /// Bytes of the largest monitor line: nothing else may be inside.
    pub largest_line: u16,
    /// Sub-states of C0 to C7, four bits each. A number here does not mean that the hint for it is safe:
    /// Sierra Forest counts sub-states whose hints are undefined (Linux commit 96040f7273e2).
    pub substates: u32,
}

impl MonitorLeaf {
    /// How many sub-states of C-state `c` (0 to 7) leaf 5 counts; 0 beyond.
    #[must_use]
    pub const fn substates_of(&self, c: u32) -> u32 {
        if c < 8 { self.substates >> (4 * c) & 0xf } else { 0 }
    }
}

/// What one CPU can do.
///
/// CPUs of a machine may differ (IA32_MISC_ENABLE and CR4 show through in CPUID): read it on the CPU that parks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Features {
    /// Who made it.
    pub vendor: Vendor,
    /// Family, model, stepping.
    pub signature: Signature,
    /// What it has.
    pub set: FeatureSet,
    /// Leaf 5; all zero without [`FeatureSet::MONITOR`].
    pub monitor: MonitorLeaf,
    /// Position of the encryption bit in page tables, with [`FeatureSet::SME`] or [`FeatureSet::SEV`].
    pub encryption_bit: Option<u8>,
}

impl Features {
    /// Reads CPUID through `cpuid`, called with EAX and ECX.
    ///
    /// Leaves beyond the highest that the CPU names count as zero, so that a truncated dump, or a CPU that
    /// repeats its last leaf (SDM vol. 2A, "CPUID"), does not invent features.
    #[must_use]
    pub fn read(mut cpuid: impl FnMut(u32, u32) -> CpuidResult) -> Self {
        let [highest, ebx, ecx, edx] = cpuid(cpuid::LEAF_VENDOR, 0);
        let [highest_extended, ..] = cpuid(cpuid::LEAF_EXTENDED, 0);
        let mut leaf = |leaf: u32, subleaf: u32| -> CpuidResult {
            let last = if leaf < cpuid::LEAF_EXTENDED { highest } else { highest_extended };
            if leaf > last { [0; 4] } else { cpuid(leaf, subleaf) }
        };
        let mut set = FeatureSet::empty();
        for (feature, bits) in TABLE {
            let present = |leaf: &mut dyn FnMut(u32, u32) -> CpuidResult, bit: &Bit| {
                // Subleaf 1 of leaf 7 is only there if EAX of subleaf 0 says so.
                if bit.leaf == 7 && bit.subleaf > 0 && leaf(7, 0)[0] < bit.subleaf {
                    return false;
                }
                leaf(bit.leaf, bit.subleaf)[usize::from(bit.register & 3)] >> bit.bit & 1 == 1
            };
            if bits.iter().any(|bit| present(&mut leaf, bit)) {
                set |= *feature;
            }
        }
        match leaf(cpuid::LEAF_PERFMON, 0)[0] & 0xff {
            0 => {}
            1 => set |= FeatureSet::PERFMON_V1,
            _ => set |= FeatureSet::PERFMON_V2,
        }
        let mut monitor = MonitorLeaf::default();
        if set.contains(FeatureSet::MONITOR) {
            let [eax, ebx, ecx, edx] = leaf(cpuid::LEAF_MONITOR, 0);
            monitor.smallest_line = eax as u16;
            monitor.largest_line = ebx as u16;
            // SDM vol. 2A: ECX and EDX mean something only if ECX[0] is set.
            if ecx & 1 == 1 {
                monitor.substates = edx;
                set.set(FeatureSet::MWAIT_INTERRUPT_BREAK, ecx & 2 != 0);
            }
        }
        let encrypts = set.intersects(FeatureSet::SME.union(FeatureSet::SEV));
        let encryption_bit = encrypts.then(|| (leaf(cpuid::LEAF_ENCRYPTION, 0)[1] & 0x3f) as u8);
        let [_, tdx0, tdx2, tdx1] = leaf(cpuid::LEAF_TDX, 0);
        set.set(FeatureSet::TDX_GUEST, id_bytes([tdx0, tdx1, tdx2]) == *b"IntelTDX    ");
        let signature = Signature::from_eax(leaf(cpuid::LEAF_VERSION, 0)[0]);
        if set.contains(FeatureSet::HYPERVISOR) {
            set |= hypervisor_features(&mut cpuid);
        }
        Self { vendor: Vendor::from_id(id_bytes([ebx, edx, ecx])), signature, set, monitor, encryption_bit }
    }

    /// True if the CPU has all of `features`.
    #[must_use]
    pub const fn has(&self, features: FeatureSet) -> bool {
        self.set.contains(features)
    }

    /// The bit that encrypts a page when set in a table entry or CR3; 0 where there is none.
    #[must_use]
    pub const fn encryption_mask(&self) -> u64 {
        match self.encryption_bit {
            Some(bit) if bit < 64 => 1 << bit,
            _ => 0,
        }
    }
}

/// Twelve bytes of a CPUID signature, in the order of the registers given.
fn id_bytes(registers: [u32; 3]) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (chunk, register) in bytes.chunks_exact_mut(4).zip(registers) {
        chunk.copy_from_slice(&register.to_le_bytes());
    }
    bytes
}

/// How many interfaces a hypervisor may offer side by side before we stop looking: KVM with Hyper-V's and Xen's.
const HYPERVISOR_INTERFACES: u32 = 4;

/// Features of all interfaces that the hypervisor offers, wherever each begins.
fn hypervisor_features(cpuid: &mut impl FnMut(u32, u32) -> CpuidResult) -> FeatureSet {
    let mut set = FeatureSet::empty();
    for interface in 0..HYPERVISOR_INTERFACES {
        let base = cpuid::LEAF_HYPERVISOR + interface * cpuid::HYPERVISOR_STRIDE;
        let [_, ebx, ecx, edx] = cpuid(base, 0);
        match &id_bytes([ebx, ecx, edx]) {
            b"KVMKVMKVM\0\0\0" => {
                set |= FeatureSet::KVM;
                let eax = cpuid(base + cpuid::KVM_FEATURES, 0)[0];
                set.set(FeatureSet::KVM_CLOCK_OLD, eax >> cpuid::KVM_CLOCK_OLD & 1 == 1);
                set.set(FeatureSet::KVM_CLOCK, eax >> cpuid::KVM_CLOCK & 1 == 1);
                set.set(FeatureSet::KVM_ASYNC_PF, eax >> cpuid::KVM_ASYNC_PF & 1 == 1);
                set.set(FeatureSet::KVM_STEAL_TIME, eax >> cpuid::KVM_STEAL_TIME & 1 == 1);
                set.set(FeatureSet::KVM_PV_EOI, eax >> cpuid::KVM_PV_EOI & 1 == 1);
            }
            b"Microsoft Hv" => {
                let eax = cpuid(base + cpuid::HV_PRIVILEGES, 0)[0];
                set.set(FeatureSet::HV_SYNIC, eax >> cpuid::HV_SYNIC & 1 == 1);
                set.set(FeatureSet::HV_VP_ASSIST, eax >> cpuid::HV_APIC & 1 == 1);
            }
            b"XenVMMXenVMM" => set |= FeatureSet::XEN,
            _ => {}
        }
    }
    set
}
