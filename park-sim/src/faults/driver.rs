//! Faults of the code that sends IPIs, which no journey executes: park's own driver of the local APIC, without one of its
//! actions.

use super::{BOSS, TARGET};
use crate::machine::{Activity, Knob, Machine, MachineConfig, PhysRange, RuleSet};
use crate::platform::OnCpu;
use park_core::{Action, ApicId, Cpu, CpuidResult, IpiSender, PlatformError, Register};
use park_x86::apic::LocalApic;

/// A fault of the driver: an action that it does not take.
#[derive(Clone, Copy, Debug)]
pub struct DriverFault {
    /// Its name, in kebab-case.
    pub name: &'static str,
    /// What is missing, in one sentence.
    pub what: &'static str,
    /// The action.
    pub left_out: Action,
}

/// All of them.
pub const DRIVER_FAULTS: &[DriverFault] = &[DriverFault {
    name: "no-fence-before-the-icr",
    what: "no MFENCE before the ICR is written: a STARTUP overtakes the store of the code that it starts",
    left_out: Action::Fence,
}];

impl DriverFault {
    /// The fault with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        DRIVER_FAULTS.iter().find(|fault| fault.name == name)
    }

    /// Whether something goes wrong with this fault, under `rules`.
    #[must_use]
    pub fn is_found(&self, rules: RuleSet) -> bool {
        !starts_on_the_new_page(Some(self.left_out), rules)
    }
}

/// Whether all is well with the driver as it is, under `rules`.
#[must_use]
pub fn driver_is_sound(rules: RuleSet) -> bool {
    starts_on_the_new_page(None, rules)
}

/// A waker's CPU for the driver, on which one action may do nothing.
struct Waker<'m> {
    on: OnCpu<'m>,
    left_out: Option<Action>,
}

impl Cpu for Waker<'_> {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.on.cpuid(leaf, subleaf)
    }

    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        self.on.read(register)
    }

    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        self.on.write(register, value)
    }

    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        if Some(action) == self.left_out {
            return Ok(());
        }
        if action == Action::Fence {
            self.on.machine.fence(self.on.cpu);
            return Ok(());
        }
        self.on.act(action)
    }
}

/// True if a CPU that is started runs the start-up page as its starter wrote it last.
fn starts_on_the_new_page(left_out: Option<Action>, rules: RuleSet) -> bool {
    /// The start-up page: where STARTUP with vector 8 leads.
    const PAGE: u64 = 0x8000;
    const VECTOR: u8 = 8;
    const HLT: u8 = 0xf4;
    const NOP: u8 = 0x90;
    let mut config = MachineConfig::intel(2);
    config.x2apic = true;
    config.rules = rules;
    let Ok(()) = config.knobs.set(Knob::IcrReorder, "on") else { return false };
    let Ok(mut machine) = Machine::new(&config) else { return false };
    // HLT stands there; NOP is stored over it, and may wait in the store buffer.
    machine.write_phys(PAGE, &[HLT; 8]);
    machine.store(BOSS, PAGE, u64::from_le_bytes([NOP; 8]));
    let lot = PhysRange::new(0, 0);
    let waker = Waker { on: OnCpu { machine: &mut machine, cpu: BOSS, lot }, left_out };
    let Ok(mut apic) = LocalApic::new(waker) else { return false };
    if apic.send_startup(ApicId(TARGET as u32), VECTOR).is_err() {
        return false;
    }
    machine.step(TARGET);
    machine.cpu(TARGET).activity == Activity::Running
}
