//! Wait-for-SIPI: a parked CPU is sent there by INIT, and fetched by STARTUP.

use super::step::operation;
use super::{Bay, Reply, Step, lease};
use crate::lot::{Doorbell, OwnerState, Phase, Stage, bay, header};
use crate::{ApicId, Entry, Error, ErrorKind, Mechanism, Ticks};

/// Which processor a CPU is (IA32_APIC_BASE bit 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Processor {
    /// The bootstrap processor: an INIT makes it run firmware, and resets the machine.
    Bootstrap,
    /// Any other.
    Application,
}

/// Sends a CPU that is parked by Hlt into wait-for-SIPI.
///
/// Nothing acknowledges an INIT: success means that it was sent, and that the time it takes has passed, *not* that the
/// CPU took it. A CPU in VMX root operation or SMM holds it. An NMI that is blocked on the CPU when it takes the INIT, or
/// comes later, may be held until [`WakeSipi`]: see there.
///
/// # Errors
/// * [`ErrorKind::NotSupported`]: the CPU is the bootstrap processor.
/// * [`ErrorKind::WrongState`]: it is not parked by Hlt with a quiet doorbell; the lease was handed over.
/// * [`ErrorKind::Platform`]: the INIT may or may not be on its way; the bay says wait-for-SIPI, and [`WakeSipi`] fetches
///   the CPU from either.
/// * [`ErrorKind::Faulted`], [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SinkToSipi {
    bay: Bay,
    processor: Processor,
    init_delay_ticks: Ticks,
    owner: u64,
    apic_id: ApicId,
    state: Sinking,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Sinking {
    Start,
    Lease,
    Owner,
    Stage,
    Doorbell,
    Identity,
    Mechanism,
    Init,
    Wait(Ticks),
}

operation!(SinkToSipi => ());

