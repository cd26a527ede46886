//! Where the CPUs of a machine sit: packages, last-level caches, cores, threads.

mod identity;
mod shape;

pub use identity::{Counts, IdSource, Identity};
pub use shape::{CPUS_MAX, Shape};

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The place of one CPU. Indices run through the whole machine, from 0, in the order of APIC ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// Its APIC id.
    pub apic_id: u32,
    /// Its package.
    pub package: u32,
    /// Its last-level cache.
    pub cache: u32,
    /// Its core.
    pub core: u32,
    /// Which thread of its core it is.
    pub thread: u32,
}

/// The places of all CPUs, by APIC id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    places: Vec<Place>,
    bootstrap: usize,
}

/// A topology in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// Packages.
    pub packages: u32,
    /// Last-level caches.
    pub caches: u32,
    /// Cores.
    pub cores: u32,
    /// Logical CPUs.
    pub threads: u32,
    /// Packages × cores per package × threads per core, where these are the same everywhere.
    pub shape: Option<String>,
    /// The APIC id of the bootstrap processor: where a machine does not say, that of its first CPU.
    pub bootstrap_apic_id: u32,
}

impl Topology {
    /// Places CPUs by their ids. Of CPUs with one APIC id the first counts. The bootstrap processor is the first of all.
    #[must_use]
    pub fn new(identities: &[Identity]) -> Self {
        let mut by_id: BTreeMap<u32, Identity> = BTreeMap::new();
        for identity in identities {
            by_id.entry(identity.apic_id).or_insert(*identity);
        }
        let (mut packages, mut caches, mut cores) = (Index::default(), Index::default(), Index::default());
        let mut threads: BTreeMap<u32, u32> = BTreeMap::new();
        let place = |identity: &Identity| {
            let core = cores.of(identity.above(identity.thread_bits));
            let thread = threads.entry(core).or_default();
            let place = Place {
                apic_id: identity.apic_id,
                package: packages.of(identity.above(identity.package_bits)),
                cache: caches.of(identity.above(identity.cache_bits)),
                core,
                thread: *thread,
            };
            *thread += 1;
            place
        };
        let places: Vec<Place> = by_id.values().map(place).collect();
        let first = identities.first().map(|identity| identity.apic_id);
        let bootstrap = places.iter().position(|place| Some(place.apic_id) == first).unwrap_or_default();
        Self { places, bootstrap }
    }

    /// The places, by APIC id.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The index of the bootstrap processor.
    #[must_use]
    pub const fn bootstrap(&self) -> usize {
        self.bootstrap
    }

    /// The numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let count = |of: fn(&Place) -> u32| number(self.places.iter().map(of).collect::<BTreeSet<_>>().len());
        let (packages, cores, threads) = (count(|place| place.package), count(|place| place.core), self.len());
        Summary {
            packages,
            caches: count(|place| place.cache),
            cores,
            threads,
            shape: self.shape(packages, cores).map(|shape| shape.to_string()),
            bootstrap_apic_id: self.places.get(self.bootstrap).map_or(0, |place| place.apic_id),
        }
    }

    fn len(&self) -> u32 {
        number(self.places.len())
    }

    /// The shape, if all packages have as many cores, and all cores as many threads.
    fn shape(&self, packages: u32, cores: u32) -> Option<Shape> {
        let mut cores_of: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut threads_of: BTreeMap<u32, u32> = BTreeMap::new();
        for place in &self.places {
            cores_of.entry(place.package).or_default().insert(place.core);
            *threads_of.entry(place.core).or_default() += 1;
        }
        let (cores_each, threads_each) = (cores.checked_div(packages)?, self.len().checked_div(cores)?);
        let is_even = cores_of.values().all(|cores| number(cores.len()) == cores_each)
            && threads_of.values().all(|threads| *threads == threads_each);
        is_even.then_some(Shape { packages, cores_per_package: cores_each, threads_per_core: threads_each })
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Numbers things in the order in which they are first seen.
#[derive(Default)]
struct Index {
    seen: BTreeMap<u32, u32>,
}

impl Index {
    fn of(&mut self, key: u32) -> u32 {
        let next = number(self.seen.len());
        *self.seen.entry(key).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_places() {
        let identity = |apic_id| Identity::packed(apic_id, 1, 2, 3);
        // Two packages of 2 cores with 2 threads; the second package lacks a thread, ids 6 and 7 do not exist.
        let topology = Topology::new(&[4, 0, 1, 2, 3, 8, 9, 10, 4].map(identity));
        let places: Vec<[u32; 5]> =
            topology.places().iter().map(|one| [one.apic_id, one.package, one.cache, one.core, one.thread]).collect();
        let wanted = [
            [0, 0, 0, 0, 0],
            [1, 0, 0, 0, 1],
            [2, 0, 0, 1, 0],
            [3, 0, 0, 1, 1],
            [4, 0, 1, 2, 0],
            [8, 1, 2, 3, 0],
            [9, 1, 2, 3, 1],
            [10, 1, 2, 4, 0],
        ];
        assert_eq!(places, wanted);
        let summary = topology.summary();
        assert_eq!((summary.packages, summary.caches, summary.cores, summary.threads), (2, 3, 5, 8));
        assert_eq!((summary.shape, summary.bootstrap_apic_id), (None, 4));
    }

    #[test]
    fn an_even_machine_has_a_shape() {
        let Ok(shape) = "3x5x2".parse::<Shape>() else { panic!("a shape") };
        let summary = Topology::new(&shape.identities()).summary();
        assert_eq!((summary.shape.as_deref(), summary.threads, summary.caches), (Some("3x5x2"), 30, 3));
    }
}
