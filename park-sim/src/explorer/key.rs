//! The key of a state: its image without what nothing reads. The one place that leaves anything out.
//!
//! States with equal keys are explored once. Left out, with reasons:
//!
//! * Dead registers and status flags: see [`super::liveness`].
//! * The bay's counters (NMIs, machine checks, laps) and its copy of IA32_MCG_STATUS, in memory and in the parked CPU's
//!   store buffer: statistics, which neither bay code nor operation reads. The count of machine checks *in a row* stays.
//! * The bay's stacks below RSP, and whole stacks that RSP is not on: the handlers of the parked table abandon what they
//!   interrupted, and leave by a frame that they build. The one that does not is an NMI inside a #MC handler, whose
//!   stack stays (bay_handlers.s).
//! * The frames of what those handlers abandon, if their bytes are park-x86's own (a planted fault in them keeps
//!   everything). The NMI handler compares the interrupted RIP with the addresses that its LEAs form, so of that RIP
//!   stays between which two of them it lies. The #MC handler reads it for its record alone.
//! * Words of the bay's stacks to which the CPU has stores under way: only it reads them, and it reads the stores.
//! * The RIP of the fault record: for reports.
//! * Translations that a walk would yield again, touching nothing that is not the CPU's: whether they are there makes no
//!   difference. The others stay, and may vanish by a move of their own ([`super::state::Action::Evict`]).
//! * An armed monitor that no MWAIT will look at ([`super::liveness`]).
//! * Knobs that a path has consulted and can't meet again are *forgotten*, see [`super::forget`]: one that is met all
//!   the same takes every value again, which adds paths and hides none.
//! * All of a CPU that an INIT took, or that shut down: it executes nothing more, whatever its knobs.
//! * The machine-check banks: nothing of park touches them.
//! * Of the lease holders' CPUs all but the store buffer: they execute host-modelled code, to which nothing is
//!   delivered.
//! * The time-stamp counter stands still: bay code looks at bits 63:32.
//!
//! The machine itself keeps all of it, so a counterexample is a path that really happens.

use super::config::{Afterwards, Config, Reduction};
use super::hash::Hash128;
use super::liveness::{Liveness, Returns, decode, formed};
use super::scene::{NEW, OLD, PARKED, Scene};
use super::state::{End, Vars};
use crate::machine::Gpr;
use crate::machine::cpu::Monitor;
use crate::machine::store_buffer::{Entry, StoreBuffer};
use core::hash::{Hash, Hasher};
use core::ops::Range;
use park_core::lot::bay;
use park_x86::code::{bay_code, bay_labels};
use std::collections::HashMap;

/// The CPUs of the lease holders.
pub(crate) const OTHERS: [usize; 2] = [OLD, NEW];

/// Words of the bay that only count or report.
const COUNTERS: [Range<u64>; 4] = [
    bay::EVENTS..bay::EVENTS + 8,
    bay::LAPS..bay::LAPS + 4,
    bay::MCG_STATUS..bay::MCG_STATUS + 8,
    bay::FAULT_RIP..bay::FAULT_RIP + 8,
];

/// The three stacks of a bay, from the lowest.
const STACKS: [Range<u64>; 3] = [
    bay::NMI_STACK_TOP - bay::STACK_LEN..bay::NMI_STACK_TOP,
    bay::MC_STACK_TOP - bay::STACK_LEN..bay::MC_STACK_TOP,
    bay::FAULT_STACK_TOP - bay::STACK_LEN..bay::FAULT_STACK_TOP,
];

/// Bytes of the frame that an event pushes: SS, RSP, RFLAGS, CS, RIP.
const FRAME_LEN: u64 = 40;

