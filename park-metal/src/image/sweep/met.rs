//! What a CPU was about to execute when it took an NMI.
//!
//! Nothing of park records that, and nothing has to: the CPU pushed it. Each of the stacks that an NMI can come on during
//! a step is used by nothing that overwrites the frame before it is read.

use core::fmt::{self, Write};

use park_core::lot::{bay, header};
use park_core::{LotMemory, Mechanism, PlatformError};
use park_x86::{arrive, code};

use crate::cpu_tables::Ist;
use crate::image::area::{Area, SweepStack};
use crate::image::parking::Parked;
use crate::image::serial;
use crate::memory::IMAGE;
use crate::platform::Owner;
use crate::report::Value;

/// Whether the NMI goes to a CPU that arrives or to one that leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// It arrives.
    In,
    /// It leaves.
    Out,
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Where an NMI met a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Before it arrived, or after it had left.
    Image,
    /// At this offset of park's owner text.
    OwnerText(u64),
    /// At this offset of the bay code.
    BayCode(u64),
    /// Nowhere: it was held, since GIF = 0, until the CPU left.
    Held,
    /// It merged with the one that began the departure: the CPU had not taken that yet.
    Merged,
    /// More NMIs were needed, and which is which can't be told.
    Unclear,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("image"),
            Self::OwnerText(offset) => write!(f, "owner+{offset:#x}"),
            Self::BayCode(offset) => write!(f, "bay+{offset:#x}"),
            Self::Held => f.write_str("held"),
            Self::Merged => f.write_str("merged"),
            Self::Unclear => f.write_str("unclear"),
        }
    }
}

/// An interrupt's frame below the RSP that it came at: SS, RSP, RFLAGS, CS, RIP (Intel SDM vol. 3, "64-Bit Mode Stack
/// Frame"). The CPU rounds RSP down to a multiple of 16 first.
const RIP_BELOW: u64 = 40;
/// Where RIP is if one or two words had been pushed.
const RIP_BELOW_PUSHES: u64 = RIP_BELOW + 16;

/// Forgets the frames of earlier NMIs.
///
/// # Safety
/// The CPU is in its job loop, or in its bay, and no NMI is on its way to it.
pub(super) unsafe fn forget(owner: &Owner, parked: &Parked) -> Result<(), PlatformError> {
    let area = Area::of(parked.cpu);
    for stack in SweepStack::ALL {
        let top = area.sweep_stack_top(stack);
        for below in [RIP_BELOW, RIP_BELOW_PUSHES] {
            // SAFETY: the caller's promise: the CPU is in no handler, and on none of these stacks.
            unsafe { area.clear_below(top, below) };
        }
    }
    // SAFETY: as above.
    unsafe { area.clear_below(area.ist_stack_top(Ist::Nmi), RIP_BELOW) };
    owner.platform.memory().store(parked.bay.offset() + bay::NMI_STACK_TOP - RIP_BELOW, 0)
}

/// Where the last NMI met the CPU, by the frame that it left on the stack that was in use last. NMIs that met it in its
/// bay came before those that met it outside, or the other way round on the way in, where there is but one.
pub(super) fn place(owner: &Owner, parked: &Parked) -> Result<Place, PlatformError> {
    let area = Area::of(parked.cpu);
    let rip = area.read_below(area.ist_stack_top(Ist::Nmi), RIP_BELOW);
    if rip != 0 {
        return Ok(named(owner, rip));
    }
    // The last one first.
    for stack in SweepStack::ALL.into_iter().rev() {
        let top = area.sweep_stack_top(stack);
        let (upper, lower) = (area.read_below(top, RIP_BELOW), area.read_below(top, RIP_BELOW_PUSHES));
        // With one or two words pushed, the upper is RFLAGS, whose value is small; code lies above 1 MiB.
        let rip = if upper >= IMAGE.start.0 { upper } else { lower };
        if upper != 0 {
            return Ok(named(owner, rip));
        }
    }
    let rip = owner.platform.memory().load(parked.bay.offset() + bay::NMI_STACK_TOP - RIP_BELOW)?;
    Ok(if rip == 0 { Place::Held } else { named(owner, rip) })
}

fn named(owner: &Owner, rip: u64) -> Place {
    let bay_code = owner.lease.lot().header().self_phys.0 + header::CODE_OFFSET;
    let within = |start: u64, code: &[u8]| rip.checked_sub(start).filter(|offset| *offset < code.len() as u64);
    if let Some(offset) = within(arrive::owner_text_address(), code::owner_text()) {
        Place::OwnerText(offset)
    } else if let Some(offset) = within(bay_code, code::bay_code()) {
        Place::BayCode(offset)
    } else {
        Place::Image
    }
}

/// Bytes of places in one line: as many as fit beside the rest.
const PLACES_BYTES: usize = 384;
/// The longest place with its count: `owner+0x1234*4294967295` and a comma.
const PLACE_BYTES_MAX: usize = 24;

/// Where the NMIs of the steps of one way met the CPU: one after the other in lines `met`, `PLACE` or `PLACE*TIMES` each.
pub(super) struct Met {
    mechanism: Mechanism,
    way: Way,
    /// The place of the last steps, and how many there were.
    last: Option<(Place, u32)>,
    places: [u8; PLACES_BYTES],
    len: usize,
    pub(super) in_image: u64,
    pub(super) in_owner_text: u64,
    pub(super) in_bay_code: u64,
}

impl Met {
    pub(super) const fn new(mechanism: Mechanism, way: Way) -> Self {
        let places = [0; PLACES_BYTES];
        Self { mechanism, way, last: None, places, len: 0, in_image: 0, in_owner_text: 0, in_bay_code: 0 }
    }

    /// Adds the next step.
    pub(super) fn add(&mut self, place: Place) {
        match place {
            Place::Image => self.in_image += 1,
            Place::OwnerText(_) => self.in_owner_text += 1,
            Place::BayCode(_) => self.in_bay_code += 1,
            Place::Held | Place::Merged | Place::Unclear => {}
        }
        match &mut self.last {
            Some((last, times)) if *last == place => *times += 1,
            _ => {
                self.write_last();
                self.last = Some((place, 1));
            }
        }
    }

    /// Reports what has not been reported yet.
    pub(super) fn end(&mut self) {
        self.write_last();
        self.emit();
    }

    fn write_last(&mut self) {
        let Some((place, times)) = self.last.take() else { return };
        if self.len + PLACE_BYTES_MAX > PLACES_BYTES {
            self.emit();
        }
        let comma = if self.len == 0 { "" } else { "," };
        // Room for the longest is left.
        let _ = match times {
            1 => write!(self, "{comma}{place}"),
            _ => write!(self, "{comma}{place}*{times}"),
        };
    }

    fn emit(&mut self) {
        let places = self.places.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok());
        let fields = [
            ("mechanism", Value::Text(self.mechanism.name())),
            ("way", Value::Text(self.way.name())),
            ("at", Value::Text(places.unwrap_or_default())),
        ];
        serial::emit("met", &fields);
        self.len = 0;
    }
}

impl Write for Met {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.places.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
