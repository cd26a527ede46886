//! The test `conformance`: what was measured, against what is claimed and what is known to deviate.

use park_conformance::{Answer, Case, Coalescing, LackKind, Waiting};
use park_core::{Condition, Event, Response};

use crate::configuration::{Configuration, Emulator, SIM_INTEL_MODEL};
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

/// What led to a response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seen {
    /// How often the event was made to happen.
    pub fired: u64,
    /// How often it was seen at the CPU.
    pub witnessed: u64,
    /// Why that is less often.
    pub coalesced: Option<Coalescing>,
    /// Whether the CPU gave a proof of life after the event.
    pub confirmed: Answer,
    /// How often its entry ran when it was woken.
    pub entries: u64,
    /// What the CPU does while nothing happens to it.
    pub waiting: Waiting,
    /// In how many runs all of this was so: on the simulator one for each combination of values of the knobs that matter.
    pub runs: u64,
}

/// One case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The case.
    pub case: Case,
    /// What it came to.
    pub came: Came,
    /// What led to a response; `None` where there is none, and where the machine was lost before it could tell.
    pub seen: Option<Seen>,
}

impl Shown {
    /// A case in which the machine was reset.
    #[must_use]
    pub const fn reset(case: Case) -> Self {
        Self { case, came: Came::Measured(Response::Reset), seen: None }
    }
}

/// What the lines of one boot show, and the case that was under way when they end.
#[must_use]
pub fn shown(lines: &[String]) -> (Vec<Shown>, Option<Case>) {
    let (mut all, mut open) = (Vec::new(), None);
    for line in lines.iter().filter_map(|text| Line::parse(text)) {
        let Some(case) = line.text("case").and_then(Case::from_name) else { continue };
        if line.event() == "case" {
            open = Some(case);
            continue;
        }
        open = None;
        all.push(of_line(&line, case));
    }
    (all, open)
}

/// What the line that ends a case says.
#[must_use]
pub fn of_line(line: &Line, case: Case) -> Shown {
    let word = |key| line.text(key).unwrap_or_default().to_owned();
    let (came, seen) = match line.event() {
        "verdict" => match (line.text("response").and_then(Response::from_name), seen(line)) {
            (Some(response), Some(seen)) => (Came::Measured(response), Some(seen)),
            (None, _) => (Came::Doubt(format!("a response `{}` that nobody knows", word("response"))), None),
            (_, None) => (Came::Doubt("a verdict that does not say what led to it".to_owned()), None),
        },
        "lacks" => (Came::Lacks(word("kind"), word("why")), None),
        _ => (Came::Doubt(word("why")), None),
    };
    Shown { case, came, seen }
}

/// What led to a verdict; `None` if the line does not say, or says what nobody knows.
fn seen(line: &Line) -> Option<Seen> {
    let coalesced = match line.text("coalesced")? {
        NOT_COALESCED => None,
        name => Some(Coalescing::from_name(name)?),
    };
    Some(Seen {
        fired: line.number("fired")?,
        witnessed: line.number("witnessed")?,
        coalesced,
        confirmed: Answer::from_name(line.text("confirmed")?)?,
        entries: line.number("entries")?,
        waiting: Waiting::from_name(line.text("waiting")?)?,
        runs: line.number("runs").unwrap_or(1),
    })
}

/// What stands in the place of a coalescing where every event was seen.
pub(crate) const NOT_COALESCED: &str = "none";

/// Where something was measured, as far as claims and deviations depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The emulator; `None` for a machine of which nobody has written down what it does otherwise.
    pub emulator: Option<Emulator>,
    /// Whose CPU it has.
    pub vendor: Vendor,
}

/// Whose claims a CPU is held to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Vendor {
    /// Intel's.
    Intel,
    /// AMD's.
    Amd,
}

impl Vendor {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
        }
    }
}

/// How a case stands to what is claimed and to what is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is as claimed.
    Claimed,
    /// It is not, as the table of deviations says.
    Deviates(&'static Deviation),
    /// The rig can't show it.
    Lacks,
    /// It is not as it should be: why, in one sentence.
    Surprise(String),
}

impl Standing {
    /// The name in documents.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Deviates(_) => "deviates",
            Self::Lacks => "lacks",
            Self::Surprise(_) => "surprise",
        }
    }
}

impl Place {
    /// Whether the manuals of the vendor claim `response` for an application processor.
    ///
    /// Those of AMD know no machine check that every CPU gets (APM vol. 2, 9.3): one that does reach all is one on each.
    fn claims(self, case: Case, response: Response) -> bool {
        let (claims, is_each_ones) = match self.vendor {
            Vendor::Intel => (park_intel::CLAIMS, false),
            Vendor::Amd => (park_amd::CLAIMS, case.event == Event::McBroadcast),
        };
        claims.iter().any(|claim| {
            let of_event = claim.event == case.event || is_each_ones && claim.event == Event::McLocal;
            of_event
                && (claim.mechanism, claim.response) == (case.mechanism, response)
                && claim.condition != Condition::Bsp
        })
    }

