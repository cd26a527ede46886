//! Which instructions of arriving and of leaving an NMI came after: the image's lines `met`, against park's machine code.
//!
//! On a machine that executes one instruction of each CPU in turn, an NMI that is sent one instruction later meets the CPU
//! at the same instruction, since that is still under way to it, or at the next one that the CPU executes. So if each
//! step's instruction is the one before or follows from it by the code, from the owner's own code to the wait or back, then
//! none that the CPU executes on that way was left out. A branch cannot be taken for another: the instructions behind it
//! would be more than one step.

use std::collections::BTreeSet;
use std::fmt;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use park_x86::code;

use crate::configuration::{Configuration, Emulator, Pace};
use crate::judge::Flaw;
use crate::line::Line;

/// Where an NMI met a CPU, as the image names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    /// In its owner's code.
    Image,
    /// At an offset of park's owner text.
    Owner(u64),
    /// At an offset of the bay code.
    Bay(u64),
    /// It was held by GIF = 0.
    Held,
    /// It can't be told: it merged with another, or a third was needed.
    Unknown,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let offset = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        match text {
            "image" => Some(Self::Image),
            "held" => Some(Self::Held),
            "merged" | "unclear" => Some(Self::Unknown),
            _ => match text.split_once('+')? {
                ("owner", text) => offset(text).map(Self::Owner),
                ("bay", text) => offset(text).map(Self::Bay),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("the owner's code"),
            Self::Owner(offset) => write!(f, "owner text {offset:#x}"),
            Self::Bay(offset) => write!(f, "bay code {offset:#x}"),
            Self::Held => f.write_str("held"),
            Self::Unknown => f.write_str("a place that can't be told"),
        }
    }
}

/// The places of one way by one mechanism, in the order of the steps; runs of the same are one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Sweep {
    mechanism: String,
    way: String,
    runs: Vec<(Place, u64)>,
}

/// What a sweep showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Instructions of park's code on the ways that were taken, as far as that is known.
    pub instructions: usize,
    /// Those that an NMI came right before.
    pub met: usize,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an NMI before {} of {} instructions", self.met, self.instructions)
    }
}

/// What the steps of a sweep can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steps {
    /// Each is one instruction: none of a way may be left out.
    Exact,
    /// They are a sample.
    Sample,
}

impl Steps {
    /// What they can show on this machine.
    #[must_use]
    pub fn on(configuration: &Configuration) -> Self {
        match (configuration.emulator, configuration.pace) {
            (Emulator::Bochs, Pace::Stepped) => Self::Exact,
            _ => Self::Sample,
        }
    }
}

/// How many different instructions must be met where a sweep is a sample: less would say that it hardly sampled. On a host with
/// nine processes for each core they were 26.
const SAMPLE_MIN: usize = 10;

/// What the lines `met` of a run show.
///
/// # Errors
/// [`Flaw::Unmet`]: what is missing.
pub fn shown(serial: &[String], steps: Steps) -> Result<Shown, Flaw> {
    let sweeps = parse(serial)?;
    let flaw = |what: String| Flaw::Unmet { what };
    if sweeps.is_empty() {
        return Err(flaw("no line `met`".to_owned()));
    }
    let (mut on_way, mut met) = (BTreeSet::new(), BTreeSet::new());
    for sweep in &sweeps {
        met.extend(sweep.runs.iter().map(|(place, _)| *place));
        if steps == Steps::Exact {
            on_way.extend(walk(sweep).map_err(|what| flaw(format!("{} {}: {what}", sweep.mechanism, sweep.way)))?);
        }
    }
    on_way.extend(met.iter().copied());
    for places in [&mut on_way, &mut met] {
        places.retain(|place| matches!(place, Place::Owner(_) | Place::Bay(_)));
    }
    if met.len() < SAMPLE_MIN {
        return Err(flaw(format!("only {} instructions were met", met.len())));
    }
    Ok(Shown { instructions: on_way.len(), met: met.len() })
}

