//! `--knob`: values for undocumented cells, and the runs that follow.

use crate::exit::Failure;
use crate::names::unknown;
use park_sim::machine::Knob;

/// The most runs that one command makes.
pub const RUNS_MAX: usize = 4096;
/// Stands for every value, and for every knob.
const ALL: &str = "all";

/// What `--knob` asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnobRequest {
    /// One value each, by its index.
    pub fixed: Vec<(Knob, u8)>,
    /// Every value of each, in every combination.
    pub swept: Vec<Knob>,
    /// Which knobs are varied beyond those.
    pub rest: Rest,
}

/// What happens to the knobs that were not named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rest {
    /// They keep the scenario's value, or the first.
    #[default]
    Kept,
    /// Each that the run asks for takes every value, one knob at a time.
    OneAtATime,
}

impl KnobRequest {
    /// Reads `k=v`, `k=all` and `all=all`, or `all` for short. Underscores count as hyphens.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the knob or value.
    pub fn read(options: &[String]) -> Result<Self, Failure> {
        let mut request = Self::default();
        for option in options {
            let assignment = if option.trim() == ALL { "all=all" } else { option };
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(Failure::Input(format!(
                    "--knob {option}: a knob and a value are needed, as in nmi-depth=2"
                )));
            };
            let (name, value) = (name.trim().replace('_', "-"), value.trim().replace('_', "-"));
            if name == ALL {
                if value != ALL {
                    return Err(Failure::Input(format!("--knob {option}: all knobs together take `all` only")));
                }
                request.rest = Rest::OneAtATime;
                continue;
            }
            let names = Knob::ALL.iter().map(|knob| knob.name());
            let Some(knob) = Knob::from_name(&name) else {
                return Err(Failure::Input(format!("--knob {option}: {}", unknown("knob", &name, names))));
            };
            if request.names(knob) {
                return Err(Failure::Input(format!("--knob {option}: {name} is given twice")));
            }
            if value == ALL {
                request.swept.push(knob);
                continue;
            }
            let index = index_of(knob, &value).ok_or_else(|| {
                let values = knob.values().join(", ");
                Failure::Input(format!("--knob {option}: {name} has no value `{value}`; it takes {values} or all"))
            })?;
            request.fixed.push((knob, index));
        }
        let runs = request.swept.iter().try_fold(1usize, |runs, knob| runs.checked_mul(knob.values().len()));
        match runs {
            Some(runs) if runs <= RUNS_MAX => Ok(request),
            _ => Err(Failure::Input(format!(
                "--knob: {} knobs with every value are more than {RUNS_MAX} runs; all=all varies one at a time",
                request.swept.len()
            ))),
        }
    }

    /// True if the knob was named.
    #[must_use]
    pub fn names(&self, knob: Knob) -> bool {
        self.fixed.iter().any(|(fixed, _)| *fixed == knob) || self.swept.contains(&knob)
    }

    /// True if more than one run may follow.
    #[must_use]
    pub fn is_sweep(&self) -> bool {
        !self.swept.is_empty() || self.rest == Rest::OneAtATime
    }

    /// The knobs of each run, the swept ones in every combination, the first knob slowest.
    #[must_use]
    pub fn combinations(&self) -> Vec<Vec<(Knob, u8)>> {
        let mut runs = vec![self.fixed.clone()];
        for knob in &self.swept {
            let with = |run: &Vec<(Knob, u8)>, index| run.iter().copied().chain([(*knob, index)]).collect();
            runs = runs.iter().flat_map(|run| indices(*knob).map(move |index| with(run, index))).collect();
        }
        runs
    }
}

/// The indices of a knob's values.
pub fn indices(knob: Knob) -> impl Iterator<Item = u8> {
    (0u8..).take(knob.values().len())
}

/// The index of a value's name.
#[must_use]
pub fn index_of(knob: Knob, value: &str) -> Option<u8> {
    indices(knob).zip(knob.values()).find(|(_, name)| **name == value).map(|(index, _)| index)
}

/// The name of a value.
#[must_use]
pub fn value_name(knob: Knob, index: u8) -> &'static str {
    knob.values().get(usize::from(index)).copied().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<KnobRequest, Failure> {
        KnobRequest::read(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_found_by_name_and_underscores_count_as_hyphens() {
        let request = read(&["mc_gif0=shutdown", "nmi-depth=2"]).ok();
        let fixed = vec![(Knob::McGif0, 1), (Knob::NmiDepth, 1)];
        assert_eq!(request, Some(KnobRequest { fixed, ..KnobRequest::default() }));
    }

    #[test]
    fn all_is_every_combination() {
        let Ok(request) = read(&["nmi-depth=all", "auto-halt=clear", "mc-wfs=all"]) else { panic!("refused") };
        assert!(request.is_sweep());
        let runs = request.combinations();
        assert_eq!(runs.len(), 2 * 3);
        assert!(runs.iter().all(|run| run.len() == 3 && run.contains(&(Knob::AutoHalt, 1))));
        let last = runs.last().map(|run| run.contains(&(Knob::NmiDepth, 1)) && run.contains(&(Knob::McWfs, 2)));
        assert_eq!(last, Some(true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (options, named) in [
            (&["nmi-depth"][..], "nmi-depth=2"),
            (&["nmi-dept=2"], "did you mean nmi-depth"),
            (&["nmi-depth=3"], "it takes 1, 2 or all"),
            (&["nmi-depth=1", "nmi-depth=2"], "given twice"),
            (&["all=1"], "`all` only"),
            (&["="], "no knob is named"),
        ] {
            match read(options) {
                Err(failure) => assert!(failure.to_string().contains(named), "{options:?}: {failure}"),
                Ok(request) => panic!("{options:?} became {request:?}"),
            }
        }
        let many: Vec<String> = Knob::ALL.iter().map(|knob| format!("{}=all", knob.name())).collect();
        assert!(KnobRequest::read(&many).is_err());
    }
}
