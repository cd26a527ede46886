//! Where cases run, and what a rig must be able to tell.

use crate::{Case, Witness};
use core::fmt;
use park_core::{Event, Mechanism};

/// A place where cases run: it parks one CPU, the *target*, makes events happen to it, and says what it saw.
///
/// [`measure`](crate::measure) calls, for one case: [`offers`](Self::offers), [`fires`](Self::fires),
/// [`park`](Self::park), [`settle`](Self::settle), [`look`](Self::look), [`witness`](Self::witness), `settle`, `witness` (what
/// the CPU does by itself), [`fire`](Self::fire), `settle`, `look`, `witness`, [`confirm`](Self::confirm),
/// [`wake`](Self::wake), `witness`, [`end`](Self::end). It stops as soon as the machine is lost, and always calls `end` once it
/// has called `park`.
///
/// # For implementers
/// Report what was seen and nothing that was to be expected: no rig knows claims. An `Err` means that the *rig* failed, and no
/// verdict follows. A CPU that does not answer, does not wake or is gone is not an error of the rig.
pub trait Rig {
    /// Why the rig failed.
    type Error: fmt::Display;

    /// Whether this rig has a CPU that can wait by `mechanism`.
    ///
    /// # Errors
    /// What it lacks.
    fn offers(&mut self, mechanism: Mechanism) -> Result<(), Lack>;

    /// Whether this rig can make the event of `case` happen, and witness it at its target. The mechanism is offered.
    ///
    /// # Errors
    /// What it lacks.
    fn fires(&mut self, case: Case) -> Result<(), Lack>;

    /// Parks a CPU that ran just now, in a bay, by `mechanism`; returns once it has acknowledged. A CPU for
    /// [`Mechanism::WaitForSipi`] has acknowledged its bay before an INIT took it there.
    ///
    /// # Errors
    /// The rig's own: nothing was measured.
    fn park(&mut self, mechanism: Mechanism) -> Result<(), Self::Error>;

    /// Lets the target show what it does: as long as the event may take to arrive and to be dealt with. The same length each
    /// time; rounds or instructions rather than wall time where the rig has them.
    ///
    /// # Errors
    /// The rig's own.
    fn settle(&mut self) -> Result<(), Self::Error>;

    /// What has become of the CPU, as far as can be told without ending its wait. [`Fate::Alive`] if nothing is to be seen
    /// against it.
    ///
    /// After an INIT a rig that can't see [`Fate::WaitsForSipi`] otherwise sends a STARTUP, which a CPU that does not wait for
    /// one drops; a CPU that comes is no longer of use, and waits for SIPI.
    ///
    /// # Errors
    /// The rig's own.
    fn look(&mut self) -> Result<Fate, Self::Error>;

    /// Reads all counters, as they are now.
    ///
    /// # Errors
    /// The rig's own.
    fn witness(&mut self) -> Result<Witness, Self::Error>;

    /// Makes `event` happen to the target, `times` times, one after the other, without waiting for it to show. Returns how
    /// often it was made to happen: what the rig could not send does not count.
    ///
    /// [`Event::Overwrite`] includes a next kernel, where the rig has one: [`wake`](Self::wake) then begins with a seizure.
    ///
    /// # Errors
    /// The rig's own.
    fn fire(&mut self, event: Event, times: u32) -> Result<u32, Self::Error>;

    /// Asks the target for a proof of life, and waits for it until a deadline. Not called for
    /// [`Mechanism::WaitForSipi`], where no bay code answers.
    ///
    /// # Errors
    /// The rig's own.
    fn confirm(&mut self) -> Result<Answer, Self::Error>;

    /// Wakes the target as its mechanism wants it, waits until a deadline, then settles. Returns how often its entry ran
    /// since the ticket was published: 0 if it did not come.
    ///
    /// # Errors
    /// The rig's own.
    fn wake(&mut self) -> Result<u32, Self::Error>;

    /// Ends the case: says what has become of the CPU, by all means, and clears away what is left of it.
    ///
    /// # Errors
    /// The rig's own.
    fn end(&mut self) -> Result<Fate, Self::Error>;
}

impl<R: Rig + ?Sized> Rig for &mut R {
    type Error = R::Error;

    fn offers(&mut self, mechanism: Mechanism) -> Result<(), Lack> {
        R::offers(self, mechanism)
    }
    fn fires(&mut self, case: Case) -> Result<(), Lack> {
        R::fires(self, case)
    }
    fn park(&mut self, mechanism: Mechanism) -> Result<(), Self::Error> {
        R::park(self, mechanism)
    }
    fn settle(&mut self) -> Result<(), Self::Error> {
        R::settle(self)
    }
    fn look(&mut self) -> Result<Fate, Self::Error> {
        R::look(self)
    }
    fn witness(&mut self) -> Result<Witness, Self::Error> {
        R::witness(self)
    }
    fn fire(&mut self, event: Event, times: u32) -> Result<u32, Self::Error> {
        R::fire(self, event, times)
    }
    fn confirm(&mut self) -> Result<Answer, Self::Error> {
        R::confirm(self)
    }
    fn wake(&mut self) -> Result<u32, Self::Error> {
        R::wake(self)
    }
    fn end(&mut self) -> Result<Fate, Self::Error> {
        R::end(self)
    }
}

/// Why a rig can't show a case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lack {
    /// What kind of thing is missing.
    pub kind: LackKind,
    /// What exactly, in a few words.
    pub detail: &'static str,
}

/// What kind of thing a rig is missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LackKind {
    /// No CPU of it can wait in this way.
    NoMechanism,
    /// Nothing can make this event happen.
    NoSource,
    /// The event could happen, and nothing would tell whether it came.
    NoWitness,
    /// It would end the machine on which the rig itself runs.
    NoSurvivor,
}

impl LackKind {
    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoMechanism => "no-mechanism",
            Self::NoSource => "no-source",
            Self::NoWitness => "no-witness",
            Self::NoSurvivor => "no-survivor",
        }
    }

    /// The kind of this [`name`](Self::name); `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::NoMechanism, Self::NoSource, Self::NoWitness, Self::NoSurvivor]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl fmt::Display for LackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

/// What a CPU answered when it was asked for a proof of life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Answer {
    /// It carried the command out.
    Answered,
    /// It did not until the deadline.
    Silent,
    /// It was not asked: no bay code runs, or the machine was lost before.
    NotAsked,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Silent, Self::NotAsked];

    /// The answer of this [`name`](Self::name); `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.name() == name)
    }

    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Silent => "silent",
            Self::NotAsked => "not-asked",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What has become of a CPU or of its machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fate {
    /// Nothing is to be seen against it: it waits in its bay, or runs in its kernel.
    Alive,
    /// The CPU or the machine shut down.
    Shutdown,
    /// The machine was reset.
    Reset,
    /// The machine hangs in its firmware.
    Hangs,
    /// The CPU waits for a STARTUP.
    WaitsForSipi,
    /// The CPU runs the start-up code of whoever sent it a STARTUP.
    Taken,
    /// The CPU executes or uses what nobody gave it.
    Strays,
}

impl Fate {
    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Shutdown => "shutdown",
            Self::Reset => "reset",
            Self::Hangs => "hangs",
            Self::WaitsForSipi => "waits-for-sipi",
            Self::Taken => "taken",
            Self::Strays => "strays",
        }
    }

    /// True if nothing more can be asked of the machine.
    #[must_use]
    pub const fn ends_machine(self) -> bool {
        matches!(self, Self::Shutdown | Self::Reset | Self::Hangs)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
