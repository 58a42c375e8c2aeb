//! From operations to steps of calls, and a place in memory for every map.

use std::sync::Arc;

use super::call::{Call, ConvCall, DepthwiseCall, Expansion, Factors, Map, MeanSource, Split, SumTerm};
use super::lower::{Conv, Kernel, Lowered, Operations};
use super::places::{Stretch, assign_places};
use super::{NoKernel, Program, Step};
use crate::native::depthwise::{DepthwiseFilter, Window, padded_channels};
use crate::native::gemm::PackedFilter;
use crate::native::pixelwise::{AxisTaps, PoolWindow};

/// A call before its maps have places: `stretch` indices stand for them.
struct Draft {
    step: usize,
    call: Call,
}

/// Places start at multiples of this, so that vectors do not straddle cache lines.
const ALIGNMENT: usize = 16;

pub(super) fn plan(operations: Operations) -> Result<Program, NoKernel> {
    let Operations { operations, outputs } = operations;
    let mut drafter = Drafter {
        stretches: Vec::new(),
        drafts: Vec::new(),
        maps: Vec::new(),
        steps: Vec::new(),
        sums: Vec::new(),
    };
    let wants_sums = depthwise_with_mean(&operations);
    for (at, operation) in operations.iter().enumerate() {
        drafter.draft(&operations, operation, wants_sums[at])?;
    }
    let Drafter { mut stretches, mut drafts, maps, .. } = drafter;
    let last = drafts.iter().map(|draft| draft.step).max().unwrap_or(0);
    let results: Vec<usize> = outputs.iter().map(|output| maps[*output].place).collect();
    let (memory, end) = assign_places(&mut stretches, &results, ALIGNMENT);
    drafts.iter_mut().for_each(|draft| draft.call.place(&|stretch| stretches[stretch].place));

    let mut steps: Vec<Step> = (0..=last).map(|_| Step { calls: Vec::new(), first: vec![0] }).collect();
    for Draft { step, call } in drafts {
        let step = &mut steps[step];
        let end = step.first[step.calls.len()] + call.tasks();
        step.first.push(end);
        step.calls.push(call);
    }
    let scratch = steps.iter().flat_map(|step| &step.calls).map(Call::scratch).max().unwrap_or(0);
    Ok(Program {
        steps,
        memory,
        scratch: scratch.next_multiple_of(ALIGNMENT),
        results: end - memory,
        input: operations[0].shape,
        outputs: outputs
            .iter()
            .map(|output| (stretches[maps[*output].place].place - memory, operations[*output].shape))
            .collect(),
        pool: Arc::default(),
    })
}

/// For each operation, whether it is a depthwise convolution whose mean is wanted.
fn depthwise_with_mean(operations: &[Lowered]) -> Vec<bool> {
    let mut wanted = vec![false; operations.len()];
    for operation in operations {
        if let Kernel::Mean { x } = operation.kernel {
            wanted[x] = matches!(&operations[x].kernel, Kernel::Conv(conv) if conv.op.is_depthwise());
        }
    }
    wanted
}

struct Drafter {
    stretches: Vec<Stretch>,
    drafts: Vec<Draft>,
    /// Of each operation; the place is the index of a stretch.
    maps: Vec<Map>,
    /// Of each operation, the step that computes it.
    steps: Vec<usize>,
    /// Of each operation, the stretch and number of the partial sums, if there are.
    sums: Vec<Option<(usize, usize)>>,
}

impl Drafter {
    fn stretch(&mut self, length: usize, step: usize) -> usize {
        self.stretches.push(Stretch { length, first: step, last: step, place: 0 });
        self.stretches.len() - 1
    }

    /// The map of an operation that `step` reads.
    fn read(&mut self, operation: usize, step: usize) -> Map {
        let map = self.maps[operation];
        self.keep(map.place, step);
        map
    }

    fn keep(&mut self, stretch: usize, step: usize) {
        let last = &mut self.stretches[stretch].last;
        *last = (*last).max(step);
    }

