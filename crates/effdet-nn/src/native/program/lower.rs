//! From a graph to kernel operations: what follows a convolution goes into it.

use std::sync::Arc;

use super::NoKernel;
use crate::Activation;
use crate::ResizeMode;
use crate::graph::{ConvOp, Graph, Op, PoolOp};
use crate::native::activate;

/// What a kernel computes; inputs are indices of earlier operations.
#[derive(Clone, Debug)]
pub(in crate::native) enum Kernel {
    Input,
    Conv(Conv),
    Sum(Sum),
    /// `x · factors`
    Gate {
        x: usize,
        factors: usize,
    },
    Mean {
        x: usize,
    },
    Pool {
        x: usize,
        pool: PoolOp,
    },
    Interpolate {
        x: usize,
        cubic: bool,
    },
    Narrow {
        x: usize,
        start: usize,
    },
    Concat {
        maps: Vec<usize>,
    },
}

/// `activation(conv(x · gate) + residual)`
#[derive(Clone, Debug)]
pub(in crate::native) struct Conv {
    pub x: usize,
    pub op: ConvOp,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub activation: Activation,
    pub residual: Option<usize>,
    pub gate: Option<usize>,
    /// The pointwise convolution before a depthwise one, `x` being its input.
    pub expansion: Option<Box<Conv>>,
}

/// `activation(Σ factors · resized term + bias)`
#[derive(Clone, Debug)]
pub(in crate::native) struct Sum {
    pub terms: Vec<SumTerm>,
    pub bias: Option<Vec<f32>>,
    pub activation: Activation,
}

#[derive(Clone, Debug)]
pub(in crate::native) struct SumTerm {
    pub x: usize,
    pub factors: Option<Vec<f32>>,
}

/// An operation and the shape of its map.
#[derive(Clone, Debug)]
pub(in crate::native) struct Lowered {
    pub kernel: Kernel,
    pub shape: [usize; 4],
}

#[derive(Debug)]
pub(in crate::native) struct Operations {
    pub operations: Vec<Lowered>,
    pub outputs: Vec<usize>,
}

/// Whether a pointwise convolution goes into the depthwise one that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::native) enum Expansions {
    Fused,
    #[cfg_attr(not(feature = "cube"), expect(dead_code, reason = "only devices want it"))]
    Apart,
}

/// Lowers every node, fusing where the only use of a map is what comes next.
pub(in crate::native) fn lower(graph: &Graph, expansions: Expansions) -> Result<Operations, NoKernel> {
    graph.validate().map_err(NoKernel)?;
    let uses = graph.uses();
    let mut lowering = Lowering { expansions, operations: Vec::new(), of_node: Vec::new() };
    for node in &graph.nodes {
        let at = lowering.node(&uses, node)?;
        lowering.of_node.push(at);
    }
    let outputs = graph.outputs.iter().map(|node| lowering.of_node[*node]).collect();
    Ok(remove_unused(Operations { operations: lowering.operations, outputs }))
}

struct Lowering {
    expansions: Expansions,
    operations: Vec<Lowered>,
    /// The operation that computes each node.
    of_node: Vec<usize>,
}

impl Lowering {
    fn push(&mut self, kernel: Kernel, shape: [usize; 4]) -> usize {
        self.operations.push(Lowered { kernel, shape });
        self.operations.len() - 1
    }

    /// The operation of a node's input, and whether nothing else uses it.
    fn input(&self, node: &crate::graph::Node, index: usize, uses: &[usize]) -> (usize, bool) {
        let input = node.inputs[index];
        (self.of_node[input], uses[input] == 1)
    }

