//! Builds a lot: header, bay code, IDTs, page tables, bays.

use crate::code::{self, BayLabels};
use crate::frame::{CODE64_DESCRIPTOR, IDT_LEN, gate, pseudo_descriptor};
use crate::paging::{LARGE_PAGE_SIZE, Mapping, PageTables, Permission};
use park_core::lot::{Layout, Lot, PAGE_SIZE, RoCompat, bay, checksum, header, header_checksum, layout, verify};
use park_core::{Error, ErrorKind, LotMemory, PhysAddr};

/// Lots lie below this: CR3 of a trampoline has 32 bits, and the departure map ends here.
const LOT_LIMIT: u64 = 4 << 30;
/// Bytes that the departure map maps at identity.
const DEPARTURE_LEN: u64 = 4 << 30;
/// What a pad byte of the code page is: INT3, so that a stray jump is recorded as a fault.
const CODE_PAD: u8 = 0xcc;
/// IST of the NMI, of #MC, and of all other exceptions.
const IST: [u8; 3] = [1, 2, 3];

/// What a lot is built from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LotParameters {
    /// Where the lot lies: contiguous, 4 KiB aligned, below 4 GiB, reserved in every memory map.
    pub phys: PhysAddr,
    /// Its shape.
    pub layout: Layout,
    /// 16 bytes that differ from lot to lot; any source of randomness or time will do.
    pub lot_id: [u64; 2],
    /// The encryption bit of page-table entries if memory is encrypted (AMD SME), else 0.
    pub encryption_mask: u64,
    /// The page of the ACPI mailbox that the bays watch too, if any; not part of the lot.
    pub mailbox: Option<PhysAddr>,
}

/// Builds a lot in `memory`, of at least `layout.total_len()` bytes, and verifies it. The lease is held, in its first
/// generation; all bays are free.
///
/// # Errors
/// [`ErrorKind::InvalidAddress`] for an address that is unaligned, above 4 GiB, or overlaps the mailbox;
/// [`ErrorKind::Platform`] if the memory is too small.
pub fn build<M: LotMemory + ?Sized>(memory: &mut M, parameters: &LotParameters) -> Result<Lot, Error> {
    let LotParameters { phys, layout, mailbox, .. } = *parameters;
    let len = layout.total_len();
    if !phys.is_aligned(PAGE_SIZE) || phys.checked_add(len).is_none_or(|end| end.0 > LOT_LIMIT) {
        return Err(Error::new(ErrorKind::InvalidAddress, "a lot is 4 KiB aligned and below 4 GiB").found(phys.0));
    }
    if let Some(page) = mailbox {
        let apart = page.0.checked_add(PAGE_SIZE).is_some_and(|end| end <= phys.0) || page.0 >= phys.0 + len;
        if !page.is_aligned(PAGE_SIZE) || page.0 >= LOT_LIMIT || !apart {
            return Err(Error::new(ErrorKind::InvalidAddress, "the mailbox is a page below 4 GiB outside the lot")
                .found(page.0));
        }
    }
    if memory.len() < len {
        return Err(Error::new(ErrorKind::InvalidAddress, "the memory for the lot is too small").found(memory.len()));
    }
    for word in (0..header::CODE_OFFSET).step_by(8) {
        memory.store(word, 0)?;
    }
    let labels = code::bay_labels();
    write_code(memory)?;
    let roots = write_tables(memory, parameters)?;
    write_idts(memory, parameters, &labels)?;
    write_bays(memory, parameters)?;
    write_header(memory, parameters, &labels, &roots)?;
    verify(memory, phys)
}

/// Values of CR3.
struct Roots {
    lot: [u64; 2],
    departure: [u64; 2],
}

fn write_code<M: LotMemory + ?Sized>(memory: &mut M) -> Result<(), Error> {
    let code = code::bay_code();
    for (index, offset) in (header::CODE_OFFSET..header::CODE_OFFSET + layout::CODE_LEN).step_by(8).enumerate() {
        let mut word = [CODE_PAD; 8];
        for (byte, source) in word.iter_mut().zip(code.iter().skip(index * 8)) {
            *byte = *source;
        }
        memory.store(offset, u64::from_le_bytes(word))?;
    }
    Ok(())
}

