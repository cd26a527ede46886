//! Debian packages: which are installed, which versions exist, fetching and unpacking without installing.

use std::path::Path;
use std::process::Command;

use crate::group;
use crate::stage::{Deadline, StageError};

/// True if dpkg knows the package as installed.
pub(crate) fn is_installed(package: &str, deadline: Deadline) -> Result<bool, StageError> {
    // Lists nothing and fails for a name that it has never heard of; that is no error here. `sh` hides both.
    let query = r#"dpkg-query --show --showformat='${db:Status-Status}\n' "$0" 2>/dev/null || true"#;
    let status = group::output(Command::new("sh").args(["-c", query, package]), deadline)?;
    Ok(status.lines().any(|line| line == "installed"))
}

/// True if this program may install packages.
pub(crate) fn is_root(deadline: Deadline) -> Result<bool, StageError> {
    Ok(group::output(Command::new("id").arg("-u"), deadline)?.trim() == "0")
}

/// Fetches the list of packages that exist.
pub(crate) fn update(deadline: Deadline) -> Result<(), StageError> {
    group::run(Command::new("apt-get").args(["update", "-q"]), deadline)
}

/// Installs packages, without what they merely recommend.
pub(crate) fn install(packages: &[&str], deadline: Deadline) -> Result<(), StageError> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    group::run(command.args(["install", "-q", "-y", "--no-install-recommends"]).args(packages), deadline)
}

/// The newest version of `package` in the archive that begins with `prefix`.
pub(crate) fn version(package: &str, prefix: &str, deadline: Deadline) -> Result<Option<String>, StageError> {
    let listed = group::output(Command::new("apt-cache").args(["madison", package]), deadline)?;
    Ok(madison_version(&listed, prefix))
}

/// The version column of `apt-cache madison`, newest first: ` name | version | origin`.
fn madison_version(listed: &str, prefix: &str) -> Option<String> {
    let versions = listed.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    versions.into_iter().find(|version| version.starts_with(prefix)).map(str::to_owned)
}

/// Fetches packages, each `name` or `name=version`, into `folder`.
pub(crate) fn download(packages: &[String], folder: &Path, deadline: Deadline) -> Result<(), StageError> {
    group::run(Command::new("apt-get").args(["download", "-q"]).args(packages).current_dir(folder), deadline)
}

/// Unpacks every package file in `folder` below `root`.
pub(crate) fn unpack(folder: &Path, root: &Path, deadline: Deadline) -> Result<(), StageError> {
    let unreadable = |error| StageError::new(format!("can't read {}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            group::run(Command::new("dpkg").arg("-x").arg(&path).arg(root), deadline)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_with_the_prefix_is_found() {
        let listed = " rustc-web | 1.96.0+dfsg1-1~deb12u2 | http://a b/main amd64 Packages\n \
                      rustc-web | 1.85.0+dfsg3-1~deb12u3 | http://a b/main amd64 Packages\n";
        assert_eq!(madison_version(listed, "1.85."), Some("1.85.0+dfsg3-1~deb12u3".to_owned()));
        assert_eq!(madison_version(listed, "1.8."), None);
        assert_eq!(madison_version("", "1."), None);
    }
}
