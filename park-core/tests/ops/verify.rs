//! Reading a lot: every kind of damage is a typed error that says where.

use crate::lot::{AT, Memory, build};
use park_core::lot::{self, Inspected, Lot, PAGE_SIZE, bay, header};
use park_core::{Error, ErrorKind, PhysAddr};

fn verify(memory: &mut Memory) -> Result<Lot, Error> {
    lot::verify(memory, AT)
}

#[test]
fn a_sound_lot_is_read_and_not_written() {
    let mut memory = build(3);
    let before = memory.clone();
    let lot = verify(&mut memory).expect("sound");
    assert_eq!((lot.header().bay_count, memory), (3, before));
    assert_eq!(lot.bay(3).unwrap_err().kind(), ErrorKind::InvalidCpu);
}

#[test]
fn every_flipped_bit_of_header_code_and_tables_is_found() {
    let mut memory = build(1);
    for word in 0..(3 * PAGE_SIZE / 8) as usize {
        for bit in 0..64 {
            memory.0[word] ^= 1 << bit;
            let error = verify(&mut memory).expect_err("damage");
            memory.0[word] ^= 1 << bit;
            assert_eq!(error.kind(), ErrorKind::AbiMismatch, "word {word} bit {bit}: {error}");
            assert!(error.offset().is_some(), "{error}");
        }
    }
    assert!(verify(&mut memory).is_ok());
}

/// Changes one word of a header, with the CRC made right.
fn forged(offset: u64, value: u64) -> Error {
    let mut memory = build(4);
    memory.put(offset, value);
    memory.seal();
    verify(&mut memory).expect_err("forged")
}

#[test]
fn well_sealed_nonsense_is_refused_by_name() {
    let total = build(4).get(header::TOTAL_LEN);
    let cases = [
        (header::INCOMPAT_BAYS, 1 | 4 << 32, "features"),
        (header::INCOMPAT_BAYS, 0, "bays don't fit"),
        (header::INCOMPAT_BAYS, 9 << 32, "bays don't fit"),
        (header::TOTAL_LEN, total + PAGE_SIZE, "truncated"),
        (header::TOTAL_LEN, total - 8, "length is impossible"),
        (header::BAY_STRIDE, 256, "overlap"),
        (header::BAY_STRIDE, 768, "overlap"),
        (header::BAY_OFFSET, u64::MAX - 511, "bays don't fit"),
        (header::BAY_OFFSET, 2 * PAGE_SIZE, "tables overlap"),
        (header::CODE, header::CODE_OFFSET | (2 * PAGE_SIZE) << 32, "bay code overlaps"),
        (header::CODE, 0x40 | PAGE_SIZE << 32, "bay code overlaps"),
        (header::ENTRY_POINTS, 0x1100, "entry point"),
        (header::LEN_CRC, 0x1000, "header's length"),
    ];
    for (offset, value, what) in cases {
        let error = forged(offset, value);
        assert_eq!(error.kind(), ErrorKind::AbiMismatch);
        assert!(error.what().contains(what), "{offset:#x}: {error}");
    }
}

#[test]
fn a_lot_that_was_moved_or_cut_off_is_refused() {
    let mut memory = build(8);
    let error = lot::verify(&mut memory, PhysAddr(AT.0 + PAGE_SIZE)).unwrap_err();
    assert_eq!((error.kind(), error.value()), (ErrorKind::InvalidAddress, Some(AT.0)));
    for words in 0..memory.0.len() {
        let mut cut = Memory(memory.0[..words].to_vec());
        let error = verify(&mut cut).expect_err("truncated");
        assert!(matches!(error.kind(), ErrorKind::AbiMismatch), "{words}: {error}");
    }
}

#[test]
fn damaged_bay_words_are_found() {
    for (word, value) in [(bay::OWNER, 3), (bay::STAGE, 6)] {
        let mut memory = build(2);
        let base = memory.lot().bay(1).unwrap();
        memory.put(base + word, value);
        let error = verify(&mut memory).expect_err("damage");
        assert_eq!(error.kind(), ErrorKind::AbiMismatch);
        assert_eq!(error.offset(), Some(base + bay::OWNER));
    }
}

fn inspect(memory: &mut Memory) -> (Option<Inspected>, Vec<Error>) {
    let mut damage = Vec::new();
    let inspected = lot::inspect(memory, AT, |error| damage.push(error));
    (inspected, damage)
}

/// Looking tells what verifying refuses, first of all, and nothing where it refuses nothing.
fn assert_agree(memory: &mut Memory) {
    let (inspected, damage) = inspect(memory);
    match verify(memory) {
        Ok(lot) => {
            assert_eq!(damage, []);
            let inspected = inspected.expect("sound");
            assert_eq!((inspected.header, inspected.bays), (*lot.header(), lot.header().bay_count));
            assert_eq!(inspected.lease, lot.lease(memory).ok());
        }
        Err(error) => assert_eq!(damage.first(), Some(&error)),
    }
}

#[test]
fn looking_at_a_lot_tells_all_damage() {
    let mut memory = build(4);
    assert_agree(&mut memory);
    for word in 0..(4 * PAGE_SIZE / 8) as usize {
        memory.0[word] ^= 1 << (word % 64);
        assert_agree(&mut memory);
        memory.0[word] ^= 1 << (word % 64);
    }
    for words in (0..memory.0.len()).step_by(61) {
        assert_agree(&mut Memory(memory.0[..words].to_vec()));
    }
    let code = (header::CODE_OFFSET + 8, 1);
    let tables = (2 * PAGE_SIZE + 8, 1);
    let bay = memory.lot().bay(2).unwrap();
    for (offset, flip) in [code, tables, (header::LEASE, 1), (bay + bay::STAGE, 0xff)] {
        let word = memory.get(offset);
        memory.put(offset, word ^ flip);
    }
    memory.put(header::LOT_ID, 7);
    let (inspected, damage) = inspect(&mut memory);
    let told: Vec<&str> = damage.iter().map(Error::what).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for (what, needed) in told.iter().zip(["header", "code", "tables", "lease", "bay's words"]) {
        assert!(what.contains(needed), "{told:?}");
    }
    assert_eq!(inspected.map(|inspected| inspected.bays), Some(4));
}

#[test]
fn of_a_lot_that_is_cut_off_the_bays_that_are_there_are_read() {
    let mut memory = build(8);
    let end = memory.lot().bay(3).unwrap();
    memory.0.truncate((end / 8) as usize + 3);
    let (inspected, damage) = inspect(&mut memory);
    assert_eq!(inspected.map(|inspected| (inspected.bays, inspected.bay(2).is_some())), Some((3, true)));
    assert_eq!(inspected.and_then(|inspected| inspected.bay(3)), None);
    assert!(damage[0].what().contains("truncated"), "{damage:?}");
}

#[test]
fn random_sealed_headers_never_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let sound = build(4);
    for _ in 0..20_000 {
        let mut memory = sound.clone();
        for _ in 0..1 + random() % 3 {
            let word = (random() % (u64::from(header::HEADER_LEN) / 8)) * 8;
            let value = match random() % 3 {
                0 => random(),
                1 => random() & 0xffff,
                _ => memory.get(word) ^ 1 << (random() % 64),
            };
            memory.put(word, value);
        }
        memory.seal();
        // Any answer will do; only a panic or a hang will not.
        let _ = verify(&mut memory);
        assert_agree(&mut memory);
    }
}
