//! UEFI's boot services, while they run: how long its firmware takes to start a CPU.
//!
//! A multiboot2 loader leaves them running where the header says that the image can end them. [`prelude`] does, before anything
//! else of the image runs; if the bench is to run, it measures EFI_MP_SERVICES_PROTOCOL.StartupThisAP before (PI specification
//! 1.7, vol. 2, 13.4), so that firmware's way of waking a CPU and park's are measured in the same boot.

use core::arch::global_asm;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use park_core::PhysAddr;
use park_x86::registers::control::{Cr0, Efer};
use park_x86::registers::msr;
use r_efi::efi::{BootServices, Handle, Status, SystemTable};
use r_efi::protocols::mp_services;

use crate::choices::Test;
use crate::cmdline::Options;
use crate::cpu_tables::{CODE_SELECTOR, DATA, DATA_SELECTOR};
use crate::image::insn::read_tsc;
use crate::image::loader::identity_bytes;
use crate::memory::CPU_AREA_BYTES;
use crate::multiboot2::{self, BootInfo, FIXED_BYTES, Uefi};

/// 32-bit code, flat: present, DPL 0, execute/read, accessed, D = 1 (SDM vol. 3, figure 3-8).
const CODE32: u64 = 0x00cf_9b00_0000_ffff;

global_asm!(
    include_str!("uefi.s"),
    AREA_BYTES = const CPU_AREA_BYTES,
    CODE32 = const CODE32,
    DATA = const DATA,
    CODE_SELECTOR = const CODE_SELECTOR,
    DATA_SELECTOR = const DATA_SELECTOR,
    NOT_PG = const !Cr0::PG.bits() as u32,
    EFER = const msr::EFER,
    NOT_LME = const !Efer::LME.bits() as u32,
    prelude = sym prelude,
    options(att_syntax)
);

/// Starts of a CPU that are measured.
const STARTS: usize = 100;
/// Bytes of the longest memory map of firmware that is read; OVMF's has 5 KiB.
const MAP_BYTES: usize = 0x1_0000;
/// A memory map that changes between being read and boot services' end must be read again; nothing runs that changes it twice.
const EXIT_ATTEMPTS: u32 = 4;

/// One start of a CPU by firmware, in ticks of the TSC after the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    /// To the first instruction of the procedure.
    pub(crate) entry_ticks: u64,
    /// To the call's return.
    pub(crate) back_ticks: u64,
}

static ENTRY_TICKS: [AtomicU64; STARTS] = [const { AtomicU64::new(0) }; STARTS];
static BACK_TICKS: [AtomicU64; STARTS] = [const { AtomicU64::new(0) }; STARTS];
/// How many of them were measured.
static MEASURED: AtomicUsize = AtomicUsize::new(0);
/// When the procedure ran last.
static STAMP: AtomicU64 = AtomicU64::new(0);
/// What firmware writes its memory map into: GRUB leaves none of its own where boot services run.
static MAP: [AtomicU64; MAP_BYTES / 8] = [const { AtomicU64::new(0) }; MAP_BYTES / 8];
/// Bytes of the map, 0 unless boot services have ended, and of each descriptor.
static MAP_LEN: AtomicUsize = AtomicUsize::new(0);
static ENTRY_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The starts that were measured, in their order: none where no UEFI was, or another test runs.
pub(crate) fn starts() -> impl Iterator<Item = Start> {
    let measured = MEASURED.load(Ordering::Acquire);
    ENTRY_TICKS.iter().zip(&BACK_TICKS).take(measured).map(|(entry, back)| Start {
        entry_ticks: entry.load(Ordering::Acquire),
        back_ticks: back.load(Ordering::Acquire),
    })
}

