//! What a multiboot2 loader (GRUB, or kexec) hands over: a list of tags.
//!
//! Source: Multiboot2 specification, version 2.0, section 3.6 "Boot information format". Parsing takes bytes and trusts
//! no length among them.

use core::fmt;

use park_core::PhysAddr;

use crate::pvh::{MEMORY_TYPE_RAM, MemoryRange};

/// EAX at the entry (section 3.3).
pub const BOOT_MAGIC: u32 = 0x36d7_6289;
/// Bytes of the fixed part: the total length and a reserved word.
pub const FIXED_BYTES: usize = 8;
/// Longer boot information is taken for damaged.
pub const TOTAL_BYTES_MAX: u32 = 1 << 20;

/// Every tag begins with type and length, 4 bytes each, and is followed by padding to a multiple of 8.
const TAG_HEADER_BYTES: usize = 8;
const TAG_ALIGN_BYTES: usize = 8;
const TAG_END: u32 = 0;
const TAG_CMDLINE: u32 = 1;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_FRAMEBUFFER: u32 = 8;
/// EFI system tables, 32-bit and 64-bit: there is firmware without text mode.
const TAG_EFI32: u32 = 11;
const TAG_EFI64: u32 = 12;
/// In the framebuffer's tag: address, width and height, and the type, which says whether they count characters.
const FRAMEBUFFER_ADDRESS: usize = 8;
const FRAMEBUFFER_WIDTH: usize = 20;
const FRAMEBUFFER_HEIGHT: usize = 24;
const FRAMEBUFFER_TYPE: usize = 29;
const FRAMEBUFFER_EGA_TEXT: u8 = 2;
/// Boot services were not ended; EFI image handle, 64-bit.
const TAG_EFI_BOOT_SERVICES: u32 = 18;
const TAG_EFI64_IMAGE: u32 = 20;
const TAG_RSDP_OLD: u32 = 14;
const TAG_RSDP_NEW: u32 = 15;
/// In the memory map's tag: the length of an entry, and where the entries begin.
const MAP_ENTRY_LEN: usize = 8;
const MAP_ENTRIES: usize = 16;
/// The shortest entry that holds address, length and type.
const MAP_ENTRY_BYTES_MIN: usize = 20;

/// The tags that the image uses, each still as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootInfo<'a> {
    /// The command line without its zero; empty if the loader has none.
    pub cmdline: &'a [u8],
    /// The physical address of the loader's copy of the RSDP, the newer one if there are two.
    pub rsdp: Option<PhysAddr>,
    /// The screen, if it is in text mode.
    pub text_screen: Option<TextScreen>,
    /// UEFI, if its boot services still run.
    pub uefi: Option<Uefi>,
    map: &'a [u8],
    map_entry_bytes: usize,
}

/// What ends UEFI's boot services.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Uefi {
    /// The address of the EFI system table.
    pub system_table: u64,
    /// The loader's image handle, which is the image's as well.
    pub image_handle: u64,
}

/// A screen in text mode: two bytes for each character, row by row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TextScreen {
    /// Where the first character lies.
    pub at: PhysAddr,
    /// Characters of a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

impl TextScreen {
    /// What a BIOS leaves: VGA mode 3 (IBM VGA, mode 03h).
    pub const VGA: Self = Self { at: PhysAddr(0xb_8000), columns: 80, rows: 25 };

    /// The screen of a framebuffer tag, if it is in text mode.
    fn of_tag(tag: &[u8]) -> Option<Self> {
        let is_text = tag.get(FRAMEBUFFER_TYPE) == Some(&FRAMEBUFFER_EGA_TEXT);
        let (columns, rows) = (u32_at(tag, FRAMEBUFFER_WIDTH)?, u32_at(tag, FRAMEBUFFER_HEIGHT)?);
        // No text mode is as large; zero rows or columns are no screen.
        let is_sane = (1..=255).contains(&columns) && (1..=255).contains(&rows);
        (is_text && is_sane).then_some(Self { at: PhysAddr(u64_at(tag, FRAMEBUFFER_ADDRESS)?), columns, rows })
    }
}

