//! A machine by a dump of its registers.

use super::count::packed;
use super::{CountSource, Machine, MachineCpu, Origin};
use crate::dump::{self, Leaves};
use crate::exit::Failure;
use crate::topology::{CPUS_MAX, IdSource, Identity, Topology};
use cpu_park::core::CpuidResult;
use cpu_park::detect;
use cpu_park::x86::features::FeatureSet;
use cpu_park::x86::registers::cpuid::{LEAF_VENDOR, LEAF_VERSION};
use std::collections::BTreeMap;
use std::path::Path;

/// Structured extended features; EDX\[15\] of subleaf 0 says hybrid (SDM vol. 2A, "CPUID", leaf 7).
const LEAF_STRUCTURED: u32 = 7;
const HYBRID_BIT: u32 = 15;

/// The twelve characters of leaf 0, whatever cannot be shown as a question mark.
pub(super) fn id_text(cpuid: impl Fn(u32, u32) -> CpuidResult) -> String {
    let [_, ebx, ecx, edx] = cpuid(LEAF_VENDOR, 0);
    let shown = |byte: u8| if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    [ebx, edx, ecx].into_iter().flat_map(u32::to_le_bytes).map(shown).collect()
}

pub(super) fn is_hybrid(cpuid: impl Fn(u32, u32) -> CpuidResult) -> bool {
    cpuid(LEAF_VENDOR, 0)[0] >= LEAF_STRUCTURED && cpuid(LEAF_STRUCTURED, 0)[3] >> HYBRID_BIT & 1 == 1
}

/// Reads a dump.
///
/// # Errors
/// [`Failure::Input`] that names the file and the line.
pub(super) fn read(path: &Path) -> Result<Machine, Failure> {
    machine(&dump::read(path)?).map_err(|why| Failure::Input(format!("{}: {why}", path.display())))
}

/// A CPU of the dump.
struct Dumped<'d> {
    leaves: &'d Leaves,
    identity: Identity,
    /// Its number in the dump.
    index: usize,
}

impl Dumped<'_> {
    fn signature(&self) -> u32 {
        self.leaves.get(LEAF_VERSION, 0)[0]
    }
}

fn machine(dump: &[Leaves]) -> Result<Machine, String> {
    let mut warnings = Warnings::default();
    let mut cpus: BTreeMap<u32, Dumped<'_>> = BTreeMap::new();
    let mut order = Vec::new();
    for (index, leaves) in dump.iter().enumerate() {
        warnings.ids(index, leaves);
        let identity = Identity::read(|leaf, subleaf| leaves.get(leaf, subleaf));
        let cpu = Dumped { leaves, identity, index };
        match cpus.get(&identity.apic_id) {
            None => {
                order.push(identity);
                cpus.insert(identity.apic_id, cpu);
            }
            Some(first) => warnings.twice(first, &cpu),
        }
    }
    let first = order.first().and_then(|identity| cpus.get(&identity.apic_id));
    let first = first.ok_or_else(|| "no CPU in it".to_owned())?;
    for cpu in cpus.values() {
        warnings.signatures(first, cpu);
    }
    let cpuid = |leaf, subleaf| first.leaves.get(leaf, subleaf);

    let mut notes = Vec::new();
    let mut count_source = CountSource::Dump;
    let mut identities = order.clone();
    let counted = first.identity.counts.package.min(CPUS_MAX);
    if identities.len() == 1 {
        count_source = CountSource::TopologyLeaves;
        identities = packed(first.identity, counted);
        if counted > 1 {
            notes.push(format!(
                "the dump is of one CPU; that there are {counted} is what its topology leaves say of the package, and the \
                 others' ids are assumed to be packed"
            ));
        }
    } else if identities.len() > CPUS_MAX as usize {
        return Err(format!("{} CPUs; the most are {CPUS_MAX}", identities.len()));
    }
    let mut kinds = vec![detect(cpuid)];
    notes.extend(doubles(dump, cpus.len()));
    let topology = Topology::new(&identities);
    let kind_of = |apic_id: u32, kinds: &mut Vec<_>| {
        // A CPU that the dump lacks is taken to be like the one that it has.
        let leaves = cpus.get(&apic_id).map_or(first.leaves, |cpu| cpu.leaves);
        let detected = detect(|leaf, subleaf| leaves.get(leaf, subleaf));
        kinds.iter().position(|known| *known == detected).unwrap_or_else(|| {
            kinds.push(detected);
            kinds.len() - 1
        })
    };
    let places = topology.places().iter();
    let cpus = places.map(|place| MachineCpu { place: *place, kind: kind_of(place.apic_id, &mut kinds) }).collect();
    Ok(Machine {
        origin: Origin::Dump,
        count_source,
        kinds,
        cpus,
        topology,
        vendor_id: id_text(cpuid),
        signature: first.signature(),
        is_hybrid: dump.iter().any(|leaves| is_hybrid(|leaf, subleaf| leaves.get(leaf, subleaf))),
        warnings: warnings.sentences(),
        notes,
    })
}

