//! What an author copies stays small.

use std::fs;
use std::path::Path;

/// The most lines that all files of the folder have together.
const LINES_MAX: usize = 300;

#[test]
fn the_platform_has_at_most_300_lines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/platform");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    let total: usize = files.iter().map(lines).sum();
    assert!(files.len() >= 4 && total <= LINES_MAX, "{total} lines in {files:?}");
}
