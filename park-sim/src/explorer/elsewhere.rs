//! Where a parked CPU can go beside a kernel: another lot, or the vector in the ACPI mailbox.

use super::config::{Config, Do, Post};
use super::scene::{OLD, PARKED, TAG_OLD};
use crate::machine::{Machine, PhysRange, Tag};
use crate::platform::Loader;
use crate::world::{DEFAULT_LOT, LotInWorld, ParkRequest, TAG_LOT, World, WorldError};
use park_core::lot::{Layout, Lot, bay, header};
use park_core::op::{Bay, Lease, Operation, Reply, Step};
use park_core::{Entry, Error, ErrorKind, PhysAddr, Ticks};
use park_x86::builder::{LotParameters, build};
use park_x86::code::bay_labels;
use park_x86::paging::{Mapping, PageTables, Permission};

/// Where the second lot lies, and the transit root that maps both.
const SECOND_LOT: PhysAddr = PhysAddr(0x0140_0000);
const TRANSIT: PhysRange = PhysRange::new(0x0180_0000, 16 * 0x1000);
/// The mailbox, in memory that firmware keeps, and where the operating system wants its CPUs.
const MAILBOX: PhysRange = PhysRange::new(0x6000, 0x1000);
const VECTOR: PhysRange = PhysRange::new(0xa000, 0x1000);
/// Tags of the second lot, of the mailbox and of the vector's page.
pub(crate) const TAG_SECOND: Tag = Tag(21);
pub(crate) const TAG_MAILBOX: Tag = Tag(22);
pub(crate) const TAG_VECTOR: Tag = Tag(23);
/// The widest line that MONITOR watches on the simulated machines, in bytes.
const MONITOR_LINE: u64 = 64;
/// Bytes of the mailbox that command, id and vector take (ACPI 6.4, "Multiprocessor Wakeup Structure").
const MAILBOX_LEN: u64 = 16;
/// PAUSE; JMP to it.
const VECTOR_CODE: [u8; 4] = [0xf3, 0x90, 0xeb, 0xfc];

/// Another lot, with a bay for the parked CPU.
#[derive(Clone, Debug)]
pub(crate) struct Second {
    pub(crate) range: PhysRange,
    pub(crate) lot: Lot,
    pub(crate) lease: Lease,
    pub(crate) bay: Bay,
    pub(crate) bay_phys: u64,
    pub(crate) code_phys: u64,
    pub(crate) transit: PhysAddr,
}

impl Second {
    /// Builds it, and reserves the bay.
    pub(crate) fn build(world: &mut World, config: &Config) -> Result<Self, WorldError> {
        let first = world.lot()?;
        let layout = Layout::new(1, MONITOR_LINE)?;
        let range = PhysRange::new(SECOND_LOT.0, layout.total_len());
        let parameters = LotParameters { phys: SECOND_LOT, layout, lot_id: [3, 4], encryption_mask: 0, mailbox: None };
        let lot = build(&mut Loader { machine: &mut world.machine, range }, &parameters)?;
        world.machine.set_tag(range, TAG_LOT);
        let lease = Lease::first(lot);
        let transit = transit_root(world, &[first.lot, lot])?;
        world.lot = Some(LotInWorld { range, lot, lease });
        let steps = Vec::new();
        let (mechanism, flags, mwait_hint) = (config.mechanism, config.flags, config.mwait_hint);
        let bay = world.reserve(OLD, &ParkRequest { cpu: PARKED, mechanism, flags, mwait_hint, steps })?;
        world.lot = Some(first);
        world.machine.set_tag(range, TAG_SECOND);
        let (bay_phys, code_phys) = (range.start + bay.offset(), range.start + header::CODE_OFFSET);
        Ok(Self { range, lot, lease, bay, bay_phys, code_phys, transit })
    }

    /// Where a Repark leads.
    pub(crate) fn entry(&self) -> Entry {
        let rip = self.code_phys + u64::from(bay_labels().repark);
        Entry { rip, rsp: self.bay_phys + bay::FAULT_STACK_TOP, cr3: self.transit, arg: self.bay_phys }
    }
}

fn transit_root(world: &mut World, lots: &[Lot]) -> Result<PhysAddr, WorldError> {
    // A leaving CPU may touch what is its kernel's; so the transit root is.
    world.machine.set_tag(TRANSIT, TAG_OLD);
    let mut memory = Loader { machine: &mut world.machine, range: TRANSIT };
    let mut tables = PageTables::new(&mut memory, 0, PhysAddr(TRANSIT.start), TRANSIT.len / 0x1000, 0)?;
    let root = tables.table()?;
    for lot in lots {
        let header = lot.header();
        let tables_offset = u64::from(header.tables_offset);
        for (start, end, permission) in [
            (0, header::CODE_OFFSET, Permission::Read),
            (header::CODE_OFFSET, tables_offset, Permission::ReadExecute),
            (tables_offset, header.bay_offset, Permission::Read),
            (header.bay_offset, header.total_len, Permission::ReadWrite),
        ] {
            tables.map(root, &Mapping::identity(PhysAddr(header.self_phys.0 + start), end - start, permission))?;
        }
    }
    Ok(PhysAddr(tables.cr3(root)))
}

