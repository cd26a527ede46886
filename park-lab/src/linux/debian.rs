//! Packages of others, fetched and unpacked without being installed, and without root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::deadline::Deadline;
use crate::group::{self, output};
use crate::tool::Tool;

/// Asks what packages there are.
pub const APT_CACHE: Tool = Tool { name: "apt-cache", package: "apt" };
/// Fetches packages.
pub const APT_GET: Tool = Tool { name: "apt-get", package: "apt" };
/// Unpacks packages.
pub const DPKG_DEB: Tool = Tool { name: "dpkg-deb", package: "dpkg" };
/// Tells SHA-256.
pub const SHA256SUM: Tool = Tool { name: "sha256sum", package: "coreutils" };

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// A package as it was fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// What `apt-cache` says about `package`, in the form of `question`.
fn asked(question: &[&str], package: &str, deadline: Deadline) -> Result<String, LabError> {
    let mut command = Command::new(APT_CACHE.find()?);
    command.args(question).arg(package);
    output(&mut command, deadline).map_err(|error| match error {
        LabError::Program(text) => LabError::Package {
            package: package.to_owned(),
            why: format!("apt does not know it ({text}); `apt-get update` fetches the list of packages"),
        },
        other => other,
    })
}

/// The first package that `package` depends on: of a metapackage, the real one.
///
/// # Errors
/// [`LabError::Package`] if apt does not know it or it depends on nothing.
pub fn dependency(package: &str, deadline: Deadline) -> Result<String, LabError> {
    first_dependency(&asked(&["depends"], package, deadline)?).ok_or_else(|| LabError::Package {
        package: package.to_owned(),
        why: "it depends on no package, so nothing says which one is the real one".to_owned(),
    })
}

/// The first line `Depends:` of `apt-cache depends`.
fn first_dependency(listed: &str) -> Option<String> {
    let names = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends:")).map(str::trim);
    names.into_iter().find(|name| is_name(name)).map(str::to_owned)
}

/// The packages with libraries that `package` needs, and those that they need.
///
/// # Errors
/// [`LabError::Package`] if apt does not know it.
pub fn libraries(package: &str, deadline: Deadline) -> Result<Vec<String>, LabError> {
    Ok(library_names(&asked(&["depends", "--recurse", "--important"], package, deadline)?))
}

/// Packages stand at the beginning of a line of `apt-cache depends --recurse`, what they depend on is indented.
fn library_names(listed: &str) -> Vec<String> {
    let is_library = |name: &&str| is_name(name) && (name.starts_with("lib") || name.starts_with("zlib"));
    listed.lines().filter(is_library).map(str::to_owned).collect()
}

/// Whether Debian would take it for a package's name (Debian Policy 5.6.7): it begins no option and holds no separator.
fn is_name(text: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(byte)
}

/// Fetches `packages` into `folder` and unpacks them below `root`. Sorted by name.
///
/// # Errors
/// [`LabError::Package`] names what can't be fetched; [`LabError::ToolMissing`], [`LabError::File`], [`LabError::Program`].
pub fn fetch(packages: &[String], folder: &Path, root: &Path, deadline: Deadline) -> Result<Vec<Package>, LabError> {
    fs::create_dir_all(folder).map_err(LabError::file(folder))?;
    fs::create_dir_all(root).map_err(LabError::file(root))?;
    let mut download = Command::new(APT_GET.find()?);
    // Without a user of its own apt can write into any folder of ours.
    download.args(["download", "-qq", "-o", "APT::Sandbox::User="]).args(packages).current_dir(folder);
    group::run(&mut download, deadline).map_err(|error| match error {
        LabError::Program(text) => LabError::Package {
            package: packages.join(", "),
            why: format!("apt can't fetch it ({text}); is there a network, and is the list of packages new enough?"),
        },
        other => other,
    })?;
    let mut found = Vec::new();
    for file in files_in(folder)? {
        if file.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new(DPKG_DEB.find()?);
            unpack.arg("-x").arg(&file).arg(root);
            group::run(&mut unpack, deadline)?;
            found.push(Package {
                name: field(&file, "Package", deadline)?,
                version: field(&file, "Version", deadline)?,
                sha256: sha256(&file, deadline)?,
            });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    match packages.iter().find(|name| !found.iter().any(|package| package.name == **name)) {
        Some(missing) => {
            Err(LabError::Package { package: missing.clone(), why: "apt fetched something else".to_owned() })
        }
        None => Ok(found),
    }
}

/// A field of a package's own description.
fn field(file: &Path, name: &str, deadline: Deadline) -> Result<String, LabError> {
    let mut command = Command::new(DPKG_DEB.find()?);
    command.arg("--field").arg(file).arg(name);
    Ok(output(&mut command, deadline)?.trim().to_owned())
}

/// What lies in a folder.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, LabError> {
    let entries = fs::read_dir(folder).map_err(LabError::file(folder))?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(LabError::file(folder))
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// [`LabError::ToolMissing`], [`LabError::Program`].
pub fn sha256(file: &Path, deadline: Deadline) -> Result<String, LabError> {
    let mut command = Command::new(SHA256SUM.find()?);
    command.arg("--").arg(file);
    let text = output(&mut command, deadline)?;
    // A backslash says that the file's name, which follows, holds one.
    let digits = text.split_whitespace().next().unwrap_or_default().trim_start_matches('\\');
    if digits.len() == SHA256_DIGITS {
        Ok(digits.to_owned())
    } else {
        Err(LabError::Program(format!("sha256sum said `{}`", text.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_metapackage_leads_to_the_real_one() {
        let listed = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Suggests: firmware\n";
        assert_eq!(first_dependency(listed).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        // A virtual package is none that could be fetched.
        assert_eq!(first_dependency("a\n  Depends: <b>\n"), None);
        assert_eq!(first_dependency("a\n  Depends: -o\n"), None);
        assert_eq!(first_dependency(""), None);
    }

    #[test]
    fn libraries_are_told_from_what_depends_on_them() {
        let listed = "kexec-tools\n  Depends: libc6\n |Depends: debconf\nlibc6\n  Depends: libgcc-s1\nlibgcc-s1\n\
                      debconf\n<debconf-2.0>\nzlib1g\n";
        assert_eq!(library_names(listed), ["libc6", "libgcc-s1", "zlib1g"]);
    }

    #[test]
    fn the_sum_is_the_one_of_the_standard() {
        let file = std::env::temp_dir().join(format!("park-lab-sha256-{}", std::process::id()));
        fs::write(&file, "abc").unwrap();
        // FIPS 180-4's example.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&file, Deadline::after(Duration::from_secs(60))).unwrap(), expected);
        fs::remove_file(file).unwrap();
    }
}