    fn draft(
        &mut self,
        operations: &[Lowered],
        operation: &Lowered,
        wants_sums: bool,
    ) -> Result<(), NoKernel> {
        let [batch, channels, height, width] = operation.shape;
        let inputs = operation.kernel.inputs();
        let mut step = inputs.iter().map(|input| self.steps[*input] + 1).max().unwrap_or(0);
        let mut gated = None;
        if let Kernel::Conv(Conv { gate: Some(factors), x, .. }) = &operation.kernel {
            // The weights are scaled as soon as the factors are there, a step before the convolution.
            let scaling = self.steps[*factors] + 1;
            step = step.max(scaling + 1).max(self.steps[*x] + 1);
            gated = Some((*factors, scaling));
        }
        let place = self.stretch(batch * channels * height * width, step);
        let to = Map { place, batch, channels, size: [height, width] };
        let mut sums = None;
        let rows = |cost: usize| Split::new(batch, height, cost, 1);
        let call = match &operation.kernel {
            Kernel::Input => Call::Import { to, split: rows(4 * width * channels) },
            Kernel::Conv(conv) if conv.op.is_depthwise() => {
                let call = self.depthwise(conv, to, step, wants_sums);
                sums = call.sums.map(|stretch| (stretch, call.split.chunks()));
                Call::Depthwise(call)
            }
            Kernel::Conv(conv) => Call::Conv(self.conv(conv, to, step, gated)),
            Kernel::Sum(sum) => {
                let terms = sum.terms.iter().map(|term| SumTerm {
                    map: self.read(term.x, step),
                    factors: term.factors.clone().map_or(Factors::One, Factors::Constant),
                });
                Call::Sum {
                    terms: terms.collect(),
                    bias: sum.bias.clone(),
                    activation: sum.activation,
                    to,
                    split: rows(8 * sum.terms.len() * width * channels),
                }
            }
            Kernel::Gate { x, factors } => {
                let map = self.read(*x, step);
                let factors = Factors::Computed(self.read(*factors, step).place);
                let terms = vec![SumTerm { map, factors }];
                let activation = crate::Activation::Identity;
                Call::Sum { terms, bias: None, activation, to, split: rows(8 * width * channels) }
            }
            Kernel::Mean { x } => {
                let [_, _, rows, columns] = operations[*x].shape;
                let from = match self.sums[*x] {
                    Some((stretch, parts)) => {
                        self.keep(stretch, step);
                        MeanSource::Sums { place: stretch, parts }
                    }
                    None => MeanSource::Map(self.read(*x, step).place),
                };
                Call::Mean { from, pixels: rows * columns, to }
            }
            Kernel::Pool { x, pool } => {
                let window = PoolWindow {
                    kernel: pool.kernel,
                    stride: pool.stride,
                    pad: [pool.padding[0].0, pool.padding[1].0],
                };
                let split = rows(4 * pool.kernel[0] * pool.kernel[1] * width * channels);
                Call::Pool { from: self.read(*x, step), pool: pool.pool, window, to, split }
            }
            Kernel::Interpolate { x, cubic } => {
                let from = self.read(*x, step);
                Call::Interpolate {
                    from,
                    vertical: AxisTaps::new(from.size[0], height, *cubic),
                    horizontal: AxisTaps::new(from.size[1], width, *cubic),
                    to,
                    split: rows(if *cubic { 32 } else { 8 } * width * channels),
                }
            }
            Kernel::Narrow { x, start } => {
                let from = self.read(*x, step);
                Call::Copy {
                    from,
                    from_channel: *start,
                    to,
                    to_channel: 0,
                    split: rows(4 * width * channels),
                }
            }
            Kernel::Concat { maps } => {
                let mut channel = 0;
                let split = rows(4 * width * channels);
                for (i, map) in maps.iter().enumerate() {
                    let from = self.read(*map, step);
                    let call = Call::Copy { from, from_channel: 0, to, to_channel: channel, split };
                    channel += from.channels;
                    if i + 1 < maps.len() {
                        self.drafts.push(Draft { step, call });
                    } else {
                        self.push(step, call, to, None);
                        return Ok(());
                    }
                }
                return Err(NoKernel("a concatenation of nothing".to_owned()));
            }
        };
        self.push(step, call, to, sums);
        Ok(())
    }

    fn push(&mut self, step: usize, call: Call, to: Map, sums: Option<(usize, usize)>) {
        self.drafts.push(Draft { step, call });
        self.maps.push(to);
        self.steps.push(step);
        self.sums.push(sums);
    }

    fn depthwise(&mut self, conv: &Conv, to: Map, step: usize, wants_sums: bool) -> DepthwiseCall {
        let from = self.read(conv.x, step);
        let op = &conv.op;
        let taps = op.kernel * op.kernel;
        let expansion = conv
            .expansion
            .as_ref()
            .map(|expansion| Expansion { filter: pack(expansion, 0), activation: expansion.activation });
        let mut split = Split::new(to.batch, to.size[0], 2 * to.size[1] * to.channels * taps, 1);
        if let Some(expansion) = &expansion {
            split = expansion.split(&from, &to, op);
        }
        let parts = split.pictures * split.chunks();
        let sums = wants_sums.then(|| self.stretch(parts * padded_channels(to.channels), step));
        DepthwiseCall {
            from,
            to,
            filter: DepthwiseFilter::new(
                |channel, tap| conv.weight[channel * taps + tap],
                &conv.bias,
                op.kernel,
            ),
            window: Window {
                height: from.size[0],
                width: from.size[1],
                out_width: to.size[1],
                kernel: op.kernel,
                stride: op.stride,
                dilation: op.dilation,
                pad_top: op.padding[0].0,
                pad_left: op.padding[1].0,
            },
            activation: conv.activation,
            expansion,
            sums,
            split,
        }
    }

