//! The translation cache of one CPU: entries live until something flushes them (S:4.10).

/// Permissions and attributes of a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Perms {
    pub(crate) write: bool,
    pub(crate) user: bool,
    pub(crate) no_execute: bool,
    pub(crate) dirty: bool,
    pub(crate) write_back: bool,
    pub(crate) uncached: bool,
    pub(crate) key: u8,
}

/// One translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Entry {
    /// Linear address of the page.
    pub(crate) linear: u64,
    /// Physical address of the page.
    pub(crate) phys: u64,
    /// Page size minus one.
    pub(crate) mask: u64,
    pub(crate) pcid: u16,
    pub(crate) global: bool,
    pub(crate) perms: Perms,
}

impl Entry {
    #[inline]
    fn covers(&self, linear: u64, pcid: u16) -> bool {
        (linear ^ self.linear) & !self.mask == 0 && (self.global || self.pcid == pcid)
    }
}

/// Entries of the whole TLB; beyond that the oldest goes.
const ENTRIES: usize = 64;
/// Direct-mapped hints into `entries`.
const HINTS: usize = 16;

/// Which translations to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evict {
    /// All of them.
    All,
    /// The oldest.
    Oldest,
    /// Those that cover this linear address, of any PCID.
    Page(u64),
}

/// A translation cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tlb {
    entries: Vec<Entry>,
    hints: [u8; HINTS],
    /// Grows whenever an entry may have gone; the fetch shortcut compares it.
    pub(crate) generation: u64,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::with_capacity(ENTRIES), hints: [0; HINTS], generation: 1 }
    }

    #[inline]
    pub(crate) fn lookup(&mut self, linear: u64, pcid: u16) -> Option<Entry> {
        let hint = ((linear >> 12) as usize) % HINTS;
        if let Some(entry) = self.entries.get(usize::from(self.hints[hint]))
            && entry.covers(linear, pcid)
        {
            return Some(*entry);
        }
        let at = self.entries.iter().position(|entry| entry.covers(linear, pcid))?;
        self.hints[hint] = at as u8;
        self.entries.get(at).copied()
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        self.drop_where(|old| {
            old.covers(entry.linear, entry.pcid) && old.mask == entry.mask && old.global == entry.global
        });
        if self.entries.len() >= ENTRIES {
            self.entries.remove(0);
            self.generation += 1;
        }
        self.entries.push(entry);
    }

    fn drop_where(&mut self, drop: impl Fn(&Entry) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|entry| !drop(entry));
        if self.entries.len() != before {
            self.generation += 1;
        }
    }

    /// Everything, global entries included.
    pub(crate) fn flush_all(&mut self) {
        self.entries.clear();
        self.generation += 1;
    }

    /// The entries of one PCID but the global ones.
    pub(crate) fn flush_pcid(&mut self, pcid: u16) {
        self.drop_where(|entry| !entry.global && entry.pcid == pcid);
        self.generation += 1;
    }

    /// The entries of one PCID and the global ones.
    pub(crate) fn flush_pcid_and_globals(&mut self, pcid: u16) {
        self.drop_where(|entry| entry.global || entry.pcid == pcid);
        self.generation += 1;
    }

    /// Every entry of every PCID but the global ones.
    pub(crate) fn flush_not_global(&mut self) {
        self.drop_where(|entry| !entry.global);
        self.generation += 1;
    }

    /// INVLPG: the page of the current PCID, and global ones.
    pub(crate) fn flush_page(&mut self, linear: u64, pcid: u16) {
        self.drop_where(|entry| entry.covers(linear, pcid));
        self.generation += 1;
    }

    pub(crate) fn evict(&mut self, which: Evict) {
        match which {
            Evict::All => self.entries.clear(),
            Evict::Oldest => {
                if !self.entries.is_empty() {
                    self.entries.remove(0);
                }
            }
            Evict::Page(linear) => self.entries.retain(|entry| (linear ^ entry.linear) & !entry.mask != 0),
        }
        self.generation += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, the oldest first.
    pub(crate) fn all(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries in an order that does not depend on history.
    pub(crate) fn canonical(&self) -> impl Iterator<Item = &Entry> {
        let mut order = [0u8; ENTRIES];
        for (at, slot) in (0u8..).zip(order.iter_mut()) {
            *slot = at;
        }
        let used = self.entries.len().min(ENTRIES);
        if let Some(order) = order.get_mut(..used) {
            order.sort_unstable_by_key(|at| {
                self.entries.get(usize::from(*at)).map(|entry| (entry.linear, entry.pcid, entry.global, entry.mask))
            });
        }
        order.into_iter().take(used).filter_map(|at| self.entries.get(usize::from(at)))
    }

    /// Adds an entry that [`Tlb::canonical`] gave, after [`Tlb::restore`].
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(crate) fn restore(&mut self, entries: impl Iterator<Item = Entry>) {
        self.entries.clear();
        self.entries.extend(entries);
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(linear: u64, pcid: u16) -> Entry {
        Entry { linear, phys: linear + 0x10_0000, mask: 0xfff, pcid, global: false, perms: Perms::default() }
    }

    #[test]
    fn flushes_take_what_the_manual_says() {
        let mut tlb = Tlb::new();
        tlb.insert(page(0x1000, 0));
        tlb.insert(Entry { global: true, ..page(0x2000, 0) });
        tlb.insert(page(0x3000, 5));
        assert!(tlb.lookup(0x3000, 0).is_none());
        tlb.flush_pcid(0);
        assert!(tlb.lookup(0x1000, 0).is_none());
        assert!(tlb.lookup(0x2abc, 9).is_some());
        assert!(tlb.lookup(0x3000, 5).is_some());
        tlb.flush_not_global();
        assert!(tlb.lookup(0x3000, 5).is_none());
        tlb.flush_page(0x2000, 7);
        assert_eq!(tlb.len(), 0);
    }

    #[test]
    fn large_page_answers_for_all_of_it() {
        let mut tlb = Tlb::new();
        tlb.insert(Entry { mask: 0x1f_ffff, ..page(0x20_0000, 0) });
        assert!(tlb.lookup(0x3f_f000, 0).is_some());
        assert!(tlb.lookup(0x40_0000, 0).is_none());
        tlb.flush_page(0x2a_b000, 0);
        assert!(tlb.lookup(0x20_0000, 0).is_none());
    }
}
