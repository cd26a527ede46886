//! The frame: one KiB of the owner's memory that carries a CPU through the owner's half of arriving or of leaving.
//!
//! It holds what the owner text loads (a temporary GDT, an early IDT, control registers), and what its handlers count.
//! One frame per CPU; it must be mapped writable, at one linear address, by the owner's root *and* by the transit root.

use crate::code;
use crate::features::{FeatureSet, Features};
use crate::registers::control::Cr4;
use crate::state::{CR0_IN_LOT, CR4_IN_LOT};
use park_core::lot::Lot;
use park_core::lot::bay::CODE_SELECTOR;
use park_core::{Cpu, Error, ErrorKind, PhysAddr, Register};

/// Bytes of a frame.
pub const FRAME_LEN: usize = 0x400;
/// Frames are aligned to this, so that no field straddles a page.
pub const FRAME_ALIGN: usize = 0x400;
/// The largest CS selector of an owner: the temporary GDT has 32 descriptors.
pub const SELECTOR_MAX: u16 = 31 << 3;

/// CPUID has CET: IA32_S_CET exists.
pub const FLAG_CET: u64 = 1 << 0;
/// CR4.FRED is set.
pub const FLAG_FRED: u64 = 1 << 1;
/// CPUID has MCA: IA32_MCG_STATUS exists.
pub const FLAG_MCA: u64 = 1 << 2;

/// Offsets of the fields.
pub(crate) mod offset {
    pub(crate) const BAY: u32 = 0x00;
    pub(crate) const ENTER: u32 = 0x08;
    pub(crate) const CR3: u32 = 0x10;
    pub(crate) const CR4_NO_FRED: u32 = 0x18;
    pub(crate) const CR4: u32 = 0x20;
    pub(crate) const CR0: u32 = 0x28;
    pub(crate) const FLAGS: u32 = 0x30;
    pub(crate) const RIP: u32 = 0x38;
    pub(crate) const RSP: u32 = 0x40;
    pub(crate) const ARG: u32 = 0x48;
    pub(crate) const CS: u32 = 0x50;
    pub(crate) const SS: u32 = 0x52;
    pub(crate) const TR: u32 = 0x54;
    pub(crate) const NMI_COUNT: u32 = 0x58;
    pub(crate) const MC_COUNT: u32 = 0x5c;
    pub(crate) const MCG_STATUS: u32 = 0x60;
    pub(crate) const FAULT_RIP: u32 = 0x68;
    pub(crate) const FAULT: u32 = 0x70;
    pub(crate) const FAULT_CR2: u32 = 0x78;
    pub(crate) const EARLY_IDTR: u32 = 0x80;
    pub(crate) const TEMPORARY_GDTR: u32 = 0x90;
    pub(crate) const FINAL_GDTR: u32 = 0xa0;
    pub(crate) const FINAL_IDTR: u32 = 0xb0;
    pub(crate) const TEMPORARY_GDT: u32 = 0x100;
    pub(crate) const EARLY_IDT: u32 = 0x200;
}

/// Descriptor of a 64-bit code segment, CPL 0, accessed (Intel SDM vol. 3, "Segment Descriptors").
///
/// Accessed is set beforehand: a CPU that loads it does not write to the GDT.
pub const CODE64_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
/// Type of a present 64-bit interrupt gate, DPL 0 (Intel SDM vol. 3, "64-Bit Mode IDT").
const INTERRUPT_GATE: u64 = 0x8e;
/// Bytes of an IDT of 32 gates.
pub(crate) const IDT_LEN: u64 = 32 * 16;

/// The two words of a 64-bit interrupt gate; `ist` is 0 to 7.
#[must_use]
pub(crate) const fn gate(handler: u64, selector: u16, ist: u8) -> [u64; 2] {
    [
        handler & 0xffff
            | (selector as u64) << 16
            | (ist as u64) << 32
            | INTERRUPT_GATE << 40
            | (handler >> 16 & 0xffff) << 48,
        handler >> 32,
    ]
}

/// A pseudo-descriptor for LGDT and LIDT: 10 bytes in two words.
#[must_use]
pub(crate) const fn pseudo_descriptor(base: u64, len: u64) -> [u64; 2] {
    [(len - 1) & 0xffff | base << 16, base >> 48]
}

