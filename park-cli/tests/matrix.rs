//! `park matrix`: claims and measurements meet, and a disagreement is seen.

mod schema;

use park_cli::exit::Exit;
use park_cli::matrix::column::{CellResult, Column, Evidence, MatrixVendor, Measured};
use park_cli::matrix::document::{CellDocument, MatrixDocument, Status, document, vendor_document};
use park_cli::matrix::simulator::{self, RIG};
use park_conformance::Case;
use park_core::{Claim, Event, Mechanism, Response};
use park_lab::configuration::Emulator;
use park_lab::deviations;
use park_sim::compare::Table;
use serde_json::Value;
use std::process::Command;
use std::sync::OnceLock;

fn tables() -> &'static [(MatrixVendor, Table)] {
    static TABLES: OnceLock<Vec<(MatrixVendor, Table)>> = OnceLock::new();
    TABLES.get_or_init(|| simulator::tables(&MatrixVendor::ALL).expect("every mechanism parks"))
}

fn table(vendor: MatrixVendor) -> &'static Table {
    tables().iter().find(|(of, _)| *of == vendor).map(|(_, table)| table).expect("a table of each vendor")
}

fn simulated(vendor: MatrixVendor, claims: &[Claim]) -> Column {
    let results = simulator::results(vendor, table(vendor), claims);
    simulator::column(results)
}

/// What the program would say if these were the claims.
fn with_claims(vendor: MatrixVendor, claims: &[Claim]) -> MatrixDocument {
    let mut whole = document(&[], &[]);
    let table = vendor_document(vendor, claims, &[simulated(vendor, claims)]);
    whole.agrees = !table.cells.iter().any(|cell| cell.status == Status::Contradicted);
    whole.vendors.push(table);
    whole
}

#[test]
fn every_cell_is_measured_and_none_is_called_confirmed() {
    let columns: Vec<Column> = MatrixVendor::ALL.iter().map(|vendor| simulated(*vendor, vendor.claims())).collect();
    let document = document(&MatrixVendor::ALL, &columns);
    assert_eq!(document.exit(), Exit::AsAsked);
    let claimed: usize = MatrixVendor::ALL
        .iter()
        .map(|vendor| {
            let mut cells: Vec<_> = vendor.claims().iter().map(|claim| (claim.mechanism, claim.event)).collect();
            cells.sort();
            cells.dedup();
            cells.len()
        })
        .sum();
    assert_eq!(document.cells().count(), claimed);
    assert_eq!(document.count(Status::Unconfirmed), claimed, "the simulator alone confirms nothing");
    for cell in document.cells() {
        let (mechanism, event) = (cell.mechanism, cell.event);
        assert!(!cell.measured.is_empty() && !cell.claims.is_empty(), "{mechanism} × {event}");
        assert!(cell.claims.iter().all(|claim| claim.source.len() > 10), "{mechanism} × {event}");
    }
}

#[test]
fn an_undocumented_cell_shows_a_verdict_for_each_value_of_its_knob() {
    let vendor = MatrixVendor::Intel;
    let document = with_claims(vendor, vendor.claims());
    let cell = document.vendors[0].cell("wait-for-sipi", "mc-broadcast").expect("a cell");
    let told: Vec<_> = cell.measured.iter().map(|one| (one.knobs.get("mc-wfs").copied(), &*one.verdict)).collect();
    assert_eq!(told, [(Some("shutdown"), "shutdown"), (Some("pend"), "shutdown"), (Some("ignore"), "unnoticed")]);
}

/// Every claim in turn with a response that it does not have: the program sees it, and names the cell.
#[test]
fn a_wrong_claim_ends_with_exit_1() {
    for vendor in MatrixVendor::ALL {
        let claims = vendor.claims();
        for (index, claim) in claims.iter().enumerate() {
            let response = if claim.response == Response::Reset { Response::Laps } else { Response::Reset };
            let mut wrong = claims.to_vec();
            wrong[index] = Claim { response, ..*claim };
            let document = with_claims(vendor, &wrong);
            assert_eq!(document.exit(), Exit::Unexpected, "{claim}");
            let contradicted: Vec<_> = document.cells().filter(|cell| cell.status == Status::Contradicted).collect();
            // A cell whose runs meet several events is also judged by those events' claims.
            let own =
                |cell: &&&CellDocument| (cell.mechanism, cell.event) == (claim.mechanism.name(), claim.event.name());
            let cell = contradicted.iter().find(own).unwrap_or_else(|| panic!("{claim}: another cell is blamed"));
            assert!(contradicted.iter().all(|cell| cell.mechanism == claim.mechanism.name()), "{claim}");
            assert!(cell.disagreements[0].contains(&format!("→ {response}")), "{:?}", cell.disagreements);
        }
    }
}

#[test]
fn a_claim_that_is_missing_is_a_contradiction() {
    let vendor = MatrixVendor::Amd;
    let is_it = |claim: &Claim| claim.mechanism == Mechanism::Hlt && claim.event == Event::Nmi;
    let fewer: Vec<Claim> = vendor.claims().iter().filter(|claim| !is_it(claim)).copied().collect();
    let document = with_claims(vendor, &fewer);
    let cell = document.vendors[0].cell("hlt", "nmi").expect("a cell");
    assert_eq!((cell.status, document.exit()), (Status::Contradicted, Exit::Unexpected));
    assert!(cell.disagreements[0].contains("nothing is claimed"), "{:?}", cell.disagreements);
}

