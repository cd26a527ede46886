//! Runs as pictures.

use super::document::SimDocument;
use super::text::verdict;
use crate::exit::Failure;
use crate::files::write_whole;
use crate::paint::Tone;
use crate::timeline::{Panel, Picture, html, svg};
use park_sim::scenario::Outcome;
use std::path::{Path, PathBuf};

/// Where pictures go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pictures {
    /// The SVG.
    pub svg: Option<PathBuf>,
    /// The HTML page.
    pub html: Option<PathBuf>,
}

impl Pictures {
    /// Whether there is one to be made.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.svg.is_some() || self.html.is_some()
    }

    /// Draws and writes them, each whole or not at all.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the file.
    pub fn write(&self, picture: &Picture<'_>) -> Result<(), Failure> {
        let write = |path: &Option<PathBuf>, draw: fn(&Picture<'_>) -> String| {
            path.as_deref().map_or(Ok(()), |path: &Path| write_whole(path, draw(picture).as_bytes()))
        };
        write(&self.svg, svg)?;
        write(&self.html, html)
    }
}

/// A run as a panel: the one that decides. `None` if it was not recorded.
#[must_use]
pub fn panel(document: &SimDocument) -> Option<Panel<'_>> {
    let run = &document.run;
    let recording = run.recording.as_deref()?;
    let knobs: Vec<String> = run.knobs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut facts = vec![format!("seed {}", document.seed)];
    facts.extend(document.changes().into_iter().map(|change| format!("changed: {change}")));
    facts.extend(run.failures.iter().map(|failure| format!("{}: {}", failure.place, failure.what)));
    facts.extend(
        run.declared.iter().map(|declared| format!("the mechanism says beforehand that this can happen: {declared}")),
    );
    if !knobs.is_empty() {
        facts.push(format!("undocumented cells that the run asked for: {}", knobs.join(", ")));
    }
    if !document.runs.is_empty() {
        facts.push(format!("shown is the run that decides, of {}", document.runs.len()));
    }
    let (title, summary) = (document.scenario.clone(), document.summary.clone());
    Some(Panel { title, summary, verdict: told(document), facts, cpus: &run.cpus, recording })
}

/// The verdict in the colour of what became of the CPUs, whatever was expected.
fn told(document: &SimDocument) -> (String, Tone) {
    let (text, _) = verdict(document, &document.run);
    match document.run.outcome {
        Outcome::Safe => (text, Tone::Good),
        Outcome::Lost => (text, Tone::Bad),
    }
}

/// A run as a picture.
///
/// # Errors
/// [`Failure::Run`] if it was not recorded.
pub fn picture(document: &SimDocument) -> Result<Picture<'_>, Failure> {
    let unrecorded = || Failure::Run(format!("{}: the run was not recorded", document.scenario));
    let mut panel = panel(document).ok_or_else(unrecorded)?;
    let changes = document.changes();
    let changed = if changes.is_empty() { String::new() } else { format!(" Changed: {}.", changes.join("; ")) };
    let lead = format!("{}{changed}", document.summary);
    panel.title = format!("What happens, seed {}", document.seed);
    panel.summary.clear();
    Ok(Picture { title: document.scenario.clone(), lead, command: document.command(), panels: vec![panel] })
}
