//! The local APIC of one CPU: registers, modes, priorities (S:10). What writing them does to others is in `ipi.rs`.

/// Bits of IA32_APIC_BASE (S:10.4.4, S:10.12.1).
pub(crate) mod base {
    pub(crate) const BSP: u64 = 1 << 8;
    pub(crate) const EXTD: u64 = 1 << 10;
    pub(crate) const EN: u64 = 1 << 11;
    pub(crate) const ADDR: u64 = 0x0000_3fff_ffff_f000;
    /// Where the registers lie after reset.
    pub(crate) const DEFAULT: u64 = 0xfee0_0000;
}

/// Register numbers: MMIO offset >> 4 = MSR − 800h (S:Table 10-1, 10-6).
pub(crate) mod reg {
    pub(crate) const ID: u32 = 0x02;
    pub(crate) const VERSION: u32 = 0x03;
    pub(crate) const TPR: u32 = 0x08;
    pub(crate) const APR: u32 = 0x09;
    pub(crate) const PPR: u32 = 0x0a;
    pub(crate) const EOI: u32 = 0x0b;
    pub(crate) const LDR: u32 = 0x0d;
    pub(crate) const DFR: u32 = 0x0e;
    pub(crate) const SVR: u32 = 0x0f;
    pub(crate) const ISR: u32 = 0x10;
    pub(crate) const TMR: u32 = 0x18;
    pub(crate) const IRR: u32 = 0x20;
    pub(crate) const ESR: u32 = 0x28;
    pub(crate) const LVT_CMCI: u32 = 0x2f;
    pub(crate) const ICR: u32 = 0x30;
    pub(crate) const ICR_HIGH: u32 = 0x31;
    pub(crate) const LVT_TIMER: u32 = 0x32;
    pub(crate) const LVT_ERROR: u32 = 0x37;
    pub(crate) const TIMER_INITIAL: u32 = 0x38;
    pub(crate) const TIMER_CURRENT: u32 = 0x39;
    pub(crate) const TIMER_DIVIDE: u32 = 0x3e;
    pub(crate) const SELF_IPI: u32 = 0x3f;
}

/// LVT mask bit (S:Figure 10-8).
pub(crate) const LVT_MASKED: u32 = 1 << 16;
/// Spurious-vector register: software enable (S:10.9).
pub(crate) const SVR_ENABLED: u32 = 1 << 8;
/// LVT timer mode bits (S:Figure 10-8).
pub(crate) const TIMER_MODE: u32 = 3 << 17;
pub(crate) const TIMER_DEADLINE: u32 = 2 << 17;
/// ESR: illegal vector sent, received (S:10.5.3).
pub(crate) const ESR_SENT_ILLEGAL: u32 = 1 << 5;
pub(crate) const ESR_RECEIVED_ILLEGAL: u32 = 1 << 6;
/// Version register: 7 LVT entries, version 15h (S:10.4.8).
const VERSION: u32 = 0x0006_0015;

/// The entries of the local vector table, as indices of [`Apic::lvt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Lvt {
    /// Timer.
    Timer,
    /// Thermal sensor.
    Thermal,
    /// Performance counters.
    Perf,
    /// LINT0.
    Lint0,
    /// LINT1.
    Lint1,
    /// Error.
    Error,
    /// Corrected machine check.
    Cmci,
}

/// What INIT does to requested vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    Dropped,
    Kept,
}

/// The mode that IA32_APIC_BASE selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApicMode {
    /// Globally disabled.
    Disabled,
    /// Memory-mapped.
    Xapic,
    /// By MSR.
    X2apic,
}

/// A local APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Apic {
    /// IA32_APIC_BASE.
    pub base: u64,
    /// The id.
    pub id: u32,
    /// Task priority.
    pub tpr: u32,
    /// Spurious-vector register.
    pub svr: u32,
    /// Logical destination (xAPIC).
    pub ldr: u32,
    /// Destination format (xAPIC).
    pub dfr: u32,
    /// Error status.
    pub esr: u32,
    /// Interrupt command register.
    pub icr: u64,
    /// Local vector table, indexed by [`Lvt`].
    pub lvt: [u32; 7],
    /// Requested vectors.
    pub irr: [u64; 4],
    /// Vectors in service.
    pub isr: [u64; 4],
    /// Timer initial count; non-zero = counting.
    pub timer_initial: u32,
    /// Timer divide configuration.
    pub timer_divide: u32,
    /// Polls for which the delivery status still reads busy.
    pub(crate) busy_polls: u8,
    esr_pending: u32,
}

