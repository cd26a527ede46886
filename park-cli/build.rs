//! Tells the program which commit it was built from, if that can be known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = from_package().or_else(from_git).unwrap_or_else(|| "commit unknown".to_owned());
    println!("cargo::rustc-env=PARK_COMMIT={commit}");
}

/// A package made by `cargo package` carries its commit.
fn from_package() -> Option<String> {
    let info = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let after = info.split_once("\"sha1\"")?.1;
    let sha1 = after.split('"').nth(1)?;
    is_commit(sha1).then(|| sha1.chars().take(SHORT).collect())
}

/// A checkout: asked of git, and only where the workspace itself is the repository, not something around it.
fn from_git() -> Option<String> {
    let git = Path::new("../.git");
    if !git.exists() || !Path::new("../park-core/Cargo.toml").exists() {
        return None;
    }
    // HEAD changes on a checkout, its log on every commit.
    for file in ["HEAD", "logs/HEAD"] {
        if git.join(file).exists() {
            println!("cargo::rerun-if-changed=../.git/{file}");
        }
    }
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let commit = text.trim();
    (output.status.success() && is_commit(commit)).then(|| commit.chars().take(SHORT).collect())
}

fn is_commit(text: &str) -> bool {
    text.len() >= SHORT && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Digits of a commit that are shown.
const SHORT: usize = 12;
