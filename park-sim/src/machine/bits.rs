//! Register bits that the rules look at. The simulator keeps its own copy on purpose: it is not checked against the code it tests.

/// CR0 (S:2.5).
pub(crate) mod cr0 {
    pub(crate) const PE: u64 = 1 << 0;
    pub(crate) const MP: u64 = 1 << 1;
    pub(crate) const EM: u64 = 1 << 2;
    pub(crate) const TS: u64 = 1 << 3;
    pub(crate) const ET: u64 = 1 << 4;
    pub(crate) const NE: u64 = 1 << 5;
    pub(crate) const WP: u64 = 1 << 16;
    pub(crate) const AM: u64 = 1 << 18;
    pub(crate) const NW: u64 = 1 << 29;
    pub(crate) const CD: u64 = 1 << 30;
    pub(crate) const PG: u64 = 1 << 31;
    pub(crate) const KNOWN: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// CR4 (S:2.5 and later additions).
pub(crate) mod cr4 {
    pub(crate) const TSD: u64 = 1 << 2;
    pub(crate) const PSE: u64 = 1 << 4;
    pub(crate) const PAE: u64 = 1 << 5;
    pub(crate) const MCE: u64 = 1 << 6;
    pub(crate) const PGE: u64 = 1 << 7;
    pub(crate) const UMIP: u64 = 1 << 11;
    pub(crate) const LA57: u64 = 1 << 12;
    pub(crate) const VMXE: u64 = 1 << 13;
    pub(crate) const SMXE: u64 = 1 << 14;
    pub(crate) const FSGSBASE: u64 = 1 << 16;
    pub(crate) const PCIDE: u64 = 1 << 17;
    pub(crate) const OSXSAVE: u64 = 1 << 18;
    pub(crate) const SMEP: u64 = 1 << 20;
    pub(crate) const SMAP: u64 = 1 << 21;
    pub(crate) const PKE: u64 = 1 << 22;
    pub(crate) const CET: u64 = 1 << 23;
    pub(crate) const PKS: u64 = 1 << 24;
    pub(crate) const UINTR: u64 = 1 << 25;
    pub(crate) const LASS: u64 = 1 << 27;
    pub(crate) const FRED: u64 = 1 << 32;
    /// VME, PVI, DE, PCE, OSFXSR, OSXMMEXCPT: without effect here.
    pub(crate) const INERT: u64 = (1 << 0) | (1 << 1) | (1 << 3) | (1 << 8) | (1 << 9) | (1 << 10);
}

/// IA32_EFER (S:2.2.1, A:3.1.7).
pub(crate) mod efer {
    pub(crate) const SCE: u64 = 1 << 0;
    pub(crate) const LME: u64 = 1 << 8;
    pub(crate) const LMA: u64 = 1 << 10;
    pub(crate) const NXE: u64 = 1 << 11;
    pub(crate) const SVME: u64 = 1 << 12;
    /// LMSLE, FFXSR, TCE, AIBRSE (AMD): without effect here.
    pub(crate) const AMD_INERT: u64 = (1 << 13) | (1 << 14) | (1 << 15) | (1 << 21);
}

/// RFLAGS (S:3.4.3 vol 1).
pub(crate) mod flags {
    pub(crate) const CF: u64 = 1 << 0;
    pub(crate) const FIXED: u64 = 1 << 1;
    pub(crate) const PF: u64 = 1 << 2;
    pub(crate) const AF: u64 = 1 << 4;
    pub(crate) const ZF: u64 = 1 << 6;
    pub(crate) const SF: u64 = 1 << 7;
    pub(crate) const TF: u64 = 1 << 8;
    pub(crate) const IF: u64 = 1 << 9;
    pub(crate) const DF: u64 = 1 << 10;
    pub(crate) const OF: u64 = 1 << 11;
    pub(crate) const IOPL: u64 = 3 << 12;
    pub(crate) const NT: u64 = 1 << 14;
    pub(crate) const RF: u64 = 1 << 16;
    pub(crate) const VM: u64 = 1 << 17;
    pub(crate) const AC: u64 = 1 << 18;
    pub(crate) const VIF: u64 = 1 << 19;
    pub(crate) const VIP: u64 = 1 << 20;
    pub(crate) const ID: u64 = 1 << 21;
    pub(crate) const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
    /// What POPF at CPL 0 can change (S:POPF); VIP and VIF are cleared.
    pub(crate) const POPF: u64 = STATUS | TF | IF | DF | IOPL | NT | AC | ID;
}

/// Exception vectors (S:Table 6-1, A:8.2).
pub(crate) mod vector {
    pub(crate) const DE: u8 = 0;
    pub(crate) const DB: u8 = 1;
    pub(crate) const NMI: u8 = 2;
    pub(crate) const BP: u8 = 3;
    pub(crate) const UD: u8 = 6;
    pub(crate) const DF: u8 = 8;
    pub(crate) const TS: u8 = 10;
    pub(crate) const NP: u8 = 11;
    pub(crate) const SS: u8 = 12;
    pub(crate) const GP: u8 = 13;
    pub(crate) const PF: u8 = 14;
    pub(crate) const MC: u8 = 18;
    pub(crate) const CP: u8 = 21;
    pub(crate) const SX: u8 = 30;
}
