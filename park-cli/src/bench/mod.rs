//! `park bench`: what parking and waking cost, next to what others do.

pub mod args;
pub mod chart;
pub mod document;
pub mod html;
pub mod text;

pub use args::Arguments;

use crate::exit::{Exit, Failure};
use crate::files::write_whole;
use crate::lab::image_and_base;
use crate::output::Output;
use core::time::Duration;
use document::{BenchDocument, Source};
use park_lab::artifacts::Run;
use park_lab::bench::quiet::{Host, Verdict};
use park_lab::bench::run::{self, Firmware, Timing};
use park_lab::bench::{Counts, Log};
use park_lab::deadline::Deadline;
use park_lab::tool;
use std::path::Path;

/// Seconds that it may take unless told otherwise.
const DEADLINE_S: u64 = 900;
/// Samples of each row.
const SAMPLES: u32 = 1000;
/// The same with `--quick`.
const SAMPLES_QUICK: u32 = 100;
/// The longest idle time before a wake, in microseconds.
const IDLE_US: u32 = 1000;
/// Virtual CPUs that run at once.
const CPUS: usize = 2;
/// How often a machine that is not quiet is given time, and how much: what the kernel says covers ten seconds.
const PATIENCE: u32 = 5;
const PAUSE: Duration = Duration::from_secs(10);

/// Runs it, or reads a log, and prints what came of it.
///
/// # Errors
/// [`Failure`]; times that are not what they must be are none.
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let (log, document) = match &arguments.log {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
            let text = String::from_utf8_lossy(&text);
            let log =
                Log::parse(text.lines()).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
            let document = document::document(&log, None, Source::Log);
            (log, document)
        }
        None => measure(arguments)?,
    };
    if let Some(path) = &arguments.csv {
        write_whole(path, log.csv().as_bytes())?;
    }
    if let Some(path) = &arguments.html {
        write_whole(path, html::html(&document, &log).as_bytes())?;
    }
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(if document.counts.iter().all(|count| count.holds) { Exit::AsAsked } else { Exit::Unexpected })
}

/// Counts, then times.
fn measure(arguments: &Arguments) -> Result<(Log, BenchDocument), Failure> {
    let deadline = Deadline::after(Duration::from_secs(arguments.deadline_s.unwrap_or(DEADLINE_S)));
    let qemu = tool::qemu_version()?;
    let (image, base) = image_and_base(arguments.image.as_deref(), deadline)?;
    let run = Run::new(&base)?;
    text::told("park: counting instructions");
    let folder = run.folder("bench-counted")?;
    let counts = Counts::of(&run::counted(&image, &folder, deadline)?, deadline)?;
    forget(&folder);
    let (before, verdict) = when_quiet(arguments, deadline);
    let timing = Timing {
        samples: if arguments.quick { SAMPLES_QUICK } else { SAMPLES },
        seed: arguments.seed.and_then(|seed| u32::try_from(seed).ok()).unwrap_or(1),
        idle_us: IDLE_US,
        firmware: if arguments.quick { Firmware::None } else { Firmware::Uefi },
    };
    text::told(&format!("park: timing, {} wakes of each row", timing.samples));
    let folder = run.folder("bench-timed")?;
    let mut progress = text::Progress::new(timing.samples);
    let (log, pinned) = run::timed(&image, &folder, timing, deadline, |line| progress.hear(line))?;
    forget(&folder);
    run.remove_if_empty();
    let empty: Vec<f64> = log.empty.iter().map(|&ticks| log.us(ticks)).collect();
    let verdict = Host::now().after(&before, verdict, &empty);
    let document = document::document(&log, Some(&counts), Source::Qemu { version: qemu, verdict, pinned });
    Ok((log, document))
}

/// Waits until the host is quiet, or patience ends. Decided before any result is seen.
fn when_quiet(arguments: &Arguments, deadline: Deadline) -> (Host, Verdict) {
    for attempt in 1.. {
        let host = Host::now();
        let verdict = host.before(CPUS);
        match &verdict {
            Verdict::Loaded(why) if attempt < PATIENCE && !arguments.quick && deadline.remaining() > 2 * PAUSE => {
                text::told(&format!("park: not quiet: {why}; waiting"));
                std::thread::sleep(PAUSE);
            }
            _ => return (host, verdict),
        }
    }
    (Host::now(), Verdict::Loaded("nobody knows".to_owned()))
}

/// What a run that succeeded leaves is in its document.
fn forget(folder: &Path) {
    // If it stays, it is in nobody's way.
    let _ = std::fs::remove_dir_all(folder);
}
