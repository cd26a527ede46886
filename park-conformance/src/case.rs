//! What is measured: one mechanism under one event.

use core::fmt;
use park_core::{Event, Mechanism};

/// One mechanism under one event. It displays as `hlt/nmi`, its name on command lines and in documents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Case {
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// What happens to it.
    pub event: Event,
}

/// Between the two names of a case.
const SEPARATOR: char = '/';

impl Case {
    /// All cases, in the order of mechanisms, then events.
    pub fn all() -> impl Iterator<Item = Self> {
        Mechanism::ALL
            .into_iter()
            .flat_map(|mechanism| Event::ALL.into_iter().map(move |event| Self { mechanism, event }))
    }

    /// The case of this name, as [`Display`](fmt::Display) prints it; `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (mechanism, event) = name.split_once(SEPARATOR)?;
        Some(Self { mechanism: Mechanism::from_name(mechanism)?, event: Event::from_name(event)? })
    }

    /// Whether the name matches `glob`, in which `*` stands for any characters, none included, and `?` for any one.
    #[must_use]
    pub fn matches(self, glob: &str) -> bool {
        let name = [self.mechanism.name(), "/", self.event.name()];
        matches(name.iter().flat_map(|part| part.bytes()), glob.as_bytes())
    }
}

/// Whether `name` matches `glob`, in which `*` stands for any characters, none included, and `?` for any one.
#[must_use]
pub fn matches_glob(name: &str, glob: &str) -> bool {
    matches(name.bytes(), glob.as_bytes())
}

/// Matches a name against a glob: on a mismatch the last `*` takes one character more.
fn matches(mut name: impl Iterator<Item = u8> + Clone, glob: &[u8]) -> bool {
    let mut rest = glob;
    let mut last_star = None;
    loop {
        if let [b'*', after @ ..] = rest {
            rest = after;
            last_star = Some((name.clone(), after));
            continue;
        }
        let next = name.next();
        rest = match (rest, next) {
            ([], None) => return true,
            ([wanted, after @ ..], Some(found)) if *wanted == b'?' || *wanted == found => after,
            _ => {
                // Nothing is left for the star to take, or there was none.
                let Some((mut from, after)) = last_star.clone() else { return false };
                if from.next().is_none() {
                    return false;
                }
                last_star = Some((from.clone(), after));
                name = from;
                after
            }
        };
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.mechanism, self.event)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn every_case_is_found_by_its_name() {
        let all: Vec<Case> = Case::all().collect();
        assert_eq!(all.len(), Mechanism::ALL.len() * Event::ALL.len());
        for case in all {
            assert_eq!(Case::from_name(&case.to_string()), Some(case));
            assert!(case.matches(&case.to_string()));
        }
        for wrong in ["", "hlt", "hlt/", "/nmi", "hlt/nmi/", "HLT/nmi", "nmi/hlt", "hlt/nmi "] {
            assert_eq!(Case::from_name(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn globs_choose_by_name() {
        let count = |glob: &str| Case::all().filter(|case| case.matches(glob)).count();
        assert_eq!(count("*"), Mechanism::ALL.len() * Event::ALL.len());
        assert_eq!(count("**"), count("*"));
        assert_eq!(count("hlt/*"), Event::ALL.len());
        assert_eq!(count("*/nmi"), Mechanism::ALL.len());
        assert_eq!(count("*/init*"), 2 * Mechanism::ALL.len());
        assert_eq!(count("*/*mi"), 2 * Mechanism::ALL.len());
        assert_eq!(count("hlt/?mi"), 2);
        assert_eq!(count("*-*-*"), Event::ALL.len() + 6);
        for none in ["", "?", "hlt", "hlt/nm", "hlt/nmi?", "lt/nmi", "*x"] {
            assert_eq!(count(none), 0, "{none:?}");
        }
    }
}
