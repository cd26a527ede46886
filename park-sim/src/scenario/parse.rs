//! From TOML to a scenario: every name is looked up, every CPU counted, before anything runs.

use super::error::{Place, ScenarioError};
use super::reader::{File, Item, Table};
use super::step::{By, Damage, From, How, Left, Old, Ram, Result as Expected, Step, Verb, When};
use super::{Cause, Declared, End, Erratum, Expect, ExpectCpu, MachineSpec, Scenario};
use crate::machine::{Knob, Vendor};
use park_core::lot::PagingLevels;
use park_core::{Event, Mechanism};

/// The most CPUs of a scenario's machine.
const CPUS_MAX: u64 = crate::world::KERNEL_CPUS_MAX as u64;
/// The most often that something is repeated.
const TIMES_MAX: u64 = 1000;
/// The most actions of a scenario, repetitions counted.
const ACTIONS_MAX: u64 = 10_000;
/// The most steps that time can pass.
const STEPS_MAX: u64 = 1_000_000;
/// How deep repeats nest.
const DEPTH_MAX: u32 = 4;

type Done<T> = core::result::Result<T, ScenarioError>;

impl Scenario {
    /// Reads a scenario. `origin` names the text in errors.
    ///
    /// # Errors
    /// [`ScenarioError`] with line and place; a scenario that parses can be run.
    pub fn parse(text: &str, origin: &str) -> Done<Self> {
        let file = File::new(origin, text);
        let mut root = file.root()?;
        let name = root.need("name")?.text()?.to_owned();
        let summary = root.need("summary")?.text()?.to_owned();
        let expect = expect(&mut root)?;
        let declared = match root.take("declared") {
            Some(item) => item
                .list()
                .iter()
                .map(|item| item.name("declared end", Declared::from_name, Declared::names()))
                .collect::<Done<_>>()?,
            None => Vec::new(),
        };
        let machine = machine(root.sub("machine")?)?;
        let mut knobs = Vec::new();
        for (name, item) in root.sub("knobs")?.rest() {
            let knob = Knob::from_name(&name).ok_or_else(|| ScenarioError::UnknownName {
                place: Box::new(item.place().clone()),
                kind: "knob",
                name: name.clone(),
                known: Knob::ALL.iter().map(|knob| knob.name()).collect::<Vec<_>>().join(", "),
            })?;
            let values = knob.values();
            let index = item.name(
                "value of that knob",
                |value| values.iter().position(|name| *name == value),
                values.iter().copied(),
            )?;
            knobs.push((knob, u8::try_from(index).unwrap_or(0)));
        }
        for erratum in &machine.errata {
            let (knob, value) = erratum.knob();
            let index = knob.values().iter().position(|name| *name == value).unwrap_or(0);
            knobs.push((knob, u8::try_from(index).unwrap_or(0)));
        }
        let reader = Reader { cpus: machine.cpus, depth: 0 };
        let mut steps = Vec::new();
        for mut table in root.subs("park")? {
            let place = table.place();
            let verb = reader.park(&mut table)?;
            table.finish()?;
            steps.push(Step { place: *place, verb });
        }
        for table in root.subs("step")? {
            steps.push(reader.step(table)?);
        }
        let actions = weight(&steps);
        if actions > ACTIONS_MAX {
            let why = format!("the steps come to {actions} with their repetitions, and {ACTIONS_MAX} are the most");
            return Err(ScenarioError::Contradiction { place: root.place(), why });
        }
        let mut expect_cpus = Vec::new();
        for table in root.subs("expect_cpu")? {
            expect_cpus.push(reader.expect_cpu(table)?);
        }
        root.finish()?;
        Ok(Self { name, summary, expect, machine, knobs, steps, expect_cpus, declared })
    }
}

/// How many actions steps come to, repetitions counted.
fn weight(steps: &[Step]) -> u64 {
    steps.iter().fold(0, |sum: u64, step| {
        sum.saturating_add(match &step.verb {
            Verb::Repeat { times, steps } => times.saturating_mul(weight(steps)),
            Verb::Event { times, .. } => *times,
            _ => 1,
        })
    })
}

