//! Paging, TLB lifetime, store buffers, tags, dirty lines.

use iced_x86::code_asm::*;

use super::super::msr::num;
use super::*;

const PD: u64 = PML4 + 0x2000;
/// A linear page that the tests map themselves: 16 MiB.
const WINDOW: u64 = 0x100_0000;
const PT: u64 = PML4 + 0x8000;
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const GLOBAL: u64 = 1 << 8;
const NX: u64 = 1 << 63;

fn map(m: &mut Machine, phys: u64, bits: u64) {
    m.write_phys(PD + 8 * 8, &(PT | 7).to_le_bytes());
    m.write_phys(PT, &(phys | bits).to_le_bytes());
}

fn machine(rule: Option<Rule>, config: MachineConfig) -> Machine {
    let mut config = config;
    if let Some(rule) = rule {
        config.rules = config.rules.without(rule);
    }
    machine_of(&config)
}

fn read(m: &mut Machine) -> Result<u64, Exception> {
    m.load_linear(0, WINDOW, 8)
}

fn pf(code: u32) -> Exception {
    Exception { vector: 14, error: Some(code) }
}

#[test]
fn permissions_fault_with_the_right_codes() {
    let mut m = machine(None, MachineConfig::intel(1));
    map(&mut m, DATA, 0);
    assert_eq!(read(&mut m), Err(pf(0)));
    map(&mut m, DATA, PRESENT);
    assert_eq!(read(&mut m), Ok(0));
    assert_eq!(m.store_linear(0, WINDOW, 8, 1), Err(pf(3)));
    m.cpu_mut(0).cr0 &= !(1 << 16);
    assert_eq!(m.store_linear(0, WINDOW, 8, 1), Ok(()), "WP=0");
    map(&mut m, DATA, PRESENT | (1 << 50));
    m.evict_tlb(0, Evict::All);
    assert_eq!(read(&mut m), Err(pf(9)), "reserved bit");
    map(&mut m, DATA, PRESENT | NX);
    m.evict_tlb(0, Evict::All);
    m.cpu_mut(0).rip = WINDOW;
    m.step(0);
    assert!(in_handler(&m, 0, 14));
    assert_eq!(m.load(0, m.cpu(0).reg(Gpr::Rsp)), 0x11, "fetch of a present page");
}

#[test]
fn each_protection_rule_matters() {
    type Case = (Rule, u64, fn(&mut Machine), fn(&mut Machine) -> bool);
    let fetch = |m: &mut Machine| {
        m.write_phys(DATA, &[0x90]);
        m.cpu_mut(0).rip = WINDOW;
        m.step(0) != Outcome::Executed
    };
    let load = |m: &mut Machine| m.load_linear(0, WINDOW, 8).is_err();
    let store = |m: &mut Machine| m.store_linear(0, WINDOW, 8, 1).is_err();
    let cases: [Case; 6] = [
        (Rule::NxFaults, PRESENT | NX, |_| {}, fetch),
        (Rule::WpFaults, PRESENT, |_| {}, store),
        (Rule::SmepFaults, PRESENT | USER, |m| m.cpu_mut(0).cr4 |= 1 << 20, fetch),
        (Rule::SmapFaults, PRESENT | USER, |m| m.cpu_mut(0).cr4 |= 1 << 21, load),
        (Rule::LassFaults, PRESENT, |m| m.cpu_mut(0).cr4 |= 1 << 27, fetch),
        (
            Rule::ProtectionKeysChecked,
            PRESENT | WRITE | (2 << 59),
            |m| {
                m.cpu_mut(0).cr4 |= 1 << 24;
                m.write_msr(0, num::PKRS, 1 << 4).expect("PKS");
            },
            load,
        ),
    ];
    for (rule, bits, prepare, refused) in cases {
        for rule_off in [None, Some(rule)] {
            let mut m = machine(rule_off, MachineConfig::intel(1));
            if bits & USER != 0 {
                for at in [PML4, PML4 + 0x1000] {
                    let entry = m.read_phys_u64(at) | USER;
                    m.write_phys(at, &entry.to_le_bytes());
                }
            }
            map(&mut m, DATA, bits);
            prepare(&mut m);
            assert_eq!(refused(&mut m), rule_off.is_none(), "{rule:?}");
        }
    }
}

