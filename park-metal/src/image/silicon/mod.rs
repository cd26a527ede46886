//! The test `silicon`: the questions of [`crate::silicon`], asked of this machine; one line for each answer.
//!
//! Every line carries vendor, family, model, stepping and microcode, so that lines of many machines can be put
//! together. A question that can't be answered says why; one that is not asked does too. Questions are asked of the last CPU
//! that is still there; each is left as it was found, by INIT and STARTUP if nothing else helps.

mod gif;
mod init;
mod ipi;
mod nmi;
mod panel;
mod shutdown;
mod smm;
mod waits;

use park_core::{Cpu, Register};
use park_x86::features::{FeatureSet, Features, Vendor};
use park_x86::registers::msr;

use self::panel::{Panel, Reply};

use crate::image::failure::Failure;
use crate::image::parking::detect_here;
use crate::image::world::World;
use crate::image::{keep, probe, serial};
use crate::last_step::Step;
use crate::platform::apic::this_cpu;
use crate::report::Value;
use crate::silicon::{Asking, Hypervisor, Question};

/// CPUID leaf 1, whose execution loads the microcode's revision into [`msr::BIOS_SIGN_ID`] on Intel.
const LEAF_VERSION: u32 = 1;

/// Runs the test. It fails if a CPU is lost for another reason than a question that says so, or an answer is not one of
/// the question's.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let machine = Machine::here();
    let hypervisor = machine.features.has(FeatureSet::HYPERVISOR);
    if hypervisor && world.options.hypervisor == Hypervisor::Refuse {
        return Err(Failure::Machine("this is a hypervisor, whose answers are not silicon's; hypervisor=yes asks it"));
    }
    let died = keep::recall(world).filter(|last| last.step == Step::Ask).map(|last| last.number);
    let mut panel = Panel::new(world);
    let (mut answered, mut unanswered) = (0_u64, 0_u64);
    for &question in Question::ALL {
        if !world.options.ask.asks(question) {
            if world.options.ask.is_empty() {
                unasked(question);
            }
            continue;
        }
        let reply = if died == Some(question.number()) {
            // Asked again, it would end the machine again.
            match question {
                Question::ShutdownResets => Reply::answer("yes"),
                Question::SmmRendezvous => Reply::answer("hang"),
                _ => Reply::none("the machine did not outlive it last time"),
            }
        } else {
            keep::note(world, Step::Ask, question.number(), panel.victim().map(|cpu| cpu.index));
            ask(&mut panel, &machine, question)?
        };
        match reply.answer {
            Some(_) => answered += 1,
            None => unanswered += 1,
        }
        machine.report(question, &reply)?;
    }
    keep::note(world, Step::Done, 0, None);
    let fields = [
        ("answered", Value::Number(answered)),
        ("unanswered", Value::Number(unanswered)),
        ("cpus_lost", Value::Number(panel.lost())),
        ("hypervisor", Value::Truth(hypervisor)),
    ];
    serial::emit("answers", &fields);
    let harmless = Question::ALL.iter().filter(|&&question| world.options.ask.asks(question));
    let harmless = harmless.map(|question| question.subject().asking).all(|asking| asking == Asking::Always);
    if harmless && panel.lost() != 0 {
        return Err(Failure::Machine("a CPU was lost, though no question was asked that may lose one"));
    }
    Ok(())
}

