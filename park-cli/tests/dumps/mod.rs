//! Dumps to read: physical memory of a simulated machine, written as others write it.

use cpu_park::core::{CpuidResult, Mechanism};
use park_core::lot::{Command, Layout, PagingLevels};
use park_core::op::{Hold, Publish};
use park_sim::machine::{Event, EventKind, Knob, MachineConfig};
use park_sim::world::{DEFAULT_LOT, ParkRequest, World};

/// The lot's address.
pub(crate) const AT: u64 = DEFAULT_LOT.0;
/// Bays of the lot.
const BAYS: u32 = 8;
/// Width of the monitor line of the simulated machine, in bytes.
const MONITOR_LINE: u64 = 64;
/// Bytes of the lot.
pub(crate) const LOT_LEN: u64 = match Layout::new(BAYS, MONITOR_LINE) {
    Ok(layout) => layout.total_len(),
    Err(_) => 0,
};
/// Bytes after the lot that are dumped with it: room for another.
pub(crate) const AFTER: u64 = 0x20_0000;
/// Steps in which a machine settles.
const STEPS: u64 = 20_000;

/// Where a bay begins in the lot.
pub(crate) fn bay_offset(index: u64) -> u64 {
    let layout = Layout::new(BAYS, MONITOR_LINE).expect("a possible lot");
    layout.bay_offset() + index * layout.bay_stride
}

/// Pieces of physical memory, by address.
#[derive(Clone, Debug)]
pub(crate) struct Pieces(Vec<(u64, Vec<u8>)>);

impl Pieces {
    pub(crate) fn new(pieces: &[(u64, Vec<u8>)]) -> Self {
        Self(pieces.to_vec())
    }

    /// Everything from address 0 on.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (phys, piece) in &self.0 {
            bytes.resize(usize::try_from(*phys).expect("a small address"), 0);
            bytes.extend(piece);
        }
        bytes
    }

    fn piece_mut(&mut self, phys: u64, len: u64) -> &mut [u8] {
        let holds = |(start, bytes): &&mut (u64, Vec<u8>)| *start <= phys && phys + len <= *start + bytes.len() as u64;
        let (start, bytes) = self.0.iter_mut().find(holds).expect("memory there");
        let from = usize::try_from(phys - *start).expect("an offset");
        &mut bytes[from..from + usize::try_from(len).expect("a length")]
    }

    /// Flips the bits of `mask` in the byte at `phys`.
    pub(crate) fn flip(&mut self, phys: u64, mask: u8) {
        self.piece_mut(phys, 1)[0] ^= mask;
    }

    /// Overwrites memory.
    pub(crate) fn put(&mut self, phys: u64, bytes: &[u8]) {
        self.piece_mut(phys, bytes.len() as u64).copy_from_slice(bytes);
    }

    /// The same memory with a boundary at `phys`.
    pub(crate) fn split_at(&self, phys: u64) -> Self {
        let mut pieces = Vec::new();
        for (start, bytes) in &self.0 {
            match usize::try_from(phys.saturating_sub(*start)) {
                Ok(at) if at != 0 && at < bytes.len() => {
                    pieces.push((*start, bytes[..at].to_vec()));
                    pieces.push((phys, bytes[at..].to_vec()));
                }
                _ => pieces.push((*start, bytes.clone())),
            }
        }
        Self(pieces)
    }

    /// The same memory, with a part of it twice.
    pub(crate) fn doubled(&self, phys: u64, len: u64) -> Self {
        let mut pieces = self.clone();
        let again = pieces.piece_mut(phys, len).to_vec();
        pieces.0.push((phys, again));
        pieces
    }
}

/// How a core is written, right by default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    pub(crate) is_64_bit: bool,
    pub(crate) e_type: u16,
    pub(crate) machine: u16,
    pub(crate) p_type: u32,
    /// The number of program headers that the header tells.
    pub(crate) count: Option<u16>,
}

impl Default for Core {
    fn default() -> Self {
        // ET_CORE, EM_X86_64, PT_LOAD.
        Self { is_64_bit: true, e_type: 4, machine: 62, p_type: 1, count: None }
    }
}