#[test]
fn smap_yields_to_ac_but_not_for_descriptor_reads() {
    let mut m = machine(None, MachineConfig::intel(1));
    for at in [PML4, PML4 + 0x1000] {
        let entry = m.read_phys_u64(at) | USER;
        m.write_phys(at, &entry.to_le_bytes());
    }
    map(&mut m, GDT, PRESENT | WRITE | USER);
    m.cpu_mut(0).cr4 |= 1 << 21;
    m.cpu_mut(0).rflags |= 1 << 18;
    assert!(read(&mut m).is_ok());
    m.cpu_mut(0).gdtr.base = WINDOW;
    load(&mut m, |a| {
        a.mov(eax, 0x10)?;
        a.mov(ds, eax)?;
        a.hlt()
    });
    m.step(0);
    // The handler's CS comes from the same table: the fault cannot be delivered.
    m.step(0);
    assert_eq!(m.cpu(0).activity, Activity::Shutdown);
}

#[test]
fn accessed_and_dirty_bits_are_writes_to_the_tables() {
    let mut m = machine(None, MachineConfig::intel(1));
    map(&mut m, DATA, PRESENT | WRITE);
    m.set_tag(PhysRange::new(PT, 0x1000), Tag(9));
    m.set_allowed(0, !(1 << 9));
    assert!(read(&mut m).is_ok());
    assert_eq!(m.read_phys_u64(PT) & 0x60, 0x20);
    let kinds: Vec<AccessKind> = m.breaches.first().iter().map(|breach| breach.kind).collect();
    assert_eq!(kinds, [AccessKind::Walk, AccessKind::WalkWrite]);
    m.store_linear(0, WINDOW, 8, 1).expect("writable");
    assert_eq!(m.read_phys_u64(PT) & 0x60, 0x60);
    m.breaches.clear();
    m.store_linear(0, WINDOW, 8, 1).expect("writable");
    assert!(m.breaches.is_empty(), "cached");
}

#[test]
fn stale_translations_serve_until_flushed() {
    let values = |m: &mut Machine| {
        m.write_phys(DATA, &1u64.to_le_bytes());
        m.write_phys(DATA + 0x1000, &2u64.to_le_bytes());
        map(m, DATA, PRESENT | WRITE);
        assert_eq!(read(m), Ok(1));
        map(m, DATA + 0x1000, PRESENT | WRITE);
    };
    let mut m = machine(None, MachineConfig::intel(1));
    values(&mut m);
    assert_eq!(read(&mut m), Ok(1));
    m.evict_tlb(0, Evict::Page(WINDOW));
    assert_eq!(read(&mut m), Ok(2));
    // Shortcuts do not outlive an eviction or a CR3 write either.
    let mut m = machine(None, MachineConfig::intel(1));
    values(&mut m);
    let root = m.cpu(0).cr3;
    m.write_reg(0, HostReg::Cr3, root).expect("CR3");
    assert_eq!(read(&mut m), Ok(2));
    let mut config = MachineConfig::intel(1);
    config.tlb = TlbMode::EvictAlways;
    let mut m = machine(None, config);
    values(&mut m);
    assert_eq!(read(&mut m), Ok(2));
    let mut m = machine(Some(Rule::TlbServesStale), MachineConfig::intel(1));
    values(&mut m);
    assert_eq!(read(&mut m), Ok(2));
}

