//! The document of `park lot`.

use super::bay::{self, BayDocument, Whereabouts};
use super::dump::Dump;
use super::find::Place;
use crate::exit::{Exit, Failure};
use park_core::lot::{Header, Inspected, LeaseState, LeaseWord, inspect};
use park_core::{Error, PhysAddr, PlatformError};
use serde::Serialize;

/// The document's schema.
pub const SCHEMA: &str = "park.lot/1";

/// A lot, as a dump shows it. Addresses and registers are hexadecimal texts: they have up to 64 bits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LotDocument {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The file.
    pub file: String,
    /// What it is: `elf-core`, `raw`, or `piece` for a flat file that begins at the lot or near it.
    pub format: &'static str,
    /// The lot's physical address.
    pub address: String,
    /// Where it begins in the file.
    pub file_offset: String,
    /// Whether nothing is wrong with it.
    pub sound: bool,
    /// What is wrong with it.
    pub damage: Vec<DamageDocument>,
    /// What is odd about the file.
    pub warnings: Vec<String>,
    /// The header.
    pub header: Option<HeaderDocument>,
    /// Who may use the lot; `null` if the word is damaged.
    pub lease: Option<LeaseDocument>,
    /// The bays that the file holds.
    pub bays: Vec<BayDocument>,
}

/// A damage: what, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DamageDocument {
    /// What is wrong.
    pub what: String,
    /// Where in the lot.
    pub offset: Option<String>,
    /// What was found there.
    pub found: Option<String>,
}

/// The fixed part of the header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HeaderDocument {
    /// The address that the lot was built for.
    pub self_address: String,
    /// Its bytes.
    pub length: u64,
    /// Its id.
    pub lot_id: String,
    /// Features that an old reader may ignore.
    pub compat: String,
    /// Features that forbid an old reader to park.
    pub ro_compat: String,
    /// How many bays it has.
    pub bay_count: u32,
    /// Bytes from bay to bay.
    pub bay_stride: u64,
    /// Where the first bay begins.
    pub bay_offset: String,
    /// Where the bay code begins.
    pub code_offset: String,
    /// Bytes of the bay code.
    pub code_length: u32,
    /// Where the tables begin.
    pub tables_offset: String,
    /// Bytes of the tables.
    pub tables_length: u32,
    /// The encryption bit of page-table entries, `null` if none.
    pub encryption_mask: Option<String>,
    /// The ACPI mailbox's page, `null` if the bays watch none.
    pub mailbox: Option<String>,
}

/// The lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LeaseDocument {
    /// `held` by a kernel, `offered` to the next, or being taken (`taking`).
    pub state: &'static str,
    /// The generation of the kernel that holds, offers or takes it.
    pub generation: u32,
}

impl LotDocument {
    /// The exit that follows.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.sound { Exit::AsAsked } else { Exit::Unexpected }
    }
}

/// A number as addresses are written.
pub(super) fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// Decodes the lot at `place`.
///
/// # Errors
/// [`Failure::Input`] if the file can't be read.
pub fn document(dump: &mut Dump, place: Place) -> Result<LotDocument, Failure> {
    let mut memory = dump.memory(place.phys);
    let mut damage: Vec<Error> = Vec::new();
    let inspected = inspect(&mut memory, PhysAddr(place.phys), |error| damage.push(error));
    let mut bays = Vec::new();
    let mut failed = None;
    if let Some(inspected) = &inspected {
        let header = &inspected.header;
        let whereabouts = Whereabouts {
            lot_phys: place.phys,
            code_offset: header.code_offset.into(),
            code_len: header.code_len.into(),
        };
        for index in 0..inspected.bays {
            let Some(base) = inspected.bay(index) else { break };
            match bay::read(&mut memory, index, base, whereabouts) {
                Ok(bay) => bays.push(bay),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    if let Some(why) = unreadable(memory.error.take(), failed) {
        return Err(dump.wrong(&format!("can't be read: {why}")));
    }
    Ok(LotDocument {
        schema: SCHEMA,
        file: dump.name.clone(),
        format: dump.format.name(),
        address: hex(place.phys),
        file_offset: hex(place.file_offset),
        sound: damage.is_empty(),
        damage: damage.iter().map(damage_document).collect(),
        warnings: dump.warnings.clone(),
        header: inspected.map(|inspected| header_document(&inspected.header)),
        lease: inspected.and_then(|Inspected { lease, .. }| lease).map(lease_document),
        bays,
    })
}

/// Why the file could not be read, if it could not.
fn unreadable(error: Option<std::io::Error>, failed: Option<PlatformError>) -> Option<String> {
    error.map(|error| error.to_string()).or(failed.map(|error| error.to_string()))
}

fn damage_document(error: &Error) -> DamageDocument {
    DamageDocument { what: error.what().to_owned(), offset: error.offset().map(hex), found: error.value().map(hex) }
}

fn header_document(header: &Header) -> HeaderDocument {
    HeaderDocument {
        self_address: hex(header.self_phys.0),
        length: header.total_len,
        lot_id: format!("{:016x}{:016x}", header.lot_id[1], header.lot_id[0]),
        compat: hex(header.compat.into()),
        ro_compat: hex(header.ro_compat.into()),
        bay_count: header.bay_count,
        bay_stride: header.bay_stride,
        bay_offset: hex(header.bay_offset),
        code_offset: hex(header.code_offset.into()),
        code_length: header.code_len,
        tables_offset: hex(header.tables_offset.into()),
        tables_length: header.tables_len,
        encryption_mask: (header.encryption_mask != 0).then(|| hex(header.encryption_mask)),
        mailbox: header.mailbox.map(|mailbox| hex(mailbox.0)),
    }
}

fn lease_document(lease: LeaseWord) -> LeaseDocument {
    let state = match lease.state {
        LeaseState::Held => "held",
        LeaseState::Offered => "offered",
        LeaseState::Taking => "taking",
    };
    LeaseDocument { state, generation: lease.generation.raw() }
}
