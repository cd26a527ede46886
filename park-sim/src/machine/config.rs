//! What a simulated machine is made of.

use core::fmt;

use super::cpuid::CpuidTable;
use super::knobs::Knobs;
use super::rules::RuleSet;

/// The CPU vendor, which decides the rules that differ (INIT, machine-check broadcast, SVM, VMX).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// GenuineIntel.
    Intel,
    /// AuthenticAMD or HygonGenuine.
    Amd,
}

/// A range of physical addresses in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhysRange {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

impl PhysRange {
    /// The range of `len` bytes from `start`.
    #[must_use]
    pub const fn new(start: u64, len: u64) -> Self {
        Self { start, len }
    }

    /// One past the last byte, saturating.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Whether `phys` lies inside.
    #[must_use]
    pub const fn contains(self, phys: u64) -> bool {
        phys >= self.start && phys < self.end()
    }
}

/// One logical processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuConfig {
    /// Local APIC id.
    pub apic_id: u32,
    /// Whether IA32_APIC_BASE.BSP is set.
    pub bsp: bool,
}

/// How long translations live in the TLB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlbMode {
    /// Until something architectural flushes them, or [`super::Machine::evict_tlb`].
    #[default]
    Keep,
    /// No longer than one access: every access walks.
    EvictAlways,
}

/// Everything that shapes a machine. Start from [`MachineConfig::intel`] or [`MachineConfig::amd`].
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// The vendor whose rules hold.
    pub vendor: Vendor,
    /// The logical processors; index = the `cpu` argument everywhere. 1 to 1024.
    pub cpus: Vec<CpuConfig>,
    /// Physical memory: page-aligned, not overlapping; everything else is unbacked (reads all ones, writes vanish).
    pub ram: Vec<PhysRange>,
    /// What CPUID answers and what the CPUs can do.
    pub cpuid: CpuidTable,
    /// The undocumented cells.
    pub knobs: Knobs,
    /// The rules that hold.
    pub rules: RuleSet,
    /// Store buffer entries per CPU, 1 to [`super::store_buffer::CAPACITY`]; 0 writes through.
    pub store_buffer_depth: u8,
    /// TLB lifetime.
    pub tlb: TlbMode,
    /// Whether the APICs start in x2APIC mode.
    pub x2apic: bool,
    /// Machine-check banks (MCG_CAP.Count).
    pub mc_banks: u8,
    /// TSC at start.
    pub tsc_start: u64,
    /// TSC ticks per executed step of any CPU; 0 keeps the TSC constant (for the explorer).
    pub tsc_per_step: u64,
    /// Bits of a page-table entry and CR3 that are an encryption mark, not address.
    pub encryption_mask: u64,
    /// Whether to track dirty cache lines per CPU.
    pub track_dirty_lines: bool,
    /// How many steps SMM waits for CPUs that do not check in, where the knob says it waits.
    pub smm_timeout_steps: u32,
    /// How many records the trace keeps; 0 turns it off.
    pub trace_records: usize,
}

impl MachineConfig {
    /// An Ice Lake server-like machine with `cpus` CPUs, ids from 0, CPU 0 the BSP, and RAM at 0..32 MiB.
    #[must_use]
    pub fn intel(cpus: usize) -> Self {
        Self::with(Vendor::Intel, CpuidTable::intel(), cpus)
    }

    /// A Zen-like machine with `cpus` CPUs, ids from 0, CPU 0 the BSP, and RAM at 0..32 MiB.
    #[must_use]
    pub fn amd(cpus: usize) -> Self {
        Self::with(Vendor::Amd, CpuidTable::amd(), cpus)
    }

    fn with(vendor: Vendor, cpuid: CpuidTable, cpus: usize) -> Self {
        Self {
            vendor,
            cpus: (0u32..).take(cpus).map(|id| CpuConfig { apic_id: id, bsp: id == 0 }).collect(),
            ram: vec![PhysRange::new(0, 32 << 20)],
            cpuid,
            knobs: Knobs::default(),
            rules: RuleSet::default(),
            store_buffer_depth: 4,
            tlb: TlbMode::Keep,
            x2apic: false,
            mc_banks: 4,
            tsc_start: 1 << 32,
            tsc_per_step: 1,
            encryption_mask: 0,
            track_dirty_lines: false,
            smm_timeout_steps: 1000,
            trace_records: 0,
        }
    }

