//! The scenarios that are built in.

macro_rules! scenarios {
    ($($name:literal,)*) => {
        /// Name and text of each.
        const SCENARIOS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml"))),)*];
    };
}

scenarios! {
    "lot-hlt",
    "lot-mwait",
    "lot-clgi",
    "lost-wake-erratum",
    "late-ack-then-revoke",
    "ring-revoke-ring-again",
    "stale-generation",
    "kexec-chain-100",
    "foreign-kernel-takes-cpu",
    "crash-kexec-on-ap",
    "seize-mid-ticket",
    "hibernate-resume",
    "warm-reset-stale-lot",
    "s3-stale-lot",
    "shutdown-smm",
    "microcode-hold",
    "park-from-nmi",
    "park-from-mce-panic",
    "mc-inside-nmi-then-ring",
    "mc-storm-faults",
    "unknown-newer-lot",
    "adopt-corrupted-lot",
    "wait-for-sipi-wake",
    "wait-for-sipi-declared",
    "bsp-taken-declared",
    "wait-for-sipi-x2apic",
    "called-from-idle-hlt",
    "called-from-idle-mwait",
    "called-from-idle-mwait-break",
    "called-from-idle-tpause",
    "foreign-kernel-takes-cpu-in-smm",
    "clgi-holds-interrupt",
    "linux-mwait-kexec",
    "linux-mwait-kexec-then-taken",
    "mce-off-then-nmi",
    "linux-hlt-kexec-nmi",
    "linux-hlt-kexec-mce",
    "linux-hlt-kexec-smi",
    "nosmt-second-kexec",
    "edk2-loop-nmi",
    "init-broadcast-mce",
    "init-bsp",
    "init-smm-rendezvous",
    "init-vmx-root",
    "clgi-hlt-cannot-wake",
    "clgi-init-sipi-lost",
    "clgi-mce",
}

/// The names of all built-in scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCENARIOS.iter().map(|(name, _)| *name)
}

/// The text of a built-in scenario.
#[must_use]
pub fn builtin_text(name: &str) -> Option<&'static str> {
    SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
