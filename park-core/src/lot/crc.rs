//! CRC-32 (ISO-HDLC, the one of Ethernet and zip), fed with 64-bit words: any single flipped bit changes it.

/// The polynomial 04C11DB7h, bit-reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Eight tables for eight bytes at a time ("slicing by 8").
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// A running CRC-32 over little-endian 64-bit words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32 {
    /// The CRC of nothing so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Adds the eight bytes of `word`, lowest first.
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        let mixed = word ^ self.0 as u64;
        let mut crc = 0;
        let mut byte = 0;
        while byte < 8 {
            crc ^= TABLES[7 - byte][(mixed >> (8 * byte) & 0xff) as usize];
            byte += 1;
        }
        Self(crc)
    }

    /// The CRC.
    #[must_use]
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Crc32;

    #[test]
    fn matches_the_published_check_value() {
        // "12345678" padded by nothing: CRC-32/ISO-HDLC of these eight bytes is 9AE0DAAFh.
        assert_eq!(Crc32::new().word(u64::from_le_bytes(*b"12345678")).finish(), 0x9ae0_daaf);
    }
}
