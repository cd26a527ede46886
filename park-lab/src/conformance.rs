//! The test `conformance`: what was measured, against what is claimed and what is known to deviate.

use park_conformance::{Case, LackKind};
use park_core::{Condition, Response};

use crate::configuration::{Configuration, Emulator};
use crate::deviations::{self, Deviation};
use crate::line::Line;

/// What one case came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Came {
    /// The image, or the lab where the machine was lost, saw this response.
    Measured(Response),
    /// The rig can't show it: the kind of what it lacks, and what.
    Lacks(String, String),
    /// What was seen is no verdict.
    Doubt(String),
}

/// One case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The case.
    pub case: Case,
    /// What it came to.
    pub came: Came,
}

/// What the lines of one boot show, and the case that was under way when they end.
#[must_use]
pub fn shown(lines: &[String]) -> (Vec<Shown>, Option<Case>) {
    let (mut all, mut open) = (Vec::new(), None);
    for line in lines.iter().filter_map(|text| Line::parse(text)) {
        let Some(case) = line.text("case").and_then(Case::from_name) else { continue };
        let word = |key| line.text(key).unwrap_or_default().to_owned();
        let came = match line.event() {
            "case" => {
                open = Some(case);
                continue;
            }
            "verdict" => line.text("response").and_then(Response::from_name).map_or_else(
                || Came::Doubt(format!("a response `{}` that nobody knows", word("response"))),
                Came::Measured,
            ),
            "lacks" => Came::Lacks(word("kind"), word("why")),
            _ => Came::Doubt(word("why")),
        };
        open = None;
        all.push(Shown { case, came });
    }
    (all, open)
}

/// Whether the manuals of the model's vendor claim `response` for an application processor.
fn is_claimed(configuration: &Configuration, case: Case, response: Response) -> bool {
    let claims = if configuration.is_intel() { park_intel::CLAIMS } else { park_amd::CLAIMS };
    claims.iter().any(|claim| {
        (claim.mechanism, claim.event, claim.response) == (case.mechanism, case.event, response)
            && claim.condition != Condition::Bsp
    })
}

/// All that is not as it should be: differences that no deviation names, deviations that no longer occur, doubts.
#[must_use]
pub fn surprises(configuration: &Configuration, all: &[Shown]) -> Vec<String> {
    let mut surprises = Vec::new();
    for Shown { case, came } in all {
        let listed = deviations::of(configuration.emulator, *case);
        match (came, listed) {
            (Came::Doubt(why), _) => surprises.push(format!("{case}: no verdict: {why}")),
            (Came::Measured(seen), Some(Deviation { seen: known, .. })) if seen != known => {
                surprises.push(format!("{case}: {seen}, and the table of deviations says {known}"));
            }
            (Came::Measured(seen), None) if !is_claimed(configuration, *case, *seen) => {
                surprises.push(format!("{case}: {seen}, which no claim and no deviation says"));
            }
            // A model without the mechanism has not the deviation either; anything else that is missing hides it.
            (Came::Lacks(kind, why), Some(_)) if kind != LackKind::NoMechanism.name() => {
                surprises.push(format!("{case}: {why}, and the table of deviations says what it does"));
            }
            (Came::Measured(_) | Came::Lacks(..), _) => {}
        }
    }
    surprises
}

impl Configuration {
    /// Whether the model is Intel's.
    #[must_use]
    pub fn is_intel(&self) -> bool {
        match self.emulator {
            Emulator::Qemu => self.model.contains("GenuineIntel"),
            Emulator::Bochs => self.model != "ryzen",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use park_core::{Event, Mechanism};

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn verdicts_and_the_open_case_are_read() {
        let (all, open) = shown(&lines(
            "{\"event\":\"case\",\"case\":\"hlt/nmi\"}\n{\"event\":\"verdict\",\"case\":\"hlt/nmi\",\"response\":\"laps\"}\n\
             {\"event\":\"case\",\"case\":\"hlt/intr\"}\n{\"event\":\"lacks\",\"case\":\"hlt/intr\",\"kind\":\"no-witness\",\"why\":\"x\"}\n\
             {\"event\":\"case\",\"case\":\"wait-for-sipi/nmi\"}\n",
        ));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].came, Came::Measured(Response::Laps));
        assert_eq!(open, Case::from_name("wait-for-sipi/nmi"));
    }

    #[test]
    fn an_unlisted_difference_and_a_deviation_that_is_gone_are_surprises() {
        let epyc = Configuration::from_name("qemu-epyc").unwrap();
        let of = |mechanism, event, response| {
            surprises(epyc, &[Shown { case: Case { mechanism, event }, came: Came::Measured(response) }])
        };
        assert!(of(Mechanism::Hlt, Event::Nmi, Response::Laps).is_empty());
        assert_eq!(of(Mechanism::Hlt, Event::Nmi, Response::Held).len(), 1);
        // Listed: TCG does not go back into HLT after an SMI.
        assert!(of(Mechanism::Hlt, Event::Smi, Response::Laps).is_empty());
        assert_eq!(of(Mechanism::Hlt, Event::Smi, Response::Transparent).len(), 1);
        let lacks = |mechanism, event, kind: LackKind| {
            let came = Came::Lacks(kind.name().to_owned(), "so".to_owned());
            surprises(epyc, &[Shown { case: Case { mechanism, event }, came }])
        };
        assert_eq!(lacks(Mechanism::Hlt, Event::Smi, LackKind::NoWitness).len(), 1);
        assert!(lacks(Mechanism::Hlt, Event::Smi, LackKind::NoMechanism).is_empty());
        assert!(lacks(Mechanism::Hlt, Event::Intr, LackKind::NoWitness).is_empty());
        let doubt =
            Shown { case: Case { mechanism: Mechanism::Hlt, event: Event::Nmi }, came: Came::Doubt("zero".to_owned()) };
        assert_eq!(surprises(epyc, &[doubt]).len(), 1);
    }
}