/// Where a frame and the owner text are mapped. Both ways use the same placement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Placement {
    /// Linear address of the frame, a multiple of [`FRAME_ALIGN`].
    pub frame: u64,
    /// Linear address of [`owner_text`](crate::code::owner_text).
    pub text: u64,
    /// The owner's CS selector: a 64-bit code segment of its GDT (TI = 0), at most [`SELECTOR_MAX`].
    pub cs: u16,
}

/// What a CPU needs to arrive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Arrival {
    /// Physical address of the bay.
    pub bay: PhysAddr,
    /// Physical address of `bay_enter`.
    pub enter: PhysAddr,
    /// The transit root.
    pub transit_root: PhysAddr,
    /// CR4 as it is, with FRED cleared: loaded first.
    pub cr4_without_fred: u64,
    /// CR4 as it is in the lot.
    pub cr4: u64,
    /// CR0 as it is in the lot.
    pub cr0: u64,
    /// [`FLAG_CET`], [`FLAG_FRED`], [`FLAG_MCA`].
    pub flags: u64,
}

/// What a CPU needs to become its new owner's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Departure {
    /// The owner's own root; it maps the owner text and the frame where the transit root does.
    pub root: PhysAddr,
    /// The owner's GDT: linear address and bytes. Its CS selector is `Placement::cs`.
    pub gdt: (u64, u16),
    /// The owner's IDT: linear address and bytes.
    pub idt: (u64, u16),
    /// Selector for SS, DS and ES; 0 is legal.
    pub ss: u16,
    /// Selector of the CPU's TSS, marked available before it is loaded; 0 for none.
    pub tr: u16,
    /// CR0 of the owner.
    pub cr0: u64,
    /// CR4 of the owner.
    pub cr4: u64,
    /// Linear address of the top of the CPU's stack, 16-byte aligned. `rip` finds a zero return address on it, so that it
    /// may be a compiled `extern "C"` function.
    pub rsp: u64,
    /// Where to go.
    pub rip: u64,
    /// Handed over in RDI.
    pub arg: u64,
}

/// What the handlers of a frame's early table counted and recorded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrameEvents {
    /// NMIs.
    pub nmi_count: u32,
    /// Machine checks.
    pub mc_count: u32,
    /// Vector of the exception that stopped the CPU in the owner text, 0 if none did.
    pub fault_vector: u32,
    /// RIP of that exception.
    pub fault_rip: u64,
}

impl Arrival {
    /// What the executing CPU needs to arrive in the bay with this index, by way of `transit_root`.
    ///
    /// In the lot CR4 is PAE and MCE, with LA57 as it is: everything else could reach into the owner's memory (CET, FRED,
    /// PKS), fault on identity mappings (LASS), or keep translations alive (PGE, PCIDE).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`] for an index out of range; [`ErrorKind::Platform`].
    pub fn for_cpu<C: Cpu + ?Sized>(
        cpu: &mut C,
        features: &Features,
        lot: &Lot,
        bay_index: u32,
        transit_root: PhysAddr,
    ) -> Result<Self, Error> {
        let offset = lot.bay(bay_index)?;
        let now = Cr4::from_bits_retain(cpu.read(Register::Cr4)?);
        let cr4 = CR4_IN_LOT | (now & Cr4::LA57);
        let mut flags = 0;
        for (flag, due) in [
            (FLAG_CET, features.has(FeatureSet::CET)),
            (FLAG_FRED, now.contains(Cr4::FRED)),
            (FLAG_MCA, features.has(FeatureSet::MCA)),
        ] {
            if due {
                flags |= flag;
            }
        }
        Ok(Self {
            bay: PhysAddr(lot.header().self_phys.0 + offset),
            enter: lot.header().enter(),
            transit_root,
            cr4_without_fred: (now - Cr4::FRED).bits(),
            cr4: cr4.bits(),
            cr0: CR0_IN_LOT.bits(),
            flags,
        })
    }

    /// Writes the arrival frame that will lie at `placement.frame` into `frame`.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for a selector in an LDT, null or too large; [`ErrorKind::InvalidAddress`] for an
    /// unaligned frame.
    pub fn write(&self, placement: &Placement, frame: &mut [u8; FRAME_LEN]) -> Result<(), Error> {
        prepare(placement, frame)?;
        put(frame, offset::BAY, self.bay.0);
        put(frame, offset::ENTER, self.enter.0);
        put(frame, offset::CR3, self.transit_root.0);
        put(frame, offset::CR4_NO_FRED, self.cr4_without_fred);
        put(frame, offset::CR4, self.cr4);
        put(frame, offset::CR0, self.cr0);
        put(frame, offset::FLAGS, self.flags);
        Ok(())
    }
}

