//! `docs/abi.md`: the lot, for a reader who writes C.

use crate::{head, row};
use park_core::Mechanism;
use park_core::lot::{
    BayState, Command, Doorbell, Layout, LeaseState, OwnerState, Phase, Stage, WaitFlags, bay, header, layout,
};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# The lot: memory format, version 1

A *lot* is a reserved, physically contiguous, 4 KiB aligned piece of memory below 4 GiB that outlives kernels. It holds the
code that parked CPUs execute, the tables that they use, and a *bay* for each. This page is for a reader who finds a lot and
wants to take CPUs out of it, in any language. Everything is little-endian. Every word that more than one party touches is an
aligned 64-bit word with one writer, or is changed by compare-and-swap (`lock cmpxchg`).

The **exit protocol** (find, confirm, wake) is frozen: every later version can take CPUs out of an old lot. A reader that
meets an `incompat` feature it does not know must not touch the lot; one that meets an unknown `ro_compat` feature may take CPUs out
and must not park any.

## Finding it

1. An ACPI table with signature `PARK`. 2. Else `park=ADDRESS` on the kernel's command line. 3. Else a UEFI configuration table.
Memory is never scanned. In the memory map a lot is *reserved* (e820 type 2, EfiReservedMemoryType), never NVS: Linux restores NVS on resume.

## Shape

",
    );
    text.push_str(&head(&["part", "offset", "bytes", "a parked CPU may"]));
    for cells in [
        ["header page", "0", "4096", "read"],
        ["bay code", "1000h", "4096", "read, execute"],
        ["tables: IDTs, page tables, departure map", "header", "header", "read"],
        ["bays", "header", "count × stride", "read, write"],
    ] {
        text.push_str(&row(cells));
    }
    text.push_str(&sizes());
    text.push_str("\n## Header\n\n");
    text.push_str(&head(&["offset", "bytes", "what"]));
    for (offset, bytes, what) in HEADER {
        text.push_str(&row([format!("{offset:03X}h"), bytes.to_string(), (*what).to_owned()]));
    }
    text.push_str(
        "
The header CRC is CRC-32 (ISO-HDLC, the one of zip) over the whole header page, with the CRC field and the lease word taken as 0. The CRCs
of code and tables are over their regions. Check all three, then that `self address` is where you found the lot. Bits of the page tables that a CPU
would set (accessed, dirty) are set beforehand, so that the tables stay as their CRC says.

## Lease word

",
    );
    text.push_str(&lease());
    text.push_str("\n## Bay\n\n");
    text.push_str(&head(&["offset", "bytes", "what", "written by"]));
    for (offset, bytes, what, who) in BAY {
        text.push_str(&row([format!("{offset:03X}h"), bytes.to_string(), (*what).to_owned(), (*who).to_owned()]));
    }
    text.push_str(&words());
    text.push_str(PROTOCOL);
    text
}

fn sizes() -> String {
    let mut text = String::from(
        "
A bay is 512 bytes, or the widest monitor line (CPUID leaf 5, EBX) if that is more. Beside the bays a lot takes, with
L = ceil(length / 2 MiB) + 1 page tables of the last level:

    header 1 + bay code 1 + IDTs 1 + lot tables 6 + L + mailbox 1 + departure map 7 + L   pages of 4 KiB

",
    );
    text.push_str(&head(&["bays", "beside the bays", "in all"]));
    for bays in [1, 64, 256, 1024, 4096, layout::BAYS_MAX] {
        if let Ok(layout) = Layout::new(bays, 64) {
            let total = layout.total_len();
            text.push_str(&row([
                bays.to_string(),
                format!("{} KiB", layout.bay_offset() / 1024),
                format!("{} KiB", total / 1024),
            ]));
        }
    }
    text
}