#[test]
fn globals_and_pcids_outlive_mov_cr3() {
    let stale_after_cr3 = |rule: Option<Rule>, bits: u64, set: u64, next: u64| {
        let mut m = machine(rule, MachineConfig::intel(1));
        let old = m.cpu(0).cr4;
        m.write_reg(0, HostReg::Cr4, old | set).expect("CR4");
        m.write_phys(DATA, &1u64.to_le_bytes());
        m.write_phys(DATA + 0x1000, &2u64.to_le_bytes());
        map(&mut m, DATA, PRESENT | WRITE | bits);
        assert_eq!(read(&mut m), Ok(1));
        map(&mut m, DATA + 0x1000, PRESENT | WRITE | bits);
        m.write_reg(0, HostReg::Cr3, PML4 | next).expect("CR3");
        if next & 0xfff != 0 {
            m.write_reg(0, HostReg::Cr3, PML4 | (1 << 63)).expect("CR3");
        }
        read(&mut m) == Ok(1)
    };
    let (pge, pcide) = (1 << 7, 1 << 17);
    assert!(!stale_after_cr3(None, GLOBAL, 0, 0), "no PGE");
    assert!(stale_after_cr3(None, GLOBAL, pge, 0));
    assert!(!stale_after_cr3(None, 0, pge, 0));
    assert!(!stale_after_cr3(Some(Rule::MovCr3KeepsGlobals), GLOBAL, pge, 0));
    assert!(!stale_after_cr3(None, 0, pcide, 0));
    assert!(stale_after_cr3(None, 0, pcide, 5), "another PCID and back with bit 63");
    assert!(!stale_after_cr3(Some(Rule::PcidKeepsOthers), 0, pcide, 5));
    assert!(stale_after_cr3(None, 0, pcide, 1 << 63), "bit 63 keeps the PCID's own");
}

#[test]
fn clearing_pge_drops_globals() {
    for (rule, expected) in [(None, 2), (Some(Rule::Cr4ChangeFlushes), 1)] {
        let mut m = machine(rule, MachineConfig::intel(1));
        let old = m.cpu(0).cr4;
        m.write_reg(0, HostReg::Cr4, old | (1 << 7)).expect("PGE");
        m.write_phys(DATA, &1u64.to_le_bytes());
        m.write_phys(DATA + 0x1000, &2u64.to_le_bytes());
        map(&mut m, DATA, PRESENT | WRITE | GLOBAL);
        assert_eq!(read(&mut m), Ok(1));
        map(&mut m, DATA + 0x1000, PRESENT | WRITE | GLOBAL);
        m.write_reg(0, HostReg::Cr4, old).expect("PGE off");
        assert_eq!(read(&mut m), Ok(expected));
    }
}

#[test]
fn five_levels_walk_one_table_more() {
    let mut m = Machine::new(&MachineConfig::intel(1)).expect("a valid configuration");
    let four = intel();
    let mut tables = vec![0; 0x4000];
    four.read_phys(PML4, &mut tables);
    m.write_phys(PML4, &tables);
    m.write_phys(PT, &(PML4 | 3).to_le_bytes());
    m.write_phys(DATA + 0x123, &[0x5a]);
    let state = LongMode { cr4: (1 << 6) | (1 << 12), ..LongMode::new(PT, CODE, STACK) };
    m.start_long_mode(0, &state);
    assert_eq!(m.load_linear(0, DATA + 0x123, 1), Ok(0x5a));
    assert_eq!(m.load_linear(0, 1 << 50, 1), Err(pf(0)), "canonical with 57 bits");
}

#[test]
fn encryption_mark_is_not_address() {
    let mut config = MachineConfig::amd(1);
    config.encryption_mask = 1 << 47;
    let mut m = machine_of(&config);
    m.write_phys(DATA, &[7]);
    map(&mut m, DATA, PRESENT | WRITE | (1 << 47));
    assert_eq!(m.load_linear(0, WINDOW, 1), Ok(7));
    assert_eq!(m.write_reg(0, HostReg::Cr3, PML4 | (1 << 47)), Ok(()));
    assert_eq!(m.load_linear(0, DATA, 1), Ok(7));
}

