//! The programs that the lab's Linux runs: busybox, and kexec with the libraries that it is linked to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::deadline::Deadline;
use crate::group::output;
use crate::linux::cache::cached;
use crate::linux::debian::{self, Package, files_in, libraries};
use crate::tool::Tool;

/// Reads what a program is linked to. Whoever can build the image has it.
pub const READELF: Tool = Tool { name: "readelf", package: "binutils" };

/// A shell and everything that a script needs, in one static program.
const BUSYBOX: &str = "busybox-static";
const BUSYBOX_FILE: &str = "bin/busybox";
/// Starts the next kernel.
const KEXEC: &str = "kexec-tools";
const KEXEC_FILE: &str = "sbin/kexec";
/// The dynamic linker, by the name that every program of Debian's amd64 asks the kernel for.
pub(crate) const LINKER: &str = "ld-linux-x86-64.so.2";

/// The programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Userland {
    /// busybox, which is static.
    pub busybox: PathBuf,
    /// kexec.
    pub kexec: PathBuf,
    /// What kexec is linked to, the dynamic linker among it. Named as they are asked for.
    pub libraries: Vec<PathBuf>,
    /// Where all of it is from.
    pub packages: Vec<Package>,
}

impl Userland {
    /// From the cache below `base`, or fetched into it.
    ///
    /// # Errors
    /// [`LabError::Package`] if something can't be fetched or lacks what it should have.
    pub fn of_debian(base: &Path, deadline: Deadline) -> Result<Self, LabError> {
        let cached = cached(base, "userland", |folder| {
            let (downloads, root) = (folder.join("downloads"), folder.join("root"));
            let mut names = vec![BUSYBOX.to_owned(), KEXEC.to_owned()];
            names.extend(libraries(KEXEC, deadline)?);
            let packages = debian::fetch(&names, &downloads, &root, deadline)?;
            keep(&root.join(BUSYBOX_FILE), &folder.join("busybox"), BUSYBOX)?;
            keep(&root.join(KEXEC_FILE), &folder.join("kexec"), KEXEC)?;
            let kept = folder.join("lib");
            fs::create_dir_all(&kept).map_err(LabError::file(&kept))?;
            for (name, file) in closure(&root.join(KEXEC_FILE), &root, deadline)? {
                keep(&file, &kept.join(name), KEXEC)?;
            }
            fs::remove_dir_all(&root).map_err(LabError::file(&root))?;
            fs::remove_dir_all(&downloads).map_err(LabError::file(&downloads))?;
            Ok(packages)
        })?;
        let mut libraries = files_in(&cached.folder.join("lib"))?;
        libraries.sort();
        let file = |name| cached.folder.join(name);
        Ok(Self { busybox: file("busybox"), kexec: file("kexec"), libraries, packages: cached.packages })
    }
}

fn keep(from: &Path, to: &Path, package: &str) -> Result<(), LabError> {
    fs::copy(from, to).map(drop).map_err(|error| LabError::Package {
        package: package.to_owned(),
        why: format!("{} can't be taken from it: {error}", from.display()),
    })
}

/// Everything that `program` is linked to, directly or not, by the name that it is asked for.
fn closure(program: &Path, root: &Path, deadline: Deadline) -> Result<BTreeMap<String, PathBuf>, LabError> {
    let there = files_below(root)?;
    let mut found = BTreeMap::new();
    let mut open = vec![program.to_owned()];
    let mut names = BTreeSet::from([LINKER.to_owned()]);
    loop {
        for name in core::mem::take(&mut names) {
            let file = there.get(&name).ok_or_else(|| LabError::Package {
                package: KEXEC.to_owned(),
                why: format!("it is linked to {name}, which none of the packages that it depends on has"),
            })?;
            if found.insert(name, file.clone()).is_none() {
                open.push(file.clone());
            }
        }
        let Some(file) = open.pop() else { return Ok(found) };
        let mut command = Command::new(READELF.find()?);
        command.arg("--dynamic").arg("--wide").arg(&file).env("LC_ALL", "C");
        names.extend(needed(&output(&mut command, deadline)?));
    }
}

/// The libraries in what `readelf --dynamic` prints: ` 0x… (NEEDED)  Shared library: [libc.so.6]`.
fn needed(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter(|line| line.contains("(NEEDED)"));
    let names = lines.filter_map(|line| line.split_once('[')?.1.split_once(']')).map(|(name, _)| name);
    names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
}

/// Files and links to files below `root`, by name: the package's own links have the names that programs ask for.
fn files_below(root: &Path) -> Result<BTreeMap<String, PathBuf>, LabError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in files_in(&folder)? {
            let kind = fs::symlink_metadata(&path).map_err(LabError::file(&path))?;
            // Only links to files of the same folder are followed: others lead out of the packages.
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() || fs::read_link(&path).is_ok_and(|to| to.components().count() == 1) {
                found.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_readelf_prints() {
        let printed = "Dynamic section at offset 0x1 contains 2 entries:\n  Tag        Type    Name/Value\n \
                       0x0000000000000001 (NEEDED)             Shared library: [libxenctrl.so.4.17]\n \
                       0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n \
                       0x0000000000000001 (NEEDED)             Shared library: [../evil]\n \
                       0x000000000000000e (SONAME)             Library soname: [x]\n";
        assert_eq!(needed(printed), ["libxenctrl.so.4.17", "libc.so.6"]);
    }
}