/// The lot's pages and what a CPU may do with them, in the lot's own roots and in the departure map alike.
fn pages(parameters: &LotParameters) -> [Mapping; 4] {
    let LotParameters { phys, layout, .. } = *parameters;
    let at = |offset: u64, end: u64, permission| Mapping::identity(PhysAddr(phys.0 + offset), end - offset, permission);
    [
        at(0, header::CODE_OFFSET, Permission::Read),
        at(header::CODE_OFFSET, layout.tables_offset(), Permission::ReadExecute),
        at(layout.tables_offset(), layout.bay_offset(), Permission::Read),
        at(layout.bay_offset(), layout.total_len(), Permission::ReadWrite),
    ]
}

fn write_tables<M: LotMemory + ?Sized>(memory: &mut M, parameters: &LotParameters) -> Result<Roots, Error> {
    let LotParameters { phys, layout, encryption_mask, mailbox, .. } = *parameters;
    // The first page of the tables holds the IDTs.
    let offset = layout.tables_offset() + PAGE_SIZE;
    let region = PhysAddr(phys.0 + offset);
    let mut tables = PageTables::new(memory, offset, region, layout.tables_pages() - 1, encryption_mask)?;

    let (lot5, lot4) = (tables.table()?, tables.table()?);
    tables.hang(lot5, lot4, 0)?;
    for mapping in &pages(parameters) {
        tables.map(lot4, mapping)?;
    }
    if let Some(page) = mailbox {
        tables.map(lot4, &Mapping::identity(page, PAGE_SIZE, Permission::ReadWrite))?;
    }

    let (departure5, departure4) = (tables.table()?, tables.table()?);
    tables.hang(departure5, departure4, 0)?;
    let lot_start = phys.0 / LARGE_PAGE_SIZE * LARGE_PAGE_SIZE;
    let lot_end = (phys.0 + layout.total_len()).next_multiple_of(LARGE_PAGE_SIZE);
    for (start, end) in [(0, lot_start), (lot_end, DEPARTURE_LEN)] {
        let mapping = Mapping::identity(PhysAddr(start), end - start, Permission::ReadWriteExecute);
        tables.map_large(departure4, &mapping)?;
    }
    // Around the lot, small pages: other memory as above, the lot with the permissions that it has when parked.
    for (start, end) in [(lot_start, phys.0), (phys.0 + layout.total_len(), lot_end)] {
        let mapping = Mapping::identity(PhysAddr(start), end - start, Permission::ReadWriteExecute);
        tables.map(departure4, &mapping)?;
    }
    for mapping in &pages(parameters) {
        tables.map(departure4, mapping)?;
    }
    Ok(Roots { lot: [tables.cr3(lot4), tables.cr3(lot5)], departure: [tables.cr3(departure4), tables.cr3(departure5)] })
}

fn write_idts<M: LotMemory + ?Sized>(
    memory: &mut M,
    parameters: &LotParameters,
    labels: &BayLabels,
) -> Result<(), Error> {
    let base = parameters.layout.tables_offset();
    for word in (base..base + PAGE_SIZE).step_by(8) {
        memory.store(word, 0)?;
    }
    let code_phys = parameters.phys.0 + header::CODE_OFFSET;
    let handlers = [
        (labels.nmi_parked, labels.mc_parked, IST),
        (labels.nmi_arriving, labels.mc_arriving, [0; 3]),
        // An entry that is not mapped, nor its stack, faults on the bay's stack: the TSS is still the bay's.
        (labels.nmi_leaving, labels.mc_leaving, [0, 0, IST[2]]),
    ];
    for (table, (nmi, mc, ist)) in handlers.into_iter().enumerate() {
        for vector in 0..32 {
            let (handler, ist) = match vector {
                2 => (nmi, ist[0]),
                18 => (mc, ist[1]),
                _ => (labels.exceptions + vector * code::EXCEPTION_STUB_LEN, ist[2]),
            };
            let offset = base + table as u64 * IDT_LEN + u64::from(vector) * 16;
            store_pair(memory, offset, gate(code_phys + u64::from(handler), bay::CODE_SELECTOR, ist))?;
        }
    }
    Ok(())
}

fn write_bays<M: LotMemory + ?Sized>(memory: &mut M, parameters: &LotParameters) -> Result<(), Error> {
    let layout = parameters.layout;
    for word in (layout.bay_offset()..layout.total_len()).step_by(8) {
        memory.store(word, 0)?;
    }
    for index in 0..layout.bay_count {
        let offset = layout.bay_offset() + u64::from(index) * layout.bay_stride;
        let phys = parameters.phys.0 + offset;
        let tss = task_state(phys);
        for (word, bytes) in tss.chunks_exact(8).enumerate() {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            memory.store(offset + bay::TSS + word as u64 * 8, u64::from_le_bytes(value))?;
        }
        memory.store(offset + bay::GDT + u64::from(bay::CODE_SELECTOR), CODE64_DESCRIPTOR)?;
        store_pair(memory, offset + bay::GDT + u64::from(bay::TSS_SELECTOR), task_descriptor(phys + bay::TSS))?;
    }
    Ok(())
}

