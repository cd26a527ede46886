//! What somebody probably meant.

/// How many names a message offers.
const OFFERED: usize = 3;

/// The names nearest to `wrong`, the best first; none that shares too little with it.
#[must_use]
pub fn near<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let wrong = wrong.to_lowercase();
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let contained = !wrong.is_empty() && (name.contains(&wrong) || wrong.contains(name));
            let distance = distance(&wrong, name);
            let limit = wrong.chars().count().max(name.chars().count()) / 2;
            (contained || distance <= limit).then_some((if contained { distance / 2 } else { distance }, name))
        })
        .collect();
    scored.sort();
    scored.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

/// A message about a name that does not exist, with what there is: near ones, else all.
#[must_use]
pub fn unknown<'n>(kind: &str, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let near = near(wrong, names.iter().copied());
    if near.is_empty() {
        format!("no {kind} is named `{wrong}`; there are {}", names.join(", "))
    } else {
        format!("no {kind} is named `{wrong}`; did you mean {}?", near.join(" or "))
    }
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, one) in left.chars().enumerate() {
        let mut next = vec![line + 1];
        let mut before = line + 1;
        for ((other, above_left), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            before = (above_left + usize::from(one != *other)).min(above + 1).min(before + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["linux-mwait-kexec", "linux-hlt-kexec-nmi", "lot-hlt", "lot-mwait", "kexec-chain-100"];

    #[test]
    fn a_slip_finds_its_name_first() {
        assert_eq!(near("lot-htl", NAMES).first(), Some(&"lot-hlt"));
        assert_eq!(near("linux-mwait-kexce", NAMES).first(), Some(&"linux-mwait-kexec"));
        assert_eq!(near("kexec-chain", NAMES).first(), Some(&"kexec-chain-100"));
        assert_eq!(near("LOT-MWAIT", NAMES).first(), Some(&"lot-mwait"));
    }

    #[test]
    fn nonsense_lists_everything() {
        assert_eq!(near("zzzzzzzzzzzzzzzzzzzzzzzzz", NAMES), Vec::<&str>::new());
        let message = unknown("scenario", "zzzzzzzzzzzzzzzzzzzzzzzzzz", NAMES);
        assert!(NAMES.iter().all(|name| message.contains(name)), "{message}");
    }

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("kitten", "sitting")), (3, 3, 3));
    }
}
