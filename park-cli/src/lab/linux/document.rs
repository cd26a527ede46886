//! The document of schema `park.lab-linux/1`.

use core::time::Duration;
use park_lab::linux::chain;
use park_lab::linux::debian::Package;
use park_lab::linux::kernel::Kernel;
use park_lab::linux::lot_memory::Kept;
use park_lab::linux::mailbox;
use park_lab::linux::torture::{Came, Phase, Verdict};
use park_lab::linux::way::{Expected, Way};
use serde::Serialize;

/// The document's schema.
pub const SCHEMA: &str = "park.lab-linux/1";

/// What stock Linux has shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LinuxDocument {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The run's name, unique.
    pub run: String,
    /// QEMU's version, in its own words.
    pub qemu: String,
    /// The kernel.
    pub kernel: KernelDocument,
    /// What runs in it, and where that is from.
    pub userland: Vec<PackageDocument>,
    /// How many came out as they must.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// Cells of the torture.
    pub torture: Vec<CellDocument>,
    /// Machines whose CPUs Linux took out of a lot.
    pub mailbox: Vec<MailboxDocument>,
    /// Lots that outlived kernels.
    pub chain: Vec<ChainDocument>,
}

/// A kernel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KernelDocument {
    /// Its release, as `uname -r` tells it.
    pub release: String,
    /// SHA-256 of the bzImage.
    pub sha256: String,
    /// Its package; `null` for a file that the caller named.
    pub package: Option<PackageDocument>,
}

/// A Debian package.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PackageDocument {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// A cell of the torture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CellDocument {
    /// `WAY/EVENT`.
    pub name: String,
    /// The way of parking.
    pub way: String,
    /// What it is.
    pub told: &'static str,
    /// Whose it is: `linux`, `park`.
    pub whose: &'static str,
    /// What was fired.
    pub event: &'static str,
    /// CPUs that were parked so, and fired at.
    pub cpus: u32,
    /// How many of them survived; `null` where nothing was measured.
    pub survivors: Option<u32>,
    /// CPUs of the other kind in the same kexec, and how many of them survived; `null` where the machine went down.
    pub beside: Option<BesideDocument>,
    /// What went down, and when: `nothing`, `overwriting`, `event`.
    pub down: &'static str,
    /// How it must come out: `survives`, `shuts-down`, `declared` (either may be), `falsified` (shuts down, by the emulator's fault).
    pub expected: &'static str,
    /// What is wrong with the emulator, where it falsifies the cell.
    pub falsified: Option<&'static str>,
    /// Whether it came out so.
    pub passed: bool,
    /// Why nothing was measured.
    pub why: Option<String>,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// CPUs of the other kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct BesideDocument {
    /// How many there were.
    pub cpus: u32,
    /// How many survived.
    pub survivors: u32,
}

/// Memory of a lot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MemoryDocument {
    /// How often it was looked at from outside.
    pub looks: usize,
    /// Bytes outside the bays and the lease word.
    pub fixed_bytes: usize,
    /// How many of those changed.
    pub changed_bytes: usize,
}

/// A machine whose CPUs Linux took.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MailboxDocument {
    /// CPUs of the machine.
    pub cpus: u64,
    /// What the kernel's log says of them.
    pub brought_up: String,
    /// CPUs that ran a load that was pinned to them.
    pub loaded: u64,
    /// INITs at other CPUs before Linux was entered.
    pub inits_before: u64,
    /// INITs after that.
    pub inits_after: u64,
    /// The lot's memory.
    pub memory: MemoryDocument,
    /// Whether it holds.
    pub passed: bool,
    /// Why nothing was measured.
    pub why: Option<String>,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// A lot that outlived kernels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ChainDocument {
    /// What was done.
    pub name: String,
    /// Linuxes, one after the other.
    pub linuxes: u32,
    /// Those that came up.
    pub up: u64,
    /// Those whose own maps reserve the lot.
    pub reserved: u64,
    /// How the image found the lot: `acpi` is by the PARK table.
    pub found_via: String,
    /// The lot's memory.
    pub memory: MemoryDocument,
    /// Checksums of it, by the image, before and after.
    pub sums: Vec<String>,
    /// CPUs that a Linux took.
    pub handed_out: u64,
    /// CPUs that the image woke.
    pub woken: u64,
    /// CPUs that did not answer.
    pub lost: u64,
    /// Whether it holds.
    pub passed: bool,
    /// Why nothing was measured.
    pub why: Option<String>,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

impl From<&Package> for PackageDocument {
    fn from(package: &Package) -> Self {
        let Package { name, version, sha256 } = package.clone();
        Self { name, version, sha256 }
    }
}

impl From<&Kernel> for KernelDocument {
    fn from(kernel: &Kernel) -> Self {
        let package = kernel.package.as_ref().map(PackageDocument::from);
        Self { release: kernel.release.clone(), sha256: kernel.sha256.clone(), package }
    }
}

impl From<&Verdict> for CellDocument {
    fn from(verdict: &Verdict) -> Self {
        let (way, fired) = (verdict.cell.way, verdict.cell.fired);
        let (survivors, down, why) = match &verdict.came {
            Came::Survivors(count) => (Some(*count), "nothing", None),
            // Whoever is left goes down with the machine.
            Came::ShutDown(Phase::Overwriting) => (Some(0), "overwriting", None),
            Came::ShutDown(Phase::Fired) => (Some(0), "event", None),
            Came::Unmeasured { why } => (None, "nothing", Some(why.clone())),
        };
        let (expected, falsified) = match way.expected(fired) {
            Expected::All => ("survives", None),
            Expected::ShutsDown => ("shuts-down", None),
            Expected::Declared => ("declared", None),
            Expected::Falsified(reason) => ("falsified", Some(reason)),
        };
        Self {
            name: verdict.cell.name(),
            way: way.name(),
            told: way.told(),
            whose: if matches!(way, Way::Lot(_)) { "park" } else { "linux" },
            event: fired.name(),
            cpus: verdict.of,
            survivors,
            beside: verdict.beside.map(|(survivors, cpus)| BesideDocument { cpus, survivors }),
            down,
            expected,
            falsified,
            passed: verdict.is_as_expected(),
            why,
            took_ms: milliseconds(verdict.took),
        }
    }
}

impl From<&Kept> for MemoryDocument {
    fn from(kept: &Kept) -> Self {
        Self { looks: kept.looks, fixed_bytes: kept.fixed_bytes, changed_bytes: kept.changed }
    }
}

impl From<&mailbox::Verdict> for MailboxDocument {
    fn from(verdict: &mailbox::Verdict) -> Self {
        Self {
            cpus: verdict.cpus,
            brought_up: verdict.brought_up.clone(),
            loaded: verdict.loaded,
            inits_before: verdict.inits_before,
            inits_after: verdict.inits_after,
            memory: (&verdict.kept).into(),
            passed: verdict.holds(),
            why: verdict.refusal.clone(),
            took_ms: milliseconds(verdict.took),
        }
    }
}

impl From<&chain::Verdict> for ChainDocument {
    fn from(verdict: &chain::Verdict) -> Self {
        Self {
            name: verdict.chain.name(),
            linuxes: verdict.chain.linuxes,
            up: verdict.up,
            reserved: verdict.reserved,
            found_via: verdict.found_via.clone(),
            memory: (&verdict.kept).into(),
            sums: verdict.sums.clone(),
            handed_out: verdict.handed_out,
            woken: verdict.woken,
            lost: verdict.lost,
            passed: verdict.holds(),
            why: verdict.refusal.clone(),
            took_ms: milliseconds(verdict.took),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
