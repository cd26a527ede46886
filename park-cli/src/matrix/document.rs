//! The document of `park matrix`: claims and columns, cell by cell.

use super::column::{CellResult, Column, Evidence, MachineDocument, MatrixVendor, Measured, NotShown};
use crate::exit::Exit;
use park_core::{Claim, Event, Mechanism};
use serde::Serialize;

/// The document's schema.
pub const SCHEMA: &str = "park.matrix/1";

/// Mechanism × event, for each vendor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MatrixDocument {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The rigs that measured, one column each.
    pub rigs: Vec<RigDocument>,
    /// Whether no measurement contradicts a claim.
    pub agrees: bool,
    /// One table for each vendor.
    pub vendors: Vec<VendorDocument>,
}

/// A rig.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RigDocument {
    /// Its name.
    pub name: String,
    /// What its measurements rest on.
    pub evidence: Evidence,
    /// The version of an emulator, in its own words.
    pub version: Option<String>,
    /// Its machines, where it has several.
    pub machines: Vec<MachineDocument>,
}

/// One vendor's claims.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VendorDocument {
    /// Whose CPUs they are about.
    pub vendor: &'static str,
    /// The mechanisms that have claims.
    pub mechanisms: Vec<&'static str>,
    /// All events.
    pub events: Vec<&'static str>,
    /// The cells, mechanism by mechanism.
    pub cells: Vec<CellDocument>,
}

/// What becomes of a cell's claims in the light of its measurements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A measurement contradicts a claim, or one of the two is missing.
    Contradicted,
    /// No rig has measured it.
    NotMeasured,
    /// Only park's own simulator agrees.
    Unconfirmed,
    /// An emulator or a kernel that others wrote, or a machine, agrees.
    Confirmed,
}

impl Status {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::NotMeasured => "not-measured",
            Self::Unconfirmed => "unconfirmed",
            Self::Confirmed => "confirmed",
        }
    }
}

/// One cell: a mechanism and an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CellDocument {
    /// How the CPU waits.
    pub mechanism: &'static str,
    /// What happens.
    pub event: &'static str,
    /// What the vendor's crate claims, one for each condition.
    pub claims: Vec<ClaimDocument>,
    /// What was measured, by all rigs.
    pub measured: Vec<Measured>,
    /// What rigs could not show.
    pub not_shown: Vec<NotShown>,
    /// How many runs there were, by all rigs.
    pub runs: usize,
    /// The knobs of which every value was tried.
    pub varied: Vec<&'static str>,
    /// What becomes of the claims.
    pub status: Status,
    /// Where measurements and claims do not agree, each in one sentence.
    pub disagreements: Vec<String>,
}

/// One claim of a cell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClaimDocument {
    /// When it holds.
    pub condition: &'static str,
    /// What becomes of the CPU.
    pub response: &'static str,
    /// Where that stands, or that it stands nowhere.
    pub source: &'static str,
}

impl MatrixDocument {
    /// The exit that follows.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.agrees { Exit::AsAsked } else { Exit::Unexpected }
    }

    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = &CellDocument> {
        self.vendors.iter().flat_map(|vendor| &vendor.cells)
    }

    /// How many cells have this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.cells().filter(|cell| cell.status == status).count()
    }

    /// How many runs there were.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.cells().map(|cell| cell.runs).sum()
    }
}

impl VendorDocument {
    /// The cell of a mechanism and an event.
    #[must_use]
    pub fn cell(&self, mechanism: &str, event: &str) -> Option<&CellDocument> {
        self.cells.iter().find(|cell| cell.mechanism == mechanism && cell.event == event)
    }
}

/// The claims of these vendors beside what the rigs measured.
#[must_use]
pub fn document(vendors: &[MatrixVendor], columns: &[Column]) -> MatrixDocument {
    let vendors: Vec<VendorDocument> =
        vendors.iter().map(|vendor| vendor_document(*vendor, vendor.claims(), columns)).collect();
    let rigs = columns.iter().map(|column| RigDocument {
        name: column.rig.clone(),
        evidence: column.evidence,
        version: column.version.clone(),
        machines: column.machines.clone(),
    });
    let rigs = rigs.collect();
    let contradicted = |cell: &CellDocument| cell.status == Status::Contradicted;
    let agrees = !vendors.iter().flat_map(|vendor| &vendor.cells).any(contradicted);
    MatrixDocument { schema: SCHEMA, rigs, agrees, vendors }
}

