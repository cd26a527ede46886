//! What is asked of a plan: names and numbers of the command line, looked up.

use super::Arguments;
use crate::exit::Failure;
use crate::names::unknown;
use cpu_park::core::Mechanism;
use cpu_park::policy::{Guarantees, PROMISES, Requirements, Situation};

/// Most percent that a CPU can be busy.
const PERCENT_MAX: u8 = 100;

/// What is asked of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanRequest {
    /// Why CPUs are parked.
    pub situation: Situation,
    /// What is asked of mechanisms.
    pub requirements: Requirements,
    /// How busy each CPU is, by APIC id, in percent; empty where nobody said.
    pub loads_percent: Vec<u8>,
    /// The APIC id of the CPU that goes on; the bootstrap processor's if nobody said.
    pub on: Option<u32>,
}

impl PlanRequest {
    /// A plan for a situation, with nothing changed.
    #[must_use]
    pub const fn new(situation: Situation) -> Self {
        Self { situation, requirements: situation.requirements(), loads_percent: Vec::new(), on: None }
    }

    /// Looks the arguments up.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the value, with names that are near.
    pub fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let situation = Situation::from_name(&arguments.situation).ok_or_else(|| {
            let names = Situation::ALL.map(Situation::name);
            Failure::Input(format!("--situation: {}", unknown("situation", &arguments.situation, names)))
        })?;
        let mut request = Self::new(situation);
        let asked = &mut request.requirements;
        asked.require |= guarantees("--require", &arguments.require)?;
        asked.prefer |= guarantees("--prefer", &arguments.prefer)?;
        for name in &arguments.allow {
            *asked = asked.allow(mechanism("--allow", name)?);
        }
        for name in &arguments.exclude {
            *asked = asked.without(mechanism("--exclude", name)?);
        }
        if let Some(latency_us) = arguments.latency_us {
            *asked = asked.within(narrow("--latency-us", latency_us)?);
        }
        request.on = arguments.on.map(|id| narrow("--on", id)).transpose()?;
        if let Some(load) = &arguments.load {
            request.loads_percent = load.split(',').map(percent).collect::<Result<_, _>>()?;
        }
        Ok(request)
    }
}

fn narrow(option: &str, number: u64) -> Result<u32, Failure> {
    u32::try_from(number).map_err(|_| Failure::Input(format!("{option}: {number} is more than {}", u32::MAX)))
}

fn guarantees(option: &str, names: &[String]) -> Result<Guarantees, Failure> {
    names.iter().try_fold(Guarantees::empty(), |set, name| {
        let flag = Guarantees::from_promise_name(name).ok_or_else(|| {
            let known = PROMISES.iter().map(|promise| promise.name);
            Failure::Input(format!("{option}: {}", unknown("guarantee", name, known)))
        })?;
        Ok(set | flag)
    })
}

fn mechanism(option: &str, name: &str) -> Result<Mechanism, Failure> {
    Mechanism::from_name(name).ok_or_else(|| {
        let known = Mechanism::ALL.map(Mechanism::name);
        Failure::Input(format!("{option}: {}", unknown("mechanism", name, known)))
    })
}

fn percent(text: &str) -> Result<u8, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let percent = text.parse().ok().filter(|percent| digits && *percent <= PERCENT_MAX);
    percent.ok_or_else(|| {
        Failure::Input(format!("--load: `{text}` is no whole number of percent from 0 to {PERCENT_MAX}"))
    })
}
