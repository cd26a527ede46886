//! What machines reported of conformance cases, and the columns that come of it.

use super::column::{CellResult, Column, Evidence, MachineDocument, MatrixVendor, Measured, NotShown};
use super::simulator::LAPS_ANYWAY;
use park_conformance::{Case, Waiting};
use park_core::Response;
use park_lab::conformance::{Came, Place, Shown, Standing, Vendor};

/// The kind of lack where a case was begun and came to no verdict.
pub const NO_VERDICT: &str = "no-verdict";
/// Only application processors are measured: the boot CPU measures.
const PROCESSOR: &str = "ap";

/// What one machine reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The rig: whose column it is.
    pub rig: String,
    /// What its measurements rest on.
    pub evidence: Evidence,
    /// The version of an emulator.
    pub version: Option<String>,
    /// The machine's name within the rig; `None` if it is all that the rig has.
    pub machine: Option<String>,
    /// The CPU's model, in the rig's words.
    pub cpu_model: String,
    /// What it is held to.
    pub place: Place,
    /// What the cases came to.
    pub shown: Vec<Shown>,
}

impl Heard {
    /// Whose claims it is beside.
    #[must_use]
    pub const fn vendor(&self) -> MatrixVendor {
        match self.place.vendor {
            Vendor::Intel => MatrixVendor::Intel,
            Vendor::Amd => MatrixVendor::Amd,
        }
    }
}

/// A column for each rig, in the order in which they were first heard of.
#[must_use]
pub fn columns(heard: &[Heard]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for one in heard {
        let index = columns.iter().position(|column| column.rig == one.rig).unwrap_or_else(|| {
            let (rig, evidence) = (one.rig.clone(), one.evidence);
            columns.push(Column { rig, evidence, version: None, machines: Vec::new(), results: Vec::new() });
            columns.len() - 1
        });
        if let Some(column) = columns.get_mut(index) {
            add(column, one);
        }
    }
    columns
}

/// Adds what a machine reported to its rig's column.
fn add(column: &mut Column, heard: &Heard) {
    column.version = match (column.version.take(), heard.version.clone()) {
        (Some(known), Some(more)) if known != more => Some(format!("{known} and {more}")),
        (known, more) => known.or(more),
    };
    if let Some(name) = heard.machine.clone().filter(|name| column.machines.iter().all(|known| known.name != *name)) {
        let (vendor, cpu_model) = (heard.vendor().name(), heard.cpu_model.clone());
        column.machines.push(MachineDocument { name, vendor, cpu_model });
    }
    for shown in &heard.shown {
        let Some(result) = result_of(column, heard.vendor(), shown.case) else { continue };
        match (heard.place.standing(shown), &shown.came) {
            (standing, Came::Measured(response)) => measured(result, heard, shown, *response, &standing),
            (_, Came::Lacks(lack, why)) => not_shown(result, heard, lack, why),
            (_, Came::Doubt(why)) => not_shown(result, heard, NO_VERDICT, why),
        }
    }
}

fn result_of(column: &mut Column, vendor: MatrixVendor, case: Case) -> Option<&mut CellResult> {
    let Case { mechanism, event } = case;
    let is_it = |result: &CellResult| (result.vendor, result.mechanism, result.event) == (vendor, mechanism, event);
    let index = column.results.iter().position(is_it).unwrap_or_else(|| {
        column.results.push(CellResult::new(vendor, mechanism, event));
        column.results.len() - 1
    });
    column.results.get_mut(index)
}

fn measured(result: &mut CellResult, heard: &Heard, shown: &Shown, response: Response, standing: &Standing) {
    result.runs += 1;
    let deviation = match standing {
        Standing::Deviates(row) => Some(row.reason.to_owned()),
        Standing::Claimed | Standing::Lacks | Standing::Surprise(_) => None,
    };
    let laps_anyway = shown.seen.is_some_and(|seen| seen.waiting == Waiting::Lapping);
    let new = Measured {
        rig: heard.rig.clone(),
        machines: heard.machine.iter().cloned().collect(),
        processors: vec![PROCESSOR],
        verdict: response.name().to_owned(),
        knobs: core::iter::empty().collect(),
        runs: 1,
        agrees: *standing == Standing::Claimed,
        deviation,
        note: (laps_anyway && response == Response::Unnoticed).then_some(LAPS_ANYWAY),
    };
    if new.contradicts() {
        let on = heard.machine.as_ref().map(|machine| format!(" ({machine})")).unwrap_or_default();
        let why = match standing {
            Standing::Surprise(why) => why.as_str(),
            _ => "it is not as claimed",
        };
        result.disagreements.push(format!("{}{on}: {why}", heard.rig));
    }
    let alike = |one: &&mut Measured| {
        (&one.verdict, one.agrees, &one.deviation, one.note) == (&new.verdict, new.agrees, &new.deviation, new.note)
    };
    match result.measured.iter_mut().find(alike) {
        Some(one) => {
            one.runs += 1;
            join(&mut one.machines, heard.machine.as_ref());
        }
        None => result.measured.push(new),
    }
}

fn not_shown(result: &mut CellResult, heard: &Heard, lack: &str, why: &str) {
    match result.not_shown.iter_mut().find(|one| (one.lack.as_str(), one.why.as_str()) == (lack, why)) {
        Some(one) => join(&mut one.machines, heard.machine.as_ref()),
        None => result.not_shown.push(NotShown {
            rig: heard.rig.clone(),
            machines: heard.machine.iter().cloned().collect(),
            lack: lack.to_owned(),
            why: why.to_owned(),
        }),
    }
}

fn join(machines: &mut Vec<String>, more: Option<&String>) {
    machines.extend(more.filter(|more| !machines.contains(more)).cloned().into_iter().collect::<Vec<_>>());
}
