//! Faults of the bay code in the lot.

use super::Fault;
use crate::faults::{Change, Code, Edit, Leg, Owner, Setting, Style, Throw, WayIn, With};
use crate::machine::{Knob, Vendor};
use park_core::Mechanism::{Clgi, Hlt, Mwait};
use park_core::lot::{Command, WaitFlags};

const fn bay(from: &'static str, find: &'static str, skip: usize, with: With) -> Change {
    Change::Code(Edit { code: Code::Bay, from, find, skip, with })
}

const fn intel(mechanism: park_core::Mechanism) -> Setting {
    Setting::new(Vendor::Intel, mechanism)
}

const AMD_CLGI: Setting = Setting::new(Vendor::Amd, Clgi);

/// An immediate that nothing it is compared with has.
const NEVER: u8 = 0x7f;

pub(super) const FAULTS: &[Fault] = &[
    // The claim.
    Fault::new(
        "claim-without-lock",
        "the claim is a compare-and-exchange without LOCK: its store waits in the store buffer while the ticket is revoked",
        &[bay("wait", "lock cmpxchg", 0, With::Byte { index: 0, value: 0x90 })],
        intel(Hlt).revoke(60),
    ),
    Fault::new(
        "claim-before-stgi",
        "with Clgi the claim comes before STGI: a held event hits after the claim, and GIF is 0 at the landing",
        &[bay("wait", "cmp byte ptr [rbx+41h],3", 1, With::Byte { index: 3, value: NEVER })],
        AMD_CLGI,
    ),
    Fault::new(
        "clgi-claims-without-looking-again",
        "after STGI the doorbell is not looked at again: a ticket revoked meanwhile is claimed",
        // CMP AH, AH; NOP: always equal.
        &[bay("wait", "cmp ah,1", 1, With::Bytes(&[0x38, 0xe4, 0x90]))],
        AMD_CLGI.revoke(60),
    ),
    Fault::new(
        "claimed-is-forgotten",
        "after a restart a claimed doorbell is not recognised: the command is never carried out",
        &[bay("wait", "cmp ah,2", 0, With::Byte { index: 2, value: NEVER })],
        intel(Hlt).throw(&[Throw::Nmi]),
    ),
    // Waiting.
    Fault::new(
        "no-recheck-after-monitor",
        "no look at the doorbell between MONITOR and MWAIT: a ring just before MONITOR is slept through",
        &[bay("wait", "jne short", 0, With::Nops)],
        intel(Mwait).ring(Style::Store).throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "clgi-no-recheck-after-monitor",
        "the same in the wait with GIF = 0",
        &[bay("wait", "jne short", 1, With::Nops)],
        AMD_CLGI.flags(WaitFlags::MONITOR).ring(Style::Store).throw(&[Throw::FalseWake]),
    ),
    Fault::new(
        "nmi-returns-into-the-wait",
        "the NMI handler returns to what it interrupted: an NMI between the look at the doorbell and HLT is lost",
        &[bay("nmi_parked", "jb short", 0, With::Nops), bay("nmi_parked", "jae short", 0, With::Nops)],
        intel(Hlt).ring(Style::OneKick).slow(3).seeds(8).throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "hlt-trusts-its-wake",
        "behind HLT the doorbell is not looked at: an NMI that ends HLT without being handled wakes nobody",
        // JMP to the HLT before it.
        &[bay("wait", "jmp short", 0, With::Bytes(&[0xeb, 0xfd]))],
        intel(Hlt).knobs(&[(Knob::NmiApicSoftOff, "wake-only")]),
    ),
    Fault::new(
        "no-monitor",
        "MWAIT without MONITOR: what the owner's idle loop armed is long gone, and MWAIT does not wait",
        &[bay("wait", "monitor", 0, With::Nops)],
        intel(Mwait),
    )
    .owner(&[Owner::Monitor]),
    Fault::new(
        "mwait-trusts-its-wake",
        "behind MWAIT neither MONITOR nor the doorbell comes again: an SMI ends an MWAIT that nobody rang for",
        // JMP to the MWAIT before it.
        &[bay("wait", "jmp short", 1, With::Bytes(&[0xeb, 0xfb]))],
        intel(Mwait).knobs(&[(Knob::MonitorAcrossSmm, "disarmed")]).ring(Style::Store).throw(&[Throw::Smi]),
    ),
    Fault::new(
        "no-clflush-before-monitor",
        "the doorbell line is not flushed before MONITOR on parts with erratum AAI65",
        &[bay("wait", "clflush", 0, With::Nops)],
        intel(Mwait).flags(WaitFlags::CLFLUSH).knobs(&[(Knob::MonitorStale, "yes")]).ring(Style::Store),
    ),
    Fault::new(
        "clgi-after-the-acknowledgement",
        "no CLGI before the acknowledgement: an acknowledged CPU takes an NMI",
        &[bay("home", "clgi", 0, With::Nops)],
        AMD_CLGI.throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "clgi-once-only",
        "no CLGI after a command that returns: the CPU waits on with GIF = 1",
        &[bay("wait", "clgi", 0, With::Nops)],
        AMD_CLGI.before(&[Command::Confirm]),
    ),
    Fault::new(
        "svme-once-only",
        "EFER.SVME is not set again after a command that returns: CLGI is #UD",
        &[bay("wait", "or eax,1000h", 0, With::Nops)],
        AMD_CLGI.before(&[Command::Confirm]),
    ),
    Fault::new(
        "svme-off-before-stgi",
        "EFER.SVME is cleared before STGI: STGI is #UD on parts without SKINIT",
        &[bay("wait", "stgi", 0, With::Order(&[1, 0]))],
        AMD_CLGI,
    ),
    Fault::new(
        "stgi-again-after-a-restart",
        "STGI is executed again when a restart finds SVME off: #UD on parts without SKINIT",
        &[bay("wait", "jae short", 0, With::Nops)],
        AMD_CLGI.throw(&[Throw::Nmi]),
    ),
    // Commands.
    Fault::new(
        "hold-does-not-wait",
        "a held CPU does not compare the release word with its ticket",
        // CMP RAX, RAX; NOP.
        &[bay("wait", "cmp rax,[rbx+28h]", 0, With::Bytes(&[0x48, 0x39, 0xc0, 0x90]))],
        intel(Hlt).before(&[Command::Hold]),
    ),
    Fault::new(
        "flush-without-wbinvd",
        "Flush says done without WBINVD",
        &[bay("leave", "wbinvd", 0, With::Nops)],
        intel(Hlt).before(&[Command::Flush]),
    ),
    // The way home.
    Fault::new(
        "acknowledged-on-entry",
        "the first store of the stage already says Waiting: the acknowledgement comes before the CPU is home",
        &[bay("enter", "mov qword ptr [rbx+50h],1", 0, With::Byte { index: 4, value: 2 })],
        intel(Hlt),
    ),
    Fault::new(
        "no-wbinvd-before-the-acknowledgement",
        "lines of the owner's are still dirty when the CPU says that it is home",
        &[bay("home", "wbinvd", 0, With::Nops)],
        intel(Hlt).flags(WaitFlags::WBINVD).late_drains(),
    ),
    Fault::new(
        "no-lot-root",
        "CR3 keeps the transit root: page walks go on in the owner's memory",
        &[bay("home", "mov cr3,rax", 0, With::Nops)],
        intel(Hlt),
    ),
    Fault::new("owner-stack", "RSP stays on the owner's stack", &[bay("home", "lea rsp", 0, With::Nops)], intel(Hlt)),
    Fault::new(
        "one-root-for-both-depths",
        "CR4.LA57 does not choose the root",
        &[bay("home", "cmovne", 0, With::Nops)],
        intel(Hlt).levels(park_core::lot::PagingLevels::Five),
    ),
    Fault::new(
        "nt-stays",
        "RFLAGS.NT of the owner's is not cleared: IRETQ is #GP",
        &[bay("home", "popfq", 0, With::Nops)],
        intel(Hlt),
    )
    .owner(&[Owner::Rflags(1 << 14)]),
    Fault::new(
        "address-for-flags",
        "the frame of the way home has RSP in the place of RFLAGS: an address of a stack, and bit 8 of it is TF",
        // PUSH RSP; NOP.
        &[bay("home", "push 2", 1, With::Bytes(&[0x54, 0x90]))],
        intel(Hlt),
    ),
    Fault::new(
        "nmis-stay-blocked",
        "no IRETQ on the way home: a CPU that came out of an NMI handler takes no NMI any more",
        &[bay("home", "iretq", 0, With::Nops)],
        intel(Hlt).from(WayIn::NmiHandler),
    ),
    Fault::new(
        "no-temporary-gdt",
        "bay code enters on the owner's GDT: there is no code segment of its own in it",
        &[bay("enter", "lgdt", 0, With::Nops)],
        intel(Hlt),
    ),
    Fault::new(
        "no-arriving-idt",
        "the early table of the owner's stays loaded while the bay's GDT is: its code selector names a TSS",
        &[bay("enter", "lidt", 0, With::Nops)],
        intel(Hlt).throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "tss-stays-busy",
        "the TSS descriptor is not marked available: LTR faults in a bay that was used before",
        &[bay("enter", "and byte ptr [rbx+0FDh]", 0, With::Nops)],
        intel(Hlt).twice(),
    ),
    Fault::new(
        "parked-idt-before-ltr",
        "the table with IST gates is loaded before the TSS that they take their stacks from",
        &[bay("enter", "mov eax,10h", 0, With::Order(&[2, 0, 1]))],
        intel(Hlt).throw(&[Throw::Nmi]),
    ),
    // Handlers.
    Fault::new(
        "nmi-leaves-by-jump",
        "the NMI handler leaves by a jump: NMIs stay blocked",
        // JMP RCX.
        &[bay("nmi_parked", "iretq", 1, With::Bytes(&[0xff, 0xe1]))],
        intel(Hlt).throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "nmi-abandons-mc-handler",
        "an NMI inside the #MC handler does not return to it: MCIP stays set",
        &[bay("nmi_parked", "jb short", 0, With::Byte { index: 0, value: 0xeb })],
        intel(Hlt).throw(&[Throw::NmiThenMc(0)]),
    ),
    Fault::new(
        "mcip-stays",
        "the #MC handler does not clear MCIP: the next machine check is a shutdown",
        &[bay("mc_parked", "wrmsr", 0, With::Nops)],
        intel(Hlt).throw(&[Throw::Mc]),
    ),
    Fault::new(
        "mcip-cleared-alone",
        "the #MC handler writes RIPV = 1 beside MCIP = 0: anything but 0 is #GP on Intel",
        // MOV AL, 1: the rest of EAX is 0.
        &[bay("mc_parked", "xor eax,eax", 0, With::Bytes(&[0xb0, 0x01]))],
        intel(Hlt).throw(&[Throw::Mc]).on(&[Leg::Waiting]),
    ),
    Fault::new(
        "fatal-mc-resumes",
        "a machine check with RIPV = 0 and EIPV = 1 is resumed from",
        &[bay("mc_parked", "cmp al,2", 0, With::Byte { index: 1, value: NEVER })],
        intel(Hlt).throw(&[Throw::McFatal]).on(&[Leg::Waiting]).faulted(),
    ),
    Fault::new(
        "mc-storm-goes-on",
        "machine checks in a row are not counted",
        &[bay("mc_parked", "cmp byte ptr [rbx+7Dh],10h", 0, With::Byte { index: 3, value: NEVER })],
        intel(Hlt).throw(&[Throw::McStorm]).on(&[Leg::Waiting]).faulted(),
    ),
    Fault::new(
        "faulted-acknowledges",
        "a faulted CPU that goes home acknowledges again",
        &[bay("home", "cmp dword ptr [rbx+50h],4", 0, With::Byte { index: 3, value: NEVER })],
        intel(Hlt).throw(&[Throw::McFatal]).on(&[Leg::Waiting]).faulted(),
    ),
    Fault::new(
        "exception-without-record",
        "an exception handler does not say Faulted: the CPU goes home and acknowledges",
        &[bay("exceptions", "mov qword ptr [rbx+50h],4", 0, With::Nops)],
        intel(Hlt).nowhere(),
    ),
    Fault::new(
        "leaving-is-not-resumed",
        "an NMI on the way out sends the CPU home: with Clgi it leaves with GIF = 0",
        &[bay("nmi_parked", "cmp eax,3", 0, With::Byte { index: 2, value: NEVER })],
        AMD_CLGI.throw(&[Throw::Nmi]),
    ),
];
