//! Trials: which test of the image runs on which configuration, and how each must end.

use core::time::Duration;

use park_conformance::matches_glob;

use crate::configuration::{Boot, Configuration, Emulator};
use crate::judge::{End, Expected};

/// When a trial runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// In every lab.
    Short,
    /// Only in a soak.
    Soak,
}

/// Whether the same run must come out the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// One run.
    Once,
    /// Two runs, whose serial logs must be byte for byte the same.
    Identical,
}

/// One test on one configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trial {
    /// What is tried: unique within a configuration.
    pub test: &'static str,
    /// The machine.
    pub configuration: &'static Configuration,
    /// The image's command line, before what the configuration adds.
    words: &'static str,
    /// The cases that are measured, if it measures any: a boot for each of these globs.
    pub cases: &'static [&'static str],
    /// How it ends.
    end: End,
    /// Mode of the local APICs, if not the configuration's.
    apic: Option<&'static str>,
    /// CPUs that the command line names beyond those that the machine has.
    missing_cpus: u32,
    /// Generations of torture.
    generations: u32,
    /// When it runs.
    pub length: Length,
    /// Whether it must come out the same twice.
    pub repeat: Repeat,
    /// The longest that one run may take.
    pub limit: Duration,
}

impl Trial {
    /// The name, as `--case` matches it and folders are called: `qemu-epyc/torture`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.configuration.name, self.test)
    }

    /// The image's command line; empty where no image runs.
    #[must_use]
    pub fn command_line(&self) -> String {
        let Configuration { cpus, timeout_ms, apic, emulator, .. } = *self.configuration;
        if emulator == Emulator::Simulator {
            return String::new();
        }
        let apic = self.apic.unwrap_or(apic);
        let (words, cpus, exit) = (self.words, cpus + self.missing_cpus, emulator.name());
        let generations =
            if self.generations == 0 { String::new() } else { format!(" generations={}", self.generations) };
        format!("{words} cpus={cpus} timeout_ms={timeout_ms} exit={exit} apic={apic}{generations}")
    }

    /// What a run of it is judged by.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let cpus = if matches!(self.end, End::Completes { .. }) { self.configuration.cpus } else { 0 };
        Expected { end: self.end, cpus: cpus.into(), generations: self.generations.into() }
    }

    /// Whether `glob` names it, in full or only the test.
    #[must_use]
    pub fn matches(&self, glob: &str) -> bool {
        matches_glob(&self.name(), glob) || matches_glob(self.test, glob)
    }
}

/// For a run of a few seconds on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(150);
/// For some minutes of work.
const LONG_LIMIT: Duration = Duration::from_secs(300);
/// For 100 generations with 16 CPUs on two cores.
const SOAK_LIMIT: Duration = Duration::from_secs(3600);
/// Generations of torture on the emulators' main machines.
const GENERATIONS: u32 = 20;
/// Generations of torture on their other machines.
const FEW_GENERATIONS: u32 = 3;
/// Generations of the soak.
const SOAK_GENERATIONS: u32 = 100;
/// #UD (SDM vol. 3, "Interrupt 6").
const INVALID_OPCODE: u64 = 6;

const fn short(configuration: &'static Configuration, test: &'static str, words: &'static str, end: End) -> Trial {
    // UEFI alone may take longer than everything else.
    let limit = match configuration.boot {
        Boot::Pvh | Boot::BiosIso => LIMIT,
        Boot::UefiIso | Boot::UefiSmmIso => LONG_LIMIT,
    };
    Trial {
        test,
        configuration,
        words,
        cases: &["*"],
        end,
        apic: None,
        missing_cpus: 0,
        generations: 0,
        length: Length::Short,
        repeat: Repeat::Once,
        limit,
    }
}

const fn smp(configuration: &'static Configuration) -> Trial {
    short(configuration, "smp", "t=smp", End::Completes { test: "smp" })
}

const fn skeleton(configuration: &'static Configuration) -> Trial {
    short(configuration, "skeleton", "t=skeleton", End::Completes { test: "skeleton" })
}

const fn torture(configuration: &'static Configuration, generations: u32) -> Trial {
    let trial = short(configuration, "torture", "t=torture", End::Completes { test: "torture" });
    Trial { generations, limit: LONG_LIMIT, ..trial }
}

/// Lots that are broken on purpose lose CPUs, and their controls, which are as slow and as much disturbed, lose none.
fn broken(configuration: &'static Configuration) -> Vec<Trial> {
    let holds = End::Completes { test: "torture" };
    let by_cpus = [
        ("wide-window", "t=torture break=wide-window", holds),
        ("no-window", "t=torture break=no-window", End::Loses { test: "torture" }),
        ("slow-arrival", "t=torture break=slow-arrival", holds),
        ("early-ack", "t=torture break=early-ack", End::GoesDown { after: "overwriting" }),
        ("no-idt", "t=torture break=no-idt", End::GoesDown { after: "fire" }),
    ];
    // Bochs has no machine checks; and QEMU holds them while GIF = 0.
    let by_host = [
        ("with-mce", "t=torture break=with-mce mechanism=hlt host=yes", holds),
        ("no-mce", "t=torture break=no-mce mechanism=hlt host=yes", End::GoesDown { after: "sync" }),
    ];
    let by_host = by_host.into_iter().filter(|_| configuration.emulator == Emulator::Qemu);
    let trials = by_cpus.into_iter().chain(by_host);
    trials.map(|(test, words, end)| short(configuration, test, words, end)).collect()
}

