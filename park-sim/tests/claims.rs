//! Every claim of the vendor crates against what the simulator measures, cell by cell.
//!
//! The verdicts are measured first, by code that has never seen a claim; then they are compared.

mod common;

use park_core::lot::PagingLevels;
use park_core::{Claim, Response};
use park_sim::compare::{Table, Verdict};
use park_sim::machine::{MachineConfig, Vendor};
use std::sync::OnceLock;
use std::time::Instant;

fn table(vendor: Vendor) -> &'static Table {
    static INTEL: OnceLock<Table> = OnceLock::new();
    static AMD: OnceLock<Table> = OnceLock::new();
    let cell = if vendor == Vendor::Intel { &INTEL } else { &AMD };
    cell.get_or_init(|| {
        let start = Instant::now();
        let table = Table::measure(vendor, &common::orders).expect("every mechanism parks");
        println!("{vendor:?}: {} measurements in {:.1} s", table.len(), start.elapsed().as_secs_f64());
        for (cell, verdicts) in table.summary() {
            let verdicts: Vec<String> =
                verdicts.iter().map(|(verdict, count)| format!("{verdict} ({count})")).collect();
            println!("  {cell}: {}", verdicts.join(", "));
        }
        table
    })
}

fn every_claim_is_measured(vendor: Vendor) {
    let mismatches = table(vendor).compare(common::claims(vendor));
    for mismatch in &mismatches {
        println!("{mismatch}");
    }
    assert!(mismatches.is_empty(), "{} disagreements, the first: {}", mismatches.len(), mismatches[0]);
}

#[test]
fn intel_claims_are_what_is_measured() {
    every_claim_is_measured(Vendor::Intel);
}

#[test]
fn amd_claims_are_what_is_measured() {
    every_claim_is_measured(Vendor::Amd);
}

/// With x2APIC ids that xAPIC mode does not have, and a level of paging more, everything claimed holds as well.
fn every_claim_holds_elsewhere(mut config: MachineConfig) {
    config.x2apic = true;
    for (cpu, apic_id) in config.cpus.iter_mut().zip([0, 300, 301]) {
        cpu.apic_id = apic_id;
    }
    // LA57: CPUID 7.0 ECX bit 16 (Intel SDM vol. 2A, CPUID).
    config.cpuid = config.cpuid.with(7, 0, |regs| regs.ecx |= 1 << 16);
    let vendor = config.vendor;
    let table = Table::measure_in(&config, PagingLevels::Five, &common::orders).expect("every mechanism parks");
    // Cells, not rows: knobs about the xAPIC's registers are not consulted.
    assert_eq!(table.summary().len(), self::table(vendor).summary().len(), "a cell was not measured");
    let mismatches = table.compare(common::claims(vendor));
    for mismatch in &mismatches {
        println!("{mismatch}");
    }
    assert!(mismatches.is_empty(), "{} disagreements, the first: {}", mismatches.len(), mismatches[0]);
}

#[test]
fn intel_claims_hold_with_x2apic_and_five_levels() {
    every_claim_holds_elsewhere(MachineConfig::intel(3));
}

#[test]
fn amd_claims_hold_with_x2apic_and_five_levels() {
    every_claim_holds_elsewhere(MachineConfig::amd(3));
}

/// No measurement agrees with claims that say something else, be it between kind and unkind.
#[test]
fn every_measurement_disagrees_with_other_claims() {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        for row in table(vendor).rows() {
            let other = |claim: &Claim| {
                let is_measured = *row.verdict() == Verdict::Response(Response::Reset);
                let response = if is_measured { Response::Hangs } else { Response::Reset };
                Claim { response, ..*claim }
            };
            let others: Vec<Claim> = common::claims(vendor).iter().map(other).collect();
            assert!(row.disagreement(&others).is_some(), "{row}: {} agrees with anything", row.verdict());
        }
    }
}

/// Each claim with each other response: the comparison fails, and names the cell.
fn every_flip_is_noticed(vendor: Vendor) {
    let table = table(vendor);
    let claims = common::claims(vendor);
    let mut flips = 0;
    for (index, claim) in claims.iter().enumerate() {
        for response in Response::ALL.into_iter().filter(|response| *response != claim.response) {
            let mut flipped = claims.to_vec();
            flipped[index] = Claim { response, ..*claim };
            let mismatches = table.compare(&flipped);
            let named = mismatches.iter().any(|mismatch| mismatch.claim == Some(flipped[index]));
            assert!(named, "nothing notices {} instead of {claim}", flipped[index]);
            flips += 1;
        }
    }
    println!("{vendor:?}: {flips} flips of {} claims", claims.len());
}

#[test]
fn flipping_an_intel_claim_fails() {
    every_flip_is_noticed(Vendor::Intel);
}

#[test]
fn flipping_an_amd_claim_fails() {
    every_flip_is_noticed(Vendor::Amd);
}

/// A claim too few and a claim too many are noticed as well.
#[test]
fn missing_and_superfluous_claims_fail() {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        let claims = common::claims(vendor);
        for index in 0..claims.len() {
            let mut fewer = claims.to_vec();
            let missing = fewer.remove(index);
            let mismatches = table(vendor).compare(&fewer);
            let named = mismatches
                .iter()
                .any(|mismatch| mismatch.mechanism == missing.mechanism && mismatch.event == missing.event);
            // Of a pair, the other claim may still speak for the cells between kind and unkind; its own is unclaimed.
            assert!(named, "nobody misses {missing}");
        }
        let mut more = claims.to_vec();
        more.push(claims[0]);
        assert!(!table(vendor).compare(&more).is_empty());
    }
}