fn expect(root: &mut Table<'_>) -> Done<Expect> {
    let item = root.need("expect")?;
    let deadly = root.take("deadly");
    let remedy = root.take("remedy");
    match item.text()? {
        "safe" => match deadly.or(remedy) {
            None => Ok(Expect::Safe),
            Some(item) => Err(ScenarioError::Contradiction {
                place: Box::new(item.place().clone()),
                why: "a safe scenario has no `deadly` and no `remedy`".to_owned(),
            }),
        },
        "lost" => {
            let missing = |key| ScenarioError::Missing { place: Box::new(item.place().clone()), key };
            let deadly = deadly.ok_or_else(|| missing("deadly"))?;
            let remedy = remedy.ok_or_else(|| missing("remedy"))?;
            Ok(Expect::Lost { deadly: event(&deadly)?, remedy: mechanism(&remedy)? })
        }
        _ => Err(item.wrong("\"safe\" or \"lost\"")),
    }
}

fn event(item: &Item<'_>) -> Done<Event> {
    item.name("event", Event::from_name, Event::ALL.iter().map(|event| event.name()))
}

fn mechanism(item: &Item<'_>) -> Done<Mechanism> {
    item.name("mechanism", Mechanism::from_name, Mechanism::ALL.iter().map(|mechanism| mechanism.name()))
}

fn machine(mut table: Table<'_>) -> Done<MachineSpec> {
    let vendor = match table.need("vendor")? {
        item if item.text()? == "intel" => Vendor::Intel,
        item if item.text()? == "amd" => Vendor::Amd,
        item => return Err(item.wrong("\"intel\" or \"amd\"")),
    };
    let number = |item: Option<Item<'_>>, default, max| item.map_or(Ok(default), |item| item.number(max));
    let cpus_item = table.take("cpus");
    let count = match &cpus_item {
        Some(item) => match item.number(CPUS_MAX)? {
            0 => return Err(item.wrong("at least 1")),
            count => count,
        },
        None => 2,
    };
    let place = table.place();
    let cpus = count as usize;
    let bsp = number(table.take("bsp"), 0, CPUS_MAX)?;
    if bsp >= count {
        return Err(ScenarioError::NoSuchCpu { place, cpu: bsp, cpus });
    }
    let x2apic = table.take("x2apic").map_or(Ok(false), |item| item.flag())?;
    let apic_ids = match table.take("apic_ids") {
        None => (0..count as u32).collect(),
        Some(item) => {
            let place = Box::new(item.place().clone());
            let ids: Vec<u32> =
                item.list().iter().map(|item| Ok(item.number(u64::from(u32::MAX))? as u32)).collect::<Done<_>>()?;
            if ids.len() != cpus {
                let why = format!("`apic_ids` names {} CPUs, but the machine has {cpus}", ids.len());
                return Err(ScenarioError::Contradiction { place, why });
            }
            ids
        }
    };
    for (index, id) in apic_ids.iter().enumerate() {
        if apic_ids[..index].contains(id) {
            return Err(ScenarioError::Contradiction { place, why: format!("two CPUs have APIC id {id}") });
        }
        if !x2apic && *id > park_core::ApicId::XAPIC_MAX.0 {
            let why = format!("APIC id {id} needs `x2apic = true`");
            return Err(ScenarioError::Contradiction { place, why });
        }
    }
    let levels = match table.take("levels") {
        None => PagingLevels::Four,
        Some(item) => match item.number(5)? {
            4 => PagingLevels::Four,
            5 => PagingLevels::Five,
            _ => return Err(item.wrong("4 or 5")),
        },
    };
    let bays = number(table.take("bays"), count, CPUS_MAX)?.max(1) as u32;
    let errata = errata(&mut table, vendor)?;
    table.finish()?;
    Ok(MachineSpec { errata, vendor, cpus, bsp: bsp as usize, apic_ids, x2apic, levels, bays })
}