/// Firmware's memory map, and the bytes of each descriptor; `None` unless boot services were running, and were ended.
pub(crate) fn memory_map() -> Option<(&'static [u8], usize)> {
    let len = MAP_LEN.load(Ordering::Acquire).min(MAP_BYTES);
    let start: *const u8 = MAP.as_ptr().cast();
    // SAFETY: `len` bytes of a static; firmware wrote them, and nobody does since boot services ended.
    (len != 0).then(|| (unsafe { core::slice::from_raw_parts(start, len) }, ENTRY_BYTES.load(Ordering::Acquire)))
}

/// Called by uefi.s with the loader's information, on firmware's stack; returns when boot services have ended.
///
/// Whatever is wrong with the information is left for the loader's part to say: it is read there once more.
extern "C" fn prelude(info: u64) {
    let Some((uefi, wants)) = read(PhysAddr(info)) else { return };
    // SAFETY: a multiboot2 loader hands over firmware's own table while boot services run (specification 2.0, 3.6.12 and 3.6.15).
    let table = unsafe { ptr::with_exposed_provenance_mut::<SystemTable>(uefi.system_table as usize).as_ref() };
    let Some(table) = table else { return };
    // SAFETY: as above; UEFI 2.10, 4.3: the table is there until boot services end.
    let Some(services) = (unsafe { table.boot_services.as_ref() }) else { return };
    if wants {
        measure(services);
    }
    end(services, ptr::with_exposed_provenance_mut(uefi.image_handle as usize));
}

/// What the loader says of UEFI, and whether the bench is to run.
fn read(at: PhysAddr) -> Option<(Uefi, bool)> {
    let fixed: &[u8; FIXED_BYTES] = identity_bytes(at, FIXED_BYTES)?.first_chunk()?;
    let info = BootInfo::parse(identity_bytes(at, multiboot2::total_bytes(fixed)?)?, at).ok()?;
    let wants = Options::parse(info.cmdline).is_ok_and(|options| options.test == Test::Bench);
    Some((info.uefi?, wants))
}

/// The procedure: runs on a started CPU.
extern "efiapi" fn stamp(_argument: *mut c_void) {
    STAMP.store(read_tsc(), Ordering::Release);
}

/// Starts the first other CPU again and again.
fn measure(services: &BootServices) {
    let mut found: *mut c_void = ptr::null_mut();
    let mut guid = mp_services::PROTOCOL_GUID;
    let status = (services.locate_protocol)(&raw mut guid, ptr::null_mut(), &raw mut found);
    let protocol: *mut mp_services::Protocol = found.cast();
    // SAFETY: found by the GUID of this protocol; UEFI keeps it until boot services end.
    let Some(services) = (unsafe { protocol.as_ref() }) else { return };
    if status.is_error() {
        return;
    }
    for (entry, back) in ENTRY_TICKS.iter().zip(&BACK_TICKS) {
        let start = read_tsc();
        let status = (services.startup_this_ap)(
            protocol,
            stamp,
            FIRST_OTHER,
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
        );
        let end = read_tsc();
        if status != Status::SUCCESS {
            return;
        }
        entry.store(STAMP.load(Ordering::Acquire).saturating_sub(start), Ordering::Release);
        back.store(end - start, Ordering::Release);
        MEASURED.fetch_add(1, Ordering::AcqRel);
    }
}

/// Firmware numbers its CPUs from 0, and the boot CPU is the first of OVMF's.
const FIRST_OTHER: usize = 1;

/// Ends boot services.
fn end(services: &BootServices, image: Handle) {
    for _ in 0..EXIT_ATTEMPTS {
        let (mut bytes, mut key, mut entry_bytes, mut version) = (MAP_BYTES, 0, 0, 0);
        let _ = (services.get_memory_map)(
            &raw mut bytes,
            MAP.as_ptr().cast_mut().cast(),
            &raw mut key,
            &raw mut entry_bytes,
            &raw mut version,
        );
        if (services.exit_boot_services)(image, key) == Status::SUCCESS {
            ENTRY_BYTES.store(entry_bytes, Ordering::Release);
            MAP_LEN.store(bytes, Ordering::Release);
            return;
        }
    }
}
