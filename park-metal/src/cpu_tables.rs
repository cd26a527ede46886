//! GDT, IDT and TSS as bytes: what one CPU of the image loads.
//!
//! Layouts: Intel SDM vol. 3, figure 3-8 (segment descriptors), 7-4 (64-bit TSS descriptor), 6-8 (64-bit IDT gate)
//! and 7-11 (64-bit TSS).

/// Selector of the data segment.
pub const DATA_SELECTOR: u16 = 0x08;
/// Selector of the 64-bit code segment. Not the lot's 08h, so that mixing them up shows; Linux has 10h too.
pub const CODE_SELECTOR: u16 = 0x10;
/// Selector of the TSS.
pub const TSS_SELECTOR: u16 = 0x18;

/// 64-bit code: present, DPL 0, execute/read, accessed, L = 1.
pub const CODE64: u64 = 0x00af_9b00_0000_ffff;
/// Selector of [`CODE32`], in the GDT of a CPU that changes its paging alone.
pub const CODE32_SELECTOR: u16 = 0x18;
/// 32-bit code, flat: present, DPL 0, execute/read, accessed, D = 1.
pub const CODE32: u64 = 0x00cf_9b00_0000_ffff;
/// Data, flat: present, DPL 0, read/write, accessed.
pub const DATA: u64 = 0x00cf_9300_0000_ffff;

/// Type "64-bit TSS (available)" with the present bit, in bits 40 to 47 of a descriptor (SDM table 3-2).
const TSS_AVAILABLE: u64 = 0x89 << 40;
/// Bytes of a 64-bit TSS without I/O permission bitmap.
pub const TSS_BYTES: usize = 104;
/// Byte offset of IST1 in a TSS.
const TSS_IST1: usize = 36;
/// Byte offset of the I/O map base in a TSS; a base at the limit's end means "no bitmap".
const TSS_IO_MAP_BASE: usize = 102;
/// Entries of an IDT.
pub const IDT_ENTRIES: usize = 256;
/// Bytes of an IDT.
pub const IDT_BYTES: usize = IDT_ENTRIES * 16;
/// Bytes of a GDT.
pub const GDT_BYTES: usize = 5 * 8;
/// Present, DPL 0, interrupt gate (IF is cleared): SDM table 3-2, type 14.
const INTERRUPT_GATE: u128 = 0x8e;

/// Which of the TSS's stacks a vector switches to.
///
/// *Every* vector has one: the precompiled core uses the red zone below RSP, which a handler on the interrupted
/// stack would overwrite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Ist {
    /// NMI.
    Nmi = 1,
    /// Machine check.
    MachineCheck = 2,
    /// Double fault.
    DoubleFault = 3,
    /// All others. They run with IF = 0, and an exception inside is fatal anyway.
    Other = 4,
}

impl Ist {
    /// All stacks, in the order of the TSS.
    pub const ALL: [Self; 4] = [Self::Nmi, Self::MachineCheck, Self::DoubleFault, Self::Other];

    /// The stack of a vector.
    #[must_use]
    pub const fn of_vector(vector: u8) -> Self {
        match vector {
            2 => Self::Nmi,
            18 => Self::MachineCheck,
            8 => Self::DoubleFault,
            _ => Self::Other,
        }
    }
}

/// The GDT of a CPU whose TSS lies at `tss`: null, data, code, TSS (two entries).
#[must_use]
pub const fn gdt(tss: u64) -> [u64; 5] {
    let limit = TSS_BYTES as u64 - 1;
    let base_low = (tss & 0xff_ffff) << 16 | (tss & 0xff00_0000) << 32;
    [0, DATA, CODE64, limit | base_low | TSS_AVAILABLE, tss >> 32]
}

/// A TSS with the given stacks, in the order of [`Ist::ALL`]; each is the address behind the stack's last byte.
#[must_use]
pub fn tss(stack_tops: [u64; 4]) -> [u8; TSS_BYTES] {
    let mut bytes = [0; TSS_BYTES];
    for (field, top) in bytes[TSS_IST1..].chunks_exact_mut(8).zip(stack_tops) {
        field.copy_from_slice(&top.to_le_bytes());
    }
    let no_bitmap = TSS_BYTES as u16;
    bytes[TSS_IO_MAP_BASE..].copy_from_slice(&no_bitmap.to_le_bytes());
    bytes
}

/// An IDT gate: `handler` runs in [`CODE_SELECTOR`] with IF = 0 on stack `ist`.
#[must_use]
pub const fn gate(handler: u64, ist: Ist) -> u128 {
    let handler = handler as u128;
    (handler & 0xffff)
        | (CODE_SELECTOR as u128) << 16
        | (ist as u128) << 32
        | INTERRUPT_GATE << 40
        | (handler >> 16) << 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tss_descriptor_scatters_base_and_limit() {
        let [null, data, code, low, high] = gdt(0x1234_5678_9abc_def0);
        assert_eq!((null, code, data), (0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff));
        // Base 31:24 = 9a, flags 0, type 89, base 23:0 = bcdef0, limit 0067.
        assert_eq!(low, 0x9a00_89bc_def0_0067);
        assert_eq!(high, 0x1234_5678);
    }

    #[test]
    fn gate_scatters_the_handler() {
        // SDM figure 6-8: offset 15:0, selector, IST, type, offset 31:16, offset 63:32.
        assert_eq!(gate(0x1122_3344_5566_7788, Ist::MachineCheck), 0x1122_3344_5566_8e02_0010_7788);
    }

    #[test]
    fn stacks_stand_in_the_tss_in_order() {
        let bytes = tss([0x1000, 0x2000, 0x3000, 0x4000]);
        for (ist, top) in Ist::ALL.into_iter().zip([0x1000_u64, 0x2000, 0x3000, 0x4000]) {
            // SDM figure 7-11: IST1 at byte 36, eight bytes each.
            let at = 36 + 8 * (ist as usize - 1);
            assert_eq!(bytes[at..at + 8], top.to_le_bytes());
        }
        assert_eq!(bytes[102..], [104, 0]);
        assert!(bytes[..36].iter().chain(&bytes[68..102]).all(|&byte| byte == 0));
    }

    #[test]
    fn every_vector_has_a_stack_of_its_kind() {
        let others = (0..=255).filter(|&vector| Ist::of_vector(vector) == Ist::Other).count();
        assert_eq!(others, 253);
        assert_eq!([2, 18, 8].map(Ist::of_vector), [Ist::Nmi, Ist::MachineCheck, Ist::DoubleFault]);
    }
}
