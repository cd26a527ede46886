//! `park`: the program. What it does is in the library; here it meets standard output and the environment.
#![forbid(unsafe_code)]

use park_cli::args::{Asked, read};
use park_cli::exit::{Exit, Failure};
use park_cli::interrupt;
use park_cli::output::Output;
use park_cli::paint::{Colour, Terminal};
use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match run() {
        Ok(exit) => exit,
        Err(failure) => {
            if failure.is_reported() {
                // If nobody hears it, the exit code still tells.
                let _ = writeln!(std::io::stderr(), "park: {failure}");
            }
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}

fn run() -> Result<Exit, Failure> {
    interrupt::install()?;
    let asked = read(std::env::args_os())?;
    let stdout = std::io::stdout().lock();
    let terminal = if stdout.is_terminal() { Terminal::Yes } else { Terminal::No };
    let variable = |name| std::env::var(name).ok();
    let colour = Colour::choose(terminal, variable("NO_COLOR").as_deref(), variable("TERM").as_deref());
    let mut stream = BufWriter::new(stdout);
    let mut out = Output::new(&mut stream, colour);
    match asked {
        Asked::Print(text) => {
            out.line(text.trim_end())?;
            out.flush()?;
            Ok(Exit::AsAsked)
        }
        Asked::Run(command) => park_cli::execute(&command, &mut out),
    }
}