impl Core {
    /// The file.
    pub(crate) fn bytes(&self, pieces: &Pieces) -> Vec<u8> {
        let count = pieces.0.len() as u16;
        let (header_len, entry_len): (u16, u16) = if self.is_64_bit { (64, 56) } else { (52, 32) };
        let mut out = b"\x7fELF".to_vec();
        out.extend([if self.is_64_bit { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(self.e_type.to_le_bytes());
        out.extend(self.machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        let word = |out: &mut Vec<u8>, value: u64| {
            let len = if self.is_64_bit { 8 } else { 4 };
            out.extend(&value.to_le_bytes()[..len]);
        };
        for value in [0, header_len.into(), 0] {
            word(&mut out, value);
        }
        out.extend(0u32.to_le_bytes());
        for value in [header_len, entry_len, self.count.unwrap_or(count), 0, 0, 0] {
            out.extend(value.to_le_bytes());
        }
        let mut file_offset = u64::from(header_len) + u64::from(entry_len) * u64::from(count);
        for (phys, bytes) in &pieces.0 {
            let len = bytes.len() as u64;
            out.extend(self.p_type.to_le_bytes());
            if self.is_64_bit {
                out.extend(0u32.to_le_bytes());
            }
            for value in [file_offset, 0, *phys, len, len] {
                word(&mut out, value);
            }
            if !self.is_64_bit {
                out.extend(0u32.to_le_bytes());
            }
            word(&mut out, 0);
            file_offset += len;
        }
        for (_, bytes) in &pieces.0 {
            out.extend(bytes);
        }
        out
    }
}

/// A machine's memory: a lot with CPUs that are parked, rung, held, faulted and parked by MWAIT, and three free bays.
pub(crate) fn scene() -> Pieces {
    let config = MachineConfig::amd(6);
    let cpuid = config.cpuid.clone();
    let machine = cpu_park::detect(|leaf, subleaf| -> CpuidResult {
        let regs = cpuid.get(leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    });
    let mut world = World::boot(config, PagingLevels::Four, 1).expect("a machine");
    world.build_lot(DEFAULT_LOT, BAYS).expect("a lot");
    let mut bays = Vec::new();
    for cpu in 1..=5 {
        let mechanism = if cpu == 5 { Mechanism::Mwait } else { Mechanism::Hlt };
        let orders = machine.orders(mechanism, u32::MAX).expect("orders");
        let request = ParkRequest::new(cpu, mechanism, orders.wait_flags, orders.mwait_hint, orders.steps());
        bays.push(world.park(0, request).expect("a parked CPU"));
    }
    // SMI handlers that end HLT.
    world.machine.knobs.set(Knob::AutoHalt, "clear").expect("a value of it");
    for (cpu, kind) in [
        (1, EventKind::Nmi),
        (1, EventKind::Nmi),
        (1, EventKind::MachineCheckLocal),
        (1, EventKind::Smi),
        (1, EventKind::Smi),
        (1, EventKind::Smi),
        (4, EventKind::MachineCheckFatal),
    ] {
        world.machine.inject(Event::at(cpu, kind));
        world.run(STEPS).expect("a machine that runs");
    }
    let entry = world.entry(2).expect("an entry");
    // A ring without its NMI: HLT does not end.
    world.drive(0, Publish::new(bays[1], Command::Wake, entry)).expect("a ticket");
    let timing = world.timing();
    world.drive(0, Hold::new(bays[2], timing)).expect("a held CPU");
    world.run(STEPS).expect("a machine that runs");
    let mut lot = vec![0; usize::try_from(LOT_LEN + AFTER).expect("a length")];
    world.machine.read_phys(AT, &mut lot);
    Pieces::new(&[(0x1000, vec![0x11; 0x8000]), (AT - 0x1000, vec![0x22; 0x1000]), (AT, lot)])
}

/// The lot alone.
pub(crate) fn lot_bytes(pieces: &Pieces) -> Vec<u8> {
    pieces.clone().piece_mut(AT, LOT_LEN).to_vec()
}
