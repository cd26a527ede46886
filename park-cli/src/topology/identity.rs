//! Which CPU it is, and with whom it shares what: from its own CPUID.

use super::shape::bits;
use cpu_park::core::CpuidResult;
use cpu_park::x86::features::{FeatureSet, Features, Vendor};
use cpu_park::x86::registers::cpuid::{LEAF_EXTENDED, LEAF_VENDOR, LEAF_VERSION};
use serde::Serialize;

/// Extended topology enumeration, the second form (SDM vol. 2A, "CPUID", leaf 1Fh).
const LEAF_TOPOLOGY_V2: u32 = 0x1f;
/// Extended topology enumeration (SDM vol. 2A, "CPUID", leaf 0Bh).
const LEAF_TOPOLOGY: u32 = 0xb;
/// Intel: deterministic cache parameters (SDM vol. 2A, "CPUID", leaf 4).
const LEAF_CACHES: u32 = 4;
/// AMD: cache topology, in the form of leaf 4 (APM vol. 3, Fn8000_001D).
const LEAF_CACHES_AMD: u32 = 0x8000_001d;
/// AMD: extended APIC id, core and node identifiers (APM vol. 3, Fn8000_001E).
const LEAF_IDS_AMD: u32 = 0x8000_001e;
/// AMD: extended features; ECX\[22\] says that 8000_001Dh and 8000_001Eh mean something (APM vol. 3, Fn8000_0001).
const LEAF_FEATURES_AMD: u32 = 0x8000_0001;
const TOPOLOGY_EXTENSIONS_BIT: u32 = 22;
/// AMD: L2 and L3 size; EDX\[31:18\] is 0 where there is no L3 (APM vol. 3, Fn8000_0006).
const LEAF_L3_AMD: u32 = 0x8000_0006;
/// AMD: size identifiers; ECX\[7:0\] is the number of threads in the package less one, ECX\[15:12\] the bits of an id below
/// the package (APM vol. 3, Fn8000_0008).
const LEAF_SIZES: u32 = 0x8000_0008;
/// The first family of AMD whose cores have threads: 17h. Linux topology_amd.c parse_8000_001e().
const FAMILY_ZEN: u16 = 0x17;
/// Levels that the topology leaves may list before we stop looking; six are defined.
const LEVELS_MAX: u32 = 8;
/// Caches that a leaf may list before we stop looking.
const CACHES_MAX: u32 = 8;
/// Level type of the topology leaves: threads of a core.
const LEVEL_THREADS: u32 = 1;
/// Cache types of leaf 4: none, and instructions only.
const CACHE_NONE: u32 = 0;
const CACHE_INSTRUCTIONS: u32 = 2;
/// The most bits of an id that a field may cover.
const BITS_MAX: u32 = 31;

/// Which leaf told the APIC id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum IdSource {
    /// 1Fh, EDX.
    #[serde(rename = "0000001f")]
    TopologyV2,
    /// 0Bh, EDX.
    #[serde(rename = "0000000b")]
    Topology,
    /// 8000_001Eh, EAX.
    #[serde(rename = "8000001e")]
    ExtendedIds,
    /// 1, EBX\[31:24\]: eight bits of it.
    #[serde(rename = "00000001")]
    Version,
}

impl IdSource {
    /// The leaf.
    #[must_use]
    pub const fn leaf(self) -> u32 {
        match self {
            Self::TopologyV2 => LEAF_TOPOLOGY_V2,
            Self::Topology => LEAF_TOPOLOGY,
            Self::ExtendedIds => LEAF_IDS_AMD,
            Self::Version => LEAF_VERSION,
        }
    }

    /// The bits that the leaf tells.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self {
            Self::Version => 0xff,
            _ => u32::MAX,
        }
    }
}

/// An APIC id and what its bits mean. Every field begins at bit 0: CPUs whose ids agree above it share the thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The APIC id.
    pub apic_id: u32,
    /// Bits below the core's.
    pub thread_bits: u32,
    /// Bits below the last-level cache's.
    pub cache_bits: u32,
    /// Bits below the package's.
    pub package_bits: u32,
    /// Logical CPUs of the package, and threads of the core, as leaves count them.
    pub counts: Counts,
}

