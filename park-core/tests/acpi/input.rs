//! What is read: every byte may be wrong.

use park_core::acpi::madt::{self, Entries, Entry, Presence, Wakeup};
use park_core::acpi::park::ParkTable;
use park_core::acpi::{AcpiError, Signature, root, table};
use park_core::{ApicId, PhysAddr};
use proptest::prelude::*;

use crate::machine::*;

#[test]
fn enabled_cpus_are_listed_by_either_root_table() {
    for revision in [0, 2] {
        let listed = cpus(&machine(revision, &ENTRIES));
        assert_eq!(listed, Ok(vec![Ok(ApicId(0)), Ok(ApicId(0x1234))]), "revision {revision}");
    }
}

#[test]
fn a_flipped_byte_in_a_checked_table_is_refused() {
    let whole = machine(2, &ENTRIES);
    let madt_len = HEADER_BYTES + 8 + ENTRIES.len();
    for at in (RSDP..RSDP + 36).chain(ROOT..ROOT + HEADER_BYTES + 16).chain(MADT..MADT + madt_len) {
        let mut memory = whole.clone();
        memory[at] ^= 0x40;
        assert!(cpus(&memory).is_err(), "byte {at:#x}");
    }
}

#[test]
fn entries_of_wrong_length_end_the_list() {
    let bad = |offset| Err(AcpiError::BadEntry { offset });
    // Length 0, no length, too short for its type, and 255 where that runs out of the table.
    for entries in [&[0, 0][..], &[0], &[0, 4, 0, 3], &[0, 255, 0, 0, 1, 0, 0, 0], &[0x10, 15, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(cpus(&machine(2, entries)), Ok(vec![bad(44)]), "{entries:?}");
    }
    let long = [0, 8, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0];
    assert_eq!(cpus(&machine(2, &long)), Ok(vec![Ok(ApicId(0)), bad(52)]));
    // 255 bytes that are there are an entry that is longer than today's.
    let mut entries = vec![0; 255];
    (entries[1], entries[3], entries[4]) = (255, 5, 1);
    entries.extend([0, 8, 0, 6, 1, 0, 0, 0]);
    assert_eq!(cpus(&machine(2, &entries)), Ok(vec![Ok(ApicId(5)), Ok(ApicId(6))]));
}

#[test]
fn every_kind_of_entry_is_told_apart() {
    let entries: Vec<_> = Entries::new(&madt_of(&ENTRIES)).collect();
    let cpu = |id, presence| Ok(Entry::Cpu { apic_id: ApicId(id), presence });
    let expected = [
        cpu(0, Presence::Enabled),
        Ok(Entry::Other { kind: 1 }),
        cpu(7, Presence::Disabled),
        cpu(0x1234, Presence::Enabled),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn mailboxes_of_both_versions_are_read_and_a_reset_vector_needs_its_room() {
    let entry = |version: u8, len: u8| {
        let mut bytes =
            vec![0x10, len, version, 0, 0, 0, 0, 0, 0, 0xf0, 7, 0, 0, 0, 0, 0, 0x23, 0x01, 0, 0, 0, 0, 0, 0];
        bytes.truncate(len.into());
        madt::wakeup(&madt_of(&bytes))
    };
    let mailbox = PhysAddr(0x7_f000);
    assert_eq!(entry(0, 16), Ok(Some(Wakeup { mailbox, reset_vector: None })));
    assert_eq!(entry(0, 24), Ok(Some(Wakeup { mailbox, reset_vector: None })));
    assert_eq!(entry(1, 24), Ok(Some(Wakeup { mailbox, reset_vector: Some(PhysAddr(0x123)) })));
    assert_eq!(entry(1, 16), Err(AcpiError::BadEntry { offset: 44 }));
    assert_eq!(madt::wakeup(&madt_of(&ENTRIES)), Ok(None));
}

#[test]
fn what_is_missing_or_out_of_reach_is_named() {
    let mut memory = machine(0, &[]);
    put(&mut memory, ROOT, &table(b"RSDT", &(FACP as u32).to_le_bytes()));
    assert_eq!(cpus(&memory), Err(AcpiError::NoTable { wanted: Signature::MADT }));
    put(&mut memory, ROOT, &table(b"RSDT", &0xffff_fff0_u32.to_le_bytes()));
    assert_eq!(cpus(&memory), Err(AcpiError::Unreadable { at: PhysAddr(0xffff_fff0) }));
    // An XSDT where the RSDP promises an RSDT.
    put(&mut memory, ROOT, &table(b"XSDT", &(FACP as u64).to_le_bytes()));
    assert_eq!(cpus(&memory), Err(AcpiError::Damaged { at: PhysAddr(ROOT as u64) }));
    assert_eq!(cpus(&[0; 0x1000]), Err(AcpiError::NoRsdp));
    assert_eq!(cpus(&[]), Err(AcpiError::Unreadable { at: PhysAddr(RSDP as u64) }));
}

#[test]
fn an_rsdp_is_found_where_it_may_lie_and_nowhere_else() {
    let memory = machine(2, &[]);
    assert_eq!(root::search(&memory), Some(RSDP));
    // Not at a multiple of 16; without a right checksum; cut off.
    assert_eq!(root::search(&memory[8..]), None);
    let mut damaged = memory.clone();
    damaged[RSDP + 9] ^= 1;
    assert_eq!(root::search(&damaged), None);
    assert_eq!(root::search(&memory[..RSDP + RSDP_OLD_BYTES - 1]), None);
    assert_eq!(root::search(&[]), None);
}

#[test]
fn a_park_table_names_a_lot_that_can_be_one() {
    let body = |lot: u64, len: u64| [lot.to_le_bytes(), len.to_le_bytes()].concat();
    let parse = |lot, len| ParkTable::parse(&table_of(&body(lot, len)));
    fn table_of(body: &[u8]) -> Vec<u8> {
        crate::machine::table(b"PARK", body)
    }
    assert_eq!(parse(0x10_0000, 0x5000), Ok(ParkTable { lot: PhysAddr(0x10_0000), len_bytes: 0x5000 }));
    for (lot, len) in [(0, 0x1000), (0x800, 0x1000), (0x1000, 0), (0x1000, 0x800), (!0xfff, 0x1000), (0x1000, !0xfff)] {
        assert_eq!(parse(lot, len), Err(AcpiError::BadLot { at: PhysAddr(lot), len_bytes: len }), "{lot:#x} {len:#x}");
    }
    let not = Err(AcpiError::NotATable { wanted: Signature::PARK });
    assert_eq!(ParkTable::parse(&table_of(&[0; 15])), not, "too short");
    assert_eq!(ParkTable::parse(&madt_of(&[])), not, "another table");
    let whole = table_of(&body(0x1000, 0x1000));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert!(ParkTable::parse(&bytes).is_err(), "byte {at}");
        assert_eq!(ParkTable::parse(&whole[..at]), not, "cut off at {at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), name in 0_usize..3, sealed: bool) {
        // With a right signature, length and checksum the parsers behind them are reached.
        let len = bytes.len();
        if sealed && len >= HEADER_BYTES {
            put(&mut bytes, 0, [b"APIC", b"PARK", b"XSDT"][name]);
            put(&mut bytes, 4, &(len as u32).to_le_bytes());
            seal(&mut bytes, 0, len, 9);
        }
        let mut offsets = vec![];
        for entry in Entries::new(&bytes) {
            if let Err(AcpiError::BadEntry { offset }) = entry {
                offsets.push(offset);
            }
        }
        prop_assert!(offsets.len() <= 1 && offsets.iter().all(|&offset| offset < len));
        let _ = (madt::wakeup(&bytes), ParkTable::parse(&bytes), root::search(&bytes));
        let mut buffer = [0; 512];
        let wakeup = Wakeup { mailbox: PhysAddr(0x1000), reset_vector: None };
        if let Ok(written) = madt::write(&mut buffer, &bytes, &wakeup, |_| true) {
            prop_assert_eq!(madt::wakeup(written), Ok(Some(wakeup)));
            prop_assert!(table::check(written, Signature::MADT).is_ok());
        }
    }

    #[test]
    fn no_memory_makes_following_it_panic(
        revision in 0_u8..4,
        flips in prop::collection::vec((0_usize..0x500, any::<u8>()), 1..6),
        reseal: bool,
    ) {
        let mut memory = machine(revision, &ENTRIES);
        for (at, value) in flips {
            memory[at] = value;
        }
        if reseal {
            seal(&mut memory, RSDP, RSDP_OLD_BYTES, 8);
            seal(&mut memory, RSDP, 36, 32);
            let len = HEADER_BYTES + if revision >= 2 { 16 } else { 8 };
            seal(&mut memory, ROOT, len, 9);
        }
        if let Ok(listed) = cpus(&memory) {
            prop_assert!(listed.len() <= 4);
        }
    }
}
