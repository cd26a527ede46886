//! Taking the steps: all at once, or one register access at a time.

use super::{Context, Effect, Guard, Paravirtual, Refusal, Step, StepId};
use crate::registers::apic::{EOI, ISR, VECTOR_REGISTERS, nth};
use core::fmt;
use park_core::{Cpu, Error, ErrorKind, PlatformError, Register};

/// End-of-interrupt writes before the CPU is refused: one for each vector that can be in service (16 to 255).
const EOI_LIMIT: u16 = 240;

/// Why sanitising stopped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SanitiseError {
    /// The CPU can't be parked as it is. Refusals come before the first change, but for
    /// [`Refusal::VectorInService`], which comes after RFLAGS.IF was cleared.
    Refused {
        /// The step.
        step: StepId,
        /// The reason.
        refusal: Refusal,
        /// What the register held, 0 where none was read.
        found: u64,
    },
    /// A register access failed; steps before this one have been taken.
    Platform {
        /// The step.
        step: StepId,
        /// The access's own error.
        error: PlatformError,
    },
}

impl fmt::Display for SanitiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { refusal, found, .. } => write!(f, "{refusal} (found {found:#x})"),
            Self::Platform { step, error } => write!(f, "sanitising stopped at step {step}: {error}"),
        }
    }
}

impl core::error::Error for SanitiseError {}

impl From<SanitiseError> for Error {
    fn from(error: SanitiseError) -> Self {
        match error {
            SanitiseError::Refused { refusal, found, .. } => {
                Self::new(ErrorKind::NotSupported, refusal.what()).found(found)
            }
            SanitiseError::Platform { error, .. } => error.into(),
        }
    }
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Report {
    /// Steps that were due and taken, refusals that did not refuse among them.
    pub taken: u16,
    /// Steps that were not due on this CPU, by feature or guard.
    pub skipped: u16,
}

/// Takes `steps` on `cpu`, in their order.
///
/// The steps of other mechanisms must have been filtered out already; a vendor crate's orders do that.
/// Success says that every due step was taken, not that nothing changed since: call it with interrupts off,
/// as the last thing before arrival.
///
/// # Errors
/// [`SanitiseError::Refused`] if the CPU can't be parked as it is; [`SanitiseError::Platform`] if an access failed.
pub fn run<'a>(
    cpu: &mut (impl Cpu + ?Sized),
    steps: impl IntoIterator<Item = &'a Step>,
    context: &Context,
) -> Result<Report, SanitiseError> {
    let mut report = Report::default();
    for step in steps {
        let mut step = StepRun::new(step);
        loop {
            match step.advance(cpu, context)? {
                Progress::Accessed => {}
                Progress::Taken => {
                    report.taken += 1;
                    break;
                }
                Progress::Skipped => {
                    report.skipped += 1;
                    break;
                }
            }
        }
    }
    Ok(report)
}

/// What one call of [`StepRun::advance`] did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Progress {
    /// One access was made; the step goes on.
    Accessed,
    /// The step is done; its last access, if any, was made by this call or an earlier one.
    Taken,
    /// The step was not due.
    Skipped,
}

/// Where a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Effect,
    /// The register was read and must be written.
    WriteBack(u64),
    /// Register `index` of those in service is due, after `eois` writes.
    InService {
        index: u16,
        eois: u16,
    },
    /// A vector was found; an end-of-interrupt is due, the `eois`th.
    Eoi {
        eois: u16,
    },
    /// Register `index` of a row is due.
    Each {
        index: usize,
    },
    Done,
}

/// One step under way: at most one register access for each call of [`advance`](Self::advance).
///
/// The simulator injects events between the accesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StepRun<'a> {
    step: &'a Step,
    state: State,
}

impl<'a> StepRun<'a> {
    /// `step`, not begun.
    #[must_use]
    pub const fn new(step: &'a Step) -> Self {
        Self { step, state: State::Start }
    }

