//! From what was seen to a response, without a look at any claim.

use crate::{Answer, Case, Coalescing, Doubt, Fate, Waiting, Witness};
use park_core::{Event, Mechanism, Response};

/// Everything that one run showed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Observed {
    /// The case.
    pub case: Case,
    /// How often the event was made to happen.
    pub fired: u32,
    /// Counters once the CPU was parked.
    pub parked: Witness,
    /// Counters just before the event: what moved since `parked`, the CPU does by itself.
    pub before: Witness,
    /// Counters after the event, before anything was asked of the CPU.
    pub after: Witness,
    /// What was to be seen of the CPU at the same moment.
    pub fate_after: Fate,
    /// Counters after the wake; those of `after` if the machine was lost.
    pub last: Witness,
    /// What the CPU answered.
    pub confirmed: Answer,
    /// How often its entry ran.
    pub entries: u32,
    /// What became of the CPU in the end.
    pub fate_last: Fate,
}

impl Observed {
    /// What the CPU does while nothing happens to it.
    #[must_use]
    pub const fn waiting(&self) -> Waiting {
        if self.by_itself().laps == 0 { Waiting::Still } else { Waiting::Lapping }
    }

    const fn by_itself(&self) -> Witness {
        self.before.since(self.parked)
    }

    /// What the event did while the CPU was parked. SMIs that come anyway are taken off.
    const fn moved(&self) -> Witness {
        let moved = self.after.since(self.before);
        Witness { smi: moved.smi.saturating_sub(self.by_itself().smi), ..moved }
    }

    /// What came when the CPU was asked and woken. NMIs that the mechanism is kicked with are none of the event's.
    const fn later(&self) -> Witness {
        let later = self.last.since(self.after);
        match self.case.mechanism {
            Mechanism::Hlt | Mechanism::Mwait => Witness { nmi: 0, ..later },
            Mechanism::Clgi | Mechanism::WaitForSipi => later,
        }
    }

    /// True if the CPU waits as it was parked to.
    pub(crate) fn is_parked(&self, fate: Fate) -> bool {
        fate == Fate::Alive || self.case.mechanism == Mechanism::WaitForSipi && fate == Fate::WaitsForSipi
    }

    /// How often the event was seen, given what it led to.
    fn witnessed(&self, response: Response) -> u32 {
        let event = self.case.event;
        let held = match response {
            Response::Held => self.later().of(event),
            // The STARTUPs were dropped; the INIT before them was held, and shows when it takes effect.
            Response::Refused => self.later().init,
            _ => 0,
        };
        let own = self.moved().of(event).wrapping_add(held);
        let attested = self.after.since(self.before).attested;
        match (own, attested) {
            // That a CPU which was alive is gone is a witness by itself.
            (0, 0) if !response.stays_parked() => 1,
            (0, attested) => attested,
            (own, _) => own,
        }
    }
}

/// Derives the response, how often the event was witnessed, and what may have swallowed the others.
///
/// # Errors
/// [`Doubt`]: the run shows no response that a claim could state, or not that the event came.
pub fn classify(seen: &Observed) -> Result<(Response, u32, Option<Coalescing>), Doubt> {
    if seen.fired == 0 {
        return Err(Doubt::NothingFired);
    }
    if seen.entries > 1 {
        return Err(Doubt::DoubleEntry { entries: seen.entries });
    }
    let response = response(seen)?;
    let (fired, witnessed) = (seen.fired, seen.witnessed(response));
    if witnessed == 0 {
        return Err(Doubt::ZeroWitnessed { fired });
    }
    if witnessed > fired {
        return Err(Doubt::MoreThanFired { fired, witnessed });
    }
    if witnessed == fired {
        return Ok((response, witnessed, None));
    }
    match Coalescing::of(seen.case.event, response) {
        Some(coalescing) => Ok((response, witnessed, Some(coalescing))),
        None => Err(Doubt::Missing { fired, witnessed }),
    }
}

fn response(seen: &Observed) -> Result<Response, Doubt> {
    let (moved, later) = (seen.moved(), seen.later());
    let Case { mechanism, event } = seen.case;
    if moved.started != 0 {
        return Ok(Response::Taken);
    }
    if !seen.is_parked(seen.fate_after) {
        return gone(seen.fate_after);
    }
    if event == Event::InitSipiSipi {
        return in_vain(seen);
    }
    // In wait-for-SIPI nothing executes, and a repeated INIT changes nothing.
    let repeated = mechanism == Mechanism::WaitForSipi && event == Event::Init;
    let lapped = moved.laps != 0 && (moved.took() || seen.waiting() == Waiting::Still);
    if repeated || !(moved.took() || lapped) {
        // Memory holds what was written: nothing takes effect later.
        let in_memory = matches!(event, Event::StoreDoorbell | Event::Overwrite);
        let came_at_all = moved.of(event).wrapping_add(later.of(event)) != 0;
        let takes_effect = !repeated && !in_memory && came_at_all;
        // An INIT that was held leaves a CPU that waits for SIPI once it is woken.
        let init_held = event == Event::Init && !repeated && seen.fate_last == Fate::WaitsForSipi;
        if takes_effect || init_held {
            return Ok(Response::Held);
        }
        return reachable(seen, Response::Unnoticed);
    }
    if lapped {
        return reachable(seen, Response::Laps);
    }
    if moved.smi != 0 {
        return reachable(seen, Response::Transparent);
    }
    Err(Doubt::NoLap)
}

/// The response of a CPU that is no longer parked.
const fn gone(fate: Fate) -> Result<Response, Doubt> {
    Ok(match fate {
        Fate::Shutdown => Response::Shutdown,
        Fate::Reset => Response::Reset,
        Fate::Hangs => Response::Hangs,
        Fate::WaitsForSipi => Response::WaitsForSipi,
        Fate::Taken | Fate::Alive => Response::Taken,
        Fate::Strays => return Err(Doubt::Strays),
    })
}

/// `response`, if the CPU is proved to live, wakes as planned, once, and nothing comes after it.
fn reachable(seen: &Observed, response: Response) -> Result<Response, Doubt> {
    // It was held, and ended the CPU before it came anywhere.
    if seen.entries == 0 && seen.fate_last.ends_machine() {
        return gone(seen.fate_last);
    }
    // Who waited for a STARTUP, and no longer does, runs what others start.
    if seen.entries == 0 && seen.case.mechanism == Mechanism::WaitForSipi && seen.fate_last == Fate::Taken {
        return gone(seen.fate_last);
    }
    if seen.confirmed == Answer::Silent {
        return Err(Doubt::Silent);
    }
    if seen.entries == 0 {
        return Err(Doubt::NotWoken);
    }
    if !matches!(seen.fate_last, Fate::Alive) {
        return Err(Doubt::LostLater { fate: seen.fate_last });
    }
    let later = seen.later();
    let left = later.init != 0 || later.mc != 0 || later.intr != 0 || later.pending_irr != 0;
    if left || later.smi != 0 && seen.by_itself().smi == 0 {
        return Err(Doubt::LeftBehind);
    }
    Ok(response)
}

/// A start-up that did not take the CPU does not take it later either.
fn in_vain(seen: &Observed) -> Result<Response, Doubt> {
    if seen.later().started != 0 {
        return Ok(Response::Held);
    }
    if seen.fate_last == Fate::WaitsForSipi || seen.entries == 1 && seen.fate_last == Fate::Alive {
        return Ok(Response::Refused);
    }
    if seen.is_parked(seen.fate_last) { Err(Doubt::NotWoken) } else { Err(Doubt::LostLater { fate: seen.fate_last }) }
}
