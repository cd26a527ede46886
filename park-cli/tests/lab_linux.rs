//! `park lab linux-…`: its document, and kernels that it refuses.

mod schema;

use core::time::Duration;
use park_cli::lab::linux::document::{
    CellDocument, ChainDocument, KernelDocument, LinuxDocument, MailboxDocument, PackageDocument, SCHEMA,
};
use park_core::Mechanism;
use park_lab::linux::lot_memory::Kept;
use park_lab::linux::torture::{Came, Cell, Phase, Verdict};
use park_lab::linux::way::{Fired, Way};
use park_lab::linux::{chain, mailbox};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn package() -> PackageDocument {
    PackageDocument { name: "linux-image".to_owned(), version: "6.1".to_owned(), sha256: SHA256.to_owned() }
}

fn document() -> LinuxDocument {
    let cell = |way, fired, came| {
        let verdict =
            Verdict { cell: Cell { way, fired }, came, of: 2, beside: Some((1, 1)), took: Duration::from_millis(1500) };
        CellDocument::from(&verdict)
    };
    let kept = Kept { looks: 3, fixed_bytes: 4096, changed: 0 };
    let machine = mailbox::Verdict {
        cpus: 4,
        brought_up: "1 node, 4 CPUs".to_owned(),
        loaded: 4,
        inits_before: 12,
        inits_after: 0,
        kept: kept.clone(),
        refusal: None,
        took: Duration::ZERO,
    };
    let chain = chain::Verdict {
        chain: chain::LONG[1],
        up: 3,
        reserved: 3,
        found_via: "acpi".to_owned(),
        kept,
        sums: vec!["0x1".to_owned(), "0x1".to_owned()],
        handed_out: 2,
        woken: 2,
        lost: 0,
        refusal: Some("x".to_owned()),
        took: Duration::ZERO,
    };
    LinuxDocument {
        schema: SCHEMA,
        run: "1-2-0".to_owned(),
        qemu: "7.2.22".to_owned(),
        kernel: KernelDocument { release: "6.1".to_owned(), sha256: SHA256.to_owned(), package: Some(package()) },
        userland: vec![package()],
        passed: 1,
        failed: 2,
        torture: vec![
            cell(Way::Offline, Fired::Nmi, Came::ShutDown(Phase::Fired)),
            cell(Way::CrashMwait, Fired::Nothing, Came::ShutDown(Phase::Overwriting)),
            cell(Way::Lot(Mechanism::Hlt), Fired::McBroadcast, Came::Survivors(2)),
            cell(Way::Nosmt, Fired::Store, Came::Unmeasured { why: "x".to_owned() }),
        ],
        mailbox: vec![MailboxDocument::from(&machine)],
        chain: vec![ChainDocument::from(&chain)],
    }
}

#[test]
fn the_document_is_what_its_schema_promises() {
    let value = serde_json::to_value(document()).expect("a document");
    assert_eq!(schema::check(&value, "lab-linux"), "lab-linux");
    let nameless = LinuxDocument { kernel: KernelDocument { package: None, ..document().kernel }, ..document() };
    schema::check(&serde_json::to_value(nameless).expect("a document"), "a kernel of one's own");
    let passed: Vec<bool> = document().torture.iter().map(|cell| cell.passed).collect();
    assert_eq!(passed, [true, true, true, false]);
    assert!(document().mailbox.iter().all(|machine| machine.passed));
    assert!(!document().chain.iter().any(|chain| chain.passed));
}

/// A folder of its own, with a QEMU that only tells its version.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("park-lab-linux-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        fs::write(folder.join("image"), "no image").expect("a file");
        let qemu = folder.join("bin/qemu-system-x86_64");
        fs::write(&qemu, "#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n").expect("a file");
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("a program");
        Self(folder)
    }

    fn park(&self, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
        command.env("PATH", format!("{}:{path}", self.0.join("bin").display()));
        command.current_dir(&self.0).stdin(Stdio::null()).arg("lab").args(arguments);
        command.output().expect("the program runs")
    }

    /// What `park lab linux-torture` says of a kernel.
    fn refused(&self, kernel: &Path) -> String {
        let kernel = kernel.display().to_string();
        let output = self.park(&["linux-torture", "--image", "image", "--kernel", &kernel]);
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(&kernel), "{told}");
        told
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A folder for temporary files: what stays there harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The header of a bzImage with 64 KiB behind its setup, all of zeros (Documentation/arch/x86/boot.rst of Linux).
fn bzimage() -> Vec<u8> {
    let mut bytes = vec![0; 5 * 512 + 0x1_0000];
    bytes[0x1f1] = 4;
    bytes[0x1f4..0x1f8].copy_from_slice(&0x1000_u32.to_le_bytes());
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    bytes[0x236] = 1;
    bytes
}

#[test]
fn a_kernel_that_can_not_do_it_is_refused_with_the_cause() {
    let bench = Bench::new("kernel");
    let kernel = bench.0.join("vmlinuz-6.9");
    fs::write(&kernel, "\x7fELF").expect("a file");
    assert!(bench.refused(&kernel).contains("no bzImage"));
    let whole = bzimage();
    fs::write(&kernel, &whole[..whole.len() - 1]).expect("a file");
    assert!(bench.refused(&kernel).contains("cut off"));
    fs::write(&kernel, &whole).expect("a file");
    let configuration = "CONFIG_SMP=y\nCONFIG_ACPI=y\nCONFIG_HOTPLUG_CPU=y\n# CONFIG_KEXEC is not set\n";
    fs::write(bench.0.join("config-6.9"), configuration).expect("a file");
    assert!(bench.refused(&kernel).contains("CONFIG_KEXEC"));
    fs::write(bench.0.join("config-6.9"), "CONFIG_SMP=y\n").expect("a file");
    assert!(bench.refused(&kernel).contains("CONFIG_ACPI"));
}

#[test]
fn a_case_that_does_not_exist_and_options_of_trials_are_refused() {
    let bench = Bench::new("case");
    let told = |arguments: &[&str]| {
        let output = bench.park(arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(told(&["linux-torture", "--case", "linux-ofline/nmi"]).contains("linux-offline/nmi"));
    assert!(told(&["--rig", "qemu", "linux-mailbox"]).contains("linux-mailbox"));
}