const HEADER: &[(u64, u32, &str)] = &[
    (header::MAGIC_OFFSET, 8, "magic: `PARKLOT` and a zero byte"),
    (header::LEN_CRC, 4, "bytes of the header that its version defines"),
    (header::LEN_CRC + 4, 4, "CRC of the header page"),
    (header::FEATURES, 4, "compat features: may be ignored"),
    (header::FEATURES + 4, 4, "ro_compat features: bit 0 = the bays watch the ACPI mailbox"),
    (header::INCOMPAT_BAYS, 4, "incompat features"),
    (header::INCOMPAT_BAYS + 4, 4, "number of bays"),
    (header::TOTAL_LEN, 8, "bytes of the lot"),
    (header::SELF_PHYS, 8, "self address: the lot's physical address"),
    (header::BAY_OFFSET, 8, "offset of the first bay"),
    (header::BAY_STRIDE, 8, "bytes from bay to bay, a power of two"),
    (header::BAY_MASK, 8, "mask that makes a bay's address out of one inside (for bay code)"),
    (header::ENCRYPTION_MASK, 8, "memory-encryption bit of page-table entries, 0 if none"),
    (header::LOT_ID, 16, "lot id: differs from lot to lot"),
    (header::CODE, 4, "offset of the bay code"),
    (header::CODE + 4, 4, "bytes of the bay code"),
    (header::CRCS, 4, "CRC of the bay code"),
    (header::CRCS + 4, 4, "CRC of the tables"),
    (header::TABLES, 4, "offset of the tables"),
    (header::TABLES + 4, 4, "bytes of the tables"),
    (header::ROOT4, 8, "CR3 of the lot, four-level paging"),
    (header::ROOT5, 8, "CR3 of the lot, five-level paging"),
    (header::DEPARTURE_ROOT4, 8, "CR3 of the departure map, four-level paging"),
    (header::DEPARTURE_ROOT5, 8, "CR3 of the departure map, five-level paging"),
    (header::MAILBOX, 8, "physical address of the ACPI mailbox page, 0 if none"),
    (header::ENTRY_POINTS, 4, "offset of `bay_enter` in the lot"),
    (header::ENTRY_POINTS + 4, 4, "offset of `bay_repark` in the lot"),
    (header::BAYS_START, 8, "physical address of the first bay"),
    (header::BAYS_END, 8, "physical address behind the last bay"),
    (header::RESET, 4, "offset of the ACPI mailbox's reset vector in the lot, 0 if there is none"),
    (header::IDTR_PARKED, 10, "IDT pseudo-descriptor of parked CPUs"),
    (header::IDTR_ARRIVING, 10, "IDT pseudo-descriptor of arriving CPUs"),
    (header::IDTR_LEAVING, 10, "IDT pseudo-descriptor of leaving CPUs"),
    (header::LEASE, 8, "lease word, outside the CRC"),
];

const BAY: &[(u64, u64, &str, &str)] = &[
    (bay::DOORBELL, 8, "doorbell", "both, by compare-and-swap"),
    (bay::ENTRY_RIP, 8, "entry: RIP", "lease holder, while the doorbell is quiet"),
    (bay::ENTRY_RSP, 8, "entry: RSP", "lease holder"),
    (bay::ENTRY_CR3, 8, "entry: CR3, a transit root", "lease holder"),
    (bay::ENTRY_ARG, 8, "entry: argument, handed over in RDI", "lease holder"),
    (bay::RELEASE, 8, "release: sequence of the Hold that may end", "lease holder"),
    (bay::FAULT_CR2, 8, "fault record: CR2", "parked CPU"),
    (bay::MAILBOX_VECTOR, 8, "vector of the mailbox Wakeup that the CPU follows", "parked CPU"),
    (bay::OWNER, 8, "owner word", "lease holder"),
    (bay::IDENTITY, 8, "APIC id (31:0), MWAIT hint (63:32)", "lease holder"),
    (bay::STAGE, 8, "stage: the acknowledgement", "parked CPU; its owner when it has left"),
    (bay::EVENTS, 8, "NMIs (31:0), machine checks (63:32)", "parked CPU"),
    (bay::LAPS, 8, "laps of the wait loop (31:0), TSC >> 32 of the last machine check (63:32)", "parked CPU"),
    (bay::MCG_STATUS, 8, "IA32_MCG_STATUS as the last machine check found it", "parked CPU"),
    (bay::FAULT_RIP, 8, "fault record: RIP", "parked CPU"),
    (
        bay::FAULT,
        8,
        "fault record: error code (31:0), vector (39:32), machine checks in a row (47:40), valid (48)",
        "parked CPU",
    ),
    (bay::TSS, bay::TSS_LEN, "task-state segment: IST 1 NMI, IST 2 #MC, IST 3 all else", "builder"),
    (bay::GDT, bay::GDT_LEN, "GDT: null, 64-bit code (08h), TSS (10h)", "builder; arrival sets the busy bit"),
    (bay::NMI_STACK_TOP - bay::STACK_LEN, bay::STACK_LEN, "NMI stack", "parked CPU"),
    (bay::MC_STACK_TOP - bay::STACK_LEN, bay::STACK_LEN, "#MC stack", "parked CPU"),
    (bay::FAULT_STACK_TOP - bay::STACK_LEN, bay::STACK_LEN, "stack of all other exceptions", "parked CPU"),
];

fn lease() -> String {
    let states = [LeaseState::Held, LeaseState::Offered, LeaseState::Taking]
        .map(|state| format!("{} = {state:?}", state as u8))
        .join(", ");
    format!(
        "State in bits 7:0 ({states}), generation in 31:8, and the complement of bits 31:0 in 63:32. A word whose halves don't complement each \
other is damage. The generation counts the kernels that held the lot, from 1. To *accept* an offered lot, or to *seize* one whose kernel is dead: swap the word \
to Taking with the next generation; stamp each quiet doorbell with it, revoke each rung one, and leave claimed ones alone; swap to Held.\n"
    )
}

