//! A bare machine for one small program: 64-bit mode, identity-mapped memory, handlers that wait.

use crate::machine::{
    Activity, Event, EventKind, LongMode, Machine, MachineConfig, Outcome, RuleSet, TableRegister, Vendor,
};

/// Where the tables lie.
const PML4: u64 = 0x10_0000;
const PDPT: u64 = 0x10_1000;
const PD: u64 = 0x10_2000;
pub(super) const PT: u64 = 0x10_3000;
const GDT: u64 = 0x10_4000;
const IDT: u64 = 0x10_5000;
const TSS: u64 = 0x10_6000;
/// The program of CPU 0; each next CPU's follows at [`STRIDE`].
pub(super) const CODE: u64 = 0x20_0000;
pub(super) const STRIDE: u64 = 0x1000;
pub(super) const DATA: u64 = 0x30_0000;
const STACK: u64 = 0x40_0000;
/// The stack of IST 1.
pub(super) const IST1: u64 = 0x48_0000;
/// The handler of vector n: HLT for ever.
const HANDLERS: u64 = 0x50_0000;
const HANDLER_LEN: u64 = 64;
/// A page with an entry of its own, to be mapped as a program likes.
pub(super) const WINDOW: u64 = 15 << 21;
pub(super) const CODE_SELECTOR: u16 = 0x08;
pub(super) const TSS_SELECTOR: u16 = 0x18;
/// Bits of a table entry (Intel SDM vol. 3, "4-Level Paging").
pub(super) const PRESENT: u64 = 1 << 0;
pub(super) const WRITE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
pub(super) const GLOBAL: u64 = 1 << 8;
/// Steps that a program may take to its wait.
const STEPS: u64 = 10_000;

/// A machine of two CPUs for one program.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) machine: Machine,
}

impl Lab {
    pub(super) fn intel(rules: RuleSet) -> Self {
        Self::of(MachineConfig::intel(2), rules)
    }

    pub(super) fn amd(rules: RuleSet) -> Self {
        Self::of(MachineConfig::amd(2), rules)
    }

    /// # Panics
    /// Never: the configurations here are valid.
    pub(super) fn of(mut config: MachineConfig, rules: RuleSet) -> Self {
        config.rules = rules;
        let mut machine = match Machine::new(&config) {
            Ok(machine) => machine,
            Err(error) => unreachable!("a valid configuration: {error}"),
        };
        let mut put = |at: u64, value: u64| machine.write_phys(at, &value.to_le_bytes());
        put(PML4, PDPT | PRESENT | WRITE | USER);
        put(PDPT, PD | PRESENT | WRITE | USER);
        for n in 0..15u64 {
            put(PD + 8 * n, n << 21 | PRESENT | WRITE | LARGE);
        }
        put(PD + 8 * 15, PT | PRESENT | WRITE | USER);
        put(GDT + u64::from(CODE_SELECTOR), 0x00af_9b00_0000_ffff);
        put(GDT + u64::from(TSS_SELECTOR), 0x0000_8900_0000_0067 | (TSS & 0xff_ffff) << 16);
        put(TSS + 0x24, IST1);
        for vector in 0..256u64 {
            let handler = HANDLERS + HANDLER_LEN * vector;
            let gate = handler & 0xffff | u64::from(CODE_SELECTOR) << 16 | 0x8e00 << 32 | (handler >> 16) << 48;
            put(IDT + 16 * vector, gate);
        }
        for vector in 0..256u64 {
            machine.write_phys(HANDLERS + HANDLER_LEN * vector, &[0xf4, 0xeb, 0xfd]); // hlt; jmp to it
        }
        for cpu in 0..machine.cpu_count() {
            let at = cpu as u64 * STRIDE;
            let state = LongMode {
                gdtr: TableRegister { base: GDT, limit: 0x27 },
                idtr: TableRegister { base: IDT, limit: 0xfff },
                tr: (TSS_SELECTOR, TSS),
                ..LongMode::new(PML4, CODE + at, STACK - at)
            };
            machine.start_long_mode(cpu, &state);
            machine.enable_apic(cpu);
        }
        Self { machine }
    }

    /// Gives CPU 0 this program.
    pub(super) fn load(&mut self, program: &[u8]) {
        self.machine.write_phys(CODE, program);
    }

    /// Runs a CPU until it waits.
    pub(super) fn run(&mut self, cpu: usize) {
        self.machine.run(cpu, STEPS);
    }

    /// Loads a program and runs it to its wait.
    pub(super) fn play(&mut self, program: &[u8]) {
        self.load(program);
        self.run(0);
    }

    pub(super) fn inject(&mut self, cpu: usize, kind: EventKind) {
        self.machine.inject(Event::at(cpu, kind));
    }

    pub(super) fn step(&mut self, cpu: usize) -> Outcome {
        self.machine.step(cpu)
    }

    pub(super) fn activity(&self, cpu: usize) -> Activity {
        self.machine.cpu(cpu).activity
    }

    /// Whether a CPU is in the handler of `vector`.
    pub(super) fn in_handler(&self, cpu: usize, vector: u8) -> bool {
        let start = HANDLERS + HANDLER_LEN * u64::from(vector);
        (start..start + HANDLER_LEN).contains(&self.machine.cpu(cpu).rip)
    }

    /// Maps [`WINDOW`] onto `phys`; nothing that is cached is dropped.
    pub(super) fn map_window(&mut self, phys: u64, bits: u64) {
        self.machine.write_phys(PT, &(phys | bits).to_le_bytes());
    }

    /// Gives the gate of `vector` an IST index.
    pub(super) fn use_ist(&mut self, vector: u64, index: u64) {
        let at = IDT + 16 * vector;
        let gate = self.machine.read_phys_u64(at) | index << 32;
        self.machine.write_phys(at, &gate.to_le_bytes());
    }

    /// Sends a CPU into shutdown: an exception without an IDT.
    pub(super) fn shut_down(&mut self, cpu: usize) {
        self.machine.cpu_mut(cpu).idtr.limit = 0;
        self.machine.write_phys(CODE + STRIDE * cpu as u64, &[0x0f, 0x0b]); // ud2
        self.step(cpu);
        self.machine.cpu_mut(cpu).idtr.limit = 0xfff;
    }
}

/// The machine of a vendor with x2APIC mode on.
pub(super) fn x2apic(vendor: Vendor) -> MachineConfig {
    let mut config = match vendor {
        Vendor::Intel => MachineConfig::intel(2),
        Vendor::Amd => MachineConfig::amd(2),
    };
    config.x2apic = true;
    config
}
