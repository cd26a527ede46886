//! The architectural CPU rules that decide what an event does, one by one and switchable.
//!
//! Each rule is consulted at exactly one place, as `machine.rules.on(Rule::X)`. With a rule off the behaviour is absent: that is how a
//! test shows that something depends on it. Cells that the manuals leave open are knobs ([`super::knobs`]), not rules.
//!
//! Citations: S = Intel SDM 325384-059 (section), A = AMD APM volume 2, rev. with section 15.17 table 15-10.

macro_rules! rules {
    ($($name:ident, $kebab:literal, $cite:literal, $text:literal;)*) => {
        /// One architectural rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Rule {
            $(#[doc = $text] $name,)*
        }

        impl Rule {
            /// Every rule, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kebab-case name used on the command line and in scenario files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $kebab,)* }
            }

            /// Where the manuals say so.
            #[must_use]
            pub const fn citation(self) -> &'static str {
                match self { $(Self::$name => $cite,)* }
            }

            /// The rule in one sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

rules! {
    HltEndedByIntr, "hlt-ended-by-intr", "S:HLT vol 2A 3-432", "An enabled maskable interrupt ends HLT.";
    HltEndedByNmi, "hlt-ended-by-nmi", "S:HLT vol 2A 3-432", "An unblocked NMI ends HLT.";
    HltEndedByMc, "hlt-ended-by-mc", "S:26.3.1.5 (HLT accepts vector 18)", "A machine check ends HLT.";
    HltKeepsOutMaskedIntr, "hlt-keeps-out-masked-intr", "S:HLT vol 2A 3-432 (\"enabled interrupt\")", "A maskable interrupt with IF=0 does not end HLT.";
    MwaitEndedByIntr, "mwait-ended-by-intr", "S:MWAIT vol 2B 4-158", "An enabled maskable interrupt ends MWAIT.";
    MwaitEndedByNmi, "mwait-ended-by-nmi", "S:MWAIT vol 2B 4-158", "An unblocked NMI ends MWAIT.";
    MwaitEndedByMc, "mwait-ended-by-mc", "S:MWAIT vol 2B 4-158", "A machine check ends MWAIT.";
    MwaitEndedByStore, "mwait-ended-by-store", "S:8.10.4", "A store by another agent into the monitored line ends MWAIT.";
    MwaitBreaksOnMaskedIntr, "mwait-breaks-on-masked-intr", "S:MWAIT vol 2B 4-158, ECX[0]", "MWAIT with `ECX[0]`=1 ends on a pending maskable interrupt with IF=0, which stays pending.";
    MwaitUnarmedFallsThrough, "mwait-unarmed-falls-through", "S:8.10.4", "MWAIT without an armed monitor does not wait.";
    MonitorSeesEarlyStore, "monitor-sees-early-store", "S:8.10.4", "A store between MONITOR and MWAIT makes the MWAIT fall through.";
    MonitorDisarmedByTransfer, "monitor-disarmed-by-transfer", "S:8.10.4", "A far transfer or a control-register write disarms the monitor.";
    MonitorNeedsWriteBack, "monitor-needs-write-back", "S:8.10.4", "MONITOR arms on write-back memory only.";
    UmwaitEndedByAnyIntr, "umwait-ended-by-any-intr", "ISA Extensions May 2018, UMWAIT", "A pending interrupt ends UMWAIT and TPAUSE whatever IF is.";
    SmiEndsWait, "smi-ends-wait", "S:34.2, S:34.10", "An SMI is serviced in HLT and MWAIT.";
    RsmRestartsHlt, "rsm-restarts-hlt", "S:34.10, A:10.3.7", "RSM returns into HLT when the auto-HALT restart flag is set.";
    RsmSkipsMwait, "rsm-skips-mwait", "S:MWAIT vol 2B 4-158", "RSM never returns into MWAIT.";
    NmiBlocksNmi, "nmi-blocks-nmi", "S:6.7.1", "A delivered NMI blocks further NMIs until an IRET.";
    IretUnblocksNmi, "iret-unblocks-nmi", "S:6.7.1", "IRET unblocks NMIs, even when it faults.";
    McNeedsMce, "mc-needs-mce", "S:6.15 #MC, A:9.3", "A machine check with CR4.MCE=0 shuts the CPU down.";
    McNeedsMcipClear, "mc-needs-mcip-clear", "S:15.3.1.2, A:9.3.1.2", "A machine check with MCIP=1 shuts the CPU down.";
    McSetsMcip, "mc-sets-mcip", "S:15.3.1.2", "A delivered machine check sets MCG_STATUS.MCIP.";
    McBroadcast, "mc-broadcast", "S:15.10.4.1", "On Intel a machine check reaches every logical processor.";
    LmceIsLocal, "lmce-is-local", "S:15.3.1.5", "With LMCE enabled a machine check may reach the consuming logical processor alone.";
    McgStatusTakesZeroOnly, "mcg-status-takes-zero-only", "S:15.3.1.2", "On Intel writing anything but 0 to IA32_MCG_STATUS is #GP.";
    InitEndsWait, "init-ends-wait", "S:HLT vol 2A 3-432, S:MWAIT vol 2B 4-158", "INIT is taken in HLT and MWAIT.";
    InitResetsControl, "init-resets-control", "S:Table 9-1, A:Table 14-1", "INIT clears CR3, CR4 (so MCE=0) and EFER (so SVME=0).";
    InitParksAp, "init-parks-ap", "S:8.4.2, A:16.5", "INIT puts an application processor into wait-for-SIPI.";
    InitRestartsBsp, "init-restarts-bsp", "S:8.4.2", "INIT runs the bootstrap processor at the reset vector.";
    InitKeepsApicMode, "init-keeps-apic-mode", "S:10.12.5.1, A:16.10", "INIT keeps the APIC mode and base.";
    InitDisablesApic, "init-disables-apic", "S:10.4.7.3", "INIT software-disables the local APIC and masks its LVTs.";
    InitKeepsDebugAmd, "init-keeps-debug-amd", "A:Table 14-1", "On AMD INIT leaves DR0-DR7 unmodified.";
    InitHeldInVmxRoot, "init-held-in-vmx-root", "S:23.8", "In VMX root operation INIT is held.";
    InitHeldInSmm, "init-held-in-smm", "S:34.6, A:10.3.3", "In SMM INIT is held.";
    RInitRedirects, "r-init-redirects", "A:15.21.8, A:15.27.8", "With VM_CR.R_INIT an INIT becomes #SX(1) and is gone.";
    SipiStartsWaiting, "sipi-starts-waiting", "S:8.4.3, A:16.5", "A SIPI starts a CPU in wait-for-SIPI at VV00h:0.";
    SipiIgnoredElsewhere, "sipi-ignored-elsewhere", "S:8.4.3", "A SIPI is ignored outside wait-for-SIPI.";
    WfsHoldsSmi, "wfs-holds-smi", "S:34.2 note, A:16.5", "In wait-for-SIPI an SMI is held until the SIPI.";
    WfsHoldsNmi, "wfs-holds-nmi", "S:25.2, A:16.5", "In wait-for-SIPI an NMI is not taken.";
    Gif0HoldsIntr, "gif0-holds-intr", "A:Table 15-10", "GIF=0 holds maskable interrupts.";
    Gif0HoldsNmi, "gif0-holds-nmi", "A:Table 15-10", "GIF=0 holds NMI.";
    Gif0HoldsSmi, "gif0-holds-smi", "A:Table 15-10", "GIF=0 holds external SMIs.";
    Gif0HoldsInit, "gif0-holds-init", "A:Table 15-10", "GIF=0 holds INIT.";
    ClgiNeedsSvme, "clgi-needs-svme", "A:15.4, A:15.31", "CLGI is #UD without EFER.SVME; STGI without SVME and SKINIT.";
    SvmdisRefusesSvme, "svmdis-refuses-svme", "A:15.30.1", "VM_CR.SVMDIS=1 makes setting EFER.SVME #GP.";
    ShutdownLeftByNmi, "shutdown-left-by-nmi", "S:6.15 #DF", "An NMI ends shutdown, unless it began in an NMI handler or SMM.";
    ShutdownLeftByInit, "shutdown-left-by-init", "S:6.15 #DF", "INIT ends shutdown.";
    TripleFaultShutsDown, "triple-fault-shuts-down", "S:6.15 #DF", "A fault while delivering #DF shuts the CPU down.";
    StiShadow, "sti-shadow", "S:STI vol 2B", "STI holds maskable interrupts for one more instruction.";
    SoftOffDropsFixed, "soft-off-drops-fixed", "S:10.4.7.2", "A software-disabled local APIC drops fixed interrupts.";
    InServiceHoldsLower, "in-service-holds-lower", "S:10.8.3.1, S:10.8.5", "An in-service vector holds its class and below until EOI.";
    IstSwitchesStack, "ist-switches-stack", "S:6.14.5", "A gate with an IST index loads RSP from the TSS.";
    LtrMarksBusy, "ltr-marks-busy", "S:LTR vol 2A, S:7.2.2", "LTR writes the busy bit into the descriptor and refuses a busy TSS.";
    NtFaultsIret, "nt-faults-iret", "S:IRET vol 2A", "IRETQ with NT=1 is #GP(0) in long mode.";
    TlbServesStale, "tlb-serves-stale", "S:4.10.2.3", "A translation once cached serves until something flushes it.";
    MovCr3KeepsGlobals, "mov-cr3-keeps-globals", "S:4.10.4.1", "MOV CR3 keeps global translations while CR4.PGE=1.";
    PcidKeepsOthers, "pcid-keeps-others", "S:4.10.4.1", "MOV CR3 keeps the translations of other PCIDs: without CR4.PCIDE, all but those of 000h.";
    Cr4ChangeFlushes, "cr4-change-flushes", "S:4.10.4.1", "Changing CR4.PGE, PCIDE, PAE or SMEP flushes the TLB.";
    NxFaults, "nx-faults", "S:4.6", "A fetch from an NX page is #PF.";
    WpFaults, "wp-faults", "S:4.6", "A supervisor write to a read-only page with CR0.WP=1 is #PF.";
    SmepFaults, "smep-faults", "S:4.6", "A supervisor fetch from a user page with CR4.SMEP is #PF.";
    SmapFaults, "smap-faults", "S:4.6", "A supervisor access to a user page with CR4.SMAP and AC=0 is #PF.";
    LassFaults, "lass-faults", "Intel ISA Extensions, LASS", "With CR4.LASS a supervisor fetch (or, with SMAP and AC=0, data access) in the lower half faults.";
    La57FixedInLongMode, "la57-fixed-in-long-mode", "S:2.5, 5-level paging white paper", "Changing CR4.LA57 while EFER.LMA=1 is #GP.";
    CetNeedsWp, "cet-needs-wp", "SDM vol 3 2.5 (CET)", "CR4.CET=1 with CR0.WP=0 is #GP.";
    StoresAreBuffered, "stores-are-buffered", "S:8.2.2", "Stores become visible later than the loads that follow them.";
    LockDrains, "lock-drains", "S:8.2.2", "A locked operation makes earlier stores visible.";
    FenceDrains, "fence-drains", "S:8.2.5", "MFENCE makes earlier stores visible.";
    SerialisingDrains, "serialising-drains", "S:8.3", "A serialising instruction makes earlier stores visible.";
    FredReplacesIdt, "fred-replaces-idt", "Intel FRED specification 5", "With CR4.FRED events enter at IA32_FRED_CONFIG, not through the IDT.";
    EndbranchChecked, "endbranch-checked", "SDM vol 1 chapter 17 (CET)", "With S_CET.ENDBR_EN an indirect branch must land on ENDBR64, else #CP.";
    ShadowStackUsed, "shadow-stack-used", "SDM vol 1 chapter 17 (CET)", "With S_CET.SH_STK_EN calls, returns and events use the shadow stack.";
    ProtectionKeysChecked, "protection-keys-checked", "SDM vol 3 4.6.2 (PKS)", "With CR4.PKS data accesses to supervisor pages obey IA32_PKRS.";
    BreakpointsMatch, "breakpoints-match", "S:17.2", "An enabled DR7 breakpoint that matches raises #DB.";
    TrapFlagTraps, "trap-flag-traps", "S:17.3.1.4", "RFLAGS.TF raises #DB after the instruction.";
    PmuInterrupts, "pmu-interrupts", "S:18.4, S:10.5.1", "A counter overflow raises what LVTPC says, NMI included.";
    TracingWrites, "tracing-writes", "S:17.4.9, S:36", "Enabled PEBS, BTS and processor trace write into the configured memory.";
    ParavirtWrites, "paravirt-writes", "Linux Documentation/virt/kvm/msr.rst", "A registered paravirtual page is written by the host.";
    TimerInterrupts, "timer-interrupts", "S:10.5.4", "An armed, unmasked local APIC timer interrupts at expiry.";
}

/// How many rules there are.
pub const RULE_COUNT: usize = Rule::ALL.len();

const _: () = assert!(RULE_COUNT <= 128, "RuleSet holds one bit per rule");

impl Rule {
    /// The scenario, cell or planted fault that fails when this rule is off; empty while none is recorded.
    #[must_use]
    pub const fn guard(self) -> &'static str {
        super::guards::guard(self)
    }

    /// The rule with this kebab-case name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}

/// Which rules hold in a run. Default: all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleSet(u128);

impl Default for RuleSet {
    fn default() -> Self {
        Self::ALL
    }
}

impl RuleSet {
    /// Every rule on: the architecture.
    pub const ALL: Self = Self(u128::MAX);

    /// Whether `rule` holds.
    #[must_use]
    #[inline]
    pub const fn on(self, rule: Rule) -> bool {
        self.0 & (1 << (rule as u8)) != 0
    }

    /// The same set without `rule`.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << (rule as u8)))
    }

    /// The same set with `rule`.
    #[must_use]
    pub const fn with(self, rule: Rule) -> Self {
        Self(self.0 | (1 << (rule as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(rule.name()), Some(*rule));
            assert!(!rule.citation().is_empty());
        }
    }

    #[test]
    fn without_removes_only_one() {
        let set = RuleSet::ALL.without(Rule::McNeedsMce);
        for rule in Rule::ALL {
            assert_eq!(set.on(*rule), *rule != Rule::McNeedsMce);
        }
    }
}
