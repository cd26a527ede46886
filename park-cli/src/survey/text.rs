//! What `park survey` shows to people.

use super::document::SurveyDocument;
use crate::exit::Failure;
use crate::machine::CountSource;
use crate::output::Output;
use crate::paint::{Cell, Tone, counted, wrap};

/// Most characters of a line of text, and of a reason.
const TEXT_WIDTH: usize = 100;
const WHY_WIDTH: usize = 72;
/// Any width.
const FREE: usize = usize::MAX;
/// Width of the names at the left.
const NAME_WIDTH: usize = 14;

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(survey: &SurveyDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let signature = format!(
        "signature {}: family {:x}h, model {:x}h, stepping {}",
        survey.signature, survey.family, survey.model, survey.stepping
    );
    field("vendor", &format!("{} ({})", survey.maker, survey.vendor_id), out)?;
    field("CPU", &signature, out)?;
    field("hypervisor", if survey.hypervisor { "yes: this is a virtual machine" } else { "none" }, out)?;
    field("logical CPUs", &format!("{}, {}", survey.logical_cpus, said(survey.logical_cpus_source)), out)?;
    let topology = &survey.topology;
    let shape = topology.shape.as_deref().map_or_else(|| "uneven".to_owned(), str::to_owned);
    let parts = [
        counted(topology.packages, "package"),
        counted(topology.cores, "core"),
        counted(topology.threads, "thread"),
        counted(topology.caches, "last-level cache"),
    ];
    let hybrid = if survey.hybrid { "; cores of several kinds" } else { "" };
    field("topology", &format!("{} ({shape}){hybrid}", parts.join(", ")), out)?;
    match &survey.monitor {
        Some(monitor) => {
            let (smallest, largest) = (monitor.smallest_line_bytes, monitor.largest_line_bytes);
            let states = monitor.mwait_substates.iter().zip(0..).filter(|(count, _)| **count > 0);
            let states: Vec<String> = states.map(|(count, c): (_, u32)| format!("C{c} {count}")).collect();
            let states = if states.is_empty() { "none told".to_owned() } else { states.join(", ") };
            let lines = lines(smallest, largest);
            field("MONITOR", &format!("{lines}; MWAIT sub-states: {states}"), out)?;
        }
        None => field("MONITOR", "none, or firmware switched it off", out)?,
    }
    let names = |wanted: bool| {
        let chosen = survey.features.iter().filter(|(_, has)| **has == wanted).map(|(name, _)| name.as_str());
        chosen.collect::<Vec<_>>().join(" ")
    };
    field("features", &names(true), out)?;
    field("lacks", &names(false), out)?;
    if survey.errata_in_full.is_empty() {
        field("errata", "none that touch parking", out)?;
    }
    for erratum in &survey.errata_in_full {
        field("erratum", &format!("{}: {}", erratum.name, erratum.what), out)?;
    }
    for unknown in survey.unknown {
        field("not known", unknown, out)?;
    }
    for note in &survey.notes {
        field("note", note, out)?;
    }
    out.line("")?;
    let row = |one: &super::document::MechanismSurvey| {
        let (word, tone) = if one.available { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        vec![Cell::plain(one.name), Cell::new(word, tone), Cell::plain(&one.why)]
    };
    let rows: Vec<Vec<Cell>> = survey.mechanisms.iter().map(row).collect();
    out.table(&["mechanism", "available", "why"], &rows, &[FREE, FREE, WHY_WIDTH])
}

/// A name and what belongs to it, which may take several lines.
fn field(name: &str, value: &str, out: &mut Output<'_>) -> Result<(), Failure> {
    for (number, line) in wrap(value, TEXT_WIDTH - NAME_WIDTH).iter().enumerate() {
        let name = if number == 0 { name } else { "" };
        out.line(format!("{name:NAME_WIDTH$}{line}").trim_end())?;
    }
    Ok(())
}

const fn said(source: CountSource) -> &'static str {
    match source {
        CountSource::OperatingSystem => "says the operating system",
        CountSource::Dump => "each with registers of its own in the dump",
        CountSource::TopologyLeaves => "say the topology leaves of one CPU about its package",
        CountSource::Asked => "as asked",
    }
}

/// The sizes of monitor lines. A CPU without leaf 5, or whose leaf 5 is empty as QEMU's, does not tell them.
fn lines(smallest_bytes: u16, largest_bytes: u16) -> String {
    match (smallest_bytes, largest_bytes) {
        (0, 0) => "lines of a size that the CPU does not tell".to_owned(),
        (smallest, largest) if smallest == largest => format!("lines of {smallest} bytes"),
        (smallest, largest) => format!("lines of {smallest} to {largest} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_nobody_tells_are_no_zeroes() {
        assert_eq!(lines(0, 0), "lines of a size that the CPU does not tell");
        assert_eq!(lines(64, 64), "lines of 64 bytes");
        assert_eq!(lines(64, 128), "lines of 64 to 128 bytes");
    }
}