    fn node(&mut self, uses: &[usize], node: &crate::graph::Node) -> Result<usize, NoKernel> {
        let shape = node.shape;
        Ok(match &node.op {
            Op::Input => self.push(Kernel::Input, shape),
            Op::Conv(op) => {
                let (x, only) = self.input(node, 0, uses);
                let bias = op.bias.as_ref().map_or_else(|| vec![0.0; op.out_channels], |bias| bias.to_vec());
                let mut conv = Conv {
                    x,
                    op: op.clone(),
                    weight: op.weight.to_vec(),
                    bias,
                    activation: Activation::Identity,
                    residual: None,
                    gate: None,
                    expansion: None,
                };
                // The arrays live on in the operation itself.
                (conv.op.weight, conv.op.bias) = (Arc::new([]), None);
                if let (Kernel::Gate { x, factors }, true, true) =
                    (&self.operations[x].kernel, only, op.is_pointwise())
                {
                    (conv.x, conv.gate) = (*x, Some(*factors));
                }
                // The expanded map, the largest of a block, then never leaves the cache.
                if let (Kernel::Conv(expansion), true, true) =
                    (&self.operations[x].kernel, only, op.is_depthwise())
                    && expansion.is_plain_pointwise()
                    && self.expansions == Expansions::Fused
                {
                    (conv.x, conv.expansion) = (expansion.x, Some(Box::new(expansion.clone())));
                }
                self.push(Kernel::Conv(conv), shape)
            }
            Op::BatchNorm { mean, scale, bias } => {
                let (x, only) = self.input(node, 0, uses);
                match &mut self.operations[x].kernel {
                    Kernel::Conv(conv)
                        if only && conv.activation == Activation::Identity && conv.residual.is_none() =>
                    {
                        let each = conv.weight.len() / conv.bias.len();
                        for (channel, filter) in conv.weight.chunks_exact_mut(each).enumerate() {
                            filter.iter_mut().for_each(|weight| *weight *= scale[channel]);
                            conv.bias[channel] =
                                (conv.bias[channel] - mean[channel]) * scale[channel] + bias[channel];
                        }
                        x
                    }
                    _ => {
                        let shift = (0..mean.len()).map(|i| bias[i] - mean[i] * scale[i]).collect();
                        let term = SumTerm { x, factors: Some(scale.to_vec()) };
                        self.sum(vec![term], Some(shift), shape)
                    }
                }
            }
            Op::Activation(activation) => {
                if !activate::supports(*activation) {
                    return Err(NoKernel(activation.to_string()));
                }
                let (x, only) = self.input(node, 0, uses);
                match &mut self.operations[x].kernel {
                    Kernel::Conv(Conv { activation: own, .. }) | Kernel::Sum(Sum { activation: own, .. })
                        if only && *own == Activation::Identity =>
                    {
                        *own = *activation;
                        x
                    }
                    _ => {
                        let terms = vec![SumTerm { x, factors: None }];
                        let sum = Sum { terms, bias: None, activation: *activation };
                        self.push(Kernel::Sum(sum), shape)
                    }
                }
            }
            Op::Add => {
                let operands = [self.input(node, 0, uses), self.input(node, 1, uses)];
                self.add(operands, shape)
            }
            Op::Scale(factors) => {
                let (x, only) = self.input(node, 0, uses);
                match &mut self.operations[x].kernel {
                    // a resized map
                    Kernel::Sum(sum) if only && sum.is_copy() => {
                        sum.terms[0].factors = Some(factors.to_vec());
                        x
                    }
                    _ => self.sum(vec![SumTerm { x, factors: Some(factors.to_vec()) }], None, shape),
                }
            }
            Op::Gate => {
                let ((x, _), (factors, _)) = (self.input(node, 0, uses), self.input(node, 1, uses));
                self.push(Kernel::Gate { x, factors }, shape)
            }
            Op::GlobalMean => {
                let (x, _) = self.input(node, 0, uses);
                self.push(Kernel::Mean { x }, shape)
            }
            Op::Pool(pool) => {
                let (x, _) = self.input(node, 0, uses);
                self.push(Kernel::Pool { x, pool: pool.clone() }, shape)
            }
            Op::Resize(mode) => {
                let (x, _) = self.input(node, 0, uses);
                match mode {
                    ResizeMode::Nearest => self.sum(vec![SumTerm { x, factors: None }], None, shape),
                    ResizeMode::Bilinear => self.push(Kernel::Interpolate { x, cubic: false }, shape),
                    ResizeMode::Bicubic => self.push(Kernel::Interpolate { x, cubic: true }, shape),
                }
            }
            Op::Narrow { start } => {
                let (x, _) = self.input(node, 0, uses);
                self.push(Kernel::Narrow { x, start: *start }, shape)
            }
            Op::Concat => {
                let maps = node.inputs.iter().map(|input| self.of_node[*input]).collect();
                self.push(Kernel::Concat { maps }, shape)
            }
        })
    }

    fn sum(&mut self, terms: Vec<SumTerm>, bias: Option<Vec<f32>>, shape: [usize; 4]) -> usize {
        self.push(Kernel::Sum(Sum { terms, bias, activation: Activation::Identity }), shape)
    }

