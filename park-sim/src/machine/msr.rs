//! The MSRs that exist, by number, with their writable bits and reset values. Semantics are in `msr_access.rs`.

use super::config::Vendor;
use super::cpuid::Features;

/// Most machine-check banks modelled.
pub const MAX_MC_BANKS: usize = 32;

/// When an MSR exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Intel,
    Amd,
    Mca,
    Mtrr,
    CetSs,
    Cet,
    Pks,
    Fred,
    Pt,
    Ds,
    Waitpkg,
    Xsave,
    Svm,
    PerfctrCore,
    Ibs,
    Rdtscp,
    LongMode,
    Hypervisor,
}

impl When {
    pub(crate) fn holds(self, vendor: Vendor, features: &Features) -> bool {
        match self {
            Self::Always => true,
            Self::Intel => vendor == Vendor::Intel,
            Self::Amd => vendor == Vendor::Amd,
            Self::Mca => features.mca,
            Self::Mtrr => features.mtrr,
            Self::CetSs => features.cet_ss,
            Self::Cet => features.cet_ss || features.cet_ibt,
            Self::Pks => features.pks,
            Self::Fred => features.fred,
            Self::Pt => features.pt,
            Self::Ds => features.ds && vendor == Vendor::Intel,
            Self::Waitpkg => features.waitpkg,
            Self::Xsave => features.xsave,
            Self::Svm => features.svm,
            Self::PerfctrCore => features.perfctr_core,
            Self::Ibs => features.ibs,
            Self::Rdtscp => features.rdtscp,
            Self::LongMode => features.long_mode,
            Self::Hypervisor => features.hypervisor,
        }
    }
}

/// One MSR: first number, how many follow, when it exists, writable bits, reset value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Def {
    pub(crate) num: u32,
    pub(crate) count: u32,
    pub(crate) when: When,
    pub(crate) writable: u64,
    pub(crate) reset: u64,
}

const fn def(num: u32, count: u32, when: When, writable: u64, reset: u64) -> Def {
    Def { num, count, when, writable, reset }
}

const ALL: u64 = u64::MAX;
/// PAT after reset (S:11.12.4): WB, WT, UC-, UC, twice.
pub(crate) const PAT_RESET: u64 = 0x0007_0406_0007_0406;

/// Architectural numbers (S:35.1, A:appendix A), named where the rules look at them.
pub(crate) mod num {
    pub(crate) const TSC: u32 = 0x10;
    pub(crate) const APIC_BASE: u32 = 0x1b;
    pub(crate) const SMI_COUNT: u32 = 0x34;
    pub(crate) const FEATURE_CONTROL: u32 = 0x3a;
    pub(crate) const SPEC_CTRL: u32 = 0x48;
    pub(crate) const PRED_CMD: u32 = 0x49;
    pub(crate) const UMWAIT_CONTROL: u32 = 0xe1;
    pub(crate) const MPERF: u32 = 0xe7;
    pub(crate) const APERF: u32 = 0xe8;
    pub(crate) const MCG_CAP: u32 = 0x179;
    pub(crate) const MCG_STATUS: u32 = 0x17a;
    pub(crate) const PERFEVTSEL0: u32 = 0x186;
    pub(crate) const MISC_ENABLE: u32 = 0x1a0;
    pub(crate) const FRED_STKLVLS: u32 = 0x1d0;
    pub(crate) const FRED_CONFIG: u32 = 0x1d4;
    pub(crate) const DEBUGCTL: u32 = 0x1d9;
    pub(crate) const PAT: u32 = 0x277;
    pub(crate) const MTRR_DEF_TYPE: u32 = 0x2ff;
    pub(crate) const FIXED_CTR_CTRL: u32 = 0x38d;
    pub(crate) const PERF_GLOBAL_STATUS: u32 = 0x38e;
    pub(crate) const PERF_GLOBAL_CTRL: u32 = 0x38f;
    pub(crate) const PERF_GLOBAL_OVF_CTRL: u32 = 0x390;
    pub(crate) const PEBS_ENABLE: u32 = 0x3f1;
    pub(crate) const MC0_CTL: u32 = 0x400;
    pub(crate) const MCG_EXT_CTL: u32 = 0x4d0;
    pub(crate) const RTIT_OUTPUT_BASE: u32 = 0x560;
    pub(crate) const RTIT_CTL: u32 = 0x570;
    pub(crate) const DS_AREA: u32 = 0x600;
    pub(crate) const S_CET: u32 = 0x6a2;
    pub(crate) const PL0_SSP: u32 = 0x6a4;
    pub(crate) const ISST: u32 = 0x6a8;
    pub(crate) const TSC_DEADLINE: u32 = 0x6e0;
    pub(crate) const PKRS: u32 = 0x6e1;
    pub(crate) const XSS: u32 = 0xda0;
    pub(crate) const X2APIC_FIRST: u32 = 0x800;
    pub(crate) const X2APIC_LAST: u32 = 0x8ff;
    pub(crate) const EFER: u32 = 0xc000_0080;
    pub(crate) const FS_BASE: u32 = 0xc000_0100;
    pub(crate) const GS_BASE: u32 = 0xc000_0101;
    pub(crate) const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub(crate) const TSC_AUX: u32 = 0xc000_0103;
    pub(crate) const SMCA_FIRST: u32 = 0xc000_2000;
    pub(crate) const K7_EVNTSEL0: u32 = 0xc001_0000;
    pub(crate) const HWCR: u32 = 0xc001_0015;
    pub(crate) const VM_CR: u32 = 0xc001_0114;
    pub(crate) const VM_HSAVE_PA: u32 = 0xc001_0117;
    pub(crate) const SVM_KEY: u32 = 0xc001_0118;
    pub(crate) const AMD_PERF_CTL0: u32 = 0xc001_0200;
    pub(crate) const KVM_SYSTEM_TIME_OLD: u32 = 0x12;
    pub(crate) const KVM_SYSTEM_TIME: u32 = 0x4b56_4d01;
    pub(crate) const KVM_ASYNC_PF_EN: u32 = 0x4b56_4d02;
    pub(crate) const KVM_STEAL_TIME: u32 = 0x4b56_4d03;
    pub(crate) const KVM_PV_EOI: u32 = 0x4b56_4d04;
    pub(crate) const HV_VP_ASSIST: u32 = 0x4000_0073;
    pub(crate) const HV_SIEFP: u32 = 0x4000_0082;
    pub(crate) const HV_SIMP: u32 = 0x4000_0083;
}

