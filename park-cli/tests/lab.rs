//! `park lab` from outside, with a shell script in QEMU's place: what is missing, late, wrong or killed.

mod schema;

use core::time::Duration;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

/// Everything happens by then, also on a busy host.
const SOON: Duration = Duration::from_secs(30);

/// A folder of its own for a test, with a fake QEMU that tells `version`, or runs `script`.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str, version: &str, script: &str) -> Self {
        // Not below the workspace: what a lab leaves would go there.
        let folder = std::env::temp_dir().join(format!("park-lab-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        fs::write(folder.join("image"), "no image").expect("a file");
        let bench = Self { folder };
        let qemu = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'QEMU emulator version {version}'; exit; fi\n{script}\n"
        );
        bench.program("qemu-system-x86_64", &qemu);
        bench
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.folder.join("bin").join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    /// `park lab`, with the fake before everything else on the search path.
    fn park(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.args(["lab", "--image", "image"]).args(arguments);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.park(arguments).output().expect("the program runs")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A folder for temporary files: what stays there harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("UTF-8")
}

/// A whole run of `smp` with 4 CPUs.
const WHOLE: &str = r#"echo '{"event":"boot"}'
for cpu in 1 2 3; do echo "{\"event\":\"online\",\"cpu\":$cpu}"; done
echo '{"event":"complete","test":"smp","ok":true}'
exit 1"#;

const SMP: [&str; 2] = ["--case", "qemu-epyc/smp"];

#[test]
fn a_whole_run_passes_and_leaves_nothing() {
    let bench = Bench::new("whole", "7.2.0", WHOLE);
    let output = bench.output(&[SMP[0], SMP[1], "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema::check(&document, "lab"), "lab");
    assert_eq!((&document["passed"], &document["failed"]), (&1.into(), &0.into()));
    assert_eq!(document["emulators"][0]["version"], "7.2.0");
    assert_eq!(fs::read_dir(bench.folder.join("target/lab")).expect("the folder").count(), 0);
}

#[test]
fn the_simulator_needs_no_image_and_shows_every_case() {
    let bench = Bench::new("simulated", "7.2.0", "exit 9");
    let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
    let output = command.current_dir(&bench.folder).args(["lab", "--rig", "sim", "--json"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    schema::check(&document, "lab on the simulator");
    let trials = document["trials"].as_array().expect("trials");
    assert_eq!(trials.iter().map(|trial| trial["vendor"].as_str()).collect::<Vec<_>>(), [Some("amd"), Some("intel")]);
    for trial in trials {
        assert_eq!(trial["version"], env!("CARGO_PKG_VERSION"));
        let cases = trial["cases"].as_array().expect("cases");
        let names: BTreeSet<&str> = cases.iter().filter_map(|case| case["case"].as_str()).collect();
        assert_eq!(names.len(), park_conformance::Case::all().count());
        let nmi = cases.iter().find(|case| case["case"] == "hlt/nmi").expect("a case");
        assert_eq!((&nmi["standing"], &nmi["response"]), (&"claimed".into(), &"laps".into()));
        assert_eq!((&nmi["seen"]["fired"], &nmi["seen"]["witnessed"]), (&1.into(), &1.into()));
    }
    assert_eq!(fs::read_dir(bench.folder.join("target/lab")).expect("the folder").count(), 0);
}

/// A run of `conformance` with 4 CPUs: the first boot measures two cases and is reset in a third, the next has none.
const CASES: &str = r#"echo '{"event":"boot"}'
for cpu in 1 2 3; do echo "{\"event\":\"online\",\"cpu\":$cpu}"; done
case "$*" in *"case=*"*) ;; *) echo '{"event":"failed","why":"no case of this name can be shown here"}'; exit 3;; esac
echo '{"event":"case","case":"hlt/nmi"}'
echo '{"event":"verdict","case":"hlt/nmi","fired":3,"witnessed":2,"coalesced":"nmi-latch","response":"laps","confirmed":"answered","entries":1,"waiting":"still"}'
echo '{"event":"case","case":"hlt/smi"}'
echo '{"event":"verdict","case":"hlt/smi","fired":3,"witnessed":3,"coalesced":"none","response":"laps","confirmed":"answered","entries":1,"waiting":"still"}'
echo '{"event":"case","case":"hlt/smi-rendezvous"}'
echo '{"event":"lacks","case":"hlt/smi-rendezvous","kind":"no-source","why":"this firmware calls no rendezvous"}'
echo '{"event":"case","case":"wait-for-sipi/nmi"}'
exit 0"#;

#[test]
fn every_verdict_is_in_the_document() {
    let bench = Bench::new("cases", "7.2.0", CASES);
    let output = bench.output(&["--case", "qemu-epyc/conformance", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    schema::check(&document, "lab with cases");
    let trial = &document["trials"][0];
    assert_eq!((&trial["version"], &trial["vendor"]), (&"7.2.0".into(), &"amd".into()));
    let told: Vec<_> = ["case", "standing", "response", "lack"]
        .map(|key| {
            let of = |case: &Value| case[key].as_str().unwrap_or("-").to_owned();
            trial["cases"].as_array().expect("cases").iter().map(of).collect::<Vec<_>>()
        })
        .into();
    assert_eq!(told[0], ["hlt/nmi", "hlt/smi", "hlt/smi-rendezvous", "wait-for-sipi/nmi"]);
    assert_eq!(told[1], ["claimed", "deviates", "lacks", "deviates"]);
    assert_eq!(told[2], ["laps", "laps", "-", "reset"]);
    assert_eq!(told[3], ["-", "-", "no-source", "-"]);
    let [nmi, smi, _, lost] = [0, 1, 2, 3].map(|index| &trial["cases"][index]);
    assert_eq!((&nmi["seen"]["witnessed"], &nmi["seen"]["coalesced"]), (&2.into(), &"nmi-latch".into()));
    assert!(smi["why"].as_str().is_some_and(|why| why.contains("RSM")), "{smi}");
    assert!(lost["seen"].is_null(), "{lost}");
    // Another verdict, which nothing names.
    let bench = Bench::new("surprise", "7.2.0", &CASES.replace("\"response\":\"laps\"", "\"response\":\"held\""));
    let output = bench.output(&["--case", "qemu-epyc/conformance", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["trials"][0]["cases"][0]["standing"], "surprise");
}

#[test]
fn a_wrong_token_fails_with_the_last_lines_a_folder_and_a_way_to_do_it_again() {
    let bench = Bench::new("wrong", "7.2.0", &WHOLE.replace("\"smp\"", "\"torture\""));
    let output = bench.output(&[SMP[0], SMP[1], "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    schema::check(&document, "lab that fails");
    let told = text(&output.stderr);
    assert!(told.contains("wrong token"), "{told}");
    assert!(told.contains("\"test\":\"torture\""), "{told}");
    assert!(told.contains("again: park lab --case qemu-epyc/smp"), "{told}");
    let folder = Path::new(document["trials"][0]["folder"].as_str().expect("a folder"));
    assert!(told.contains(&folder.display().to_string()), "{told}");
    for name in ["command.sh", "serial.log", "emulator.log"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let command = fs::read_to_string(folder.join("command.sh")).expect("the command");
    assert!(command.contains("-append 't=smp cpus=4"), "{command}");
}

#[test]
fn an_emulator_that_is_missing_or_old_is_named_with_its_package() {
    let old = Bench::new("old", "5.2.0 (Debian 1:5.2)", WHOLE);
    let output = old.output(&SMP);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("5.2.0") && told.contains("7.2 or newer") && told.contains("qemu-system-x86"), "{told}");

    let bench = Bench::new("missing", "7.2.0", WHOLE);
    let output = bench.park(&SMP).env("PATH", "/no/such/folder").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("qemu-system-x86_64") && told.contains("package qemu-system-x86"), "{told}");
}

#[test]
fn the_deadline_ends_it_all() {
    let bench = Bench::new("late", "7.2.0", "echo $$ > ../../../../pid\nexec sleep 1000");
    let start = Instant::now();
    let output = bench.output(&[SMP[0], SMP[1], "--deadline-s", "2"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("time limit of 2 s"), "{}", text(&output.stderr));
    assert!(start.elapsed() < SOON + SOON);
    assert!(!is_alive(&pid(&bench)));
}

#[test]
fn wrong_arguments_are_refused_by_name() {
    let bench = Bench::new("arguments", "7.2.0", WHOLE);
    for (arguments, named) in [
        (&["--rig", "simics"][..], "simics"),
        (&["--cpu", "Z80"], "Z80"),
        (&["--case", "nothing/like/it"], "nothing/like/it"),
        (&["--image", "no-such-file"], "--image"),
    ] {
        let output = bench.output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_park"));
    let output = elsewhere.current_dir("/").args(["lab", "--list"]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("bochs-ryzen-4/torture"));
}

/// The process that the fake QEMU is.
fn pid(bench: &Bench) -> String {
    let start = Instant::now();
    loop {
        let found = fs::read_to_string(bench.folder.join("pid")).unwrap_or_default();
        if found.ends_with('\n') {
            return found.trim().to_owned();
        }
        assert!(start.elapsed() < SOON, "the emulator was not started");
        thread::sleep(Duration::from_millis(20));
    }
}

/// True while the process exists and is not a zombie.
fn is_alive(process_id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(process_id).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn no_way_of_ending_park_leaves_an_emulator_behind() {
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let script = "trap '' INT TERM HUP; echo $$ > ../../../../pid; while :; do sleep 1; done";
        let bench = Bench::new(&format!("signal-{signal}"), "7.2.0", script);
        let mut park = bench.park(&SMP).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs");
        let emulator = pid(&bench);
        assert!(is_alive(&emulator));
        let sent = Command::new("kill").args(["-s", signal, &park.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let status = park.wait().expect("park ends");
        assert_eq!(status.code(), code, "{signal}");
        let start = Instant::now();
        while is_alive(&emulator) && start.elapsed() < SOON {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_alive(&emulator), "{signal}");
    }
}

#[test]
fn two_labs_at_once_do_not_collide() {
    let bench = Bench::new("twice", "7.2.0", &format!("sleep 1\n{WHOLE}"));
    let wrong = Bench::new("twice-wrong", "7.2.0", "echo nothing; sleep 1");
    let spawn = |bench: &Bench, folder: &Path| {
        let mut command = bench.park(&SMP);
        command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs")
    };
    let mut labs = [spawn(&bench, &bench.folder), spawn(&wrong, &bench.folder), spawn(&bench, &bench.folder)];
    let codes = labs.each_mut().map(|lab| lab.wait().expect("it ends").code());
    assert_eq!(codes, [Some(0), Some(1), Some(0)]);
    // What failed is still there, what passed is not.
    assert_eq!(fs::read_dir(bench.folder.join("target/lab")).expect("the folder").count(), 1);
}
