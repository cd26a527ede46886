//! The configurations of emulators that trials run on.

use core::fmt;

/// Whose CPUs run the image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Emulator {
    /// QEMU's translator, TCG. What it does differently from the manuals is in the table of deviations.
    Qemu,
    /// Bochs.
    Bochs,
    /// park's own simulator, in this process. It runs no image, but the conformance cases.
    Simulator,
}

impl Emulator {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Simulator, Self::Qemu, Self::Bochs];
    /// Those that run the image.
    pub const FOREIGN: [Self; 2] = [Self::Qemu, Self::Bochs];

    /// The name on command lines and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
            Self::Simulator => "sim",
        }
    }
}

impl fmt::Display for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the image is started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Boot {
    /// QEMU loads the ELF file itself.
    Pvh,
    /// GRUB under a BIOS.
    BiosIso,
    /// GRUB under UEFI.
    UefiIso,
    /// GRUB under UEFI that handles SMIs: each is a rendezvous of all CPUs in SMM.
    UefiSmmIso,
}

/// What drives virtual time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pace {
    /// A host thread per CPU; time is the host's.
    Parallel,
    /// One thread; each instruction takes one tick: a run is the same each time.
    Counted,
    /// Instruction by instruction. Bochs, once the image has asked its debugger to, executes one of each CPU in turn, one
    /// tick each; QEMU looks for events after each one.
    Stepped,
}

/// One machine of an emulator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Configuration {
    /// Its name, unique.
    pub name: &'static str,
    /// Whose CPUs.
    pub emulator: Emulator,
    /// The CPU model, in the emulator's words.
    pub model: &'static str,
    /// CPUs.
    pub cpus: u32,
    /// RAM in MiB: little, since torture overwrites all of it.
    pub ram_mib: u32,
    /// How the image is started.
    pub boot: Boot,
    /// What drives time.
    pub pace: Pace,
    /// Mode of the local APICs, as the image's `apic` has it.
    pub apic: &'static str,
    /// The image's longest wait for another CPU, in milliseconds of the machine.
    pub timeout_ms: u32,
}

impl Configuration {
    /// The configuration of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|configuration| configuration.name == name)
    }

    /// The model without its flags, which is what `--cpu` wants.
    #[must_use]
    pub fn model_name(&self) -> &'static str {
        self.model.split(',').next().unwrap_or(self.model)
    }
}

/// Enough for an image, its lot and its stacks.
const RAM_MIB: u32 = 64;
/// Every byte that Bochs writes costs more.
const BOCHS_RAM_MIB: u32 = 32;
/// UEFI does not start with less.
const UEFI_RAM_MIB: u32 = 512;
/// The image's default.
const TIMEOUT_MS: u32 = 10_000;
/// Bochs runs its CPUs in turn, so that none waits for the host; and a wait for one that never comes costs its full time.
const BOCHS_TIMEOUT_MS: u32 = 2_000;
/// A virtual CPU may wait for the host's while 8 or 16 others run on 2: reactions of 27 to 63 ms were seen with 16.
const CROWDED_TIMEOUT_MS: u32 = 60_000;

/// The simulator's models, in its words.
pub(crate) const SIM_INTEL_MODEL: &str = "intel";
const SIM_AMD_MODEL: &str = "amd";

/// Nothing is booted: what is about images means nothing.
const SIM_AMD: Configuration = Configuration {
    name: "sim-amd",
    emulator: Emulator::Simulator,
    model: SIM_AMD_MODEL,
    // One that is parked, one that parks it, one that looks on.
    cpus: 3,
    ram_mib: 0,
    boot: Boot::Pvh,
    pace: Pace::Counted,
    apic: "x",
    timeout_ms: 0,
};

const EPYC: Configuration = Configuration {
    name: "qemu-epyc",
    emulator: Emulator::Qemu,
    // AMD with SVM, which TCG has.
    model: "EPYC",
    cpus: 4,
    ram_mib: RAM_MIB,
    boot: Boot::Pvh,
    pace: Pace::Parallel,
    apic: "x",
    timeout_ms: TIMEOUT_MS,
};

const RYZEN: Configuration = Configuration {
    name: "bochs-ryzen-2",
    emulator: Emulator::Bochs,
    // AMD with SVM and MONITOR, without x2APIC.
    model: "ryzen",
    cpus: 2,
    ram_mib: BOCHS_RAM_MIB,
    boot: Boot::BiosIso,
    pace: Pace::Counted,
    apic: "x",
    timeout_ms: BOCHS_TIMEOUT_MS,
};

const HASWELL: Configuration =
    Configuration { name: "bochs-haswell-2", model: "corei7_haswell_4770", apic: "x2", ..RYZEN };

const TIGERLAKE: Configuration = Configuration { name: "bochs-tigerlake-2", model: "tigerlake", ..HASWELL };

/// All configurations. A name says what is special about one.
pub const ALL: [Configuration; 20] = [
    SIM_AMD,
    Configuration { name: "sim-intel", model: SIM_INTEL_MODEL, ..SIM_AMD },
    EPYC,
    Configuration { name: "qemu-epyc-8", cpus: 8, timeout_ms: CROWDED_TIMEOUT_MS, ..EPYC },
    Configuration { name: "qemu-epyc-16", cpus: 16, timeout_ms: CROWDED_TIMEOUT_MS, ..EPYC },
    Configuration { name: "qemu-counted", pace: Pace::Counted, ..EPYC },
    Configuration { name: "qemu-stepped", pace: Pace::Stepped, cpus: 2, ..EPYC },
    Configuration { name: "qemu-intel", model: "max,vendor=GenuineIntel,+monitor,svm=off", ..EPYC },
    // Page tables of five levels: the image switches them on.
    Configuration { name: "qemu-la57", model: "max", ..EPYC },
    Configuration { name: "qemu-bios", boot: Boot::BiosIso, ..EPYC },
    Configuration { name: "qemu-uefi", boot: Boot::UefiIso, ram_mib: UEFI_RAM_MIB, ..EPYC },
    Configuration { name: "qemu-smm", boot: Boot::UefiSmmIso, ram_mib: UEFI_RAM_MIB, ..EPYC },
    RYZEN,
    Configuration { name: "bochs-ryzen-4", cpus: 4, ..RYZEN },
    Configuration { name: "bochs-ryzen-stepped", pace: Pace::Stepped, ..RYZEN },
    HASWELL,
    Configuration { name: "bochs-haswell-stepped", pace: Pace::Stepped, ..HASWELL },
    Configuration { name: "bochs-haswell-4", cpus: 4, ..HASWELL },
    TIGERLAKE,
    Configuration { name: "bochs-tigerlake-4", cpus: 4, ..TIGERLAKE },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_begin_with_the_emulator() {
        for (index, configuration) in ALL.iter().enumerate() {
            assert_eq!(ALL.iter().position(|other| other.name == configuration.name), Some(index));
            assert!(configuration.name.starts_with(configuration.emulator.name()));
            assert_eq!(Configuration::from_name(configuration.name), Some(configuration));
        }
    }

    #[test]
    fn bochs_is_never_asked_for_what_it_lacks() {
        for configuration in ALL.iter().filter(|configuration| configuration.emulator == Emulator::Bochs) {
            assert_eq!(configuration.boot, Boot::BiosIso);
            assert_ne!(configuration.pace, Pace::Parallel);
            assert!(configuration.apic == "x" || configuration.model != "ryzen");
        }
    }
}