impl SinkToSipi {
    /// Sends the CPU of `bay`, which is `processor`, into wait-for-SIPI. `init_delay_ticks`: 10 ms (Intel SDM vol. 3,
    /// "MP Initialization Protocol Algorithm for MP Systems").
    #[must_use]
    pub const fn new(bay: Bay, processor: Processor, init_delay_ticks: Ticks) -> Self {
        let (owner, apic_id) = (0, ApicId(0));
        Self { bay, processor, init_delay_ticks, owner, apic_id, state: Sinking::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<()>, Error> {
        let bay = self.bay;
        match self.state {
            Sinking::Start if self.processor == Processor::Bootstrap => {
                let what = "an INIT to the bootstrap processor resets the machine: park it by Hlt or Mwait";
                Err(Error::new(ErrorKind::NotSupported, what).at(bay.offset()))
            }
            Sinking::Start => Ok(self.load(Sinking::Lease, header::LEASE)),
            Sinking::Lease => {
                lease::check(reply.value()?, bay.generation())?;
                Ok(self.load(Sinking::Owner, bay.owner()))
            }
            Sinking::Owner => {
                self.owner = reply.value()?;
                check_owner(
                    bay,
                    self.owner,
                    Mechanism::Hlt,
                    "only a CPU parked by Hlt can be sent into wait-for-SIPI",
                )?;
                Ok(self.load(Sinking::Stage, bay.stage()))
            }
            Sinking::Stage => {
                check_waiting(bay, reply.value()?)?;
                Ok(self.load(Sinking::Doorbell, bay.doorbell()))
            }
            Sinking::Doorbell => {
                let doorbell = Doorbell(reply.value()?);
                if doorbell.phase() != Some(Phase::Quiet) {
                    let error = Error::new(ErrorKind::WrongState, "a ticket is in flight: finish or revoke it");
                    return Err(error.at(bay.doorbell()).found(doorbell.0));
                }
                Ok(self.load(Sinking::Identity, bay.identity()))
            }
            Sinking::Identity => {
                self.apic_id = ApicId(reply.value()? as u32);
                self.state = Sinking::Mechanism;
                // Before the INIT: a kernel that finds the bay after a crash here fetches the CPU from either state.
                let new = self.owner & !0xff00 | u64::from(Mechanism::WaitForSipi.raw()) << 8;
                Ok(Step::CompareExchange { offset: bay.owner(), current: self.owner, new })
            }
            Sinking::Mechanism => {
                let found = reply.value()?;
                if found != self.owner {
                    let error = Error::new(ErrorKind::WrongState, "somebody else changed the bay");
                    return Err(error.at(bay.owner()).found(found));
                }
                self.state = Sinking::Init;
                Ok(Step::SendInit(self.apic_id))
            }
            Sinking::Init => {
                reply.done()?;
                let until = now.saturating_add(self.init_delay_ticks);
                self.state = Sinking::Wait(until);
                Ok(Step::Wait { until })
            }
            Sinking::Wait(until) => {
                reply.done()?;
                Ok(if now < until { Step::Wait { until } } else { Step::Done(()) })
            }
        }
    }

    fn load(&mut self, state: Sinking, offset: u64) -> Step<()> {
        self.state = state;
        Step::Load { offset }
    }
}

fn check_owner(bay: Bay, owner: u64, mechanism: Mechanism, what: &'static str) -> Result<(), Error> {
    let reserved = OwnerState::from_raw(owner as u8) == Some(OwnerState::Reserved);
    if !reserved || Mechanism::from_raw((owner >> 8) as u8) != Some(mechanism) {
        return Err(Error::new(ErrorKind::WrongState, what).at(bay.owner()).found(owner));
    }
    Ok(())
}

fn check_waiting(bay: Bay, stage: u64) -> Result<(), Error> {
    let error = |kind, what| Err(Error::new(kind, what).at(bay.stage()).found(stage));
    match Stage::from_raw(stage) {
        Some(Stage::Waiting) => Ok(()),
        Some(Stage::Faulted) => error(ErrorKind::Faulted, "the CPU stopped in its bay: read its fault record"),
        Some(_) => error(ErrorKind::WrongState, "the CPU does not wait in this bay"),
        None => error(ErrorKind::AbiMismatch, "the stage is damaged"),
    }
}

/// How long the parts of an INIT-STARTUP-STARTUP sequence take, in ticks of the clock that drives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SipiTiming {
    /// Between INIT and STARTUP: 10 ms (Intel SDM vol. 3, "MP Initialization Protocol Algorithm for MP Systems").
    pub init_delay_ticks: Ticks,
    /// Between the two STARTUPs: 200 us (same place).
    pub startup_delay_ticks: Ticks,
    /// From the second STARTUP to another INIT. Much longer than the way through the start-up code and than any stay in
    /// SMM: an INIT also takes a CPU that has just begun to run. `Ticks::MAX`: never.
    pub retry_interval_ticks: Ticks,
    /// The time at which to give up.
    pub deadline: Ticks,
}

/// Fetches a CPU out of wait-for-SIPI: stores the entry in its bay, and sends STARTUPs until the start-up code at
/// `vector << 12` marks the bay as [`Stage::Leaving`].
///
/// Success means that the start-up code ran on that CPU. There is no claim here and nothing can be revoked: the CPU may
/// run the entry after this operation gave up, so page, root and entry stay as they are until the bay shows that it came.
///
/// # Why no claim
///
/// A claim is worth having because a CPU that loses it goes on waiting in the lot. A CPU that comes by STARTUP and
/// loses has nowhere to wait: it is in the start-up page and on the root of the very owner that gave up, without an IDT
/// (an NMI there is a triple fault), and nothing but another INIT makes a running CPU wait for SIPI again. To be held
/// safely it would have to arrive in the lot anew, by an arrival frame of that owner. An owner that wants a wake it can
/// take back parks by Hlt, and rings.
///
/// # NMIs that were held
///
/// An NMI that reaches a CPU in wait-for-SIPI may be latched (AMD APM vol. 2, 16.5; Intel's manuals do not say), and so
/// may one that a CPU held under GIF = 0 or blocked when its INIT was taken. It comes right after the STARTUP, in *real
/// mode*, through vector 2 of the table at physical 0, on the stack that INIT leaves (SS:SP = 0:0, so three words below
/// 64 KiB); one that comes later, before the entry has loaded an IDT, is a triple fault. No code of park's can be there
/// first. The caller:
///
/// * sends no NMI to such a CPU: no operation here does, but an NMI to all (a backtrace, a crash stop) reaches it too;
/// * has the real-mode vector 2 (four bytes at physical 8h) point to an IRET while it starts CPUs;
/// * loads GDT and IDT first of all in the entry.
///
/// # Errors
/// * [`ErrorKind::Uncertain`]: no sign of the CPU by the deadline. It may still come; to
///   [`Quarantine`](super::Quarantine) the bay is the caller's choice.
/// * [`ErrorKind::WrongState`]: the CPU does not wait for SIPI; the lease was handed over.
/// * [`ErrorKind::Faulted`], [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WakeSipi {
    bay: Bay,
    entry: Entry,
    vector: u8,
    timing: SipiTiming,
    apic_id: ApicId,
    state: Fetching,
    end: Option<Result<ApicId, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fetching {
    Start,
    Lease,
    Owner,
    Stage,
    Identity,
    Entry(usize),
    /// This message was sent.
    Sent(Message),
    /// The stage is being read; this message is next, at that time.
    Look(Message, Ticks),
    /// As `Look`, between two reads.
    Wait(Message, Ticks),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Message {
    Init,
    FirstStartup,
    SecondStartup,
}

operation!(WakeSipi => ApicId);

impl WakeSipi {
    /// Fetches the CPU of `bay` into `entry`, through start-up code at physical address `vector << 12`.
    #[must_use]
    pub const fn new(bay: Bay, entry: Entry, vector: u8, timing: SipiTiming) -> Self {
        Self { bay, entry, vector, timing, apic_id: ApicId(0), state: Fetching::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<ApicId>, Error> {
        let bay = self.bay;
        match self.state {
            Fetching::Start => Ok(self.load(Fetching::Lease, header::LEASE)),
            Fetching::Lease => {
                lease::check(reply.value()?, bay.generation())?;
                Ok(self.load(Fetching::Owner, bay.owner()))
            }
            Fetching::Owner => {
                check_owner(
                    bay,
                    reply.value()?,
                    Mechanism::WaitForSipi,
                    "the CPU does not wait for SIPI: ring its bay",
                )?;
                Ok(self.load(Fetching::Stage, bay.stage()))
            }
            Fetching::Stage => {
                check_waiting(bay, reply.value()?)?;
                Ok(self.load(Fetching::Identity, bay.identity()))
            }
            Fetching::Identity => {
                self.apic_id = ApicId(reply.value()? as u32);
                Ok(self.store_entry(0))
            }
            Fetching::Entry(stored) => reply.done().map(|()| self.store_entry(stored)),
            Fetching::Sent(message) => {
                reply.done()?;
                let (next, delay) = match message {
                    Message::Init => (Message::FirstStartup, self.timing.init_delay_ticks),
                    Message::FirstStartup => (Message::SecondStartup, self.timing.startup_delay_ticks),
                    Message::SecondStartup => (Message::Init, self.timing.retry_interval_ticks),
                };
                Ok(self.load(Fetching::Look(next, now.saturating_add(delay)), bay.stage()))
            }
            Fetching::Look(next, at) => self.look(reply.value()?, next, at, now),
            Fetching::Wait(next, at) => {
                reply.done()?;
                Ok(self.load(Fetching::Look(next, at), bay.stage()))
            }
        }
    }

    fn load(&mut self, state: Fetching, offset: u64) -> Step<ApicId> {
        self.state = state;
        Step::Load { offset }
    }

    fn store_entry(&mut self, stored: usize) -> Step<ApicId> {
        let words = [
            (bay::ENTRY_RIP, self.entry.rip),
            (bay::ENTRY_RSP, self.entry.rsp),
            (bay::ENTRY_CR3, self.entry.cr3.0),
            (bay::ENTRY_ARG, self.entry.arg),
        ];
        match words.get(stored) {
            Some((word, value)) => {
                self.state = Fetching::Entry(stored + 1);
                Step::Store { offset: self.bay.offset() + word, value: *value }
            }
            None => self.send(Message::FirstStartup),
        }
    }

    fn send(&mut self, message: Message) -> Step<ApicId> {
        self.state = Fetching::Sent(message);
        match message {
            Message::Init => Step::SendInit(self.apic_id),
            Message::FirstStartup | Message::SecondStartup => {
                Step::SendStartup { target: self.apic_id, vector: self.vector }
            }
        }
    }

    fn look(&mut self, stage: u64, next: Message, at: Ticks, now: Ticks) -> Result<Step<ApicId>, Error> {
        let error = |kind, what| Err(Error::new(kind, what).at(self.bay.stage()).found(stage));
        match Stage::from_raw(stage) {
            Some(Stage::Leaving) => Ok(Step::Done(self.apic_id)),
            // The start-up code is quick: the CPU may have given its bay back by now.
            Some(Stage::Out) => Ok(Step::Done(self.apic_id)),
            Some(Stage::Faulted) => error(ErrorKind::Faulted, "the CPU stopped in its bay: read its fault record"),
            None => error(ErrorKind::AbiMismatch, "the stage is damaged"),
            Some(_) if now >= self.timing.deadline => {
                error(ErrorKind::Uncertain, "no sign of the CPU after STARTUP: it may still come, quarantine its bay")
            }
            Some(_) if now >= at => Ok(self.send(next)),
            Some(_) => {
                self.state = Fetching::Wait(next, at);
                Ok(Step::Wait { until: at.min(self.timing.deadline) })
            }
        }
    }
}