#[test]
fn breaches_are_recorded_and_do_not_stop() {
    let mut m = intel();
    load(&mut m, |a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx), rax)?;
        a.push(rax)?;
        a.ud2()
    });
    m.set_tag(PhysRange::new(DATA, 0x1000), Tag(3));
    m.set_tag(PhysRange::new(STACK - 0x1000, 0x1000), Tag(2));
    m.set_tag(PhysRange::new(HANDLERS, 0x1000), Tag(1));
    m.set_allowed(0, 1);
    run_to_wait(&mut m, 0);
    let seen: Vec<(AccessKind, u8)> = m.breaches.first().iter().map(|breach| (breach.kind, breach.tag)).collect();
    let (push, fetch) = ((AccessKind::Push, 2), (AccessKind::Fetch, 1));
    assert_eq!(
        seen,
        [(AccessKind::Read, 3), (AccessKind::Write, 3), (AccessKind::Write, 2), push, push, push, push, push, fetch]
    );
    assert_eq!(m.tag_at(DATA), Tag(3));
    // Allowing the tags at run time ends it.
    m.breaches.clear();
    m.set_allowed(0, u64::MAX);
    m.cpu_mut(0).activity = Activity::Running;
    m.step(0);
    assert!(m.breaches.is_empty());
}

#[test]
fn dirty_lines_follow_stores_and_write_backs() {
    let mut config = MachineConfig::intel(2);
    config.track_dirty_lines = true;
    let mut m = machine_of(&config);
    m.store(0, DATA, 1);
    assert_eq!(m.dirty_lines(0).count(), 0, "not visible yet");
    m.drain_all(0);
    assert_eq!(m.dirty_lines(0).collect::<Vec<_>>(), [DATA]);
    m.compare_exchange(1, DATA, 1, 2);
    assert_eq!((m.dirty_lines(0).count(), m.dirty_lines(1).count()), (0, 1));
    m.exec_special(1, Special::Wbinvd).expect("WBINVD");
    assert_eq!((m.dirty_lines(1).count(), m.lines_lost(1)), (0, 0));
    m.compare_exchange(1, DATA, 2, 3);
    m.exec_special(1, Special::Invd).expect("INVD");
    assert_eq!((m.dirty_lines(1).count(), m.lines_lost(1)), (0, 1));
}

#[test]
fn monitor_arms_on_write_back_memory_only() {
    for (rule, armed) in [(None, false), (Some(Rule::MonitorNeedsWriteBack), true)] {
        let mut m = machine(rule, MachineConfig::intel(1));
        map(&mut m, DATA, PRESENT | WRITE | (1 << 4));
        load(&mut m, |a| {
            a.mov(rax, WINDOW)?;
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            a.monitor()?;
            a.mwait()?;
            a.hlt()
        });
        run_to_wait(&mut m, 0);
        assert_eq!(matches!(m.cpu(0).activity, Activity::Mwait { .. }), armed);
    }
}

#[test]
fn out_of_ram_reads_ones_and_writes_vanish() {
    let mut m = machine(None, MachineConfig::intel(1));
    map(&mut m, 0x2000_0000_0000, PRESENT | WRITE);
    assert_eq!(read(&mut m), Ok(u64::MAX));
    m.store_linear(0, WINDOW, 8, 1).expect("writable");
    assert_eq!(read(&mut m), Ok(u64::MAX));
}

#[test]
fn speculation_reads_tables_and_caches() {
    let mut m = machine(None, MachineConfig::intel(1));
    map(&mut m, DATA, PRESENT | WRITE);
    m.set_tag(PhysRange::new(PT, 0x1000), Tag(9));
    m.set_allowed(0, !(1 << 9));
    assert!(m.speculate(0, WINDOW));
    assert_eq!(m.breaches.first().first().map(|breach| breach.kind), Some(AccessKind::Walk));
    map(&mut m, DATA + 0x1000, PRESENT | WRITE);
    m.write_phys(DATA, &[1]);
    assert_eq!(m.load_linear(0, WINDOW, 1), Ok(1), "cached by speculation");
    assert!(!m.speculate(0, 0x7000_0000_0000));
    assert_eq!(m.cpu(0).cr2, 0);
}
