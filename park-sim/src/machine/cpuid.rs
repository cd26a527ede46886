//! What CPUID answers, and the features that decide which instructions and bits exist.

/// One CPUID answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CpuidRegs {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

impl CpuidRegs {
    /// The four registers in the order EAX, EBX, ECX, EDX.
    #[must_use]
    pub const fn new(eax: u32, ebx: u32, ecx: u32, edx: u32) -> Self {
        Self { eax, ebx, ecx, edx }
    }
}

/// A table of (leaf, subleaf) → registers. A leaf without subleaves is stored at subleaf 0 and answers for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuidTable {
    entries: Vec<(u32, u32, CpuidRegs)>,
}

/// Leaves whose ECX input matters (S:CPUID vol 2A; A: vol 3 appendix E).
const SUBLEAF_LEAVES: [u32; 8] = [4, 7, 0xb, 0xd, 0x14, 0x1f, 0x23, 0x8000_001d];

impl CpuidTable {
    /// An empty table: every leaf answers zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Sets one answer, replacing an earlier one.
    pub fn set(&mut self, leaf: u32, subleaf: u32, regs: CpuidRegs) {
        match self.entries.iter_mut().find(|entry| entry.0 == leaf && entry.1 == subleaf) {
            Some(entry) => entry.2 = regs,
            None => self.entries.push((leaf, subleaf, regs)),
        }
    }

    /// The same table with one answer changed by `change`.
    #[must_use]
    pub fn with(mut self, leaf: u32, subleaf: u32, change: impl FnOnce(&mut CpuidRegs)) -> Self {
        let mut regs = self.get(leaf, subleaf);
        change(&mut regs);
        self.set(leaf, subleaf, regs);
        self
    }

    /// The answer for (leaf, subleaf); zeros for what the table lacks.
    #[must_use]
    pub fn get(&self, leaf: u32, subleaf: u32) -> CpuidRegs {
        let subleaf = if SUBLEAF_LEAVES.contains(&leaf) { subleaf } else { 0 };
        self.entries
            .iter()
            .find(|entry| entry.0 == leaf && entry.1 == subleaf)
            .map_or_else(CpuidRegs::default, |entry| entry.2)
    }

    /// An Ice Lake server-like CPU: x2APIC, MONITOR, PCID, LA57, CET, LASS, PKS, FRED, VMX, WAITPKG, AMX, broadcast machine checks with LMCE.
    #[must_use]
    pub fn intel() -> Self {
        let mut table = Self::new();
        table.set(0, 0, CpuidRegs::new(0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69));
        // Family 6 model 6Ah (Ice Lake-SP); ECX: SSE3, MONITOR, VMX, PCID, x2APIC, TSC-deadline, XSAVE, OSXSAVE, PDCM, DS.
        table.set(
            1,
            0,
            CpuidRegs::new(
                0x0006_06a6,
                0x0010_0800,
                (1 << 0)
                    | (1 << 2)
                    | (1 << 3)
                    | (1 << 5)
                    | (1 << 13)
                    | (1 << 15)
                    | (1 << 17)
                    | (1 << 21)
                    | (1 << 23)
                    | (1 << 24)
                    | (1 << 26)
                    | (1 << 27),
                0xbfeb_fbff,
            ),
        );
        table.set(4, 0, CpuidRegs::new(0x1c00_4121, 0x02c0_003f, 0x3f, 0));
        table.set(5, 0, CpuidRegs::new(0x40, 0x40, 3, 0x0000_2020));
        table.set(6, 0, CpuidRegs::new(0x04, 0, 1, 0));
        // EBX: FSGSBASE, SMEP, INVPCID, PT, CLFLUSHOPT, CLWB, SMAP; ECX: WAITPKG, CET_SS, LA57, PKS; EDX: AMX-TILE, SERIALIZE, CET_IBT.
        table.set(
            7,
            0,
            CpuidRegs::new(
                1,
                (1 << 0) | (1 << 7) | (1 << 10) | (1 << 20) | (1 << 23) | (1 << 24) | (1 << 25),
                (1 << 5) | (1 << 7) | (1 << 16) | (1 << 31),
                (1 << 14) | (1 << 20) | (1 << 24) | (1 << 26),
            ),
        );
        // EAX: LASS, FRED, LKGS.
        table.set(7, 1, CpuidRegs::new((1 << 6) | (1 << 17) | (1 << 18), 0, 0, 0));
        table.set(0xa, 0, CpuidRegs::new(0x0830_0805, 0, 0xf, 0x0000_8604));
        table.set(0xb, 0, CpuidRegs::new(1, 2, 0x100, 0));
        table.set(0xd, 0, CpuidRegs::new(0x0006_0007, 0x2b00, 0x2b00, 0));
        table.set(0xd, 1, CpuidRegs::new(0xf, 0x2b00, 0x1800, 0));
        table.set(0x14, 0, CpuidRegs::new(1, 0xf, 7, 0));
        Self::extended(table)
            .with(0x8000_0001, 0, |regs| {
                regs.ecx = (1 << 0) | (1 << 5);
                regs.edx = 0x2c10_0800;
            })
            .with(0x8000_0007, 0, |regs| regs.edx = 1 << 8)
    }

