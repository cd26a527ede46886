//! A machine: this one, one whose registers were dumped, or one of a shape that was asked for.

mod args;
mod count;
mod dumped;
mod host;
mod invented;

pub use args::MachineArguments;
pub use count::CountSource;
pub use host::host_cpuid;
pub use invented::{VendorArgument, invented_cpuid};

use crate::topology::{Identity, Place, Shape, Topology};
use cpu_park::core::CpuidResult;
use cpu_park::x86::features::Vendor;
use cpu_park::x86::registers::cpuid::LEAF_VERSION;
use cpu_park::{Detected, detect};
use dumped::{id_text, is_hybrid};
use serde::Serialize;

/// A CPU of a [`Machine`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachineCpu {
    /// Where it sits.
    pub place: Place,
    /// The index of what it can do in [`Machine::kinds`].
    pub kind: usize,
}

/// Where a machine comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The program runs on it.
    Host,
    /// A dump of its registers.
    Dump,
    /// It was asked for by its shape; it has the CPU of park's simulator.
    Asked,
}

/// What is known of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Where it comes from.
    pub origin: Origin,
    /// Who says how many CPUs it has.
    pub count_source: CountSource,
    /// What CPUs can do: one for most machines, the bootstrap processor's first.
    pub kinds: Vec<Detected>,
    /// The CPUs, by APIC id; there is at least one.
    pub cpus: Vec<MachineCpu>,
    /// Who sits where.
    pub topology: Topology,
    /// Twelve characters of leaf 0.
    pub vendor_id: String,
    /// EAX of leaf 1.
    pub signature: u32,
    /// Cores of several kinds, as leaf 7 says.
    pub is_hybrid: bool,
    /// Contradictions in what was read: the first of two was taken.
    pub warnings: Vec<String>,
    /// What had to be assumed.
    pub notes: Vec<String>,
}

impl Machine {
    /// A machine of CPUs that are all like the one whose CPUID is asked, called with EAX and ECX.
    #[must_use]
    pub fn alike(
        origin: Origin,
        count_source: CountSource,
        identities: &[Identity],
        cpuid: impl Fn(u32, u32) -> CpuidResult,
    ) -> Self {
        let topology = Topology::new(identities);
        Self {
            origin,
            count_source,
            kinds: vec![detect(&cpuid)],
            cpus: topology.places().iter().map(|place| MachineCpu { place: *place, kind: 0 }).collect(),
            topology,
            vendor_id: id_text(&cpuid),
            signature: cpuid(LEAF_VERSION, 0)[0],
            is_hybrid: is_hybrid(&cpuid),
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A machine of this shape, with the CPU of park's simulator.
    #[must_use]
    pub fn of_shape(vendor: VendorArgument, shape: Shape) -> Self {
        invented::machine(vendor, shape)
    }

    /// What the bootstrap processor can do.
    #[must_use]
    pub fn detected(&self) -> Detected {
        self.kinds.first().copied().unwrap_or_else(|| detect(|_, _| [0; 4]))
    }

    /// Who made it.
    #[must_use]
    pub fn vendor(&self) -> Vendor {
        self.detected().features().vendor
    }

    /// Who made it, as people call them.
    #[must_use]
    pub fn maker(&self) -> String {
        match self.vendor() {
            Vendor::Other => format!("`{}`", self.vendor_id),
            known => known.name().to_owned(),
        }
    }

    /// What a CPU can do.
    #[must_use]
    pub fn detected_of(&self, cpu: &MachineCpu) -> Detected {
        self.kinds.get(cpu.kind).copied().unwrap_or_else(|| self.detected())
    }

    /// EAX of leaf 1 as documents show it: eight hexadecimal digits.
    #[must_use]
    pub fn signature_text(&self) -> String {
        format!("{:08x}", self.signature)
    }

    /// True if this CPU is the bootstrap processor, as far as is known.
    #[must_use]
    pub fn is_bootstrap(&self, cpu: &MachineCpu) -> bool {
        self.topology.places().get(self.topology.bootstrap()).is_some_and(|place| place.apic_id == cpu.place.apic_id)
    }
}

/// The name of a vendor in documents and options.
#[must_use]
pub const fn vendor_name(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Intel => "intel",
        Vendor::Amd => "amd",
        Vendor::Hygon => "hygon",
        Vendor::Centaur => "centaur",
        Vendor::Zhaoxin => "zhaoxin",
        _ => "other",
    }
}
