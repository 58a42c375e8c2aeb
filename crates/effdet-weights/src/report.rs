//! How a checkpoint and a module differ, for a person to act on.

use std::fmt;
use std::path::PathBuf;

/// A parameter of the module that the checkpoint does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape in the module.
    pub shape: Vec<usize>,
}

/// A tensor of the checkpoint that the module has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A tensor that both have, with different shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongShape {
    /// Its name.
    pub name: String,
    /// Its shape in the module.
    pub expected: Vec<usize>,
    /// Its shape in the checkpoint.
    pub found: Vec<usize>,
}

/// A loaded tensor with values that are infinite or not a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// Its name.
    pub name: String,
    /// How many of its values.
    pub count: usize,
}

/// What [`load_into`](crate::load_into) found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The checkpoint.
    pub path: PathBuf,
    /// The entry of a training dictionary that was read.
    pub section: Option<String>,
    /// Number of tensors loaded; of those that fit, when loading was refused.
    pub loaded: usize,
    /// Parameters without a tensor, in the module's order.
    pub missing: Vec<Missing>,
    /// Tensors without a parameter, in alphabetical order.
    pub unexpected: Vec<Unexpected>,
    /// Tensors of another shape, in the module's order.
    pub wrong_shape: Vec<WrongShape>,
    /// Loaded tensors with infinities or NaNs; worth a warning, since a network with them is broken.
    pub non_finite: Vec<NonFinite>,
    /// The likely cause of the differences.
    pub hint: Option<String>,
}

/// Entries of a list shown before it is cut.
const SHOWN: usize = 8;
/// Longest name compared with others; comparing costs the product of the lengths.
const COMPARED: usize = 200;
/// How alike two names must be for one to be suggested, between 0 and 1.
const ALIKE: f64 = 0.7;

impl LoadReport {
    /// Whether every parameter got its tensor and no tensor was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.wrong_shape.is_empty()
    }

    /// Sets [`hint`](Self::hint) when the differences follow a known pattern. `anchors` is the number of anchors per
    /// position, from the box head.
    pub(crate) fn guess_cause(&mut self, anchors: Option<usize>) {
        self.hint = self
            .class_count_hint(anchors)
            .or_else(|| self.prefix_hint())
            .or_else(|| self.missing_parts_hint())
            .or_else(|| self.head_layout_hint());
    }

    fn class_count_hint(&self, anchors: Option<usize>) -> Option<String> {
        let head = self.wrong_shape.iter().find(|wrong| wrong.name.contains("class_net.predict."))?;
        let only_head = self.wrong_shape.iter().all(|wrong| wrong.name.contains("class_net.predict."));
        let (found, expected) = (*head.found.first()?, *head.expected.first()?);
        let anchors = anchors.filter(|&anchors| anchors > 0)?;
        if !only_head || found == expected || found % anchors != 0 || expected % anchors != 0 {
            return None;
        }
        let (found, expected) = (found / anchors, expected / anchors);
        Some(format!(
            "the class head has {found} classes in the file and {expected} in the model: pass --num-classes {found}"
        ))
    }

    /// All tensors under a prefix the model does not have, or the other way round.
    fn prefix_hint(&self) -> Option<String> {
        if self.loaded > 0 {
            return None;
        }
        let (missing, unexpected) = (&self.missing.first()?.name, &self.unexpected.first()?.name);
        if let Some(prefix) = self.unexpected.iter().find_map(|tensor| prefix_of(&tensor.name, missing)) {
            return Some(format!(
                "the model's tensors are under `{prefix}` in the file: load with that prefix"
            ));
        }
        let prefix = self.missing.iter().find_map(|tensor| prefix_of(&tensor.name, unexpected))?;
        let part = prefix.trim_end_matches('.');
        Some(format!("the file holds only the model's {part}: load it into the {part} alone"))
    }

    fn missing_parts_hint(&self) -> Option<String> {
        const PARTS: [&str; 3] = ["fpn.", "class_net.", "box_net."];
        let outside_backbone = |name: &str| PARTS.iter().any(|part| name.starts_with(part));
        if !self.missing.is_empty()
            && self.wrong_shape.is_empty()
            && self.missing.iter().all(|tensor| outside_backbone(&tensor.name))
            && PARTS.iter().all(|part| self.missing.iter().any(|tensor| tensor.name.starts_with(part)))
        {
            return Some("the file holds only a backbone, without feature network and heads".into());
        }
        let classifier = |name: &str| name.starts_with("classifier.") || name.starts_with("conv_head.");
        if self.unexpected.iter().any(|tensor| classifier(&tensor.name)) && self.missing.is_empty() {
            return Some("the file is an image classifier: ignore its head to load the backbone".into());
        }
        None
    }

    /// `bn_rep.{repeat}.{level}.bn.weight` against `bn_rep.{level}.{repeat}.weight`.
    fn head_layout_hint(&self) -> Option<String> {
        let repeat_first = |name: &str| name.contains(".bn_rep.") && name.contains(".bn.");
        let level_first = |name: &str| name.contains(".bn_rep.") && !name.contains(".bn.");
        let (missing, unexpected) = (&self.missing, &self.unexpected);
        let file = if missing.iter().any(|t| repeat_first(&t.name))
            && unexpected.iter().any(|t| level_first(&t.name))
        {
            "level first"
        } else if missing.iter().any(|t| level_first(&t.name))
            && unexpected.iter().any(|t| repeat_first(&t.name))
        {
            "repeat first"
        } else {
            return None;
        };
        Some(format!(
            "the file keeps the heads' batch norms {file} (head_bn_level_first), the model the other way"
        ))
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(section) = &self.section {
            write!(f, " ({section})")?;
        }
        write!(
            f,
            ": {} tensors fit, {} missing, {} unexpected, {} of another shape",
            self.loaded,
            self.missing.len(),
            self.unexpected.len(),
            self.wrong_shape.len()
        )?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  likely cause: {hint}")?;
        }
        list(f, "missing from the file", &self.missing, |f, tensor| {
            write!(f, "{} {:?}", tensor.name, tensor.shape)?;
            suggest(f, &tensor.name, self.unexpected.iter().map(|other| other.name.as_str()), "the file has")
        })?;
        list(f, "in the file but not in the model", &self.unexpected, |f, tensor| {
            write!(f, "{} {:?}", tensor.name, tensor.shape)?;
            suggest(f, &tensor.name, self.missing.iter().map(|other| other.name.as_str()), "the model has")
        })?;
        list(f, "of another shape", &self.wrong_shape, |f, tensor| {
            write!(f, "{}: {:?} in the model, {:?} in the file", tensor.name, tensor.expected, tensor.found)
        })?;
        list(f, "with infinite or NaN values", &self.non_finite, |f, tensor| {
            write!(f, "{}: {} values", tensor.name, tensor.count)
        })
    }
}

