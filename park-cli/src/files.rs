//! Files that are written whole or not at all.

use crate::exit::Failure;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Mutex;

/// The temporary files that exist now, for [`forget_half_written`].
static HALF_WRITTEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Writes `bytes` to `path`: to a file beside it first, which then takes its name. Whatever stood there stays as it was
/// until the new content is complete, and for good if something fails.
///
/// A path that is something else than a file, as /dev/stdout is, is written to directly: there is nothing to replace.
/// Success does not promise that the name survives a power failure.
///
/// # Errors
/// [`Failure::Input`] that names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let wrong = |error: io::Error| Failure::Input(format!("{}: can't be written: {error}", path.display()));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(Failure::Input(format!("{}: is a directory, not a file to write", path.display())));
        }
        Ok(metadata) if !metadata.is_file() => {
            return File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes)).map_err(wrong);
        }
        _ => {}
    }
    // A link stays a link: what it points at is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(name) = target.file_name() else {
        return Err(Failure::Input(format!("{}: is no name of a file", path.display())));
    };
    let mut beside = name.to_owned();
    beside.push(format!(".{}.part", process::id()));
    let temporary = target.with_file_name(beside);
    note(&temporary);
    let written = write_new(&temporary, bytes).and_then(|()| keep_mode(&target, &temporary));
    let renamed = written.and_then(|()| {
        // Held meanwhile: a program that is ended now has either the old file or the new one.
        let _list = HALF_WRITTEN.lock();
        fs::rename(&temporary, &target)
    });
    if renamed.is_err() {
        // The first error is the one to tell; if nothing was made there is nothing to remove.
        let _ = fs::remove_file(&temporary);
    }
    drop_note(&temporary);
    renamed.map_err(wrong)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A file that is replaced keeps its permissions.
fn keep_mode(old: &Path, new: &Path) -> io::Result<()> {
    match fs::metadata(old) {
        Ok(metadata) => fs::set_permissions(new, metadata.permissions()),
        Err(_) => Ok(()),
    }
}

fn note(path: &Path) {
    if let Ok(mut list) = HALF_WRITTEN.lock() {
        list.push(path.to_owned());
    }
}

fn drop_note(path: &Path) {
    if let Ok(mut list) = HALF_WRITTEN.lock() {
        list.retain(|noted| noted != path);
    }
}

/// Removes the temporary files of writes under way. The program ends after this: no write begins or ends any more.
pub(crate) fn forget_half_written() {
    if let Ok(list) = HALF_WRITTEN.lock() {
        for path in list.iter() {
            // Nobody is left to tell.
            let _ = fs::remove_file(path);
        }
        // Never given back: a write that finds its file gone waits here, and does not tell of an error.
        core::mem::forget(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("park-files-{name}-{}", process::id()));
        let made = fs::create_dir_all(&folder);
        assert!(made.is_ok(), "{made:?}");
        folder
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = folder("replaced");
        let path = folder.join("a.svg");
        for content in [&b"one"[..], b"two, longer", b""] {
            assert!(write_whole(&path, content).is_ok());
            assert_eq!(fs::read(&path).ok().as_deref(), Some(content));
        }
        assert_eq!(fs::read_dir(&folder).map(Iterator::count).ok(), Some(1));
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = folder("failed");
        let directory = folder.join("d");
        assert!(fs::create_dir_all(directory.join("inside")).is_ok());
        for (path, named) in [
            (directory.as_path(), "directory"),
            (&folder.join("nowhere/a.svg"), "nowhere/a.svg: can't be written"),
            (Path::new("/dev/full"), "/dev/full: can't be written"),
        ] {
            match write_whole(path, b"x") {
                Err(failure) => assert!(failure.to_string().contains(named), "{failure}"),
                Ok(()) => panic!("{} was written", path.display()),
            }
        }
        assert_eq!(fs::read_dir(&folder).map(Iterator::count).ok(), Some(1));
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = folder("link");
        let (real, link) = (folder.join("real"), folder.join("link"));
        assert!(fs::write(&real, "old").is_ok() && std::os::unix::fs::symlink(&real, &link).is_ok());
        assert!(write_whole(&link, b"new").is_ok());
        assert_eq!(fs::read(&real).ok().as_deref(), Some(&b"new"[..]));
        assert!(fs::symlink_metadata(&link).is_ok_and(|metadata| metadata.is_symlink()));
        let _ = fs::remove_dir_all(folder);
    }
}
