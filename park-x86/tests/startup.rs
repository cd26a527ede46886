//! The trampoline's bytes, decoded, and the page's checks.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use park_core::{Entry, ErrorKind, PhysAddr};
use park_x86::registers::control::{Cr4, Efer};
use park_x86::startup::{PAGE_LEN, StartupPage, code, long_mode_offset};

/// First byte that the builder fills: the code must end before.
const PARAMETERS: usize = 0xf00;

fn decode(bits: u32, bytes: &[u8], at: u64) -> Vec<Instruction> {
    let all: Vec<_> = Decoder::with_ip(bits, bytes, at, DecoderOptions::NONE).into_iter().collect();
    assert!(all.iter().all(|instruction| instruction.code() != Code::INVALID));
    all
}

fn page() -> StartupPage {
    StartupPage {
        page: PhysAddr(0x9_c000),
        entry: Entry { rip: 0xffff_8000_0123_4560, rsp: 0xffff_8000_0200_0000, cr3: PhysAddr(0x7654_3000), arg: 42 },
        cr4: Cr4::PAE | Cr4::MCE,
        efer: Efer::LME | Efer::NXE,
        bay_stage: Some(PhysAddr(0x1234_5650)),
    }
}

#[test]
fn the_code_fits_below_the_parameters() {
    assert!(!code().is_empty() && code().len() <= PARAMETERS);
}