/// Why boot information was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Multiboot2Error {
    /// A tag that is shorter than its header or runs out of the boot information.
    BadTag {
        /// Its offset, in bytes.
        offset: usize,
    },
    /// There is no memory map, or its entries are too short.
    NoMemoryMap,
}

impl fmt::Display for Multiboot2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadTag { offset } => write!(f, "the multiboot2 tag at byte {offset} has a wrong length"),
            Self::NoMemoryMap => f.write_str("the multiboot2 loader left no memory map"),
        }
    }
}

impl core::error::Error for Multiboot2Error {}

/// The total length that the fixed part states, `None` if it can't be right.
#[must_use]
pub fn total_bytes(fixed: &[u8; FIXED_BYTES]) -> Option<usize> {
    let total = u32_at(fixed, 0)?;
    (FIXED_BYTES as u32..=TOTAL_BYTES_MAX).contains(&total).then_some(total as usize)
}

/// The words for the image in a command line's tag. GRUB gives these alone; kexec-tools gives the path of the image before
/// them (kexec/arch/i386/kexec-multiboot2-x86.c, 2.0.25), and no word of ours has a slash before its `=`.
fn arguments(payload: &[u8]) -> &[u8] {
    let text = payload.split(|&byte| byte == 0).next().unwrap_or_default();
    let word = text.split(|&byte| byte == b' ').next().unwrap_or_default();
    if word.contains(&b'/') && !word.contains(&b'=') { text.get(word.len()..).unwrap_or_default() } else { text }
}

impl<'a> BootInfo<'a> {
    /// Parses boot information of [`total_bytes`] bytes that lies at `at`.
    ///
    /// # Errors
    /// [`Multiboot2Error`] if a tag has a wrong length, or there is no memory map.
    pub fn parse(bytes: &'a [u8], at: PhysAddr) -> Result<Self, Multiboot2Error> {
        let mut found = Self {
            cmdline: &[],
            rsdp: None,
            text_screen: Some(TextScreen::VGA),
            uefi: None,
            map: &[],
            map_entry_bytes: 0,
        };
        let (mut has_new_rsdp, mut is_efi, mut has_services) = (false, false, false);
        let (mut system_table, mut image_handle) = (None, None);
        let mut offset = FIXED_BYTES;
        while offset < bytes.len() {
            let bad = Multiboot2Error::BadTag { offset };
            let rest = bytes.get(offset..).ok_or(bad)?;
            let (kind, len) = (u32_at(rest, 0).ok_or(bad)?, u32_at(rest, 4).ok_or(bad)? as usize);
            let tag = rest.get(..len).filter(|tag| tag.len() >= TAG_HEADER_BYTES).ok_or(bad)?;
            let payload = tag.get(TAG_HEADER_BYTES..).unwrap_or_default();
            match kind {
                TAG_END => break,
                TAG_CMDLINE => found.cmdline = arguments(payload),
                TAG_MEMORY_MAP => {
                    found.map_entry_bytes = u32_at(tag, MAP_ENTRY_LEN).unwrap_or(0) as usize;
                    found.map = tag.get(MAP_ENTRIES..).unwrap_or_default();
                }
                TAG_RSDP_NEW | TAG_RSDP_OLD if !has_new_rsdp => {
                    found.rsdp = at.checked_add((offset + TAG_HEADER_BYTES) as u64);
                    has_new_rsdp = kind == TAG_RSDP_NEW;
                }
                TAG_FRAMEBUFFER => found.text_screen = TextScreen::of_tag(tag),
                TAG_EFI32 => is_efi = true,
                TAG_EFI64 => {
                    is_efi = true;
                    system_table = u64_at(tag, TAG_HEADER_BYTES);
                }
                TAG_EFI64_IMAGE => image_handle = u64_at(tag, TAG_HEADER_BYTES),
                TAG_EFI_BOOT_SERVICES => has_services = true,
                _ => {}
            }
            offset = offset.saturating_add(len.next_multiple_of(TAG_ALIGN_BYTES));
        }
        // UEFI leaves no text mode: at VGA's address there may be anything.
        if is_efi {
            found.text_screen = None;
        }
        if let (true, Some(system_table), Some(image_handle)) = (has_services, system_table, image_handle) {
            found.uefi = Some(Uefi { system_table, image_handle });
        }
        // GRUB leaves no map where firmware may still change it.
        if found.uefi.is_none() && found.map_entry_bytes < MAP_ENTRY_BYTES_MIN {
            Err(Multiboot2Error::NoMemoryMap)
        } else {
            Ok(found)
        }
    }