/// A column of one cell, by somebody else's emulator.
fn emulated(verdict: &str) -> Column {
    let measured = Measured {
        rig: "emulator".to_owned(),
        machines: Vec::new(),
        processors: vec!["ap"],
        verdict: verdict.to_owned(),
        knobs: core::iter::empty().collect(),
        runs: 1,
        agrees: verdict == "laps",
        deviation: None,
        note: None,
    };
    let mut result = CellResult::new(MatrixVendor::Intel, Mechanism::Hlt, Event::Nmi);
    result.measured.push(measured);
    let (evidence, results) = (Evidence::Emulator, vec![result]);
    Column { rig: "emulator".to_owned(), evidence, version: None, machines: Vec::new(), results }
}

#[test]
fn what_others_wrote_confirms_or_contradicts() {
    let vendor = MatrixVendor::Intel;
    for (column, status, exit) in [
        (emulated("laps"), Status::Confirmed, Exit::AsAsked),
        (emulated("shutdown"), Status::Contradicted, Exit::Unexpected),
    ] {
        let document = document(&[vendor], &[simulated(vendor, vendor.claims()), column]);
        let cell = document.vendors[0].cell("hlt", "nmi").expect("a cell");
        assert_eq!((cell.status, document.exit(), document.rigs.len()), (status, exit, 2));
        assert_eq!(document.count(Status::Unconfirmed), document.cells().count() - 1);
    }
    let alone = document(&[vendor], &[emulated("laps")]);
    assert_eq!(alone.count(Status::NotMeasured), alone.cells().count() - 1);
}

/// An emulator's verdict, once as a named deviation, once as if it were claimed.
#[test]
fn a_named_deviation_speaks_neither_for_nor_against_a_claim() {
    let vendor = MatrixVendor::Intel;
    let told = |agrees: bool, deviation: Option<&str>| {
        let mut column = emulated("transparent");
        column.results[0].measured[0].agrees = agrees;
        column.results[0].measured[0].deviation = deviation.map(str::to_owned);
        let document = document(&[vendor], &[simulated(vendor, vendor.claims()), column]);
        let cell = document.vendors[0].cell("hlt", "nmi").expect("a cell").clone();
        (cell.status, cell.disagreements, document.exit())
    };
    assert_eq!(told(false, Some("so")), (Status::Unconfirmed, vec![], Exit::AsAsked));
    assert_eq!(told(false, None).0, Status::Contradicted);
    // Nothing that others measure may be what the simulator can't show.
    let (status, disagreements, exit) = told(true, None);
    assert_eq!((status, exit), (Status::Contradicted, Exit::Unexpected));
    assert!(disagreements[0].contains("for no value of its knobs"), "{disagreements:?}");
}

/// What is kept in docs/ was made by this version: a claim, a knob or a deviation that changed since needs another run.
#[test]
fn the_kept_matrix_is_of_these_claims_and_deviations() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/matrix.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("docs/matrix.json")).expect("JSON");
    assert_eq!(schema::check(&kept, "docs/matrix.json"), "matrix");
    let columns: Vec<Column> = MatrixVendor::ALL.iter().map(|vendor| simulated(*vendor, vendor.claims())).collect();
    let fresh = serde_json::to_value(document(&MatrixVendor::ALL, &columns)).expect("JSON");
    let names: Vec<&Value> = kept["rigs"].as_array().expect("rigs").iter().map(|rig| &rig["name"]).collect();
    assert_eq!(names, ["simulator", "qemu", "bochs"]);
    let again = "`cargo xtask test --only image --only lab-qemu --only lab-bochs`, then `cargo xtask bless-matrix`";
    for vendor in 0..MatrixVendor::ALL.len() {
        let cells = |document: &Value| document["vendors"][vendor]["cells"].as_array().expect("cells").clone();
        let (fresh, kept) = (cells(&fresh), cells(&kept));
        assert_eq!(fresh.len(), kept.len(), "{again}");
        for (fresh, kept) in fresh.iter().zip(&kept) {
            let case =
                format!("{}/{}", fresh["mechanism"].as_str().expect("one"), fresh["event"].as_str().expect("one"));
            let measured = kept["measured"].as_array().expect("measured");
            let (own, others): (Vec<Value>, Vec<Value>) = measured.iter().cloned().partition(|one| one["rig"] == RIG);
            assert_eq!(fresh["claims"], kept["claims"], "{case}: {again}");
            assert_eq!(fresh["measured"], Value::Array(own), "{case}: {again}");
            for one in others {
                let named = deviation(&one, &case).map_or(Value::Null, Value::from);
                assert_eq!(one["deviation"], named, "{case}: {again}");
                assert_eq!(one["agrees"], named.is_null(), "{case}: {again}");
            }
        }
    }
}

/// Why what an emulator measured deviates, by the table.
fn deviation(measured: &Value, case: &str) -> Option<&'static str> {
    let emulator = Emulator::ALL.into_iter().find(|emulator| measured["rig"] == emulator.name())?;
    deviations::of(emulator, Case::from_name(case)?).map(|row| row.reason)
}

fn park(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_park")).args(arguments).output().expect("park runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_prints_it() {
    let (code, text, errors) = park(&["matrix", "--vendor", "amd"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(text.contains("AMD and Hygon: clgi") && !text.contains("Intel: hlt"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains("or by a machine: 0. Unconfirmed"), "{last}");
    let (code, text, _) = park(&["matrix", "--json"]);
    let document: Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!((code, &document["schema"], &document["agrees"]), (Some(0), &"park.matrix/1".into(), &true.into()));
}

#[test]
fn a_vendor_without_claims_is_refused_with_what_there_is() {
    let (code, text, errors) = park(&["matrix", "--vendor", "itel"]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    assert_eq!(errors, "park: no vendor is named `itel`; did you mean intel?\n");
}
