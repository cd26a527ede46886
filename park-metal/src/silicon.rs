//! The questions that the manuals leave open, as a table: what is asked, which manual is silent where, how the image
//! measures it, and the closed set of answers.
//!
//! They are the simulator's knobs, asked of a machine: [`Subject::knob`] names the knob, and each [`Answer`] the value that it
//! stands for. `image/silicon` does the asking. Citations are those of the knobs: S is the Intel SDM vol. 3, A the AMD APM vol. 2.

use park_x86::features::Vendor;

/// One possible answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Answer {
    /// Its name in the report.
    pub name: &'static str,
    /// The knob's value that describes such a machine; `None` if no value does, or the answer decides nothing.
    pub knob_value: Option<&'static str>,
}

/// Whether and when a question is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Asking {
    /// With `t=silicon` alone: at worst a CPU has to be started again by INIT.
    Always,
    /// With `ask=NAME`, since this can come of it.
    ByName(&'static str),
    /// Never, for this reason. Listed so that nobody takes silence for an answer.
    Never(&'static str),
}

/// What a question is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subject {
    /// The name on the command line and in the report.
    pub name: &'static str,
    /// What is asked.
    pub text: &'static str,
    /// Which manual is silent, or contradicts itself, and where.
    pub silent: &'static str,
    /// How it is measured.
    pub measured: &'static str,
    /// The simulator's knob for the same cell.
    pub knob: Option<&'static str>,
    /// When it is asked.
    pub asking: Asking,
    /// All answers; the report holds one of them, or none with a reason.
    pub answers: &'static [Answer],
}

impl Subject {
    /// The knob that the answer of a CPU of this make is a value of: some knobs are one vendor's, by their names.
    #[must_use]
    pub fn knob_on(&self, vendor: Vendor) -> Option<&'static str> {
        let is_amd = matches!(vendor, Vendor::Amd | Vendor::Hygon);
        self.knob.filter(|knob| match knob.rsplit('-').next() {
            Some("amd") => is_amd,
            Some("intel") => !is_amd,
            _ => true,
        })
    }
}

macro_rules! questions {
    ($($id:ident $name:literal, $knob:expr, $asking:expr, $text:literal, $silent:literal, $measured:literal,
        [$($answer:literal $(= $value:literal)?),* $(,)?];)*) => {
        /// A question.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Question {
            $(#[doc = $text] $id,)*
        }

        impl Question {
            /// All questions, in the order in which they are asked.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];

            /// What it is about.
            #[must_use]
            pub const fn subject(self) -> &'static Subject {
                match self {
                    $(Self::$id => &Subject {
                        name: $name,
                        text: $text,
                        silent: $silent,
                        measured: $measured,
                        knob: $knob,
                        asking: $asking,
                        answers: &[$(Answer { name: $answer, knob_value: value!($($value)?) },)*],
                    },)*
                }
            }
        }
    };
}

