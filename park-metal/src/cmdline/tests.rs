//! Command lines, good and bad.

use super::*;

#[test]
fn empty_line_gives_defaults() {
    assert_eq!(
        Options::parse(b""),
        Ok(Options {
            test: Test::Smp,
            cpus: 0,
            timeout_ms: 10_000,
            generations: 2,
            choice: Choice::Turn,
            breakage: None,
            levels: PagingLevels::Four,
            lot: None,
            steps: 100,
            stride: 1,
            cases: Glob::ALL,
            host: Host::Absent,
            ending: Ending::Qemu,
            apic: ApicMode::XApic,
            ask: QuestionSet::NONE,
            hypervisor: Hypervisor::Refuse,
            soak_minutes: 0,
            keep: Keep::Ram,
            strangers: None,
            bench: BenchOptions { samples: 1000, seed: 1, idle_us: 1000, target: 1, slices: 0, losses: 0 },
            kernel: None,
            initrd: None,
            handed: None,
            mailbox: MailboxVersion::V1,
            rsdp: None,
            park: None,
            screen: Screen::Lit,
        })
    );
    assert_eq!(Options::parse(b"  \t "), Ok(Options::default()));
}

#[test]
fn every_key_is_read() {
    let parsed = Options::parse(
        b" cpus=4  t=skeleton exit=bochs apic=x2 timeout_ms=250 generations=20 mechanism=mwait break=early-ack \
          case=hlt/* host=yes steps=7 stride=9 levels=5 lot=0x1230000 screen=no",
    );
    assert_eq!(
        parsed,
        Ok(Options {
            test: Test::Skeleton,
            cpus: 4,
            timeout_ms: 250,
            generations: 20,
            choice: Choice::Only(park_core::Mechanism::Mwait),
            breakage: Some(Breakage::EarlyAck),
            lot: Some(PhysAddr(0x123_0000)),
            steps: 7,
            stride: 9,
            levels: PagingLevels::Five,
            cases: Glob::new("hlt/*").unwrap(),
            host: Host::Answers,
            ending: Ending::Bochs,
            apic: ApicMode::X2Apic,
            screen: Screen::Dark,
            ..Options::default()
        })
    );
}

#[test]
fn keys_of_silicon_and_soak_are_read() {
    let parsed = Options::parse(b"t=silicon ask=nmi-depth,auto-halt hypervisor=yes hours=2 minutes=5 keep=cmos");
    let expected = Options {
        test: Test::Silicon,
        ask: QuestionSet::parse("auto-halt,nmi-depth").unwrap(),
        hypervisor: Hypervisor::Ask,
        soak_minutes: 125,
        keep: Keep::Cmos,
        ..Options::default()
    };
    assert_eq!(parsed, Ok(expected));
    assert_eq!(Options::parse(b"hours=4294967295 minutes=9").map(|options| options.soak_minutes), Ok(u32::MAX));
    // Nobody is asked about a hypervisor, and no settings of firmware are overwritten, unless that is said.
    let default = Options::default();
    assert_eq!((default.hypervisor, default.keep, default.ask), (Hypervisor::Refuse, Keep::Ram, QuestionSet::NONE));
}

#[test]
fn keys_of_bench_are_read() {
    let bench = BenchOptions { samples: 64, seed: 9, idle_us: 20, target: 3, slices: 5, losses: 6 };
    assert_eq!(
        Options::parse(b"t=bench samples=64 seed=9 idle_us=20 target=3 slices=5 losses=6"),
        Ok(Options { test: Test::Bench, bench, ..Options::default() })
    );
    assert_eq!(Options::parse(b"seed=x"), Err(CmdlineError::NotANumber { key: "seed", value: "x" }));
    assert_eq!(Options::parse(b"samples=1 samples=1"), Err(CmdlineError::Duplicate { key: "samples" }));
}

