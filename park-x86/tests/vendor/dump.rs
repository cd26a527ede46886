//! Reads the small CPUID dumps of `fixtures/`: leaf, subleaf, EAX, EBX, ECX, EDX in hexadecimal.

use raw_cpuid::{CpuId, CpuIdReader, CpuIdResult};
use std::collections::HashMap;

#[derive(Clone, Debug)]
pub(crate) struct Dump(HashMap<(u32, u32), [u32; 4]>);

impl Dump {
    pub(crate) fn parse(text: &str) -> Self {
        let mut leaves = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let numbers: Vec<u32> = line.split(' ').map(|word| u32::from_str_radix(word, 16).unwrap()).collect();
            let [leaf, subleaf, eax, ebx, ecx, edx] = numbers[..] else { panic!("six numbers in {line:?}") };
            leaves.insert((leaf, subleaf), [eax, ebx, ecx, edx]);
        }
        Self(leaves)
    }

    pub(crate) fn read(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        self.0.get(&(leaf, subleaf)).copied().unwrap_or([0; 4])
    }

    /// The same dump through a decoder by other hands.
    pub(crate) fn oracle(&self) -> CpuId<Self> {
        CpuId::with_cpuid_reader(self.clone())
    }
}

impl CpuIdReader for Dump {
    fn cpuid2(&self, eax: u32, ecx: u32) -> CpuIdResult {
        let [eax, ebx, ecx, edx] = self.read(eax, ecx);
        CpuIdResult { eax, ebx, ecx, edx }
    }
}
