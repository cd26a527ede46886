//! The program from outside: exit codes, messages, documents, pipes.

use core::time::Duration;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// The demo must be through by then.
const DEMO_LIMIT: Duration = Duration::from_secs(10);

fn park(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    park(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("UTF-8")
}

/// The one document on standard output.
fn json(arguments: &[&str], code: i32) -> Value {
    let output = output(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// A file of this test, with `content`.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("a file of the test");
    path
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

const SOUND: &str = "name = \"sound\"\nsummary = \"A CPU parks.\"\nexpect = \"safe\"\n\n[machine]\nvendor = \"intel\"\ncpus = 2\n\n[[park]]\ncpu = 1\nby = \"hlt\"\n";

#[test]
fn no_arguments_are_the_demo_and_it_is_quick() {
    let start = Instant::now();
    let plain = output(&[]);
    assert!(start.elapsed() < DEMO_LIMIT, "{:?}", start.elapsed());
    assert_eq!(plain.status.code(), Some(0), "{}", text(&plain.stderr));
    assert_eq!(plain.stdout, output(&["demo"]).stdout);
    let shown = text(&plain.stdout);
    for needed in ["This machine:", "Linux's way:", "park:", "survived", "park sim"] {
        assert!(shown.contains(needed), "{needed} in {shown}");
    }
    assert!(!shown.contains('\x1b'), "colour in a pipe");
}

#[test]
fn the_demo_is_a_document() {
    let document = json(&["demo", "--seed", "3", "--json"], 0);
    assert_eq!(document["schema"], "park.demo/1");
    assert_eq!(document["seed"], 3);
    assert!(document["survey"]["vendor"].is_string() && document["survey"]["mechanisms"].is_array());
    assert_eq!((&document["linux"]["outcome"], &document["park"]["outcome"]), (&"lost".into(), &"safe".into()));
    let cpus = document["machine"]["cpus"].as_u64().expect("a number");
    assert!(cpus >= 2);
    for way in ["linux", "park"] {
        assert_eq!(document[way]["cpus"].as_array().map(|list| list.len() as u64), Some(cpus));
    }
    assert_eq!(document, json(&["demo", "--seed", "3", "--json"], 0));
}

#[test]
fn a_run_is_a_document_with_the_stated_fields() {
    let document = json(&["sim", "linux-mwait-kexec", "--seed", "7", "--json"], 0);
    assert_eq!(document["schema"], "park.sim/1");
    assert_eq!(document["scenario"], "linux-mwait-kexec");
    assert_eq!(
        (&document["seed"], &document["outcome"], &document["expected"]),
        (&7.into(), &"lost".into(), &true.into())
    );
    assert!(document["knobs"].is_object() && document["trace"].is_null() && document["runs"].is_null());
    let cpu = &document["cpus"][1];
    assert_eq!((&cpu["apic_id"], &cpu["mechanism"]), (&1.into(), &"linux-mwait".into()));
    let ends = ["parked", "running", "faulted", "shutdown", "reset", "waiting", "absent"];
    assert!(ends.contains(&cpu["end"].as_str().expect("an end")));
    assert!(cpu["cause"].as_str().expect("a cause").starts_with("foreign-"));
}

#[test]
fn options_lead_where_they_should() {
    for arguments in [
        &["sim", "linux-hlt-kexec-nmi", "--without", "nmi", "--json"][..],
        &["sim", "linux-hlt-kexec-nmi", "--mechanism", "hlt", "--json"],
        &["sim", "lot-hlt", "--mechanism", "mwait", "--json"],
        &["sim", "lot-hlt", "--knob", "nmi_depth=2", "--json"],
    ] {
        let document = json(arguments, 0);
        assert_eq!((&document["outcome"], &document["expected"]), (&"safe".into(), &true.into()), "{arguments:?}");
    }
    let mechanism = json(&["sim", "linux-hlt-kexec-nmi", "--mechanism", "hlt", "--json"], 0);
    assert_eq!((&mechanism["mechanism"], &mechanism["cpus"][1]["mechanism"]), (&"hlt".into(), &"hlt".into()));
    // Nobody said that this event is the deadly one: the CPU is lost all the same.
    let other = json(&["sim", "linux-hlt-kexec-nmi", "--without", "intr", "--json"], 0);
    assert_eq!((&other["outcome"], &other["expected"]), (&"lost".into(), &true.into()));
}

#[test]
fn every_value_of_a_knob_is_run_and_every_knob_that_matters() {
    let one = json(&["sim", "lot-hlt", "--knob", "nmi-apic-soft-off=all", "--json"], 0);
    let runs = one["runs"].as_array().expect("runs");
    let values: Vec<&str> = runs.iter().filter_map(|run| run["knobs"]["nmi-apic-soft-off"].as_str()).collect();
    assert_eq!(values, ["deliver", "wake-only"]);
    let all = json(&["sim", "lot-hlt", "--knob", "all=all", "--json"], 0);
    assert_eq!(all, json(&["sim", "lot-hlt", "--knob", "all", "--json"], 0));
    let runs = all["runs"].as_array().expect("runs");
    let usual = runs[0]["knobs"].as_object().expect("knobs");
    assert!(usual.len() > 1 && runs.len() > usual.len(), "{} runs, {} knobs", runs.len(), usual.len());
}

#[test]
fn a_verdict_that_surprises_is_exit_1() {
    let wrong = SOUND.replace("expect = \"safe\"", "expect = \"lost\"\ndeadly = \"nmi\"\nremedy = \"hlt\"");
    let path = file("surprise.toml", wrong.as_bytes());
    let document = json(&["sim", path_text(&path), "--json"], 1);
    assert_eq!((&document["outcome"], &document["expected"]), (&"safe".into(), &false.into()));
    let plain = output(&["sim", path_text(&path)]);
    assert_eq!(plain.status.code(), Some(1));
    assert!(text(&plain.stdout).contains("NOT what is expected"));
}

#[test]
fn bad_input_is_exit_2_and_one_sentence_that_names_it() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = |name: &str, content: &str| path_text(&file(name, content.as_bytes())).to_owned();
    let key = path("key.toml", &SOUND.replace("cpus = 2", "cpus = 2\nwheels = 4"));
    let verb = path("verb.toml", &format!("{SOUND}\n[[step]]\ndo = \"fly\"\n"));
    let event = path("event.toml", &format!("{SOUND}\n[[step]]\ndo = \"event\"\nevent = \"nmy\"\ncpu = 1\n"));
    let cpu = path("cpu.toml", &SOUND.replace("cpu = 1", "cpu = 9"));
    let knob = path("knob.toml", &format!("{SOUND}\n[knobs]\nluck = \"good\"\n"));
    let broken = path("broken.toml", "name = \"x\nsummary");
    let empty = path("empty.toml", "");
    let binary = path_text(&file("binary.toml", &[0xff, 0xfe, 0, 1])).to_owned();
    let huge = folder.join("huge.toml");
    fs::File::create(&huge).and_then(|file| file.set_len(2 << 30)).expect("a sparse file");
    let huge = path_text(&huge).to_owned();
    let missing = path_text(&folder.join("nowhere.toml")).to_owned();
    let folder = format!("{}/", path_text(folder));
    for (arguments, named) in [
        (&["sim", &key][..], &["key.toml:8", "wheels"][..]),
        (&["sim", &verb], &["verb.toml:14", "fly"]),
        (&["sim", &event], &["event.toml:15", "nmy"]),
        (&["sim", &cpu], &["cpu.toml:10", "CPU 9"]),
        (&["sim", &knob], &["knob.toml", "luck"]),
        (&["sim", &broken], &["broken.toml:", "TOML"]),
        (&["sim", &empty], &["empty.toml", "name"]),
        (&["sim", &binary], &["binary.toml", "UTF-8"]),
        (&["sim", &huge], &["huge.toml", "1048576"]),
        (&["sim", &missing], &["nowhere.toml", "No such file"]),
        (&["sim", &folder], &["directory"]),
        (&["sim", "lot-htl"], &["`lot-htl`", "lot-hlt"]),
        (&["sim", ""], &["``"]),
        (&["sim", "lot-hlt", "--knob", "nmi-depth=9"], &["nmi-depth", "`9`", "1, 2"]),
        (&["sim", "lot-hlt", "--knob", "nmi-dept=1"], &["nmi-dept", "nmi-depth"]),
        (&["sim", "lot-hlt", "--without", "nmy"], &["--without", "`nmy`", "nmi"]),
        (&["sim", "lot-hlt", "--mechanism", "mwiat"], &["--mechanism", "`mwiat`", "mwait"]),
        (&["sim", "lot-hlt", "--mechanism", "clgi"], &["lot-hlt", "clgi"]),
        (&["sim", "lot-hlt", "--seed", "many"], &["--seed", "many"]),
        (&["sim", "lot-hlt", "--deadline-s", "-1"], &["-1"]),
        (&["sim"], &["NAME"]),
        (&["survey", "--cpuid", &missing], &["nowhere.toml", "No such file"]),
        (&["survey", "--cpuid", &folder], &["directory"]),
        (&["survey", "--cpuid", &huge], &["huge.toml", "67108864"]),
        (&["survey", "--cpuid", &binary], &["binary.toml", "no CPUID registers"]),
        (&["survey", "--cpuid"], &["--cpuid"]),
        (&["survey", "extra"], &["extra"]),
        (&["demo", "--cpuid", &huge], &["huge.toml"]),
        (&["demo", "--topology", "0x1x1"], &["--topology", "0x1x1", "at least one CPU"]),
        (&["demo", "--topology", "1x100000x1"], &["--topology", "100000", "8192"]),
        (&["demo", "--topology", "1x2x1", "--cpuid", &empty], &["--topology", "--cpuid"]),
        (&["demo", "--topology", "1x2x1", "--vendor", "via"], &["--vendor", "via"]),
        (&["demo", "--vendor", "amd"], &["--topology"]),
        (&["demo", "--seed", "18446744073709551616"], &["18446744073709551616"]),
        (&["plan"], &["--situation"]),
        (&["plan", "--situation", "kexce"], &["kexce", "kexec"]),
        (&["plan", "--situation", "kexec", "--cpuid", &folder], &["directory"]),
        (&["plan", "--situation", "kexec", "--topology", "2x8"], &["--topology", "2x8x2"]),
        (&["plan", "--situation", "kexec", "--topology", "8192x2x1"], &["16384", "8192"]),
        (&["plan", "--situation", "kexec", "--require", "survive-nmi"], &["survive-nmi", "survives-nmi"]),
        (&["plan", "--situation", "consolidate", "--topology", "1x2x1", "--load", "1,2,3"], &["--load", "3", "2"]),
        (&["plan", "--situation", "consolidate", "--topology", "1x2x1", "--load", "1,101"], &["101"]),
        (&["matrix", "--vendor", "via"], &["via"]),
        (&["matrix", "extra"], &["extra"]),
        (&["lot"], &["FILE"]),
        (&["lot", &missing], &["nowhere.toml"]),
        (&["lot", &folder], &["directory"]),
        (&["lot", &binary], &["binary.toml"]),
        (&["sim", "lot-hlt", "--svg", &folder], &["directory"]),
        (&["completions"], &["SHELL"]),
        (&["completions", "tcsh"], &["tcsh", "bash"]),
        (&["demo", "--speed"], &["--speed"]),
        (&["fly"], &["fly"]),
        (&["demo", "extra"], &["extra"]),
    ] {
        let output = output(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert!(told.ends_with('\n') && told.matches('\n').count() == 1, "{arguments:?}: {told}");
        assert!(told.starts_with("park: ") && !told.contains("panicked"), "{arguments:?}: {told}");
        assert!(named.iter().all(|name| told.contains(name)), "{arguments:?} lacks {named:?}: {told}");
    }
}

#[test]
fn a_deadline_that_passes_is_exit_4() {
    let chain = "[[step]]\ndo = \"repeat\"\ntimes = 900\n";
    let links: String = ["hand-over", "kexec", "adopt\"\nhow = \"accept"]
        .map(|verb| format!("[[step.steps]]\ndo = \"{verb}\"\n"))
        .concat();
    let long = format!("{SOUND}\n{}", format!("{chain}{links}").repeat(3));
    let path = file("long.toml", long.as_bytes());
    let start = Instant::now();
    let output = output(&["sim", path_text(&path), "--deadline-s", "0"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("in 0 s"), "{}", text(&output.stderr));
    assert!(start.elapsed() < DEMO_LIMIT);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    for arguments in [
        &["sim", "--list"][..],
        &["sim", "lot-hlt", "--trace"],
        &["demo", "--json"],
        &["survey"],
        &["completions", "bash"],
        &["matrix"],
        &["--help"],
    ] {
        let mut child = park(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        // As `| head -1`: one line is read, then the pipe is closed.
        BufReader::with_capacity(64, child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { return };
    let output = park(&["sim", "--list"]).stdout(full).stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("standard output"), "{}", text(&output.stderr));
}

#[test]
fn the_list_names_what_can_be_run() {
    let document = json(&["sim", "--list", "--json"], 0);
    assert_eq!(document["schema"], "park.scenarios/1");
    let list = document["scenarios"].as_array().expect("a list");
    let shown = output(&["sim", "--list"]);
    for scenario in list {
        let name = scenario["name"].as_str().expect("a name");
        assert!(text(&shown.stdout).contains(name), "{name}");
        let is_lost = scenario["expect"] == "lost";
        assert_eq!(scenario["deadly"].is_string(), is_lost, "{name}");
    }
    assert!(list.len() >= 3);
}

#[test]
fn a_trace_comes_before_the_verdict_or_inside_the_document() {
    let plain = output(&["sim", "linux-hlt-kexec-nmi", "--trace"]);
    let shown = text(&plain.stdout);
    assert_eq!(plain.status.code(), Some(0));
    assert!(shown.contains("CPU 1") && shown.find("Shutdown") < shown.find("LOST"), "{shown}");
    let document = json(&["sim", "linux-hlt-kexec-nmi", "--trace", "--json"], 0);
    assert!(document["trace"].as_array().is_some_and(|trace| trace.len() > 10));
}

#[test]
fn help_and_version() {
    for (arguments, needed) in [
        (&["--help"][..], &["demo", "sim", "Exit codes", "Examples"][..]),
        (&["sim", "--help"], &["--knob", "--without", "--mechanism", "--trace", "--json", "Examples"]),
        (&["demo", "--help"], &["--seed", "Example"]),
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(needed.iter().all(|word| text(&output.stdout).contains(word)), "{arguments:?}");
    }
    let version = output(&["--version"]);
    let shown = text(&version.stdout);
    assert!(shown.starts_with(&format!("park {} (", env!("CARGO_PKG_VERSION"))) && shown.ends_with(")\n"), "{shown}");
    assert_eq!(shown.lines().count(), 1);
}

#[test]
fn every_shell_completes_every_command() {
    let help = output(&["--help"]);
    let listed = text(&help.stdout).lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<&str> = listed.map_while(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"survey") && commands.contains(&"lot"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = output(&["completions", shell]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{shell}");
        let script = text(&output.stdout);
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
}

#[test]
fn an_interrupt_is_exit_130_and_a_termination_143() {
    for (signal, exit) in [("-INT", 130), ("-TERM", 143)] {
        ended_by(signal, exit);
    }
}

fn ended_by(signal: &str, exit: i32) {
    // It waits for a scenario that never comes: no run is long enough on every machine.
    let mut child = park(&["sim", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let open = child.stdin.take();
    let start = Instant::now();
    while !listens(child.id()) {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not listen to signals");
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    let code = child.wait().expect("it ends").code();
    drop(open);
    assert!(killed.success(), "it ended before {signal}");
    assert_eq!(code, Some(exit), "{signal}");
}

/// Whether the process has the thread that listens to signals.
fn listens(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads
        .into_iter()
        .any(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == "signals"))
}
