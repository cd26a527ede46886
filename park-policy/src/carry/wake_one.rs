//! Waking one CPU: rung again and again, then fetched by STARTUP where that is allowed, then given up.

use super::ring_one::pause_end;
use super::work::{Context, Page, Part, Turn, ends, run};
use super::{Outcome, Rescue, Task, Why};
use park_core::op::{AwaitLeft, Bay, Processor, Reply, SinkToSipi, Step, Wake, WakeSipi};
use park_core::{Entry, Error, ErrorKind, Mechanism, Ticks};

/// A wake, until the CPU has given its bay back.
#[derive(Clone, Copy, Debug)]
pub(super) struct WakeOne {
    attempt: u32,
    page: Hold,
    state: State,
}

/// Whether this task holds the start-up page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hold {
    None,
    Mine,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Begin,
    Ring(Wake),
    Pause(Ticks),
    /// The INIT of a rescue.
    Sink(SinkToSipi),
    /// The start-up page is another CPU's until then or later.
    AwaitPage(Ticks),
    Fetch(WakeSipi),
    Left(AwaitLeft),
}

impl WakeOne {
    pub(super) const fn new() -> Self {
        Self { attempt: 0, page: Hold::None, state: State::Begin }
    }

    pub(super) fn next(&mut self, task: &mut Task, context: &mut Context<'_>, reply: Reply, now: Ticks) -> Turn {
        let Some(bay) = task.bay() else { return Turn::Over };
        match &mut self.state {
            State::Pause(until) | State::AwaitPage(until) if now < *until => Turn::Step(Step::Wait { until: *until }),
            State::Begin if task.mechanism() == Mechanism::WaitForSipi => self.fetch(bay, task, context, now),
            State::AwaitPage(_) => self.fetch(bay, task, context, now),
            State::Begin | State::Pause(_) => self.ring(bay, task, context, now),
            State::Ring(wake) => match run(wake, reply, now) {
                Part::Going(step) => Turn::Step(step),
                Part::Over(Ok(_)) => self.taken(bay, task, context, now),
                Part::Over(Err(error)) => self.unanswered(bay, error, task, context, now),
            },
            State::Sink(sink) => match run(sink, reply, now) {
                Part::Going(step) => Turn::Step(step),
                // Even if the INIT could not be sent: fetching sends another.
                Part::Over(result) => match result {
                    Ok(()) => self.sunk(bay, task, context, now),
                    Err(error) if error.kind() == ErrorKind::Platform => self.sunk(bay, task, context, now),
                    Err(error) => Turn::GiveUp(bay, error.into()),
                },
            },
            State::Fetch(fetch) => match run(fetch, reply, now) {
                Part::Going(step) => Turn::Step(step),
                Part::Over(Ok(_)) => self.taken(bay, task, context, now),
                Part::Over(Err(error)) => {
                    context.page = Page::Spoilt;
                    Turn::GiveUp(bay, error.into())
                }
            },
            State::Left(left) => match run(left, reply, now) {
                Part::Going(step) => Turn::Step(step),
                Part::Over(Ok(())) => {
                    if self.page == Hold::Mine {
                        context.page = Page::Free;
                    }
                    task.end(Outcome::Woken, None);
                    Turn::Over
                }
                Part::Over(Err(error)) => {
                    if self.page == Hold::Mine {
                        context.page = Page::Spoilt;
                    }
                    task.end(Outcome::Leaving, Some(error.into()));
                    Turn::Over
                }
            },
        }
    }

    fn entry(bay: Bay, task: &Task, context: &mut Context<'_>) -> Result<Entry, Error> {
        let what = "nobody says where woken CPUs enter: give the carry its entries";
        let none = Error::new(ErrorKind::InvalidAddress, what);
        context.entries.as_mut().map_or(Err(none), |entries| entries.entry(task.apic_id(), bay))
    }

    fn ring(&mut self, bay: Bay, task: &mut Task, context: &mut Context<'_>, now: Ticks) -> Turn {
        match Self::entry(bay, task, context) {
            Ok(entry) => {
                self.state = State::Ring(Wake::new(bay, entry, context.pace.ring(now, self.attempt)));
                self.next(task, context, Reply::Start, now)
            }
            Err(error) => {
                task.complain(error.into());
                Turn::Over
            }
        }
    }

    fn unanswered(&mut self, bay: Bay, error: Error, task: &mut Task, context: &mut Context<'_>, now: Ticks) -> Turn {
        if ends(task, error) {
            return Turn::Over;
        }
        self.attempt += 1;
        if self.attempt < context.pace.attempts {
            self.state = State::Pause(pause_end(&error, context, now, self.attempt));
            return self.next(task, context, Reply::Waited, now);
        }
        let fetchable = task.mechanism() == Mechanism::Hlt && task.terms().processor == Processor::Application;
        if fetchable && context.pace.rescue == Rescue::InitStartup && error.kind() != ErrorKind::WrongState {
            let sink = SinkToSipi::new(bay, task.terms().processor, context.pace.init_delay());
            self.state = State::Sink(sink);
            return self.next(task, context, Reply::Start, now);
        }
        if error.kind() == ErrorKind::Platform {
            // It could not be rung, and the ticket was taken back: it is parked.
            task.complain(error.into());
            return Turn::Over;
        }
        Turn::GiveUp(bay, error.into())
    }

    fn sunk(&mut self, bay: Bay, task: &mut Task, context: &mut Context<'_>, now: Ticks) -> Turn {
        task.waits_by(Mechanism::WaitForSipi);
        self.fetch(bay, task, context, now)
    }

    /// Fetches the CPU by STARTUP, once the page is free.
    fn fetch(&mut self, bay: Bay, task: &mut Task, context: &mut Context<'_>, now: Ticks) -> Turn {
        match context.page {
            Page::Free => {}
            Page::Taken => {
                let until = context.pace.look_again(now, Ticks::MAX);
                self.state = State::AwaitPage(until);
                return Turn::Step(Step::Wait { until });
            }
            Page::Spoilt => {
                let what = "the start-up page belongs to a CPU that may still come: fetch the others from another page";
                task.complain(Why { kind: ErrorKind::WrongState, what });
                return Turn::Over;
            }
        }
        let started = Self::entry(bay, task, context).and_then(|entry| {
            let none = Error::new(ErrorKind::NotSupported, "no start-up page");
            let vector =
                context.entries.as_mut().map_or(Err(none), |entries| entries.startup(task.apic_id(), bay, &entry));
            vector.map(|vector| (entry, vector))
        });
        match started {
            Ok((entry, vector)) => {
                (context.page, self.page) = (Page::Taken, Hold::Mine);
                self.state = State::Fetch(WakeSipi::new(bay, entry, vector, context.pace.sipi(now)));
                self.next(task, context, Reply::Start, now)
            }
            Err(error) => {
                task.complain(error.into());
                Turn::Over
            }
        }
    }

    fn taken(&mut self, bay: Bay, task: &mut Task, context: &mut Context<'_>, now: Ticks) -> Turn {
        let deadline = now.saturating_add(context.pace.leave_ticks);
        self.state = State::Left(AwaitLeft::new(bay, deadline));
        self.next(task, context, Reply::Start, now)
    }
}
