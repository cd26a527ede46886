//! Every cell measured, and the comparison with claims.

use super::knobs::{Kindness, kindness, valuations};
use super::observe::Verdict;
use super::parked::{Measured, OrdersOf, Parked};
use crate::machine::knobs::McBroadcastAmd;
use crate::machine::{Knob, KnobSet, Knobs, MachineConfig, RuleSet, Vendor};
use crate::world::WorldError;
use core::fmt;
use park_core::lot::PagingLevels;
use park_core::op::Processor;
use park_core::{Claim, Condition, Event, Mechanism, Response};

/// What is measured: one mechanism on one kind of CPU under one event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cell {
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// What happens.
    pub event: Event,
    /// Which CPU it is.
    pub processor: Processor,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processor = match self.processor {
            Processor::Bootstrap => "bsp",
            Processor::Application => "ap",
        };
        write!(f, "{} × {} on the {processor}", self.mechanism, self.event)
    }
}

/// One measurement of a cell.
#[derive(Clone, Debug)]
pub struct Row {
    cell: Cell,
    knobs: Knobs,
    consulted: KnobSet,
    verdict: Verdict,
    laps_anyway: bool,
}

/// All measurements of one vendor's machine.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

/// Why a claim and the measurements do not agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No claim covers the measured cell.
    NoClaim,
    /// Nothing was measured to which the claim applies.
    NotMeasured,
    /// Something else was measured.
    Measured(Verdict),
    /// Claims overlap: this one and another hold under the same condition.
    ClaimedTwice,
}

/// A disagreement, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The event.
    pub event: Event,
    /// The claim, where there is one.
    pub claim: Option<Claim>,
    /// The CPU and the consulted knobs with their values, where something was measured.
    pub measured_on: String,
    /// What is wrong.
    pub reason: Reason,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claim {
            Some(claim) => write!(f, "{claim}")?,
            None => write!(f, "{} × {}", self.mechanism, self.event)?,
        }
        match &self.reason {
            Reason::NoClaim => write!(f, ": measured, but nothing is claimed")?,
            Reason::NotMeasured => write!(f, ": nothing was measured to which it applies")?,
            Reason::Measured(verdict) => write!(f, ": measured {verdict}")?,
            Reason::ClaimedTwice => write!(f, ": another claim holds under the same condition")?,
        }
        if self.measured_on.is_empty() { Ok(()) } else { write!(f, " ({})", self.measured_on) }
    }
}

impl Table {
    /// Measures every mechanism that `orders` knows, on both kinds of CPU, under every event and every value of every
    /// knob that a run consults.
    ///
    /// # Errors
    /// [`WorldError`] where a CPU can't even be parked, or a world can't be played.
    pub fn measure(vendor: Vendor, orders: OrdersOf<'_>) -> Result<Self, WorldError> {
        let mut table = Self::default();
        for (mechanism, processor) in Self::parts() {
            table.append(Self::measure_part(vendor, mechanism, processor, orders)?);
        }
        Ok(table)
    }

    /// The parts that [`measure`](Self::measure) is made of, each of which may be measured by itself, in any order.
    pub fn parts() -> impl Iterator<Item = (Mechanism, Processor)> {
        let both = [Processor::Application, Processor::Bootstrap];
        let all = Mechanism::ALL.into_iter().flat_map(move |mechanism| both.map(|processor| (mechanism, processor)));
        // The bootstrap processor is refused where an INIT comes into it: that resets the machine.
        all.filter(|(mechanism, processor)| {
            *processor == Processor::Application || !matches!(mechanism, Mechanism::Clgi | Mechanism::WaitForSipi)
        })
    }

