//! Names of the official TensorFlow implementation's variables, and those that timm and effdet give the same tensors.

/// How a variable's values are arranged, next to how PyTorch arranges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorFlowLayout {
    /// The same.
    Same,
    /// A convolution, `[height, width, in, out]` where PyTorch has `[out, in, height, width]`.
    Convolution,
    /// A depthwise convolution, `[height, width, in, multiplier]` where PyTorch has `[in * multiplier, 1, height, width]`.
    Depthwise,
    /// A scalar that is this element of a vector.
    Element(usize),
}

/// A tensor under its name here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFlowName {
    /// Its name in a checkpoint of effdet.
    pub name: String,
    /// How its values are arranged.
    pub layout: TensorFlowLayout,
}

/// Blocks of each stage of EfficientNet-B0, and what larger ones multiply them with.
const REPEATS: [f64; 7] = [1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 1.0];
const DEPTHS: [(&str, f64); 13] = [
    ("efficientnet-b0", 1.0),
    ("efficientnet-b1", 1.1),
    ("efficientnet-b2", 1.2),
    ("efficientnet-b3", 1.4),
    ("efficientnet-b4", 1.8),
    ("efficientnet-b5", 2.2),
    ("efficientnet-b6", 2.6),
    ("efficientnet-b7", 3.1),
    ("efficientnet-lite0", 1.0),
    ("efficientnet-lite1", 1.1),
    ("efficientnet-lite2", 1.2),
    ("efficientnet-lite3", 1.4),
    ("efficientnet-lite4", 1.8),
];

/// What the last part of a variable's name says it is.
#[derive(Clone, Copy, PartialEq)]
enum Leaf {
    Kernel,
    Depthwise,
    Pointwise,
    Bias,
    Norm(&'static str),
    /// The bias that is left of a normalisation folded into the convolution before it, as frozen graphs have it.
    FoldedNorm,
}

/// Last parts of names: those of variables, then those that TensorFlow.js gives folded ones.
const LEAVES: [(&str, Leaf); 14] = [
    ("kernel", Leaf::Kernel),
    ("depthwise_kernel", Leaf::Depthwise),
    ("pointwise_kernel", Leaf::Pointwise),
    ("bias", Leaf::Bias),
    ("gamma", Leaf::Norm("weight")),
    ("beta", Leaf::Norm("bias")),
    ("moving_mean", Leaf::Norm("running_mean")),
    ("moving_variance", Leaf::Norm("running_var")),
    ("Conv2D_weights", Leaf::Kernel),
    ("Conv2D_bn_offset", Leaf::FoldedNorm),
    ("depthwise_weights", Leaf::Depthwise),
    ("depthwise_bn_offset", Leaf::FoldedNorm),
    ("separable_conv2d_weights", Leaf::Pointwise),
    ("separable_conv2d_bn_offset", Leaf::FoldedNorm),
];

/// The tensor that a variable of the official EfficientDet is, or `None` for those without a counterpart: the
/// classifier of the backbone, counters, optimiser state.
///
/// Names of `tf.train.Checkpoint`s, Keras `.h5` files (with their repeated groups and `:0`) and of frozen graphs are
/// known. In frozen graphs normalisations are folded into convolutions, and what is left of one counts as its bias.
///
/// # Reference
/// google/automl `efficientdet/tf2/efficientdet_keras.py`, `efficientdet/backbone/efficientnet_model.py`.
pub fn tensorflow_name(variable: &str) -> Option<TensorFlowName> {
    let variable = variable.strip_suffix("/ExponentialMovingAverage").unwrap_or(variable);
    let parts: Vec<&str> = variable.split('/').collect();
    let is_root = |part: &str| {
        matches!(part, "fpn_cells" | "class_net" | "box_net")
            || part.starts_with("resample_p")
            || part.starts_with("efficientnet-")
    };
    // Keras repeats the layer's name as a group.
    let root = parts.iter().rposition(|part| is_root(part))?;
    let (leaf, inner) = parts.get(root + 1..)?.split_last()?;
    let leaf = leaf.split(':').next().unwrap_or(leaf);
    if parts[root] == "fpn_cells" && leaf.starts_with("WSM") {
        let &[cell, node] = inner else { return None };
        let edge = if leaf == "WSM" { 0 } else { number(leaf, "WSM_")? };
        let (cell, node) = (number(cell, "cell_")?, number(node, "fnode")?);
        let name = format!("fpn.cell.{cell}.fnode.{node}.combine.edge_weights");
        return Some(TensorFlowName { name, layout: TensorFlowLayout::Element(edge) });
    }
    let leaf = LEAVES.iter().find(|(name, _)| *name == leaf)?.1;
    let name = match parts[root] {
        "fpn_cells" => feature_network(inner, leaf)?,
        "class_net" => head("class_net", "class-", inner, leaf)?,
        "box_net" => head("box_net", "box-", inner, leaf)?,
        part => match part.strip_prefix("resample_p") {
            Some(level) => {
                let level: usize = level.parse().ok()?;
                resampling(&format!("fpn.resample.{}", level.checked_sub(3)?), inner, leaf)?
            }
            None => backbone(part, inner, leaf)?,
        },
    };
    let layout = match leaf {
        Leaf::Kernel | Leaf::Pointwise => TensorFlowLayout::Convolution,
        Leaf::Depthwise => TensorFlowLayout::Depthwise,
        Leaf::Bias | Leaf::Norm(_) | Leaf::FoldedNorm => TensorFlowLayout::Same,
    };
    Some(TensorFlowName { name, layout })
}

fn number(text: &str, prefix: &str) -> Option<usize> {
    text.strip_prefix(prefix)?.parse().ok()
}

fn norm(leaf: Leaf) -> Option<&'static str> {
    match leaf {
        Leaf::Norm(name) => Some(name),
        Leaf::FoldedNorm => Some("bias"),
        _ => None,
    }
}