impl Departure {
    /// Writes the departure frame that will lie at `placement.frame` into `frame`.
    ///
    /// # Errors
    /// As [`Arrival::write`].
    pub fn write(&self, placement: &Placement, frame: &mut [u8; FRAME_LEN]) -> Result<(), Error> {
        prepare(placement, frame)?;
        put(frame, offset::CR3, self.root.0);
        put(frame, offset::CR4, self.cr4);
        put(frame, offset::CR0, self.cr0);
        put(frame, offset::RIP, self.rip);
        put(frame, offset::RSP, self.rsp);
        put(frame, offset::ARG, self.arg);
        put(frame, offset::CS, u64::from(placement.cs) | u64::from(self.ss) << 16 | u64::from(self.tr) << 32);
        put_pair(frame, offset::FINAL_GDTR, pseudo_descriptor(self.gdt.0, self.gdt.1.into()));
        put_pair(frame, offset::FINAL_IDTR, pseudo_descriptor(self.idt.0, self.idt.1.into()));
        Ok(())
    }
}

/// Reads what the handlers left in `frame`.
#[must_use]
pub fn events(frame: &[u8; FRAME_LEN]) -> FrameEvents {
    let counts = get(frame, offset::NMI_COUNT);
    FrameEvents {
        nmi_count: counts as u32,
        mc_count: (counts >> 32) as u32,
        fault_vector: (get(frame, offset::FAULT) >> 32) as u32,
        fault_rip: get(frame, offset::FAULT_RIP),
    }
}

/// Clears a frame and writes the parts that both ways share: temporary GDT and early IDT.
fn prepare(placement: &Placement, frame: &mut [u8; FRAME_LEN]) -> Result<(), Error> {
    let Placement { frame: linear, text, cs } = *placement;
    if linear % FRAME_ALIGN as u64 != 0 {
        return Err(Error::new(ErrorKind::InvalidAddress, "the frame is not 1024-byte aligned").found(linear));
    }
    // Bits 2:0 are TI and RPL: TI = 1 names the LDT, which the lot does not have.
    if cs & 7 != 0 || cs == 0 || cs > SELECTOR_MAX {
        return Err(Error::new(
            ErrorKind::NotSupported,
            "the CS selector must be a GDT one, of RPL 0, from 08h to F8h",
        )
        .found(cs.into()));
    }
    frame.fill(0);
    for selector in [CODE_SELECTOR, cs] {
        put(frame, offset::TEMPORARY_GDT + u32::from(selector), CODE64_DESCRIPTOR);
    }
    let gdt_len = u64::from(SELECTOR_MAX) + 8;
    put_pair(frame, offset::TEMPORARY_GDTR, pseudo_descriptor(linear + u64::from(offset::TEMPORARY_GDT), gdt_len));
    put_pair(frame, offset::EARLY_IDTR, pseudo_descriptor(linear + u64::from(offset::EARLY_IDT), IDT_LEN));
    let labels = code::owner_labels();
    for vector in 0..32 {
        let handler = match vector {
            2 => labels.nmi,
            18 => labels.mc,
            _ => labels.exceptions + vector * code::EXCEPTION_STUB_LEN,
        };
        put_pair(frame, offset::EARLY_IDT + 16 * vector, gate(text + u64::from(handler), cs, 0));
    }
    Ok(())
}

fn put(frame: &mut [u8; FRAME_LEN], offset: u32, value: u64) {
    if let Some(field) = frame.get_mut(offset as usize..offset as usize + 8) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn put_pair(frame: &mut [u8; FRAME_LEN], offset: u32, pair: [u64; 2]) {
    put(frame, offset, pair[0]);
    put(frame, offset + 8, pair[1]);
}

fn get(frame: &[u8; FRAME_LEN], offset: u32) -> u64 {
    let mut bytes = [0; 8];
    if let Some(field) = frame.get(offset as usize..offset as usize + 8) {
        bytes.copy_from_slice(field);
    }
    u64::from_le_bytes(bytes)
}
