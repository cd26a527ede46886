//! Whether the host has anything else to do: decided before any result is looked at.

use std::fs;

/// Share of the last ten seconds, in percent, in which somebody waited for a CPU: more is not quiet.
const PRESSURE_MAX: f64 = 5.0;
/// Processes that want to run, for each CPU, where the kernel does not tell the pressure.
const LOAD_MAX: f64 = 0.5;

/// An empty pair of readings that takes longer was interrupted, in microseconds; one in so many may be.
const EMPTY_US_MAX: f64 = 0.3;
const EMPTY_SHARE: usize = 10;

/// What the host says of itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Host {
    /// `some avg10` of the pressure on CPUs (PSI), in percent; `None` if the kernel does not tell.
    pub pressure: Option<f64>,
    /// Processes that wanted to run in the last minute, on average.
    pub load: Option<f64>,
    /// Ticks of the kernel's clock that a hypervisor has given to others, since the host started.
    pub stolen: Option<u64>,
    /// CPUs that this program may use.
    pub cpus: usize,
}

/// What a run may claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nobody else wanted the CPUs.
    Quiet,
    /// Somebody did, as it says. Times beyond p10 tell more of the host than of what is timed.
    Loaded(String),
}

impl Host {
    /// Asks the host.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            pressure: pressure(&read("/proc/pressure/cpu")),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
            stolen: stolen(&read("/proc/stat")),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Whether the host was quiet before a run. `wanted` CPUs are needed at once.
    #[must_use]
    pub fn before(&self, wanted: usize) -> Verdict {
        if self.cpus < wanted {
            return Verdict::Loaded(format!("{wanted} CPUs are needed at once, and there are {}", self.cpus));
        }
        match (self.pressure, self.load) {
            (Some(pressure), _) if pressure >= PRESSURE_MAX => {
                Verdict::Loaded(format!("somebody waited for a CPU in {pressure} % of the last 10 s"))
            }
            (None, Some(load)) if load >= LOAD_MAX * self.cpus as f64 => {
                Verdict::Loaded(format!("{load} processes wanted to run"))
            }
            (None, None) => Verdict::Loaded("the host does not say how busy it is".to_owned()),
            _ => Verdict::Quiet,
        }
    }

    /// The verdict on a run that began as `before` and ends now. `empty_us` are the times of pairs of readings of the clock with
    /// nothing in between, which the run took before anything else.
    #[must_use]
    pub fn after(&self, before: &Self, verdict: Verdict, empty_us: &[f64]) -> Verdict {
        match (verdict, self.stolen, before.stolen) {
            (Verdict::Quiet, Some(now), Some(then)) if now > then => {
                Verdict::Loaded(format!("a hypervisor took {} ticks meanwhile", now - then))
            }
            (Verdict::Quiet, ..) => {
                let slow = empty_us.iter().filter(|&&us| us > EMPTY_US_MAX).count();
                if slow * EMPTY_SHARE > empty_us.len() {
                    let all = empty_us.len();
                    return Verdict::Loaded(format!("{slow} of {all} empty readings of the clock took long"));
                }
                Verdict::Quiet
            }
            (loaded, ..) => loaded,
        }
    }
}

/// `some avg10` of a file of /proc/pressure.
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split(' ').find_map(|word| word.strip_prefix("avg10=")).and_then(|number| number.parse().ok())
}

/// The eighth number of the first line of /proc/stat.
fn stolen(text: &str) -> Option<u64> {
    text.lines().next()?.split_ascii_whitespace().nth(8)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { pressure: Some(0.4), load: Some(9.0), stolen: Some(5), cpus: 2 };

    #[test]
    fn what_the_kernel_writes_is_read() {
        let psi = "some avg10=12.34 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!((pressure(psi), pressure("full avg10=1"), pressure("")), (Some(12.34), None, None));
        assert_eq!((stolen("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1"), stolen("")), (Some(88), None));
    }

    #[test]
    fn only_a_host_that_says_so_is_quiet() {
        assert_eq!(HOST.before(2), Verdict::Quiet);
        let loaded = |host: Host, wanted| matches!(host.before(wanted), Verdict::Loaded(_));
        assert!(loaded(HOST, 3));
        assert!(loaded(Host { pressure: Some(5.0), ..HOST }, 2));
        assert!(loaded(Host { pressure: None, ..HOST }, 2));
        assert!(!loaded(Host { pressure: None, load: Some(0.9), ..HOST }, 2));
        assert!(loaded(Host { pressure: None, load: None, ..HOST }, 2));
    }

    #[test]
    fn time_that_was_taken_meanwhile_is_told() {
        let later = Host { stolen: Some(7), ..HOST };
        assert!(matches!(later.after(&HOST, Verdict::Quiet, &[]), Verdict::Loaded(why) if why.contains('2')));
        assert_eq!(HOST.after(&HOST, Verdict::Quiet, &[0.1; 20]), Verdict::Quiet);
        let canary = HOST.after(&HOST, Verdict::Quiet, &[0.1, 0.1, 0.4, 0.4]);
        assert!(matches!(canary, Verdict::Loaded(why) if why.contains("2 of 4")));
        let loaded = Verdict::Loaded("before".to_owned());
        assert_eq!(later.after(&HOST, loaded.clone(), &[]), loaded);
    }
}