/// Every stored MSR, ascending. Banks, x2APIC and computed MSRs are handled apart.
pub(crate) const DEFS: &[Def] = &[
    def(0x06, 1, When::Intel, 0xffff, 0),
    def(0x11, 2, When::Hypervisor, ALL, 0),
    def(0x17, 1, When::Intel, 0, 0),
    def(num::FEATURE_CONTROL, 1, When::Intel, 0x0017_ff07, 0x0010_0005),
    def(0x3b, 1, When::Intel, ALL, 0),
    def(num::SPEC_CTRL, 1, When::Always, 0x7ff, 0),
    def(0x8b, 1, When::Always, 0, 0x0d00_0000_0000_0000),
    def(0xc1, 8, When::Intel, 0xffff_ffff_ffff, 0),
    def(num::UMWAIT_CONTROL, 1, When::Waitpkg, 0xffff_fffd, 0),
    def(0xe2, 1, When::Intel, 0x7fff_ffff, 0x0000_8400),
    def(num::MPERF, 2, When::Always, ALL, 0),
    def(0xfe, 1, When::Mtrr, 0, 0x0d0a),
    def(0x10a, 1, When::Intel, 0, 0),
    def(0x122, 1, When::Intel, 3, 0),
    def(0x174, 3, When::Always, ALL, 0),
    def(num::MCG_STATUS, 1, When::Mca, ALL, 0),
    def(0x17b, 1, When::Mca, ALL, ALL),
    def(num::PERFEVTSEL0, 8, When::Intel, 0xffff_ffff_ffff, 0),
    def(0x198, 2, When::Intel, ALL, 0),
    def(num::MISC_ENABLE, 1, When::Intel, 0x0000_0044_00c5_1c89, 0x0084_0089 & !(1 << 23)),
    def(0x1b0, 1, When::Intel, 0xf, 6),
    def(0x1cc, 4, When::Fred, ALL, 0),
    def(num::FRED_STKLVLS, 1, When::Fred, ALL, 0),
    def(0x1d1, 3, When::Fred, ALL, 0),
    def(num::FRED_CONFIG, 1, When::Fred, ALL & !0x34, 0),
    def(num::DEBUGCTL, 1, When::Always, 0xffff, 0),
    def(0x1db, 4, When::Always, 0, 0),
    def(0x200, 32, When::Mtrr, 0x0000_ffff_ffff_ffff, 0),
    def(0x250, 1, When::Mtrr, ALL, 0x0606_0606_0606_0606),
    def(0x258, 2, When::Mtrr, ALL, 0x0606_0606_0606_0606),
    def(0x268, 8, When::Mtrr, ALL, 0x0606_0606_0606_0606),
    def(num::PAT, 1, When::Always, 0x0707_0707_0707_0707, PAT_RESET),
    def(0x280, 32, When::Intel, 0x4000_7fff, 0),
    def(num::MTRR_DEF_TYPE, 1, When::Mtrr, 0xcff, 0xc06),
    def(0x309, 4, When::Intel, 0xffff_ffff_ffff, 0),
    def(0x345, 1, When::Intel, 0, 0),
    def(num::FIXED_CTR_CTRL, 1, When::Intel, 0xffff, 0),
    def(num::PERF_GLOBAL_STATUS, 1, When::Intel, 0, 0),
    def(num::PERF_GLOBAL_CTRL, 1, When::Intel, 0x0001_000f_0000_00ff, 0),
    def(num::PEBS_ENABLE, 1, When::Intel, ALL, 0),
    def(num::MCG_EXT_CTL, 1, When::Intel, 1, 0),
    def(num::RTIT_OUTPUT_BASE, 2, When::Pt, ALL, 0),
    def(num::RTIT_CTL, 1, When::Pt, 0xffff_ffff, 0),
    def(0x571, 1, When::Pt, ALL, 0),
    def(0x572, 1, When::Pt, ALL, 0),
    def(num::DS_AREA, 1, When::Ds, ALL, 0),
    def(0x6a0, 1, When::Cet, ALL & !0x3c0, 0),
    def(num::S_CET, 1, When::Cet, ALL & !0x3c0, 0),
    def(num::PL0_SSP, 4, When::CetSs, ALL & !3, 0),
    def(num::ISST, 1, When::CetSs, ALL, 0),
    def(num::TSC_DEADLINE, 1, When::Always, ALL, 0),
    def(num::PKRS, 1, When::Pks, 0xffff_ffff, 0),
    def(0x770, 1, When::Intel, 1, 0),
    def(0x774, 1, When::Intel, ALL, 0),
    def(num::XSS, 1, When::Xsave, 0x1fd00, 0),
    def(0x14ce, 1, When::Intel, ALL, 0),
    def(0x4000_0000, 2, When::Hypervisor, ALL, 0),
    def(0x4000_0002, 1, When::Hypervisor, 0, 0),
    def(0x4000_0021, 1, When::Hypervisor, ALL, 0),
    def(num::HV_VP_ASSIST, 1, When::Hypervisor, ALL, 0),
    def(0x4000_0080, 1, When::Hypervisor, ALL, 0),
    def(num::HV_SIEFP, 2, When::Hypervisor, ALL, 0),
    def(0x4000_0090, 16, When::Hypervisor, ALL, 0x1_0000),
    def(0x4000_00b0, 8, When::Hypervisor, ALL, 0),
    def(0x4b56_4d00, 8, When::Hypervisor, ALL, 0),
    def(0xc000_0081, 4, When::LongMode, ALL, 0),
    def(num::KERNEL_GS_BASE, 1, When::LongMode, ALL, 0),
    def(num::TSC_AUX, 1, When::Rdtscp, 0xffff_ffff, 0),
    def(0xc000_0300, 3, When::Amd, ALL, 0),
    def(0xc000_0408, 16, When::Amd, ALL, 0),
    def(num::K7_EVNTSEL0, 8, When::Amd, ALL, 0),
    def(0xc001_0010, 1, When::Amd, 0x07fc_0000, 0x0074_0000),
    def(num::HWCR, 1, When::Amd, 0xffff_ffff, 0x0100_0010),
    def(0xc001_0030, 6, When::Amd, ALL, 0),
    def(0xc001_0055, 1, When::Amd, ALL, 0),
    def(num::VM_CR, 1, When::Svm, 0x1f, 0),
    def(num::VM_HSAVE_PA, 1, When::Svm, ALL & !0xfff, 0),
    def(0xc001_011f, 1, When::Amd, ALL, 0),
    def(0xc001_0131, 1, When::Amd, 0, 0),
    def(0xc001_0140, 2, When::Amd, ALL, 0),
    def(num::AMD_PERF_CTL0, 12, When::PerfctrCore, ALL, 0),
    def(0xc001_1029, 1, When::Amd, ALL, 0),
    def(0xc001_1030, 12, When::Ibs, ALL, 0),
];