    /// Whether what the simulator measured is claimed. Where the knobs let MWAIT hold nothing, a CPU laps anyway, and that an
    /// event ended its wait can't be told.
    fn claims_simulated(self, shown: &Shown, response: Response) -> bool {
        let laps_anyway = shown.seen.is_some_and(|seen| seen.waiting == Waiting::Lapping);
        self.emulator == Some(Emulator::Simulator)
            && laps_anyway
            && response == Response::Unnoticed
            && self.claims(shown.case, Response::Laps)
    }

    /// How a case stands that was shown here.
    #[must_use]
    pub fn standing(self, shown: &Shown) -> Standing {
        let Shown { case, came, .. } = shown;
        let listed = self.emulator.and_then(|emulator| deviations::of(emulator, *case));
        match (came, listed) {
            (Came::Doubt(why), _) => Standing::Surprise(format!("{case}: no verdict: {why}")),
            (Came::Measured(seen), Some(row)) if *seen == row.seen => Standing::Deviates(row),
            (Came::Measured(seen), Some(Deviation { seen: known, .. })) => {
                Standing::Surprise(format!("{case}: {seen}, and the table of deviations says {known}"))
            }
            (Came::Measured(seen), None) if self.claims(*case, *seen) || self.claims_simulated(shown, *seen) => {
                Standing::Claimed
            }
            (Came::Measured(seen), None) => {
                Standing::Surprise(format!("{case}: {seen}, which no claim and no deviation says"))
            }
            // A model without the mechanism has not the deviation either, nor has one whose firmware never gathers its CPUs;
            // anything else that is missing hides it.
            (Came::Lacks(kind, why), Some(_))
                if kind != LackKind::NoMechanism.name()
                    && (case.event != Event::SmiRendezvous || kind != LackKind::NoSource.name()) =>
            {
                Standing::Surprise(format!("{case}: {why}, and the table of deviations says what it does"))
            }
            (Came::Lacks(..), _) => Standing::Lacks,
        }
    }
}

/// All that is not as it should be: differences that no deviation names, deviations that no longer occur, doubts.
#[must_use]
pub fn surprises(configuration: &Configuration, all: &[Shown]) -> Vec<String> {
    let surprise = |shown: &Shown| match configuration.place().standing(shown) {
        Standing::Surprise(why) => Some(why),
        Standing::Claimed | Standing::Deviates(_) | Standing::Lacks => None,
    };
    all.iter().filter_map(surprise).collect()
}

impl Configuration {
    /// Whose CPUs its model has.
    #[must_use]
    pub fn vendor(&self) -> Vendor {
        let is_intel = match self.emulator {
            Emulator::Qemu => self.model.contains("GenuineIntel"),
            Emulator::Bochs => self.model != "ryzen",
            Emulator::Simulator => self.model == SIM_INTEL_MODEL,
        };
        if is_intel { Vendor::Intel } else { Vendor::Amd }
    }

    /// Where a case was measured that this machine showed.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { emulator: Some(self.emulator), vendor: self.vendor() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use park_core::Mechanism;

    const SEEN: Seen = Seen {
        fired: 3,
        witnessed: 2,
        coalesced: Some(Coalescing::NmiLatch),
        confirmed: Answer::Answered,
        entries: 1,
        waiting: Waiting::Still,
        runs: 1,
    };

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const VERDICT: &str = "{\"event\":\"verdict\",\"case\":\"hlt/nmi\",\"fired\":3,\"witnessed\":2,\"coalesced\":\"nmi-latch\",\
                           \"response\":\"laps\",\"confirmed\":\"answered\",\"entries\":1,\"waiting\":\"still\"}";

    #[test]
    fn verdicts_and_the_open_case_are_read() {
        let (all, open) = shown(&lines(&format!(
            "{{\"event\":\"case\",\"case\":\"hlt/nmi\"}}\n{VERDICT}\n\
             {{\"event\":\"case\",\"case\":\"hlt/intr\"}}\n{{\"event\":\"lacks\",\"case\":\"hlt/intr\",\"kind\":\"no-witness\",\"why\":\"x\"}}\n\
             {{\"event\":\"case\",\"case\":\"wait-for-sipi/nmi\"}}\n",
        )));
        assert_eq!(all.len(), 2);
        assert_eq!((&all[0].came, all[0].seen), (&Came::Measured(Response::Laps), Some(SEEN)));
        assert_eq!(open, Case::from_name("wait-for-sipi/nmi"));
    }

