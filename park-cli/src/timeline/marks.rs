//! Events on a lane: a triangle each, and labels where they do not run into each other.

use super::scale::Scale;
use super::shape::{Anchor, Canvas, width};
use super::{details, words};
use park_sim::recording::Mark;

/// Size of labels.
pub(super) const LABEL_SIZE: f64 = 11.0;
/// Room between two labels.
const LABEL_GAP: f64 = 7.0;
/// Half the width of a triangle, and its height.
const TRIANGLE: (f64, f64) = (4.0, 7.0);
/// Triangles that are closer are drawn as one.
const SAME_PLACE: f64 = 1.5;
/// Kinds that a label of several marks names.
const KINDS_NAMED: usize = 3;

/// Marks whose labels would run into each other.
#[derive(Clone, Debug, Default)]
struct Cluster<'m> {
    x: f64,
    marks: Vec<&'m Mark>,
}

impl Cluster<'_> {
    /// `NMI ×3`, `ring, NMI ×2`, or how many.
    fn label(&self) -> String {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for mark in &self.marks {
            let label = words::label(mark.kind);
            match kinds.iter_mut().find(|(known, _)| *known == label) {
                Some((_, count)) => *count += 1,
                None => kinds.push((label, 1)),
            }
        }
        if kinds.len() > KINDS_NAMED {
            return format!("{} events", self.marks.len());
        }
        let named = kinds.into_iter().map(|(label, count)| if count > 1 { format!("{label} ×{count}") } else { label });
        named.collect::<Vec<_>>().join(", ")
    }
}

/// Draws the labelled marks of a lane above `y`, where its bar begins.
pub(super) fn above(canvas: &mut Canvas, marks: &[&Mark], scale: &Scale, y: f64) {
    for cluster in clusters(marks, scale) {
        let titles: Vec<String> = cluster.marks.iter().map(|mark| details::mark(mark)).collect();
        canvas.open_titled("mark", &titles.join("\n"));
        let mut last = f64::NEG_INFINITY;
        for mark in &cluster.marks {
            let x = scale.x(mark.tick);
            if x - last > SAME_PLACE {
                let (half, height) = TRIANGLE;
                canvas.polygon("glyph", &[(x - half, y - height - 1.0), (x + half, y - height - 1.0), (x, y - 1.0)]);
                last = x;
            }
        }
        let label = cluster.label();
        let room = width(&label, LABEL_SIZE);
        // Near the right edge a label ends where its marks are.
        let (x, anchor) = if cluster.x + room > scale.width {
            (scale.width, Anchor::End)
        } else {
            ((cluster.x - 3.0).max(0.0), Anchor::Start)
        };
        canvas.text("label", (x, y - 11.0), anchor, &label);
        canvas.close();
    }
}

fn clusters<'m>(marks: &[&'m Mark], scale: &Scale) -> Vec<Cluster<'m>> {
    let mut sorted: Vec<&Mark> = marks.to_vec();
    sorted.sort_by_key(|mark| mark.tick);
    let mut clusters: Vec<Cluster<'m>> = Vec::new();
    for mark in sorted {
        let x = scale.x(mark.tick);
        match clusters.last_mut() {
            Some(last) if x < last.x + width(&last.label(), LABEL_SIZE) + LABEL_GAP => last.marks.push(mark),
            _ => clusters.push(Cluster { x, marks: vec![mark] }),
        }
    }
    clusters
}

/// Draws the marks without labels below `y`, where a lane's bar ends: what the CPU says of itself.
pub(super) fn below(canvas: &mut Canvas, marks: &[&Mark], scale: &Scale, y: f64) {
    let mut last = f64::NEG_INFINITY;
    for mark in marks {
        let x = scale.x(mark.tick);
        if x - last > SAME_PLACE {
            canvas.open_titled("tick", &details::mark(mark));
            canvas.line("tickline", [x, y, x, y + 5.0]);
            canvas.close();
            last = x;
        }
    }
}