/// Makes keys; holds the buffer for it.
#[derive(Debug)]
pub(crate) struct Keys {
    liveness: Liveness,
    /// The same where the NMI handler does not go back.
    abandoning: Liveness,
    /// Addresses that the NMI handler of the parked table compares with; none if that handler is not park-x86's.
    borders: Vec<u64>,
    /// Linear addresses of the two handlers of the parked table, up to the next handler.
    nmi_handler: Range<u64>,
    /// From there on the NMI handler's frame is its own.
    nmi_first: u64,
    /// By a hash of the parked CPU's translations and where its tables are: which translations are current.
    current: HashMap<u128, u64>,
    buffer: Vec<u8>,
    regions_len: usize,
    afterwards: Afterwards,
    reduction: Reduction,
}

impl Keys {
    pub(crate) fn new(config: &Config, scene: &Scene) -> Self {
        let regions_len = scene.regions.iter().map(|range| range.len as usize).sum();
        let labels = bay_labels();
        let own = labels.nmi_parked as usize..labels.exceptions as usize;
        let pristine = scene.code.get(own.clone()) == bay_code().get(own);
        let at = |label: u32| scene.code_phys + u64::from(label);
        let nmi_handler = at(labels.nmi_parked)..at(labels.mc_parked);
        let mut borders = Vec::new();
        if pristine {
            let compared = at(labels.nmi_parked)..at(labels.nmi_nested);
            let code = decode(&scene.code, scene.code_phys);
            borders.extend(code.iter().filter(|code| compared.contains(&code.ip())).filter_map(formed));
        }
        Self {
            liveness: Liveness::of(&scene.code, scene.code_phys, Returns::GiveBack),
            abandoning: Liveness::of(&scene.code, scene.code_phys, Returns::Never),
            borders,
            nmi_handler,
            nmi_first: at(labels.nmi_first),
            current: HashMap::new(),
            buffer: Vec::new(),
            regions_len,
            afterwards: config.afterwards,
            reduction: config.reduction,
        }
    }

    /// The key of the scene's present state and `vars`.
    pub(crate) fn key(&mut self, scene: &mut Scene, vars: &Vars) -> u128 {
        let ends = vars.memory.end != End::None && self.afterwards == Afterwards::PathEnds;
        if ends || vars.memory.end == End::Over {
            return self.without_cpu(scene, vars);
        }
        if self.reduction == Reduction::Off {
            return self.plain(scene, vars);
        }
        let current = self.current(scene);
        let interrupted = self.interrupted(scene);
        let cpu = scene.machine.cpu_mut(PARKED);
        let kept = (cpu.gpr, cpu.rflags, cpu.stores, cpu.monitor);
        let rsp = cpu.reg(Gpr::Rsp);
        let liveness = if interrupted == Interrupted::Abandoned { &self.abandoning } else { &self.liveness };
        let rip = match &scene.second {
            Some(second) if cpu.rip.wrapping_sub(second.code_phys) < scene.code.len() as u64 => {
                cpu.rip - second.code_phys + scene.code_phys
            }
            _ => cpu.rip,
        };
        let watched = liveness.mask(rip, &mut cpu.gpr, &mut cpu.rflags);
        if !watched && !cpu.activity.is_mwait_family() {
            cpu.monitor = Monitor::default();
        }
        if !cpu.stores.is_empty() {
            cpu.stores = without_counters(&cpu.stores, scene.bay_phys);
            if let Some(second) = &scene.second {
                cpu.stores = without_counters(&cpu.stores, second.bay_phys);
            }
        }
        let tlb = core::mem::take(&mut cpu.tlb);
        let stale = (0u32..).zip(tlb.all()).filter(|(at, _)| current & (1 << at) == 0);
        stale.for_each(|(_, entry)| cpu.tlb.put_back(*entry));
        self.buffer.clear();
        scene.machine.pack_one(PARKED, &OTHERS, &scene.regions, &mut self.buffer);
        let cpu = scene.machine.cpu_mut(PARKED);
        cpu.tlb = tlb;
        (cpu.gpr, cpu.rflags, cpu.stores, cpu.monitor) = kept;

        let rip = cpu.rip;
        let below = peek(scene, bay::NMI_STACK_TOP - SAVED_RSP).wrapping_sub(scene.bay_phys);
        let bay_at = self.buffer.len() - self.regions_len;
        let mut buffer = core::mem::take(&mut self.buffer);
        if let Some(bytes) = buffer.get_mut(bay_at..bay_at + bay::LEN as usize) {
            mask_bay(bytes, rsp.wrapping_sub(scene.bay_phys), below);
            self.mask_frames(bytes, interrupted, rip);
            for store in scene.machine.cpu(PARKED).stores.iter() {
                let offset = store.phys.wrapping_sub(scene.bay_phys);
                if STACKS.iter().any(|stack| stack.contains(&offset)) {
                    clear(bytes, offset..offset + u64::from(store.size));
                }
            }
        }
        if let Some(second) = &scene.second {
            let mut at = bay_at;
            for range in &scene.regions {
                let end = at + range.len as usize;
                if range.start == second.bay_phys
                    && let Some(bytes) = buffer.get_mut(at..end)
                {
                    let below = peek_at(scene, range.start + bay::NMI_STACK_TOP - SAVED_RSP);
                    mask_bay(bytes, rsp.wrapping_sub(range.start), below.wrapping_sub(range.start));
                }
                at = end;
            }
        }
        let mut hash = Hash128::new();
        hash.bytes(&buffer);
        self.buffer = buffer;
        vars.hash(&mut hash);
        hash.end()
    }

