//! Dumps of registers as people make them, whole and broken.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const LEAF_0: &str = "CPUID 00000000: 0000000B-756E6547-6C65746E-49656E69";

/// A dump of one CPU: leaves 0, 1 and 0Bh.
fn cpu(apic_id: u32, signature: u32) -> String {
    format!(
        "{LEAF_0}\nCPUID 00000001: {signature:08X}-{:08X}-00002009-BFEBFBFF\n\
         CPUID 0000000B: 00000001-00000002-00000100-{apic_id:08X} [SL 00]\n\
         CPUID 0000000B: 00000004-00000008-00000201-{apic_id:08X} [SL 01]\n",
        0x0010_0800 | (apic_id & 0xff) << 24
    )
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dump-{name}"));
    fs::write(&path, content).expect("a file of the test");
    path
}

fn survey(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
    command.args(["survey", "--json", "--cpuid"]).arg(path).stdin(Stdio::null());
    command.output().expect("the program runs")
}

/// The document and what was told on standard error.
fn taken(name: &str, content: &[u8]) -> (Value, String) {
    let output = survey(&file(name, content));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{name}: {told}");
    (serde_json::from_slice(&output.stdout).expect("one document"), told)
}

fn ids(document: &Value) -> Vec<u64> {
    let cpus = document["cpus"].as_array().expect("CPUs");
    cpus.iter().filter_map(|cpu| cpu["apic_id"].as_u64()).collect()
}

const SKYLAKE: u32 = 0x0005_06e3;

#[test]
fn whatever_stands_around_the_registers_the_cpus_are_the_same() {
    let two = [cpu(0, SKYLAKE), cpu(2, SKYLAKE)];
    let plain = two.concat();
    let variants: Vec<(&str, Vec<u8>)> = vec![
        ("plain", plain.clone().into_bytes()),
        ("headings", format!("CPU 0:\n{}------[ Logical CPU #1 ]------\n\n{}", two[0], two[1]).into_bytes()),
        ("windows", plain.replace('\n', "\r\n").into_bytes()),
        ("lower", plain.to_lowercase().replace("cpuid", "CPUID").replace("[sl", "[SL").into_bytes()),
        ("blanks", plain.replace('-', " ").into_bytes()),
        ("tabs", plain.replace('-', "\t").replace(": ", "\t").into_bytes()),
        ("spaced", plain.replace('-', " - ").into_bytes()),
        ("no-colon", plain.replace(": ", " ").into_bytes()),
        ("late-colon", plain.replace(": ", " :").into_bytes()),
        ("prefixed", plain.replace("CPUID", "[   12.5] host kernel: CPUID").into_bytes()),
        ("remarks", plain.replace('\n', " [GenuineIntel] / L1: 32 KB\n").into_bytes()),
        ("unlabelled", plain.replace(" [SL 00]", "").replace(" [SL 01]", "").into_bytes()),
        ("no-last-line-feed", plain.trim_end().as_bytes().to_vec()),
        ("latin-1", [b"CPU: Core\xae i7 \xb5arch\n".as_slice(), plain.as_bytes()].concat()),
        ("utf-8-mark", [b"\xef\xbb\xbf".as_slice(), plain.as_bytes()].concat()),
        ("utf-16", {
            let wide = plain.encode_utf16().flat_map(u16::to_le_bytes);
            [0xff, 0xfe].into_iter().chain(wide).collect()
        }),
        ("extended-first", {
            let extended = "CPUID 80000000: 80000008-00000000-00000000-00000000\n";
            two.iter().map(|one| format!("{extended}{one}")).collect::<String>().into_bytes()
        }),
        (
            "doubled-lines",
            plain
                .lines()
                .map(|line| format!("{line}\n"))
                .fold(String::new(), |text, line| {
                    // Only leaves without subleaves: two equal lines of a leaf with subleaves are two subleaves.
                    if line.contains("0000000B:") { text + &line } else { text + &line + &line }
                })
                .into_bytes(),
        ),
        ("twice", format!("{plain}{plain}").into_bytes()),
        (
            "other-lines",
            plain.replace('\n', "\nMSR 0000001B: 0000-0000-FEE0-0900\nCPUID Revision : 000506E3h\n").into_bytes(),
        ),
        ("cpuid-r", {
            let raw = |leaf: &str| {
                let hex = |from: usize| leaf.get(from..from + 8).expect("eight digits").to_lowercase();
                let subleaf = if leaf.contains("[SL 01]") { "0x01" } else { "0x00" };
                let registers = format!("eax=0x{} ebx=0x{} ecx=0x{} edx=0x{}", hex(16), hex(25), hex(34), hex(43));
                format!("   0x{} {subleaf}: {registers}\n", hex(6))
            };
            let of =
                |number: usize, text: &String| format!("CPU {number}:\n{}", text.lines().map(raw).collect::<String>());
            two.iter().enumerate().map(|(number, text)| of(number, text)).collect::<String>().into_bytes()
        }),
    ];
    for (name, content) in variants {
        let (document, told) = taken(name, &content);
        assert_eq!(ids(&document), [0, 2], "{name}");
        assert_eq!((&document["vendor"], &document["signature"]), (&"intel".into(), &"000506e3".into()), "{name}");
        assert_eq!(document["topology"]["cores"], 2, "{name}");
        assert_eq!((told.as_str(), document["warnings"].as_array().map(Vec::len)), ("", Some(0)), "{name}");
    }
}

