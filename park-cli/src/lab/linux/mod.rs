//! `park lab linux-…`: stock Linux with park around it.

pub mod args;
pub mod document;
pub mod text;

pub use args::{Arguments, Command};

use super::image_and_base;
use crate::exit::{Exit, Failure};
use crate::names::unknown;
use crate::output::Output;
use core::time::Duration;
use document::{LinuxDocument, PackageDocument, SCHEMA};
use park_conformance::matches_glob;
use park_lab::artifacts::Run;
use park_lab::deadline::Deadline;
use park_lab::linux::cache;
use park_lab::linux::initramfs::{Initramfs, Next};
use park_lab::linux::kernel::Kernel;
use park_lab::linux::machine::Files;
use park_lab::linux::userland::Userland;
use park_lab::linux::{chain, mailbox, torture};
use park_lab::{LabError, tool};
use std::io::Write;
use std::path::Path;

/// Seconds that the short form may take unless told otherwise, and the first fetching.
const DEADLINE_S: u64 = 900;
/// Seconds that the long form may take unless told otherwise.
const LONG_DEADLINE_S: u64 = 7200;

/// Runs what the command asks for and prints what came of it.
///
/// # Errors
/// [`Failure`]; what comes out otherwise than it must is none.
pub fn execute(command: &Command, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let arguments = command.arguments();
    let default = if arguments.long { LONG_DEADLINE_S } else { DEADLINE_S };
    let deadline = Deadline::after(Duration::from_secs(arguments.deadline_s.unwrap_or(default)));
    let work = Work::chosen(command)?;
    let qemu = tool::qemu_version()?;
    let (image, base) = image_and_base(arguments.image.as_deref(), deadline)?;
    // Beside the folder where artifacts go.
    let cache = base.with_file_name(cache::NAME);
    let kernel = match &arguments.kernel {
        Some(file) => Kernel::of_file(file, deadline)?,
        None => Kernel::of_debian(&cache, deadline)?,
    };
    let userland = Userland::of_debian(&cache, deadline)?;
    let run = Run::new(&base)?;
    let folder = run.folder("files")?;
    let next = if matches!(command, Command::LinuxChain(_)) { Next::ImageOrKernel(&kernel) } else { Next::Image };
    let initramfs = Initramfs::write(&folder.join("initramfs"), &userland, &image, next)?;
    let files = Files { kernel, initramfs, image };
    let mut document = LinuxDocument {
        schema: SCHEMA,
        run: run.name.clone(),
        qemu,
        kernel: (&files.kernel).into(),
        userland: userland.packages.iter().map(PackageDocument::from).collect(),
        passed: 0,
        failed: 0,
        torture: Vec::new(),
        mailbox: Vec::new(),
        chain: Vec::new(),
    };
    work.run(&files, &run, deadline, &mut document)?;
    // What all passed runs leave is this.
    if document.failed == 0 {
        std::fs::remove_dir_all(&folder).map_err(|error| LabError::File { path: folder.clone(), error })?;
    }
    run.remove_if_empty();
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(if document.failed == 0 { Exit::AsAsked } else { Exit::Unexpected })
}

/// What is run.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Work {
    torture: Vec<torture::Cell>,
    mailbox: Vec<park_lab::linux::machine::Machine>,
    chain: Vec<chain::Chain>,
}

impl Work {
    fn chosen(command: &Command) -> Result<Self, Failure> {
        let Arguments { long, case, .. } = command.arguments();
        let mut work = Self { torture: Vec::new(), mailbox: Vec::new(), chain: Vec::new() };
        match command {
            Command::LinuxTorture(_) => work.torture = if *long { torture::long() } else { torture::SHORT.to_vec() },
            Command::LinuxMailbox(_) => {
                work.mailbox = if *long { mailbox::LONG.to_vec() } else { mailbox::SHORT.to_vec() };
            }
            Command::LinuxChain(_) => work.chain = if *long { chain::LONG.to_vec() } else { chain::SHORT.to_vec() },
        }
        let Some(glob) = case else { return Ok(work) };
        let names: Vec<String> = work.names();
        work.torture.retain(|cell| matches_glob(&cell.name(), glob));
        work.mailbox.retain(|machine| matches_glob(&mailbox::name(*machine), glob));
        work.chain.retain(|chain| matches_glob(&chain.name(), glob));
        if work.names().is_empty() {
            return Err(Failure::Input(unknown("case", glob, names.iter().map(String::as_str))));
        }
        Ok(work)
    }

    fn names(&self) -> Vec<String> {
        let torture = self.torture.iter().map(|cell| cell.name());
        let mailbox = self.mailbox.iter().map(|machine| mailbox::name(*machine));
        torture.chain(mailbox).chain(self.chain.iter().map(|chain| chain.name())).collect()
    }

    fn run(&self, files: &Files, run: &Run, deadline: Deadline, document: &mut LinuxDocument) -> Result<(), Failure> {
        let mut count = 0;
        let mut each = |name: &str, passes: &mut dyn FnMut(&Path) -> Result<bool, LabError>| {
            count += 1;
            told(&format!("park: {count} of {}: {name}", self.names().len()));
            let folder = run.folder(name)?;
            let passed = passes(&folder)?;
            if deadline.has_passed() {
                return Err(deadline.error(format!("the lab, in {name} (see {}),", folder.display())));
            }
            if passed {
                std::fs::remove_dir_all(&folder).map_err(|error| LabError::File { path: folder, error })?;
            } else {
                told(&format!("park: {name} FAILED; what it saw: {}", folder.display()));
            }
            *if passed { &mut document.passed } else { &mut document.failed } += 1;
            Ok::<(), LabError>(())
        };
        for cell in &self.torture {
            each(&cell.name(), &mut |folder| {
                let verdict = torture::run(*cell, files, folder, deadline)?;
                document.torture.push((&verdict).into());
                Ok(verdict.is_as_expected())
            })?;
        }
        for machine in &self.mailbox {
            each(&mailbox::name(*machine), &mut |folder| {
                let verdict = mailbox::run(*machine, files, folder, deadline)?;
                document.mailbox.push((&verdict).into());
                Ok(verdict.holds())
            })?;
        }
        for one in &self.chain {
            each(&one.name(), &mut |folder| {
                let verdict = chain::run(*one, files, folder, deadline)?;
                document.chain.push((&verdict).into());
                Ok(verdict.holds())
            })?;
        }
        Ok(())
    }
}

fn told(line: &str) {
    // If nobody hears it, the document still has it.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