#[test]
fn keys_of_linux_are_read_and_its_own_line_is_split_off() {
    let line =
        b"t=linux kernel=0x8000000:77 initrd=0xa000000:9 handed=2 mailbox=0 rsdp=0xf5b20 park=0x1000 append=quiet x=1 append=2";
    let (own, append) = crate::linux::command_line::split_append(line);
    assert_eq!(append, b"quiet x=1 append=2");
    let expected = Options {
        test: Test::Linux,
        kernel: File::parse("0x8000000:77"),
        initrd: File::parse("0xa000000:9"),
        handed: Some(2),
        mailbox: MailboxVersion::V0,
        rsdp: Some(PhysAddr(0xf_5b20)),
        park: Some(PhysAddr(0x1000)),
        ..Options::default()
    };
    assert_eq!(Options::parse(own), Ok(expected));
    let refused = CmdlineError::NotOneOf { key: "kernel", value: "0x1000", choices: FILE };
    assert_eq!(Options::parse(b"kernel=0x1000"), Err(refused));
    let refused = CmdlineError::NotOneOf { key: "mailbox", value: "2", choices: "0 or 1" };
    assert_eq!(Options::parse(b"mailbox=2"), Err(refused));
}

#[test]
fn wrong_values_of_silicon_and_soak_are_refused() {
    let strangers = CmdlineError::NotOneOf { key: "strangers", value: "smi:0x2", choices: "EVENT:0xMASK, as nmi:0xe" };
    let cases: [(&[u8], CmdlineError<'_>); 5] = [
        (b"levels=3", CmdlineError::NotOneOf { key: "levels", value: "3", choices: "4 or 5" }),
        (b"strangers=smi:0x2", strangers),
        (b"ask=nmi-depth,nmi", CmdlineError::UnknownQuestion { name: "nmi" }),
        (b"hypervisor=1", CmdlineError::NotOneOf { key: "hypervisor", value: "1", choices: "yes or no" }),
        (b"keep=disk", CmdlineError::NotOneOf { key: "keep", value: "disk", choices: "ram or cmos" }),
    ];
    for (line, expected) in cases {
        assert_eq!(Options::parse(line), Err(expected));
    }
}

#[test]
fn every_test_is_found_by_its_name() {
    for test in Test::ALL {
        assert_eq!(Test::from_name(test.name()), Some(test));
    }
}

#[test]
fn bad_words_are_refused_by_name() {
    let cases: [(&[u8], CmdlineError<'_>); 16] = [
        (b"screen=on", CmdlineError::NotOneOf { key: "screen", value: "on", choices: "yes or no" }),
        (b"lot=1000", CmdlineError::NotAnAddress { key: "lot", value: "1000" }),
        (b"mechanism=nap", CmdlineError::UnknownMechanism { name: "nap" }),
        (b"break=all", CmdlineError::UnknownBreakage { name: "all" }),
        (
            b"case=hlt/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            CmdlineError::LongGlob { glob: "hlt/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" },
        ),
        (b"host=me", CmdlineError::UnknownHost { name: "me" }),
        (b"apic=x3", CmdlineError::UnknownApic { name: "x3" }),
        (b"exit=door", CmdlineError::UnknownEnding { name: "door" }),
        (b"t=smp \xff", CmdlineError::NotText { offset: 6 }),
        (b"verbose", CmdlineError::NoValue { word: "verbose" }),
        (b"test=smp", CmdlineError::UnknownKey { key: "test" }),
        (b"t=smp t=smp", CmdlineError::Duplicate { key: "t" }),
        (b"t=smpx", CmdlineError::UnknownTest { name: "smpx" }),
        (b"cpus=", CmdlineError::NotANumber { key: "cpus", value: "" }),
        (b"cpus=-1", CmdlineError::NotANumber { key: "cpus", value: "-1" }),
        (b"timeout_ms=4294967296", CmdlineError::NotANumber { key: "timeout_ms", value: "4294967296" }),
    ];
    for (line, expected) in cases {
        assert_eq!(Options::parse(line), Err(expected));
    }
}