/// Errata by name, of that vendor's CPUs.
fn errata(table: &mut Table<'_>, vendor: Vendor) -> Done<Vec<Erratum>> {
    let Some(item) = table.take("errata") else { return Ok(Vec::new()) };
    let find = |item: &Item<'_>| {
        let erratum = item.name("erratum", Erratum::from_name, Erratum::names())?;
        if erratum.vendor() != vendor {
            let why = format!("no CPU of this vendor has erratum {erratum}");
            return Err(ScenarioError::Contradiction { place: Box::new(item.place().clone()), why });
        }
        Ok(erratum)
    };
    item.list().iter().map(find).collect()
}

#[derive(Clone, Copy)]
struct Reader {
    cpus: usize,
    depth: u32,
}

impl Reader {
    fn cpu(self, item: &Item<'_>) -> Done<usize> {
        let cpu = item.number(u64::MAX)?;
        match usize::try_from(cpu) {
            Ok(index) if index < self.cpus => Ok(index),
            _ => Err(ScenarioError::NoSuchCpu { place: Box::new(item.place().clone()), cpu, cpus: self.cpus }),
        }
    }

    /// `cpu = 1` or `cpus = [1, 2]`.
    fn cpus(self, table: &mut Table<'_>) -> Done<Vec<usize>> {
        let (one, many) = (table.take("cpu"), table.take("cpus"));
        match (one, many) {
            (Some(item), None) => Ok(vec![self.cpu(&item)?]),
            (None, Some(item)) => {
                let (place, items) = (Box::new(item.place().clone()), item.list());
                if items.is_empty() {
                    return Err(ScenarioError::Contradiction { place, why: "`cpus` names no CPU".to_owned() });
                }
                items.iter().map(|item| self.cpu(item)).collect()
            }
            (None, None) => Err(ScenarioError::Missing { place: table.place(), key: "cpus" }),
            (Some(item), Some(_)) => Err(ScenarioError::Contradiction {
                place: Box::new(item.place().clone()),
                why: "`cpu` and `cpus` both stand here: one is enough".to_owned(),
            }),
        }
    }

    fn one(self, table: &mut Table<'_>) -> Done<usize> {
        let item = table.need("cpu")?;
        self.cpu(&item)
    }

    fn result(table: &mut Table<'_>) -> Done<Expected> {
        table
            .take("expect")
            .map_or(Ok(Expected::Done), |item| item.name("result", Expected::from_name, Expected::names()))
    }

    fn park(self, table: &mut Table<'_>) -> Done<Verb> {
        let cpus = self.cpus(table)?;
        let by = table.need("by")?.name("mechanism or parker", By::from_name, By::names())?;
        let from =
            table.take("from").map_or(Ok(From::Idle), |item| item.name("way in", From::from_name, From::names()))?;
        let expect = Self::result(table)?;
        Ok(Verb::Park { cpus, by, from, expect })
    }

    fn step(self, mut table: Table<'_>) -> Done<Step> {
        let place = table.place();
        let item = table.need("do")?;
        let name =
            item.name("verb", |name| Verb::NAMES.into_iter().find(|verb| *verb == name), Verb::NAMES.into_iter())?;
        table.rename(format!("{} ({name})", place.what));
        let place = table.place();
        let verb = self.verb(name, &mut table, &place)?;
        table.finish()?;
        Ok(Step { place: *place, verb })
    }

