//! Writes the generated pages into `docs/`.

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
    ExitCode::SUCCESS
}
