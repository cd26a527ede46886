//! How many instructions the simulator executes per second, with store buffer, TLB and all checks on.
//!
//! `cargo run --release -p park-sim --example speed`

use std::time::Instant;

use park_sim::machine::{Event, EventKind, LongMode, Machine, MachineConfig, Outcome, PhysRange, TableRegister};

const PML4: u64 = 0x10_0000;
const CODE: u64 = 0x20_0000;
const DATA: u64 = 0x30_0000;

fn machine() -> Machine {
    let mut m = Machine::new(&MachineConfig::amd(2)).expect("a valid configuration");
    let mut put = |at: u64, value: u64| m.write_phys(at, &value.to_le_bytes());
    put(PML4, (PML4 + 0x1000) | 3);
    put(PML4 + 0x1000, (PML4 + 0x2000) | 3);
    for n in 0..16u64 {
        put(PML4 + 0x2000 + 8 * n, (n << 21) | 0x83);
    }
    for cpu in 0..2 {
        m.start_long_mode(
            cpu,
            &LongMode {
                gdtr: TableRegister { base: 0, limit: 0 },
                arg: DATA,
                ..LongMode::new(PML4, CODE + 0x1000 * cpu as u64, 0x40_0000)
            },
        );
    }
    m
}

fn main() {
    let mut m = machine();
    // CPU 0: mov rax,[rdi]; test rax,rax; jnz .; inc qword [rdi+64]; push/pop; call/ret-free loop with a lock cmpxchg.
    #[rustfmt::skip]
    let polling = [
        0x48, 0x8b, 0x07,             // mov rax, [rdi]
        0x48, 0x85, 0xc0,             // test rax, rax
        0x75, 0xf8,                   // jnz start
        0x48, 0xff, 0x47, 0x40,       // inc qword [rdi+64]
        0x50, 0x5b,                   // push rax; pop rbx
        0xf0, 0x48, 0x0f, 0xb1, 0x1f, // lock cmpxchg [rdi], rbx
        0xeb, 0xeb,                   // jmp start
    ];
    m.write_phys(CODE, &polling);
    m.write_phys(CODE + 0x1000, &polling);
    let start = Instant::now();
    let total = 20_000_000u64;
    let mut done = 0;
    while done < total {
        for cpu in 0..2 {
            for _ in 0..16 {
                assert_eq!(m.step(cpu), Outcome::Executed);
                done += 1;
            }
        }
    }
    let rate = done as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("polling loop, two CPUs interleaved: {rate:.1} million instructions per second");

    let mut m = machine();
    // hlt; jmp: woken by an interrupt that stays pending is an event each lap.
    m.write_phys(CODE, &[0xf4, 0xeb, 0xfd]);
    let start = Instant::now();
    let laps = 2_000_000u64;
    for _ in 0..laps {
        m.step(0);
        m.inject(Event::at(0, EventKind::FalseWake));
        m.step(0);
    }
    let (lap_rate, regions) = (2.0 * laps as f64 / start.elapsed().as_secs_f64() / 1e6, [PhysRange::new(DATA, 512)]);
    let mut image = Vec::new();
    let start = Instant::now();
    for _ in 0..200_000 {
        image.clear();
        m.pack(&regions, &mut image);
        assert!(m.unpack(&regions, &image));
    }
    let packs = start.elapsed().as_secs_f64() / 200_000.0 * 1e9;
    println!("pack and unpack of two CPUs and 512 bytes ({} bytes): {packs:.0} ns", image.len());
    println!("hlt and boundary: {:.1} million steps per second", lap_rate);
}