/// What stands before `short` in `long`, up to and including a dot.
fn prefix_of<'a>(long: &'a str, short: &str) -> Option<&'a str> {
    long.strip_suffix(short).filter(|prefix| prefix.ends_with('.'))
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    items: &[T],
    show: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {title}:")?;
    for item in items.iter().take(SHOWN) {
        write!(f, "\n    ")?;
        show(f, item)?;
    }
    match items.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n    ... and {more} more"),
    }
}

fn suggest<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    others: impl Iterator<Item = &'a str>,
    what: &str,
) -> fmt::Result {
    if name.len() > COMPARED {
        return Ok(());
    }
    let nearest = others
        .filter(|other| other.len() <= COMPARED)
        .map(|other| (strsim::normalized_levenshtein(name, other), other))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((alike, other)) if alike >= ALIKE => write!(f, " ({what} {other})"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(name: &str) -> Missing {
        Missing { name: name.into(), shape: vec![4] }
    }

    fn unexpected(name: &str) -> Unexpected {
        Unexpected { name: name.into(), shape: vec![4] }
    }

    fn head(found: usize, expected: usize) -> LoadReport {
        let wrong = |suffix: &str, rest: &[usize]| WrongShape {
            name: format!("class_net.predict.conv_pw.{suffix}"),
            expected: [&[expected], rest].concat(),
            found: [&[found], rest].concat(),
        };
        LoadReport {
            wrong_shape: vec![wrong("weight", &[64, 1, 1]), wrong("bias", &[])],
            ..Default::default()
        }
    }

    #[test]
    fn another_number_of_classes_is_named() {
        let mut report = head(27, 810);
        report.guess_cause(Some(9));
        assert_eq!(
            report.hint.as_deref(),
            Some("the class head has 3 classes in the file and 90 in the model: pass --num-classes 3")
        );
    }

    #[test]
    fn a_class_head_that_no_class_count_explains_gets_no_hint() {
        for (mut report, anchors) in
            [(head(28, 810), Some(9)), (head(27, 810), None), (head(27, 810), Some(0))]
        {
            report.guess_cause(anchors);
            assert_eq!(report.hint, None);
        }
    }

    #[test]
    fn a_prefix_on_either_side_is_named() {
        let (plain, prefixed) =
            (["conv_stem.weight", "bn1.weight"], ["backbone.conv_stem.weight", "backbone.bn1.weight"]);
        let mut report = LoadReport {
            missing: plain.map(missing).into(),
            unexpected: prefixed.map(unexpected).into(),
            ..Default::default()
        };
        report.guess_cause(None);
        assert!(report.hint.unwrap().contains("`backbone.`"));

        let mut report = LoadReport {
            missing: prefixed.map(missing).into(),
            unexpected: plain.map(unexpected).into(),
            ..Default::default()
        };
        report.guess_cause(None);
        assert!(report.hint.unwrap().contains("only the model's backbone"));
    }

    #[test]
    fn a_file_with_only_the_backbone_is_named() {
        let mut report = LoadReport {
            loaded: 10,
            missing: ["fpn.a", "class_net.b", "box_net.c"].map(missing).into(),
            ..Default::default()
        };
        report.guess_cause(None);
        assert!(report.hint.unwrap().contains("only a backbone"));
    }

    #[test]
    fn the_order_of_head_norms_is_named() {
        let mut report = LoadReport {
            loaded: 10,
            missing: vec![missing("class_net.bn_rep.0.1.bn.weight")],
            unexpected: vec![unexpected("class_net.bn_rep.1.0.weight")],
            ..Default::default()
        };
        report.guess_cause(None);
        assert!(report.hint.unwrap().contains("level first"));
    }

    #[test]
    fn long_lists_are_cut_and_near_names_suggested() {
        let report = LoadReport {
            path: "weights.pth".into(),
            section: Some("state_dict_ema".into()),
            loaded: 3,
            missing: (0..11).map(|i| missing(&format!("blocks.{i}.conv_dw.weight"))).collect(),
            unexpected: vec![unexpected("blocks.0.conv_dv.weight")],
            ..Default::default()
        };
        let text = report.to_string();
        assert!(
            text.starts_with("weights.pth (state_dict_ema): 3 tensors fit, 11 missing, 1 unexpected"),
            "{text}"
        );
        assert!(text.contains("... and 3 more"), "{text}");
        assert!(
            text.contains("blocks.0.conv_dw.weight [4] (the file has blocks.0.conv_dv.weight)"),
            "{text}"
        );
    }
}
