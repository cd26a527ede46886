//! Capabilities, errata, depths and orders on excerpts of real CPUs' dumps.

#[path = "../../park-x86/tests/vendor/dump.rs"]
mod dump;

use dump::Dump;
use park_core::Mechanism;
use park_core::lot::WaitFlags;
use park_intel::Capabilities;
use park_x86::errata::Consequence;
use park_x86::features::FeatureSet;
use park_x86::orders::{StoreWake, Unavailable};

const DUMPS: &[(&str, &str)] = &[
    ("skylake-x", include_str!("fixtures/skylake-x.txt")),
    ("goldmont", include_str!("fixtures/goldmont.txt")),
    ("dunnington", include_str!("fixtures/dunnington.txt")),
    ("ice-lake-x", include_str!("fixtures/ice-lake-x.txt")),
    ("sapphire-rapids", include_str!("fixtures/sapphire-rapids.txt")),
];

fn of(name: &str) -> Capabilities {
    let text = DUMPS.iter().find(|(other, _)| *other == name).unwrap().1;
    let dump = Dump::parse(text);
    Capabilities::detect(|leaf, subleaf| dump.read(leaf, subleaf)).unwrap()
}

#[test]
fn features_agree_with_raw_cpuid() {
    for (name, text) in DUMPS {
        let dump = Dump::parse(text);
        let features = of(name).features;
        let oracle = dump.oracle();
        let version = oracle.get_feature_info().unwrap();
        assert_eq!(features.signature.family, u16::from(version.family_id()));
        assert_eq!(features.signature.model, version.model_id());
        assert_eq!(features.signature.stepping, version.stepping_id());
        let extended = oracle.get_extended_processor_and_feature_identifiers().unwrap();
        for (feature, expected) in [
            (FeatureSet::MONITOR, version.has_monitor_mwait()),
            (FeatureSet::VMX, version.has_vmx()),
            (FeatureSet::PCID, version.has_pcid()),
            (FeatureSet::X2APIC, version.has_x2apic()),
            (FeatureSet::TSC_DEADLINE, version.has_tsc_deadline()),
            (FeatureSet::OSXSAVE, version.has_oxsave()),
            (FeatureSet::HYPERVISOR, version.has_hypervisor()),
            (FeatureSet::MCE, version.has_mce()),
            (FeatureSet::MCA, version.has_mca()),
            (FeatureSet::APIC, version.has_apic()),
            (FeatureSet::DS, version.has_ds()),
            (FeatureSet::CLFLUSH, version.has_clflush()),
            (FeatureSet::HTT, version.has_htt()),
            (FeatureSet::NX, extended.has_execute_disable()),
            (FeatureSet::LONG_MODE, extended.has_64bit_mode()),
            (FeatureSet::SVM, extended.has_svm()),
            (FeatureSet::ARAT, oracle.get_thermal_power_info().is_some_and(|leaf| leaf.has_arat())),
        ] {
            assert_eq!(features.has(feature), expected, "{name}: {feature:?}");
        }
        let seven = oracle.get_extended_feature_info();
        for (feature, expected) in [
            (FeatureSet::LA57, seven.as_ref().is_some_and(|leaf| leaf.has_la57())),
            (FeatureSet::WAITPKG, seven.as_ref().is_some_and(|leaf| leaf.has_waitpkg())),
            (FeatureSet::PROCESSOR_TRACE, seven.as_ref().is_some_and(|leaf| leaf.has_processor_trace())),
        ] {
            assert_eq!(features.has(feature), expected, "{name}: {feature:?}");
        }
        let monitor = oracle.get_monitor_mwait_info().unwrap();
        assert_eq!(features.monitor.smallest_line, monitor.smallest_monitor_line());
        assert_eq!(features.monitor.largest_line, monitor.largest_monitor_line());
        assert_eq!(features.monitor.substates_of(1), u32::from(monitor.supported_c1_states()));
    }
}

#[test]
fn newer_features_are_found_where_they_are() {
    let sapphire = of("sapphire-rapids").features;
    for feature in
        [FeatureSet::AMX, FeatureSet::CET, FeatureSet::LA57, FeatureSet::UINTR, FeatureSet::SPEC_CTRL, FeatureSet::PKS]
    {
        assert!(sapphire.has(feature), "{feature:?}");
        assert!(!of("dunnington").features.has(feature), "{feature:?}");
    }
    assert!(!sapphire.has(FeatureSet::FRED) && !sapphire.has(FeatureSet::LASS));
}