/// A 64-bit TSS: three IST pointers, and an I/O map base behind its end (Intel SDM vol. 3, "TSS in 64-bit Mode").
fn task_state(bay_phys: u64) -> [u8; bay::TSS_LEN as usize] {
    /// Offset of IST 1.
    const IST1: usize = 0x24;
    /// Offset of the I/O map base.
    const IO_MAP_BASE: usize = 0x66;
    let mut tss = [0; bay::TSS_LEN as usize];
    for (ist, top) in [bay::NMI_STACK_TOP, bay::MC_STACK_TOP, bay::FAULT_STACK_TOP].into_iter().enumerate() {
        tss[IST1 + ist * 8..][..8].copy_from_slice(&(bay_phys + top).to_le_bytes());
    }
    tss[IO_MAP_BASE..][..2].copy_from_slice(&(bay::TSS_LEN as u16).to_le_bytes());
    tss
}

/// The descriptor of an available 64-bit TSS (Intel SDM vol. 3, "TSS Descriptor in 64-bit mode").
const fn task_descriptor(base: u64) -> [u64; 2] {
    /// Present, DPL 0, type 9.
    const AVAILABLE_TSS: u64 = 0x89;
    let limit = bay::TSS_LEN - 1;
    [limit | (base & 0xff_ffff) << 16 | AVAILABLE_TSS << 40 | (base >> 24 & 0xff) << 56, base >> 32]
}

fn write_header<M: LotMemory + ?Sized>(
    memory: &mut M,
    parameters: &LotParameters,
    labels: &BayLabels,
    roots: &Roots,
) -> Result<(), Error> {
    let LotParameters { phys, layout, lot_id, encryption_mask, mailbox } = *parameters;
    let pair = |low: u64, high: u64| low | high << 32;
    let ro_compat = if mailbox.is_some() { RoCompat::MAILBOX } else { RoCompat::empty() };
    let tables_len = layout.bay_offset() - layout.tables_offset();
    let code_crc = checksum(memory, header::CODE_OFFSET, layout::CODE_LEN)?;
    let tables_crc = checksum(memory, layout.tables_offset(), tables_len)?;
    let entry_point = |label: u32| header::CODE_OFFSET + u64::from(label);
    let bays_len = u64::from(layout.bay_count) * layout.bay_stride;
    // The code at the reset vector knows neither another place of the roots nor an encryption bit.
    let knows_roots = roots.lot == [phys.0 + layout::ROOT4_OFFSET, phys.0 + layout::ROOT5_OFFSET];
    let reset = if mailbox.is_some() && knows_roots { entry_point(labels.reset) } else { 0 };
    let words = [
        (header::LEN_CRC, header::HEADER_LEN.into()),
        (header::FEATURES, pair(0, ro_compat.bits().into())),
        (header::INCOMPAT_BAYS, pair(0, layout.bay_count.into())),
        (header::TOTAL_LEN, layout.total_len()),
        (header::SELF_PHYS, phys.0),
        (header::BAY_OFFSET, layout.bay_offset()),
        (header::BAY_STRIDE, layout.bay_stride),
        (header::BAY_MASK, !(layout.bay_stride - 1)),
        (header::ENCRYPTION_MASK, encryption_mask),
        (header::LOT_ID, lot_id[0]),
        (header::LOT_ID + 8, lot_id[1]),
        (header::CODE, pair(header::CODE_OFFSET, layout::CODE_LEN)),
        (header::CRCS, pair(code_crc.into(), tables_crc.into())),
        (header::TABLES, pair(layout.tables_offset(), tables_len)),
        (header::ROOT4, roots.lot[0]),
        (header::ROOT5, roots.lot[1]),
        (header::DEPARTURE_ROOT4, roots.departure[0]),
        (header::DEPARTURE_ROOT5, roots.departure[1]),
        (header::MAILBOX, mailbox.map_or(0, |page| page.0)),
        (header::ENTRY_POINTS, pair(entry_point(labels.enter), entry_point(labels.repark))),
        (header::BAYS_START, phys.0 + layout.bay_offset()),
        (header::BAYS_END, phys.0 + layout.bay_offset() + bays_len),
        (header::RESET, reset),
    ];
    for (offset, value) in words {
        memory.store(offset, value)?;
    }
    let idts = phys.0 + layout.tables_offset();
    for (table, offset) in [header::IDTR_PARKED, header::IDTR_ARRIVING, header::IDTR_LEAVING].into_iter().enumerate() {
        store_pair(memory, offset, pseudo_descriptor(idts + table as u64 * IDT_LEN, IDT_LEN))?;
    }
    memory.store(header::LEASE, header::first_lease().raw())?;
    // The magic number and the CRC come last: a lot that was half built is no lot.
    memory.store(header::MAGIC_OFFSET, header::MAGIC)?;
    let crc = header_checksum(memory)?;
    Ok(memory.store(header::LEN_CRC, pair(header::HEADER_LEN.into(), crc.into()))?)
}

