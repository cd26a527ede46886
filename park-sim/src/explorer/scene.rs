//! The stage of an exploration: a machine with two kernels, a lot and a parked CPU, as real code left it.

use super::config::{ApicState, Config, Do, ELSEWHERE, ENTRIES, MonitorLine, Start};
use super::elsewhere::{Place, Second, TAG_MAILBOX, TAG_SECOND, TAG_VECTOR, build_lot, mailbox, vector_entry};
use super::state::{BAD_ENTRY, Memory, NO_ENTRY};
use crate::machine::{Activity, CpuidRegs, Gpr, Machine, MachineConfig, PhysRange, Tag, Vendor};
use crate::world::{FrameKind, Kernel, ParkRequest, SanitiseStep, TAG_FIRST_KERNEL, TAG_LOT, World};
use crate::world::{KERNEL_LEN, WorldError, allow};
use park_core::lot::{Lot, Stage, bay, header};
use park_core::op::{Bay, Lease};
use park_core::{Entry, PhysAddr};
use park_x86::code::{BayLabels, bay_code, bay_labels};
use park_x86::frame::FRAME_LEN;

/// Index of the CPU on which the old lease holder's code runs.
pub(crate) const OLD: usize = 0;
/// Index of the CPU on which the new lease holder's code runs.
pub(crate) const NEW: usize = 1;
/// Index of the parked CPU; not the bootstrap processor.
pub(crate) const PARKED: usize = 2;
const CPUS: usize = 3;

/// Tags of the two kernels' memory.
pub(crate) const TAG_OLD: Tag = Tag(TAG_FIRST_KERNEL);
const TAG_NEW: Tag = Tag(TAG_FIRST_KERNEL + 1);
/// Linear address of the new kernel: another entry of the root than the old one's.
const NEW_KERNEL_BASE: u64 = 0xffff_8080_0000_0000;
/// PAUSE; JMP to it: what an entry executes.
const ENTRY_CODE: [u8; 4] = [0xf3, 0x90, 0xeb, 0xfc];
/// Bytes from one entry's code to the next.
const ENTRY_STRIDE: u64 = 16;
/// Bytes from one entry's stack to the next.
const ENTRY_STACK: u64 = 0x200;
/// Steps in which the CPU reaches the start of the exploration: far more than it takes.
const SETUP_STEPS: u64 = 100_000;
/// Bytes of an entry's stack that handlers on the way out use: an NMI inside a #MC inside the end of another, 72 and twice
/// 88 bytes, each aligned to 16.
const ENTRY_STACK_USED: u64 = 0x120;
/// Bytes of a handler's stack, of the CPU's own and of its witness, in the kernel that it arrives from.
const OWNER_STACK: u64 = 0x100;
const WITNESS_LEN: u64 = 0x40;
/// An address that is not canonical with either depth of paging.
const BAD_RIP: u64 = 0x8000_0000_0000_0000;
/// CPUID leaf whose EAX has the size of the smallest monitored line (Intel SDM vol. 2, "CPUID", leaf 05H).
const MONITOR_LEAF: u32 = 5;
const DOORBELL_LEN: u32 = 8;
/// A root with a reserved bit: bit 52 is above every physical address width.
const BAD_ROOT: u64 = 1 << 52;

/// What a planted fault may change before the CPU parks.
#[derive(Debug)]
pub struct Plant<'a> {
    /// All bytes of the lot as built: header, bay code, tables, bays.
    pub lot: &'a mut [u8],
    /// The lot's header, decoded.
    pub header: park_core::lot::Header,
    /// Where the parts of the bay code are, from its first byte.
    pub labels: BayLabels,
    /// The parked CPU's sanitising.
    pub steps: &'a mut Vec<SanitiseStep>,
}

impl Plant<'_> {
    /// The bay code.
    pub fn code(&mut self) -> &mut [u8] {
        let start = self.header.code_offset as usize;
        let end = start + self.header.code_len as usize;
        self.lot.get_mut(start..end).unwrap_or_default()
    }
}