/// Builds the lot of a scene: with a mailbox, if the configuration has one.
pub(crate) fn build_lot(world: &mut World, config: &Config) -> Result<(), WorldError> {
    if !config.has_mailbox() {
        return world.build_lot(DEFAULT_LOT, 1);
    }
    let layout = Layout::new(1, MONITOR_LINE)?;
    let range = PhysRange::new(DEFAULT_LOT.0, layout.total_len());
    let mailbox = Some(PhysAddr(MAILBOX.start));
    let parameters = LotParameters { phys: DEFAULT_LOT, layout, lot_id: [1, 2], encryption_mask: 0, mailbox };
    let lot = build(&mut Loader { machine: &mut world.machine, range }, &parameters)?;
    world.machine.set_tag(range, TAG_LOT);
    world.machine.set_tag(MAILBOX, TAG_MAILBOX);
    world.machine.set_tag(VECTOR, TAG_VECTOR);
    world.machine.write_phys(MAILBOX.start, &[0; MAILBOX_LEN as usize]);
    world.machine.write_phys(VECTOR.start, &VECTOR_CODE);
    world.kernel.map_lot(&mut world.machine, &lot)?;
    world.lot = Some(LotInWorld { range, lot, lease: Lease::first(lot) });
    Ok(())
}

/// The memory of the mailbox that changes.
pub(crate) const fn mailbox() -> PhysRange {
    PhysRange::new(MAILBOX.start, MAILBOX_LEN)
}

/// Where a Wakeup leads: on the departure map, with the bay's stack; no register is promised.
pub(crate) fn vector_entry(machine: &Machine, lot: &Lot, bay_phys: u64) -> Entry {
    let root = machine.read_phys_u64(lot.header().self_phys.0 + header::DEPARTURE_ROOT4);
    Entry { rip: VECTOR.start, rsp: bay_phys + bay::FAULT_STACK_TOP, cr3: PhysAddr(root), arg: 0 }
}

/// An operating system at the mailbox; offsets count from the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Letter {
    post: Post,
    apic_id: u32,
    state: u8,
    deadline: Ticks,
}

/// Commands (ACPI 6.4, "Multiprocessor Wakeup Structure"), and one that no version has yet.
const WAKEUP: u64 = 1;
const TEST: u64 = 2;
const UNKNOWN: u64 = 0x77;
/// Offset of the vector.
const AT_VECTOR: u64 = 8;
/// First bit of the id in the word that begins with the command.
const ID_SHIFT: u32 = 32;
/// An address above what the departure map has.
const FAR: u64 = 1 << 32;

impl Letter {
    pub(crate) const fn new(post: Post, apic_id: u32, deadline: Ticks) -> Self {
        Self { post, apic_id, state: 0, deadline }
    }

    const fn word(&self) -> u64 {
        let command = match self.post {
            Post::Wakeup | Post::ToAnother | Post::TooFar => WAKEUP,
            Post::Test => TEST,
            Post::Unknown => UNKNOWN,
        };
        let id = if matches!(self.post, Post::ToAnother) { self.apic_id + 1 } else { self.apic_id };
        (id as u64) << ID_SHIFT | command
    }
}

impl Operation for Letter {
    type Output = ();

    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<(), Error>> {
        let state = self.state;
        self.state += 1;
        match (state, reply) {
            (0, _) => {
                let value = if self.post == Post::TooFar { FAR } else { VECTOR.start };
                Step::Store { offset: AT_VECTOR, value }
            }
            // The command comes last.
            (1, _) => Step::Store { offset: 0, value: self.word() >> ID_SHIFT << ID_SHIFT },
            (2, _) => Step::Store { offset: 0, value: self.word() },
            (3, _) => Step::Load { offset: 0 },
            (4, Reply::Value(found)) => {
                let mine = matches!(self.post, Post::Wakeup | Post::Test);
                match (found == self.word(), mine) {
                    (false, true) => Step::Done(Ok(())),
                    (false, false) => {
                        Step::Done(Err(Error::new(ErrorKind::TooLate, "the CPU took what is not for it")))
                    }
                    (true, _) if now < self.deadline => {
                        self.state = 3;
                        Step::Wait { until: self.deadline }
                    }
                    (true, true) => Step::Done(Err(Error::new(ErrorKind::Revoked, "the CPU did not come"))),
                    (true, false) => Step::Done(Ok(())),
                }
            }
            _ => Step::Done(Err(Error::new(ErrorKind::Platform, "the mailbox can't be reached"))),
        }
    }
}

/// Whose memory a command's operation works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Lot,
    Second,
    Mailbox,
}

impl Place {
    pub(crate) const fn of(command: Option<Do>) -> Self {
        match command {
            Some(Do::AwaitSecond | Do::ConfirmSecond) => Self::Second,
            Some(Do::Mailbox(_)) => Self::Mailbox,
            _ => Self::Lot,
        }
    }
}
