//! `docs/embedding.md`: how an author embeds park. The code in it is the image's own, taken from its sources: whole items,
//! and the platform folder verbatim.

/// The image's sources that the page shows.
const LOT: &str = include_str!("../../park-metal/src/image/lot.rs");
const PARKING: &str = include_str!("../../park-metal/src/image/parking.rs");
const TORTURE: &str = include_str!("../../park-metal/src/image/torture.rs");
/// The platform folder.
const PLATFORM: [(&str, &str); 4] = [
    ("mod.rs", include_str!("../../park-metal/src/platform/mod.rs")),
    ("apic.rs", include_str!("../../park-metal/src/platform/apic.rs")),
    ("clock.rs", include_str!("../../park-metal/src/platform/clock.rs")),
    ("summon.rs", include_str!("../../park-metal/src/platform/summon.rs")),
];

/// Prose, or an item of a source by the beginning of its line.
enum Part {
    Prose(&'static str),
    Item(&'static str, &'static str),
}

const PARTS: &[Part] = &[
    Part::Prose(
        "# Embedding park

From reserving memory to waking CPUs, in a kernel of your own. All code on this page is taken from the freestanding image in `park-metal/`, which
runs it on emulators in the tests; a test fails when this page is stale. Calls to `trouble`, `broken` and `serial` are the image's own: faults on
purpose, and its report.

What you depend on: `cpu-park`, with the features `intel`, `amd` and `policy` as you need them. It is `no_std` and allocates nothing. What you write: a platform
([below](#the-platform)), some 280 lines here, and the code around it that this page walks through.

## 1. Reserve the lot

A lot is one physically contiguous region below 4 GiB, aligned to 4 KiB, write-back, of the length that `Layout` says: 512 bytes for each CPU and some tables.
Take it before your allocator does, and keep it for ever: parked CPUs execute in it. It must reach the next kernel as *reserved* (e820 type 2,
`EfiReservedMemoryType`), never as ACPI NVS. Where a lot has been handed to you (`park=ADDR`, or the ACPI table with signature `PARK`, see
[the lot's format](abi.md)), verify it and take it over instead (step 6).

",
    ),
    Part::Item(LOT, "pub(crate) fn build_with("),
    Part::Prose(
        "
`Lease::first` makes you the lot's first owner. Every operation takes the lease, and a lease that was passed on is refused.

## 2. Know the CPU

Ask on the CPU that parks: CPUs of one machine may differ. `detect` reads CPUID through your closure and says, by mechanism, what a CPU has to do, or
why it can't.

",
    ),
    Part::Item(PARKING, "pub(crate) fn detect_here("),
    Part::Prose(
        "
Which mechanism? `cpu_park::policy` plans that from a situation (Offline, Kexec, ...) and says what is lacking if nothing fits; [guarantees](guarantees.md)
are what it weighs.

## 3. Send a CPU on its way

The CPU that asks reserves a bay and summons the other one. Nothing is written to the bay's owner word by hand.

",
    ),
    Part::Item(PARKING, "pub(crate) fn reservation("),
    Part::Item(PARKING, "pub(crate) fn send_with("),
    Part::Prose(
        "
## 4. Park

On the CPU that was summoned, with interrupts off: sanitise, build the arrival frame, go. [Sanitising](sanitising.md) lists every step with its
reason. A refusal leaves the CPU as it was, and comes back as an error; after `arrive` there is no way back but a wake.

",
    ),
    Part::Item(PARKING, "pub(crate) extern \"C\" fn enter("),
    Part::Item(PARKING, "pub(crate) fn prepare("),
    Part::Item(PARKING, "pub(crate) fn sanitise("),
    Part::Item(PARKING, "pub(crate) fn prepare_arrival("),
    Part::Prose(
        "
The *transit root* is a set of page tables in your memory that maps your kernel as it is and the lot at identity. It is used to arrive and to depart, never while
parked: once the bay acknowledges, everything that the CPU had used is yours to free. The image destroys it at once, to show that.

",
    ),
    Part::Item(PARKING, "pub(crate) fn await_arrival("),
    Part::Prose(
        "
If this times out, the bay is quarantined, not free: the CPU may still come. Leave its memory alone and go on without it.

## 5. Wake

Give the CPU a stack, tables and an entry, and ring. [Registers](registers.md) says what it has when it enters.

",
    ),
    Part::Item(PARKING, "pub(crate) fn leaving("),
    Part::Item(PARKING, "pub(crate) fn entry("),
    Part::Item(PARKING, "pub(crate) fn wake("),
    Part::Prose(
        "
The woken CPU enters on its own stack, and gives its bay back only when nothing of the lot is in its registers any more: CR3, GDTR, IDTR, TR and RSP. `Left`
looks at them itself and refuses otherwise.

",
    ),
    Part::Item(PARKING, "pub(crate) extern \"C\" fn woken("),
    Part::Item(PARKING, "fn give_back("),
    Part::Prose(
        "
Do not forget what a parked CPU lost: MTRRs and microcode may have changed meanwhile, and its local APIC is as [sanitising](sanitising.md) left it.

## 6. Pass the lot on

Before a kexec, hand the lot over; the next kernel accepts it. After a crash the next kernel seizes it, on its word that the last owner is dead.

",
    ),
    Part::Item(TORTURE, "pub(crate) fn take_over("),
    Part::Prose(
        "
What the header says of the CPUs may be stale: confirm each bay before you count it. One that does not answer is absent, and stays quarantined.

",
    ),
    Part::Item(TORTURE, "pub(crate) fn confirm_all("),
    Part::Prose(
        "
## The platform

What a kernel implements, and nothing above it. Copy the folder, replace `crate::image` by your own, and test the result with `park_conformance::platform::check`
in your kernel.

",
    ),
];

pub(crate) fn page() -> String {
    let mut text = String::new();
    for part in PARTS {
        match part {
            Part::Prose(prose) => text.push_str(prose),
            Part::Item(source, start) => text.push_str(&code(item(source, start).unwrap_or(start))),
        }
    }
    for (name, source) in PLATFORM {
        text.push_str(&format!("### `platform/{name}`\n\n{}\n", code(source)));
    }
    text
}

fn code(source: &str) -> String {
    format!("```rust\n{}\n```\n", source.trim_end())
}

/// The item of `source` whose line begins with `start`, with the comments above it.
fn item<'s>(source: &'s str, start: &str) -> Option<&'s str> {
    let at = source.find(&format!("\n{start}"))? + 1;
    let end = at + source.get(at..)?.find("\n}\n")? + 2;
    let above = source.get(..at)?;
    let comments = above.lines().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
    let from = at - comments.map(|line| line.len() + 1).sum::<usize>();
    source.get(from..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_that_the_page_shows_exists() {
        for part in PARTS {
            if let Part::Item(source, start) = part {
                let found = item(source, start).unwrap_or_else(|| panic!("no item begins with `{start}`"));
                assert!(found.starts_with("///") || found.starts_with(start), "{found}");
                assert!(found.ends_with("\n}"), "{found}");
                assert!(found.contains(start));
            }
        }
    }

    #[test]
    fn an_item_is_taken_whole_with_its_comments_and_no_more() {
        let source =
            "use x;\n\n/// One.\nfn one() {\n    a\n}\n\n/// Two.\n/// More.\n#[inline]\nfn two() {\n    b\n}\n";
        assert_eq!(item(source, "fn two("), Some("/// Two.\n/// More.\n#[inline]\nfn two() {\n    b\n}"));
        assert_eq!(item(source, "fn one("), Some("/// One.\nfn one() {\n    a\n}"));
        assert_eq!(item(source, "fn three("), None);
    }

    #[test]
    fn the_platform_folder_is_shown_whole() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../park-metal/src/platform");
        let mut found: Vec<_> = std::fs::read_dir(folder)
            .expect("the platform folder")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let mut shown: Vec<_> = PLATFORM.map(|(name, _)| name.to_owned()).into();
        found.sort();
        shown.sort();
        assert_eq!(found, shown);
    }
}
