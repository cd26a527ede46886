//! Random bytes as code, random registers, events in between: the machine stops or goes on, it never panics, and its state packs.

use super::schedule::Rng;
use super::*;

/// Runs of this test; a longer run of the same generator found nothing in a million.
const RUNS: u64 = 1500;
const REAL_SEGMENT: u16 = 0x1000;

fn random_register(rng: &mut Rng) -> u64 {
    match rng.below(6) {
        0 => rng.next_u64(),
        1 => rng.below(256),
        2 => 0xfee0_0000 + rng.below(4096),
        3 => rng.below(8 << 20),
        4 => u64::MAX - rng.below(4096),
        _ => 0xc000_0080 + rng.below(8),
    }
}

/// MSR numbers with rules of their own.
fn random_msr(rng: &mut Rng) -> u64 {
    let bank = rng.below(200);
    let numbers = [0x1b, 0x17a, 0x277, 0x830, 0xc001_0114, 0x6a2, 0x4000_0000, 0x400 + bank, 0xc000_2000 + 3 * bank];
    numbers[rng.below(numbers.len() as u64) as usize]
}

fn random_event(rng: &mut Rng) -> EventKind {
    let vector = rng.next_u64() as u8;
    let kinds = [
        EventKind::Nmi,
        EventKind::Smi,
        EventKind::Init,
        EventKind::Fixed(vector),
        EventKind::MachineCheck,
        EventKind::MachineCheckFatal,
        EventKind::Sipi(vector),
        EventKind::TraceFlush,
        EventKind::ParavirtTick,
        EventKind::PmuOverflow,
        EventKind::TimerExpiry,
        EventKind::FalseWake,
        EventKind::DeadlinePasses,
    ];
    kinds[rng.below(kinds.len() as u64) as usize]
}

/// CPU 0 in code of 16, 32 or 64 bits.
fn prepare(bits: u8, vendor: Vendor) -> Machine {
    let mut config = if vendor == Vendor::Intel { MachineConfig::intel(2) } else { MachineConfig::amd(2) };
    config.ram = vec![PhysRange::new(0, 8 << 20)];
    let mut m = machine_of(&config);
    let cpu = m.cpu_mut(0);
    if bits != 64 {
        let attr = if bits == 32 { 0xc93 } else { 0x93 };
        let limit = if bits == 32 { u32::MAX } else { 0xffff };
        cpu.cr0 = if bits == 32 { 0x11 } else { 0x10 };
        cpu.cr4 = 0;
        cpu.efer = 0;
        cpu.segs = [Segment { selector: 0, base: 0, limit, attr }; 6];
        cpu.segs[Seg::Cs as usize].attr = attr | 8;
        if bits == 16 {
            cpu.segs[Seg::Cs as usize].selector = REAL_SEGMENT;
            cpu.segs[Seg::Cs as usize].base = u64::from(REAL_SEGMENT) << 4;
        }
    }
    m
}

#[test]
fn random_code_and_events_never_panic() {
    let mut rng = Rng::new(0x70a7);
    let mut executed = 0u32;
    for _ in 0..RUNS {
        let bits = [64, 64, 32, 16][rng.below(4) as usize];
        let vendor = if rng.one_in(2) { Vendor::Intel } else { Vendor::Amd };
        let mut m = prepare(bits, vendor);
        let rip = if bits == 16 { 0x100 } else { CODE };
        let at = if bits == 16 { (u64::from(REAL_SEGMENT) << 4) + rip } else { CODE };
        for _ in 0..20 {
            let mut code: [u8; 16] = core::array::from_fn(|_| rng.next_u64() as u8);
            match rng.below(6) {
                0 => code[0] = 0x0f,
                1 => code[..2].copy_from_slice(&[0x0f, 0x01]),
                2 => code[0] = 0xf0,
                3 => code[0] = 0x66,
                _ => {}
            }
            m.clear_stop();
            m.write_phys(at, &code);
            let cpu = m.cpu_mut(0);
            cpu.activity = Activity::Running;
            for gpr in &mut cpu.gpr {
                *gpr = random_register(&mut rng);
            }
            if rng.one_in(4) {
                cpu.set_reg(Gpr::Rcx, random_msr(&mut rng));
            }
            if bits == 64 && rng.one_in(4) {
                cpu.cr4 ^= 1 << rng.below(33);
            }
            if rng.one_in(10) {
                cpu.dr[7] = rng.next_u64() & 0xffff_ffff;
            }
            cpu.rflags = 2 | (rng.next_u64() & 0x4cd5);
            cpu.rip = rip;
            if rng.one_in(4) {
                let kind = random_event(&mut rng);
                m.inject(Event::at(rng.below(2) as usize, kind));
            }
            for _ in 0..4 {
                executed += u32::from(m.step(0) == Outcome::Executed);
            }
            m.step(1);
            let mut image = Vec::new();
            m.pack(&[], &mut image);
            assert!(m.unpack(&[], &image));
        }
    }
    assert!(executed > 20_000, "{executed}");
}