/// The machine as the exploration begins, and where everything is.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) lot: Lot,
    pub(crate) lease: Lease,
    pub(crate) bay: Bay,
    /// Physical address of the bay.
    pub(crate) bay_phys: u64,
    /// Physical address of the bay code.
    pub(crate) code_phys: u64,
    pub(crate) code: Vec<u8>,
    pub(crate) entries: [Entry; ENTRIES + 1],
    /// Another lot.
    pub(crate) second: Option<Second>,
    /// Memory that changes; the bay first, then the lease word.
    pub(crate) regions: Vec<PhysRange>,
    /// What the lot and both kernels held at the beginning.
    original: Vec<(PhysRange, Vec<u8>)>,
}

impl Scene {
    /// Builds it; `plant` may change the lot and the steps before the CPU parks.
    pub(crate) fn build(config: &Config, plant: impl FnOnce(&mut Plant<'_>)) -> Result<Self, WorldError> {
        let mut world = World::boot(machine_config(config), config.levels, 1)?;
        build_lot(&mut world, config)?;
        let lot = world.lot()?;
        let mut steps = config.steps.clone();
        let mut bytes = vec![0; usize::try_from(lot.range.len).unwrap_or(0)];
        world.machine.read_phys(lot.range.start, &mut bytes);
        let header = *lot.lot.header();
        plant(&mut Plant { lot: &mut bytes, header, labels: bay_labels(), steps: &mut steps });
        world.machine.write_phys(lot.range.start, &bytes);

        let request = ParkRequest {
            cpu: PARKED,
            mechanism: config.mechanism,
            flags: config.flags,
            mwait_hint: config.mwait_hint,
            steps,
        };
        let bay = world.reserve(OLD, &request)?;
        world.begin_arrival(PARKED, bay, request.steps)?;
        let bay_phys = lot.range.start + bay.offset();
        let code_phys = lot.range.start + header::CODE_OFFSET;
        let from = match config.start {
            Start::Arrival => world.kernel.arrive(),
            Start::Wait => code_phys + u64::from(bay_labels().wait),
        };
        for _ in 0..SETUP_STEPS {
            if world.machine.cpu(PARKED).rip == from {
                break;
            }
            world.step(PARKED)?;
        }
        for cpu in 0..CPUS {
            world.machine.drain_all(cpu);
        }
        let arrived = world.machine.read_phys_u64(bay_phys + bay::STAGE) == Stage::Waiting as u64;
        if world.machine.cpu(PARKED).rip != from || (config.start == Start::Wait && !arrived) {
            return Err(WorldError::NotLanded { cpu: PARKED });
        }

        let other_lot = if config.reparks() { Some(Second::build(&mut world, config)?) } else { None };
        let second = second_kernel(&mut world, &lot.lot, config)?;
        let mut regions = vec![PhysRange::new(bay_phys, bay::LEN), PhysRange::new(lot.range.start + header::LEASE, 8)];
        if config.start == Start::Arrival {
            arrival_regions(&world.kernel, &mut regions);
        }
        let kernels = [&world.kernel, &world.kernel, &second, &second];
        if let Some(other) = &other_lot {
            regions.push(PhysRange::new(other.bay_phys, bay::LEN));
            regions.push(PhysRange::new(other.range.start + header::LEASE, 8));
        }
        if config.has_mailbox() {
            regions.push(mailbox());
        }
        let mut entries = [NOWHERE; ENTRIES + 1];
        entries[ENTRIES] = match &other_lot {
            Some(other) => other.entry(),
            None if config.has_mailbox() => vector_entry(&world.machine, &lot.lot, bay_phys),
            None => NOWHERE,
        };
        for (number, (place, kernel)) in entries.iter_mut().zip(kernels).enumerate() {
            *place = entry(&mut world.machine, kernel, number as u64);
            if takes(config, number as u8) {
                regions.push(PhysRange::new(kernel.phys(place.rsp - ENTRY_STACK_USED), ENTRY_STACK_USED));
            }
        }
        let mut machine = world.machine;
        machine.write_phys(bay_phys + bay::MC_ROW, &[config.mc_row]);
        if config.apic == ApicState::SoftOff {
            machine.cpu_mut(PARKED).apic.svr &= !crate::machine::apic::SVR_ENABLED;
        }
        machine.set_allowed(PARKED, if arrived { allow(&[TAG_LOT, TAG_MAILBOX]) } else { allow(&[TAG_LOT, TAG_OLD]) });
        for other in [OLD, NEW] {
            machine.set_allowed(other, u64::MAX);
        }
        machine.breaches.clear();
        machine.take_knobs_read();
        // The region behind the code is padding.
        let mut code = vec![0; bay_code().len()];
        machine.read_phys(code_phys, &mut code);
        let mut all = vec![lot.range, world.kernel.range, second.range];
        all.extend(other_lot.as_ref().map(|other| other.range));
        let original = all.into_iter().map(|range| (range, bytes_of(&machine, range))).collect();
        Ok(Self {
            original,
            second: other_lot,
            machine,
            lot: lot.lot,
            lease: lot.lease,
            bay,
            bay_phys,
            code_phys,
            code,
            entries,
            regions,
        })
    }

    /// What the CPU may touch: always the lot, and the memory of the kernel whose entry it has claimed, or that it
    /// comes from.
    pub(crate) fn allowed(memory: &Memory) -> u64 {
        if memory.moved {
            return allow(&[TAG_SECOND]);
        }
        let kernel = match memory.claimed {
            // Either there is no mailbox, or no second lot.
            ELSEWHERE => allow(&[TAG_OLD, TAG_SECOND, TAG_VECTOR]),
            NO_ENTRY if memory.home => 0,
            NO_ENTRY | BAD_ENTRY => allow(&[TAG_OLD]),
            entry if usize::from(entry) < ENTRIES / 2 => allow(&[TAG_OLD]),
            _ => allow(&[TAG_NEW]),
        };
        allow(&[TAG_LOT, TAG_MAILBOX]) | kernel
    }

    /// Whether `rip` is in the bay code, outside every handler: arriving, waiting, leaving.
    pub(crate) fn at_work(&self, rip: u64) -> bool {
        (self.code_phys..self.code_phys + u64::from(bay_labels().nmi_parked)).contains(&rip)
    }

    /// An entry whose root no CPU can load.
    pub(crate) fn bad_root(&self) -> Entry {
        Entry { cr3: PhysAddr(BAD_ROOT), ..self.entries[0] }
    }

    /// An entry whose RIP no CPU can jump to.
    pub(crate) fn bad_rip(&self) -> Entry {
        Entry { rip: BAD_RIP, ..self.entries[0] }
    }

    /// How many bytes of lot and kernels differ from the beginning, beside those that states hold.
    pub(crate) fn strays(&self) -> usize {
        let mut strays = 0;
        for (range, before) in &self.original {
            let now = bytes_of(&self.machine, *range);
            let changed = (range.start..).zip(before.iter().zip(&now)).filter(|(_, (before, now))| before != now);
            strays += changed.filter(|(phys, _)| !self.regions.iter().any(|region| region.contains(*phys))).count();
        }
        strays
    }

    /// Physical address of a word of the bay.
    pub(crate) const fn bay_word(&self, offset: u64) -> u64 {
        self.bay_phys + offset
    }

    /// What offsets of an operation count from.
    pub(crate) fn place(&self, place: Place) -> PhysRange {
        match (place, &self.second) {
            (Place::Second, Some(second)) => second.range,
            (Place::Mailbox, _) => mailbox(),
            _ => PhysRange::new(self.lot.header().self_phys.0, self.lot.header().total_len),
        }
    }
}

/// No address that a CPU can be at.
const NOWHERE: Entry = Entry { rip: u64::MAX, rsp: 0, cr3: PhysAddr(0), arg: 0 };

fn machine_config(config: &Config) -> MachineConfig {
    let mut machine = match config.vendor {
        Vendor::Intel => MachineConfig::intel(CPUS),
        Vendor::Amd => MachineConfig::amd(CPUS),
    };
    if config.monitor_line == MonitorLine::Doorbell {
        let line = machine.cpuid.get(MONITOR_LEAF, 0);
        machine.cpuid.set(MONITOR_LEAF, 0, CpuidRegs { eax: DOORBELL_LEN, ..line });
    }
    machine.store_buffer_depth = config.store_buffer_depth;
    machine.tlb = config.tlb;
    // The time-stamp counter stands still: bay code reads bits 63:32 only, an epoch of a second or two.
    machine.tsc_per_step = 0;
    for (knob, index) in config.pinned {
        // An index that does not exist leaves the first value.
        let _ = machine.knobs.set_index(*knob, *index);
    }
    machine
}

fn second_kernel(world: &mut World, lot: &Lot, config: &Config) -> Result<Kernel, WorldError> {
    let phys = world.kernel.range.start + KERNEL_LEN;
    let mut kernel = Kernel::load(&mut world.machine, phys, NEW_KERNEL_BASE, TAG_NEW, config.levels, CPUS)?;
    kernel.map_lot(&mut world.machine, lot)?;
    Ok(kernel)
}

/// An entry into `kernel`: all its registers differ from the other entries' of the same kernel, but for the root.
fn entry(machine: &mut Machine, kernel: &Kernel, number: u64) -> Entry {
    let rip = kernel.foreign_text() + ENTRY_STRIDE * number;
    machine.write_phys(kernel.phys(rip), &ENTRY_CODE);
    let rsp = kernel.stack_top(PARKED) - ENTRY_STACK * (number + 1);
    Entry { rip, rsp, cr3: PhysAddr(kernel.transit_root.unwrap_or(0)), arg: kernel.witness_address(PARKED) + number }
}

fn bytes_of(machine: &Machine, range: PhysRange) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.len).unwrap_or(0)];
    machine.read_phys(range.start, &mut bytes);
    bytes
}