#[test]
fn every_memory_operand_is_a_parameter_of_the_page() {
    let (real, long) = code().split_at(long_mode_offset());
    let mut seen = 0;
    for instruction in decode(16, real, 0) {
        if (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory) {
            assert_eq!(instruction.memory_base(), Register::None, "{instruction:?}");
            assert!(instruction.memory_displacement64() >= PARAMETERS as u64, "{instruction:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6, "claim word, GDTR, CR4, CR3, EFER, far pointer");
    for instruction in decode(64, long, long_mode_offset() as u64) {
        if instruction.is_ip_rel_memory_operand() {
            assert_eq!(instruction.mnemonic(), Mnemonic::Lea);
            assert_eq!(instruction.ip_rel_memory_address(), 0, "the page itself, wherever it is copied to");
        } else if (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory) {
            assert!(matches!(instruction.memory_base(), Register::RBX | Register::RCX), "{instruction:?}");
        }
    }
}

#[test]
fn the_order_is_the_one_that_the_manual_wants() {
    let (real, _) = code().split_at(long_mode_offset());
    let order: Vec<_> = decode(16, real, 0)
        .into_iter()
        .filter_map(|instruction| match (instruction.mnemonic(), instruction.op0_register()) {
            (Mnemonic::Lgdt, _) => Some("gdt"),
            (Mnemonic::Mov, Register::CR4) => Some("cr4"),
            (Mnemonic::Mov, Register::CR3) => Some("cr3"),
            (Mnemonic::Wrmsr, _) => Some("efer"),
            (Mnemonic::Mov, Register::CR0) => Some("cr0"),
            (Mnemonic::Jmp, _) if instruction.code() == Code::Jmp_m1632 => Some("far"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["gdt", "cr4", "cr3", "efer", "cr0", "far"]);
}

#[test]
fn the_last_access_to_the_page_is_the_one_that_gives_it_back() {
    let (_, long) = code().split_at(long_mode_offset());
    let all = decode(64, long, 0);
    let [.., store, jump] = all.as_slice() else { panic!("two instructions at least") };
    assert_eq!(store.code(), Code::Mov_rm16_imm16);
    assert_eq!((store.memory_displacement64(), store.immediate16()), (PARAMETERS as u64, 2));
    assert_eq!((jump.mnemonic(), jump.op0_register()), (Mnemonic::Jmp, Register::RAX));
}

#[test]
fn the_page_holds_what_the_code_reads() {
    let mut bytes = [0xcc; PAGE_LEN];
    assert_eq!(page().write(&mut bytes).unwrap(), 0x9c);
    let (real, long) = code().split_at(long_mode_offset());
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    // Which parameter is which is read off the code, not off the builder's offsets.
    let mut loaded = 0;
    let mut previous = 0;
    for instruction in decode(16, real, 0) {
        let from = previous;
        match (instruction.mnemonic(), instruction.op0_register()) {
            (Mnemonic::Mov, Register::EAX) => previous = instruction.memory_displacement64() as usize,
            (Mnemonic::Mov, Register::CR4) => assert_eq!(u64::from(u32_at(from)), (Cr4::PAE | Cr4::MCE).bits()),
            (Mnemonic::Mov, Register::CR3) => assert_eq!(u32_at(from), 0x7654_3000),
            (Mnemonic::Wrmsr, _) => assert_eq!(u64::from(u32_at(from)), (Efer::LME | Efer::NXE).bits()),
            (Mnemonic::Lgdt, _) => {
                let at = instruction.memory_displacement64() as usize;
                let gdt = u32_at(at + 2) as usize - 0x9_c000;
                assert_eq!(u16::from_le_bytes([bytes[at], bytes[at + 1]]), 15);
                assert_eq!(u64_at(gdt), 0, "null descriptor");
                // Type code, S, P, L set, D clear, DPL 0 (SDM vol. 3, "Segment Descriptors").
                assert_eq!(u64_at(gdt + 8) >> 40 & 0x60_f8, 0x20_98);
            }
            (Mnemonic::Jmp, _) if instruction.code() == Code::Jmp_m1632 => {
                let at = instruction.memory_displacement64() as usize;
                assert_eq!(u32_at(at) as usize, 0x9_c000 + long_mode_offset());
                assert_eq!(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]), 8);
            }
            _ => continue,
        }
        loaded += 1;
    }
    assert!(loaded >= 8);
    for instruction in decode(64, long, 0) {
        let at = instruction.memory_displacement64() as usize;
        match (instruction.mnemonic(), instruction.op0_register()) {
            (Mnemonic::Mov, Register::RSP) => assert_eq!(u64_at(at), page().entry.rsp),
            (Mnemonic::Mov, Register::RDI) => assert_eq!(u64_at(at), 42),
            (Mnemonic::Mov, Register::RAX) => assert_eq!(u64_at(at), page().entry.rip),
            (Mnemonic::Mov, Register::RCX) => assert_eq!(u64_at(at), 0x1234_5650),
            _ => {}
        }
    }
    assert_eq!(&bytes[PARAMETERS..PARAMETERS + 2], [0, 0], "the claim word is ready");
}

#[test]
fn bad_pages_are_refused() {
    let mut bytes = [0; PAGE_LEN];
    let mut kind = |change: &dyn Fn(&mut StartupPage)| {
        let mut startup = page();
        change(&mut startup);
        startup.write(&mut bytes).map_err(|error| error.kind())
    };
    assert_eq!(kind(&|page| page.page = PhysAddr(0x8_0800)), Err(ErrorKind::InvalidAddress));
    assert_eq!(kind(&|page| page.page = PhysAddr(0x10_0000)), Err(ErrorKind::InvalidAddress));
    assert_eq!(kind(&|page| page.page = PhysAddr(0xa_0000)), Err(ErrorKind::InvalidAddress));
    assert_eq!(kind(&|page| page.page = PhysAddr(0xb_f000)), Err(ErrorKind::InvalidAddress));
    assert_eq!(kind(&|page| page.entry.cr3 = PhysAddr(1 << 32)), Err(ErrorKind::InvalidAddress));
    assert_eq!(kind(&|page| page.bay_stage = Some(PhysAddr(0x1001))), Err(ErrorKind::InvalidAddress));
    assert_eq!(kind(&|page| page.cr4 = Cr4::MCE), Err(ErrorKind::NotSupported));
    assert_eq!(kind(&|page| page.cr4 |= Cr4::PCIDE), Err(ErrorKind::NotSupported));
    assert_eq!(kind(&|page| page.efer = Efer::NXE), Err(ErrorKind::NotSupported));
    assert_eq!(kind(&|page| page.efer |= Efer::SVME), Err(ErrorKind::NotSupported));
    assert_eq!(kind(&|_| {}), Ok(0x9c));
}
