//! Who says how many CPUs a machine has, and ids for those of which only the number is known.

use crate::topology::Identity;
use serde::Serialize;
use std::collections::BTreeSet;

/// Who says how many CPUs a machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountSource {
    /// The operating system.
    OperatingSystem,
    /// The dump: it has more than one CPU.
    Dump,
    /// The topology leaves of the only CPU that was asked: those of its package.
    TopologyLeaves,
    /// Whoever asked for a machine of this shape.
    Asked,
}

/// The CPUs of the package of `known`, `count` of them, `known` first: ids are packed from the package's first.
pub(super) fn packed(known: Identity, count: u32) -> Vec<Identity> {
    let first = known.above(known.package_bits) << known.package_bits;
    let threads = known.counts.core.clamp(1, 1 << known.thread_bits);
    let mut ids = BTreeSet::from([known.apic_id]);
    for number in 0..count {
        if ids.len() as u64 >= u64::from(count) {
            break;
        }
        let (core, thread) = (number / threads, number % threads);
        ids.insert(first.wrapping_add(core << known.thread_bits | thread));
    }
    // The known id may lie beyond the packed ones: then one of those goes.
    let others = ids.into_iter().filter(|id| *id != known.apic_id);
    core::iter::once(known.apic_id).chain(others).map(|apic_id| Identity { apic_id, ..known }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Counts;

    #[test]
    fn ids_that_nobody_told_are_packed_around_the_known_one() {
        let known = |apic_id| Identity { counts: Counts { package: 4, core: 2 }, ..Identity::packed(apic_id, 1, 4, 4) };
        let ids = |apic_id, count| packed(known(apic_id), count).iter().map(|one| one.apic_id).collect::<Vec<_>>();
        assert_eq!(ids(0, 4), [0, 1, 2, 3]);
        assert_eq!(ids(0x13, 4), [0x13, 0x10, 0x11, 0x12]);
        assert_eq!(ids(0x1f, 3), [0x1f, 0x10, 0x11]);
        assert_eq!(ids(5, 1), [5]);
    }

    #[test]
    fn a_core_with_one_thread_leaves_its_second_id_free() {
        let known = Identity { counts: Counts { package: 3, core: 1 }, ..Identity::packed(0, 1, 4, 4) };
        assert_eq!(packed(known, 3).iter().map(|one| one.apic_id).collect::<Vec<_>>(), [0, 2, 4]);
    }
}
