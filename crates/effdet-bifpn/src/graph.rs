//! The graph as data.

use serde::{Deserialize, Serialize};

use crate::{Error, FusionMethod};

/// A node: it resamples some earlier maps to its level, fuses and convolves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FpnNode {
    /// The pyramid level it is at (level `l` is `2ˡ` times smaller than the picture).
    pub level: usize,
    /// What it fuses: `0..levels` are the inputs of the graph, finest first; then come the nodes in order.
    pub inputs: Vec<usize>,
    /// How it fuses.
    pub method: FusionMethod,
}

/// A feature pyramid graph. Its outputs are its last nodes, one for each level, finest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FpnGraph {
    /// Finest level.
    pub min_level: usize,
    /// Coarsest level.
    pub max_level: usize,
    /// The nodes, in the order they are computed.
    pub nodes: Vec<FpnNode>,
}

/// Most nodes of a graph, far beyond any named one: a graph can come from a file, and every node is built.
const MAX_NODES: usize = 1 << 10;
/// Most inputs of all nodes together.
const MAX_INPUTS: usize = 1 << 13;

type Generator = fn(&mut Builder, FusionMethod);

/// The named graphs and the fusion of their nodes.
const NAMED: [(&str, Generator, FusionMethod); 9] = [
    ("bifpn_fa", bifpn, FusionMethod::FastAttention),
    ("bifpn_attn", bifpn, FusionMethod::Attention),
    ("bifpn_sum", bifpn, FusionMethod::Sum),
    ("bifpn_channel_attn", bifpn, FusionMethod::ChannelAttention),
    ("bifpn_channel_fa", bifpn, FusionMethod::ChannelFastAttention),
    ("pan_fa", pan, FusionMethod::FastAttention),
    ("pan_sum", pan, FusionMethod::Sum),
    ("qufpn_fa", quad_fpn, FusionMethod::FastAttention),
    ("qufpn_sum", quad_fpn, FusionMethod::Sum),
];

impl FpnGraph {
    /// The graph of this name over these levels: `bifpn_fa`, `bifpn_attn`, `bifpn_sum`, `bifpn_channel_attn`,
    /// `bifpn_channel_fa`, `pan_fa`, `pan_sum`, `qufpn_fa` or `qufpn_sum`.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Levels`].
    ///
    /// # Reference
    /// effdet `get_fpn_config`; the `channel` graphs are the official code's weight methods of that name.
    pub fn named(name: &str, min_level: usize, max_level: usize) -> Result<Self, Error> {
        let known = || NAMED.map(|(name, _, _)| name).join(", ");
        let (_, generate, method) = NAMED
            .iter()
            .find(|(known, _, _)| *known == name)
            .ok_or_else(|| Error::UnknownName { name: name.to_owned(), known: known() })?;
        check_levels(min_level, max_level)?;
        let mut builder = Builder { min_level, max_level, nodes: Vec::new() };
        generate(&mut builder, *method);
        Ok(FpnGraph { min_level, max_level, nodes: builder.nodes })
    }

    /// Number of levels.
    pub fn num_levels(&self) -> usize {
        self.max_level + 1 - self.min_level
    }

    /// Checks that every node refers to what comes before it, that the last nodes are the outputs, and that there are
    /// at most 1024 nodes with 8192 inputs together.
    ///
    /// # Errors
    /// [`Error::Levels`], [`Error::Node`], [`Error::Outputs`].
    pub fn validate(&self) -> Result<(), Error> {
        check_levels(self.min_level, self.max_level)?;
        let levels = self.num_levels();
        let mut all_inputs = 0;
        for (node, FpnNode { level, inputs, .. }) in self.nodes.iter().enumerate() {
            let fail = |reason| Err(Error::Node { node, reason });
            if node >= MAX_NODES {
                return fail(format!("a graph has at most {MAX_NODES} nodes"));
            }
            all_inputs += inputs.len();
            if all_inputs > MAX_INPUTS {
                return fail(format!("the nodes of a graph have at most {MAX_INPUTS} inputs together"));
            }
            if !(self.min_level..=self.max_level).contains(level) {
                return fail(format!("level {level} is outside {} to {}", self.min_level, self.max_level));
            }
            if inputs.is_empty() {
                return fail("it has no inputs".to_owned());
            }
            let available = levels + node;
            if let Some(input) = inputs.iter().find(|input| **input >= available) {
                return fail(format!("input {input} does not exist yet: only 0 to {} do", available - 1));
            }
            let mut sorted = inputs.clone();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return fail(format!("input {} is given twice", pair[0]));
            }
        }
        if self.nodes.len() < levels {
            return Err(Error::Node {
                node: self.nodes.len(),
                reason: format!("{levels} levels need at least as many nodes"),
            });
        }
        let first = self.nodes.len() - levels;
        for (expected, node) in (self.min_level..=self.max_level).zip(first..) {
            let found = self.nodes[node].level;
            if found != expected {
                return Err(Error::Outputs { levels, node, found, expected });
            }
        }
        Ok(())
    }
}

