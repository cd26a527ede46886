//! The header: the first page of a lot. All of the page but the lease word is fixed when the lot is built.

use super::{LeaseWord, bay};
use crate::PhysAddr;

/// `PARKLOT` and a zero byte, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PARKLOT\0");
/// Bytes of the header that version 1 defines.
pub const HEADER_LEN: u32 = 0x100;

/// Offset of the magic number.
pub const MAGIC_OFFSET: u64 = 0x00;
/// Offset of the word with header length (31:0) and header CRC (63:32).
pub const LEN_CRC: u64 = 0x08;
/// Offset of the word with compat (31:0) and ro_compat (63:32) features.
pub const FEATURES: u64 = 0x10;
/// Offset of the word with incompat features (31:0) and the number of bays (63:32).
pub const INCOMPAT_BAYS: u64 = 0x18;
/// Offset of the lot's length in bytes.
pub const TOTAL_LEN: u64 = 0x20;
/// Offset of the lot's own physical address.
pub const SELF_PHYS: u64 = 0x28;
/// Offset of the offset of the first bay.
pub const BAY_OFFSET: u64 = 0x30;
/// Offset of the distance between bays, a power of two of at least 512.
pub const BAY_STRIDE: u64 = 0x38;
/// Offset of the mask that makes a bay's address out of one inside: `!(stride - 1)`; read by bay code.
pub const BAY_MASK: u64 = 0x40;
/// Offset of the memory-encryption mask that the lot's page tables carry (SME C-bit), 0 if none.
pub const ENCRYPTION_MASK: u64 = 0x48;
/// Offset of the lot id: 16 bytes that differ from lot to lot.
pub const LOT_ID: u64 = 0x50;
/// Offset of the word with offset (31:0) and length (63:32) of the bay code.
pub const CODE: u64 = 0x60;
/// Offset of the word with the CRC of the bay code (31:0) and of the tables (63:32).
pub const CRCS: u64 = 0x68;
/// Offset of the word with offset (31:0) and length (63:32) of the tables.
pub const TABLES: u64 = 0x70;
/// Offset of CR3 for four-level paging; read by bay code.
pub const ROOT4: u64 = 0x78;
/// Offset of CR3 for five-level paging; read by bay code.
pub const ROOT5: u64 = 0x80;
/// Offset of CR3 of the departure map for four-level paging; read by bay code.
pub const DEPARTURE_ROOT4: u64 = 0x88;
/// Offset of CR3 of the departure map for five-level paging; read by bay code.
pub const DEPARTURE_ROOT5: u64 = 0x90;
/// Offset of the physical address of the ACPI mailbox, 0 if none; read by bay code.
pub const MAILBOX: u64 = 0x98;
/// Offset of the word with the offsets, in the lot, of `bay_enter` (31:0) and `bay_repark` (63:32).
pub const ENTRY_POINTS: u64 = 0xa0;
/// Offset of the IDT pseudo-descriptor (10 bytes) that parked CPUs use: IST handlers.
pub const IDTR_PARKED: u64 = 0xc0;
/// Offset of the IDT pseudo-descriptor that arriving CPUs use.
pub const IDTR_ARRIVING: u64 = 0xd0;
/// Offset of the IDT pseudo-descriptor that leaving CPUs use.
pub const IDTR_LEAVING: u64 = 0xe0;
/// Offset of the lower bound (inclusive) of bay addresses; read by bay code.
pub const BAYS_START: u64 = 0xa8;
/// Offset of the upper bound (exclusive) of bay addresses; read by bay code.
pub const BAYS_END: u64 = 0xb0;
/// Offset of the word with the offset, in the lot, of the ACPI mailbox's reset vector (31:0), 0 if it has none.
pub const RESET: u64 = 0xb8;
/// Offset of the lease word, alone on its line and outside the CRC.
pub const LEASE: u64 = 0x140;
/// Distance from the header to the bay code: bay code reads the header relative to its own RIP.
pub const CODE_OFFSET: u64 = 0x1000;

const _: () = assert!(IDTR_LEAVING + 16 <= HEADER_LEN as u64 && LEASE % 64 == 0 && bay::LEN % 512 == 0);

bitflags::bitflags! {
    /// Features that an old reader may ignore.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Compat: u32 {
    }
}

bitflags::bitflags! {
    /// Features that an old reader may ignore if it parks no CPU: the exit protocol is not touched.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct RoCompat: u32 {
        /// The bays watch the ACPI mailbox.
        const MAILBOX = 1 << 0;
    }
}

bitflags::bitflags! {
    /// Features that an old reader must refuse.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Incompat: u32 {
    }
}

/// The fixed part of a header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// Features that may be ignored.
    pub compat: u32,
    /// Features that forbid parking to a reader that does not know them.
    pub ro_compat: u32,
    /// Bytes of the lot.
    pub total_len: u64,
    /// Where the lot is.
    pub self_phys: PhysAddr,
    /// Offset of the first bay.
    pub bay_offset: u64,
    /// Distance between bays, in bytes.
    pub bay_stride: u64,
    /// Number of bays.
    pub bay_count: u32,
    /// Mask of the encryption bit in page-table entries, 0 if none.
    pub encryption_mask: u64,
    /// The lot's own id.
    pub lot_id: [u64; 2],
    /// Offset of the bay code.
    pub code_offset: u32,
    /// Bytes of the bay code.
    pub code_len: u32,
    /// Offset of the tables.
    pub tables_offset: u32,
    /// Bytes of the tables.
    pub tables_len: u32,
    /// Offset of `bay_enter` in the lot.
    pub enter_offset: u32,
    /// Offset of `bay_repark` in the lot.
    pub repark_offset: u32,
    /// Physical address of the ACPI mailbox, if the bays watch one.
    pub mailbox: Option<PhysAddr>,
    /// Offset of the mailbox's reset vector in the lot, 0 if there is none.
    pub reset_offset: u32,
}

impl Header {
    /// The offset of the bay with this index.
    #[must_use]
    pub const fn bay(&self, index: u32) -> Option<u64> {
        if index < self.bay_count { Some(self.bay_offset + index as u64 * self.bay_stride) } else { None }
    }

    /// The physical address of `bay_enter`.
    #[must_use]
    pub const fn enter(&self) -> PhysAddr {
        PhysAddr(self.self_phys.0 + self.enter_offset as u64)
    }

    /// Where an operating system sends a CPU that it took through the ACPI mailbox and gives back, if it can: the reset
    /// vector of [`acpi::madt::Wakeup`](crate::acpi::madt::Wakeup).
    #[must_use]
    pub const fn reset_vector(&self) -> Option<PhysAddr> {
        match (self.mailbox, self.reset_offset) {
            (None, _) | (_, 0) => None,
            (Some(_), offset) => Some(PhysAddr(self.self_phys.0 + offset as u64)),
        }
    }

    /// The physical address of `bay_repark`.
    #[must_use]
    pub const fn repark(&self) -> PhysAddr {
        PhysAddr(self.self_phys.0 + self.repark_offset as u64)
    }
}

/// The lease word of a lot that was just built.
#[must_use]
pub const fn first_lease() -> LeaseWord {
    LeaseWord { state: super::LeaseState::Held, generation: crate::Generation::FIRST }
}
