//! Tasks of the workspace: `cargo xtask setup`, `cargo xtask test [--host]`, `cargo xtask image`, `cargo xtask bless-matrix`, `cargo xtask bless-counts`, `cargo xtask soak`.

mod counts;
mod debian;
mod group;
mod image;
mod lab;
mod matrix;
mod msrv;
mod none;
mod package;
mod qemu;
mod setup;
mod stage;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::stage::{Deadline, Scope};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the park workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that the tests need (as root), or print the one line that does
    Setup,
    /// Run everything that must hold before a change is done, with one summary
    Test {
        /// Only what needs no more than Rust: no packages, no other target, no other compiler, no QEMU
        #[arg(long)]
        host: bool,
        /// Only this stage; may be repeated
        #[arg(long, value_name = "STAGE", value_parser = stage::names())]
        only: Vec<String>,
    },
    /// Build the freestanding image and print its path
    Image,
    /// Keep in docs/matrix.json and docs/matrix.html what the stages lab-qemu and lab-bochs measured last
    BlessMatrix,
    /// Record the instruction counts of parking and waking as they are now, in benches/counts.json
    BlessCounts,
    /// Run the long torture: 16 CPUs, 100 generations
    Soak,
}

fn main() -> ExitCode {
    // One folder up from this package: the workspace, wherever it was called from.
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if let Err(error) = std::env::set_current_dir(&root) {
        eprintln!("can't go to {}: {error}", root.display());
        return ExitCode::FAILURE;
    }
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(Deadline::after(setup::LIMIT)),
        Task::Test { host, only } => return stage::run_all(if host { Scope::Host } else { Scope::All }, &only),
        Task::Image => image::build(Deadline::after(image::LIMIT)).map(|path| println!("{}", path.display())),
        Task::BlessMatrix => matrix::bless(Deadline::after(matrix::LIMIT)),
        Task::BlessCounts => {
            image::build(Deadline::after(image::LIMIT)).and_then(|_| counts::bless(Deadline::after(counts::LIMIT)))
        }
        Task::Soak => {
            let soaks = |_| {
                lab::soak(Deadline::after(lab::SOAK_LIMIT))?;
                lab::linux_soak(Deadline::after(lab::LINUX_SOAK_LIMIT))
            };
            image::build(Deadline::after(image::LIMIT)).and_then(soaks)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
