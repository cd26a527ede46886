//! What is written: tables that a stranger's parser takes.

use park_core::acpi::madt::{self, Entries, Entry, Wakeup};
use park_core::acpi::park::{self, ParkTable};
use park_core::acpi::{AcpiError, Signature, root};
use park_core::{ApicId, PhysAddr};

use crate::machine::*;

const WAKEUP: Wakeup = Wakeup { mailbox: PhysAddr(0x3fed_f000), reset_vector: None };

#[test]
fn a_madt_keeps_what_it_is_not_told_to_change() {
    let firmware = madt_of(&ENTRIES);
    let mut buffer = [0xee; 256];
    let written = madt::write(&mut buffer, &firmware, &WAKEUP, |id| id != ApicId(0x1234)).expect("room");
    // Revision, local APIC address and flags; then the CPU, the I/O APIC, the disabled CPU and the mailbox.
    assert_eq!((written[8], &written[36..44]), (3, &firmware[36..44]));
    assert_eq!(&written[44..72], &ENTRIES[..28]);
    let mailbox = [0x10, 16, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xed, 0x3f, 0, 0, 0, 0];
    assert_eq!(&written[72..], &mailbox, "ACPI 6.6, table 5.45");
    assert_eq!(written.len(), 88);
}

#[test]
fn a_second_mailbox_takes_the_firsts_place_and_may_have_a_reset_vector() {
    let (mut first, mut second) = ([0; 256], [0; 256]);
    let once = madt::write(&mut first, &madt_of(&ENTRIES), &WAKEUP, |_| true).expect("room");
    let wakeup = Wakeup { mailbox: PhysAddr(0x1000), reset_vector: Some(PhysAddr(0x1234_5678_9abc)) };
    let twice = madt::write(&mut second, once, &wakeup, |_| true).expect("room");
    let mailboxes: Vec<_> = Entries::new(twice).filter(|entry| matches!(entry, Ok(Entry::Wakeup(_)))).collect();
    assert_eq!(mailboxes, [Ok(Entry::Wakeup(wakeup))]);
    // Version 1 and 24 bytes.
    assert_eq!(&twice[twice.len() - 24..][..4], &[0x10, 24, 1, 0]);
}

#[test]
fn a_system_with_new_tables_is_read_back() {
    let mut memory = machine(0, &ENTRIES);
    let (new_madt, park, xsdt, rsdp) = (0x800, 0x900, 0xa00, 0xb00);
    let mut buffer = [0; 256];
    let written = madt::write(&mut buffer, &memory[MADT..MADT + 88], &WAKEUP, |_| true).expect("room").to_vec();
    put(&mut memory, new_madt, &written);
    let lot = ParkTable { lot: PhysAddr(0x3fee_0000), len_bytes: 0x1_6000 };
    put(&mut memory, park, lot.write(&mut buffer).expect("room"));
    let list = {
        let read = reader(&memory);
        let firmware = root::open(PhysAddr(RSDP as u64), &read).expect("firmware's");
        let replaced = firmware.position(Signature::MADT, &read);
        assert_eq!(replaced, Some(PhysAddr(MADT as u64)));
        let others = firmware.tables().filter(|&at| Some(at) != replaced);
        let ours = [new_madt, park].map(|at| PhysAddr(at as u64));
        root::write_xsdt(&mut buffer, others.chain(ours)).expect("room").to_vec()
    };
    put(&mut memory, xsdt, &list);
    put(&mut memory, rsdp, &root::rsdp(PhysAddr(xsdt as u64)));
    let read = reader(&memory);
    let system = root::open(PhysAddr(rsdp as u64), &read).expect("ours");
    assert_eq!(system.tables().count(), 3);
    assert_eq!(system.find(Signature::MADT, &read).map(madt::wakeup), Ok(Ok(Some(WAKEUP))));
    let found = system.find(Signature::PARK, &read).and_then(ParkTable::parse);
    assert_eq!(found, Ok(lot));
    assert_eq!(system.find(Signature(*b"FACP"), &read).map(<[u8]>::len), Ok(39));
    // Both checksums of the RSDP: ACPI 6.6, table 5.3.
    let bytes = root::rsdp(PhysAddr(0x1234));
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    assert_eq!((sum(&bytes[..20]), sum(&bytes), bytes[15], bytes[20]), (0, 0, 2, 36));
}

#[test]
fn what_does_not_fit_or_is_damaged_is_not_written() {
    let firmware = madt_of(&ENTRIES);
    for capacity in 0..firmware.len() + 16 {
        let error = madt::write(&mut vec![0; capacity], &firmware, &WAKEUP, |_| true).map(<[u8]>::len);
        assert_eq!(error, Err(AcpiError::NoRoom { capacity_bytes: capacity }));
    }
    let bad_entry = madt_of(&[0, 0]);
    let error = madt::write(&mut [0; 256], &bad_entry, &WAKEUP, |_| true).map(<[u8]>::len);
    assert_eq!(error, Err(AcpiError::BadEntry { offset: 44 }));
    let mut damaged = firmware.clone();
    damaged[50] ^= 1;
    let error = madt::write(&mut [0; 256], &damaged, &WAKEUP, |_| true).map(<[u8]>::len);
    assert_eq!(error, Err(AcpiError::NotATable { wanted: Signature::MADT }));
    let lot = ParkTable { lot: PhysAddr(0x1000), len_bytes: 0x1000 };
    assert_eq!(
        lot.write(&mut [0; park::TABLE_BYTES - 1]).map(<[u8]>::len),
        Err(AcpiError::NoRoom { capacity_bytes: 51 })
    );
    let nowhere = ParkTable { lot: PhysAddr(0x800), len_bytes: 0x1000 };
    let refused = Err(AcpiError::BadLot { at: PhysAddr(0x800), len_bytes: 0x1000 });
    assert_eq!(nowhere.write(&mut [0; 64]).map(<[u8]>::len), refused);
}