    /// The sum of two maps: into the convolution that computes one, else one sum of all terms.
    fn add(&mut self, operands: [(usize, bool); 2], shape: [usize; 4]) -> usize {
        for (at, only) in operands {
            let other = if at == operands[0].0 { operands[1].0 } else { operands[0].0 };
            if let Kernel::Conv(conv) = &self.operations[at].kernel {
                let plain = conv.activation == Activation::Identity
                    && conv.residual.is_none()
                    && !conv.op.is_depthwise();
                if only && plain && other != at && self.operations[other].shape == shape {
                    // Anew, behind what it now depends on.
                    let fused = Conv { residual: Some(other), ..conv.clone() };
                    return self.push(Kernel::Conv(fused), shape);
                }
            }
        }
        let mut terms = Vec::new();
        let mut bias: Option<Vec<f32>> = None;
        for (x, only) in operands {
            match &self.operations[x].kernel {
                Kernel::Sum(sum) if only && sum.activation == Activation::Identity => {
                    terms.extend(sum.terms.clone());
                    bias = match (bias, &sum.bias) {
                        (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(a, b)| a + b).collect()),
                        (a, b) => a.or_else(|| b.clone()),
                    };
                }
                _ => terms.push(SumTerm { x, factors: None }),
            }
        }
        self.sum(terms, bias, shape)
    }
}

impl Conv {
    fn is_plain_pointwise(&self) -> bool {
        self.op.is_pointwise() && self.residual.is_none() && self.gate.is_none()
    }
}

impl Sum {
    fn is_copy(&self) -> bool {
        self.terms.len() == 1
            && self.terms[0].factors.is_none()
            && self.bias.is_none()
            && self.activation == Activation::Identity
    }
}

impl Kernel {
    /// The operations it reads.
    pub(in crate::native) fn inputs(&self) -> Vec<usize> {
        match self {
            Kernel::Input => Vec::new(),
            Kernel::Conv(conv) => [Some(conv.x), conv.residual, conv.gate].into_iter().flatten().collect(),
            Kernel::Sum(sum) => sum.terms.iter().map(|term| term.x).collect(),
            Kernel::Gate { x, factors } => vec![*x, *factors],
            Kernel::Mean { x }
            | Kernel::Pool { x, .. }
            | Kernel::Interpolate { x, .. }
            | Kernel::Narrow { x, .. } => {
                vec![*x]
            }
            Kernel::Concat { maps } => maps.clone(),
        }
    }

    fn rename(&mut self, name: impl Fn(usize) -> usize) {
        match self {
            Kernel::Input => {}
            Kernel::Conv(conv) => {
                conv.x = name(conv.x);
                conv.residual = conv.residual.map(&name);
                conv.gate = conv.gate.map(&name);
            }
            Kernel::Sum(sum) => sum.terms.iter_mut().for_each(|term| term.x = name(term.x)),
            Kernel::Gate { x, factors } => (*x, *factors) = (name(*x), name(*factors)),
            Kernel::Mean { x }
            | Kernel::Pool { x, .. }
            | Kernel::Interpolate { x, .. }
            | Kernel::Narrow { x, .. } => {
                *x = name(*x);
            }
            Kernel::Concat { maps } => maps.iter_mut().for_each(|map| *map = name(*map)),
        }
    }
}

/// Leaves out what fusion made superfluous. Inputs stay, first.
fn remove_unused(Operations { operations, outputs }: Operations) -> Operations {
    let mut used = vec![false; operations.len()];
    for (used, operation) in used.iter_mut().zip(&operations) {
        *used = matches!(operation.kernel, Kernel::Input);
    }
    outputs.iter().for_each(|output| used[*output] = true);
    for (at, operation) in operations.iter().enumerate().rev() {
        if used[at] {
            operation.kernel.inputs().into_iter().for_each(|input| used[input] = true);
        }
    }
    let mut place = 0;
    let places: Vec<usize> = used
        .iter()
        .map(|used| {
            place += usize::from(*used);
            place.saturating_sub(1)
        })
        .collect();
    let kept = operations.into_iter().zip(&used).filter(|(_, used)| **used).map(|(mut operation, _)| {
        operation.kernel.rename(|old| places[old]);
        operation
    });
    Operations {
        operations: kept.collect(),
        outputs: outputs.into_iter().map(|output| places[output]).collect(),
    }
}
