//! What of a network depends on the size of the pictures.

use std::collections::HashMap;
use std::mem::discriminant;

use effdet_core::ImageSize;
use effdet_nn::Graph;
use effdet_nn::graph::{Node, Op};

use crate::network::live;

/// Where the height and width of a resized map come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeSource {
    /// They are those of this node.
    Of(usize),
    /// They are half of those before, rounded up.
    Half,
}

/// Two sizes at which a network with pyramid levels up to `max_level` shows what depends on the size: at both every
/// level is larger than the next, and odd sides occur.
pub(crate) fn probes(max_level: usize) -> [ImageSize; 2] {
    let stride = 1 << max_level;
    [ImageSize::new(2 * stride, 3 * stride), ImageSize::new(5 * stride / 2 + 1, 4 * stride - 1)]
}

/// The source of every resized map of `graph`, found by comparing it with the record of the same network at another
/// size.
///
/// # Errors
/// In words, what is not the same in both but for the sizes of the maps.
pub(crate) fn size_sources(graph: &Graph, other: &Graph) -> Result<HashMap<usize, SizeSource>, String> {
    if graph.nodes.len() != other.nodes.len() {
        return Err("it has other operations for other sizes".into());
    }
    let live = live(graph);
    let mut sources = HashMap::new();
    for (at, (node, twin)) in graph.nodes.iter().zip(&other.nodes).enumerate() {
        if !live[at] {
            continue;
        }
        if !same_operation(&node.op, &twin.op) || node.shape[1] != twin.shape[1] {
            return Err(format!("operation {at} is another for other sizes"));
        }
        if matches!(node.op, Op::Resize(_)) {
            let source = source(graph, other, at, &live)
                .ok_or_else(|| format!("operation {at} resizes to a size that no map before it has"))?;
            sources.insert(at, source);
        }
    }
    Ok(sources)
}

fn source(graph: &Graph, other: &Graph, at: usize, live: &[bool]) -> Option<SizeSource> {
    let sizes = |node: usize| [spatial(&graph.nodes[node]), spatial(&other.nodes[node])];
    let wanted = sizes(at);
    if let Some(same) = (0..at).find(|node| live[*node] && sizes(*node) == wanted) {
        return Some(SizeSource::Of(same));
    }
    let half = |size: [usize; 2]| size.map(|side| side.div_ceil(2));
    let [before, ..] = graph.nodes[at].inputs[..] else { return None };
    (sizes(before).map(half) == wanted).then_some(SizeSource::Half)
}

fn spatial(node: &Node) -> [usize; 2] {
    [node.shape[2], node.shape[3]]
}

/// Whether two operations differ at most in the sizes of maps, and in padding that follows from them.
fn same_operation(a: &Op, b: &Op) -> bool {
    discriminant(a) == discriminant(b)
        && match (a, b) {
            (Op::Conv(a), Op::Conv(b)) => {
                (a.kernel, a.stride, a.same) == (b.kernel, b.stride, b.same)
                    && (a.same || a.padding == b.padding)
            }
            (Op::Pool(a), Op::Pool(b)) => {
                (a.kernel, a.stride, a.same) == (b.kernel, b.stride, b.same)
                    && (a.same || a.padding == b.padding)
            }
            (Op::Resize(a), Op::Resize(b)) => a == b,
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use effdet_nn::{FeatureMap, Padding, Pool, Recorded, ResizeMode, record};

    use super::*;

    fn sources(forward: impl Fn(Recorded) -> Recorded) -> Result<HashMap<usize, SizeSource>, String> {
        let [a, b] = probes(3)
            .map(|size| record([1, 1, size.height, size.width], |input| vec![forward(input)]).unwrap());
        size_sources(&a, &b)
    }

    fn pooled(input: Recorded) -> Recorded {
        input.pool2d(Pool::Max, [3, 3], [2, 2], Padding::Same)
    }

    #[test]
    fn a_map_resized_to_an_earlier_size_takes_it_from_the_first_that_has_it() {
        let found = sources(|input| {
            let half = pooled(input.clone());
            let quarter = pooled(half.clone());
            quarter.resize([half.dims()[2], half.dims()[3]], ResizeMode::Nearest).plus(half)
        });
        assert_eq!(found, Ok([(3, SizeSource::Of(1))].into()));
    }

    #[test]
    fn a_new_coarsest_level_is_half_of_the_one_before() {
        let found = sources(|input| {
            let [_, _, height, width] = input.dims();
            input.resize([height.div_ceil(2), width.div_ceil(2)], ResizeMode::Bilinear)
        });
        assert_eq!(found, Ok([(1, SizeSource::Half)].into()));
    }

    #[test]
    fn a_size_that_comes_from_nowhere_is_refused() {
        assert!(sources(|input| input.resize([3, 3], ResizeMode::Nearest)).unwrap_err().contains("no map"));
        let odd = |input: Recorded| if input.dims()[2] % 2 == 1 { pooled(input) } else { input };
        assert!(sources(odd).unwrap_err().contains("other operations"));
        let stride = |input: Recorded| {
            let stride = 2 + input.dims()[2] % 2;
            input.pool2d(Pool::Max, [3, 3], [stride; 2], Padding::Same)
        };
        assert!(sources(stride).unwrap_err().contains("operation 1 is another"));
    }
}