#[test]
fn contradictions_are_warnings_and_the_first_wins() {
    let wrong_leaf_1 = cpu(2, SKYLAKE).replace("02100800", "05100800");
    for (name, content, wanted, named) in [
        (
            "ids",
            [cpu(0, SKYLAKE), wrong_leaf_1].concat(),
            vec![0, 2],
            "leaf 00000001 tells APIC id 5, leaf 0000000B tells 2",
        ),
        ("signatures", [cpu(0, SKYLAKE), cpu(2, 0x0009_0672)].concat(), vec![0, 2], "signature 00090672"),
        ("again", [cpu(0, SKYLAKE), cpu(2, SKYLAKE), cpu(0, 0x0009_0672)].concat(), vec![0, 2], "contradict"),
        (
            "vendors",
            [cpu(0, SKYLAKE), cpu(2, SKYLAKE).replace("49656E69", "49656E68")].concat(),
            vec![0, 2],
            "GenuhneIntel",
        ),
    ] {
        let (document, told) = taken(name, content.as_bytes());
        assert_eq!(ids(&document), wanted, "{name}");
        assert_eq!(document["signature"], "000506e3", "{name}");
        let warnings = document["warnings"].as_array().expect("warnings");
        assert!(warnings.iter().any(|one| one.as_str().is_some_and(|one| one.contains(named))), "{name}: {warnings:?}");
        assert!(told.contains(named) && told.starts_with("park: warning: "), "{name}: {told}");
    }
}

#[test]
fn the_newest_leaf_tells_the_id() {
    let newer = "CPUID 0000001F: 00000001-00000002-00000100-00000006 [SL 00]\n\
                 CPUID 0000001F: 00000004-00000008-00000201-00000006 [SL 01]\n";
    let with_both = cpu(4, SKYLAKE).replace("0000000B-756E6547", "0000001F-756E6547") + newer;
    let (document, told) = taken("newest", [with_both, cpu(0, SKYLAKE)].concat().as_bytes());
    assert_eq!(ids(&document), [0, 6]);
    assert!(told.contains("0000001F tells 6"), "{told}");
    // A leaf that the CPU does not count among its own tells nothing.
    let beyond = cpu(4, SKYLAKE) + newer;
    let (document, told) = taken("beyond", [beyond, cpu(0, SKYLAKE)].concat().as_bytes());
    assert_eq!((ids(&document), told.as_str()), (vec![0, 4], ""));
}

