//! The scenarios that are built in.

macro_rules! scenarios {
    ($($name:literal,)*) => {
        /// Name and text of each.
        const SCENARIOS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml"))),)*];
    };
}

scenarios! {
    "lot-hlt",
    "linux-mwait-kexec",
    "linux-hlt-kexec-nmi",
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
