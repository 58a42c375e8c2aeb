//! Near misses for messages such as "unknown model X; did you mean ...".

/// Least similarity at which a name is worth suggesting.
const MIN_SIMILARITY: f64 = 0.6;

/// The up to `n` candidates that most resemble `name`, best first; empty where none does.
///
/// Case is ignored. The similarity is the greater of Jaro-Winkler (which rewards a common prefix) and
/// normalised Damerau-Levenshtein (which forgives swapped letters); a candidate that contains `name`, or is
/// contained in it, always counts. Candidates of equal similarity keep their order.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, n: usize) -> Vec<&'a str> {
    let wanted = name.trim().to_lowercase();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|candidate| (similarity(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.truncate(n);
    scored.into_iter().map(|(_, candidate)| candidate).collect()
}

fn similarity(wanted: &str, candidate: &str) -> f64 {
    let edits = strsim::normalized_damerau_levenshtein(wanted, candidate);
    let letters = strsim::jaro_winkler(wanted, candidate);
    // Jaro-Winkler alone calls any two names of one family alike, edits alone punish a missing prefix such as
    // `tf_`
    let blend = edits.max(0.5 * (edits + letters));
    let shorter = wanted.len().min(candidate.len());
    if shorter >= 2 && (candidate.contains(wanted) || wanted.contains(candidate)) {
        let covered = shorter as f64 / wanted.len().max(candidate.len()) as f64;
        blend.max(MIN_SIMILARITY + (1.0 - MIN_SIMILARITY) * covered)
    } else {
        blend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [&str; 6] = [
        "efficientdet_d0",
        "efficientdet_d1",
        "tf_efficientdet_d0",
        "tf_efficientdet_lite0",
        "resdet50",
        "mixdet_m",
    ];

    #[test]
    fn a_slip_of_the_pen_finds_the_name() {
        assert_eq!(nearest("eficientdet_d0", MODELS, 1), ["efficientdet_d0"]);
        assert_eq!(nearest("Efficientdet-D1", MODELS, 1), ["efficientdet_d1"]);
        assert_eq!(nearest("redset50", MODELS, 3), ["resdet50"]);
        assert_eq!(nearest("tf_efficientdet_lite", MODELS, 1), ["tf_efficientdet_lite0"]);
    }

    #[test]
    fn a_part_of_a_name_finds_it() {
        assert_eq!(nearest("lite0", MODELS, 2), ["tf_efficientdet_lite0"]);
        assert_eq!(nearest("mixdet", MODELS, 2)[0], "mixdet_m");
    }

    #[test]
    fn nothing_alike_gives_nothing() {
        assert!(nearest("yolo", MODELS, 3).is_empty());
        assert!(nearest("", MODELS, 3).is_empty());
        assert!(nearest("efficientdet_d0", [], 3).is_empty());
        assert_eq!(nearest("efficientdet_d0", MODELS, 2).len(), 2);
    }
}
