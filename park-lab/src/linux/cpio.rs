//! A cpio archive as Linux unpacks it into its first root file system.
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux, the format with magic 070701 ("newc").

/// The magic of the format without checksums.
const MAGIC: &str = "070701";
/// Headers with their names, and data, are padded to this.
const ALIGN_BYTES: usize = 4;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// Types in a mode (POSIX, `<sys/stat.h>`; Linux' numbers).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;
/// Nothing here changes between two builds.
const MTIME: u32 = 0;

/// An archive that is being written.
#[derive(Clone, Default, Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// One entry's header, but for what all have.
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl Archive {
    /// Adds a directory. Parents come first; what is in it later.
    pub fn directory(&mut self, name: &str) {
        self.add(&Entry { name, mode: DIRECTORY | 0o755, device: (0, 0), data: &[] });
    }

    /// Adds a file with the permissions `mode`.
    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.add(&Entry { name, mode: REGULAR | mode, device: (0, 0), data });
    }

    /// Adds the node of a character device.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.add(&Entry { name, mode: CHARACTER | 0o600, device: (major, minor), data: &[] });
    }

    /// The whole archive, with its end.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.add(&Entry { name: TRAILER, mode: 0, device: (0, 0), data: &[] });
        self.bytes
    }

    fn add(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        let (major, minor) = entry.device;
        // Files of 4 GiB do not fit the format, and no memory of the lab's machines either.
        let data_bytes = u32::try_from(entry.data.len()).unwrap_or(u32::MAX);
        let name_bytes = u32::try_from(entry.name.len() + 1).unwrap_or(u32::MAX);
        // ino, mode, uid, gid, nlink, mtime, filesize, major, minor, rmajor, rminor, namesize, check.
        let fields = [self.entries, entry.mode, 0, 0, 1, MTIME, data_bytes, 0, 0, major, minor, name_bytes, 0];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(entry.data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN_BYTES), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn archive() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.file("bin/x", 0o755, b"12345");
        archive.character_device("console", 5, 1);
        archive.finish()
    }

    #[test]
    fn headers_and_data_are_aligned_and_the_end_is_marked() {
        let bytes = archive();
        assert_eq!(bytes.len() % ALIGN_BYTES, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        let text = String::from_utf8_lossy(&bytes);
        let at = text.find("bin/x\0").unwrap();
        // 110 bytes of header; the data follows the padded name.
        assert_eq!((at - 110) % ALIGN_BYTES, 0);
        assert_eq!(&bytes[(at + 6).next_multiple_of(4)..][..5], b"12345");
        assert!(text.trim_end_matches('\0').ends_with(TRAILER));
    }

    #[test]
    fn another_reader_finds_the_same() {
        // A reader by other hands, where there is one.
        let spawned =
            Command::new("cpio").args(["-tv", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = spawned else { return };
        child.stdin.take().unwrap().write_all(&archive()).unwrap();
        let listed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        for wanted in ["drwxr-xr-x", "-rwxr-xr-x", "bin/x", "crw-------", "5,"] {
            assert!(listed.contains(wanted), "{listed}");
        }
    }
}
