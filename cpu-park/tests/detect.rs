//! The façade picks a backend, says what it offers, and says what it does not know.

use cpu_park::core::{Condition, Event, Mechanism, Response};
use cpu_park::x86::features::Vendor;
use cpu_park::x86::orders::Unavailable;
use cpu_park::{Backend, Detected, detect};
use std::collections::HashMap;

const ZHAOXIN: &str = include_str!("fixtures/kx-40000.txt");

fn read(text: &str) -> HashMap<(u32, u32), [u32; 4]> {
    let numbers =
        |line: &str| -> Vec<u32> { line.split(' ').map(|word| u32::from_str_radix(word, 16).unwrap()).collect() };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| match numbers(line)[..] {
            [leaf, subleaf, eax, ebx, ecx, edx] => ((leaf, subleaf), [eax, ebx, ecx, edx]),
            _ => panic!("six numbers in {line:?}"),
        })
        .collect()
}

/// The Zhaoxin's leaves under another vendor's name.
fn named(id: &[u8; 12]) -> Detected {
    let leaves = read(ZHAOXIN);
    let word = |at: usize| u32::from_le_bytes(id[at..at + 4].try_into().unwrap());
    detect(|leaf, subleaf| {
        let mut result = leaves.get(&(leaf, subleaf)).copied().unwrap_or_default();
        if leaf == 0 {
            result = [result[0], word(0), word(8), word(4)];
        }
        result
    })
}

#[test]
fn an_unknown_vendor_gets_hlt_and_a_statement_and_no_claim() {
    let machine = named(b"CentaurHauls");
    assert_eq!((machine.features().vendor, machine.backend()), (Vendor::Centaur, &Backend::Generic));
    assert!(machine.orders(Mechanism::Hlt, 0).is_ok());
    for mechanism in [Mechanism::Mwait, Mechanism::Clgi, Mechanism::WaitForSipi] {
        assert_eq!(machine.orders(mechanism, 0), Err(Unavailable::NotOnThisVendor));
    }
    assert!(machine.claims().is_empty() && machine.errata().next().is_none());
    assert!(machine.unknown().iter().any(|line| line.contains("VMX")));
}

#[test]
fn a_known_vendor_has_claims_and_nothing_unknown() {
    let intel = named(b"GenuineIntel");
    assert!(matches!(intel.backend(), Backend::Intel(_)) && intel.unknown().is_empty());
    let claim = intel.claim(Mechanism::Hlt, Event::McBroadcast, Condition::Ap).unwrap();
    assert_eq!(claim.response, Response::Laps);
    for id in [b"AuthenticAMD", b"HygonGenuine"] {
        let machine = named(id);
        assert!(matches!(machine.backend(), Backend::Amd(_)) && machine.unknown().is_empty());
        assert!(machine.claim(Mechanism::Clgi, Event::Init, Condition::Always).is_some());
    }
    assert!(intel.claim(Mechanism::Clgi, Event::Init, Condition::Always).is_none());
}

#[test]
fn every_mechanism_is_answered_once() {
    let machine = named(b"GenuineIntel");
    let answered: Vec<_> = machine.mechanisms(100).map(|(mechanism, _)| mechanism).collect();
    assert_eq!(answered, Mechanism::ALL);
}

#[test]
fn hypervisors_are_found_at_any_of_their_bases() {
    let leaves = read(ZHAOXIN);
    let kvm_behind_hyperv = |leaf: u32, subleaf: u32| match leaf {
        1 => [leaves[&(1, 0)][0], 0, leaves[&(1, 0)][2] | 1 << 31, leaves[&(1, 0)][3]],
        0x4000_0000 => [0x4000_0005, 0x7263_694d, 0x666f_736f, 0x7648_2074], // "Microsoft Hv"
        0x4000_0003 => [1 << 2, 0, 0, 0],
        0x4000_0100 => [0x4000_0101, 0x4b4d_564b, 0x564b_4d56, 0x4d], // "KVMKVMKVM\0\0\0"
        0x4000_0101 => [1 << 5, 0, 0, 0],
        _ => leaves.get(&(leaf, subleaf)).copied().unwrap_or_default(),
    };
    use cpu_park::x86::features::FeatureSet;
    let machine = detect(kvm_behind_hyperv);
    assert!(machine.features().has(FeatureSet::KVM | FeatureSet::KVM_STEAL_TIME | FeatureSet::HV_SYNIC));
    assert!(!machine.features().set.intersects(FeatureSet::KVM_PV_EOI | FeatureSet::HV_VP_ASSIST | FeatureSet::XEN));
}
