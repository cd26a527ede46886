//! What was fetched once, below `target/linux`: whole or not there.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::LabError;
use crate::linux::debian::Package;

/// The folder where fetched things lie, beside that of artifacts.
pub const NAME: &str = "linux";
/// The file that says where the rest is from; a folder without it was not finished.
const ORIGIN: &str = "origin.json";

/// A folder below the cache, and which packages it is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cached {
    /// The folder.
    pub folder: PathBuf,
    /// The packages.
    pub packages: Vec<Package>,
}

/// The folder `name` below `base`: as it is, or made by `make` in a folder of its own and then renamed. So nobody ever
/// sees half of it, two programs at once get in nobody's way, and the second run asks no network.
///
/// # Errors
/// [`LabError::File`], and what `make` returns.
pub fn cached(
    base: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<Vec<Package>, LabError>,
) -> Result<Cached, LabError> {
    let folder = base.join(name);
    if let Some(packages) = origin(&folder) {
        return Ok(Cached { folder, packages });
    }
    let new = base.join(format!("{name}.new-{}", std::process::id()));
    clear(&new)?;
    fs::create_dir_all(&new).map_err(LabError::file(&new))?;
    let made = make(&new).and_then(|packages| {
        let file = new.join(ORIGIN);
        fs::write(&file, format!("{}\n", document(&packages))).map_err(LabError::file(&file))?;
        Ok(packages)
    });
    let packages = match made {
        Ok(packages) => packages,
        Err(error) => {
            // Why it failed is worth more than that it can't be cleared away.
            let _ = clear(&new);
            return Err(error);
        }
    };
    // What is there without an origin is what an older version left.
    if origin(&folder).is_none() {
        clear(&folder)?;
    }
    match fs::rename(&new, &folder) {
        Ok(()) => Ok(Cached { folder, packages }),
        // Another program was quicker, and has made the same.
        Err(_) if origin(&folder).is_some() => {
            clear(&new)?;
            let packages = origin(&folder).unwrap_or_default();
            Ok(Cached { folder, packages })
        }
        Err(error) => Err(LabError::File { path: folder, error }),
    }
}

fn clear(folder: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::File { path: folder.to_owned(), error })
        }
        _ => Ok(()),
    }
}

fn document(packages: &[Package]) -> Value {
    let one = |package: &Package| {
        let Package { name, version, sha256 } = package;
        json!({ "package": name, "version": version, "sha256": sha256 })
    };
    json!({ "packages": packages.iter().map(one).collect::<Vec<_>>() })
}

/// The packages of a folder that is whole.
fn origin(folder: &Path) -> Option<Vec<Package>> {
    let text = fs::read_to_string(folder.join(ORIGIN)).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    let one = |value: &Value| {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Package { name: text("package")?, version: text("version")?, sha256: text("sha256")? })
    };
    document.get("packages")?.as_array()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("park-lab-cache-{name}-{}", std::process::id()));
        clear(&base).unwrap();
        base
    }

    fn package() -> Vec<Package> {
        vec![Package { name: "a".to_owned(), version: "1".to_owned(), sha256: "00".to_owned() }]
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let base = base("again");
        let make = |folder: &Path| {
            fs::write(folder.join("x"), "1").unwrap();
            Ok(package())
        };
        let first = cached(&base, "kernel", make).unwrap();
        let second = cached(&base, "kernel", |_| panic!("it is there")).unwrap();
        assert_eq!(first, second);
        assert_eq!((first.packages, fs::read_to_string(first.folder.join("x")).unwrap()), (package(), "1".to_owned()));
        clear(&base).unwrap();
    }

    #[test]
    fn what_fails_or_was_interrupted_leaves_nothing_that_counts() {
        let base = base("half");
        let error = LabError::Program("no network".to_owned());
        assert!(cached(&base, "kernel", |_| Err(error)).is_err());
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
        // As an interrupted program of another kind leaves it.
        fs::create_dir_all(base.join("kernel")).unwrap();
        fs::write(base.join("kernel").join("vmlinuz"), "half").unwrap();
        let made = cached(&base, "kernel", |_| Ok(package())).unwrap();
        assert!(!made.folder.join("vmlinuz").exists());
        clear(&base).unwrap();
    }
}