/// The sweeps in the image's lines.
fn parse(serial: &[String]) -> Result<Vec<Sweep>, Flaw> {
    let mut sweeps: Vec<Sweep> = Vec::new();
    for line in serial.iter().filter_map(|text| Line::parse(text)).filter(|line| line.event() == "met") {
        let (mechanism, way) = (line.text("mechanism").unwrap_or_default(), line.text("way").unwrap_or_default());
        let runs = line.text("at").unwrap_or_default().split(',').map(|item| {
            let (place, times) = item.split_once('*').unwrap_or((item, "1"));
            let run = Place::parse(place).zip(times.parse().ok());
            run.ok_or_else(|| Flaw::Unmet { what: format!("a line `met` with `{item}`") })
        });
        let runs: Vec<(Place, u64)> = runs.collect::<Result<_, Flaw>>()?;
        match sweeps.last_mut() {
            Some(last) if last.mechanism == mechanism && last.way == way => last.runs.extend(runs),
            _ => sweeps.push(Sweep { mechanism: mechanism.to_owned(), way: way.to_owned(), runs }),
        }
    }
    Ok(sweeps)
}

/// The instructions that the CPU executed, if the steps left none out.
fn walk(sweep: &Sweep) -> Result<BTreeSet<Place>, String> {
    let places: Vec<Place> = sweep.runs.iter().map(|(place, _)| *place).collect();
    let (Some(first), Some((last, times))) = (places.first(), sweep.runs.last()) else {
        return Err("no step".to_owned());
    };
    let inwards = sweep.way == "in";
    if inwards != (*first == Place::Image) || (!inwards && !matches!(first, Place::Bay(_))) {
        return Err(format!("the first step met it at {first}"));
    }
    // The last steps meet it where it waits, so they are alike.
    let arrived = if inwards { *last == Place::Held || waits_before(*last) } else { *last == Place::Image };
    if !arrived || *times < 2 {
        return Err(format!("the last step met it at {last}: more steps are needed"));
    }
    let mut on_way = BTreeSet::new();
    for pair in places.windows(2) {
        let &[from, to] = pair else { continue };
        on_way.insert(from);
        let next = following(from);
        if next.contains(&to) {
            continue;
        }
        // No event comes between a load of SS and the instruction behind it (Intel SDM vol. 3, "Masking Exceptions and
        // Interrupts When Switching Stacks").
        let shadowed = next.into_iter().find(|place| loads_ss(from) && following(*place).contains(&to));
        on_way.insert(shadowed.ok_or_else(|| format!("from {from} to {to} there is more than one instruction"))?);
    }
    Ok(on_way)
}

/// The instruction at a place.
fn at(place: Place) -> Option<Instruction> {
    let (bytes, offset) = match place {
        Place::Owner(offset) => (code::owner_text(), offset),
        Place::Bay(offset) => (code::bay_code(), offset),
        _ => return None,
    };
    let bytes = bytes.get(usize::try_from(offset).ok()?..)?;
    let instruction = Decoder::with_ip(64, bytes, offset, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Where a CPU can be right after it has executed the instruction at a place.
fn following(place: Place) -> Vec<Place> {
    if place == Place::Image {
        return vec![Place::Owner(code::owner_labels().arrive.into())];
    }
    let Some(instruction) = at(place) else { return Vec::new() };
    let here = |offset| if matches!(place, Place::Owner(_)) { Place::Owner(offset) } else { Place::Bay(offset) };
    let next = here(instruction.next_ip());
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch => vec![here(instruction.near_branch_target())],
        FlowControl::ConditionalBranch => vec![next, here(instruction.near_branch_target())],
        FlowControl::IndirectBranch if matches!(place, Place::Owner(_)) => {
            vec![Place::Bay(code::bay_labels().enter.into()), Place::Image]
        }
        FlowControl::IndirectBranch => vec![Place::Owner(code::owner_labels().depart.into())],
        // Far returns and IRETQ, all to the next instruction: they load CS, or unblock NMIs.
        FlowControl::Return | FlowControl::Next => match instruction.mnemonic() {
            Mnemonic::Clgi => vec![next, Place::Held],
            _ => vec![next],
        },
        _ => Vec::new(),
    }
}

fn loads_ss(place: Place) -> bool {
    at(place).is_some_and(|instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == Register::SS
    })
}