fn store_pair<M: LotMemory + ?Sized>(memory: &mut M, offset: u64, pair: [u64; 2]) -> Result<(), Error> {
    memory.store(offset, pair[0])?;
    Ok(memory.store(offset + 8, pair[1])?)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use park_core::PlatformError;
    use std::vec::Vec;

    struct Words(Vec<u64>);

    impl LotMemory for Words {
        fn len(&self) -> u64 {
            self.0.len() as u64 * 8
        }
        fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
            self.0.get(offset as usize / 8).copied().ok_or(PlatformError::OutOfBounds { offset })
        }
        fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
            *self.0.get_mut(offset as usize / 8).ok_or(PlatformError::OutOfBounds { offset })? = value;
            Ok(())
        }
        fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
            let found = self.load(offset)?;
            if found == current {
                self.store(offset, new)?;
            }
            Ok(found)
        }
    }

    fn parameters(bays: u32, phys: u64) -> LotParameters {
        let layout = Layout::new(bays, 64).expect("a small lot");
        LotParameters { phys: PhysAddr(phys), layout, lot_id: [1, 2], encryption_mask: 0, mailbox: None }
    }

    #[test]
    fn lots_of_all_sizes_build_anywhere_and_verify() {
        // Across a 2 MiB boundary, across a GiB boundary, at the very top.
        for (bays, phys) in [(1, 0x10_0000), (4, 0x1f_f000), (1024, 0x3fff_f000), (8192, 0x3ff0_0000)] {
            let mut parameters = parameters(bays, phys);
            parameters.mailbox = Some(PhysAddr(0x8000_0000));
            let mut memory = Words(std::vec![!0; parameters.layout.total_len() as usize / 8]);
            let lot = build(&mut memory, &parameters).expect("a lot");
            assert_eq!(lot.header().bay_count, bays);
        }
        let top = parameters(4, 0);
        let top = parameters(4, LOT_LIMIT - top.layout.total_len());
        let mut memory = Words(std::vec![!0; top.layout.total_len() as usize / 8]);
        build(&mut memory, &top).expect("a lot at the top");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let parameters = parameters(2, 0x20_0000);
        let mut memory = Words(std::vec![0; parameters.layout.total_len() as usize / 8]);
        build(&mut memory, &parameters).expect("a lot");
        let page_words = PAGE_SIZE as usize / 8;
        for word in 0..parameters.layout.bay_offset() as usize / 8 {
            // All bits of header and code; of the tables one of each word, for time's sake: the same CRC covers all.
            let bits = if word < 2 * page_words { 0..64 } else { word % 64..word % 64 + 1 };
            for bit in bits {
                memory.0[word] ^= 1 << bit;
                assert!(verify(&mut memory, parameters.phys).is_err(), "bit {bit} of word {word:#x}");
                memory.0[word] ^= 1 << bit;
            }
        }
        verify(&mut memory, parameters.phys).expect("whole again");
    }

    #[test]
    fn impossible_places_are_refused() {
        let mut memory = Words(std::vec![0; 1 << 16]);
        for phys in [0x1000_0800, LOT_LIMIT - 0x1000, u64::MAX - 0xfff] {
            let error = build(&mut memory, &parameters(2, phys)).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidAddress);
        }
        let mut overlapping = parameters(2, 0x20_0000);
        overlapping.mailbox = Some(PhysAddr(0x20_1000));
        assert_eq!(build(&mut memory, &overlapping).expect_err("refused").kind(), ErrorKind::InvalidAddress);
        let small = build(&mut Words(std::vec![0; 64]), &parameters(2, 0x20_0000));
        assert_eq!(small.expect_err("refused").kind(), ErrorKind::InvalidAddress);
    }
}