/// CPUs that do not come, or come late; more of them than bays; lots where none can be.
const fn trouble(configuration: &'static Configuration) -> Trial {
    short(configuration, "trouble", "t=trouble", End::Completes { test: "trouble" })
}

/// The name of the test that measures cases.
pub const CONFORMANCE: &str = "conformance";

/// Every case that the machine can show.
const fn conformance(configuration: &'static Configuration, words: &'static str) -> Trial {
    Trial { limit: LONG_LIMIT, ..short(configuration, CONFORMANCE, words, End::Completes { test: CONFORMANCE }) }
}

/// The name of the test that sends an NMI at every moment.
pub const SWEEP: &str = "sweep";

/// An NMI after every instruction of arriving and of leaving, or after many.
const fn sweep(configuration: &'static Configuration, words: &'static str) -> Trial {
    Trial { limit: LONG_LIMIT, ..short(configuration, SWEEP, words, End::Completes { test: SWEEP }) }
}

/// With machine checks, which the host raises.
const WITH_HOST: &str = "t=conformance host=yes";
/// SMIs that gather all CPUs, at those whose wait TCG knows: HLT and CLGI, MWAIT. One that waits for SIPI takes the SMI all the same,
/// as the deviation of `wait-for-sipi/smi` says, and then runs firmware's start-up code in memory that is the image's: nothing
/// can be measured beside it.
const GATHERED: [&str; 2] = ["?l*/smi-rendezvous", "mwait/smi-rendezvous"];
/// Where no host can raise machine checks.
const WITHOUT_HOST: &str = "t=conformance";

/// The image on both sides of the ACPI mailbox.
const fn mailbox(configuration: &'static Configuration) -> Trial {
    short(configuration, "mailbox", "t=mailbox", End::Completes { test: "mailbox" })
}

/// A bootloader without a kernel, and a next kernel without a lot.
fn without(configuration: &'static Configuration) -> [Trial; 4] {
    [
        ("linux-no-kernel", "t=linux", "needs kernel=ADDRESS:BYTES"),
        ("linux-no-bzimage", "t=linux kernel=0x3000000:65536", "is no bzImage"),
        ("adopt-no-table", "t=adopt", "ACPI has no PARK table"),
        ("adopt-no-lot", "t=adopt park=0x3000000", "no lot begins"),
    ]
    .map(|(test, words, naming)| short(configuration, test, words, End::Refuses { naming }))
}

/// Few samples: what they are is judged elsewhere.
const BENCH: &str = "t=bench samples=3 idle_us=10";

/// Wakes whose IPIs are lost: 10 000 in every lab, 1 000 000 in a soak.
const LOSSES: &str = "t=bench samples=0 losses=10000";
const LOSSES_SOAK: &str = "t=bench samples=0 losses=1000000";