/// Whether the instruction before a place is one that waits.
fn waits_before(place: Place) -> bool {
    let Place::Bay(offset) = place else { return false };
    let mut decoder = Decoder::with_ip(64, code::bay_code(), 0, DecoderOptions::NONE);
    let before = decoder.iter().take_while(|instruction| instruction.ip() < offset).last();
    before.is_some_and(|instruction| {
        instruction.next_ip() == offset && matches!(instruction.mnemonic(), Mnemonic::Hlt | Mnemonic::Mwait)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(way: &str, at: &str) -> String {
        format!("{{\"event\":\"met\",\"mechanism\":\"hlt\",\"way\":\"{way}\",\"at\":\"{at}\"}}")
    }

    /// Instructions of the way out by address, from the jump into the owner text to the jump out of it.
    fn way_out() -> Vec<Place> {
        let depart = u64::from(code::owner_labels().depart);
        let leave = u64::from(code::bay_labels().leave);
        let mut places: Vec<Place> = Vec::new();
        for (start, of) in [(leave, Place::Bay as fn(u64) -> Place), (depart, Place::Owner)] {
            let mut place = of(start);
            loop {
                places.push(place);
                let next = following(place);
                match next.as_slice() {
                    // The branch that is not taken: the owner has a TSS.
                    [next] | [next, Place::Owner(_)] if !matches!(next, Place::Owner(at) if *at == depart) => {
                        place = *next
                    }
                    _ => break,
                }
            }
        }
        places
    }

    fn told(places: &[Place]) -> String {
        let text = |place: &Place| match place {
            Place::Image => "image*2".to_owned(),
            Place::Owner(offset) => format!("owner+{offset:#x}"),
            Place::Bay(offset) => format!("bay+{offset:#x}"),
            Place::Held | Place::Unknown => "held".to_owned(),
        };
        places.iter().map(text).collect::<Vec<String>>().join(",")
    }

    #[test]
    fn a_way_without_a_gap_counts_and_with_one_it_does_not() {
        let mut places = way_out();
        places.push(Place::Image);
        let whole = shown(&[line("out", &told(&places))], Steps::Exact).unwrap();
        assert_eq!((whole.met, whole.instructions), (places.len() - 1, places.len() - 1));
        assert!(whole.met > 30, "{whole}");
        for gap in 1..places.len() - 1 {
            let mut less = places.clone();
            let left_out = less.remove(gap);
            let result = shown(&[line("out", &told(&less))], Steps::Exact);
            if loads_ss(less[gap - 1]) {
                let shown = result.unwrap();
                assert_eq!((shown.met + 1, shown.instructions), (whole.met, whole.instructions));
            } else {
                assert!(result.is_err(), "{left_out}");
                assert!(shown(&[line("out", &told(&less))], Steps::Sample).is_ok());
            }
        }
    }

    #[test]
    fn a_sweep_that_ends_early_begins_late_or_can_not_be_told_does_not_count() {
        let places = way_out();
        let fails = |lines: &[String]| matches!(shown(lines, Steps::Exact), Err(Flaw::Unmet { .. }));
        assert!(fails(&[line("out", &told(&places))]));
        assert!(fails(&[line("in", &told(&places))]));
        assert!(fails(&[line("out", &format!("image,{},image*2", told(&places)))]));
        assert!(fails(&[line("out", &format!("{},merged,image*2", told(&places)))]));
        assert!(fails(&[line("out", "bay+0x0,elsewhere")]));
        assert!(fails(&[line("out", "bay+0xffffff,image*2")]));
        assert!(fails(&[]));
        let few = shown(&[line("out", "bay+0x0,bay+0x2,image*2")], Steps::Sample);
        assert!(few.unwrap_err().to_string().contains("only 2 instructions"));
    }

    #[test]
    fn waits_are_found_and_returns_lead_to_the_next_instruction() {
        let code = code::bay_code();
        let instructions = || Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter();
        let after = |mnemonic| instructions().find(|found| found.mnemonic() == mnemonic).unwrap().next_ip();
        for mnemonic in [Mnemonic::Hlt, Mnemonic::Mwait] {
            assert!(waits_before(Place::Bay(after(mnemonic))));
            assert!(!waits_before(Place::Bay(after(mnemonic) + 1)));
        }
        let far = instructions().find(|found| found.mnemonic() == Mnemonic::Retf).unwrap();
        assert_eq!(following(Place::Bay(far.ip())), [Place::Bay(far.next_ip())]);
        let clgi = instructions().find(|found| found.mnemonic() == Mnemonic::Clgi).unwrap();
        assert_eq!(following(Place::Bay(clgi.ip())), [Place::Bay(clgi.next_ip()), Place::Held]);
    }
}
