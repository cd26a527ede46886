//! A small model of a kernel on four CPUs, in which everything is right.

use park_conformance::platform::{Interrupts, Landing, MapEntry, MemoryType, Platform};
use park_core::lot::ApicMode;
use park_core::{ApicId, Clock, IpiSender, LotMemory, PlatformError, Summon, Ticks};
use std::collections::VecDeque;

const TICKS_PER_SECOND: u64 = 2_400_000_000;
const LOT_WORDS: usize = 512;
/// What reading the clock takes, and a pause.
const READ_TICKS: u64 = 20;
const PAUSE_TICKS: u64 = 140;

#[derive(Debug, Default)]
struct ModelCpu {
    nmi_pending: u64,
    nmi_count: u64,
    nmi_saw: u64,
}

/// The kernel, as its CPU 0 sees it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) mode: ApicMode,
    lot: Vec<u64>,
    now: Ticks,
    cpus: Vec<ModelCpu>,
    watched: u64,
    summoned: VecDeque<Landing>,
}

impl Model {
    pub(crate) fn new() -> Self {
        let cpus = (0..4).map(|_| ModelCpu::default()).collect();
        let summoned = VecDeque::new();
        Self { mode: ApicMode::XApic, lot: vec![0; LOT_WORDS], now: 1000, cpus, watched: 0, summoned }
    }

    fn index(&self, offset: u64) -> Result<usize, PlatformError> {
        let index = usize::try_from(offset / 8).ok().filter(|index| offset & 7 == 0 && *index < self.lot.len());
        index.ok_or(PlatformError::OutOfBounds { offset })
    }

    fn send(&mut self, target: ApicId) -> Result<Option<&mut ModelCpu>, PlatformError> {
        if self.mode == ApicMode::XApic && target > ApicId::XAPIC_MAX {
            return Err(PlatformError::IdTooWide { apic_id: target.0 });
        }
        Ok(self.cpus.get_mut(target.0 as usize))
    }
}

impl LotMemory for Model {
    fn len(&self) -> u64 {
        8 * self.lot.len() as u64
    }
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        let index = self.index(offset)?;
        Ok(self.lot[index])
    }
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        let index = self.index(offset)?;
        self.lot[index] = value;
        Ok(())
    }
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let found = self.load(offset)?;
        if found == current {
            self.store(offset, new)?;
        }
        Ok(found)
    }
}

impl Clock for Model {
    fn now(&mut self) -> Ticks {
        self.now += READ_TICKS;
        self.now
    }
    fn ticks_per_second(&self) -> u64 {
        TICKS_PER_SECOND
    }
}

impl IpiSender for Model {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        if let Some(cpu) = self.send(target)? {
            cpu.nmi_pending = 1;
        }
        Ok(())
    }
    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        panic!("a check takes no CPU away: INIT to {target}");
    }
    fn send_startup(&mut self, target: ApicId, _: u8) -> Result<(), PlatformError> {
        self.send(target).map(|_| ())
    }
}

impl Summon for Model {
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        self.summoned.push_back(Landing { apic_id: target, bay_index, interrupts: Interrupts::Off });
        Ok(())
    }
}

impl Platform for Model {
    fn executing(&mut self) -> ApicId {
        ApicId(0)
    }
    fn pause(&mut self) {
        self.now += PAUSE_TICKS;
        let word = self.lot[self.watched as usize / 8];
        for cpu in &mut self.cpus {
            if cpu.nmi_pending != 0 {
                cpu.nmi_saw = word;
                cpu.nmi_count += cpu.nmi_pending;
                cpu.nmi_pending = 0;
            }
        }
    }
    fn pass_us(&mut self, duration_us: u64) -> bool {
        self.now += duration_us * (TICKS_PER_SECOND / 1_000_000);
        true
    }
    fn now_on(&mut self, _: ApicId) -> Option<Ticks> {
        Some(self.now())
    }
    fn nmi_count(&mut self, cpu: ApicId) -> u64 {
        self.cpus[cpu.0 as usize].nmi_count
    }
    fn watch(&mut self, offset: u64) {
        self.watched = offset;
    }
    fn nmi_saw(&mut self, cpu: ApicId) -> u64 {
        self.cpus[cpu.0 as usize].nmi_saw
    }
    fn apic_mode(&mut self) -> ApicMode {
        self.mode
    }
    fn lot_memory_type(&mut self) -> MemoryType {
        MemoryType::WriteBack
    }
    fn lot_in_map(&mut self) -> MapEntry {
        MapEntry::Reserved
    }
    fn landed(&mut self) -> Option<Landing> {
        self.summoned.pop_front()
    }
}
