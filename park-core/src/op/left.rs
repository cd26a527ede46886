//! The end of a wake: the CPU itself gives its bay back.

use super::step::operation;
use super::{Bay, Lease, Reply, Step};
use crate::lot::{Doorbell, OwnerState, Phase, Stage};
use crate::{ApicId, Cpu, Error, ErrorKind, Register, Ticks};

/// Bits of CR3 that hold an address: 51:12 (Intel SDM vol. 3, "Use of CR3 with Ordinary Paging").
const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Gives a bay back. Run by the CPU that was in it, once it has its own CR3, GDT, IDT, TSS and stack.
///
/// [`Left::new`] checks the CPU's registers. It can't check one: the processor does not say where the TSS is that TR
/// holds in hidden form, so the caller loads TR from its own GDT before. A GDT outside the lot is checked.
///
/// Works for a CPU that was woken, that a kernel unaware of park took by INIT and STARTUP, and that was reserved a bay
/// but never entered it: a ticket in flight is taken back first. The owner word is freed last, so that a crash anywhere
/// before leaves a bay that is not free.
///
/// # Errors
/// * [`ErrorKind::WrongState`]: a register still points into the lot (what was found is its value); the bay is not
///   reserved. A quarantined bay is never freed.
/// * [`ErrorKind::InvalidCpu`]: the bay is another CPU's, or there is none of that index.
/// * [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Left {
    bay: Bay,
    apic_id: ApicId,
    owner: u64,
    state: Leaving,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Leaving {
    Start,
    Owner,
    Identity,
    Doorbell,
    Quiet(Doorbell),
    Stage,
    Free,
}

operation!(Left => ());

impl Left {
    /// Checks that the executing CPU, whose APIC id is `apic_id`, has left the lot, and prepares to free the bay with
    /// this index.
    ///
    /// # Errors
    /// See the type.
    pub fn new(lease: &Lease, index: u32, apic_id: ApicId, cpu: &mut (impl Cpu + ?Sized)) -> Result<Self, Error> {
        let bay = lease.bay(index)?;
        let header = lease.lot().header();
        let lot = header.self_phys.0..header.self_phys.0.saturating_add(header.total_len);
        let registers = [
            (
                Register::Cr3,
                CR3_ADDRESS & !header.encryption_mask,
                "CR3 still points into the lot: load your own page tables",
            ),
            (Register::GdtrBase, u64::MAX, "GDTR still points into the lot: load your own GDT, then TR"),
            (Register::IdtrBase, u64::MAX, "IDTR still points into the lot: load your own IDT"),
            (Register::Rsp, u64::MAX, "RSP still points into the lot: switch to your own stack"),
        ];
        for (register, address_bits, what) in registers {
            let value = cpu.read(register)?;
            if lot.contains(&(value & address_bits)) {
                return Err(Error::new(ErrorKind::WrongState, what).at(bay.offset()).found(value));
            }
        }
        Ok(Self { bay, apic_id, owner: 0, state: Leaving::Start, end: None })
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<()>, Error> {
        let bay = self.bay;
        match self.state {
            Leaving::Start => {
                self.state = Leaving::Owner;
                Ok(Step::Load { offset: bay.owner() })
            }
            Leaving::Owner => {
                self.owner = reply.value()?;
                if OwnerState::from_raw(self.owner as u8) != Some(OwnerState::Reserved) {
                    let error = Error::new(ErrorKind::WrongState, "the bay is not reserved: it can't be given back");
                    return Err(error.at(bay.owner()).found(self.owner));
                }
                self.state = Leaving::Identity;
                Ok(Step::Load { offset: bay.identity() })
            }
            Leaving::Identity => {
                let id = reply.value()? as u32;
                if id != self.apic_id.0 {
                    let error =
                        Error::new(ErrorKind::InvalidCpu, "the bay is another CPU's: each CPU gives back its own");
                    return Err(error.at(bay.identity()).found(id.into()));
                }
                self.state = Leaving::Doorbell;
                Ok(Step::Load { offset: bay.doorbell() })
            }
            Leaving::Doorbell => Ok(self.quiet(Doorbell(reply.value()?))),
            Leaving::Quiet(before) => {
                let found = Doorbell(reply.value()?);
                // Somebody rang or revoked meanwhile: the CPU that would claim is this one, so nobody else can.
                Ok(if found == before { self.out() } else { self.quiet(found) })
            }
            Leaving::Stage => {
                reply.done()?;
                self.state = Leaving::Free;
                Ok(Step::CompareExchange { offset: bay.owner(), current: self.owner, new: free(self.owner) })
            }
            Leaving::Free => {
                let found = reply.value()?;
                if found != self.owner {
                    let error = Error::new(ErrorKind::WrongState, "somebody else changed the bay: it stays as it is");
                    return Err(error.at(bay.owner()).found(found));
                }
                Ok(Step::Done(()))
            }
        }
    }

    fn quiet(&mut self, found: Doorbell) -> Step<()> {
        self.state = Leaving::Quiet(found);
        let new = found.with_phase(Phase::Quiet).0;
        Step::CompareExchange { offset: self.bay.doorbell(), current: found.0, new }
    }

    fn out(&mut self) -> Step<()> {
        self.state = Leaving::Stage;
        Step::Store { offset: self.bay.stage(), value: Stage::Out as u64 }
    }
}

/// The same owner word, free.
pub(super) const fn free(owner: u64) -> u64 {
    owner & !0xff | OwnerState::Free as u64
}

/// Waits until a bay is free: until its CPU has run [`Left`].
///
/// # Errors
/// * [`ErrorKind::Uncertain`]: the deadline passed. Nothing is changed: wait again, or
///   [`Quarantine`](super::Quarantine) the bay.
/// * [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AwaitLeft {
    bay: Bay,
    deadline: Ticks,
    state: Awaiting,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Awaiting {
    Look,
    Owner,
}

operation!(AwaitLeft => ());

impl AwaitLeft {
    /// Waits until `bay` is free, or `deadline`.
    #[must_use]
    pub const fn new(bay: Bay, deadline: Ticks) -> Self {
        Self { bay, deadline, state: Awaiting::Look, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<()>, Error> {
        if self.state == Awaiting::Look {
            self.state = Awaiting::Owner;
            return Ok(Step::Load { offset: self.bay.owner() });
        }
        let owner = reply.value()?;
        if OwnerState::from_raw(owner as u8) == Some(OwnerState::Free) {
            return Ok(Step::Done(()));
        }
        if now >= self.deadline {
            let error = Error::new(ErrorKind::Uncertain, "the CPU has not given its bay back in time");
            return Err(error.at(self.bay.owner()).found(owner));
        }
        self.state = Awaiting::Look;
        Ok(Step::Wait { until: self.deadline })
    }
}
