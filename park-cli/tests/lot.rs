//! `park lot`: real lots, built and used in the simulator, read out of dumps of every kind, whole and broken.

mod dumps;

mod schema;

use core::time::Duration;
use dumps::{AFTER, AT, Core, LOT_LEN, Pieces, lot_bytes, scene};
use park_core::lot::bay;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = file(name);
    fs::write(&path, bytes).expect("a file of the test");
    path
}

fn park_lot(path: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_park")).arg("lot").arg(path).args(more).output().expect("park runs")
}

fn json(path: &Path, more: &[&str], code: i32) -> Value {
    let output = park_lot(path, &[more, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    let document = serde_json::from_slice(&output.stdout).expect("one JSON document");
    schema::check(&document, &format!("{}", path.display()));
    document
}

/// One sentence on standard error, nothing on standard output, exit code 2.
fn refused(path: &Path, more: &[&str]) -> String {
    let output = park_lot(path, more);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(output.stdout.is_empty() && error.starts_with("park: ") && error.lines().count() == 1, "{error}");
    error
}

fn core_of(pieces: &Pieces) -> Vec<u8> {
    Core::default().bytes(pieces)
}

fn assert_scene(document: &Value) {
    assert_eq!(document["schema"], "park.lot/1");
    assert_eq!((&document["sound"], &document["address"]), (&true.into(), &format!("{AT:#x}").into()), "{document:#}");
    assert_eq!(document["lease"], serde_json::json!({"state": "held", "generation": 1}));
    let bays = document["bays"].as_array().expect("bays");
    let states: Vec<&str> = bays.iter().filter_map(|bay| bay["state"].as_str()).collect();
    assert_eq!(states, ["parked", "ringing", "claimed", "faulted", "parked", "free", "free", "free"]);
    let ids: Vec<u64> = bays.iter().take(5).filter_map(|bay| bay["apic_id"].as_u64()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!((&bays[0]["nmi_count"], &bays[0]["mc_count"]), (&2.into(), &1.into()));
    assert_eq!(bays[0]["spurious_count"], 3, "the SMIs whose handler ends HLT");
    assert_eq!((&bays[0]["ticket"], &bays[0]["fault"]), (&Value::Null, &Value::Null));
    let ticket = |index: usize| {
        let ticket = &bays[index]["ticket"];
        (ticket["command"].as_str().unwrap_or_default(), ticket["phase"].as_str().unwrap_or_default())
    };
    assert_eq!((ticket(1), ticket(2)), (("wake", "rung"), ("hold", "claimed")));
    assert_eq!((&bays[1]["ticket"]["sequence"], &bays[1]["ticket"]["generation"]), (&1.into(), &1.into()));
    assert_ne!(bays[1]["entry"]["rip"], Value::Null);
    let fault = &bays[3]["fault"];
    assert_eq!((&fault["vector"], &fault["name"]), (&18.into(), &"#MC".into()), "{fault}");
    assert_ne!(fault["rip_in_lot"], Value::Null, "{fault}");
    assert_eq!((&bays[4]["mechanism"], &bays[0]["mechanism"]), (&"mwait".into(), &"hlt".into()));
    assert_eq!((&bays[0]["paging_levels"], &bays[0]["stage"]), (&4.into(), &"waiting".into()));
}

#[test]
fn the_same_lot_is_read_out_of_every_kind_of_dump() {
    let pieces = scene();
    let raw = written("raw", &pieces.raw());
    let elf = written("core", &core_of(&pieces));
    let elf32 = written("core32", &Core { is_64_bit: false, ..Core::default() }.bytes(&pieces));
    let alone = written("alone", &lot_bytes(&pieces));
    // Segments that split the lot, and one that tells of the same memory again.
    let split = written("split", &core_of(&pieces.split_at(AT + 0x2345)));
    let twice = written("twice", &core_of(&pieces.doubled(AT, 0x2000)));
    for (path, format) in [
        (&raw, "raw"),
        (&elf, "elf-core"),
        (&elf32, "elf-core"),
        (&alone, "piece"),
        (&split, "elf-core"),
        (&twice, "elf-core"),
    ] {
        let searched = json(path, &[], 0);
        assert_eq!(searched["format"], format, "{path:?}");
        assert_scene(&searched);
        assert_eq!(json(path, &["--at", &format!("{AT:#x}")], 0), searched, "{path:?}");
    }
}

#[test]
fn a_piece_of_memory_gets_its_address_from_the_lot() {
    let pieces = scene();
    let mut bytes = vec![0x5a; 0x3000];
    bytes.extend(lot_bytes(&pieces));
    let document = json(&written("piece", &bytes), &[], 0);
    assert_scene(&document);
    let warning = document["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains(&format!("begin at physical address {:#x}", AT - 0x3000)), "{warning}");
}

#[test]
fn people_can_read_it() {
    let output = park_lot(&written("text", &core_of(&scene())), &[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0));
    for needed in
        ["Lease: held by generation 1", "Sound", "vector 18 #MC", "wake rung", "3 bays are free", "lot offset 0x1"]
    {
        assert!(text.contains(needed), "{needed} in {text}");
    }
}

#[test]
fn damage_is_told_with_its_place_and_the_rest_is_decoded() {
    let bay_0 = dumps::bay_offset(0);
    for (offset, what, bays) in [
        (0x50, "header is damaged", 8),
        (0x1008, "bay code is damaged", 8),
        (0x2008, "tables are damaged", 8),
        (0x140, "lease word is damaged", 8),
        (bay_0 + bay::STAGE, "bay's words are damaged", 8),
        (0x38, "header is damaged", 0),
    ] {
        let mut pieces = scene();
        pieces.flip(AT + offset, 0x48);
        let path = written(&format!("damaged-{offset:x}"), &core_of(&pieces));
        let document = json(&path, &[], 1);
        let damage = &document["damage"][0];
        assert!(damage["what"].as_str().unwrap_or_default().contains(what), "{offset:#x}: {damage}");
        assert_eq!(document["bays"].as_array().map(Vec::len), Some(bays), "{offset:#x}");
        let text = String::from_utf8(park_lot(&path, &[]).stdout).expect("UTF-8");
        assert!(text.contains("Damaged: "), "{text}");
    }
}

#[test]
fn a_dump_that_is_cut_off_shows_what_is_left() {
    let pieces = scene();
    let whole = core_of(&pieces);
    let cut = whole.len() - usize::try_from(AFTER + LOT_LEN - dumps::bay_offset(3)).expect("a length");
    let document = json(&written("cut", &whole[..cut]), &[], 1);
    assert!(document["damage"][0]["what"].as_str().unwrap_or_default().contains("truncated"), "{document:#}");
    assert_eq!(document["bays"].as_array().map(Vec::len), Some(3));
    assert!(document["warnings"][0].as_str().unwrap_or_default().contains("cut off"));
    // At whatever byte the file ends: an answer, and no panic.
    for len in (0..400).step_by(13).chain((400..whole.len()).step_by(64_007)) {
        let output = park_lot(&written("cut-anywhere", &whole[..len]), &[]);
        assert!(matches!(output.status.code(), Some(0..=2)), "{len}: {:?}", output.status);
    }
}

#[test]
fn no_lot_and_two_lots_are_refused() {
    let mut pieces = scene();
    let second = AT + 0x10_0000;
    pieces.put(second, &lot_bytes(&scene()));
    let two = written("two", &core_of(&pieces));
    let error = refused(&two, &[]);
    assert!(error.contains(&format!("several lots: {AT:#x}, {second:#x} (built for {AT:#x}, damaged)")), "{error}");
    assert_scene(&json(&two, &["--at", &format!("{AT:#x}")], 0));
    let other = json(&two, &["--at", &format!("{second}")], 1);
    assert!(other["damage"][0]["what"].as_str().unwrap_or_default().contains("another physical address"), "{other:#}");
    let none = written("none", &core_of(&Pieces::new(&[(0x1000, vec![0x55; 0x9000])])));
    assert!(refused(&none, &[]).contains("no lot is in this dump"));
    assert!(refused(&none, &["--at", "0x2000"]).contains("no lot is at physical address 0x2000"));
    assert!(refused(&none, &["--at", "0x100000"]).contains("holds no memory at physical address 0x100000"));
    assert!(refused(&none, &["--at", "0x2010"]).contains("--at 0x2010: a lot lies at a multiple of 0x1000"));
    assert!(refused(&none, &["--at", "here"]).contains("--at"));
    assert!(refused(&written("none-raw", &[0; 0x5000]), &[]).contains("no lot is in this file"));
}

#[test]
fn other_files_are_refused_by_name() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(refused(folder, &[]).contains("is a directory"));
    assert!(refused(&file("nowhere"), &[]).contains("can't be opened"));
    assert!(refused(&written("empty", b""), &[]).contains("is empty"));
    assert!(refused(Path::new("/dev/zero"), &[]).contains("give the lot's physical address by --at"));
    assert!(refused(Path::new("/dev/zero"), &["--at", "0x1000"]).contains("no lot is at"));
    let mut kdump = b"KDUMP   ".to_vec();
    kdump.resize(0x4000, 0);
    let error = refused(&written("kdump", &kdump), &[]);
    assert!(error.contains("kdump-compressed") && error.contains("makedumpfile -E"), "{error}");
    assert!(refused(&written("flat", b"makedumpfile\0\0\0\0"), &[]).contains("makedumpfile -R"));
    assert!(refused(&written("gzip", b"\x1f\x8b\x08\0"), &[]).contains("gzip"));
    let pieces = scene();
    for (core, needed) in [
        (Core { e_type: 2, ..Core::default() }, "no core"),
        (Core { machine: 183, ..Core::default() }, "another kind of machine"),
        (Core { count: Some(0xfffe), ..Core::default() }, "is cut off"),
        (Core { p_type: 4, ..Core::default() }, "without memory"),
    ] {
        let error = refused(&written("odd-core", &core.bytes(&pieces)), &[]);
        assert!(error.contains(needed), "{needed}: {error}");
    }
    assert!(refused(&written("half-elf", b"\x7fELF\x02"), &[]).contains("broken ELF"));
    assert!(refused(&written("no-class", b"\x7fELF\x09\x01\x01"), &[]).contains("neither of 32"));
}

#[test]
fn a_pipe_is_refused_at_once() {
    let path = file("fifo");
    let _ = fs::remove_file(&path);
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    assert!(refused(&path, &[]).contains("is a pipe"));
}

/// 2 GiB, nearly all of it a hole: searched in time, and in little memory.
#[test]
fn a_large_file_is_searched_in_pieces() {
    const LEN: u64 = 2 << 30;
    let path = file("large");
    let sparse = File::create(&path).and_then(|file| file.set_len(LEN));
    assert!(sparse.is_ok(), "{sparse:?}");
    let start = Instant::now();
    // In KiB: far less than the file, and enough for the program.
    let limited = format!("ulimit -v 400000; exec \"$0\" lot \"{}\"", path.display());
    let output = Command::new("sh").args(["-c", &limited, env!("CARGO_BIN_EXE_park")]).output().expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let _ = fs::remove_file(&path);
    assert!(output.status.code() == Some(2) && error.contains("no lot is in this file"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
