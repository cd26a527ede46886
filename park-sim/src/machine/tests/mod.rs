//! Tests of the machine by small programs. Each is placed at [`CODE`] of a 64-bit machine with identity-mapped memory.

mod apic;
mod control;
mod events;
mod init;
mod instructions;
mod knobs;
mod memory;
mod ordering;
mod packing;
mod real_mode;
mod robust;
mod rules;
mod shortcuts;
mod svm;
mod waits;

use iced_x86::code_asm::CodeAssembler;

use super::*;

pub(super) const PML4: u64 = 0x10_0000;
pub(super) const GDT: u64 = 0x10_4000;
pub(super) const IDT: u64 = 0x10_5000;
pub(super) const TSS: u64 = 0x10_6000;
pub(super) const CODE: u64 = 0x20_0000;
pub(super) const DATA: u64 = 0x30_0000;
pub(super) const STACK: u64 = 0x40_0000;
pub(super) const IST1: u64 = 0x48_0000;
/// Handlers of vector n start at HANDLERS + 64 n.
pub(super) const HANDLERS: u64 = 0x50_0000;
pub(super) const CODE_SELECTOR: u16 = 0x08;
pub(super) const TSS_SELECTOR: u16 = 0x18;

/// A machine whose CPUs are in 64-bit mode with tables, a GDT, an IDT whose handlers are HLT loops, and a TSS with IST1.
pub(super) fn machine_of(config: &MachineConfig) -> Machine {
    let mut m = Machine::new(config).expect("a valid configuration");
    let mut put = |at: u64, value: u64| m.write_phys(at, &value.to_le_bytes());
    // PML4[0] -> PDPT[0] -> PD of 2 MiB pages: the low 32 MiB; PDPT[3] maps the APIC page uncached.
    put(PML4, (PML4 + 0x1000) | 3);
    put(PML4 + 0x1000, (PML4 + 0x2000) | 3);
    put(PML4 + 0x1000 + 3 * 8, (PML4 + 0x3000) | 3);
    for n in 0..16u64 {
        put(PML4 + 0x2000 + 8 * n, (n << 21) | 0x83);
    }
    put(PML4 + 0x3000 + 0x1f7 * 8, 0xfee0_0000 | 0x93);
    put(GDT + 8, 0x00af_9b00_0000_ffff);
    put(GDT + 16, 0x00cf_9300_0000_ffff);
    put(GDT + 24, 0x0000_8900_0000_0067 | ((TSS & 0xff_ffff) << 16));
    put(GDT + 32, TSS >> 32);
    put(TSS + 0x24, IST1);
    for vector in 0..256u64 {
        let handler = HANDLERS + 64 * vector;
        put(
            IDT + 16 * vector,
            (handler & 0xffff) | (u64::from(CODE_SELECTOR) << 16) | (0x8e00 << 32) | ((handler >> 16) << 48),
        );
        put(IDT + 16 * vector + 8, handler >> 32);
    }
    for vector in 0..256u64 {
        // hlt; jmp $-1
        m.write_phys(HANDLERS + 64 * vector, &[0xf4, 0xeb, 0xfd]);
    }
    for cpu in 0..m.cpu_count() {
        let offset = cpu as u64 * 0x1000;
        m.start_long_mode(
            cpu,
            &LongMode {
                gdtr: TableRegister { base: GDT, limit: 0x27 },
                idtr: TableRegister { base: IDT, limit: 0xfff },
                tr: (TSS_SELECTOR, TSS),
                ..LongMode::new(PML4, CODE, STACK - offset)
            },
        );
        m.enable_apic(cpu);
    }
    m
}

pub(super) fn intel() -> Machine {
    machine_of(&MachineConfig::intel(2))
}

pub(super) fn amd() -> Machine {
    machine_of(&MachineConfig::amd(2))
}

pub(super) fn assemble(
    at: u64,
    program: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Vec<u8> {
    let mut a = CodeAssembler::new(64).expect("64-bit");
    program(&mut a).expect("a valid program");
    a.assemble(at).expect("an encodable program")
}

/// Puts a program at [`CODE`].
pub(super) fn load(m: &mut Machine, program: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) {
    load_at(m, CODE, program);
}

pub(super) fn load_at(
    m: &mut Machine,
    at: u64,
    program: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) {
    let bytes = assemble(at, program);
    m.write_phys(at, &bytes);
}

/// Runs CPU 0 until it waits; it must get there.
pub(super) fn run_to_wait(m: &mut Machine, cpu: usize) {
    let (outcome, _) = m.run(cpu, 100_000);
    assert_eq!(outcome, Outcome::Waiting, "{:?} at {:#x}", m.stopped(), m.cpu(cpu).rip);
}

/// Runs a program to its HLT on a fresh Intel machine.
pub(super) fn run(program: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) -> Machine {
    let mut m = intel();
    load(&mut m, |a| {
        program(a)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    m
}

/// Whether CPU `cpu` is in the handler of `vector`.
pub(super) fn in_handler(m: &Machine, cpu: usize, vector: u64) -> bool {
    let start = HANDLERS + 64 * vector;
    (start..start + 64).contains(&m.cpu(cpu).rip)
}
