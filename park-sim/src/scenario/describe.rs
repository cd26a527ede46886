//! A step of a scenario in words, for pictures.

use super::step::{By, From, Old, Ram, Verb};
use park_core::Event;

/// How many CPUs are named before the rest is counted.
const CPUS_NAMED: usize = 4;

impl Verb {
    /// What is done, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Park { cpus, by, from, .. } => {
                let out_of = match from {
                    From::Idle => String::new(),
                    other => format!(", out of its {other} handler"),
                };
                let way = match by {
                    By::Lot(mechanism) => format!("in the lot by {mechanism}"),
                    By::Foreign(parker) => format!("by {}", parker.name()),
                };
                format!("park {} {way}{out_of}", names(cpus))
            }
            Self::ParkLate { cpu, mechanism } => {
                format!("park CPU {cpu} by {mechanism}, and give up before it has come")
            }
            Self::Event { event, cpus, times, .. } => {
                let often = if *times > 1 { format!(", {times} times") } else { String::new() };
                let at = if cpus.is_empty() { String::new() } else { format!(" at {}", names(cpus)) };
                format!("{}{at}{often}", event_words(*event))
            }
            Self::Kexec { boss, old } => {
                let on = boss.map_or_else(String::new, |boss| format!(" on CPU {boss}"));
                let memory = match old {
                    Old::Overwritten => "the old one's memory is overwritten",
                    Old::Kept => "the old one's memory is left alone",
                };
                format!("kexec: the next kernel starts{on}; {memory}")
            }
            Self::Overwrite => "everything but the lot and the current kernel is overwritten".to_owned(),
            Self::Wake { cpus, .. } => format!("wake {}", names(cpus)),
            Self::Confirm { cpus, .. } => format!("ask {} for a sign of life", names(cpus)),
            Self::Hold { cpus } => format!("hold {}", names(cpus)),
            Self::Release { cpus } => format!("release {}", names(cpus)),
            Self::Flush { cpus } => format!("have {} flush caches", names(cpus)),
            Self::Ring { cpu } => format!("ring CPU {cpu}, and do not wait"),
            Self::Revoke { cpu, .. } => format!("take the ring of CPU {cpu} back"),
            Self::StaleRing { cpu, .. } => format!("ring CPU {cpu} with the last kernel's lease"),
            Self::HandOver => "hand the lot over".to_owned(),
            Self::Adopt { how, .. } => format!("adopt the lot: {how}"),
            Self::Quarantine { cpus } => format!("quarantine {}", names(cpus)),
            Self::Rehabilitate { cpu } => format!("take CPU {cpu} for parked after all"),
            Self::BuildLot => "build a new lot".to_owned(),
            Self::Corrupt { what, .. } => format!("change the lot in memory: {what}"),
            Self::InitSipiSipi { cpus } => format!("a kernel that knows nothing of park starts {}", names(cpus)),
            Self::Prepare { cpus, state } => format!("leave {} in state {state}", names(cpus)),
            Self::Reset { ram: Ram::Kept } => "reset the machine; memory is kept".to_owned(),
            Self::Reset { ram: Ram::Lost } => "reset the machine; memory is lost".to_owned(),
            Self::S3 => "suspend to RAM, and resume".to_owned(),
            Self::HibernateImage => "save the kernel's memory: hibernation".to_owned(),
            Self::HibernateRestore => "put the saved kernel back, and go on in it".to_owned(),
            Self::Run { .. } => "let time pass".to_owned(),
            Self::Repeat { times, .. } => format!("do the following {times} times"),
        }
    }
}

fn event_words(event: Event) -> &'static str {
    match event {
        Event::Nmi => "an NMI",
        Event::Smi => "an SMI",
        Event::SmiNoRestart => "an SMI whose handler ends the HLT",
        Event::SmiRendezvous => "an SMI, and firmware waits for all CPUs",
        Event::McLocal => "a machine check",
        Event::McBroadcast => "a machine check that all CPUs receive",
        Event::Init => "an INIT",
        Event::Sipi => "a STARTUP",
        Event::Intr => "an interrupt",
        Event::StoreDoorbell => "a store beside the doorbell",
        other => other.name(),
    }
}

fn names(cpus: &[usize]) -> String {
    let named: Vec<String> = cpus.iter().take(CPUS_NAMED).map(usize::to_string).collect();
    let noun = if cpus.len() == 1 { "CPU" } else { "CPUs" };
    let more = match cpus.len().saturating_sub(CPUS_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{noun} {}{more}", named.join(", "))
}
