//! A rig that says what a script says.

use park_conformance::{Answer, Case, Fate, Lack, LackKind, MeasureError, Measurement, Rig, Witness, measure};
use park_core::{Event, Mechanism};

/// What every case of a script begins with: counters are absolute, and a CPU has a past.
pub(crate) const PAST: Witness = Witness {
    nmi: 7,
    mc: 1,
    // Wraps during the case.
    laps: u32::MAX,
    smi: 300,
    init: 2,
    intr: 0,
    pending_irr: 0,
    started: 1,
    stores: 5,
    overwrites: 0,
    attested: u32::MAX,
};

/// What a rig saw, by what moved from one reading to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// How often the event is made to happen.
    pub(crate) fires: u32,
    /// What the CPU does by itself in one window.
    pub(crate) by_itself: Witness,
    /// What the event moves.
    pub(crate) event: Witness,
    /// What moves when the CPU is asked and woken.
    pub(crate) wake: Witness,
    /// What the CPU is before the event.
    pub(crate) fate_before: Fate,
    /// What is to be seen of the CPU after the event.
    pub(crate) fate_after: Fate,
    /// Its answer.
    pub(crate) answer: Answer,
    /// How often its entry runs.
    pub(crate) entries: u32,
    /// What it came to.
    pub(crate) fate_last: Fate,
    /// What the rig can't show.
    pub(crate) lack: Option<Lack>,
    /// The call that fails.
    pub(crate) fails_at: Option<&'static str>,
}

impl Default for Script {
    /// A CPU that takes no notice and wakes as planned, of an event that the rig attests.
    fn default() -> Self {
        Self {
            fires: 1,
            by_itself: Witness::default(),
            event: Witness { attested: 1, ..Witness::default() },
            wake: Witness::default(),
            fate_before: Fate::Alive,
            fate_after: Fate::Alive,
            answer: Answer::Answered,
            entries: 1,
            fate_last: Fate::Alive,
            lack: None,
            fails_at: None,
        }
    }
}

/// A rig that plays a [`Script`] and notes what it was asked.
#[derive(Debug)]
pub(crate) struct Scripted {
    script: Script,
    counters: Witness,
    looks: u32,
    pub(crate) calls: Vec<&'static str>,
}

fn plus(counters: Witness, moved: Witness) -> Witness {
    Witness {
        nmi: counters.nmi.wrapping_add(moved.nmi),
        mc: counters.mc.wrapping_add(moved.mc),
        laps: counters.laps.wrapping_add(moved.laps),
        smi: counters.smi.wrapping_add(moved.smi),
        init: counters.init.wrapping_add(moved.init),
        intr: counters.intr.wrapping_add(moved.intr),
        pending_irr: counters.pending_irr.wrapping_add(moved.pending_irr),
        started: counters.started.wrapping_add(moved.started),
        stores: counters.stores.wrapping_add(moved.stores),
        overwrites: counters.overwrites.wrapping_add(moved.overwrites),
        attested: counters.attested.wrapping_add(moved.attested),
    }
}

impl Scripted {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, counters: PAST, looks: 0, calls: Vec::new() }
    }

    fn called(&mut self, name: &'static str) -> Result<(), &'static str> {
        self.calls.push(name);
        if self.script.fails_at == Some(name) { Err("the cable came off") } else { Ok(()) }
    }
}

impl Rig for Scripted {
    type Error = &'static str;

    fn offers(&mut self, _: Mechanism) -> Result<(), Lack> {
        match self.script.lack {
            Some(lack) if lack.kind == LackKind::NoMechanism => Err(lack),
            _ => Ok(()),
        }
    }
    fn fires(&mut self, _: Case) -> Result<(), Lack> {
        self.script.lack.map_or(Ok(()), Err)
    }
    fn park(&mut self, _: Mechanism) -> Result<(), Self::Error> {
        self.called("park")
    }
    fn settle(&mut self) -> Result<(), Self::Error> {
        self.counters = plus(self.counters, self.script.by_itself);
        self.called("settle")
    }
    fn look(&mut self) -> Result<Fate, Self::Error> {
        self.looks += 1;
        self.called("look")?;
        Ok(if self.looks == 1 { self.script.fate_before } else { self.script.fate_after })
    }
    fn witness(&mut self) -> Result<Witness, Self::Error> {
        self.called("witness")?;
        Ok(self.counters)
    }
    fn fire(&mut self, _: Event, times: u32) -> Result<u32, Self::Error> {
        self.counters = plus(self.counters, self.script.event);
        self.called("fire")?;
        Ok(self.script.fires.min(times))
    }
    fn confirm(&mut self) -> Result<Answer, Self::Error> {
        self.called("confirm")?;
        Ok(self.script.answer)
    }
    fn wake(&mut self) -> Result<u32, Self::Error> {
        self.counters = plus(self.counters, self.script.wake);
        self.called("wake")?;
        Ok(self.script.entries)
    }
    fn end(&mut self) -> Result<Fate, Self::Error> {
        self.called("end")?;
        Ok(self.script.fate_last)
    }
}

/// Measures the case of this name once per event that the script fires.
pub(crate) fn run(case: &str, script: Script) -> Result<Measurement, MeasureError<&'static str>> {
    let case = Case::from_name(case).expect("a case of this name");
    // A rig can be lent.
    measure(&mut &mut Scripted::new(script), case, script.fires.max(1))
}