macro_rules! value {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

/// What can come of questions that leave a CPU where nothing but a reset fetches it.
const LOSES_CPU: Asking = Asking::ByName("the CPU can be lost until the machine is reset");
/// What can come of SMIs that firmware does not expect.
const SMI_HANGS: Asking = Asking::ByName("an SMI that firmware does not expect can hang or reset the machine");
/// What can come of a CPU in shutdown.
const RESETS: Asking = Asking::ByName("most platforms reset when a CPU shuts down");
/// Why machine checks are not asked for.
const NO_INJECTOR: Asking = Asking::Never("a machine check needs an error injector, which the image does not have");
/// Why device writes are not asked for.
const NO_DEVICE: Asking = Asking::Never("it takes a device that writes to memory; the image drives none");

questions! {
    MwaitWaits "mwait-waits", Some("mwait-waits"), Asking::Always,
        "Does MWAIT wait at all?", "S:8.10.4: a hint, which may be ignored; false wakes are legal",
        "laps of a monitored wait in a quiet second: none or a few, or as many as a loop makes",
        ["yes" = "yes", "never" = "never"];
    MaskedIntrMwait "masked-intr-mwait", Some("masked-intr-mwait"), Asking::Always,
        "Does a masked interrupt end MWAIT with bit 0 of ECX clear?", "S:MWAIT: \"may result in exit even if masked\"",
        "laps before and after a fixed IPI with IF=0, four times",
        ["waits" = "waits", "ends" = "ends"];
    BlockedNmiMwait "blocked-nmi-mwait", Some("blocked-nmi-mwait"), Asking::Always,
        "Does a blocked NMI end MWAIT?", "both manuals silent",
        "inside an NMI handler: laps before and after another NMI",
        ["waits" = "waits", "ends" = "ends"];
    NearStoreWakes "near-store-wakes", Some("near-store-wakes"), Asking::Always,
        "Does a store beside the smallest line, inside the largest, end MWAIT?", "S:8.10.5: false triggers are allowed there",
        "laps before and after stores behind the smallest line of CPUID leaf 5, four times",
        ["no" = "no", "yes" = "yes", "lines-are-alike"];
    MonitorLost "monitor-lost", Some("monitor-lost"), Asking::Always,
        "Are stores to the monitored line missed?", "errata APL30, ICX143, LNL030, Zen 1109",
        "1000 stores at random moments, each seen within 20 ms or not, CLFLUSH before MONITOR",
        ["never" = "never", "sometimes" = "alternate", "always" = "always"];
    MonitorStale "monitor-stale", Some("monitor-stale"), Asking::Always,
        "Does MONITOR miss stores without CLFLUSH before it?", "erratum AAI65",
        "as monitor-lost, without CLFLUSH",
        ["no" = "no", "yes" = "yes"];
    NmiDepth "nmi-depth", Some("nmi-depth"), Asking::Always,
        "How many blocked NMIs are latched?", "S:6.7.1 gives no count",
        "four NMIs while a handler runs; how often it runs again",
        ["1" = "1", "2" = "2", "more"];
    NmiApicSoftOff "nmi-apic-soft-off", Some("nmi-apic-soft-off"), Asking::Always,
        "What does an NMI do at a software-disabled local APIC?", "A:16.3.1: \"may be accepted\"; S:10.4.7.2 accepts",
        "an NMI to a CPU in HLT with SVR bit 8 clear: laps and handled NMIs",
        ["deliver" = "deliver", "wake-only" = "wake-only", "nothing"];
    StiHoldsNmi "sti-holds-nmi", Some("sti-holds-nmi"), Asking::Always,
        "Does an NMI wait out the STI shadow?", "A:15.13.2, S:34.2: may be held for one instruction",
        "the RIP that 4000 NMIs interrupt in a loop of STI, NOP and CLI",
        ["no" = "no", "yes" = "yes", "not-sampled"];
    IcrBusy "icr-busy", Some("icr-busy"), Asking::Always,
        "Is the ICR busy after a message?", "S:10.6.1: delivery status, no duration",
        "polls until it is idle, the most of 256 messages; xAPIC mode only",
        ["idle" = "idle", "a-while" = "three-polls", "stuck" = "stuck"];
    IcrReorder "icr-reorder", Some("icr-reorder"), Asking::Always,
        "Does an x2APIC message overtake earlier stores?", "S:10.12.3: the WRMSR is not serialising",
        "20000 stores, each followed by an NMI whose handler loads; x2APIC mode only",
        ["seen" = "on", "not-seen" = "off"];
    IrrAcrossInit "irr-across-init", Some("irr-across-init-amd"), Asking::Always,
        "Do pending interrupts survive INIT?", "A:16.10 and A:15.27.8 contradict each other; S:10.4.7.3 clears",
        "IRR before INIT and after STARTUP",
        ["cleared" = "cleared", "kept" = "kept"];
    NmiBlockAcrossInit "nmi-block-across-init", Some("nmi-block-across-init"), Asking::Always,
        "Does NMI blocking survive INIT?", "both manuals silent",
        "INIT inside an NMI handler, STARTUP, then an NMI: handled or not before an IRET",
        ["cleared" = "cleared", "kept" = "kept", "no-nmi"];
    HsaveAcrossInit "vm-hsave-across-init", None, Asking::Always,
        "Does VM_HSAVE_PA survive INIT?", "A:Table 14-1 does not list it",
        "the MSR before INIT and after STARTUP",
        ["kept", "cleared"];
    NmiAcrossInit "nmi-across-init", Some("nmi-across-init"), LOSES_CPU,
        "Does a pending NMI survive INIT?", "both manuals silent",
        "an NMI pending behind another, INIT, STARTUP; counted by the real-mode handler or the image's own",
        ["kept" = "kept", "dropped" = "dropped"];
    NmiWfs "nmi-wfs", Some("nmi-wfs-intel"), LOSES_CPU,
        "What becomes of an NMI in wait-for-SIPI?", "S:25.2 says blocked, not whether latched; A:16.5 says pending",
        "INIT, NMI, STARTUP; counted by the real-mode handler or the image's own",
        ["pend" = "pend", "drop" = "drop"];
    Gif0MwaitEnds "gif0-mwait-ends", Some("gif0-wait-ends"), LOSES_CPU,
        "Does a held event end MWAIT with GIF=0?", "A:15.17 silent",
        "laps before and after an NMI",
        ["never" = "never", "fall-through" = "fall-through"];
    Gif0Monitor "gif0-monitor", Some("gif0-monitor"), LOSES_CPU,
        "Does a store end MWAIT with GIF=0?", "no text gates the monitor by GIF, none says that it is not",
        "three stores to the monitored line, with GIF=1 and with GIF=0",
        ["wakes" = "wakes", "ignored" = "ignored"];
    Gif0HltEnds "gif0-hlt-ends", Some("gif0-wait-ends"), LOSES_CPU,
        "Does a held event end HLT with GIF=0?", "A:15.17 silent",
        "laps after an NMI",
        ["never" = "never", "fall-through" = "fall-through"];
    SvmeOffGif0 "svme-off-gif0", Some("svme-off-gif0"), LOSES_CPU,
        "What is GIF when EFER.SVME is cleared while GIF=0?", "undocumented",
        "an NMI held by GIF=0: handled after SVME is cleared, or not before STGI",
        ["stays" = "stays", "becomes-set" = "becomes-set", "nmi-lost"];
    AutoHalt "auto-halt", Some("auto-halt"), SMI_HANGS,
        "Does HLT go on after an SMI?", "S:34.10: the handler may clear the flag",
        "laps of HLT before and after eight SMIs",
        ["keep" = "keep", "clear" = "clear"];
    MonitorAcrossSmm "monitor-across-smm", Some("monitor-across-smm"), SMI_HANGS,
        "Does the monitor survive an SMI?", "both manuals silent",
        "MONITOR, an SMI, MWAIT: waits for a store or not",
        ["kept" = "kept", "disarmed" = "disarmed"];
    NmiBlockAcrossSmm "nmi-block-across-smm", Some("nmi-block-across-smm"), SMI_HANGS,
        "Does NMI blocking survive an SMI?", "S:34.8 says both",
        "an SMI inside an NMI handler, then an NMI: held or handled",
        ["kept" = "kept", "lost" = "lost"];
    SmmRendezvous "smm-rendezvous", Some("smm-rendezvous"), SMI_HANGS,
        "What does SMM do about a CPU in wait-for-SIPI?", "firmware's own; EDK2 waits twice",
        "the time of a write to port B2h, with all CPUs running and with one in wait-for-SIPI",
        ["none" = "none", "time-out" = "time-out", "hang" = "hang"];
    ShutdownResets "shutdown-resets", Some("shutdown-resets"), RESETS,
        "Does a CPU's shutdown reset the machine?", "the platform's own",
        "a triple fault; the answer is in the line after it, or in the next start's first lines",
        ["no" = "no", "yes" = "yes"];
    NmiShutdown "nmi-shutdown", Some("nmi-shutdown-amd"), RESETS,
        "Does an NMI end shutdown?", "A:8.2.9 not found; S:6.15 ends it",
        "a triple fault with an IDT that holds the NMI's gate alone, then an NMI",
        ["ends" = "ends", "ignored" = "ignored"];
    McGif0 "mc-gif0", Some("mc-gif0"), NO_INJECTOR,
        "What does a machine check with GIF=0 do?", "A:Table 15-10: held if possible, otherwise shutdown", "-",
        ["pend" = "pend", "shutdown" = "shutdown"];
    McWfs "mc-wfs", Some("mc-wfs"), NO_INJECTOR,
        "What does a machine check in wait-for-SIPI do?", "both manuals silent; INIT cleared CR4.MCE", "-",
        ["shutdown" = "shutdown", "pend" = "pend", "ignore" = "ignore"];
    McBroadcastAmd "mc-broadcast-amd", Some("mc-broadcast-amd"), NO_INJECTOR,
        "Who gets a machine check on AMD?", "no AMD text says broadcast", "-",
        ["local" = "local", "all" = "all"];
    McSmm "mc-smm", Some("mc-smm"), NO_INJECTOR,
        "What does a machine check in SMM do?", "S:34.8: unpredictable without an SMM IDT", "-",
        ["shutdown" = "shutdown", "pend" = "pend"];
    DmaWakesDeep "dma-wakes-deep", Some("dma-wakes-deep"), NO_DEVICE,
        "Do device writes end MWAIT deeper than C1?", "S:14.6: may not", "-",
        ["no" = "no", "yes" = "yes"];
    DmaWakesAmd "dma-wakes-amd", Some("dma-wakes-amd"), NO_DEVICE,
        "Do device writes end MWAIT on AMD?", "no AMD text found", "-",
        ["no" = "no", "yes" = "yes"];
    SmiShutdown "smi-shutdown", Some("smi-shutdown"),
        Asking::Never("what an SMI did to a CPU in shutdown shows to its SMM handler alone, which is firmware's"),
        "What does an SMI in shutdown do?", "S:6.15 and S:34.3.2 contradict each other", "-",
        ["ignored" = "ignored", "ends" = "ends"];
    InitWfs "init-wfs", Some("init-wfs"),
        Asking::Never("a second INIT leaves nothing that differs from the first"),
        "What does INIT do in wait-for-SIPI?", "both manuals silent outside VMX", "-",
        ["ignored" = "ignored", "again" = "again"];
    TlbAcrossInit "tlb-across-init", Some("tlb-across-init"),
        Asking::Never("the way back to paging sets CR4.PAE, which flushes what INIT may have kept (S:4.10.4.1)"),
        "Does the TLB survive INIT?", "S:Table 9-1; A:5.5.3 and A:Table 14-1 contradict each other", "-",
        ["flushed" = "flushed", "kept" = "kept"];
    RInitAcrossInit "r-init-across-init", Some("r-init-across-init"),
        Asking::Never("with R_INIT set an INIT becomes #SX, and with R_INIT clear there is nothing to keep"),
        "Does VM_CR.R_INIT survive INIT?", "A:15.30.1 does not list it", "-",
        ["kept" = "kept", "cleared" = "cleared"];
}

const _: () = assert!(Question::ALL.len() <= 64, "a QuestionSet is one u64");

impl Question {
    /// The question with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|question| question.subject().name == name)
    }

    /// Its place in [`Question::ALL`].
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The answer with this name; `None` if it is not one of this question's.
    #[must_use]
    pub fn answer(self, name: &str) -> Option<&'static Answer> {
        self.subject().answers.iter().find(|answer| answer.name == name)
    }
}

