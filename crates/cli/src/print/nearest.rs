//! What somebody may have meant.

/// The name that is nearest to a word, if one is near: at most a third of its letters are wrong, missing, too many or swapped.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let near = names.into_iter().map(|name| (distance(&word, name), name));
    near.filter(|(distance, name)| *distance * 3 <= name.len().max(word.len())).min().map(|(_, name)| name)
}

/// Letters to change, leave out, put in or swap with their neighbour (the distance of Damerau and Levenshtein, restricted).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
                let best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_more_or_less_or_two_swapped_are_near_and_another_word_is_not() {
        let names = ["stranger", "wrong-vni", "runt"];
        for (word, near) in [
            ("strnger", Some("stranger")),
            ("wrogn_vni", Some("wrong-vni")),
            ("RUNTS", Some("runt")),
            ("elephant", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), near, "{word}");
        }
    }
}