    fn conv(&mut self, conv: &Conv, to: Map, step: usize, gated: Option<(usize, usize)>) -> ConvCall {
        let from = self.read(conv.x, step);
        let residual = conv.residual.map(|x| self.read(x, step).place);
        let op = &conv.op;
        let filters: Vec<_> = (0..op.groups).map(|group| Arc::new(pack(conv, group))).collect();
        let weights = gated.map(|(factors, scaling)| {
            let filter = Arc::clone(&filters[0]);
            let factors = self.read(factors, scaling).place;
            let stretch = self.stretch(to.batch * filter.weights(), scaling);
            self.keep(stretch, step);
            let call = Call::GatedWeights { filter, factors, to: stretch, pictures: to.batch };
            self.drafts.push(Draft { step: scaling, call });
            stretch
        });
        let mut call = ConvCall {
            from,
            to,
            filters,
            weights,
            residual,
            activation: conv.activation,
            pointwise: op.is_pointwise(),
            kernel: op.kernel,
            stride: op.stride,
            dilation: op.dilation,
            padding: op.padding,
            split: Split::new(to.batch, to.size[0], 1, 1),
        };
        let depth = op.kernel * op.kernel * op.in_channels / op.groups;
        let pixel = depth * to.channels;
        if call.pointwise {
            // Without weights of their own, the pictures are one list of pixels.
            let pixels = to.size[0] * to.size[1];
            let (pictures, rows) =
                if weights.is_some() { (to.batch, pixels) } else { (1, to.batch * pixels) };
            // the least common multiple of what the kernels take at a time
            call.split = Split::new(pictures, rows, pixel, 48);
        } else {
            call.split = Split::new(to.batch, to.size[0], pixel * to.size[1], 1);
        }
        // Few pixels and many filters: every task would read all filters, so the filters are divided instead.
        let work = pixel * call.split.chunk * if call.pointwise { 1 } else { to.size[1] };
        if call.filters.len() == 1 && call.split.tasks() < 8 {
            let parts = (work / 400_000).clamp(1, call.filters[0].panels());
            call.split.panel_parts = parts;
        }
        call
    }
}

/// The filters of one group, in the order in which the kernel's lines lie in a map.
fn pack(conv: &Conv, group: usize) -> PackedFilter {
    let op = &conv.op;
    let (inputs, outputs) = (op.in_channels / op.groups, op.out_channels / op.groups);
    let taps = op.kernel * op.kernel;
    let weight = |output: usize, depth: usize| {
        let (tap, input) = (depth / inputs, depth % inputs);
        conv.weight[((group * outputs + output) * inputs + input) * taps + tap]
    };
    PackedFilter::new(weight, &conv.bias[group * outputs..(group + 1) * outputs], taps * inputs)
}

impl Call {
    fn scratch(&self) -> usize {
        match self {
            Call::Conv(conv) => conv.scratch(),
            Call::Depthwise(conv) => conv.scratch(),
            _ => 0,
        }
    }

    /// Puts places where the draft has stretches.
    fn place(&mut self, of: &impl Fn(usize) -> usize) {
        let map = |map: &mut Map| map.place = of(map.place);
        match self {
            Call::Import { to, .. } => map(to),
            Call::Conv(ConvCall { from, to, weights, residual, .. }) => {
                map(from);
                map(to);
                *weights = weights.map(of);
                *residual = residual.map(of);
            }
            Call::Depthwise(DepthwiseCall { from, to, sums, .. }) => {
                map(from);
                map(to);
                *sums = sums.map(of);
            }
            Call::GatedWeights { factors, to, .. } => (*factors, *to) = (of(*factors), of(*to)),
            Call::Sum { terms, to, .. } => {
                for term in terms {
                    map(&mut term.map);
                    if let Factors::Computed(place) = &mut term.factors {
                        *place = of(*place);
                    }
                }
                map(to);
            }
            Call::Mean { from, to, .. } => {
                match from {
                    MeanSource::Map(place) | MeanSource::Sums { place, .. } => *place = of(*place),
                }
                map(to);
            }
            Call::Pool { from, to, .. }
            | Call::Interpolate { from, to, .. }
            | Call::Copy { from, to, .. } => {
                map(from);
                map(to);
            }
        }
    }
}