fn ask(panel: &mut Panel<'_>, machine: &Machine, question: Question) -> Result<Reply, Failure> {
    let features = &machine.features;
    if panel.victim().is_none() {
        return Ok(Reply::none("there is no CPU left to ask; give the machine two at least"));
    }
    let needs = |feature, why| if features.has(feature) { None } else { Some(Reply::none(why)) };
    let missing = match question {
        Question::MwaitWaits
        | Question::MaskedIntrMwait
        | Question::BlockedNmiMwait
        | Question::NearStoreWakes
        | Question::MonitorLost
        | Question::MonitorStale
        | Question::MonitorAcrossSmm => needs(FeatureSet::MONITOR, "the CPU has no MONITOR"),
        Question::Gif0HltEnds | Question::SvmeOffGif0 | Question::HsaveAcrossInit => {
            needs(FeatureSet::SVM, "the CPU has no SVM")
        }
        Question::Gif0MwaitEnds | Question::Gif0Monitor => {
            needs(FeatureSet::SVM.union(FeatureSet::MONITOR), "the CPU has no SVM, or no MONITOR")
        }
        _ => None,
    };
    if let Some(reply) = missing {
        return Ok(reply);
    }
    match question {
        Question::MwaitWaits => waits::mwait_waits(panel),
        Question::MaskedIntrMwait => waits::masked_interrupt(panel),
        Question::BlockedNmiMwait => nmi::blocked_nmi_mwait(panel),
        Question::NearStoreWakes => waits::near_store(panel, &features.monitor),
        Question::MonitorLost => waits::monitor_lost(panel, &features.monitor),
        Question::MonitorStale => waits::monitor_stale(panel, &features.monitor),
        Question::NmiDepth => nmi::depth(panel),
        Question::NmiApicSoftOff => waits::nmi_soft_off(panel),
        Question::StiHoldsNmi => nmi::sti_shadow(panel),
        Question::IcrBusy => ipi::icr_busy(panel),
        Question::IcrReorder => ipi::icr_reorder(panel),
        Question::IrrAcrossInit => init::irr(panel),
        Question::NmiBlockAcrossInit => init::nmi_block(panel),
        Question::HsaveAcrossInit => init::hsave(panel),
        Question::NmiAcrossInit => init::pending_nmi(panel),
        Question::NmiWfs => init::nmi_in_wfs(panel),
        Question::Gif0MwaitEnds => gif::mwait_ends(panel),
        Question::Gif0Monitor => gif::monitor(panel),
        Question::Gif0HltEnds => gif::hlt_ends(panel),
        Question::SvmeOffGif0 => gif::svme_off(panel),
        Question::AutoHalt => smm::auto_halt(panel),
        Question::MonitorAcrossSmm => smm::monitor(panel),
        Question::NmiBlockAcrossSmm => smm::nmi_block(panel),
        Question::SmmRendezvous => smm::rendezvous(panel),
        Question::ShutdownResets => shutdown::resets(panel),
        Question::NmiShutdown => shutdown::nmi(panel),
        Question::McGif0
        | Question::McWfs
        | Question::McBroadcastAmd
        | Question::McSmm
        | Question::DmaWakesDeep
        | Question::DmaWakesAmd
        | Question::SmiShutdown
        | Question::InitWfs
        | Question::TlbAcrossInit
        | Question::RInitAcrossInit => Ok(Reply::none("it is never asked")),
    }
}

/// Says why a question is not asked.
fn unasked(question: Question) {
    let subject = question.subject();
    let (why, how) = match subject.asking {
        Asking::Always => return,
        Asking::ByName(why) => (why, "by name"),
        Asking::Never(why) => (why, "never"),
    };
    let fields = [("question", Value::Text(subject.name)), ("asked", Value::Text(how)), ("why", Value::Text(why))];
    serial::emit("unasked", &fields);
}

/// Which CPU answers.
#[derive(Clone, Copy, Debug)]
struct Machine {
    features: Features,
    microcode: u64,
}

impl Machine {
    /// The boot CPU; all are taken for alike.
    fn here() -> Self {
        let features = *detect_here().features();
        let microcode = match features.vendor {
            Vendor::Intel => {
                // SAFETY: the register is there to be cleared before CPUID loads it (SDM vol. 3, "Determining the Signature").
                let cleared = unsafe { probe::wrmsr(msr::BIOS_SIGN_ID, 0) };
                let _ = this_cpu().cpuid(LEAF_VERSION, 0);
                // The revision is the upper half.
                cleared.and_then(|()| probe::rdmsr(msr::BIOS_SIGN_ID)).map_or(0, |value| value >> 32)
            }
            _ => probe::rdmsr(msr::BIOS_SIGN_ID).unwrap_or(0),
        };
        Self { features, microcode }
    }

    fn report(&self, question: Question, reply: &Reply) -> Result<(), Failure> {
        let subject = question.subject();
        let answer = match reply.answer {
            Some(name) => {
                Some(question.answer(name).ok_or(Failure::Machine("an answer that its question does not have"))?)
            }
            None => None,
        };
        let signature = self.features.signature;
        let knob = subject.knob_on(self.features.vendor);
        let fields = [
            ("question", Value::Text(subject.name)),
            ("answer", Value::Text(answer.map_or("", |answer| answer.name))),
            ("knob", Value::Text(knob.unwrap_or(""))),
            ("knob_value", Value::Text(knob.and(answer).and_then(|answer| answer.knob_value).unwrap_or(""))),
            ("vendor", Value::Text(self.features.vendor.name())),
            ("family", Value::Hex(signature.family.into())),
            ("model", Value::Hex(signature.model.into())),
            ("stepping", Value::Hex(signature.stepping.into())),
            ("microcode", Value::Hex(self.microcode)),
            // At last what is not always there: why there is no answer, and the figures that led to it.
            ("why", Value::Text(reply.why)),
            reply.figures[0],
            reply.figures[1],
            reply.figures[2],
        ];
        let used = fields.len() - reply.figures.iter().filter(|(name, _)| name.is_empty()).count();
        serial::emit("silicon", fields.get(..used).unwrap_or(&fields));
        Ok(())
    }
}

/// Sets bits of the executing CPU's EFER, or clears them.
fn write_efer(change: impl FnOnce(u64) -> u64) -> Result<(), Failure> {
    let mut cpu = this_cpu();
    let efer = cpu.read(Register::Msr(msr::EFER))?;
    Ok(cpu.write(Register::Msr(msr::EFER), change(efer))?)
}