    /// A Zen-like CPU: SVM with VGIF, MONITOR and MWAITX, no MWAIT interrupt-break cut, PCID, local machine checks.
    #[must_use]
    pub fn amd() -> Self {
        let mut table = Self::new();
        table.set(0, 0, CpuidRegs::new(0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65));
        // Family 19h model 01h.
        table.set(
            1,
            0,
            CpuidRegs::new(
                0x00a0_0f11,
                0x0010_0800,
                (1 << 0) | (1 << 3) | (1 << 13) | (1 << 17) | (1 << 21) | (1 << 23) | (1 << 26) | (1 << 27),
                0x178b_fbff,
            ),
        );
        table.set(5, 0, CpuidRegs::new(0x40, 0x40, 3, 0x11));
        table.set(6, 0, CpuidRegs::new(0x04, 0, 1, 0));
        table.set(
            7,
            0,
            CpuidRegs::new(
                1,
                (1 << 0) | (1 << 7) | (1 << 10) | (1 << 20) | (1 << 23) | (1 << 24),
                (1 << 7) | (1 << 16),
                0,
            ),
        );
        table.set(7, 1, CpuidRegs::default());
        table.set(0xb, 0, CpuidRegs::new(1, 2, 0x100, 0));
        table.set(0xd, 0, CpuidRegs::new(0x207, 0x988, 0x988, 0));
        table.set(0xd, 1, CpuidRegs::new(0xf, 0x348, 0x1800, 0));
        Self::extended(table)
            .with(0x8000_0001, 0, |regs| {
                // LAHF, SVM, perfctr core extension, MONITORX; NX, 1G pages, RDTSCP, LM.
                regs.ecx = (1 << 0) | (1 << 2) | (1 << 23) | (1 << 29) | (1 << 10);
                regs.edx = 0x2fd3_fbff;
            })
            .with(0x8000_0007, 0, |regs| regs.edx = 1 << 8)
            // WBNOINVD, CLZERO, IBRS family.
            .with(0x8000_0008, 0, |regs| regs.ebx = (1 << 0) | (1 << 9) | (1 << 12))
            .with(0x8000_000a, 0, |regs| {
                regs.eax = 1;
                regs.ebx = 0x8000;
                regs.edx = (1 << 0) | (1 << 2) | (1 << 3) | (1 << 15) | (1 << 16) | (1 << 23);
            })
            .with(0x8000_001b, 0, |regs| regs.eax = 0x3ff)
    }

    fn extended(mut table: Self) -> Self {
        table.set(0x8000_0000, 0, CpuidRegs::new(0x8000_0022, 0, 0, 0));
        table.set(0x8000_0008, 0, CpuidRegs::new(0x0000_302e, 0, 0, 0));
        table
    }
}

macro_rules! features {
    ($($name:ident: $leaf:literal, $sub:literal, $reg:ident, $bit:literal, $doc:literal;)*) => {
        /// The features that decide #UD and #GP, derived from a [`CpuidTable`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Features {
            $(#[doc = $doc] pub $name: bool,)*
            /// Smallest monitor line in bytes (leaf 5 EAX).
            pub monitor_smallest: u64,
            /// Largest monitor line in bytes (leaf 5 EBX).
            pub monitor_largest: u64,
            /// Physical address width in bits.
            pub max_phys_bits: u8,
        }

        impl Features {
            /// Reads the features out of `table`.
            #[must_use]
            pub fn of(table: &CpuidTable) -> Self {
                let line = table.get(5, 0);
                Self {
                    $($name: table.get($leaf, $sub).$reg & (1 << $bit) != 0,)*
                    monitor_smallest: u64::from(line.eax & 0xffff),
                    monitor_largest: u64::from(line.ebx & 0xffff),
                    max_phys_bits: match table.get(0x8000_0008, 0).eax & 0xff { 0 => 36, bits => u8::try_from(bits.min(52)).unwrap_or(52) },
                }
            }
        }
    };
}

