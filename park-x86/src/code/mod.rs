//! The machine code of park, as bytes: bay code (a parked CPU's) and owner text (the owner's half of both ways).
//!
//! The assembler assembles it, Rust only looks at it: offsets of labels come from tables of label differences beside
//! the code, so nothing is relocated and nothing is typed twice.

mod assemble;

use core::mem;

/// Offsets of labels in the bay code, as `bay.s` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct BayLabels {
    /// Where a CPU enters from its owner's text.
    pub enter: u32,
    /// Where a CPU enters from another lot.
    pub repark: u32,
    /// 32 stubs of [`EXCEPTION_STUB_LEN`] bytes, by vector.
    pub exceptions: u32,
    /// NMI handler of the parked IDT.
    pub nmi_parked: u32,
    /// #MC handler of the parked IDT.
    pub mc_parked: u32,
    /// NMI handler of the arriving IDT.
    pub nmi_arriving: u32,
    /// #MC handler of the arriving IDT.
    pub mc_arriving: u32,
    /// NMI handler of the leaving IDT.
    pub nmi_leaving: u32,
    /// #MC handler of the leaving IDT.
    pub mc_leaving: u32,
    /// Restart point of the stage `Arriving`.
    pub home: u32,
    /// Restart point of the stage `Waiting`.
    pub wait: u32,
    /// Restart point of the stage `Leaving`.
    pub leave: u32,
    /// Where a faulted CPU stays.
    pub stopped: u32,
    /// What the NMI handler of the parked IDT does when it interrupts itself.
    pub nmi_nested: u32,
    /// What it does after that, and otherwise.
    pub nmi_first: u32,
    /// Where a CPU enters that an operating system gives back through the ACPI mailbox's reset vector. It ends where
    /// [`nmi_parked`](Self::nmi_parked) begins.
    pub reset: u32,
}

/// Offsets of labels in the owner text, as `owner.s` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct OwnerLabels {
    /// Where a sanitised CPU goes, with RDI = arrival frame. Never returns.
    pub arrive: u32,
    /// The `rip` of an [`Entry`](park_core::Entry) whose `arg` is a departure frame.
    pub depart: u32,
    /// 32 stubs of [`EXCEPTION_STUB_LEN`] bytes, by vector.
    pub exceptions: u32,
    /// NMI handler of the early table.
    pub nmi: u32,
    /// #MC handler of the early table.
    pub mc: u32,
}

/// Bytes from one exception stub to the next.
pub const EXCEPTION_STUB_LEN: u32 = 16;

/// The bay code, to be copied into a lot at [`CODE_OFFSET`](park_core::lot::header::CODE_OFFSET).
#[must_use]
pub fn bay_code() -> &'static [u8] {
    assemble::bay_code()
}

/// The labels of [`bay_code`].
#[must_use]
pub fn bay_labels() -> BayLabels {
    assemble::bay_labels()
}

/// The owner text. A kernel executes it where it is linked; a simulator copies it anywhere.
#[must_use]
pub fn owner_text() -> &'static [u8] {
    assemble::owner_text()
}

/// The labels of [`owner_text`].
#[must_use]
pub fn owner_labels() -> OwnerLabels {
    assemble::owner_labels()
}

const _: () = assert!(mem::size_of::<BayLabels>() == 16 * 4 && mem::size_of::<OwnerLabels>() == 5 * 4);

#[cfg(test)]
mod tests {
    use super::*;
    use park_core::lot::layout::CODE_LEN;

    #[test]
    fn bay_code_fits_its_region_and_labels_lie_inside() {
        let labels = bay_labels();
        let len = bay_code().len() as u32;
        assert!(u64::from(len) <= CODE_LEN, "{len} bytes");
        for label in [labels.enter, labels.repark, labels.nmi_parked, labels.mc_leaving, labels.stopped] {
            assert!(label < len);
        }
        assert_eq!(labels.enter, 0);
        assert!(labels.exceptions + 32 * EXCEPTION_STUB_LEN <= len);
    }

    #[test]
    fn every_exception_stub_pushes_its_vector() {
        for (code, first) in [(bay_code(), bay_labels().exceptions), (owner_text(), owner_labels().exceptions)] {
            for vector in 0..32u8 {
                let stub = &code[first as usize + usize::from(vector) * 16..][..16];
                let has_error_code = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
                // 6A ib = PUSH imm8 (Intel SDM vol. 2, PUSH).
                let expected: &[u8] = if has_error_code { &[0x6a, vector] } else { &[0x6a, 0, 0x6a, vector] };
                assert_eq!(&stub[..expected.len()], expected, "vector {vector}");
            }
        }
    }
}
