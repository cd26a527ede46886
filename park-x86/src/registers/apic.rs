//! The local APIC: register offsets and fields (SDM vol. 3, "Advanced Programmable Interrupt Controller").

use park_core::ApicRegister;

/// Local APIC id: bits 31:24 in xAPIC mode, all 32 in x2APIC mode ("Local APIC ID").
pub const ID: ApicRegister = ApicRegister(0x20);
/// Version ("Local APIC Version Register").
pub const VERSION: ApicRegister = ApicRegister(0x30);
/// Version: first bit of the number of the last LVT entry.
pub const VERSION_MAX_LVT_SHIFT: u32 = 16;
/// Version: width mask of the number of the last LVT entry, after the shift.
pub const VERSION_MAX_LVT_MASK: u64 = 0xff;
/// End of interrupt; only 0 may be written in x2APIC mode ("Signaling Interrupt Servicing Completion").
pub const EOI: ApicRegister = ApicRegister(0xb0);
/// Spurious-interrupt vector register ("Spurious Interrupt").
pub const SVR: ApicRegister = ApicRegister(0xf0);
/// SVR: the local APIC is enabled by software.
pub const SVR_ENABLE: u64 = 1 << 8;
/// First of eight registers of vectors in service, 16 bytes apart ("Interrupt Acceptance for Fixed Interrupts").
pub const ISR: ApicRegister = ApicRegister(0x100);
/// First of eight registers of vectors requested, 16 bytes apart (the same section).
pub const IRR: ApicRegister = ApicRegister(0x200);
/// Bytes from one register to the next.
pub const STRIDE: u16 = 0x10;
/// Registers in each of ISR, TMR and IRR: 32 vectors each.
pub const VECTOR_REGISTERS: u16 = 8;
/// Error status ("Error Handling").
pub const ESR: ApicRegister = ApicRegister(0x280);
/// LVT of corrected machine checks ("Local Vector Table").
pub const LVT_CMCI: ApicRegister = ApicRegister(0x2f0);
/// Interrupt command, low half, and in x2APIC mode all 64 bits ("Interrupt Command Register (ICR)").
pub const ICR_LOW: ApicRegister = ApicRegister(0x300);
/// Interrupt command, high half; there is none in x2APIC mode.
pub const ICR_HIGH: ApicRegister = ApicRegister(0x310);
/// LVT of the timer ("Local Vector Table").
pub const LVT_TIMER: ApicRegister = ApicRegister(0x320);
/// LVT of the thermal sensor.
pub const LVT_THERMAL: ApicRegister = ApicRegister(0x330);
/// LVT of the performance counters: usually an NMI.
pub const LVT_PERF: ApicRegister = ApicRegister(0x340);
/// LVT of pin LINT0.
pub const LVT_LINT0: ApicRegister = ApicRegister(0x350);
/// LVT of pin LINT1: usually the platform's NMI.
pub const LVT_LINT1: ApicRegister = ApicRegister(0x360);
/// LVT of local APIC errors.
pub const LVT_ERROR: ApicRegister = ApicRegister(0x370);
/// Timer: initial count; 0 stops it ("APIC Timer").
pub const TIMER_INITIAL: ApicRegister = ApicRegister(0x380);
/// Timer: divide configuration (same place).
pub const TIMER_DIVIDE: ApicRegister = ApicRegister(0x3e0);
/// Timer: it counts the bus clock itself.
pub const TIMER_DIVIDE_BY_1: u64 = 0b1011;
/// AMD: extended feature register (APM vol. 2, "Extended APIC Feature Register").
pub const AMD_EXT_FEATURE: ApicRegister = ApicRegister(0x400);
/// AMD: first bit of the count of extended LVT entries.
pub const AMD_EXT_LVT_COUNT_SHIFT: u32 = 16;
/// AMD: first of up to four extended LVT entries (APM vol. 2, "Extended Interrupt Local Vector Tables").
pub const AMD_EXT_LVT0: ApicRegister = ApicRegister(0x500);

/// LVT: the source is masked.
pub const LVT_MASKED: u64 = 1 << 16;

/// LVT number of the performance counters: entries up to "last LVT entry" exist.
pub const LVT_NUMBER_PERF: u64 = 4;
/// LVT number of the thermal sensor.
pub const LVT_NUMBER_THERMAL: u64 = 5;
/// LVT number of corrected machine checks.
pub const LVT_NUMBER_CMCI: u64 = 6;

/// ICR: delivery mode SMI; the vector must be 0.
pub const ICR_SMI: u64 = 0b010 << 8;
/// ICR: delivery mode NMI.
pub const ICR_NMI: u64 = 0b100 << 8;
/// ICR: delivery mode INIT.
pub const ICR_INIT: u64 = 0b101 << 8;
/// ICR: delivery mode STARTUP; the vector is bits 7:0.
pub const ICR_STARTUP: u64 = 0b110 << 8;
/// ICR: the local APIC still sends; not there in x2APIC mode.
pub const ICR_PENDING: u64 = 1 << 12;
/// ICR: level assert. Set in everything but an INIT level de-assert, which park never sends.
pub const ICR_ASSERT: u64 = 1 << 14;
/// ICR: first bit of an xAPIC destination in the *high half*.
pub const ICR_XAPIC_DESTINATION_SHIFT: u32 = 24;
/// ICR: first bit of an x2APIC destination in the 64-bit register.
pub const ICR_X2APIC_DESTINATION_SHIFT: u32 = 32;

/// The x2APIC MSR of a register ("x2APIC Register Address Space").
#[must_use]
pub const fn x2apic_msr(register: ApicRegister) -> u32 {
    super::msr::X2APIC_FIRST + (register.0 >> 4) as u32
}

/// The `index`th register of a row such as [`ISR`].
#[must_use]
pub const fn nth(first: ApicRegister, index: u16) -> ApicRegister {
    ApicRegister(first.0 + index * STRIDE)
}