/// All trials on one configuration.
fn on(configuration: &'static Configuration) -> Vec<Trial> {
    match configuration.name {
        "sim-amd" | "sim-intel" => vec![conformance(configuration, "")],
        "qemu-epyc" => [
            smp(configuration),
            skeleton(configuration),
            torture(configuration, GENERATIONS),
            conformance(configuration, WITH_HOST),
            // With machine checks, which the host raises.
            Trial { test: "torture-mc", words: "t=torture host=yes", ..torture(configuration, FEW_GENERATIONS) },
            // Mechanisms as the policy plans them, where the others take turns.
            Trial {
                test: "torture-policy",
                words: "t=torture mechanism=policy",
                ..torture(configuration, FEW_GENERATIONS)
            },
            trouble(configuration),
            mailbox(configuration),
            // Tests of the tests: what is wrong is named.
            short(configuration, "ud2", "t=fault", End::Faults { vector: INVALID_OPCODE }),
            short(configuration, "no-such-test", "t=nothing", End::Refuses { naming: "unknown test `nothing`" }),
            short(configuration, "no-such-key", "t=smp colour=red", End::Refuses { naming: "unknown key `colour`" }),
            Trial {
                missing_cpus: 1,
                ..short(configuration, "missing-cpu", "t=smp", End::Refuses { naming: "4 CPUs are online, but cpus=5" })
            },
            // This model has four levels of page tables at most.
            short(configuration, "no-la57", "t=smp levels=5", End::Refuses { naming: "57-bit" }),
            // TCG has no x2APIC.
            Trial { apic: Some("x2"), ..short(configuration, "no-x2apic", "t=smp", End::Refuses { naming: "x2APIC" }) },
        ]
        .into_iter()
        .chain(broken(configuration))
        .chain(without(configuration))
        .collect(),
        "qemu-epyc-8" => vec![smp(configuration), torture(configuration, FEW_GENERATIONS)],
        "qemu-epyc-16" => {
            let soak = torture(configuration, SOAK_GENERATIONS);
            vec![Trial { length: Length::Soak, limit: SOAK_LIMIT, ..soak }]
        }
        "qemu-counted" => {
            let twice = |trial| Trial { repeat: Repeat::Identical, ..trial };
            let losses = short(configuration, "losses", LOSSES, End::Completes { test: "bench" });
            let losses = Trial { limit: LONG_LIMIT, ..losses };
            let bench = short(configuration, "bench", BENCH, End::Completes { test: "bench" });
            vec![
                twice(smp(configuration)),
                twice(skeleton(configuration)),
                // Where time is instructions, letting it pass takes some 10 s for each case.
                Trial { cases: &["clgi/?mi"], ..twice(conformance(configuration, WITHOUT_HOST)) },
                twice(bench),
                losses,
                Trial { test: "losses-soak", words: LOSSES_SOAK, length: Length::Soak, limit: SOAK_LIMIT, ..losses },
            ]
        }
        // The longest way is some 100 instructions.
        "bochs-ryzen-stepped" | "bochs-haswell-stepped" => vec![sweep(configuration, "t=sweep steps=120")],
        "qemu-stepped" => vec![sweep(configuration, "t=sweep steps=80 stride=1500")],
        "qemu-bios" | "qemu-uefi" => vec![skeleton(configuration)],
        "bochs-ryzen-4" => {
            [torture(configuration, GENERATIONS), trouble(configuration), conformance(configuration, WITHOUT_HOST)]
                .into_iter()
                .chain(broken(configuration))
                .collect()
        }
        "qemu-la57" => vec![
            short(configuration, "smp", "t=smp levels=5", End::Completes { test: "smp" }),
            short(configuration, "skeleton", "t=skeleton levels=5", End::Completes { test: "skeleton" }),
            Trial { words: "t=torture levels=5 host=yes", ..torture(configuration, FEW_GENERATIONS) },
            // With four levels, a CPU that could have five.
            Trial { test: "torture-4", ..torture(configuration, FEW_GENERATIONS) },
            conformance(configuration, "t=conformance levels=5 host=yes"),
        ],
        // Its firmware shares the machine with parked CPUs, and gathers them in SMM.
        "qemu-smm" => {
            let gathered = Trial { cases: &GATHERED, ..conformance(configuration, WITH_HOST) };
            // With SMIs that are witnessed.
            let torture = Trial { words: "t=torture host=yes", ..torture(configuration, FEW_GENERATIONS) };
            vec![skeleton(configuration), torture, gathered]
        }
        // The skeleton needs three CPUs, and one with CLGI.
        "bochs-ryzen-2" | "bochs-haswell-2" | "bochs-tigerlake-2" => {
            let conformance = conformance(configuration, WITHOUT_HOST);
            vec![smp(configuration), torture(configuration, FEW_GENERATIONS), conformance, mailbox(configuration)]
        }
        "qemu-intel" => {
            let conformance = conformance(configuration, WITH_HOST);
            vec![torture(configuration, FEW_GENERATIONS), conformance, mailbox(configuration)]
        }
        "bochs-haswell-4" | "bochs-tigerlake-4" => {
            vec![torture(configuration, FEW_GENERATIONS), conformance(configuration, WITHOUT_HOST)]
        }
        _ => vec![torture(configuration, FEW_GENERATIONS)],
    }
}

/// All trials, in the order in which they run.
#[must_use]
pub fn all() -> Vec<Trial> {
    crate::configuration::ALL.iter().flat_map(on).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_has_a_trial_and_names_are_unique() {
        let trials = all();
        for (index, trial) in trials.iter().enumerate() {
            assert_eq!(trials.iter().position(|other| other.name() == trial.name()), Some(index));
        }
        for configuration in &crate::configuration::ALL {
            assert!(trials.iter().any(|trial| trial.configuration == configuration), "{}", configuration.name);
        }
    }

    #[test]
    fn both_emulators_run_the_whole_torture() {
        for emulator in Emulator::FOREIGN {
            let whole = all().into_iter().any(|trial| {
                let Configuration { cpus, emulator: found, .. } = *trial.configuration;
                found == emulator
                    && cpus == 4
                    && trial.command_line().contains("t=torture cpus=4")
                    && trial.expected().generations == 20
                    && trial.length == Length::Short
            });
            assert!(whole, "{emulator}");
        }
        let soak = all().into_iter().find(|trial| trial.length == Length::Soak).unwrap();
        assert!(soak.command_line().contains("cpus=16") && soak.command_line().ends_with("generations=100"));
    }

    #[test]
    fn globs_choose_by_name_or_test() {
        let names = |glob: &str| all().into_iter().filter(|trial| trial.matches(glob)).count();
        assert_eq!(names("*"), all().len());
        assert_eq!(names("qemu-epyc/torture"), 1);
        assert_eq!(names("qemu-epyc/*"), 25);
        assert_eq!(names("torture"), names("*/torture"));
        assert_eq!(names("qemu-epyc"), 0);
        assert_eq!(names("?mp"), names("smp"));
        assert_eq!(names(""), 0);
    }
}
