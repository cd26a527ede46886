//! `.ci/run` ends itself, and nothing of it goes on.

use core::time::Duration;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/run");

/// Runs the script with a limit of so many seconds, where `cargo` is a shell script in a folder of its own.
fn run(name: &str, limit_s: &str, cargo: &str) -> (Output, PathBuf) {
    let folder = std::env::temp_dir().join(format!("park-ci-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("cargo");
    fs::write(&program, format!("#!/bin/sh\ncd '{}'\n{cargo}\n", folder.display())).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("an executable");
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", folder.display());
    let output = Command::new(SCRIPT).arg(limit_s).env("PATH", path).output().expect("bash");
    (output, folder)
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

/// Whether the process whose number is in the file runs.
fn runs(pid: &Path) -> bool {
    let pid = fs::read_to_string(pid).expect("the process has told its number");
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn at_its_limit_all_of_it_ends() {
    let start = Instant::now();
    // Neither listens to a signal that can be ignored.
    let hangs = "trap '' TERM INT HUP\nsleep 1000 &\necho $! > child\necho $$ > self\nwait";
    let (output, folder) = run("limit", "2", hangs);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(!output.status.success());
    assert_eq!(last_line(&output), "0 passed, 1 failed: not at its end after 2 s");
    for _ in 0..100 {
        if !runs(&folder.join("child")) && !runs(&folder.join("self")) {
            fs::remove_dir_all(folder).expect("removed");
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("something goes on: see {}", folder.display());
}

#[test]
fn before_its_limit_the_end_is_that_of_the_test() {
    for (code, words) in [(0, "3 passed, 0 failed"), (1, "2 passed, 1 failed")] {
        let (output, folder) = run(&format!("end-{code}"), "60", &format!("echo \"$@\"; echo '{words}'; exit {code}"));
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(last_line(&output), words);
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("xtask test\n"));
        fs::remove_dir_all(folder).expect("removed");
    }
}
