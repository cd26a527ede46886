//! What each CPU has for itself: counters and a job word. It lies at the beginning of the CPU's [`Area`].

use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use park_core::ApicId;

use crate::image::area::Area;
use crate::image::snapshot::Snapshot;
use crate::memory::MAX_CPUS;

/// What a CPU is told to run, on its own stack with IF = 0. It returns, or the CPU comes back by
/// [`come_home`](crate::image::world::come_home).
pub(crate) type Job = extern "C" fn(u64);

/// The first bytes of a CPU's area. The first four, and [`stray_count`](Self::stray_count), are written by the CPU's own handlers, in `traps.s`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct PerCpu {
    /// NMIs handled.
    pub(crate) nmi_count: AtomicU64,
    /// Machine checks handled.
    pub(crate) mc_count: AtomicU64,
    /// MCG_STATUS of the last machine check.
    pub(crate) mc_status: AtomicU64,
    /// Fixed interrupts handled.
    pub(crate) fixed_count: AtomicU64,
    /// What the NMI handler calls with the interrupted RIP, NMIs blocked: a [`Job`], or null.
    pub(crate) nmi_call: AtomicPtr<()>,
    /// Times that the CPU has come to its job loop: 1 when it has been started, one more for every return.
    pub(crate) arrivals: AtomicU64,
    /// The job word: null when idle.
    job: AtomicPtr<()>,
    job_argument: AtomicU64,
    /// Where the kernel that it belongs to maps physical memory.
    pub(crate) phys_offset: AtomicU64,
    /// Times that it has entered the kernel again out of a lot.
    pub(crate) entries: AtomicU64,
    /// 1 if it was sent a fixed interrupt while it was parked last, else 0.
    pub(crate) fixed_sent: AtomicU64,
    /// 1 if a fixed interrupt was pending in its local APIC when it did so last, else 0.
    pub(crate) fixed_pending: AtomicU64,
    /// Interrupts handled that nobody of the image has sent.
    pub(crate) stray_count: AtomicU64,
    /// What it had counted of SMIs before it was parked last.
    pub(crate) smis_before: AtomicU64,
    /// SMIs that firmware was called for since then.
    pub(crate) smis_called: AtomicU64,
    /// What it found in its registers when it did so last.
    pub(crate) registers: Snapshot,
    /// The CPU's number in the image; 0 is the boot CPU.
    pub(crate) index: u32,
    /// Its APIC id.
    pub(crate) apic_id: ApicId,
}

/// The CPU has a job already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct JobBusy {
    index: u32,
}

impl fmt::Display for JobBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} has not finished its last job", self.index)
    }
}

impl core::error::Error for JobBusy {}

impl PerCpu {
    /// A CPU that has done nothing yet.
    pub(crate) const fn new(index: u32, apic_id: ApicId) -> Self {
        Self {
            nmi_count: AtomicU64::new(0),
            mc_count: AtomicU64::new(0),
            mc_status: AtomicU64::new(0),
            fixed_count: AtomicU64::new(0),
            nmi_call: AtomicPtr::new(core::ptr::null_mut()),
            arrivals: AtomicU64::new(0),
            job: AtomicPtr::new(core::ptr::null_mut()),
            job_argument: AtomicU64::new(0),
            phys_offset: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            fixed_sent: AtomicU64::new(0),
            fixed_pending: AtomicU64::new(0),
            stray_count: AtomicU64::new(0),
            smis_before: AtomicU64::new(0),
            smis_called: AtomicU64::new(0),
            registers: Snapshot::new(),
            index,
            apic_id,
        }
    }

    /// Tells the CPU to run `job(argument)`. One CPU alone gives jobs.
    pub(crate) fn give(&self, job: Job, argument: u64) -> Result<(), JobBusy> {
        if !self.is_idle() {
            return Err(JobBusy { index: self.index });
        }
        self.job_argument.store(argument, Ordering::Relaxed);
        // Release: the argument is there before the job.
        self.job.store(job as *mut (), Ordering::Release);
        Ok(())
    }

    /// Sets what the CPU's NMI handler calls; `None`: nothing.
    pub(crate) fn on_nmi(&self, call: Option<Job>) {
        let call = call.map_or(core::ptr::null_mut(), |call| call as *mut ());
        self.nmi_call.store(call, Ordering::Release);
    }

    /// True if the CPU has no job. Acquire: what the last one wrote is visible then.
    pub(crate) fn is_idle(&self) -> bool {
        self.job.load(Ordering::Acquire).is_null()
    }

    /// The CPU's home: waits for jobs and runs them, for ever.
    pub(crate) fn job_loop(&self) -> ! {
        // A CPU that comes back has left its last job's stack behind, and will not return from it.
        self.job.store(core::ptr::null_mut(), Ordering::Release);
        self.arrivals.fetch_add(1, Ordering::Release);
        loop {
            let job = self.job.load(Ordering::Acquire);
            if job.is_null() {
                core::hint::spin_loop();
                continue;
            }
            // SAFETY: the job word holds null or what `give` made from a `Job`.
            let job = unsafe { core::mem::transmute::<*mut (), Job>(job) };
            job(self.job_argument.load(Ordering::Relaxed));
            self.job.store(core::ptr::null_mut(), Ordering::Release);
        }
    }
}

/// All CPUs that the image knows, by their numbers.
static ALL: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Makes `cpu` known; `None` if the image has no room for its number.
pub(crate) fn register(cpu: &'static PerCpu) -> Option<()> {
    // Never written through: `cpus` makes shared references alone.
    ALL.get(cpu.index as usize)?.store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Release);
    Some(())
}

/// All CPUs that the image knows, the boot CPU first.
pub(crate) fn cpus() -> impl Iterator<Item = &'static PerCpu> {
    ALL.iter().map_while(|slot| {
        let cpu = slot.load(Ordering::Acquire);
        // SAFETY: the slot holds null, or what `register` made from a reference that lives for ever.
        unsafe { cpu.as_ref() }
    })
}

/// The CPU with this APIC id.
pub(crate) fn with_apic_id(apic_id: ApicId) -> Option<&'static PerCpu> {
    cpus().find(|cpu| cpu.apic_id == apic_id)
}

/// The CPU that executes this.
pub(crate) fn current() -> &'static PerCpu {
    Area::current().percpu()
}
