//! From ticks to places: time is not to scale, or all that matters would be thinner than a hair.

use park_sim::recording::Recording;

/// Weight that every stretch between two points has.
const WEIGHT_MIN: f64 = 1.0;
/// The most weight of a stretch in which nothing happens.
const WEIGHT_MAX: f64 = 12.0;
/// Weight of a tick while memory is overwritten.
const FRONT_WEIGHT: f64 = 0.12;
/// Width of a unit of weight where there is room.
const UNIT_WIDTH: f64 = 3.4;

/// Where ticks are. Between two points at which something begins, ends or happens, time is even; how long such a stretch
/// looks grows with the logarithm of how long it is.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// Ticks and their places, in order.
    points: Vec<(u64, f64)>,
    /// All of it.
    pub(super) width: f64,
}

impl Scale {
    /// The scale of a recording, at least and at most so wide.
    pub(super) fn new(recording: &Recording, width_min: f64, width_max: f64) -> Self {
        let mut ticks = vec![0, recording.end_tick];
        for lane in &recording.lanes {
            ticks.extend(lane.intervals.iter().map(|interval| interval.start_tick));
            ticks.extend(lane.death.iter().map(|death| death.tick));
        }
        ticks.extend(recording.marks.iter().map(|mark| mark.tick));
        ticks.extend(recording.acts.iter().map(|act| act.tick));
        ticks.extend(recording.kernels.iter().map(|kernel| kernel.tick));
        ticks.extend(recording.fronts.iter().flat_map(|front| [front.start_tick, front.end_tick]));
        ticks.sort_unstable();
        ticks.dedup();
        let mut points = Vec::with_capacity(ticks.len());
        let (mut total, mut last) = (0.0, 0);
        for tick in ticks {
            total += weight(recording, last, tick);
            points.push((tick, total));
            last = tick;
        }
        let width = (total * UNIT_WIDTH).clamp(width_min, width_max);
        let factor = width / if total > 0.0 { total } else { 1.0 };
        points.iter_mut().for_each(|(_, place)| *place *= factor);
        Self { points, width }
    }

    /// The place of a tick.
    pub(super) fn x(&self, tick: u64) -> f64 {
        let after = self.points.partition_point(|(point, _)| *point <= tick);
        let Some((start, from)) = after.checked_sub(1).and_then(|before| self.points.get(before)) else { return 0.0 };
        let Some((end, to)) = self.points.get(after) else { return *from };
        from + (to - from) * (tick - start) as f64 / (end - start).max(1) as f64
    }
}

fn weight(recording: &Recording, from: u64, to: u64) -> f64 {
    let ticks = to.saturating_sub(from);
    if ticks == 0 {
        return 0.0;
    }
    let in_front = recording.fronts.iter().any(|front| front.start_tick <= from && to <= front.end_tick);
    let quiet = (WEIGHT_MIN + (ticks as f64).log2()).min(WEIGHT_MAX);
    if in_front { WEIGHT_MIN.max(ticks as f64 * FRONT_WEIGHT) } else { quiet }
}
