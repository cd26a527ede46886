//! Options that choose a machine, shared by commands.

use super::{Machine, VendorArgument, dumped, host};
use crate::exit::Failure;
use crate::topology::Shape;
use std::path::PathBuf;

/// Options that choose a machine; this one if none is given.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
pub struct MachineArguments {
    /// The machine whose CPUID registers were dumped into this file, instead of this one
    #[arg(long, value_name = "FILE", conflicts_with = "topology")]
    pub cpuid: Option<PathBuf>,
    /// A machine of this shape: packages x cores per package x threads per core; APIC ids are packed, CPU 0 is the bootstrap processor
    #[arg(long, value_name = "PxCxT")]
    pub topology: Option<Shape>,
    /// Whose CPUs a machine of a shape has [default: intel]
    #[arg(long, value_name = "intel|amd", requires = "topology")]
    pub vendor: Option<VendorArgument>,
}

impl MachineArguments {
    /// The machine that is asked for.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the dump.
    pub fn machine(&self) -> Result<Machine, Failure> {
        match (&self.cpuid, self.topology) {
            (Some(path), _) => dumped::read(path),
            (None, Some(shape)) => Ok(Machine::of_shape(self.vendor.unwrap_or_default(), shape)),
            (None, None) => Ok(host::machine()),
        }
    }
}