/// One vendor's table.
#[must_use]
pub fn vendor_document(vendor: MatrixVendor, claims: &[Claim], columns: &[Column]) -> VendorDocument {
    let claimed = |mechanism: &Mechanism| claims.iter().any(|claim| claim.mechanism == *mechanism);
    let mechanisms: Vec<Mechanism> = Mechanism::ALL.into_iter().filter(claimed).collect();
    let cells = mechanisms
        .iter()
        .flat_map(|mechanism| Event::ALL.map(|event| cell(vendor, *mechanism, event, claims, columns)))
        .collect();
    VendorDocument {
        vendor: vendor.name(),
        mechanisms: mechanisms.into_iter().map(Mechanism::name).collect(),
        events: Event::ALL.map(Event::name).to_vec(),
        cells,
    }
}

fn cell(
    vendor: MatrixVendor,
    mechanism: Mechanism,
    event: Event,
    claims: &[Claim],
    columns: &[Column],
) -> CellDocument {
    let of_cell = claims.iter().filter(|claim| claim.mechanism == mechanism && claim.event == event);
    let claims = of_cell.map(|claim| ClaimDocument {
        condition: claim.condition.name(),
        response: claim.response.name(),
        source: claim.source,
    });
    let results = columns.iter().flat_map(|column| column.results.iter().map(move |result| (column.evidence, result)));
    let results: Vec<_> = results
        .filter(|(_, result)| (result.vendor, result.mechanism, result.event) == (vendor, mechanism, event))
        .collect();
    let measured: Vec<Measured> = results.iter().flat_map(|(_, result)| result.measured.clone()).collect();
    let not_shown = results.iter().flat_map(|(_, result)| result.not_shown.clone()).collect();
    let mut disagreements: Vec<String> = results.iter().flat_map(|(_, result)| result.disagreements.clone()).collect();
    disagreements.extend(unsimulated(&results));
    let mut varied: Vec<&'static str> = results.iter().flat_map(|(_, result)| result.varied.clone()).collect();
    varied.sort_unstable();
    varied.dedup();
    // What a named deviation is seen on says nothing for the claim.
    let speaks_for_it = |result: &CellResult| result.measured.iter().any(|measured| measured.agrees);
    let strongest = results.iter().filter(|(_, result)| speaks_for_it(result)).map(|(evidence, _)| *evidence).max();
    let status = match strongest {
        _ if !disagreements.is_empty() || measured.iter().any(Measured::contradicts) => Status::Contradicted,
        None => Status::NotMeasured,
        Some(evidence) if evidence.confirms() => Status::Confirmed,
        Some(_) => Status::Unconfirmed,
    };
    CellDocument {
        mechanism: mechanism.name(),
        event: event.name(),
        claims: claims.collect(),
        measured,
        not_shown,
        runs: results.iter().map(|(_, result)| result.runs).sum(),
        varied,
        status,
        disagreements,
    }
}

/// What others measured, and agrees with the claims, and the simulator shows for no value of the knobs: then the simulator is
/// wrong, or has a knob too few. Nothing where the simulator has not measured the cell.
fn unsimulated(results: &[(Evidence, &CellResult)]) -> Vec<String> {
    let of = |wanted: fn(Evidence) -> bool| {
        results.iter().filter(move |(evidence, _)| wanted(*evidence)).flat_map(|(_, result)| &result.measured)
    };
    let simulated: Vec<&Measured> = of(|evidence| evidence == Evidence::Simulator).collect();
    if simulated.is_empty() {
        return Vec::new();
    }
    let is_simulated = |one: &Measured| {
        let on_such = |other: &&Measured| other.processors.iter().any(|processor| one.processors.contains(processor));
        simulated.iter().copied().filter(on_such).any(|other| other.verdict == one.verdict)
    };
    let unknown = of(|evidence| evidence != Evidence::Simulator).filter(|one| one.agrees && !is_simulated(one));
    unknown
        .map(|one| format!("{} measured {}, which the simulator shows for no value of its knobs", one.rig, one.verdict))
        .collect()
}
