//! `park completions`: what a shell needs to complete `park`'s words.

use crate::exit::{Exit, Failure};
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `park completions`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
#[command(after_help = "Examples:
  park completions bash > ~/.local/share/bash-completion/completions/park
  park completions zsh > ~/.zfunc/_park
  park completions fish > ~/.config/fish/completions/park.fish")]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the completions for a shell.
///
/// # Errors
/// [`Failure::Output`].
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut command = crate::args::Arguments::command();
    // clap_complete panics where a stream fails; a vector does not.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "park", &mut script);
    out.bytes(&script)?;
    Ok(Exit::AsAsked)
}