    /// The reduced key, whatever the search uses.
    pub(crate) fn projection(&mut self, scene: &mut Scene, vars: &Vars) -> u128 {
        let reduction = core::mem::replace(&mut self.reduction, Reduction::OfKeys);
        let key = self.key(scene, vars);
        self.reduction = reduction;
        key
    }

    /// The key that leaves out nothing but counters, without which there would be no end of states.
    fn plain(&mut self, scene: &Scene, vars: &Vars) -> u128 {
        self.buffer.clear();
        scene.machine.pack_one(PARKED, &OTHERS, &scene.regions, &mut self.buffer);
        let bay_at = self.buffer.len() - self.regions_len;
        if let Some(bytes) = self.buffer.get_mut(bay_at..bay_at + bay::LEN as usize) {
            COUNTERS.into_iter().for_each(|range| clear(bytes, range));
        }
        let mut hash = Hash128::new();
        hash.bytes(&self.buffer);
        vars.hash(&mut hash);
        hash.end()
    }

    /// Which of the parked CPU's translations are current, as bits by their place.
    pub(crate) fn current(&mut self, scene: &mut Scene) -> u64 {
        let cpu = scene.machine.cpu(PARKED);
        let mut hash = Hash128::new();
        for value in [cpu.cr3, cpu.cr4, cpu.efer, cpu.allowed_tags] {
            hash.write_u64(value);
        }
        for entry in cpu.tlb.all() {
            entry.hash(&mut hash);
        }
        let key = hash.end();
        if let Some(known) = self.current.get(&key) {
            return *known;
        }
        let current = scene.machine.current_translations(PARKED);
        self.current.insert(key, current);
        current
    }

    /// What the handler that the CPU is in interrupted.
    fn interrupted(&self, scene: &Scene) -> Interrupted {
        let cpu = scene.machine.cpu(PARKED);
        let stack = cpu.reg(Gpr::Rsp).wrapping_sub(scene.bay_phys);
        if self.borders.is_empty() || !self.nmi_handler.contains(&cpu.rip) || !STACKS[0].contains(&stack) {
            return Interrupted::Unknown;
        }
        let rip = peek(scene, bay::NMI_STACK_TOP - FRAME_LEN);
        // The first two borders are those of the #MC handler, to which an NMI returns.
        match self.borders.first_chunk::<2>() {
            Some([from, to]) if (*from..*to).contains(&rip) => Interrupted::Unknown,
            _ => Interrupted::Abandoned,
        }
    }

