//! What goes wrong when one sanitising step is left out: for each step a program that shows it.
//!
//! A program leaves a register in the harmful state, parks the CPU, provokes the harm and wakes the CPU again. With the
//! step it finds nothing; without it, it says what went wrong. The steps come from the caller.

mod arrival;
mod refusals;
mod stage;
mod steps;

pub use stage::Stage;

use super::parked::OrdersOf;
use crate::machine::{MachineConfig, RuleSet, Vendor};
use crate::world::WorldError;
use park_core::Mechanism;
use park_core::op::Processor;

/// Whether the step is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// As ordered.
    Taken,
    /// Left out; all others are taken.
    LeftOut,
}

/// What went wrong, if anything did.
pub type Found = Option<String>;

/// A program that shows what leaving one step out costs.
#[derive(Clone, Copy, Debug)]
pub struct Harm {
    /// The step.
    pub step: &'static str,
    /// Which of several harms of this step; empty for the only one.
    pub variant: &'static str,
    /// On whose machine.
    pub vendor: Vendor,
    /// Parked how.
    pub mechanism: Mechanism,
    /// Which CPU.
    pub processor: Processor,
    shape: fn(&mut MachineConfig),
    prepare: fn(&mut Stage),
    during: fn(&mut Stage, u64),
    at_owner_text: fn(&mut Stage, Step) -> Result<(), WorldError>,
    provoke: fn(&mut Stage) -> Result<Found, WorldError>,
}

impl Harm {
    const fn new(
        step: &'static str,
        vendor: Vendor,
        mechanism: Mechanism,
        prepare: fn(&mut Stage),
        provoke: fn(&mut Stage) -> Result<Found, WorldError>,
    ) -> Self {
        Self {
            step,
            variant: "",
            vendor,
            mechanism,
            processor: Processor::Application,
            shape: |_| {},
            prepare,
            during: |_, _| {},
            at_owner_text: |_, _| Ok(()),
            provoke,
        }
    }

    const fn variant(mut self, variant: &'static str) -> Self {
        self.variant = variant;
        self
    }

    const fn on_bootstrap(mut self) -> Self {
        self.processor = Processor::Bootstrap;
        self
    }

    const fn shaped(mut self, shape: fn(&mut MachineConfig)) -> Self {
        self.shape = shape;
        self
    }

    /// `during` is called before every step of the CPU's arrival, with their number.
    const fn during(mut self, during: fn(&mut Stage, u64)) -> Self {
        self.during = during;
        self
    }

    /// `at` is called when all sanitising steps are done, before the owner text's first instruction.
    const fn at_owner_text(mut self, at: fn(&mut Stage, Step) -> Result<(), WorldError>) -> Self {
        self.at_owner_text = at;
        self
    }

    /// The step, and which of its harms.
    #[must_use]
    pub fn name(&self) -> String {
        if self.variant.is_empty() { self.step.to_owned() } else { format!("{}/{}", self.step, self.variant) }
    }

    /// Runs the program with the step taken or left out, under `rules`.
    ///
    /// # Errors
    /// [`WorldError`] if the world can't be built. Whatever happens to the CPU is what was found.
    pub fn run(&self, step: Step, rules: RuleSet, orders: OrdersOf<'_>) -> Result<Found, WorldError> {
        let mut config = match self.vendor {
            Vendor::Intel => MachineConfig::intel(3),
            Vendor::Amd => MachineConfig::amd(3),
        };
        config.rules = rules;
        (self.shape)(&mut config);
        let Some((mut stage, mut steps, request)) = Stage::new(config, self.mechanism, self.processor, orders)? else {
            return Ok(Some(format!("no orders for {}", self.mechanism)));
        };
        // This one alone: a step that another makes superfluous would not show.
        steps.retain(|taken| step == Step::Taken || taken.id.0 != self.step);
        stage.reserve(&request)?;
        (self.prepare)(&mut stage);
        match stage.arrive(self, step, steps) {
            Ok(stage::Arrival::Refused) => return Ok(None),
            Ok(stage::Arrival::Parked) => {}
            Ok(stage::Arrival::Lost(how)) => return Ok(Some(how)),
            Err(error) => return Ok(Some(error.to_string())),
        }
        match (self.provoke)(&mut stage) {
            Ok(found) => Ok(found),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}

/// Every program.
#[must_use]
pub fn all() -> Vec<Harm> {
    [refusals::ALL, steps::ALL, arrival::ALL].concat()
}

/// The program with this [`name`](Harm::name).
#[must_use]
pub fn by_name(name: &str) -> Option<Harm> {
    all().into_iter().find(|harm| harm.name() == name)
}