    #[test]
    fn a_verdict_that_is_not_whole_is_a_doubt() {
        for (from, to) in [
            ("\"fired\":3,", ""),
            ("laps", "dances"),
            ("nmi-latch", "magic"),
            ("answered", "perhaps"),
            ("\"entries\":1", "\"entries\":-1"),
            ("still", "standing"),
        ] {
            let (all, _) = shown(&lines(&VERDICT.replace(from, to)));
            assert!(matches!(all[0], Shown { came: Came::Doubt(_), seen: None, .. }), "{to}: {all:?}");
        }
    }

    fn found(place: Place, mechanism: Mechanism, event: Event, came: Came, seen: Option<Seen>) -> Standing {
        place.standing(&Shown { case: Case { mechanism, event }, came, seen })
    }

    #[test]
    fn an_unlisted_difference_and_a_deviation_that_is_gone_are_surprises() {
        let epyc = Configuration::from_name("qemu-epyc").unwrap();
        let of = |mechanism, event, response| {
            let came = Came::Measured(response);
            surprises(epyc, &[Shown { case: Case { mechanism, event }, came, seen: Some(SEEN) }])
        };
        assert!(of(Mechanism::Hlt, Event::Nmi, Response::Laps).is_empty());
        assert_eq!(of(Mechanism::Hlt, Event::Nmi, Response::Held).len(), 1);
        // Listed: TCG does not go back into HLT after an SMI.
        assert!(of(Mechanism::Hlt, Event::Smi, Response::Laps).is_empty());
        assert_eq!(of(Mechanism::Hlt, Event::Smi, Response::Transparent).len(), 1);
        let lacks = |mechanism, event, kind: LackKind| {
            let came = Came::Lacks(kind.name().to_owned(), "so".to_owned());
            surprises(epyc, &[Shown { case: Case { mechanism, event }, came, seen: None }])
        };
        assert_eq!(lacks(Mechanism::Hlt, Event::Smi, LackKind::NoWitness).len(), 1);
        assert!(lacks(Mechanism::Hlt, Event::Smi, LackKind::NoMechanism).is_empty());
        assert_eq!(lacks(Mechanism::Hlt, Event::Smi, LackKind::NoSource).len(), 1);
        assert_eq!(lacks(Mechanism::Hlt, Event::SmiRendezvous, LackKind::NoWitness).len(), 1);
        assert!(lacks(Mechanism::Hlt, Event::SmiRendezvous, LackKind::NoSource).is_empty());
        assert!(lacks(Mechanism::Clgi, Event::Sipi, LackKind::NoWitness).is_empty());
        let doubt = found(epyc.place(), Mechanism::Hlt, Event::Nmi, Came::Doubt("zero".to_owned()), None);
        assert!(matches!(doubt, Standing::Surprise(_)));
    }

    #[test]
    fn what_an_emulator_is_forgiven_no_other_machine_is() {
        let place = |emulator| Place { emulator, vendor: Vendor::Amd };
        let laps =
            |emulator| found(place(emulator), Mechanism::Hlt, Event::Smi, Came::Measured(Response::Laps), Some(SEEN));
        assert!(matches!(laps(Some(Emulator::Qemu)), Standing::Deviates(_)));
        assert!(matches!(laps(Some(Emulator::Simulator)), Standing::Surprise(_)));
        assert!(matches!(laps(None), Standing::Surprise(_)));
    }

    #[test]
    fn a_machine_check_that_reaches_all_cpus_of_amd_is_one_on_each() {
        let held = |vendor, mechanism| {
            let place = Place { emulator: None, vendor };
            found(place, mechanism, Event::McBroadcast, Came::Measured(Response::Held), Some(SEEN))
        };
        assert_eq!(held(Vendor::Amd, Mechanism::Clgi), Standing::Claimed);
        assert!(matches!(held(Vendor::Amd, Mechanism::Hlt), Standing::Surprise(_)));
        assert!(matches!(held(Vendor::Intel, Mechanism::Hlt), Standing::Surprise(_)));
    }

    #[test]
    fn only_a_simulated_cpu_that_laps_anyway_may_seem_not_to_notice() {
        let unnoticed = |emulator, waiting| {
            let place = Place { emulator: Some(emulator), vendor: Vendor::Intel };
            let seen = Some(Seen { waiting, ..SEEN });
            found(place, Mechanism::Mwait, Event::Nmi, Came::Measured(Response::Unnoticed), seen)
        };
        assert_eq!(unnoticed(Emulator::Simulator, Waiting::Lapping), Standing::Claimed);
        assert!(matches!(unnoticed(Emulator::Simulator, Waiting::Still), Standing::Surprise(_)));
        assert!(matches!(unnoticed(Emulator::Bochs, Waiting::Lapping), Standing::Surprise(_)));
    }
}