const fn stored() -> usize {
    let mut sum = 0;
    let mut i = 0;
    while i < DEFS.len() {
        sum += DEFS[i].count as usize;
        i += 1;
    }
    sum
}

/// How many stored values there are.
pub(crate) const STORED: usize = stored();

const fn starts() -> [u16; DEFS.len()] {
    let mut out = [0; DEFS.len()];
    let mut sum = 0u32;
    let mut i = 0;
    while i < DEFS.len() {
        out[i] = sum as u16;
        sum += DEFS[i].count;
        i += 1;
    }
    out
}

const STARTS: [u16; DEFS.len()] = starts();

/// Where an MSR is stored, and its definition.
pub(crate) fn find(num: u32) -> Option<(usize, &'static Def)> {
    let at = DEFS.partition_point(|def| def.num <= num).checked_sub(1)?;
    let def = DEFS.get(at)?;
    let offset = num - def.num;
    (offset < def.count).then(|| (usize::from(STARTS[at]) + offset as usize, def))
}

/// Where an MSR that is certainly stored lives; checked by the tests below.
const fn slot(num: u32) -> usize {
    let mut i = 0;
    while i < DEFS.len() {
        if num >= DEFS[i].num && num - DEFS[i].num < DEFS[i].count {
            return STARTS[i] as usize + (num - DEFS[i].num) as usize;
        }
        i += 1;
    }
    0
}

