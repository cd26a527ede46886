//! Writes the generated pages into `docs/`, and the table into the README.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for page in park_docs::pages() {
        let path = docs.join(page.name);
        if let Err(error) = std::fs::write(&path, page.text) {
            eprintln!("can't write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("docs/{}", page.name);
    }
    let path = docs.join("../README.md");
    let current = match std::fs::read_to_string(&path).map(|found| park_docs::readme(&found)) {
        Ok(Some(current)) => current,
        Ok(None) => {
            eprintln!("{} has lost the lines between which its table stands", path.display());
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("can't read {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = std::fs::write(&path, current) {
        eprintln!("can't write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    println!("README.md");
    ExitCode::SUCCESS
}
