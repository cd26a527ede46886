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
//! * All of a CPU that an INIT took, or that shut down: it executes nothing more, whatever its knobs.
//! * The machine-check banks: nothing of park touches them.
//! * Of the lease holders' CPUs all but the store buffer: they execute host-modelled code, to which nothing is
//!   delivered.
//! * The time-stamp counter stands still: bay code looks at bits 63:32.
//!
//! The machine itself keeps all of it, so a counterexample is a path that really happens.

use super::hash::Hash128;
use super::liveness::Liveness;
use super::scene::{NEW, OLD, PARKED, Scene};
use super::state::{End, Vars};
use crate::machine::Gpr;
use crate::machine::store_buffer::{Entry, StoreBuffer};
use core::hash::Hash;
use core::ops::Range;
use park_core::lot::bay;

/// The CPUs of the lease holders.
pub(crate) const OTHERS: [usize; 2] = [OLD, NEW];

/// Words of the bay that only count.
const COUNTERS: [Range<u64>; 3] =
    [bay::EVENTS..bay::EVENTS + 8, bay::LAPS..bay::LAPS + 4, bay::MCG_STATUS..bay::MCG_STATUS + 8];

/// The three stacks of a bay, from the lowest.
const STACKS: [Range<u64>; 3] = [
    bay::NMI_STACK_TOP - bay::STACK_LEN..bay::NMI_STACK_TOP,
    bay::MC_STACK_TOP - bay::STACK_LEN..bay::MC_STACK_TOP,
    bay::FAULT_STACK_TOP - bay::STACK_LEN..bay::FAULT_STACK_TOP,
];

/// Makes keys; holds the buffer for it.
#[derive(Debug)]
pub(crate) struct Keys {
    liveness: Liveness,
    buffer: Vec<u8>,
    regions_len: usize,
}

impl Keys {
    pub(crate) fn new(scene: &Scene) -> Self {
        let regions_len = scene.regions.iter().map(|range| range.len as usize).sum();
        Self { liveness: Liveness::of(&scene.code, scene.code_phys), buffer: Vec::new(), regions_len }
    }

    /// The key of the scene's present state and `vars`.
    pub(crate) fn key(&mut self, scene: &mut Scene, vars: &Vars) -> u128 {
        if vars.memory.end != End::None {
            return self.without_cpu(scene, vars);
        }
        let cpu = scene.machine.cpu_mut(PARKED);
        let kept = (cpu.gpr, cpu.rflags, cpu.stores);
        let rsp = cpu.reg(Gpr::Rsp);
        self.liveness.mask(cpu.rip, &mut cpu.gpr, &mut cpu.rflags);
        if !cpu.stores.is_empty() {
            cpu.stores = without_counters(&cpu.stores, scene.bay_phys);
        }
        self.buffer.clear();
        scene.machine.pack_one(PARKED, &OTHERS, &scene.regions, &mut self.buffer);
        let cpu = scene.machine.cpu_mut(PARKED);
        (cpu.gpr, cpu.rflags, cpu.stores) = kept;

        let bay_at = self.buffer.len() - self.regions_len;
        if let Some(bytes) = self.buffer.get_mut(bay_at..bay_at + bay::LEN as usize) {
            mask_bay(bytes, rsp.wrapping_sub(scene.bay_phys), scene.bay_phys);
        }
        let mut hash = Hash128::new();
        hash.bytes(&self.buffer);
        vars.hash(&mut hash);
        hash.end()
    }
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
                mask_bay(&mut self.buffer, 0, scene.bay_phys);
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

/// Clears counters, and what lies on no stack that is in use; `rsp` counts from the bay's first byte.
fn mask_bay(bytes: &mut [u8], rsp: u64, bay_phys: u64) {
    for range in COUNTERS {
        clear(bytes, range);
    }
    // An NMI that came inside the #MC handler goes back to it: its frame says so.
    let [nmi, mc, _] = &STACKS;
    let interrupted = if nmi.contains(&rsp) { word(bytes, nmi.end - SAVED_RSP).wrapping_sub(bay_phys) } else { rsp };
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