/// What `silicon` does where a hypervisor is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hypervisor {
    /// Asks nothing: the answers would be the hypervisor's.
    Refuse,
    /// Asks it.
    Ask,
}

impl Hypervisor {
    /// What `hypervisor=` on the command line says.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "yes" => Some(Self::Ask),
            "no" => Some(Self::Refuse),
            _ => None,
        }
    }
}

/// A set of questions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct QuestionSet(u64);

impl QuestionSet {
    /// No question.
    pub const NONE: Self = Self(0);

    /// The questions in a comma-separated list of names.
    ///
    /// # Errors
    /// The first name that is no question's.
    pub fn parse(list: &str) -> Result<Self, &str> {
        list.split(',').try_fold(Self::NONE, |set, name| {
            let question = Question::from_name(name).ok_or(name)?;
            Ok(Self(set.0 | 1 << question.number()))
        })
    }

    /// Whether `question` is in the set.
    #[must_use]
    pub const fn contains(self, question: Question) -> bool {
        self.0 >> question.number() & 1 == 1
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `question` is to be asked, where the command line names this set: those that are named, or if none is,
    /// those that are always asked.
    #[must_use]
    pub const fn asks(self, question: Question) -> bool {
        match question.subject().asking {
            Asking::Always => self.is_empty() || self.contains(question),
            Asking::ByName(_) => self.contains(question),
            Asking::Never(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_differ() {
        for (index, &question) in Question::ALL.iter().enumerate() {
            assert_eq!(Question::from_name(question.subject().name), Some(question));
            assert_eq!(question.number() as usize, index);
        }
        assert_eq!(Question::from_name("what"), None);
    }

    #[test]
    fn every_question_has_two_answers_or_more_with_different_names() {
        for &question in Question::ALL {
            let answers = question.subject().answers;
            assert!(answers.len() >= 2, "{question:?}");
            for (index, answer) in answers.iter().enumerate() {
                assert!(!answers[index + 1..].iter().any(|other| other.name == answer.name), "{question:?}");
                assert_eq!(question.answer(answer.name), Some(answer));
            }
        }
        assert_eq!(Question::NmiDepth.answer("3"), None);
    }

    #[test]
    fn knobs_of_one_vendor_are_not_the_others() {
        let on = |question: Question, vendor| question.subject().knob_on(vendor);
        assert_eq!(on(Question::IrrAcrossInit, Vendor::Amd), Some("irr-across-init-amd"));
        assert_eq!(on(Question::IrrAcrossInit, Vendor::Intel), None);
        assert_eq!(on(Question::NmiWfs, Vendor::Hygon), None);
        assert_eq!(on(Question::NmiWfs, Vendor::Intel), Some("nmi-wfs-intel"));
        assert_eq!(on(Question::NmiDepth, Vendor::Amd), on(Question::NmiDepth, Vendor::Intel));
        assert_eq!(on(Question::HsaveAcrossInit, Vendor::Amd), None);
    }

    #[test]
    fn dangerous_questions_are_asked_by_name_alone() {
        let named = QuestionSet::parse("gif0-hlt-ends,mc-gif0").unwrap();
        for &question in Question::ALL {
            let always = matches!(question.subject().asking, Asking::Always);
            assert_eq!(QuestionSet::NONE.asks(question), always, "{question:?}");
            // Never means never; and who names some gets no others.
            assert_eq!(named.asks(question), question == Question::Gif0HltEnds, "{question:?}");
        }
    }

    #[test]
    fn what_an_smi_a_shutdown_or_gif_can_break_is_dangerous() {
        for name in ["auto-halt", "smm-rendezvous", "shutdown-resets", "gif0-hlt-ends", "nmi-wfs"] {
            let subject = Question::from_name(name).unwrap().subject();
            assert!(matches!(subject.asking, Asking::ByName(_)), "{name}");
        }
    }

    #[test]
    fn lists_are_refused_by_the_first_wrong_name() {
        assert_eq!(QuestionSet::parse("nmi-depth,nmi,icr"), Err("nmi"));
        assert_eq!(QuestionSet::parse(""), Err(""));
        let set = QuestionSet::parse("nmi-depth,icr-busy").unwrap();
        let members = Question::ALL.iter().filter(|&&question| set.contains(question)).count();
        assert!(set.contains(Question::NmiDepth) && set.contains(Question::IcrBusy) && members == 2);
    }
}