fn check_levels(min_level: usize, max_level: usize) -> Result<(), Error> {
    // Beyond level 16 a pixel of the map would stand for more than any picture.
    if min_level == 0 || max_level <= min_level || max_level > 16 {
        return Err(Error::Levels { min_level, max_level });
    }
    Ok(())
}

struct Builder {
    min_level: usize,
    max_level: usize,
    nodes: Vec<FpnNode>,
}

impl Builder {
    /// The index of a level's input.
    fn input(&self, level: usize) -> usize {
        level - self.min_level
    }

    /// Adds a node and gives its index.
    fn node(&mut self, level: usize, inputs: impl Into<Vec<usize>>, method: FusionMethod) -> usize {
        self.nodes.push(FpnNode { level, inputs: inputs.into(), method });
        self.max_level - self.min_level + self.nodes.len()
    }
}

/// Top-down, then bottom-up with a shortcut from the inputs.
///
/// # Reference
/// "EfficientDet", figure 2 (d); effdet `bifpn_config`.
fn bifpn(graph: &mut Builder, method: FusionMethod) {
    bidirectional(graph, method);
}

/// The two paths of a BiFPN; gives the last node of every level.
fn bidirectional(graph: &mut Builder, method: FusionMethod) -> Vec<usize> {
    let (min, max) = (graph.min_level, graph.max_level);
    let mut down: Vec<usize> = (min..=max).map(|level| graph.input(level)).collect();
    for level in (min..max).rev() {
        down[level - min] = graph.node(level, [graph.input(level), down[level + 1 - min]], method);
    }
    let mut up = down.clone();
    for level in min + 1..=max {
        let (input, below) = (graph.input(level), up[level - 1 - min]);
        let inputs = if level == max { vec![input, below] } else { vec![input, down[level - min], below] };
        up[level - min] = graph.node(level, inputs, method);
    }
    up
}

/// Top-down, then bottom-up, every level a node of its own in each.
///
/// # Reference
/// Liu et al. 2018, "Path Aggregation Network", as effdet `panfpn_config` has it.
fn pan(graph: &mut Builder, method: FusionMethod) {
    let (min, max) = (graph.min_level, graph.max_level);
    let mut last: Vec<usize> = (min..=max).map(|level| graph.input(level)).collect();
    for level in (min..=max).rev() {
        let own = last[level - min];
        let inputs = if level == max { vec![own] } else { vec![own, last[level + 1 - min]] };
        last[level - min] = graph.node(level, inputs, method);
    }
    for level in min..=max {
        let own = last[level - min];
        let inputs = if level == min { vec![own] } else { vec![own, last[level - 1 - min]] };
        last[level - min] = graph.node(level, inputs, method);
    }
}