    /// The memory map; types are those of e820, as in PVH's. A last entry that is cut off is left out.
    pub fn memory_ranges(&self) -> impl Iterator<Item = MemoryRange> + Clone + 'a {
        self.map.chunks_exact(self.map_entry_bytes.max(1)).filter_map(|entry| {
            Some(MemoryRange {
                start: PhysAddr(u64_at(entry, 0)?),
                len_bytes: u64_at(entry, 8)?,
                kind: u32_at(entry, 16)?,
            })
        })
    }
}

/// 4 bytes, little endian.
fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// 8 bytes, little endian.
fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

const _: () = assert!(MEMORY_TYPE_RAM == 1, "multiboot2 and PVH call usable memory the same");

#[cfg(test)]
mod tests {
    use super::*;

    const AT: PhysAddr = PhysAddr(0x1_0000);

    fn info(tags: &[(u32, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_BYTES];
        for (kind, payload) in tags {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&(payload.len() as u32 + 8).to_le_bytes());
            bytes.extend_from_slice(payload);
            bytes.resize(bytes.len().next_multiple_of(TAG_ALIGN_BYTES), 0xee);
        }
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes
    }

    fn map(entry_bytes: u32, entries: &[(u64, u64, u32)]) -> Vec<u8> {
        let mut payload = [entry_bytes.to_le_bytes(), 0_u32.to_le_bytes()].concat();
        for (start, len, kind) in entries {
            let mut entry = [&start.to_le_bytes()[..], &len.to_le_bytes(), &kind.to_le_bytes()].concat();
            entry.resize(entry_bytes as usize, 0);
            payload.extend(entry);
        }
        payload
    }

    #[test]
    fn tags_are_found_in_any_order_and_unknown_ones_are_passed_over() {
        let map = map(24, &[(0x1000, 0x2000, 1), (0x10_0000, 0x30_0000, 2)]);
        let bytes =
            info(&[(15, b"RSD PTR new"), (99, b"?"), (14, b"RSD PTR old"), (6, &map), (1, b"t=smp\0"), (0, b"")]);
        let parsed = BootInfo::parse(&bytes, AT).unwrap();
        assert_eq!((parsed.cmdline, parsed.rsdp), (&b"t=smp"[..], Some(PhysAddr(AT.0 + 16))));
        let ranges: Vec<_> = parsed.memory_ranges().collect();
        assert_eq!(ranges[1], MemoryRange { start: PhysAddr(0x10_0000), len_bytes: 0x30_0000, kind: 2 });
        assert_eq!(ranges.len(), 2);
    }