/// What is said of CPUs that came again.
fn doubles(dump: &[Leaves], distinct: usize) -> Option<String> {
    let again = dump.len() - distinct;
    // The id stands in leaf 1 since Pentium 4, as CLFLUSH's line size does (SDM vol. 2A, "CPUID", leaf 1).
    let tells = |leaves: &Leaves| {
        let cpuid = |leaf, subleaf| leaves.get(leaf, subleaf);
        Identity::ids(cpuid).len() > 1 || detect(cpuid).features().has(FeatureSet::CLFLUSH)
    };
    let sentence = if dump.iter().any(tells) {
        format!("{again} of the dump's {} CPUs have an APIC id that was there before, and count once", dump.len())
    } else {
        format!("the {} CPUs of the dump tell no APIC id, as before Pentium 4: they count as one", dump.len())
    };
    (again > 0).then_some(sentence)
}

/// Contradictions, one sentence for each kind however many CPUs show it.
#[derive(Default)]
struct Warnings {
    found: BTreeMap<Contradiction, (String, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Contradiction {
    Ids(u32, u32),
    Twice,
    Signature,
    Vendor,
}

impl Warnings {
    fn note(&mut self, kind: Contradiction, sentence: String) {
        self.found.entry(kind).or_insert((sentence, 0)).1 += 1;
    }

    /// Leaves of one CPU that tell different ids.
    fn ids(&mut self, index: usize, leaves: &Leaves) {
        let ids = Identity::ids(|leaf, subleaf| leaves.get(leaf, subleaf));
        let Some((taken, apic_id)) = ids.first().copied() else { return };
        for (source, id) in ids.iter().skip(1).copied() {
            // A CPU without a local APIC, or an old one, has zeros here.
            let tells = source != IdSource::Version || leaves.has(LEAF_VERSION, 0);
            if tells && id != apic_id & source.mask() {
                let (source, taken) = (source.leaf(), taken.leaf());
                let sentence = format!(
                    "CPU {index} of the dump: leaf {source:08X} tells APIC id {id}, leaf {taken:08X} tells {apic_id}, \
                     which is taken"
                );
                self.note(Contradiction::Ids(source, taken), sentence);
            }
        }
    }

    /// A CPU that is dumped twice, and not alike.
    fn twice(&mut self, first: &Dumped<'_>, again: &Dumped<'_>) {
        let differs = first.signature() != again.signature() || first.identity != again.identity;
        if differs {
            let sentence = format!(
                "CPUs {} and {} of the dump both have APIC id {} and contradict each other; the first is taken",
                first.index, again.index, first.identity.apic_id
            );
            self.note(Contradiction::Twice, sentence);
        }
    }

    /// CPUs of one machine that are not the same model.
    fn signatures(&mut self, first: &Dumped<'_>, other: &Dumped<'_>) {
        let vendor = |cpu: &Dumped<'_>| id_text(|leaf, subleaf| cpu.leaves.get(leaf, subleaf));
        let (of_first, of_other) = (vendor(first), vendor(other));
        if of_first != of_other {
            let sentence = format!(
                "CPU {} of the dump is by `{of_other}`, CPU {} by `{of_first}`, which is taken for the machine's",
                other.index, first.index
            );
            self.note(Contradiction::Vendor, sentence);
        }
        if first.signature() != other.signature() {
            let sentence = format!(
                "CPU {} of the dump has signature {:08x}, CPU {} has {:08x}, which is taken for the machine's",
                other.index,
                other.signature(),
                first.index,
                first.signature()
            );
            self.note(Contradiction::Signature, sentence);
        }
    }

    fn sentences(self) -> Vec<String> {
        let sentence = |(text, count): (String, usize)| match count {
            1 => text,
            _ => format!("{text} (and {} more like this)", count - 1),
        };
        self.found.into_values().map(sentence).collect()
    }
}
