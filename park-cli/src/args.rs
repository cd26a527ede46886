//! The command line, as clap reads it. Names are looked up afterwards, where a near one can be offered.

use crate::exit::Failure;
use crate::{bench, completions, demo, image, lab, lot, matrix, plan, sim, survey};
use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// The version, with the commit where it is known.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PARK_COMMIT"), ")");

/// The seed of a run that is given none.
pub const DEFAULT_SEED: u64 = 1;
/// Seconds that a command may take unless told otherwise.
pub const DEFAULT_DEADLINE_S: u64 = 600;

/// Take an x86 CPU away from an operating system, hold it safely, give it back: look at it in software.
#[derive(Parser, Clone, PartialEq, Eq, Debug)]
#[command(name = "park", version = VERSION, color = ColorChoice::Never, disable_help_subcommand = true)]
#[command(after_help = "Examples:
  park                                         what becomes of this machine's CPUs in a kexec
  park survey                                  what this machine can do
  park sim --list                              the scenarios that are built in
  park sim linux-hlt-kexec-nmi --without nmi   the same, but nothing disturbs the CPU

Exit codes: 0 as asked, 1 a verdict other than expected, 2 wrong usage or input, 3 a needed tool is missing,
4 the deadline passed or the simulator can't go on, 130 interrupted
(143 by SIGTERM).")]
pub struct Arguments {
    /// What to do; `demo` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands: one line of words and one of code each, the rest is in the command's own folder.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Play the kexec of a machine like this one twice: parked Linux's way, and park's
    Demo(demo::Arguments),
    /// Tell what a machine is, and by which mechanisms its CPUs can park
    Survey(survey::Arguments),
    /// Plan which CPUs are parked in a situation, by which mechanism, and why
    Plan(Box<plan::Arguments>),
    /// Run a scenario in the simulator
    Sim(sim::Arguments),
    /// Print each claim beside what the simulator measures, for every mechanism and event
    Matrix(matrix::Arguments),
    /// Decode a lot out of a dump of physical memory
    Lot(lot::Arguments),
    /// Run the freestanding image on emulators, and judge what it reports
    Lab(lab::Arguments),
    /// Time parking and waking on an emulator, next to what others do
    Bench(bench::Arguments),
    /// Build the freestanding image, as an ELF file or an ISO that boots real machines
    Image(image::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
}

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A command.
    Run(Command),
    /// A text: help or the version.
    Print(String),
}

/// Reads a command line, program name first.
///
/// # Errors
/// [`Failure::Input`] in one sentence that names the argument.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let parsed =
        Arguments::command().try_get_matches_from(arguments).and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => Ok(Asked::Run(arguments.command.unwrap_or(Command::Demo(demo::Arguments::default())))),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Asked::Print(error.render().to_string()))
        }
        Err(error) => Err(Failure::Input(sentence(&error.render().to_string()))),
    }
}

/// The first paragraph of clap's message, as one line; usage and tips go, `--help` has them.
fn sentence(message: &str) -> String {
    let paragraph: Vec<&str> = message.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = paragraph.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line}; `park --help` says what there is")
}

/// A whole number, decimal or with 0x hexadecimal.
///
/// # Errors
/// A sentence for clap to show.
pub fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("not a whole number from 0 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Asked, Failure> {
        read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn clap_agrees_with_itself() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn nothing_is_the_demo() {
        assert_eq!(of("park").ok(), of("park demo").ok());
        let seeded = demo::Arguments { seed: Some(255), json: true, ..demo::Arguments::default() };
        assert_eq!(of("park demo --seed 0xff --json").ok(), Some(Asked::Run(Command::Demo(seeded))));
    }

    #[test]
    fn errors_are_one_line_and_name_the_argument() {
        for (line, named) in [
            ("park fly", "'fly'"),
            ("park demo --seed x", "--seed"),
            ("park demo --seed -1", "-1"),
            ("park demo --wings", "'--wings'"),
            ("park sim", "<NAME|FILE.toml>"),
            ("park sim --list lot-hlt", "--list"),
            ("park sim a b", "'b'"),
            ("park sim lot-hlt --seed 1 --seed 2", "--seed"),
        ] {
            let Err(failure) = of(line) else { panic!("{line} was taken") };
            let text = failure.to_string();
            assert!(text.contains(named) && !text.contains('\n'), "{line}: {text}");
        }
    }

    #[test]
    fn every_help_has_an_example() {
        let arguments = Arguments::command();
        let commands = arguments.get_subcommands().map(|command| format!("park {} --help", command.get_name()));
        for line in commands.chain(["park --help".to_owned()]) {
            match of(&line) {
                Ok(Asked::Print(text)) => assert!(text.contains("Example"), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