    #[test]
    fn the_path_that_kexec_passes_is_no_word_of_the_image() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"/boot/park-metal t=smp cpus=2\0", b" t=smp cpus=2"),
            (b"./park-metal\0", b""),
            (b"t=smp case=hlt/nmi\0", b"t=smp case=hlt/nmi"),
            (b"case=hlt/nmi\0", b"case=hlt/nmi"),
            (b"", b""),
        ];
        for (payload, expected) in cases {
            assert_eq!(arguments(payload), expected);
        }
    }

    #[test]
    fn the_screen_is_the_tags_or_vgas_and_uefi_has_none() {
        let map = map(24, &[(0x1000, 0x2000, 1)]);
        let screen = |tags: &[(u32, &[u8])]| {
            let tags: Vec<_> = [(6, &map[..])].into_iter().chain(tags.iter().copied()).collect();
            BootInfo::parse(&info(&tags), AT).unwrap().text_screen
        };
        let framebuffer = |columns: u32, kind: u8| {
            let words = [columns, 50, 0].map(u32::to_le_bytes).concat();
            // Address, pitch, width, height, bits per pixel and type.
            [&0xb_0000_u64.to_le_bytes()[..], &[0; 4], &words[..8], &[16, kind, 0, 0]].concat()
        };
        assert_eq!(screen(&[]), Some(TextScreen::VGA));
        let wide = TextScreen { at: PhysAddr(0xb_0000), columns: 132, rows: 50 };
        assert_eq!(screen(&[(8, &framebuffer(132, 2))]), Some(wide));
        // Pixels, no columns, cut off.
        assert_eq!(screen(&[(8, &framebuffer(132, 1))]), None);
        assert_eq!(screen(&[(8, &framebuffer(0, 2))]), None);
        assert_eq!(screen(&[(8, &framebuffer(132, 2)[..20])]), None);
        assert_eq!(screen(&[(12, &[0; 8])]), None);
    }

    #[test]
    fn boot_services_run_only_where_all_three_tags_say_so() {
        let (table, image) = (0x1234_5678_9abc_u64.to_le_bytes(), 0x42_u64.to_le_bytes());
        let tags: [(u32, &[u8]); 3] = [(12, &table), (20, &image), (18, b"")];
        let uefi = Some(Uefi { system_table: 0x1234_5678_9abc, image_handle: 0x42 });
        // And then there need be no memory map.
        assert_eq!(BootInfo::parse(&info(&tags), AT).map(|info| info.uefi), Ok(uefi));
        for missing in 0..tags.len() {
            let rest: Vec<_> =
                tags.iter().enumerate().filter(|(index, _)| *index != missing).map(|(_, tag)| *tag).collect();
            assert_eq!(BootInfo::parse(&info(&rest), AT), Err(Multiboot2Error::NoMemoryMap), "{missing}");
        }
    }

    #[test]
    fn lengths_are_not_trusted() {
        let map = map(24, &[(0x1000, 0x2000, 1)]);
        let whole = info(&[(6, &map), (1, b"x\0"), (0, b"")]);
        for len in [0_u32, 7, 0x1000, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[12..16].copy_from_slice(&len.to_le_bytes());
            assert_eq!(BootInfo::parse(&bytes, AT), Err(Multiboot2Error::BadTag { offset: 8 }), "{len}");
        }
        for end in FIXED_BYTES + 1..whole.len() {
            // Cut off anywhere: an error, or the tags that were whole.
            if let Ok(parsed) = BootInfo::parse(&whole[..end], AT) {
                assert_eq!(parsed.memory_ranges().count(), 1);
            }
        }
        assert_eq!(BootInfo::parse(&info(&[(1, b"x\0")]), AT), Err(Multiboot2Error::NoMemoryMap));
        assert_eq!(BootInfo::parse(&info(&[(6, &super::tests::map(19, &[]))]), AT), Err(Multiboot2Error::NoMemoryMap));
    }

    #[test]
    fn an_absurd_total_is_none() {
        assert_eq!(total_bytes(&[8, 0, 0, 0, 0, 0, 0, 0]), Some(8));
        assert_eq!(total_bytes(&[7, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(total_bytes(&[0, 0, 0, 0x80, 0, 0, 0, 0]), None);
    }
}
