//! Tells the program which commit it was built from, if that can be known.

use std::path::Path;

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

/// A checkout, and only where the workspace itself is the repository, not something around it. Its files are read, and git is
/// not asked: it refuses where somebody else owns the checkout, and may not be there.
fn from_git() -> Option<String> {
    let entry = Path::new("../.git");
    if !entry.exists() || !Path::new("../park-core/Cargo.toml").exists() {
        return None;
    }
    // Of a linked worktree it is a file that names the folder (gitrepository-layout(5)).
    let folder = match std::fs::read_to_string(entry) {
        Ok(text) => Path::new("..").join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => entry.to_owned(),
    };
    let common = match std::fs::read_to_string(folder.join("commondir")) {
        Ok(text) => folder.join(text.trim()),
        Err(_) => folder.clone(),
    };
    // HEAD changes on a checkout, its log on every commit.
    for file in ["HEAD", "logs/HEAD"].map(|name| folder.join(name)) {
        if file.exists() {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
    let head = std::fs::read_to_string(folder.join("HEAD")).ok()?;
    let commit = match head.trim().strip_prefix("ref: ") {
        None => head.trim().to_owned(),
        Some(name) => match std::fs::read_to_string(common.join(name)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => packed(&std::fs::read_to_string(common.join("packed-refs")).ok()?, name)?,
        },
    };
    is_commit(&commit).then(|| commit.chars().take(SHORT).collect())
}

/// A reference in `packed-refs`: lines of a commit and a name.
fn packed(refs: &str, name: &str) -> Option<String> {
    let mut lines = refs.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, known)| *known == name).map(|(commit, _)| commit.to_owned())
}

fn is_commit(text: &str) -> bool {
    text.len() >= SHORT && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Digits of a commit that are shown.
const SHORT: usize = 12;
