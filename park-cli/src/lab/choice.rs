//! Which trials the arguments choose.

use super::Arguments;
use crate::exit::Failure;
use crate::names::{near, unknown};
use park_lab::configuration::{self, Emulator};
use park_lab::trial::{Length, Trial, all};
use std::collections::BTreeSet;

/// The name that chooses every emulator.
const ALL: &str = "all";

/// The trials, in the order in which they run.
///
/// # Errors
/// [`Failure::Input`] names what chooses nothing.
pub fn trials(arguments: &Arguments) -> Result<Vec<Trial>, Failure> {
    let emulator = emulator(arguments.rig.as_deref())?;
    let models: BTreeSet<&str> = configuration::ALL.iter().map(|configuration| configuration.model_name()).collect();
    if let Some(wrong) = arguments.cpu.iter().find(|model| !models.contains(model.as_str())) {
        return Err(Failure::Input(unknown("CPU model of the lab", wrong, models.iter().copied())));
    }
    let length = if arguments.soak { Length::Soak } else { Length::Short };
    let mut trials: Vec<Trial> = all().into_iter().filter(|trial| trial.length == length).collect();
    trials.retain(|trial| emulator.is_none_or(|emulator| trial.configuration.emulator == emulator));
    let model_is_wanted = |model: &str| arguments.cpu.is_empty() || arguments.cpu.iter().any(|wanted| wanted == model);
    trials.retain(|trial| model_is_wanted(trial.configuration.model_name()));
    let names: Vec<String> = trials.iter().map(Trial::name).collect();
    if let Some(glob) = &arguments.case {
        trials.retain(|trial| trial.matches(glob));
        if trials.is_empty() {
            return Err(Failure::Input(no_trial(glob, &names)));
        }
    }
    if trials.is_empty() {
        return Err(Failure::Input("no trial is left; `park lab --list` says what there is".to_owned()));
    }
    Ok(trials)
}

/// What is said where no trial matches: there are too many to name them all.
fn no_trial(glob: &str, names: &[String]) -> String {
    let near = near(glob, names.iter().map(String::as_str));
    let meant = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
    format!("no trial matches `{glob}`{meant} (`park lab --list` says what there is)")
}

/// The emulator of this name; `None` for all.
fn emulator(name: Option<&str>) -> Result<Option<Emulator>, Failure> {
    let Some(name) = name.filter(|name| *name != ALL) else { return Ok(None) };
    let found = Emulator::ALL.into_iter().find(|emulator| emulator.name() == name);
    let names = Emulator::ALL.into_iter().map(Emulator::name).chain([ALL]);
    found.map(Some).ok_or_else(|| Failure::Input(unknown("rig", name, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(arguments: &Arguments) -> Vec<String> {
        trials(arguments).unwrap().iter().map(Trial::name).collect()
    }

    #[test]
    fn arguments_narrow_the_choice() {
        let everything = Arguments::default();
        assert!(chosen(&everything).len() > 20);
        assert!(!chosen(&everything).iter().any(|name| name.contains("-16/")));
        let soak = Arguments { soak: true, ..everything.clone() };
        assert_eq!(chosen(&soak), ["qemu-epyc-16/torture", "qemu-counted/losses-soak"]);
        let bochs = Arguments { rig: Some("bochs".to_owned()), ..everything.clone() };
        assert!(chosen(&bochs).iter().all(|name| name.starts_with("bochs-")));
        let models = Arguments { cpu: vec!["ryzen".to_owned(), "tigerlake".to_owned()], ..everything.clone() };
        assert!(chosen(&models).len() >= models.cpu.len());
        assert!(models.cpu.iter().all(|model| chosen(&models).iter().any(|name| name.contains(model))));
        assert!(chosen(&models).iter().all(|name| models.cpu.iter().any(|model| name.contains(model))));
        let case = Arguments { case: Some("torture".to_owned()), ..bochs };
        assert!(chosen(&case).contains(&"bochs-ryzen-4/torture".to_owned()));
        let simulated = Arguments { rig: Some("sim".to_owned()), ..everything.clone() };
        assert_eq!(chosen(&simulated), ["sim-amd/conformance", "sim-intel/conformance"]);
        let all = Arguments { rig: Some(ALL.to_owned()), ..everything.clone() };
        assert_eq!(chosen(&all), chosen(&everything));
    }

    #[test]
    fn what_chooses_nothing_is_named_in_few_words() {
        let wrong = |arguments: Arguments| trials(&arguments).unwrap_err().to_string();
        assert!(wrong(Arguments { rig: Some("simics".to_owned()), ..Arguments::default() }).contains("`simics`"));
        assert!(wrong(Arguments { cpu: vec!["ryzn".to_owned()], ..Arguments::default() }).contains("mean ryzen?"));
        assert!(wrong(Arguments { case: Some("tortur".to_owned()), ..Arguments::default() }).contains("tortur"));
        let nothing = wrong(Arguments { case: Some("nothing".to_owned()), ..Arguments::default() });
        assert_eq!(nothing, "no trial matches `nothing` (`park lab --list` says what there is)");
        let crossed = Arguments { rig: Some("qemu".to_owned()), cpu: vec!["ryzen".to_owned()], ..Arguments::default() };
        assert!(wrong(crossed).contains("--list"));
    }
}