    /// Clears what the handlers of the parked table do not read of the frames they were given.
    fn mask_frames(&self, bytes: &mut [u8], interrupted: Interrupted, rip: u64) {
        let [nmi, mc, _] = &STACKS;
        if self.borders.is_empty() {
            return;
        }
        clear(bytes, mc.end - FRAME_LEN..mc.end);
        if interrupted == Interrupted::Abandoned {
            let saved = word(bytes, nmi.end - FRAME_LEN);
            let border = self.borders.iter().filter(|border| **border <= saved).max().copied().unwrap_or(0);
            let own = rip >= self.nmi_first;
            clear(bytes, if own { nmi.end - FRAME_LEN..nmi.end } else { nmi.clone() });
            let place = (nmi.end - FRAME_LEN) as usize;
            if !own && let Some(place) = bytes.get_mut(place..place + 8) {
                place.copy_from_slice(&border.to_le_bytes());
            }
        }
    }
}

/// What an NMI handler interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Interrupted {
    /// The CPU is in no handler that is known, or in one that may go back.
    Unknown,
    /// Something to which the handler does not go back.
    Abandoned,
}

impl Keys {
    /// The key where the CPU executes nothing more: memory, and stores on their way to it.
    fn without_cpu(&mut self, scene: &Scene, vars: &Vars) -> u128 {
        let mut hash = Hash128::new();
        for cpu in [PARKED, OLD, NEW] {
            for store in scene.machine.cpu(cpu).stores.iter() {
                store.hash(&mut hash);
            }
            hash.bytes(&[cpu as u8]);
        }
        for range in &scene.regions {
            self.buffer.clear();
            self.buffer.resize(range.len as usize, 0);
            scene.machine.read_phys(range.start, &mut self.buffer);
            if range.start == scene.bay_phys {
                mask_bay(&mut self.buffer, 0, 0);
            }
            hash.bytes(&self.buffer);
        }
        vars.hash(&mut hash);
        hash.end()
    }
}

fn clear(bytes: &mut [u8], range: Range<u64>) {
    if let Some(bytes) = bytes.get_mut(range.start as usize..range.end as usize) {
        bytes.fill(0);
    }
}

/// A word of the bay as the parked CPU reads it: its own stores may still be on their way. Stacks are written in words.
fn peek(scene: &Scene, offset: u64) -> u64 {
    peek_at(scene, scene.bay_word(offset))
}

fn peek_at(scene: &Scene, phys: u64) -> u64 {
    let stores = scene.machine.cpu(PARKED).stores.iter().filter(|store| store.phys == phys);
    stores.last().map_or_else(|| scene.machine.read_phys_u64(phys), |store| store.value)
}

/// Clears counters, and what lies on no stack that is in use; `rsp`, and the `below` that an NMI handler would go back to,
/// count from the bay's first byte.
fn mask_bay(bytes: &mut [u8], rsp: u64, below: u64) {
    for range in COUNTERS {
        clear(bytes, range);
    }
    // An NMI that came inside the #MC handler goes back to it: its frame says so.
    let [nmi, mc, _] = &STACKS;
    let interrupted = if nmi.contains(&rsp) { below } else { rsp };
    for stack in STACKS {
        let used = if stack == *mc && mc.contains(&interrupted) { interrupted } else { rsp };
        clear(bytes, stack.start..if stack.contains(&used) { used } else { stack.end });
    }
}

/// How far below the top of its stack a frame holds the interrupted RSP (Intel SDM vol. 3, "64-Bit Mode Stack Frame").
const SAVED_RSP: u64 = 16;

fn word(bytes: &[u8], offset: u64) -> u64 {
    let bytes = bytes.get(offset as usize..).and_then(|bytes| bytes.first_chunk::<8>());
    bytes.map_or(0, |word| u64::from_le_bytes(*word))
}

fn without_counters(stores: &StoreBuffer, bay_phys: u64) -> StoreBuffer {
    let mut masked = StoreBuffer::default();
    for entry in stores.iter() {
        let offset = entry.phys.wrapping_sub(bay_phys);
        let counts = COUNTERS.iter().any(|range| range.contains(&offset));
        masked.push(if counts { Entry { value: 0, ..*entry } } else { *entry });
    }
    masked
}