/// A BiFPN, its mirror image, and the fast-attention fusion of the two.
///
/// # Reference
/// Xie et al. 2020, "EfficientDet with quad-directional FPN"; effdet `qufpn_config`, which fuses the two with fast
/// attention whatever the method of the rest.
fn quad_fpn(graph: &mut Builder, method: FusionMethod) {
    let (min, max) = (graph.min_level, graph.max_level);
    let first = bidirectional(graph, method);
    let mut up: Vec<usize> = (min..=max).map(|level| graph.input(level)).collect();
    for level in min + 1..=max {
        up[level - min] = graph.node(level, [graph.input(level), up[level - 1 - min]], method);
    }
    let mut down = up.clone();
    for level in (min..max).rev() {
        let (input, above) = (graph.input(level), down[level + 1 - min]);
        let inputs = if level == min { vec![input, above] } else { vec![input, up[level - min], above] };
        down[level - min] = graph.node(level, inputs, method);
    }
    for level in min..=max {
        graph.node(level, [first[level - min], down[level - min]], FusionMethod::FastAttention);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Vec<(usize, Vec<usize>)> {
        let graph = FpnGraph::named(name, 3, 7).unwrap();
        graph.nodes.into_iter().map(|node| (node.level, node.inputs)).collect()
    }

    #[test]
    fn every_named_graph_is_valid_at_any_levels() {
        for (name, _, _) in NAMED {
            for (min, max) in [(1, 2), (2, 6), (3, 7), (3, 8), (4, 5), (1, 16)] {
                FpnGraph::named(name, min, max).unwrap().validate().unwrap();
            }
        }
    }

    #[test]
    fn nodes_are_those_of_the_reference() {
        // effdet get_fpn_config(name, 3, 7)
        assert_eq!(
            table("bifpn_fa"),
            [
                (6, vec![3, 4]),
                (5, vec![2, 5]),
                (4, vec![1, 6]),
                (3, vec![0, 7]),
                (4, vec![1, 7, 8]),
                (5, vec![2, 6, 9]),
                (6, vec![3, 5, 10]),
                (7, vec![4, 11]),
            ]
        );
        assert_eq!(
            table("pan_sum"),
            [
                (7, vec![4]),
                (6, vec![3, 5]),
                (5, vec![2, 6]),
                (4, vec![1, 7]),
                (3, vec![0, 8]),
                (3, vec![9]),
                (4, vec![8, 10]),
                (5, vec![7, 11]),
                (6, vec![6, 12]),
                (7, vec![5, 13]),
            ]
        );
        assert_eq!(
            table("qufpn_sum"),
            [
                (6, vec![3, 4]),
                (5, vec![2, 5]),
                (4, vec![1, 6]),
                (3, vec![0, 7]),
                (4, vec![1, 7, 8]),
                (5, vec![2, 6, 9]),
                (6, vec![3, 5, 10]),
                (7, vec![4, 11]),
                (4, vec![1, 0]),
                (5, vec![2, 13]),
                (6, vec![3, 14]),
                (7, vec![4, 15]),
                (6, vec![3, 15, 16]),
                (5, vec![2, 14, 17]),
                (4, vec![1, 13, 18]),
                (3, vec![0, 19]),
                (3, vec![8, 20]),
                (4, vec![9, 19]),
                (5, vec![10, 18]),
                (6, vec![11, 17]),
                (7, vec![12, 16]),
            ]
        );
        let counts =
            ["bifpn_fa", "pan_fa", "qufpn_fa"].map(|name| FpnGraph::named(name, 3, 8).unwrap().nodes.len());
        assert_eq!(counts, [10, 12, 26]);
    }

    #[test]
    fn a_broken_graph_names_the_node() {
        let good = FpnGraph::named("bifpn_sum", 3, 5).unwrap();
        let broken = |change: fn(&mut FpnGraph)| {
            let mut graph = good.clone();
            change(&mut graph);
            graph.validate().unwrap_err().to_string()
        };
        assert!(broken(|g| g.nodes[1].inputs.push(9)).contains("node 1 of the graph: input 9"));
        assert!(broken(|g| g.nodes[0].inputs.clear()).contains("no inputs"));
        assert!(broken(|g| g.nodes[2].level = 9).contains("level 9"));
        assert!(broken(|g| g.nodes[3].level = 3).contains("node 3 is at level 3, not 5"));
        assert!(broken(|g| g.nodes.truncate(1)).contains("at least as many nodes"));
        assert!(broken(|g| g.nodes[0].inputs = vec![1, 1]).contains("twice"));
        assert!(broken(|g| g.nodes = vec![g.nodes[0].clone(); 2000]).contains("at most 1024 nodes"));
        // Each node takes all that came before it.
        let dense = |g: &mut FpnGraph| {
            g.nodes = (0..200)
                .map(|i| FpnNode { level: 3, inputs: (0..3 + i).collect(), method: FusionMethod::Sum })
                .collect();
        };
        assert!(broken(dense).contains("at most 8192 inputs"));
        assert!(FpnGraph::named("bifpn", 3, 7).unwrap_err().to_string().contains("bifpn_fa"));
        assert!(FpnGraph::named("bifpn_fa", 7, 3).is_err());
    }

    #[test]
    fn a_graph_reads_back_from_json() {
        let graph = FpnGraph::named("qufpn_fa", 3, 7).unwrap();
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<FpnGraph>(&text).unwrap(), graph);
    }
}