    fn verb(self, name: &str, table: &mut Table<'_>, place: &Place) -> Done<Verb> {
        Ok(match name {
            "park" => self.park(table)?,
            "park-late" => Verb::ParkLate { cpu: self.one(table)?, mechanism: mechanism(&table.need("by")?)? },
            "event" => self.event(table)?,
            "kexec" => Verb::Kexec {
                boss: table.take("boss").map(|item| self.cpu(&item)).transpose()?,
                old: table
                    .take("old")
                    .map_or(Ok(Old::Overwritten), |item| item.name("fate", Old::from_name, Old::names()))?,
            },
            "overwrite" => Verb::Overwrite,
            "wake" => Verb::Wake { cpus: self.cpus(table)?, expect: Self::result(table)? },
            "confirm" => Verb::Confirm { cpus: self.cpus(table)?, expect: Self::result(table)? },
            "hold" => Verb::Hold { cpus: self.cpus(table)? },
            "release" => Verb::Release { cpus: self.cpus(table)? },
            "flush" => Verb::Flush { cpus: self.cpus(table)? },
            "ring" => Verb::Ring { cpu: self.one(table)? },
            "revoke" => Verb::Revoke {
                cpu: self.one(table)?,
                expect: match table.take("expect") {
                    None => vec![Expected::Done],
                    Some(item) => item
                        .list()
                        .iter()
                        .map(|item| item.name("result", Expected::from_name, Expected::names()))
                        .collect::<Done<_>>()?,
                },
            },
            "stale-ring" => Verb::StaleRing { cpu: self.one(table)?, expect: Self::result(table)? },
            "hand-over" => Verb::HandOver,
            "adopt" => Verb::Adopt {
                how: table.need("how")?.name("way", How::from_name, How::names())?,
                expect: Self::result(table)?,
            },
            "quarantine" => Verb::Quarantine { cpus: self.cpus(table)? },
            "rehabilitate" => Verb::Rehabilitate { cpu: self.one(table)? },
            "build-lot" => Verb::BuildLot,
            "corrupt" => Verb::Corrupt {
                what: table.need("what")?.name("part of a lot", Damage::from_name, Damage::names())?,
                bit: table.take("bit").map_or(Ok(0), |item| item.number(u64::from(u32::MAX)))?,
            },
            "init-sipi-sipi" => Verb::InitSipiSipi { cpus: self.cpus(table)? },
            "prepare" => Verb::Prepare {
                cpus: self.cpus(table)?,
                state: table.need("state")?.name("state", Left::from_name, Left::names())?,
            },
            "reset" => Verb::Reset {
                ram: table.take("ram").map_or(Ok(Ram::Kept), |item| item.name("fate", Ram::from_name, Ram::names()))?,
            },
            "s3" => Verb::S3,
            "hibernate-image" => Verb::HibernateImage,
            "hibernate-restore" => Verb::HibernateRestore,
            "run" => Verb::Run { steps: table.need("steps")?.number(STEPS_MAX)? },
            _ => self.repeat(table, place)?,
        })
    }

    fn event(self, table: &mut Table<'_>) -> Done<Verb> {
        let item = table.need("event")?;
        let event = event(&item)?;
        if matches!(event, Event::Overwrite | Event::InitSipiSipi) {
            let why = format!("`{event}` is a step of its own: do = \"{event}\"");
            return Err(ScenarioError::Contradiction { place: Box::new(item.place().clone()), why });
        }
        let all = table.take("all").map_or(Ok(false), |item| item.flag())?;
        let cpus = match (event, all) {
            (_, true) | (Event::SmiRendezvous, _) => (0..self.cpus).collect(),
            (Event::McBroadcast, false) => vec![0],
            (_, false) => self.cpus(table)?,
        };
        let times = table.take("times").map_or(Ok(1), |item| item.number(TIMES_MAX))?;
        let when =
            table.take("when").map_or(Ok(When::Settled), |item| item.name("time", When::from_name, When::names()))?;
        Ok(Verb::Event { event, cpus, times, when })
    }

    fn repeat(self, table: &mut Table<'_>, place: &Place) -> Done<Verb> {
        if self.depth >= DEPTH_MAX {
            let why = format!("repeats nest {DEPTH_MAX} deep at most");
            return Err(ScenarioError::Contradiction { place: Box::new(place.clone()), why });
        }
        let inner = Self { depth: self.depth + 1, ..self };
        let times = table.need("times")?.number(TIMES_MAX)?;
        let steps = table.subs("steps")?.into_iter().map(|table| inner.step(table)).collect::<Done<_>>()?;
        Ok(Verb::Repeat { times, steps })
    }

    fn expect_cpu(self, mut table: Table<'_>) -> Done<ExpectCpu> {
        let cpu = self.one(&mut table)?;
        let end = table.need("end")?.name("end", End::from_name, End::names())?;
        let causes = match table.take("cause") {
            None => Vec::new(),
            Some(item) => item
                .list()
                .iter()
                .map(|item| item.name("cause", Cause::from_name, Cause::names()))
                .collect::<Done<_>>()?,
        };
        table.finish()?;
        Ok(ExpectCpu { cpu, end, causes })
    }
}