/// The words of a bay, bit by bit.
fn words() -> String {
    let list = |items: Vec<(u8, String)>| {
        items.into_iter().map(|(number, name)| format!("{number} = {name}")).collect::<Vec<_>>().join(", ")
    };
    let commands = list(Command::ALL.map(|command| (command.raw(), format!("{command:?}"))).to_vec());
    let phases =
        list([Phase::Quiet, Phase::Rung, Phase::Claimed].map(|phase| (phase as u8, format!("{phase:?}"))).to_vec());
    let stages = list(
        [Stage::Out, Stage::Arriving, Stage::Waiting, Stage::Leaving, Stage::Faulted, Stage::LeavingByMailbox]
            .map(|stage| (stage as u8, format!("{stage:?}")))
            .to_vec(),
    );
    let owners = list(
        [OwnerState::Free, OwnerState::Reserved, OwnerState::Quarantined]
            .map(|state| (state as u8, format!("{state:?}")))
            .to_vec(),
    );
    let mechanisms = list(Mechanism::ALL.map(|mechanism| (mechanism.raw(), mechanism.name().to_owned())).to_vec());
    let flags = WaitFlags::all()
        .iter_names()
        .map(|(name, flag)| format!("{:X}h = {name}", flag.bits()))
        .collect::<Vec<_>>()
        .join(", ");
    let parked = BayState::Parked;
    format!(
        "
**Doorbell**: command in bits 7:0 ({commands}), phase in {phase_end}:{phase} ({phases}), generation in {generation_end}:{generation}, sequence in 63:{sequence}.

**Owner word**: state in bits 7:0 ({owners}), mechanism in 15:8 ({mechanisms}), wait flags in 23:16 ({flags}), paging levels in 31:24 (4 or 5), APIC mode in 39:32 (1 = xAPIC, 2 = x2APIC).

**Stage**: {stages}. A CPU is *{parked:?}* if the owner word says Reserved, the stage Waiting, and the doorbell Quiet.
",
        phase = Doorbell::PHASE_SHIFT,
        phase_end = Doorbell::GENERATION_SHIFT - 1,
        generation = Doorbell::GENERATION_SHIFT,
        generation_end = Doorbell::SEQUENCE_SHIFT - 1,
        sequence = Doorbell::SEQUENCE_SHIFT,
    )
}

const PROTOCOL: &str = "
## Taking a CPU out

1. Hold the lease: the lease word says Held, with your generation.
2. Read the doorbell; its phase must be Quiet. Store RIP, RSP, CR3 and argument.
3. Swap the doorbell from what you read to {command, Rung, your generation, sequence + 1}. If that fails, somebody else rang.
4. If the mechanism is hlt, send the CPU an NMI, and again every so often: an NMI can end HLT without being handled. If it is mwait, do so only if the store alone
   did not wake it. If it is clgi, don't: it polls, and holds NMIs until it leaves.
5. Poll the doorbell. *Claimed*: the CPU has taken the command, and for Wake and Repark it is on its way. *Quiet* with your sequence: it has carried out
   Confirm, Flush or Hold.
6. To give up, swap the doorbell back from Rung to Quiet. If that succeeds the CPU has certainly not taken the command, and never will; if it fails, it has.
7. The woken CPU, once CR3, GDTR, IDTR, TR and RSP are its owner's, sets the doorbell Quiet, the stage Out, and the owner word Free, in this order.

State reads wake nobody and may be stale at once: confirm a CPU before you count on it. A bay whose CPU did not answer is never freed.

After suspend to RAM or a warm reset memory may still say *Parked* of CPUs that wait for SIPI. An NMI that is sent to such a CPU may be held, and comes after
its STARTUP, in real mode, through vector 2 at physical 8h; so does one that was held under GIF = 0 or blocked when the CPU took an INIT. So start CPUs by INIT and
STARTUP first, with that vector at an IRET, and ring or confirm only afterwards.

## The ACPI mailbox

A lot that was built with a mailbox (ACPI 6.6, section 5.2.12.19) serves it beside the doorbells, for CPUs that wait by hlt or mwait with the MAILBOX flag. Wakeup: a CPU with
this APIC id copies the vector to its bay, sets the stage LeavingByMailbox, clears the command, loads the departure map, and jumps. Test: it clears the command. A command that is
neither, an id that no bay holds, a vector of 4 GiB or more: everybody stays parked and the command stays, since the specification has no way to refuse.

The bay of a CPU that an operating system took stays its own: owner word Reserved, stage LeavingByMailbox. It comes back through the reset vector, in 64-bit mode with interrupts off,
on tables that map the vector's page at identity, and finds its bay by its APIC id (CPUID leaf 0Bh, else 1). From the operating system's last CR3 write until the parked IDT is loaded
an NMI or #MC is a shutdown: nobody's handlers are mapped. A CPU that no bay handed out halts there.

## The PARK table

An ACPI table with the standard 36-byte header (signature `PARK`, revision 1), then: 8 bytes physical address of the lot, 8 bytes its length.
";
