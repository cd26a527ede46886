//! A doorbell between two threads of this machine, each on a CPU of its own: rung, answered, and how that is waited for.
//!
//! What the hardware has for it needs privileges (MONITOR, HLT) or instructions that this CPU may lack (UMWAIT, MWAITX); what is left is
//! polling, and the kernel's ways to sleep.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::fs;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::thread::{CpuSet, Pid, futex, sched_getaffinity, sched_setaffinity};

/// How a thread waits for its doorbell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It polls with PAUSE: what a parked CPU of park's does without a monitor.
    Pause,
    /// It sleeps in the kernel on the word itself.
    Futex,
    /// It sleeps until it is unparked.
    Park,
    /// It reads an eventfd.
    Eventfd,
}

impl Wait {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Futex, Self::Park, Self::Eventfd];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Futex => "futex",
            Self::Park => "thread-park",
            Self::Eventfd => "eventfd",
        }
    }
}

/// Values of a doorbell.
const QUIET: u32 = 0;
const RUNG: u32 = 1;
const CLOSED: u32 = 2;

/// One thread's word, alone on its line, and what it sleeps by.
#[repr(align(128))]
struct Bell {
    word: AtomicU32,
    event: OwnedFd,
}

impl Bell {
    fn new() -> Result<Self, String> {
        let event = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| format!("no eventfd: {error}"))?;
        Ok(Self { word: AtomicU32::new(QUIET), event })
    }

    fn ring(&self, wait: Wait, value: u32, listener: Option<&Thread>) {
        self.word.store(value, Ordering::Release);
        match wait {
            Wait::Pause => {}
            // An error means that nobody sleeps there.
            Wait::Futex => drop(futex::wake(&self.word, futex::Flags::PRIVATE, 1)),
            Wait::Park => listener.into_iter().for_each(Thread::unpark),
            // It fails only at the counter's end, of which this is not a part.
            Wait::Eventfd => drop(rustix::io::write(&self.event, &1_u64.to_ne_bytes())),
        }
    }

    /// Waits for a ring and takes it.
    fn take(&self, wait: Wait) -> u32 {
        loop {
            let value = self.word.load(Ordering::Acquire);
            if value != QUIET {
                self.word.store(QUIET, Ordering::Relaxed);
                if wait == Wait::Eventfd {
                    self.sleep(wait);
                }
                return value;
            }
            if wait == Wait::Eventfd {
                // The one read takes what was written: the word is there then.
                self.sleep(wait);
                return self.word.swap(QUIET, Ordering::Acquire);
            }
            self.sleep(wait);
        }
    }

    fn sleep(&self, wait: Wait) {
        match wait {
            Wait::Pause => core::hint::spin_loop(),
            // It returns at once if the word has changed meanwhile; whatever the reason, the loop looks again.
            Wait::Futex => drop(futex::wait(&self.word, futex::Flags::PRIVATE, QUIET, None)),
            Wait::Park => thread::park(),
            Wait::Eventfd => drop(rustix::io::read(&self.event, &mut [0; 8])),
        }
    }
}

/// Two threads that ring each other's doorbell: this one, and one that answers.
#[derive(Debug)]
pub struct Pair {
    bells: Arc<[Bell; 2]>,
    wait: Wait,
    other: Option<JoinHandle<()>>,
}

impl core::fmt::Debug for Bell {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Bell").field("word", &self.word).finish_non_exhaustive()
    }
}

/// Two CPUs that this program may use.
///
/// # Errors
/// Why there are none.
pub fn two_cpus() -> Result<[usize; 2], String> {
    let set =
        sched_getaffinity(None).map_err(|error| format!("the kernel does not say which CPUs there are: {error}"))?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu));
    match (cpus.next(), cpus.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err("two CPUs are needed".to_owned()),
    }
}

/// Puts the calling thread on one CPU.
///
/// # Errors
/// What the kernel said.
pub fn pin(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None::<Pid>, &set).map_err(|error| format!("a thread can't be put on CPU {cpu}: {error}"))
}

impl Pair {
    /// A pair that waits so. The calling thread has been put on its CPU; the other goes to `cpu`.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn new(wait: Wait, cpu: usize) -> Result<Self, String> {
        let bells = Arc::new([Bell::new()?, Bell::new()?]);
        let (theirs, asker) = (Arc::clone(&bells), thread::current());
        let (sender, ready) = mpsc::channel();
        let other = thread::spawn(move || {
            // If nobody hears it, the pair is gone.
            let _ = sender.send(pin(cpu));
            let [mine, yours] = &*theirs;
            while mine.take(wait) != CLOSED {
                yours.ring(wait, RUNG, Some(&asker));
            }
        });
        let pinned = ready.recv().map_err(|_| "the other thread is gone".to_owned())?;
        let pair = Self { bells, wait, other: Some(other) };
        pinned.map(|()| pair)
    }

    /// Time of so many rings, each with its answer.
    #[must_use]
    pub fn time(&self, iterations: u64) -> Duration {
        let [theirs, mine] = &*self.bells;
        let listener = self.other.as_ref().map(JoinHandle::thread);
        let start = Instant::now();
        for _ in 0..iterations {
            theirs.ring(self.wait, RUNG, listener);
            let _ = mine.take(self.wait);
        }
        start.elapsed()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(other) = self.other.take() {
            self.bells[0].ring(self.wait, CLOSED, Some(other.thread()));
            // It panics nowhere; if it did, that has been told.
            let _ = other.join();
        }
    }
}

/// What user space of some CPUs could wait with, and why it is not here.
#[must_use]
pub fn left_out() -> Vec<String> {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
    [("UMWAIT", "waitpkg"), ("MWAITX", "mwaitx")]
        .into_iter()
        .map(|(name, flag)| {
            let why =
                if has(flag) { "park has no code for it: no bay waits by it" } else { "this CPU does not have it" };
            format!("doorbell/{name}: {why}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_is_answered() {
        let Ok([_, cpu]) = two_cpus() else { return };
        for wait in Wait::ALL {
            let pair = Pair::new(wait, cpu).unwrap();
            assert!(pair.time(200) > Duration::ZERO, "{}", wait.name());
            assert_eq!(pair.bells[1].word.load(Ordering::Acquire), QUIET);
        }
    }

    #[test]
    fn what_is_left_out_is_named() {
        let told = left_out();
        assert!(told.iter().any(|line| line.contains("UMWAIT")) && told.len() == 2, "{told:?}");
    }
}