features! {
    monitor: 1, 0, ecx, 3, "MONITOR/MWAIT.";
    vmx: 1, 0, ecx, 5, "VMX.";
    pcid: 1, 0, ecx, 17, "CR4.PCIDE.";
    x2apic: 1, 0, ecx, 21, "x2APIC mode.";
    tsc_deadline: 1, 0, ecx, 24, "IA32_TSC_DEADLINE.";
    xsave: 1, 0, ecx, 26, "XSAVE, XGETBV.";
    hypervisor: 1, 0, ecx, 31, "A hypervisor runs beneath.";
    mce: 1, 0, edx, 7, "CR4.MCE.";
    mca: 1, 0, edx, 14, "IA32_MCG_*.";
    pge: 1, 0, edx, 13, "CR4.PGE.";
    mtrr: 1, 0, edx, 12, "MTRRs.";
    ds: 1, 0, edx, 21, "IA32_DS_AREA.";
    clflush: 1, 0, edx, 19, "CLFLUSH.";
    mwait_ext: 5, 0, ecx, 0, "MWAIT extensions enumerated.";
    mwait_break: 5, 0, ecx, 1, "MWAIT `ECX[0]`.";
    fsgsbase: 7, 0, ebx, 0, "CR4.FSGSBASE.";
    smep: 7, 0, ebx, 7, "CR4.SMEP.";
    invpcid: 7, 0, ebx, 10, "INVPCID.";
    smap: 7, 0, ebx, 20, "CR4.SMAP.";
    clflushopt: 7, 0, ebx, 23, "CLFLUSHOPT.";
    clwb: 7, 0, ebx, 24, "CLWB.";
    pt: 7, 0, ebx, 25, "Processor trace.";
    waitpkg: 7, 0, ecx, 5, "UMONITOR, UMWAIT, TPAUSE.";
    cet_ss: 7, 0, ecx, 7, "Shadow stacks.";
    la57: 7, 0, ecx, 16, "Five-level paging.";
    pks: 7, 0, ecx, 31, "Protection keys for supervisor pages.";
    serialize: 7, 0, edx, 14, "SERIALIZE.";
    cet_ibt: 7, 0, edx, 20, "Indirect branch tracking.";
    amx: 7, 0, edx, 24, "AMX tiles.";
    lass: 7, 1, eax, 6, "CR4.LASS.";
    fred: 7, 1, eax, 17, "CR4.FRED.";
    svm: 0x8000_0001, 0, ecx, 2, "SVM.";
    skinit: 0x8000_0001, 0, ecx, 12, "SKINIT.";
    perfctr_core: 0x8000_0001, 0, ecx, 23, "AMD core counters C001_0200h.";
    ibs: 0x8000_0001, 0, ecx, 10, "AMD instruction-based sampling.";
    monitorx: 0x8000_0001, 0, ecx, 29, "MONITORX/MWAITX.";
    nx: 0x8000_0001, 0, edx, 20, "EFER.NXE.";
    page_1g: 0x8000_0001, 0, edx, 26, "1 GiB pages.";
    rdtscp: 0x8000_0001, 0, edx, 27, "RDTSCP.";
    long_mode: 0x8000_0001, 0, edx, 29, "Long mode.";
    wbnoinvd: 0x8000_0008, 0, ebx, 9, "WBNOINVD.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_models_have_what_their_docs_say() {
        let intel = Features::of(&CpuidTable::intel());
        assert!(
            intel.monitor
                && intel.pcid
                && intel.la57
                && intel.cet_ibt
                && intel.vmx
                && intel.waitpkg
                && intel.x2apic
                && !intel.svm
        );
        let amd = Features::of(&CpuidTable::amd());
        assert!(amd.svm && amd.monitorx && amd.monitor && !amd.vmx && !amd.skinit && amd.monitor_smallest == 64);
    }

    #[test]
    fn subleaves_only_where_they_matter() {
        let table = CpuidTable::intel();
        assert_eq!(table.get(1, 7), table.get(1, 0));
        assert_ne!(table.get(7, 1), table.get(7, 0));
    }
}
