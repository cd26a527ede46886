//! How deep MWAIT may go: hints by model and latency budget.

use park_x86::features::{Features, Signature};

/// A C-state that MWAIT can ask for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Depth {
    /// EAX of MWAIT.
    pub hint: u32,
    /// Longest time out of the state, in microseconds: the 99.99th percentile where Intel's `wult` measured it.
    pub exit_latency_us: u32,
}

/// First hint at which a CPU may lose what is in its caches: C3 (SDM vol. 2B, "MWAIT": bits 7:4 are C-state less 1).
pub const C3_HINT: u32 = 0x10;

/// Longest time out of HLT, in microseconds: that of C1E, which firmware may make of C1 (the longest in
/// intel_idle.c's tables).
pub const HLT_EXIT_LATENCY_US: u32 = 10;

impl Depth {
    /// True if the state is C3 or deeper.
    #[must_use]
    pub const fn is_deep(&self) -> bool {
        self.hint >= C3_HINT
    }
}

const fn depth(hint: u32, exit_latency_us: u32) -> Depth {
    Depth { hint, exit_latency_us }
}

/// Depths of some models of family 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ModelDepths {
    /// Models.
    pub models: &'static [u8],
    /// Depths below C1, shallowest first.
    pub depths: &'static [Depth],
    /// The table's name in its source.
    pub source: &'static str,
}

/// C1, the hint that every CPU with MWAIT takes (SDM vol. 2B, "MWAIT", table of hints). The latency is the longest of C1 in
/// Linux drivers/idle/intel_idle.c; there is no shallower state, whatever is allowed.
pub const C1: Depth = depth(0x00, 2);

/// What park knows of depths beyond C1. All from Linux drivers/idle/intel_idle.c.
///
/// Leaf 5 is no substitute: Sierra Forest counts four sub-states of its C6, of which 20h and 21h are undefined hints
/// and keep the package awake (Linux commit 96040f7273e2). A model that is not here gets C1.
pub const DEPTHS: &[ModelDepths] = &[
    ModelDepths {
        models: &[0x3e],
        depths: &[depth(0x01, 10), depth(0x10, 59), depth(0x20, 82)],
        source: "ivt_cstates",
    },
    ModelDepths {
        models: &[0x3c, 0x45, 0x46, 0x3f],
        depths: &[depth(0x01, 10), depth(0x10, 33), depth(0x20, 133)],
        source: "hsw_cstates",
    },
    ModelDepths {
        models: &[0x3d, 0x47, 0x4f, 0x56],
        depths: &[depth(0x01, 10), depth(0x10, 40), depth(0x20, 133)],
        source: "bdw_cstates",
    },
    ModelDepths {
        models: &[0x4e, 0x5e, 0x8e, 0x9e],
        depths: &[depth(0x01, 10), depth(0x10, 70), depth(0x20, 85), depth(0x40, 200), depth(0x60, 890)],
        source: "skl_cstates",
    },
    ModelDepths { models: &[0x55], depths: &[depth(0x01, 10), depth(0x20, 133)], source: "skx_cstates" },
    ModelDepths { models: &[0x6a, 0x6c], depths: &[depth(0x01, 4), depth(0x20, 170)], source: "icx_cstates" },
    ModelDepths {
        models: &[0x97],
        depths: &[depth(0x01, 2), depth(0x20, 220), depth(0x40, 280), depth(0x60, 680)],
        source: "adl_cstates",
    },
    ModelDepths { models: &[0x8f, 0xcf], depths: &[depth(0x01, 2), depth(0x20, 290)], source: "spr_cstates" },
    ModelDepths { models: &[0xad], depths: &[depth(0x20, 170), depth(0x21, 210)], source: "gnr_cstates" },
    ModelDepths {
        models: &[0xaf],
        depths: &[depth(0x01, 2), depth(0x22, 270), depth(0x23, 310)],
        source: "srf_cstates",
    },
];

/// The depths of a model beyond C1, shallowest first; empty for one that park does not know.
#[must_use]
pub fn depths_of(signature: Signature) -> &'static [Depth] {
    if signature.family != 6 {
        return &[];
    }
    DEPTHS.iter().find(|entry| entry.models.contains(&signature.model)).map_or(&[], |entry| entry.depths)
}

/// The deepest state out of which the CPU comes within `latency_us` microseconds; [`C1`] where none is known.
///
/// A hint is an upper bound: hardware may choose a shallower state. States whose C-state leaf 5 counts no sub-state
/// of are left out: firmware or a hypervisor has taken them away.
#[must_use]
pub fn deepest(features: &Features, latency_us: u32) -> Depth {
    let offered = |depth: &Depth| {
        // SDM vol. 2B, "MWAIT": hint bits 7:4 are the C-state less one.
        features.monitor.substates_of((depth.hint >> 4 & 0xf) + 1) > 0
    };
    let mut best = C1;
    for depth in depths_of(features.signature) {
        if depth.exit_latency_us <= latency_us && offered(depth) {
            best = *depth;
        }
    }
    best
}
