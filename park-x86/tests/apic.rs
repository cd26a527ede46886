//! The local APIC driver: what it writes, in which order, and when it gives up.

mod mock;

use mock::{Access, MockCpu};
use park_core::{Action, ApicId, ApicRegister, IpiSender, PlatformError, Register};
use park_x86::apic::LocalApic;

const APIC_BASE: Register = Register::Msr(0x1b);
const ICR_LOW: Register = Register::Apic(ApicRegister(0x300));
const ICR_HIGH: Register = Register::Apic(ApicRegister(0x310));

fn xapic() -> LocalApic<MockCpu> {
    let mut cpu = MockCpu::default();
    cpu.set(APIC_BASE, 0xfee0_0800);
    LocalApic::new(cpu).unwrap()
}

fn x2apic() -> LocalApic<MockCpu> {
    let mut cpu = MockCpu::default();
    cpu.set(APIC_BASE, 0xfee0_0c00);
    LocalApic::new(cpu).unwrap()
}

#[test]
fn xapic_writes_the_destination_first() {
    let mut apic = xapic();
    apic.send_startup(ApicId(254), 0x9a).unwrap();
    let expected = [Access::Write(ICR_HIGH, 254 << 24), Access::Write(ICR_LOW, 0x469a)];
    assert_eq!(apic.into_cpu().changes(), expected);
}

#[test]
fn xapic_refuses_ids_that_would_reach_another_cpu() {
    for id in [255, 256, 0x1_0000, u32::MAX] {
        let mut apic = xapic();
        assert_eq!(apic.send_init(ApicId(id)), Err(PlatformError::IdTooWide { apic_id: id }));
        assert!(apic.into_cpu().changes().is_empty(), "nothing may be written for id {id}");
    }
}

#[test]
fn x2apic_fences_and_names_wide_ids() {
    let mut apic = x2apic();
    apic.send_init(ApicId(0x1234_5678)).unwrap();
    apic.send_nmi(ApicId(0)).unwrap();
    let icr = Register::Msr(0x830);
    let expected = [
        Access::Act(Action::Fence),
        Access::Write(icr, 0x1234_5678_0000_4500),
        Access::Act(Action::Fence),
        Access::Write(icr, 0x4400),
    ];
    assert_eq!(apic.into_cpu().changes(), expected);
    assert_eq!(x2apic().send_nmi(ApicId(u32::MAX)), Err(PlatformError::IdTooWide { apic_id: u32::MAX }));
}

#[test]
fn a_busy_apic_is_waited_for_and_a_stuck_one_is_not() {
    let mut cpu = MockCpu { icr_polls: 3, ..MockCpu::default() };
    cpu.set(APIC_BASE, 0xfee0_0800);
    let mut apic = LocalApic::new(cpu).unwrap();
    apic.send_nmi(ApicId(1)).unwrap();
    let cpu = apic.into_cpu();
    let first_write = cpu.log.iter().position(|access| matches!(access, Access::Write(..))).unwrap();
    let reads = cpu.log[..first_write].iter().filter(|access| **access == Access::Read(ICR_LOW)).count();
    assert_eq!(reads, 4, "three busy reads and an idle one come before the message");

    let mut cpu = MockCpu { icr_polls: u32::MAX, ..MockCpu::default() };
    cpu.set(APIC_BASE, 0xfee0_0800);
    let mut apic = LocalApic::new(cpu).unwrap().with_poll_limit(10);
    assert_eq!(apic.send_nmi(ApicId(1)), Err(PlatformError::ApicBusy));
    assert!(apic.into_cpu().changes().is_empty(), "a busy ICR must not be overwritten");
}

#[test]
fn a_disabled_apic_is_no_apic() {
    let mut cpu = MockCpu::default();
    cpu.set(APIC_BASE, 0xfee0_0000);
    assert_eq!(LocalApic::new(cpu).err(), Some(PlatformError::NoSuchRegister));
}