/// Registers of one machine-check bank: CTL, STATUS, ADDR, MISC.
pub(crate) type Bank = [u64; 4];

/// The stored MSRs of one CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MsrFile {
    pub(crate) values: [u64; STORED],
    pub(crate) banks: [Bank; MAX_MC_BANKS],
}

macro_rules! quick {
    ($($name:ident = $num:expr;)*) => {
        impl MsrFile {
            $(#[inline] pub(crate) const fn $name(&self) -> u64 {
                const SLOT: usize = slot($num);
                self.values[SLOT]
            })*
        }
    };
}

quick! {
    mcg_status = num::MCG_STATUS;
    mcg_ext_ctl = num::MCG_EXT_CTL;
    feature_control = num::FEATURE_CONTROL;
    misc_enable = num::MISC_ENABLE;
    pat = num::PAT;
    mtrr_def_type = num::MTRR_DEF_TYPE;
    s_cet = num::S_CET;
    isst = num::ISST;
    pkrs = num::PKRS;
    fred_config = num::FRED_CONFIG;
    fred_stklvls = num::FRED_STKLVLS;
    umwait_control = num::UMWAIT_CONTROL;
    hwcr = num::HWCR;
    vm_cr = num::VM_CR;
    perf_global_ctrl = num::PERF_GLOBAL_CTRL;
    pebs_enable = num::PEBS_ENABLE;
    ds_area = num::DS_AREA;
    debugctl = num::DEBUGCTL;
    rtit_ctl = num::RTIT_CTL;
    rtit_output_base = num::RTIT_OUTPUT_BASE;
    tsc_deadline = num::TSC_DEADLINE;
    kernel_gs_base = num::KERNEL_GS_BASE;
    tsc_aux = num::TSC_AUX;
}

impl MsrFile {
    /// The values after RESET.
    pub(crate) const RESET: Self = Self::after_reset();

    const fn after_reset() -> Self {
        let mut values = [0; STORED];
        let mut i = 0;
        while i < DEFS.len() {
            let mut n = 0;
            while n < DEFS[i].count {
                values[STARTS[i] as usize + n as usize] = DEFS[i].reset;
                n += 1;
            }
            i += 1;
        }
        Self { values, banks: [[u64::MAX, 0, 0, 0]; MAX_MC_BANKS] }
    }

    pub(crate) fn reset() -> Self {
        Self::RESET
    }

    pub(crate) fn stored(&self, num: u32) -> u64 {
        find(num).and_then(|(at, _)| self.values.get(at)).copied().unwrap_or(0)
    }

    pub(crate) fn store(&mut self, num: u32, value: u64) {
        if let Some(slot) = find(num).and_then(|(at, _)| self.values.get_mut(at)) {
            *slot = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_ascends_without_overlap() {
        for pair in DEFS.windows(2) {
            assert!(pair[0].num + pair[0].count <= pair[1].num, "{:#x}", pair[1].num);
        }
    }

    #[test]
    fn quick_accessors_hit_their_msr() {
        let mut file = MsrFile::reset();
        for (n, num) in
            [num::MCG_STATUS, num::S_CET, num::VM_CR, num::TSC_AUX, num::PKRS, num::HWCR].into_iter().enumerate()
        {
            assert!(find(num).is_some());
            file.store(num, n as u64 + 100);
        }
        assert_eq!(
            [file.mcg_status(), file.s_cet(), file.vm_cr(), file.tsc_aux(), file.pkrs(), file.hwcr()],
            [100, 101, 102, 103, 104, 105]
        );
    }
}
