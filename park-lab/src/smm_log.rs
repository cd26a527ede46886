//! QEMU's log of SMM, switched on while the machine runs: all registers of a CPU that enters SMM, and again when it has left.
//!
//! It tells at which CPU an SMI was taken: firmware keeps SMM to itself, and a parked CPU can't read its own count.

use core::ops::Range;
use std::collections::VecDeque;
use std::fs;
use std::io;

use std::path::Path;

use crate::LabError;
use crate::deadline::Deadline;
use crate::qmp::Qmp;

/// The file, in the folder of a run, where QEMU runs.
pub const LOG: &str = "smm.log";
/// How a line begins that says which CPU's registers follow (QEMU 7.2, target/i386/tcg/sysemu/smm_helper.c): of one that enters
/// SMM, and of one that has left it.
const SMM: &str = "SMM: ";
/// What the line of an interrupt or exception holds, whose registers follow as well (target/i386/tcg/seg_helper.c).
const INTERRUPT: &str = ": v=";
/// Registers that such a line stands before: in 64-bit mode, and in the others.
const INSTRUCTION_POINTERS: [&str; 2] = ["RIP=", "EIP="];

/// Switches the log on.
///
/// # Errors
/// As [`Qmp::monitor`].
pub fn begin(qmp: &mut Qmp, deadline: Deadline) -> Result<(), LabError> {
    qmp.monitor(&format!("logfile {LOG}"), deadline)?;
    qmp.monitor("log int", deadline).map(drop)
}

/// How often, by the log in `folder`, CPUs have entered SMM that executed in `region`.
///
/// # Errors
/// [`LabError::File`] if the log can't be read. That there is none yet means that no CPU did.
pub fn read(folder: &Path, region: &Range<u64>) -> Result<u64, LabError> {
    let path = folder.join(LOG);
    match fs::read(&path) {
        Ok(bytes) => Ok(entries(&String::from_utf8_lossy(&bytes), region)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(LabError::file(&path)(error)),
    }
}

/// The same by the log's text, or its beginning.
///
/// CPUs write at the same time, each line and each set of registers as a whole: sets come in the order of the lines but for
/// neighbours, so a CPU is counted when it enters and when it has left, and halved.
#[must_use]
pub fn entries(text: &str, region: &Range<u64>) -> u64 {
    let (mut announced, mut seen) = (VecDeque::new(), 0_u64);
    for line in text.lines() {
        if line.starts_with(SMM) || line.contains(INTERRUPT) {
            announced.push_back(line.starts_with(SMM));
            continue;
        }
        let digits = INSTRUCTION_POINTERS.iter().find_map(|name| line.strip_prefix(name)?.split(' ').next());
        let Some(address) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else { continue };
        let of_smm = announced.pop_front().unwrap_or(false);
        seen += u64::from(of_smm && region.contains(&address));
    }
    seen.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOT: Range<u64> = 0x1f2_0000..0x202_0000;
    const ENTERS: &str = "SMM: enter\n";
    const LEFT: &str = "SMM: after RSM\n";
    const PARKED: &str = "RAX=1 RBX=2\nRIP=0000000001f21112 RFL=00000093 [--S-A-C] CPL=0 SMM=0 HLT=0\nCR0=80050033\n";
    const RUNNING: &str = "RAX=1 RBX=2\nRIP=00000000001562f9 RFL=00000046 [---Z-P-] CPL=0 SMM=0 HLT=0\nCR0=80050033\n";
    const STARTED: &str = "EAX=1 EBX=2\nEIP=0000fff0 EFL=00000002 [-------] CPL=0 SMM=0 HLT=0\nCR0=60000010\n";
    const NMI: &str =
        "Servicing hardware INT=0x02\n     0: v=02 e=0000 i=0 cpl=0 IP=0008:0000000001f21112 pc=0000000001f21112\n";

    #[test]
    fn cpus_elsewhere_and_interrupts_do_not_count() {
        assert_eq!(entries("", &LOT), 0);
        assert_eq!(entries(&[ENTERS, RUNNING, ENTERS, PARKED, LEFT, RUNNING, LEFT, PARKED].concat(), &LOT), 1);
        assert_eq!(entries(&[NMI, PARKED, NMI, PARKED, ENTERS, STARTED, LEFT, STARTED].concat(), &LOT), 0);
        let twice = [ENTERS, PARKED, NMI, RUNNING, LEFT, PARKED, ENTERS, PARKED].concat();
        assert_eq!(entries(&twice, &LOT), 2);
    }

    #[test]
    fn lines_of_two_cpus_may_stand_before_the_registers_of_both() {
        let mixed = [ENTERS, ENTERS, RUNNING, PARKED, LEFT, LEFT, PARKED, RUNNING].concat();
        assert_eq!(entries(&mixed, &LOT), 1);
        // One that is cut off.
        assert_eq!(entries(&[ENTERS, "RAX=1\nRIP=0000000001f2"].concat(), &LOT), 0);
    }

    #[test]
    fn no_log_is_no_entry() {
        assert_eq!(read(Path::new("/nonexistent"), &LOT).unwrap(), 0);
    }
}