#[test]
fn a_truncated_dump_invents_nothing() {
    let dump = Dump::parse(DUMPS[4].1);
    let cut = |leaf, subleaf| {
        let mut result = dump.read(leaf, subleaf);
        if leaf == 0 {
            result[0] = 1; // the CPU names no leaf beyond 1, and would repeat its last one
        }
        result
    };
    let features = Capabilities::detect(cut).unwrap().features;
    assert!(!features.set.intersects(FeatureSet::AMX | FeatureSet::LA57 | FeatureSet::PERFMON_V2));
    assert_eq!(features.monitor.smallest_line, 0);
}

#[test]
fn errata_hit_their_models_and_no_others() {
    let names = |name| of(name).errata().map(|erratum| erratum.name).collect::<Vec<_>>();
    assert_eq!(names("dunnington"), ["AAI65"]);
    assert_eq!(names("goldmont"), ["APL30", "APL31"]);
    assert_eq!(names("ice-lake-x"), ["ICX143"]);
    assert!(names("skylake-x").is_empty() && names("sapphire-rapids").is_empty());
}

#[test]
fn mwait_orders_follow_the_errata() {
    let skylake = of("skylake-x").orders(Mechanism::Mwait, 0).unwrap();
    assert_eq!(
        (skylake.store_wake, skylake.wait_flags, skylake.mwait_hint),
        (StoreWake::Reliable, WaitFlags::empty(), 0)
    );
    assert_eq!(of("dunnington").orders(Mechanism::Mwait, 0).unwrap().wait_flags, WaitFlags::CLFLUSH);
    for name in ["goldmont", "ice-lake-x"] {
        let StoreWake::Unreliable(erratum) = of(name).orders(Mechanism::Mwait, 0).unwrap().store_wake else {
            panic!("{name} has an erratum")
        };
        assert_eq!(erratum.consequence, Consequence::StoreWakeUnreliable);
    }
}

#[test]
fn depth_follows_the_budget_and_never_leaf_five_alone() {
    let hint = |name, latency_us| of(name).orders(Mechanism::Mwait, latency_us).unwrap().mwait_hint;
    assert_eq!(hint("skylake-x", 9), 0x00);
    assert_eq!(hint("skylake-x", 10), 0x01, "the budget includes its bound");
    assert_eq!(hint("skylake-x", 132), 0x01);
    assert_eq!(hint("skylake-x", 133), 0x20);
    assert_eq!(hint("sapphire-rapids", u32::MAX), 0x20);
    // Leaf 5 of both counts deep sub-states, but no table of park's names their hints.
    assert_eq!(hint("goldmont", u32::MAX), 0x00);
    assert_eq!(hint("dunnington", u32::MAX), 0x00);
    // C3 and deeper may lose caches: WBINVD first.
    assert_eq!(of("skylake-x").orders(Mechanism::Mwait, 133).unwrap().wait_flags, WaitFlags::WBINVD);
}

#[test]
fn a_depth_that_firmware_took_away_is_not_ordered() {
    let dump = Dump::parse(DUMPS[0].1);
    let without_c3 = |leaf, subleaf| {
        let mut result = dump.read(leaf, subleaf);
        if leaf == 5 {
            result[3] &= !0xf000; // no sub-state of C3, whose hint is 20h
        }
        result
    };
    let capabilities = Capabilities::detect(without_c3).unwrap();
    assert_eq!(capabilities.orders(Mechanism::Mwait, u32::MAX).unwrap().mwait_hint, 0x01);
}

#[test]
fn what_is_missing_is_named() {
    let with = |leaf_changed: u32, register: usize, clear: u32| {
        let dump = Dump::parse(DUMPS[0].1);
        Capabilities::detect(move |leaf, subleaf| {
            let mut result = dump.read(leaf, subleaf);
            if leaf == leaf_changed {
                result[register] &= !clear;
            }
            result
        })
        .unwrap()
    };
    let reason = |capabilities: Capabilities, mechanism| capabilities.orders(mechanism, 0).unwrap_err();
    assert_eq!(reason(of("skylake-x"), Mechanism::Clgi), Unavailable::NotOnThisVendor);
    assert_eq!(reason(with(1, 2, 1 << 3), Mechanism::Mwait), Unavailable::NoMonitor);
    assert!(with(1, 2, 1 << 3).orders(Mechanism::Hlt, 0).is_ok());
    let lacking = reason(with(0x8000_0001, 3, 1 << 20), Mechanism::Hlt);
    assert_eq!(lacking, Unavailable::Lacks(FeatureSet::NX));
    assert_eq!(lacking.to_string(), "the CPU lacks no-execute pages");
}