pub(crate) fn highest(map: &[u64; 4]) -> Option<u8> {
    (0..4u32).rev().find_map(|word| {
        let bits = map[word as usize];
        (bits != 0).then(|| (word * 64 + 63 - bits.leading_zeros()) as u8)
    })
}

impl Apic {
    /// The state after RESET; `flags` are those of IA32_APIC_BASE.
    pub(crate) fn reset(id: u32, flags: u64) -> Self {
        let mut apic = Self {
            base: base::DEFAULT | flags,
            id,
            tpr: 0,
            svr: 0,
            ldr: 0,
            dfr: 0,
            esr: 0,
            icr: 0,
            lvt: [0; 7],
            irr: [0; 4],
            isr: [0; 4],
            timer_initial: 0,
            timer_divide: 0,
            busy_polls: 0,
            esr_pending: 0,
        };
        apic.init(Requests::Dropped);
        apic
    }

    /// What INIT and reset do to the registers (S:10.4.7.3, A:16.10); mode, base and id stay.
    pub(crate) fn init(&mut self, requests: Requests) {
        self.tpr = 0;
        self.svr = 0xff;
        self.ldr = 0;
        self.dfr = u32::MAX;
        self.esr = 0;
        self.esr_pending = 0;
        self.icr = 0;
        self.lvt = [LVT_MASKED; 7];
        if requests == Requests::Dropped {
            self.irr = [0; 4];
        }
        self.isr = [0; 4];
        self.timer_initial = 0;
        self.timer_divide = 0;
        self.busy_polls = 0;
    }

    /// The mode.
    #[must_use]
    #[inline]
    pub const fn mode(&self) -> ApicMode {
        match (self.base & base::EN != 0, self.base & base::EXTD != 0) {
            (true, true) => ApicMode::X2apic,
            (true, false) => ApicMode::Xapic,
            _ => ApicMode::Disabled,
        }
    }

    /// Whether the spurious-vector register enables the APIC.
    #[must_use]
    pub const fn software_enabled(&self) -> bool {
        self.svr & SVR_ENABLED != 0
    }

    /// One LVT entry.
    #[must_use]
    pub const fn lvt(&self, entry: Lvt) -> u32 {
        self.lvt[entry as usize]
    }

    /// Whether LVT timer selects TSC-deadline mode (S:10.5.4.1).
    pub(crate) const fn deadline_mode(&self) -> bool {
        self.lvt(Lvt::Timer) & TIMER_MODE == TIMER_DEADLINE
    }

    /// Logical id in x2APIC mode (S:10.12.10.2).
    pub(crate) const fn x2apic_ldr(&self) -> u32 {
        ((self.id >> 4) << 16) | (1 << (self.id & 0xf))
    }

    pub(crate) fn request(&mut self, vector: u8) {
        self.irr[usize::from(vector >> 6)] |= 1 << (vector & 63);
    }

    /// Processor priority (S:10.8.3.1).
    pub(crate) fn ppr(&self) -> u32 {
        let in_service = highest(&self.isr).map_or(0, u32::from);
        if self.tpr >> 4 >= in_service >> 4 { self.tpr } else { in_service & 0xf0 }
    }

    /// The vector that would be delivered with IF=1: above the processor priority.
    #[inline]
    pub(crate) fn deliverable(&self) -> Option<u8> {
        if self.irr == [0; 4] { None } else { self.requested_above(self.ppr()) }
    }

    /// The highest requested vector of a class above that of `priority`.
    pub(crate) fn requested_above(&self, priority: u32) -> Option<u8> {
        highest(&self.irr).filter(|vector| u32::from(vector >> 4) > priority >> 4)
    }

    /// The CPU takes `vector`: requested → in service.
    pub(crate) fn acknowledge(&mut self, vector: u8) {
        let (word, bit) = (usize::from(vector >> 6), 1u64 << (vector & 63));
        self.irr[word] &= !bit;
        self.isr[word] |= bit;
    }

    pub(crate) fn end_of_interrupt(&mut self) {
        if let Some(vector) = highest(&self.isr) {
            self.isr[usize::from(vector >> 6)] &= !(1 << (vector & 63));
        }
    }

    /// Notes an error for the next write to ESR.
    pub(crate) fn note_error(&mut self, error: u32) {
        self.esr_pending |= error;
    }