    /// The step.
    #[must_use]
    pub const fn step(&self) -> &'a Step {
        self.step
    }

    /// Makes the next access, if one is due.
    ///
    /// # Errors
    /// As [`run`].
    pub fn advance(&mut self, cpu: &mut (impl Cpu + ?Sized), context: &Context) -> Result<Progress, SanitiseError> {
        let step = self.step;
        match self.state {
            State::Start if !step.when.holds(&context.features) => {
                self.state = State::Done;
                Ok(Progress::Skipped)
            }
            State::Start => {
                let passes = match step.guard {
                    Guard::None => {
                        self.state = State::Effect;
                        return self.effect(cpu, context);
                    }
                    Guard::AnySet { register, mask } => self.read(cpu, register)? & mask != 0,
                    Guard::AllClear { register, mask } => self.read(cpu, register)? & mask == 0,
                    Guard::AtLeast { register, shift, mask, minimum } => {
                        self.read(cpu, register)?.checked_shr(shift).unwrap_or(0) & mask >= minimum
                    }
                };
                self.state = if passes { State::Effect } else { State::Done };
                Ok(if passes { Progress::Accessed } else { Progress::Skipped })
            }
            State::Done => Ok(Progress::Taken),
            _ => self.effect(cpu, context),
        }
    }

    fn effect(&mut self, cpu: &mut (impl Cpu + ?Sized), context: &Context) -> Result<Progress, SanitiseError> {
        match (self.step.effect, self.state) {
            (Effect::Write { register, value }, _) => self.write(cpu, register, value),
            (Effect::WriteEach { registers, value }, state) => {
                let index = if let State::Each { index } = state { index } else { 0 };
                let Some(register) = registers.get(index) else { return Ok(self.done()) };
                self.write(cpu, *register, value)?;
                self.state = State::Each { index: index + 1 };
                Ok(if index + 1 < registers.len() { Progress::Accessed } else { self.done() })
            }
            (Effect::Clear { register, .. } | Effect::Set { register, .. }, State::WriteBack(value)) => {
                self.write(cpu, register, value)
            }
            (Effect::Clear { register, mask }, _) => {
                let value = self.read(cpu, register)?;
                Ok(self.write_back(value, value & !mask))
            }
            (Effect::Set { register, mask }, _) => {
                let value = self.read(cpu, register)?;
                Ok(self.write_back(value, value | mask))
            }
            (Effect::Act(action), _) => {
                cpu.act(action).map_err(|error| self.platform(error))?;
                Ok(self.done())
            }
            (Effect::ActOrFault(action), _) => match cpu.act(action) {
                Ok(()) | Err(PlatformError::Fault { .. }) => Ok(self.done()),
                Err(error) => Err(self.platform(error)),
            },
            (Effect::EndInService, state) => self.end_in_service(cpu, state),
            (Effect::Demand { register, mask, expected, refusal }, _) => {
                let value = self.read(cpu, register)?;
                if value & mask == expected { Ok(self.done()) } else { Err(self.refuse(refusal, value)) }
            }
            (Effect::Refuse(refusal), _) => Err(self.refuse(refusal, 0)),
            (Effect::RefuseUnlessTornDown(refusal), _) => match context.paravirtual {
                Paravirtual::TornDown => Ok(self.done()),
                Paravirtual::Unknown => Err(self.refuse(refusal, 0)),
            },
            (Effect::DemandSelector, _) => {
                let value = self.read(cpu, Register::Cs)?;
                if value > u64::from(context.cs_selector_max) {
                    return Err(self.refuse(Refusal::CodeSelectorTooLarge, value));
                }
                Ok(self.done())
            }
            (Effect::DemandEncryption, _) => {
                let mask = context.features.encryption_mask();
                // Without a C-bit nothing may be encrypted: the bit would be an address bit.
                let found = if mask == 0 { 0 } else { self.read(cpu, Register::Cr3)? & mask };
                if found != context.encryption_mask {
                    return Err(self.refuse(Refusal::EncryptionMask, found));
                }
                Ok(self.done())
            }
            (Effect::ByArrival, _) => Ok(self.done()),
        }
    }

    fn end_in_service(&mut self, cpu: &mut (impl Cpu + ?Sized), state: State) -> Result<Progress, SanitiseError> {
        if let State::Eoi { eois } = state {
            cpu.write(Register::Apic(EOI), 0).map_err(|error| self.platform(error))?;
            self.state = State::InService { index: 0, eois: eois + 1 };
            return Ok(Progress::Accessed);
        }
        let (index, eois) = if let State::InService { index, eois } = state { (index, eois) } else { (0, 0) };
        let value = self.read(cpu, Register::Apic(nth(ISR, index)))?;
        if value != 0 {
            if eois >= EOI_LIMIT {
                return Err(self.refuse(Refusal::VectorInService, value));
            }
            self.state = State::Eoi { eois };
        } else if index + 1 < VECTOR_REGISTERS {
            self.state = State::InService { index: index + 1, eois };
        } else {
            return Ok(self.done());
        }
        Ok(Progress::Accessed)
    }

    fn read(&self, cpu: &mut (impl Cpu + ?Sized), register: Register) -> Result<u64, SanitiseError> {
        cpu.read(register).map_err(|error| self.platform(error))
    }

    fn write(
        &mut self,
        cpu: &mut (impl Cpu + ?Sized),
        register: Register,
        value: u64,
    ) -> Result<Progress, SanitiseError> {
        cpu.write(register, value).map_err(|error| self.platform(error))?;
        Ok(self.done())
    }

    fn write_back(&mut self, old: u64, new: u64) -> Progress {
        if old == new {
            return self.done();
        }
        self.state = State::WriteBack(new);
        Progress::Accessed
    }

    fn refuse(&self, refusal: Refusal, found: u64) -> SanitiseError {
        SanitiseError::Refused { step: self.step.id, refusal, found }
    }

    fn done(&mut self) -> Progress {
        self.state = State::Done;
        Progress::Taken
    }

    fn platform(&self, error: PlatformError) -> SanitiseError {
        SanitiseError::Platform { step: self.step.id, error }
    }
}