#[test]
fn one_cpu_of_many_is_counted_by_its_topology_leaves_and_says_so() {
    let (document, _) = taken("one", cpu(3, SKYLAKE).as_bytes());
    assert_eq!((&document["logical_cpus"], &document["logical_cpus_source"]), (&8.into(), &"topology-leaves".into()));
    assert!(ids(&document).contains(&3));
    let notes = document["notes"].to_string();
    assert!(notes.contains("the dump is of one CPU"), "{notes}");
}

#[test]
fn cpus_that_cannot_be_told_apart_count_once_and_say_so() {
    let old =
        "CPUID 00000000: 00000001-756E6547-6C65746E-49656E69\nCPUID 00000001: 00000617-00000000-00000000-0000FBFF\n";
    let (document, _) = taken("old", format!("{old}{old}").as_bytes());
    assert_eq!(document["logical_cpus"], 1);
    assert!(document["notes"].to_string().contains("no APIC id"), "{}", document["notes"]);
    let twice = [cpu(0, SKYLAKE), cpu(2, SKYLAKE), cpu(2, SKYLAKE)].concat();
    let (document, _) = taken("doubles", twice.as_bytes());
    assert!(document["notes"].to_string().contains("1 of the dump's 3 CPUs"), "{}", document["notes"]);
}

#[test]
fn what_is_broken_is_told_with_its_line() {
    let whole = cpu(0, SKYLAKE);
    let cut = |at: usize| whole.get(..at).expect("a part").as_bytes().to_vec();
    let second = whole.find('\n').expect("lines") + 1;
    for (name, content, named) in [
        ("empty", Vec::new(), "no CPUID registers"),
        ("prose", b"CPUID is an instruction.\nCPUID 1 tells the signature\n".to_vec(), "no CPUID registers"),
        ("binary", vec![0, 0xff, 0x80, 7, 10, 0], "no CPUID registers"),
        ("cut-in-word", cut(second + 9), ":2: the dump breaks off"),
        ("cut-after-leaf", cut(second + 14), ":2: half a line: CPUID 00000001 has 0 of 4"),
        ("cut-in-first", cut(second + 20), ":2: half a line: CPUID 00000001 has 0 of 4"),
        ("cut-after-first", cut(second + 25), ":2: half a line: CPUID 00000001 has 1 of 4"),
        ("cut-in-last", cut(second + 50), ":2: half a line: CPUID 00000001 has 3 of 4"),
        ("half-inside", whole.replace("-00000002-00000100", "-0000002-00000100").into_bytes(), ":3: half a line"),
        ("half-raw", b"CPU 0:\n   0x00000000 0x00: eax=0x0000000b ebx=0x756e\n".to_vec(), ":2: half a line"),
        ("no-leaf-0", whole.replace(LEAF_0, "").into_bytes(), "no leaf 00000000"),
    ] {
        let output = survey(&file(name, &content));
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{name}: {told}");
        assert!(told.contains(named) && told.contains(&format!("dump-{name}")), "{name}: {told}");
        assert_eq!(told.lines().count(), 1, "{name}: {told}");
    }
}

#[test]
fn a_dump_broken_off_anywhere_is_an_error_or_has_only_whole_lines() {
    let whole = cpu(0, SKYLAKE);
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at).collect();
    for at in (0..whole.len()).step_by(3) {
        let output = survey(&file("broken-off", &whole.as_bytes()[..at]));
        // The label of a subleaf, or what follows the registers, may be missing; registers may not.
        let line_start = whole[..at].rfind('\n').map_or(0, |start| start + 1);
        let in_registers = at > line_start && at - line_start < LEAF_0.len() && at - line_start > "CPUID".len();
        let nothing_yet = at < ends[0].min(LEAF_0.len());
        let code = if in_registers || nothing_yet { 2 } else { 0 };
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{at}: {told}");
        assert!(!told.contains("panicked"), "{at}: {told}");
    }
}
