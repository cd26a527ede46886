//! The lot outlives kernels: Linux, Linux, Linux, then the image, which finds the lot and wakes who is in it.

use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use crate::LabError;
use crate::deadline::Deadline;
use crate::line::Line;
use crate::linux::lot_memory::Kept;
use crate::linux::machine::{Files, Machine, Ride, Start, ride};

/// The longest that a chain of three may take: a minute on two cores.
pub const LIMIT: Duration = Duration::from_secs(400);
/// CPUs that wait at the mailbox in a chain where nobody takes them. One: each polls, and the host has few.
const WAITING: u32 = 1;

/// What a chain is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Linuxes, one after the other.
    pub linuxes: u32,
    /// What the first of them does with the mailbox.
    pub first: First,
}

/// What the first Linux takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// Nobody: `maxcpus=1`.
    TakesNobody,
    /// Half of the other CPUs; the rest is not in its MADT.
    TakesHalf,
}

/// The short form: one kexec.
pub const SHORT: [Chain; 1] = [Chain { linuxes: 1, first: First::TakesNobody }];
/// The long form.
pub const LONG: [Chain; 2] =
    [Chain { linuxes: 3, first: First::TakesNobody }, Chain { linuxes: 3, first: First::TakesHalf }];

/// What came of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Which.
    pub chain: Chain,
    /// Linuxes that came up.
    pub up: u64,
    /// Those of them that kept away from the lot: reserved in their own maps.
    pub reserved: u64,
    /// How the image found the lot: `acpi` is by the PARK table.
    pub found_via: String,
    /// What became of the lot's memory.
    pub kept: Kept,
    /// The image's checksums of it, before the first Linux and after the last.
    pub sums: Vec<String>,
    /// CPUs that a Linux has taken.
    pub handed_out: u64,
    /// CPUs that the image woke.
    pub woken: u64,
    /// CPUs that did not answer.
    pub lost: u64,
    /// Why nothing is shown, if something kept the run from its end.
    pub refusal: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Chain {
    const fn machine(self) -> Machine {
        match self.first {
            First::TakesNobody => Machine { model: "EPYC", topology: "4" },
            First::TakesHalf => Machine { model: "EPYC", topology: "5" },
        }
    }

    /// CPUs that wait at the mailbox.
    const fn waiting(self) -> u32 {
        match self.first {
            First::TakesNobody => WAITING,
            First::TakesHalf => 2,
        }
    }

    /// CPUs that are handed out.
    #[must_use]
    pub const fn handed_out(self) -> u64 {
        match self.first {
            First::TakesNobody => 0,
            First::TakesHalf => self.waiting() as u64,
        }
    }

    /// CPUs that the image finds in the lot.
    #[must_use]
    pub fn left(self) -> u64 {
        self.machine().cpus() - 1 - self.handed_out()
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> String {
        let takes = match self.first {
            First::TakesNobody => "nobody",
            First::TakesHalf => "half",
        };
        format!("{}-linux-{takes}-taken", self.linuxes)
    }
}

impl Verdict {
    /// Whether the lot went through all kernels, and every CPU that nobody took came back.
    #[must_use]
    pub fn holds(&self) -> bool {
        let linuxes = u64::from(self.chain.linuxes);
        self.refusal.is_none()
            && (self.up, self.reserved) == (linuxes, linuxes)
            && self.found_via == "acpi"
            && self.kept.is_untouched()
            && self.sums.len() == 2
            && self.sums.windows(2).all(|pair| pair.first() == pair.last())
            && (self.handed_out, self.woken, self.lost) == (self.chain.handed_out(), self.chain.left(), 0)
    }
}

/// Runs one chain in `folder`; the root file system of `files` must hold the kernel.
///
/// # Errors
/// [`LabError`] if the lab can't go on.
pub fn run(chain: Chain, files: &Files, folder: &Path, deadline: Deadline) -> Result<Verdict, LabError> {
    let start = Instant::now();
    let machine = chain.machine();
    let words = format!("cpus={} handed={}", machine.cpus(), chain.waiting());
    let first = match chain.first {
        First::TakesNobody => "maxcpus=1 ",
        First::TakesHalf => "",
    };
    let append = format!(
        "{first}lab.hops={} lab.append=maxcpus=1 lab.next=image lab.image=t=adopt,@rsdp",
        chain.linuxes.saturating_sub(1)
    );
    let deadline = Deadline::after(LIMIT).or_before(deadline);
    let ride = ride(machine, files, &Start::Image { words }, &append, folder, deadline)?;
    verdict(chain, &ride, start.elapsed())
}

fn verdict(chain: Chain, ride: &Ride, took: Duration) -> Result<Verdict, LabError> {
    let adopted = ride.first("adopt");
    let number = |key| adopted.as_ref().and_then(|line| line.number(key)).unwrap_or(0);
    let refusal = ride.refusal().or_else(|| adopted.is_none().then(|| format!("the run ended early: {:?}", ride.exit)));
    let kept = match refusal {
        None => Kept::of(ride)?,
        Some(_) => Kept { looks: 0, fixed_bytes: 0, changed: 0 },
    };
    let sums = ride.reports().filter(|line| line.event() == "lot_crc");
    Ok(Verdict {
        chain,
        up: ride.steps("up").count() as u64,
        reserved: reserving(ride),
        found_via: ride.first("found").and_then(|line| line.text("via").map(str::to_owned)).unwrap_or_default(),
        kept,
        sums: sums.filter_map(|line| line.text("fixed").map(str::to_owned)).collect(),
        handed_out: number("handed_out"),
        woken: number("woken"),
        lost: number("lost"),
        refusal,
        took,
    })
}

/// How many Linuxes had one range in their maps that is kept away from, and in which all of the lot lies.
fn reserving(ride: &Ride) -> u64 {
    let Some((start, end)) = ride.first("lot").and_then(|line| {
        let start = hexadecimal(line.text("phys")?.strip_prefix("0x")?)?;
        Some((start, start.checked_add(line.number("bytes")?)?))
    }) else {
        return 0;
    };
    let (mut count, mut seen) = (0, false);
    for line in ride.reports().filter(|line| line.event() == "linux") {
        match line.text("step") {
            Some("up") => seen = false,
            Some("kept") if !seen && covers(&line, start, end) => {
                seen = true;
                count += 1;
            }
            _ => {}
        }
    }
    count
}

/// Whether a line about a range, as /proc/iomem has it, covers all from `start` to before `end`.
fn covers(line: &Line, start: u64, end: u64) -> bool {
    let range = line.text("range").and_then(|range| range.split_once('-'));
    let range = range.and_then(|(first, last)| hexadecimal(first).zip(hexadecimal(last)));
    line.text("kind") == Some("Reserved") && range.is_some_and(|(first, last)| first <= start && end - 1 <= last)
}

fn hexadecimal(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Exit;
    use crate::resets::Resets;

    fn ride(lines: &[&str]) -> Ride {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Ride { lines, exit: Exit::Status(1), resets: Resets::default() }
    }

    const LOT: &str = r#"{"event":"lot","phys":"0x1fee0000","bytes":65536,"bays":3}"#;
    const UP: &str = r#"{"event":"linux","step":"up"}"#;

    fn kept(range: &str, kind: &str) -> String {
        format!(r#"{{"event":"linux","step":"kept","range":"{range}","kind":"{kind}"}}"#)
    }

    #[test]
    fn a_map_must_cover_all_of_the_lot_in_each_kernel() {
        let whole = kept("1fee0000-1feeffff", "Reserved");
        let wider = kept("1fe00000-1fffffff", "Reserved");
        assert_eq!(reserving(&ride(&[LOT, UP, &whole, &wider, UP, &wider])), 2);
        let short = kept("1fee0000-1feefffe", "Reserved");
        let other = kept("1fe00000-1fffffff", "ACPI Tables");
        assert_eq!(reserving(&ride(&[LOT, UP, &short, &other])), 0);
        assert_eq!(reserving(&ride(&[LOT, UP, &whole, UP, &short])), 1);
        assert_eq!(reserving(&ride(&[UP, &whole])), 0);
    }

    #[test]
    fn everything_must_be_shown() {
        let chain = LONG[1];
        let whole = Verdict {
            chain,
            up: 3,
            reserved: 3,
            found_via: "acpi".to_owned(),
            kept: Kept { looks: 7, fixed_bytes: 88_064, changed: 0 },
            sums: vec!["0x1".to_owned(); 2],
            handed_out: 2,
            woken: 2,
            lost: 0,
            refusal: None,
            took: Duration::ZERO,
        };
        assert!(whole.holds());
        let others = [
            Verdict { up: 2, ..whole.clone() },
            Verdict { reserved: 2, ..whole.clone() },
            Verdict { found_via: "cmdline".to_owned(), ..whole.clone() },
            Verdict { sums: vec!["0x1".to_owned(), "0x2".to_owned()], ..whole.clone() },
            Verdict { sums: vec!["0x1".to_owned()], ..whole.clone() },
            Verdict { woken: 1, lost: 1, ..whole.clone() },
            Verdict { handed_out: 0, ..whole.clone() },
        ];
        assert!(!others.iter().any(Verdict::holds));
    }
}