/// `[conv2d]` and `[bn]` of a projection.
fn resampling(place: &str, inner: &[&str], leaf: Leaf) -> Option<String> {
    Some(match (inner, leaf) {
        (["conv2d"], Leaf::Kernel) => format!("{place}.conv.conv.weight"),
        (["conv2d"], Leaf::Bias) => format!("{place}.conv.conv.bias"),
        (["conv2d"] | ["bn"], leaf) => format!("{place}.conv.bn.{}", norm(leaf)?),
        _ => return None,
    })
}

/// The part of a separable convolution; its bias is the second convolution's.
fn separable(leaf: Leaf) -> Option<&'static str> {
    Some(match leaf {
        Leaf::Depthwise => "conv_dw.weight",
        Leaf::Pointwise => "conv_pw.weight",
        Leaf::Bias => "conv_pw.bias",
        Leaf::Kernel => "conv.weight",
        _ => return None,
    })
}

/// `cell_0/fnode1/resample_0_2_6/...` (edge, offset of its input, number of maps so far) and
/// `cell_0/fnode1/op_after_combine6/...`.
fn feature_network(inner: &[&str], leaf: Leaf) -> Option<String> {
    let [cell, node, part, rest @ ..] = inner else { return None };
    let place = format!("fpn.cell.{}.fnode.{}", number(cell, "cell_")?, number(node, "fnode")?);
    if let Some(edge) = part.strip_prefix("resample_") {
        let offset: usize = edge.split('_').nth(1)?.parse().ok()?;
        return resampling(&format!("{place}.combine.resample.{offset}"), rest, leaf);
    }
    part.strip_prefix("op_after_combine")?;
    match (rest, norm(leaf)) {
        (["conv"], None) => Some(format!("{place}.after_combine.conv.{}", separable(leaf)?)),
        (["conv"] | ["bn"], Some(norm)) => Some(format!("{place}.after_combine.conv.bn.{norm}")),
        _ => None,
    }
}

/// `class-0`, `class-0-bn-3` (level 3), `class-predict`; in frozen graphs `class-0_1` for the second level's folded
/// convolution.
fn head(net: &str, prefix: &str, inner: &[&str], leaf: Leaf) -> Option<String> {
    let &[layer] = inner else { return None };
    let layer = layer.strip_prefix(prefix)?;
    if layer == "predict" {
        return Some(format!("{net}.predict.{}", separable(leaf)?));
    }
    if let Some((repeat, level)) = layer.split_once("-bn-") {
        let (repeat, level): (usize, usize) = (repeat.parse().ok()?, level.parse().ok()?);
        return Some(format!("{net}.bn_rep.{repeat}.{}.bn.{}", level.checked_sub(3)?, norm(leaf)?));
    }
    let (repeat, level) = layer.split_once('_').unwrap_or((layer, "0"));
    let (repeat, level): (usize, usize) = (repeat.parse().ok()?, level.parse().ok()?);
    match norm(leaf) {
        Some(norm) => Some(format!("{net}.bn_rep.{repeat}.{level}.bn.{norm}")),
        None => Some(format!("{net}.conv_rep.{repeat}.{}", separable(leaf)?)),
    }
}