    /// Measures one part: a mechanism on one kind of CPU. Empty if `orders` does not know the mechanism.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn measure_part(
        vendor: Vendor,
        mechanism: Mechanism,
        processor: Processor,
        orders: OrdersOf<'_>,
    ) -> Result<Self, WorldError> {
        Self::measure_parked(Parked::park(vendor, mechanism, processor, RuleSet::ALL, orders)?, processor)
    }

    /// As [`measure`](Self::measure), on machines made from `config`: see [`Parked::park_in`].
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn measure_in(config: &MachineConfig, levels: PagingLevels, orders: OrdersOf<'_>) -> Result<Self, WorldError> {
        let mut table = Self::default();
        for (mechanism, processor) in Self::parts() {
            let parked = Parked::park_in(config.clone(), levels, mechanism, processor, orders)?;
            table.append(Self::measure_parked(parked, processor)?);
        }
        Ok(table)
    }

    fn measure_parked(parked: Option<Parked>, processor: Processor) -> Result<Self, WorldError> {
        let mut table = Self::default();
        if let Some(parked) = parked {
            for event in Event::ALL {
                table.measure_cell(&parked, Cell { mechanism: parked.mechanism, event, processor })?;
            }
        }
        Ok(table)
    }

    /// Adds the measurements of another table of the same vendor's machine.
    pub fn append(&mut self, mut other: Self) {
        self.rows.append(&mut other.rows);
    }

    /// The measurements.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds the measurements of one cell.
    ///
    /// # Errors
    /// [`WorldError`] where a world can't be played.
    pub fn measure_cell(&mut self, parked: &Parked, cell: Cell) -> Result<(), WorldError> {
        let mut failed = None;
        let runs = valuations(cell.event, |knobs| match parked.measure(cell.event, knobs) {
            Ok(Measured { verdict, consulted, laps_anyway }) => ((verdict, laps_anyway), consulted),
            Err(error) => {
                failed.get_or_insert(error);
                ((Verdict::lost("the world broke"), false), KnobSet::empty())
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        for (knobs, consulted, (verdict, laps_anyway)) in runs {
            self.rows.push(Row { cell, knobs, consulted, verdict, laps_anyway });
        }
        Ok(())
    }

    /// How many measurements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The cells, with all verdicts of each and in how many measurements.
    #[must_use]
    pub fn summary(&self) -> Vec<(Cell, Vec<(Verdict, usize)>)> {
        let mut cells: Vec<(Cell, Vec<(Verdict, usize)>)> = Vec::new();
        for row in &self.rows {
            let at = cells.iter().position(|(cell, _)| *cell == row.cell).unwrap_or_else(|| {
                cells.push((row.cell, Vec::new()));
                cells.len() - 1
            });
            let Some((_, verdicts)) = cells.get_mut(at) else { continue };
            match verdicts.iter_mut().find(|(verdict, _)| *verdict == row.verdict) {
                Some((_, count)) => *count += 1,
                None => verdicts.push((row.verdict.clone(), 1)),
            }
        }
        cells
    }

    /// Compares with `claims`; every disagreement names its cell.
    #[must_use]
    pub fn compare(&self, claims: &[Claim]) -> Vec<Mismatch> {
        let mut found: Vec<Mismatch> = claims
            .iter()
            .enumerate()
            .filter(|(index, claim)| claims.iter().take(*index).any(|other| overlaps(other, claim)))
            .map(|(_, claim)| mismatch(claim, Reason::ClaimedTwice))
            .collect();
        found.extend(self.rows.iter().filter_map(|row| row.disagreement(claims)));
        found
            .extend(claims.iter().filter(|claim| !self.shows(claim)).map(|claim| mismatch(claim, Reason::NotMeasured)));
        found
    }

    /// Whether some measurement is one to which the claim applies strictly.
    fn shows(&self, claim: &Claim) -> bool {
        self.rows.iter().any(|row| {
            row.cell.mechanism == claim.mechanism
                && row.cell.event == claim.event
                && of_processor(claim.condition, row.cell.processor)
                && row.decides(claim.condition)
        })
    }
}

impl Row {
    /// What was measured.
    #[must_use]
    pub const fn cell(&self) -> Cell {
        self.cell
    }

    /// What it came to.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The knobs that the run consulted: no other can change its verdict.
    #[must_use]
    pub const fn consulted(&self) -> KnobSet {
        self.consulted
    }

    /// The value that a knob had.
    #[must_use]
    pub fn value_of(&self, knob: Knob) -> &'static str {
        self.knobs.value_name(knob)
    }

    /// Whether the CPU laps by itself, because MWAIT does not hold it: nothing can be seen to end a wait.
    #[must_use]
    pub const fn laps_anyway(&self) -> bool {
        self.laps_anyway
    }

    /// What is wrong here if `claims` are what holds; `None` if they agree with the measurement.
    #[must_use]
    pub fn disagreement(&self, claims: &[Claim]) -> Option<Mismatch> {
        let of = |event| -> Vec<&Claim> {
            let of_event = |claim: &&Claim| claim.mechanism == self.cell.mechanism && claim.event == event;
            let of_cell = |claim: &&Claim| of_event(claim) && of_processor(claim.condition, self.cell.processor);
            claims.iter().filter(of_cell).collect()
        };
        self.judge(&of(self.cell.event), &of(Event::McLocal))
    }

    /// What is claimed of a machine that is partly kind and partly unkind: what either claim on the cell says, and no
    /// more. A machine check that does reach every CPU is one on each: what the claims on a local one say.
    fn between(&self, claims: &[&Claim], of_local: &[&Claim]) -> Vec<Response> {
        let is_broadcast = self.cell.event == Event::McBroadcast
            && self.consulted.contains(Knob::McBroadcastAmd)
            && self.knobs.get::<McBroadcastAmd>() == McBroadcastAmd::All;
        if !is_broadcast {
            return claims.iter().map(|claim| claim.response).collect();
        }
        let local = Self { cell: Cell { event: Event::McLocal, ..self.cell }, ..self.clone() };
        let decided = of_local.iter().find(|claim| local.decides(claim.condition));
        decided.map_or_else(|| of_local.iter().map(|claim| claim.response).collect(), |claim| vec![claim.response])
    }

    /// Whether a claim under `condition` must hold here.
    fn decides(&self, condition: Condition) -> bool {
        match condition {
            Condition::ImplementationKind => kindness(self.cell.event, &self.knobs, self.consulted) == Kindness::Kind,
            Condition::ImplementationUnkind => {
                kindness(self.cell.event, &self.knobs, self.consulted) == Kindness::Unkind
            }
            _ => true,
        }
    }

    /// What is wrong here, by the claims on this row's cell; `of_local` are those on a local machine check.
    fn judge(&self, claims: &[&Claim], of_local: &[&Claim]) -> Option<Mismatch> {
        let measured_on = self.to_string();
        let Some(any) = claims.first() else {
            let Cell { mechanism, event, .. } = self.cell;
            return Some(Mismatch { mechanism, event, claim: None, measured_on, reason: Reason::NoClaim });
        };
        let claim = claims.iter().find(|claim| self.decides(claim.condition));
        if claim.is_none() && kindness(self.cell.event, &self.knobs, self.consulted) != Kindness::Mixed {
            let reason = Reason::NoClaim;
            return Some(Mismatch { measured_on, ..mismatch(any, reason) });
        }
        let right = match (claim, &self.verdict) {
            // A loop that nothing holds laps anyway: whether this event ended a wait can't be told.
            (Some(claim), Verdict::Response(Response::Unnoticed)) if self.laps_anyway => {
                matches!(claim.response, Response::Unnoticed | Response::Laps)
            }
            (Some(claim), Verdict::Response(response)) => claim.response == *response,
            (None, Verdict::Response(response)) => self.between(claims, of_local).contains(response),
            (_, Verdict::Lost(_)) => false,
        };
        if right {
            return None;
        }
        let mut mismatch = mismatch(claim.unwrap_or(any), Reason::Measured(self.verdict.clone()));
        mismatch.measured_on = measured_on;
        Some(mismatch)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cell)?;
        for knob in self.consulted.iter() {
            write!(f, ", {}={}", knob.name(), self.knobs.value_name(knob))?;
        }
        Ok(())
    }
}

const fn mismatch(claim: &Claim, reason: Reason) -> Mismatch {
    let Claim { mechanism, event, .. } = *claim;
    Mismatch { mechanism, event, claim: Some(*claim), measured_on: String::new(), reason }
}

/// Whether a claim under `condition` speaks of this kind of CPU.
const fn of_processor(condition: Condition, processor: Processor) -> bool {
    match condition {
        Condition::Bsp => matches!(processor, Processor::Bootstrap),
        Condition::Ap => matches!(processor, Processor::Application),
        _ => true,
    }
}

/// Whether two claims on one cell could both hold on one machine.
fn overlaps(a: &Claim, b: &Claim) -> bool {
    let same_cell = a.mechanism == b.mechanism && a.event == b.event;
    same_cell && (a.condition == b.condition || a.condition == Condition::Always || b.condition == Condition::Always)
}