    fn lvt_index(register: u32) -> Option<usize> {
        match register {
            reg::LVT_CMCI => Some(Lvt::Cmci as usize),
            reg::LVT_TIMER..=reg::LVT_ERROR => Some((register - reg::LVT_TIMER) as usize),
            _ => None,
        }
    }

    /// Reads a register in the xAPIC layout; `None` for what does not exist. The ICR is read whole by the caller.
    pub(crate) fn read(&self, register: u32) -> Option<u32> {
        let word = |map: &[u64; 4], index: u32| (map[(index / 2) as usize] >> (32 * (index % 2))) as u32;
        Some(match register {
            reg::ID => match self.mode() {
                ApicMode::X2apic => self.id,
                _ => self.id << 24,
            },
            reg::VERSION => VERSION,
            reg::TPR => self.tpr,
            reg::APR => 0,
            reg::PPR => self.ppr(),
            reg::LDR => match self.mode() {
                ApicMode::X2apic => self.x2apic_ldr(),
                _ => self.ldr,
            },
            reg::DFR => self.dfr,
            reg::SVR => self.svr,
            reg::ISR..reg::TMR => word(&self.isr, register - reg::ISR),
            reg::TMR..reg::IRR => 0,
            reg::IRR..reg::ESR => word(&self.irr, register - reg::IRR),
            reg::ESR => self.esr,
            reg::ICR => self.icr as u32,
            reg::ICR_HIGH => (self.icr >> 32) as u32,
            reg::TIMER_INITIAL => self.timer_initial,
            // The model has no running timer: expiry is an event. The count reads as its start.
            reg::TIMER_CURRENT => self.timer_initial,
            reg::TIMER_DIVIDE => self.timer_divide,
            _ => return Self::lvt_index(register).map(|index| self.lvt[index]),
        })
    }

    /// Writes a register other than ICR and self-IPI; `false` for what cannot be written.
    pub(crate) fn write(&mut self, register: u32, value: u32) -> bool {
        match register {
            reg::TPR => self.tpr = value & 0xff,
            reg::EOI => self.end_of_interrupt(),
            reg::LDR => self.ldr = value & 0xff00_0000,
            reg::DFR => self.dfr = value | 0x0fff_ffff,
            reg::SVR => {
                self.svr = value & 0x1ff;
                if !self.software_enabled() {
                    // S:10.4.7.2: the mask bits of all LVT entries are set.
                    for lvt in &mut self.lvt {
                        *lvt |= LVT_MASKED;
                    }
                }
            }
            reg::ESR => {
                self.esr = self.esr_pending;
                self.esr_pending = 0;
            }
            reg::TIMER_INITIAL => self.timer_initial = value,
            reg::TIMER_DIVIDE => self.timer_divide = value & 0xb,
            reg::ID => {}
            _ => {
                let Some(index) = Self::lvt_index(register) else { return false };
                let forced = if self.software_enabled() { 0 } else { LVT_MASKED };
                self.lvt[index] = (value & 0x0007_a7ff) | forced;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_service_holds_its_class_and_below() {
        let mut apic = Apic::reset(0, base::EN);
        apic.request(0x41);
        apic.acknowledge(0x41);
        apic.request(0x4f);
        assert_eq!(apic.deliverable(), None);
        assert_eq!(apic.requested_above(apic.tpr), Some(0x4f));
        apic.request(0x50);
        assert_eq!(apic.deliverable(), Some(0x50));
        apic.tpr = 0x50;
        assert_eq!(apic.deliverable(), None);
        apic.end_of_interrupt();
        apic.tpr = 0;
        assert_eq!(apic.deliverable(), Some(0x50));
    }

    #[test]
    fn software_disable_masks_and_keeps_masked() {
        let mut apic = Apic::reset(0, base::EN);
        assert!(!apic.software_enabled());
        apic.write(reg::SVR, 0x1ff);
        apic.write(reg::LVT_ERROR, 0xfe);
        assert_eq!(apic.lvt(Lvt::Error), 0xfe);
        apic.write(reg::SVR, 0xff);
        assert_eq!(apic.lvt(Lvt::Error), 0xfe | LVT_MASKED);
        apic.write(reg::LVT_ERROR, 0xfe);
        assert_eq!(apic.lvt(Lvt::Error), 0xfe | LVT_MASKED);
    }
}