/// `stem/...`, `blocks_3/...`, with blocks counted through all stages and layers through each block.
fn backbone(net: &str, inner: &[&str], leaf: Leaf) -> Option<String> {
    match inner {
        ["stem", "conv2d"] if leaf == Leaf::Kernel => Some("backbone.conv_stem.weight".into()),
        ["stem", layer] if *layer == "conv2d" || is_norm(layer).is_some() => {
            Some(format!("backbone.bn1.{}", norm(leaf)?))
        }
        [block, rest @ ..] => {
            let (stage, index) = position(net, number(block, "blocks_")?)?;
            let place = format!("backbone.blocks.{stage}.{index}");
            // The first stage's blocks do not expand.
            let expands = stage > 0;
            match rest {
                ["se", layer] => {
                    let part = if *layer == "conv2d" { "conv_reduce" } else { "conv_expand" };
                    let field = match leaf {
                        Leaf::Kernel => "weight",
                        Leaf::Bias => "bias",
                        _ => return None,
                    };
                    Some(format!("{place}.se.{part}.{field}"))
                }
                [layer] => {
                    let (convolution, following) = match (*layer, expands) {
                        ("conv2d", true) => ("conv_pw", 1),
                        ("depthwise_conv2d", true) => ("conv_dw", 2),
                        ("conv2d_1", true) => ("conv_pwl", 3),
                        ("depthwise_conv2d", false) => ("conv_dw", 1),
                        ("conv2d", false) => ("conv_pw", 2),
                        (layer, _) => {
                            return Some(format!("{place}.bn{}.{}", is_norm(layer)? + 1, norm(leaf)?));
                        }
                    };
                    match (leaf, norm(leaf)) {
                        (Leaf::Kernel | Leaf::Depthwise, _) => Some(format!("{place}.{convolution}.weight")),
                        (_, Some(norm)) => Some(format!("{place}.bn{following}.{norm}")),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        [] => None,
    }
}

/// The number of a normalisation in its block, from 0.
fn is_norm(layer: &str) -> Option<usize> {
    let (_, number) = layer.split_once("batch_normalization")?;
    if number.is_empty() { Some(0) } else { number.strip_prefix('_')?.parse().ok() }
}

/// Stage and place in the stage of a block.
fn position(net: &str, block: usize) -> Option<(usize, usize)> {
    let depth = DEPTHS.iter().find(|(name, _)| *name == net)?.1;
    // The first and last stage of the lite networks are not scaled.
    let fixed = |stage: usize| net.contains("lite") && (stage == 0 || stage == 6);
    let mut first = 0;
    for (stage, repeats) in REPEATS.iter().enumerate() {
        let repeats = if fixed(stage) { *repeats } else { (repeats * depth).ceil() } as usize;
        if block < first + repeats {
            return Some((stage, block - first));
        }
        first += repeats;
    }
    None
}

/// The shape of a tensor here, or `None` if its rank is not that of the layout.
pub(crate) fn shape_here(shape: &[usize], layout: TensorFlowLayout) -> Option<Vec<usize>> {
    match (layout, shape) {
        (TensorFlowLayout::Same, _) => Some(shape.to_vec()),
        (TensorFlowLayout::Element(_), []) => Some(Vec::new()),
        (TensorFlowLayout::Convolution, &[h, w, i, o]) => Some(vec![o, i, h, w]),
        (TensorFlowLayout::Depthwise, &[h, w, i, m]) => Some(vec![i.checked_mul(m)?, 1, h, w]),
        _ => None,
    }
}

/// Puts the bytes of a tensor of elements of `size` bytes into PyTorch's order.
pub(crate) fn rearrange(bytes: Vec<u8>, shape: &[usize], size: usize, layout: TensorFlowLayout) -> Vec<u8> {
    let &[h, w, i, o] = shape else { return bytes };
    // Without values the other extents can be anything, and would be gone through for nothing.
    if bytes.is_empty() || matches!(layout, TensorFlowLayout::Same | TensorFlowLayout::Element(_)) {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut copy = |row: usize, column: usize, input: usize, output: usize| {
        let start = (((row * w + column) * i + input) * o + output) * size;
        out.extend_from_slice(&bytes[start..start + size]);
    };
    let (outer, middle) = if layout == TensorFlowLayout::Convolution { (o, i) } else { (i, o) };
    for a in 0..outer {
        for b in 0..middle {
            for row in 0..h {
                for column in 0..w {
                    if layout == TensorFlowLayout::Convolution {
                        copy(row, column, b, a);
                    } else {
                        copy(row, column, a, b);
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_map_to_the_names_of_effdet() {
        let table = [
            ("efficientnet-b0/stem/conv2d/kernel", "backbone.conv_stem.weight"),
            ("efficientnet-b0/stem/tpu_batch_normalization/gamma", "backbone.bn1.weight"),
            (
                "efficientnet-b0/blocks_0/depthwise_conv2d/depthwise_kernel",
                "backbone.blocks.0.0.conv_dw.weight",
            ),
            ("efficientnet-b0/blocks_0/conv2d/kernel", "backbone.blocks.0.0.conv_pw.weight"),
            (
                "efficientnet-b0/blocks_0/tpu_batch_normalization_1/moving_mean",
                "backbone.blocks.0.0.bn2.running_mean",
            ),
            ("efficientnet-b0/blocks_2/conv2d_1/kernel", "backbone.blocks.1.1.conv_pwl.weight"),
            (
                "efficientnet-b0/blocks_15/tpu_batch_normalization_2/moving_variance",
                "backbone.blocks.6.0.bn3.running_var",
            ),
            ("efficientnet-b0/blocks_1/se/conv2d_1/bias", "backbone.blocks.1.0.se.conv_expand.bias"),
            ("efficientnet-b1/blocks_1/conv2d/kernel", "backbone.blocks.0.1.conv_pw.weight"),
            ("efficientnet-lite4/blocks_1/conv2d/kernel", "backbone.blocks.1.0.conv_pw.weight"),
            ("resample_p6/conv2d/bias", "fpn.resample.3.conv.conv.bias"),
            ("resample_p6/bn/beta", "fpn.resample.3.conv.bn.bias"),
            ("fpn_cells/cell_0/fnode1/WSM_1", "fpn.cell.0.fnode.1.combine.edge_weights"),
            (
                "fpn_cells/cell_0/fnode1/resample_0_2_6/conv2d/kernel",
                "fpn.cell.0.fnode.1.combine.resample.2.conv.conv.weight",
            ),
            (
                "fpn_cells/cell_2/fnode7/op_after_combine12/conv/pointwise_kernel",
                "fpn.cell.2.fnode.7.after_combine.conv.conv_pw.weight",
            ),
            (
                "fpn_cells/cell_2/fnode7/op_after_combine12/bn/gamma",
                "fpn.cell.2.fnode.7.after_combine.conv.bn.weight",
            ),
            ("class_net/class-0/depthwise_kernel", "class_net.conv_rep.0.conv_dw.weight"),
            ("class_net/class-2-bn-7/beta", "class_net.bn_rep.2.4.bn.bias"),
            ("class_net/class-predict/bias", "class_net.predict.conv_pw.bias"),
            ("box_net/box-predict/pointwise_kernel", "box_net.predict.conv_pw.weight"),
            ("box_net/box-1_4/separable_conv2d_bn_offset", "box_net.bn_rep.1.4.bn.bias"),
        ];
        for (variable, name) in table {
            let root = variable.split('/').next().unwrap();
            let spellings = [
                variable.to_owned(),
                format!("{root}/{variable}:0"),
                format!("model_weights/{root}/{variable}:0"),
                format!("{variable}/ExponentialMovingAverage"),
            ];
            for spelling in spellings {
                let found = tensorflow_name(&spelling).map(|found| found.name);
                assert_eq!(found.as_deref(), Some(name), "{spelling}");
            }
        }
    }

    #[test]
    fn what_has_no_counterpart_has_no_name() {
        for variable in [
            "efficientnet-b0/head/dense/kernel",
            "efficientnet-b0/blocks_16/conv2d/kernel",
            "efficientnet-b9/blocks_1/conv2d/kernel",
            "global_step",
            "fpn_cells/cell_0/fnode0/mul",
            "class_net/class-x/bias",
            "resample_p2/conv2d/kernel",
            "class_net",
            "",
        ] {
            assert_eq!(tensorflow_name(variable), None, "{variable}");
        }
    }

    #[test]
    fn kernels_are_put_into_pytorchs_order() {
        let bytes: Vec<u8> = (0..24).collect();
        let convolution = rearrange(bytes.clone(), &[1, 2, 3, 4], 1, TensorFlowLayout::Convolution);
        assert_eq!(&convolution[..6], [0, 12, 4, 16, 8, 20]);
        let depthwise = rearrange(bytes, &[2, 3, 4, 1], 1, TensorFlowLayout::Depthwise);
        assert_eq!(&depthwise[..6], [0, 4, 8, 12, 16, 20]);
        assert_eq!(shape_here(&[2, 3, 4, 1], TensorFlowLayout::Depthwise), Some(vec![4, 1, 2, 3]));
        assert_eq!(shape_here(&[4], TensorFlowLayout::Convolution), None);
    }

    #[test]
    fn a_kernel_without_values_takes_no_time_whatever_its_extents() {
        for layout in [TensorFlowLayout::Convolution, TensorFlowLayout::Depthwise] {
            assert!(rearrange(Vec::new(), &[0, 1, 1 << 31, 1 << 31], 4, layout).is_empty());
        }
    }
}