/// What leaves count. Not for placing CPUs: a core that is switched off is counted all the same (SDM vol. 2A, leaf 1Fh).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Logical CPUs of the package.
    pub package: u32,
    /// Logical CPUs of the core.
    pub core: u32,
}

impl Identity {
    /// An id of a machine whose numbers are known.
    #[must_use]
    pub const fn packed(apic_id: u32, thread_bits: u32, cache_bits: u32, package_bits: u32) -> Self {
        Self { apic_id, thread_bits, cache_bits, package_bits, counts: Counts { package: 1, core: 1 } }
    }

    /// The id's bits above a field.
    #[must_use]
    pub const fn above(&self, bits: u32) -> u32 {
        match self.apic_id.checked_shr(bits) {
            Some(id) => id,
            None => 0,
        }
    }

    /// Reads CPUID, called with EAX and ECX, of the CPU that is asked for.
    #[must_use]
    pub fn read(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Self {
        let reader = Reader::new(cpuid);
        let apic_id = reader.ids().first().map_or(0, |(_, id)| *id);
        let levels = reader.levels();
        let thread_bits = levels.thread_bits.min(BITS_MAX);
        let package_bits = levels.package_bits.clamp(thread_bits, BITS_MAX);
        let cache_bits = reader.cache_bits(thread_bits, package_bits).clamp(thread_bits, package_bits);
        Self { apic_id, thread_bits, cache_bits, package_bits, counts: levels.counts }
    }

    /// Every leaf that tells an APIC id, the one to believe first.
    #[must_use]
    pub fn ids(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Vec<(IdSource, u32)> {
        Reader::new(cpuid).ids()
    }
}

/// Bits and counts of the levels.
struct Levels {
    thread_bits: u32,
    package_bits: u32,
    counts: Counts,
}

struct Reader<C> {
    cpuid: C,
    features: Features,
    highest: u32,
    highest_extended: u32,
}

impl<C: Fn(u32, u32) -> CpuidResult> Reader<C> {
    fn new(cpuid: C) -> Self {
        let features = Features::read(&cpuid);
        let (highest, highest_extended) = (cpuid(LEAF_VENDOR, 0)[0], cpuid(LEAF_EXTENDED, 0)[0]);
        Self { cpuid, features, highest, highest_extended }
    }

    /// A leaf, zeros beyond the highest that the CPU names.
    fn leaf(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let last = if leaf < LEAF_EXTENDED { self.highest } else { self.highest_extended };
        if leaf > last { [0; 4] } else { (self.cpuid)(leaf, subleaf) }
    }

    const fn is_amd(&self) -> bool {
        matches!(self.features.vendor, Vendor::Amd | Vendor::Hygon)
    }

    fn has_amd_topology(&self) -> bool {
        self.is_amd() && self.leaf(LEAF_FEATURES_AMD, 0)[2] >> TOPOLOGY_EXTENSIONS_BIT & 1 == 1
    }

    /// A topology leaf that exists: EBX of its first level counts something, and the level has a type.
    fn has_levels(&self, leaf: u32) -> bool {
        let [_, ebx, ecx, _] = self.leaf(leaf, 0);
        ebx & 0xffff != 0 && ecx >> 8 & 0xff != 0
    }

    fn ids(&self) -> Vec<(IdSource, u32)> {
        let mut ids = Vec::new();
        for source in [IdSource::TopologyV2, IdSource::Topology] {
            if self.has_levels(source.leaf()) {
                ids.push((source, self.leaf(source.leaf(), 0)[3]));
            }
        }
        if self.has_amd_topology() && self.highest_extended >= LEAF_IDS_AMD {
            ids.push((IdSource::ExtendedIds, self.leaf(LEAF_IDS_AMD, 0)[0]));
        }
        ids.push((IdSource::Version, self.leaf(LEAF_VERSION, 0)[1] >> 24));
        ids
    }

    fn levels(&self) -> Levels {
        let listed = [LEAF_TOPOLOGY_V2, LEAF_TOPOLOGY].into_iter().find(|leaf| self.has_levels(*leaf));
        match listed {
            Some(leaf) => self.listed_levels(leaf),
            None if self.is_amd() => self.amd_levels(),
            None => self.legacy_levels(),
        }
    }

    /// From leaf 1Fh or 0Bh: EAX\[4:0\] are the bits below the next level, EBX\[15:0\] the CPUs of this one, ECX\[15:8\] its
    /// type, 0 after the last.
    fn listed_levels(&self, leaf: u32) -> Levels {
        let levels = (0..LEVELS_MAX).map(|level| self.leaf(leaf, level));
        let mut found = Levels { thread_bits: 0, package_bits: 0, counts: Counts { package: 1, core: 1 } };
        for [eax, ebx, ecx, _] in levels.take_while(|level| level[2] >> 8 & 0xff != 0) {
            if ecx >> 8 & 0xff == LEVEL_THREADS {
                found.thread_bits = eax & 0x1f;
                found.counts.core = (ebx & 0xffff).max(1);
            }
            found.package_bits = found.package_bits.max(eax & 0x1f);
            found.counts.package = found.counts.package.max(ebx & 0xffff);
        }
        found
    }

    /// AMD before leaf 0Bh (Linux topology_amd.c parse_8000_0008() and parse_8000_001e()).
    fn amd_levels(&self) -> Levels {
        let sizes = self.leaf(LEAF_SIZES, 0)[2];
        let package = match (sizes & 0xff, self.highest_extended >= LEAF_SIZES) {
            (_, false) => return self.legacy_levels(),
            (less_one, true) => less_one + 1,
        };
        let package_bits = match sizes >> 12 & 0xf {
            0 => bits(package),
            width => width,
        };
        let has_threads = self.has_amd_topology() && self.features.signature.family >= FAMILY_ZEN;
        let core = if has_threads { (self.leaf(LEAF_IDS_AMD, 0)[1] >> 8 & 0xff) + 1 } else { 1 };
        Levels { thread_bits: bits(core), package_bits, counts: Counts { package, core } }
    }

    /// From leaves 1 and 4: EBX\[23:16\] ids in a package, EAX\[31:26\] cores less one (SDM vol. 3A, "Hierarchical Mapping of
    /// Shared Resources").
    fn legacy_levels(&self) -> Levels {
        let ids = self.leaf(LEAF_VERSION, 0)[1] >> 16 & 0xff;
        let package = if self.features.has(FeatureSet::HTT) { ids.max(1) } else { 1 };
        let cores = (self.leaf(LEAF_CACHES, 0)[0] >> 26) + 1;
        let package_bits = bits(package);
        let thread_bits = package_bits.saturating_sub(bits(cores));
        Levels { thread_bits, package_bits, counts: Counts { package, core: 1 << thread_bits } }
    }

    /// Bits below the last-level cache's: EAX\[7:5\] level, EAX\[4:0\] type, EAX\[25:14\] ids that share it, less one.
    fn cache_bits(&self, thread_bits: u32, package_bits: u32) -> u32 {
        let leaf = if self.has_amd_topology() { LEAF_CACHES_AMD } else { LEAF_CACHES };
        let caches = (0..CACHES_MAX).map(|index| self.leaf(leaf, index)[0]);
        let listed = caches.take_while(|eax| eax & 0x1f != CACHE_NONE);
        let last = listed.filter(|eax| eax & 0x1f != CACHE_INSTRUCTIONS).max_by_key(|eax| eax >> 5 & 7);
        match last {
            Some(eax) => bits((eax >> 14 & 0xfff) + 1),
            // Before the leaves that say so, AMD's L3 belongs to the package, and its L2 to the core.
            None if self.is_amd() && self.leaf(LEAF_L3_AMD, 0)[3] >> 18 == 0 => thread_bits,
            None => package_bits,
        }
    }
}