/// Whether a holder of this configuration rings with this entry.
fn takes(config: &Config, number: u8) -> bool {
    let bad = number == 0;
    config.old.iter().chain(config.new).chain(config.third).any(|command| match command {
        Do::Wake(entry) => *entry == number,
        Do::WakeByBadRoot | Do::WakeToBadRip => bad,
        _ => false,
    })
}

/// What a CPU on its way in writes in its kernel: frame, stacks, witness.
fn arrival_regions(kernel: &Kernel, regions: &mut Vec<PhysRange>) {
    let top = kernel.stack_top(PARKED);
    let bottom = kernel.stack_top(PARKED - 1);
    for stack in [top, bottom + 0x800, bottom + 0x1000] {
        regions.push(PhysRange::new(kernel.phys(stack) - OWNER_STACK, OWNER_STACK));
    }
    let frame = kernel.placement(PARKED, FrameKind::Arrival).frame;
    regions.push(PhysRange::new(kernel.phys(frame), FRAME_LEN as u64));
    regions.push(PhysRange::new(kernel.phys(kernel.witness_address(PARKED)), WITNESS_LEN));
}

/// Whether the CPU stands at an entry, with every register as that entry says.
pub(crate) fn stands_at(machine: &Machine, entry: &Entry) -> bool {
    let cpu = machine.cpu(PARKED);
    cpu.activity == Activity::Running
        && cpu.rip == entry.rip
        && cpu.reg(Gpr::Rsp) == entry.rsp
        && (cpu.reg(Gpr::Rdi) == entry.arg || entry.arg == 0)
        && cpu.cr3 == entry.cr3.0
}
