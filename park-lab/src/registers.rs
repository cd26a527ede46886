//! What QEMU's `info registers -a` says, as far as a lab wants to know: where each CPU is, and whether it executes.

/// One CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuState {
    /// QEMU's number of it.
    pub cpu: u32,
    /// RIP.
    pub rip: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// It executes nothing: HLT, or it waits for SIPI.
    pub halted: bool,
}

/// Every CPU of which the text says everything.
#[must_use]
pub fn parse(text: &str) -> Vec<CpuState> {
    let mut parts = text.split("CPU#");
    // Nothing is before the first.
    parts.next();
    parts.filter_map(cpu).collect()
}

fn cpu(part: &str) -> Option<CpuState> {
    let number = part.split_whitespace().next()?.parse().ok()?;
    // `RIP=` in 64-bit mode, `EIP=` before.
    let rip = value(part, "RIP=").or_else(|| value(part, "EIP="))?;
    let (cr3, cr4) = (value(part, "CR3=")?, value(part, "CR4=")?);
    Some(CpuState { cpu: number, rip, cr3, cr4, halted: value(part, "HLT=")? != 0 })
}

/// The hexadecimal number behind `name`.
fn value(part: &str, name: &str) -> Option<u64> {
    let rest = part.split_once(name)?.1;
    let digits: &str = rest.split(|character: char| !character.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\r\nCPU#0\r\nRAX=0000000000000000 RBX=1\r\nRIP=ffffffff81a0c8cb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 \
                        SMM=0 HLT=1\r\nCR0=80050033 CR2=0 CR3=000000000240a000 CR4=003506f0\r\n\r\nCPU#1\r\nEAX=00000000\r\n\
                        EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\nCR0=60000010 CR2=0 CR3=00000000 \
                        CR4=00000000\r\n";

    #[test]
    fn both_modes_are_read() {
        let found = parse(TEXT);
        let first = CpuState { cpu: 0, rip: 0xffff_ffff_81a0_c8cb, cr3: 0x240_a000, cr4: 0x35_06f0, halted: true };
        assert_eq!(found, [first, CpuState { cpu: 1, rip: 0xfff0, cr3: 0, cr4: 0, halted: false }]);
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("CPU#0\r\nRIP=1"), []);
        assert_eq!(parse(TEXT.split("CR4=").next().unwrap()), []);
        assert_eq!(parse("CPU#x\r\nRIP=1 HLT=1 CR3=0 CR4=0"), []);
    }
}
