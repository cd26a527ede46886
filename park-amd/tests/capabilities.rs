//! Capabilities, errata and orders on excerpts of real CPUs' dumps.

#[path = "../../park-x86/tests/vendor/dump.rs"]
mod dump;

use dump::Dump;
use park_amd::Capabilities;
use park_core::Mechanism;
use park_core::lot::WaitFlags;
use park_x86::errata::Consequence;
use park_x86::features::{FeatureSet, Vendor};
use park_x86::orders::{StoreWake, Unavailable};

const DUMPS: &[(&str, &str)] = &[
    ("milan", include_str!("fixtures/milan.txt")),
    ("zen", include_str!("fixtures/zen.txt")),
    ("deneb", include_str!("fixtures/deneb.txt")),
    ("dhyana", include_str!("fixtures/dhyana.txt")),
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
        let svm = oracle.get_svm_info();
        for (feature, expected) in [
            (FeatureSet::MONITOR, version.has_monitor_mwait()),
            (FeatureSet::X2APIC, version.has_x2apic()),
            (FeatureSet::MCA, version.has_mca()),
            (FeatureSet::NX, extended.has_execute_disable()),
            (FeatureSet::LONG_MODE, extended.has_64bit_mode()),
            (FeatureSet::SVM, extended.has_svm()),
            (FeatureSet::SKINIT, extended.has_skinit()),
            (FeatureSet::EXT_APIC_SPACE, extended.has_ext_apic_space()),
            (FeatureSet::IBS, extended.has_ibs()),
            (FeatureSet::PERFCTR_CORE, extended.has_perf_cntr_extensions()),
            (FeatureSet::SVM_LOCK, svm.as_ref().is_some_and(|svm| svm.has_svm_lock())),
        ] {
            assert_eq!(features.has(feature), expected, "{name}: {feature:?}");
        }
        let encryption = oracle.get_memory_encryption_info();
        assert_eq!(features.has(FeatureSet::SME), encryption.as_ref().is_some_and(|leaf| leaf.has_sme()), "{name}");
        assert_eq!(features.encryption_bit, encryption.map(|leaf| leaf.c_bit_position()), "{name}");
        let monitor = oracle.get_monitor_mwait_info().unwrap();
        assert_eq!(features.monitor.largest_line, monitor.largest_monitor_line());
    }
}

#[test]
fn milan_encrypts_by_bit_51_and_flushes_before_it_parks() {
    let milan = of("milan");
    assert_eq!(milan.features.encryption_mask(), 1 << 51);
    assert_eq!(milan.orders(Mechanism::Hlt, 0).unwrap().wait_flags, WaitFlags::WBINVD);
    assert_eq!(of("deneb").orders(Mechanism::Hlt, 0).unwrap().wait_flags, WaitFlags::empty());
}

#[test]
fn hygon_is_served_and_intel_is_not() {
    assert_eq!(of("dhyana").features.vendor, Vendor::Hygon);
    let intel = |leaf, _| if leaf == 0 { [1, 0x756e_6547, 0x6c65_746e, 0x4965_6e69] } else { [0; 4] };
    assert_eq!(Capabilities::detect(intel), None);
}

#[test]
fn errata_hit_their_models_and_no_others() {
    let names = |name| of(name).errata().map(|erratum| erratum.name).collect::<Vec<_>>();
    assert_eq!(names("zen"), ["1057", "1109"]);
    assert_eq!(names("dhyana"), ["1057", "1109"]);
    assert_eq!(names("deneb"), ["MWAIT on family 10h", "400", "411"]);
    assert!(names("milan").is_empty());
}

#[test]
fn mwait_is_ordered_where_it_is_worth_it() {
    assert_eq!(of("milan").orders(Mechanism::Mwait, 100).unwrap().store_wake, StoreWake::Reliable);
    for name in ["zen", "dhyana"] {
        let orders = of(name).orders(Mechanism::Mwait, 100).unwrap();
        assert!(matches!(orders.store_wake, StoreWake::Unreliable(_)), "{name}");
    }
    let Unavailable::Erratum(erratum) = of("deneb").orders(Mechanism::Mwait, 100).unwrap_err() else {
        panic!("family 10h gains nothing by MWAIT")
    };
    assert_eq!(erratum.consequence, Consequence::MwaitPointless);
}

#[test]
fn clgi_polls_by_pause_and_needs_svm() {
    let orders = of("zen").orders(Mechanism::Clgi, 0).unwrap();
    assert!(!orders.wait_flags.contains(WaitFlags::MONITOR), "a store may not end MWAIT while GIF = 0");
    assert_eq!(orders.store_wake, StoreWake::Reliable);
    assert!(orders.steps().any(|step| step.id.0 == "refuse-svm-disabled"));
    let hlt = of("zen").orders(Mechanism::Hlt, 0).unwrap();
    assert!(!hlt.steps().any(|step| step.id.0 == "refuse-svm-disabled"), "HLT needs no SVM");
    let dump = Dump::parse(DUMPS[1].1);
    let hidden = Capabilities::detect(|leaf, subleaf| {
        let mut result = dump.read(leaf, subleaf);
        if leaf == 0x8000_0001 {
            result[2] &= !(1 << 2);
        }
        result
    })
    .unwrap();
    assert_eq!(hidden.orders(Mechanism::Clgi, 0), Err(Unavailable::NoSvm));
}
