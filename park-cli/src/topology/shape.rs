//! `PxCxT`: a machine by three numbers.

use super::Identity;
use core::fmt;
use core::str::FromStr;

/// The most CPUs that a machine may have here: what planning is made for.
pub const CPUS_MAX: u32 = 8192;

/// Packages × cores per package × threads per core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Packages.
    pub packages: u32,
    /// Cores of each.
    pub cores_per_package: u32,
    /// Threads of each core.
    pub threads_per_core: u32,
}

impl Shape {
    /// CPUs.
    #[must_use]
    pub const fn cpus(&self) -> u32 {
        self.packages * self.cores_per_package * self.threads_per_core
    }

    /// Bits of an id below the core's.
    #[must_use]
    pub const fn thread_bits(&self) -> u32 {
        bits(self.threads_per_core)
    }

    /// Bits of an id below the package's.
    #[must_use]
    pub const fn package_bits(&self) -> u32 {
        self.thread_bits() + bits(self.cores_per_package)
    }

    /// The CPUs, package by package. APIC ids are packed in fields of as many bits as the largest number needs, the
    /// last-level cache is that of the package.
    #[must_use]
    pub fn identities(&self) -> Vec<Identity> {
        let (thread_bits, package_bits) = (self.thread_bits(), self.package_bits());
        let mut identities = Vec::new();
        for package in 0..self.packages {
            for core in 0..self.cores_per_package {
                for thread in 0..self.threads_per_core {
                    let apic_id = package << package_bits | core << thread_bits | thread;
                    identities.push(Identity::packed(apic_id, thread_bits, package_bits, package_bits));
                }
            }
        }
        identities
    }
}

/// Bits that number `count` things.
pub(crate) const fn bits(count: u32) -> u32 {
    if count <= 1 { 0 } else { u32::BITS - (count - 1).leading_zeros() }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<Option<u64>> = text.split(['x', 'X']).map(number).collect();
        let &[Some(packages), Some(cores), Some(threads)] = numbers.as_slice() else {
            return Err(
                "packages x cores per package x threads per core are needed, as in 2x8x2 for two packages".to_owned()
            );
        };
        let product = packages.checked_mul(cores).and_then(|count| count.checked_mul(threads)).unwrap_or(u64::MAX);
        if product == 0 {
            return Err("a machine has at least one CPU".to_owned());
        }
        if product > u64::from(CPUS_MAX) {
            let count = if product == u64::MAX { "too many".to_owned() } else { product.to_string() };
            return Err(format!("{count} CPUs; the most are {CPUS_MAX}"));
        }
        // Each factor is at most the product.
        let narrow = |number: u64| u32::try_from(number).map_err(|_| format!("{number} is too large"));
        Ok(Self { packages: narrow(packages)?, cores_per_package: narrow(cores)?, threads_per_core: narrow(threads)? })
    }
}

/// Digits only; a number that is too large for anything counts as the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.packages, self.cores_per_package, self.threads_per_core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_packed_in_fields_of_whole_bits() {
        let ids = |text: &str| match text.parse::<Shape>() {
            Ok(shape) => shape.identities().iter().map(|one| one.apic_id).collect::<Vec<_>>(),
            Err(why) => panic!("{text}: {why}"),
        };
        assert_eq!(ids("1x1x1"), [0]);
        assert_eq!(ids("2x3x2"), [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        assert_eq!(ids("3X2x1"), [0, 1, 2, 3, 4, 5]);
        assert_eq!(ids("4096x1x2").last(), Some(&8191));
        assert_eq!(ids("1x1x3"), [0, 1, 2]);
    }

    #[test]
    fn what_is_no_machine_is_told() {
        for (text, named) in [
            ("0x4x2", "at least one CPU"),
            ("1x0x1", "at least one CPU"),
            ("1x100000x1", "100000 CPUs; the most are 8192"),
            ("8193x1x1", "8193 CPUs"),
            ("4294967296x4294967296x1", "too many CPUs"),
            ("99999999999999999999999999x1x1", "too many CPUs"),
            ("2x8", "as in 2x8x2"),
            ("2x8x2x1", "as in 2x8x2"),
            ("2x-8x2", "as in 2x8x2"),
            ("2x+8x2", "as in 2x8x2"),
            ("2 x 8 x 2", "as in 2x8x2"),
            ("axbxc", "as in 2x8x2"),
            ("", "as in 2x8x2"),
        ] {
            match text.parse::<Shape>() {
                Err(why) => assert!(why.contains(named), "{text}: {why}"),
                Ok(shape) => panic!("{text} is {shape}"),
            }
        }
    }
}
