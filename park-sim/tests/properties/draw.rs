//! Strategies: machines, mechanisms, scripts of events.

use park_core::Mechanism;
use park_core::lot::PagingLevels;
use park_sim::machine::{CpuConfig, EventKind, Knob, MachineConfig, Vendor};
use proptest::collection::vec;
use proptest::prelude::*;

/// Steps that SMM waits for CPUs that do not come, where a knob says that it waits.
const SMM_STEPS: u32 = 400;

/// What a machine is drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) vendor: Vendor,
    pub(crate) cpus: usize,
    /// The BSP and the CPU that rings, each modulo the number of CPUs.
    pub(crate) bsp: usize,
    pub(crate) boss: usize,
    /// First APIC id and the distance of ids; with x2APIC they pass 255.
    pub(crate) first_id: u32,
    pub(crate) id_step: u32,
    pub(crate) x2apic: bool,
    pub(crate) levels: PagingLevels,
    pub(crate) store_buffer_depth: u8,
    pub(crate) seed: u64,
    /// An index for each knob, modulo its values.
    pub(crate) knobs: Vec<u8>,
}

impl Drawn {
    pub(crate) fn config(&self) -> MachineConfig {
        let mut config = match self.vendor {
            Vendor::Intel => MachineConfig::intel(self.cpus),
            Vendor::Amd => MachineConfig::amd(self.cpus),
        };
        // LA57: CPUID 7.0 ECX bit 16 (Intel SDM vol. 2A, CPUID).
        config.cpuid = config.cpuid.with(7, 0, |regs| regs.ecx |= 1 << 16);
        config.cpus = (0..self.cpus)
            .map(|cpu| CpuConfig {
                apic_id: self.first_id + self.id_step * cpu as u32,
                bsp: cpu == self.bsp % self.cpus,
            })
            .collect();
        config.x2apic = self.x2apic;
        config.smm_timeout_steps = SMM_STEPS;
        config.store_buffer_depth = self.store_buffer_depth;
        for (knob, index) in Knob::ALL.iter().zip(&self.knobs) {
            let index = index % knob.values().len() as u8;
            config.knobs.set_index(*knob, index).expect("a value of the knob");
        }
        config
    }

    pub(crate) const fn boss(&self) -> usize {
        self.boss % self.cpus
    }
}

/// Machines of `least` to 64 CPUs, mostly small.
pub(crate) fn machine(least: usize) -> impl Strategy<Value = Drawn> {
    machine_of(prop_oneof![
        24 => least..=4,
        10 => 5..=8usize,
        3 => 9..=16usize,
        1 => 17..=64usize,
    ])
}

/// Machines of `least` to 5 CPUs, for what many CPUs add nothing to.
pub(crate) fn small_machine(least: usize) -> impl Strategy<Value = Drawn> {
    machine_of(least..=5)
}

/// Machines of one CPU to park and one to wake it.
pub(crate) fn pair() -> impl Strategy<Value = Drawn> {
    machine_of(Just(2))
}

fn machine_of(cpus: impl Strategy<Value = usize>) -> impl Strategy<Value = Drawn> {
    let ids = prop_oneof![
        Just((0u32, 1u32, false)),
        (0u32..64, 1u32..3).prop_map(|(first, step)| (first, step, false)),
        (0u32..4000, 1u32..40).prop_map(|(first, step)| (first, step, true)),
    ];
    let vendor = prop_oneof![Just(Vendor::Intel), Just(Vendor::Amd)];
    let levels = prop_oneof![Just(PagingLevels::Four), Just(PagingLevels::Five)];
    let knobs = vec(any::<u8>(), Knob::ALL.len());
    (vendor, cpus, any::<(u8, u8, u64)>(), ids, levels, 0u8..=8, knobs).prop_map(
        |(vendor, cpus, (bsp, boss, seed), (first_id, id_step, x2apic), levels, store_buffer_depth, knobs)| Drawn {
            vendor,
            cpus,
            bsp: bsp.into(),
            boss: boss.into(),
            first_id,
            id_step,
            x2apic,
            levels,
            store_buffer_depth,
            seed,
            knobs,
        },
    )
}

/// A mechanism of the lot; what the CPU can't do becomes Hlt.
pub(crate) fn mechanism() -> impl Strategy<Value = Mechanism> {
    prop_oneof![Just(Mechanism::Hlt), Just(Mechanism::Mwait), Just(Mechanism::Clgi)]
}

/// What is thrown at a travelling CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Thrown {
    Nmi,
    Smi,
    Mc,
    Intr,
    FalseWake,
    Init,
    Sipi,
}

impl Thrown {
    pub(crate) const ALL: [Self; 7] =
        [Self::Nmi, Self::Smi, Self::Mc, Self::Intr, Self::FalseWake, Self::Init, Self::Sipi];

    pub(crate) const fn kind(self) -> EventKind {
        match self {
            Self::Nmi => EventKind::Nmi,
            Self::Smi => EventKind::Smi,
            Self::Mc => EventKind::MachineCheck,
            Self::Intr => EventKind::Fixed(0x40),
            Self::FalseWake => EventKind::FalseWake,
            Self::Init => EventKind::Init,
            Self::Sipi => EventKind::Sipi(0x10),
        }
    }
}

/// Events, each after so many steps. INIT is rarer: most of what follows it is over.
pub(crate) fn script(steps: u64, most: usize) -> impl Strategy<Value = Vec<(u64, Thrown)>> {
    vec((0..steps, thrown(1)), 0..=most)
}

/// Events of which many come right after another, into its handler; INIT is no rarer than others.
pub(crate) fn dense_script(steps: u64, most: usize) -> impl Strategy<Value = Vec<(u64, Thrown)>> {
    let after = prop_oneof![0..BURST_STEPS, 0..steps];
    vec((after, thrown(3)), 0..=most)
}

/// Steps in which an event's handler still runs.
const BURST_STEPS: u64 = 8;

fn thrown(init_weight: u32) -> impl Strategy<Value = Thrown> {
    prop_oneof![
        4 => Just(Thrown::Nmi),
        3 => Just(Thrown::Smi),
        3 => Just(Thrown::Mc),
        2 => Just(Thrown::Intr),
        2 => Just(Thrown::FalseWake),
        init_weight => Just(Thrown::Init),
        1 => Just(Thrown::Sipi),
    ]
}