    /// The mode bits of IA32_APIC_BASE at reset.
    pub(crate) const fn apic_mode(&self) -> u64 {
        use super::apic::base;
        if self.x2apic { base::EN | base::EXTD } else { base::EN }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.cpus.is_empty() || self.cpus.len() > MAX_CPUS {
            return Err(ConfigError::CpuCount { count: self.cpus.len() });
        }
        for (index, cpu) in self.cpus.iter().enumerate() {
            if self.cpus.iter().take(index).any(|other| other.apic_id == cpu.apic_id) {
                return Err(ConfigError::DuplicateApicId { apic_id: cpu.apic_id });
            }
            if !self.x2apic && cpu.apic_id > XAPIC_MAX_ID {
                return Err(ConfigError::ApicIdNeedsX2apic { apic_id: cpu.apic_id });
            }
        }
        for (index, range) in self.ram.iter().enumerate() {
            let aligned = range.start % 4096 == 0 && range.len % 4096 == 0;
            let fits = range.start.checked_add(range.len).is_some_and(|end| end <= MAX_PHYS);
            if !aligned || range.len == 0 || !fits {
                return Err(ConfigError::RamRange { start: range.start, len: range.len });
            }
            if self.ram.iter().take(index).any(|other| other.start < range.end() && range.start < other.end()) {
                return Err(ConfigError::RamRange { start: range.start, len: range.len });
            }
            if range.start < LAPIC_WINDOW_END && LAPIC_WINDOW_START < range.end() {
                return Err(ConfigError::RamRange { start: range.start, len: range.len });
            }
        }
        let frames: u64 = self.ram.iter().map(|range| range.len / 4096).sum();
        if frames > MAX_FRAMES {
            return Err(ConfigError::RamTooLarge { bytes: frames * 4096 });
        }
        if usize::from(self.store_buffer_depth) > super::store_buffer::CAPACITY {
            return Err(ConfigError::StoreBufferDepth { depth: self.store_buffer_depth });
        }
        if usize::from(self.mc_banks) > super::msr::MAX_MC_BANKS {
            return Err(ConfigError::McBanks { banks: self.mc_banks });
        }
        Ok(())
    }
}

/// Most logical processors of one machine.
pub const MAX_CPUS: usize = 1024;
/// Highest id an 8-bit xAPIC can have; FFh is broadcast (S:10.4.6).
pub const XAPIC_MAX_ID: u32 = 0xfe;
/// End of the simulated physical address space (MAXPHYADDR 46).
pub const MAX_PHYS: u64 = 1 << 46;
/// Most RAM: 16 GiB in frames.
const MAX_FRAMES: u64 = 4 << 20;
/// The default local APIC page (S:10.4.1), which RAM may not cover.
const LAPIC_WINDOW_START: u64 = 0xfee0_0000;
const LAPIC_WINDOW_END: u64 = 0xfee0_1000;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No CPU, or more than [`MAX_CPUS`].
    CpuCount {
        /// The count given.
        count: usize,
    },
    /// Two CPUs have this id.
    DuplicateApicId {
        /// The id.
        apic_id: u32,
    },
    /// The id does not fit the xAPIC mode that the machine starts in.
    ApicIdNeedsX2apic {
        /// The id.
        apic_id: u32,
    },
    /// A RAM range is empty, unaligned, overlapping, over the local APIC, or beyond the address space.
    RamRange {
        /// Its start.
        start: u64,
        /// Its length.
        len: u64,
    },
    /// The RAM is larger than the simulator holds.
    RamTooLarge {
        /// The sum given.
        bytes: u64,
    },
    /// The store buffer is deeper than the simulator models.
    StoreBufferDepth {
        /// The depth given.
        depth: u8,
    },
    /// More machine-check banks than the simulator models.
    McBanks {
        /// The count given.
        banks: u8,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuCount { count } => write!(f, "a machine has 1 to {MAX_CPUS} CPUs, not {count}"),
            Self::DuplicateApicId { apic_id } => write!(f, "two CPUs have APIC id {apic_id:#x}"),
            Self::ApicIdNeedsX2apic { apic_id } => {
                write!(f, "APIC id {apic_id:#x} is above {XAPIC_MAX_ID:#x}: start the machine in x2APIC mode")
            }
            Self::RamRange { start, len } => write!(
                f,
                "RAM range {start:#x}+{len:#x} must be page-aligned, not empty, below {MAX_PHYS:#x}, off the local APIC page and off other ranges"
            ),
            Self::RamTooLarge { bytes } => write!(f, "{bytes:#x} bytes of RAM are more than {:#x}", MAX_FRAMES * 4096),
            Self::StoreBufferDepth { depth } => {
                write!(f, "store buffer depth {depth} is above {}", super::store_buffer::CAPACITY)
            }
            Self::McBanks { banks } => write!(f, "{banks} machine-check banks are above {}", super::msr::MAX_MC_BANKS),
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_configurations_are_refused_by_name() {
        let mut config = MachineConfig::intel(2);
        config.cpus[1].apic_id = 0;
        assert_eq!(config.check(), Err(ConfigError::DuplicateApicId { apic_id: 0 }));
        config.cpus[1].apic_id = 300;
        assert_eq!(config.check(), Err(ConfigError::ApicIdNeedsX2apic { apic_id: 300 }));
        config.x2apic = true;
        assert_eq!(config.check(), Ok(()));
        config.ram.push(PhysRange::new(0x1000, 0x1000));
        assert_eq!(config.check(), Err(ConfigError::RamRange { start: 0x1000, len: 0x1000 }));
        assert_eq!(MachineConfig::amd(0).check(), Err(ConfigError::CpuCount { count: 0 }));
    }
}
