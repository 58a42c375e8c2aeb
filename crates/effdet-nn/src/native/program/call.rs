//! Kernel calls with their places in memory, divided into tasks.

use std::ops::Range;
use std::sync::Arc;

use super::memory::Memory;
use crate::Activation;
use crate::Pool;
use crate::graph::ConvOp;
use crate::native::depthwise::{DepthwiseFilter, Maps, Window, depthwise, padded_channels};
use crate::native::gemm::{self, PackedFilter, Rows, gemm};
use crate::native::pixelwise::{
    AxisTaps, PoolWindow, Target, Term, add_pixels, interpolate, pool, weighted_sum,
};

/// A map in memory: `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub place: usize,
    pub batch: usize,
    pub channels: usize,
    pub size: [usize; 2],
}

impl Map {
    fn picture(&self) -> usize {
        self.size[0] * self.size[1] * self.channels
    }
}

/// Rows of each picture, divided among tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub pictures: usize,
    pub rows: usize,
    /// Rows of a task.
    pub chunk: usize,
    /// Parts that the filter's panels are divided into.
    pub panel_parts: usize,
}

impl Split {
    /// So many rows that a task costs about `TASK`, if a row costs `cost`.
    pub fn new(pictures: usize, rows: usize, cost: usize, multiple: usize) -> Self {
        let chunk = (TASK / cost.max(1)).next_multiple_of(multiple).clamp(1, rows.max(1));
        // Chunks of one size, so that the last is no straggler.
        let chunks = rows.div_ceil(chunk);
        let chunk = rows.div_ceil(chunks.max(1)).next_multiple_of(multiple).clamp(1, rows.max(1));
        Self { pictures, rows, chunk, panel_parts: 1 }
    }

    pub fn chunks(&self) -> usize {
        self.rows.div_ceil(self.chunk)
    }

    pub fn tasks(&self) -> usize {
        self.pictures * self.chunks() * self.panel_parts
    }

    /// Picture, rows and part of the panels.
    fn part(&self, task: usize) -> (usize, Range<usize>, usize) {
        let (rest, part) = (task / self.panel_parts, task % self.panel_parts);
        let (picture, chunk) = (rest / self.chunks(), rest % self.chunks());
        (picture, chunk * self.chunk..((chunk + 1) * self.chunk).min(self.rows), part)
    }
}

/// Multiply-adds or numbers that are worth a task of their own: some ten microseconds.
const TASK: usize = 600_000;

#[derive(Debug)]
pub(super) enum Call {
    /// The input, channels first, to a map.
    Import {
        to: Map,
        split: Split,
    },
    Conv(ConvCall),
    Depthwise(DepthwiseCall),
    /// The weights of a filter, each row multiplied by its factor, for each picture.
    GatedWeights {
        filter: Arc<PackedFilter>,
        factors: usize,
        to: usize,
        pictures: usize,
    },
    Sum {
        terms: Vec<SumTerm>,
        bias: Option<Vec<f32>>,
        activation: Activation,
        to: Map,
        split: Split,
    },
    /// The means of a map, or from the sums of its parts.
    Mean {
        from: MeanSource,
        pixels: usize,
        to: Map,
    },
    Pool {
        from: Map,
        pool: Pool,
        window: PoolWindow,
        to: Map,
        split: Split,
    },
    Interpolate {
        from: Map,
        vertical: AxisTaps,
        horizontal: AxisTaps,
        to: Map,
        split: Split,
    },
    /// Channels from `from_channel` to channels from `to_channel`, as many as the smaller map has.
    Copy {
        from: Map,
        from_channel: usize,
        to: Map,
        to_channel: usize,
        split: Split,
    },
}

#[derive(Debug)]
pub(super) enum MeanSource {
    Map(usize),
    /// `[picture, part, padded channels]`
    Sums {
        place: usize,
        parts: usize,
    },
}

#[derive(Debug)]
pub(super) struct SumTerm {
    pub map: Map,
    pub factors: Factors,
}

#[derive(Debug)]
pub(super) enum Factors {
    One,
    Constant(Vec<f32>),
    /// One per picture and channel, at this place.
    Computed(usize),
}

#[derive(Debug)]
pub(super) struct ConvCall {
    pub from: Map,
    pub to: Map,
    /// One per group.
    pub filters: Vec<Arc<PackedFilter>>,
    /// Where the gated weights of each picture are, if they are.
    pub weights: Option<usize>,
    pub residual: Option<usize>,
    pub activation: Activation,
    /// Whether the map is used as one list of pixels.
    pub pointwise: bool,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub padding: [(usize, usize); 2],
    pub split: Split,
}

#[derive(Debug)]
pub(super) struct DepthwiseCall {
    pub from: Map,
    pub to: Map,
    pub filter: DepthwiseFilter,
    pub window: Window,
    pub activation: Activation,
    /// What makes the input that is convolved from the map that is read.
    pub expansion: Option<Expansion>,
    /// Where the sums of each part go, if they are wanted.
    pub sums: Option<usize>,
    pub split: Split,
}

impl Call {
    pub fn tasks(&self) -> usize {
        match self {
            Call::Import { split, .. }
            | Call::Sum { split, .. }
            | Call::Pool { split, .. }
            | Call::Interpolate { split, .. }
            | Call::Copy { split, .. } => split.tasks(),
            Call::Conv(conv) => conv.split.tasks(),
            Call::Depthwise(conv) => conv.split.tasks(),
            Call::GatedWeights { pictures, .. } => *pictures,
            Call::Mean { to, .. } => to.batch,
        }
    }

    /// Does one task.
    ///
    /// # Safety
    /// The memory must be as the plan has it, and nobody else may write what this task writes or reads.
    pub unsafe fn run(&self, task: usize, memory: &Memory, scratch: *mut f32) {
        // SAFETY: places and sizes are the plan's
        unsafe {
            match self {
                Call::Import { to, split } => {
                    let (picture, rows, _) = split.part(task);
                    import(memory, to, picture, rows);
                }
                Call::Conv(conv) => conv.run(task, memory, scratch),
                Call::Depthwise(conv) => conv.run(task, memory, scratch),
                Call::GatedWeights { filter, factors, to, .. } => {
                    let depth = filter.depth();
                    let factors = std::slice::from_raw_parts(memory.at(factors + task * depth), depth);
                    let to = memory.at(to + task * filter.weights());
                    filter.scaled_into(factors, std::slice::from_raw_parts_mut(to, filter.weights()));
                }
                Call::Sum { terms, bias, activation, to, split } => {
                    let (picture, rows, _) = split.part(task);
                    let terms: Vec<Term> = terms
                        .iter()
                        .map(|term| Term {
                            start: memory.at(term.map.place + picture * term.map.picture()),
                            stride: term.map.channels,
                            factors: match &term.factors {
                                Factors::One => std::ptr::null(),
                                Factors::Constant(values) => values.as_ptr(),
                                Factors::Computed(place) => memory.at(place + picture * to.channels),
                            },
                            size: (term.map.size != to.size).then_some(term.map.size),
                        })
                        .collect();
                    let bias = bias.as_ref().map_or(std::ptr::null(), |bias| bias.as_ptr());
                    weighted_sum(
                        &terms,
                        bias,
                        *activation,
                        &target(memory, to, picture, 0, to.channels),
                        rows,
                    );
                }
                Call::Mean { from, pixels, to } => mean(memory, from, *pixels, to, task),
                Call::Pool { from, pool: kind, window, to, split } => {
                    let (picture, rows, _) = split.part(task);
                    let input = memory.at(from.place + picture * from.picture());
                    pool(input, from.size, *kind, window, &target(memory, to, picture, 0, to.channels), rows);
                }
                Call::Interpolate { from, vertical, horizontal, to, split } => {
                    let (picture, rows, _) = split.part(task);
                    let input = memory.at(from.place + picture * from.picture());
                    let target = target(memory, to, picture, 0, to.channels);
                    interpolate(input, from.size[1], vertical, horizontal, &target, rows);
                }
                Call::Copy { from, from_channel, to, to_channel, split } => {
                    let (picture, rows, _) = split.part(task);
                    let channels = from.channels.min(to.channels);
                    let start = memory.at(from.place + picture * from.picture() + from_channel);
                    let term = Term { start, stride: from.channels, factors: std::ptr::null(), size: None };
                    let target = target(memory, to, picture, *to_channel, channels);
                    weighted_sum(&[term], std::ptr::null(), Activation::Identity, &target, rows);
                }
            }
        }
    }
}

unsafe fn target(memory: &Memory, to: &Map, picture: usize, channel: usize, channels: usize) -> Target {
    // SAFETY: the plan's place
    let start = unsafe { memory.at(to.place + picture * to.picture() + channel) };
    Target { start, stride: to.channels, channels, size: to.size }
}

unsafe fn import(memory: &Memory, to: &Map, picture: usize, rows: Range<usize>) {
    let [height, width] = to.size;
    for y in rows {
        for channel in 0..to.channels {
            // SAFETY: the input has the map's shape
            unsafe {
                let from = memory.input.add(((picture * to.channels + channel) * height + y) * width);
                let line = memory.at(to.place + (picture * height + y) * width * to.channels + channel);
                for x in 0..width {
                    *line.add(x * to.channels) = *from.add(x);
                }
            }
        }
    }
}

unsafe fn mean(memory: &Memory, from: &MeanSource, pixels: usize, to: &Map, picture: usize) {
    let channels = to.channels;
    // SAFETY: the plan's places
    unsafe {
        let means = memory.at(to.place + picture * channels);
        std::slice::from_raw_parts_mut(means, channels).fill(0.0);
        match from {
            MeanSource::Map(place) => {
                add_pixels(memory.at(place + picture * pixels * channels), pixels, channels, means);
            }
            MeanSource::Sums { place, parts } => {
                let padded = padded_channels(channels);
                for part in 0..*parts {
                    let sums = memory.at(place + (picture * parts + part) * padded);
                    for channel in 0..channels {
                        *means.add(channel) += *sums.add(channel);
                    }
                }
            }
        }
        let share = 1.0 / pixels as f32;
        std::slice::from_raw_parts_mut(means, channels).iter_mut().for_each(|mean| *mean *= share);
    }
}

impl ConvCall {
    fn is_padded(&self) -> bool {
        self.padding != [(0, 0); 2]
    }

    fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Numbers of scratch memory a task needs: the rows it reads, with their padding.
    pub fn scratch(&self) -> usize {
        if !self.is_padded() {
            return 0;
        }
        let rows = (self.split.chunk - 1) * self.stride + self.reach();
        rows * self.padded_width() * self.from.channels
    }

    fn padded_width(&self) -> usize {
        self.from.size[1] + self.padding[1].0 + self.padding[1].1
    }

    unsafe fn run(&self, task: usize, memory: &Memory, scratch: *mut f32) {
        let (picture, rows, part) = self.split.part(task);
        let outputs = self.to.channels;
        // SAFETY: the plan's places
        unsafe {
            if self.pointwise {
                let filter = &self.filters[0];
                let pixel = picture * self.split.rows + rows.start;
                let input = Rows {
                    start: memory.at(self.from.place + pixel * self.from.channels),
                    stride: self.from.channels,
                    count: rows.len(),
                    runs: &[0],
                    run_length: self.from.channels,
                };
                let weights = match self.weights {
                    Some(place) => memory.at(place + picture * filter.weights()).cast_const(),
                    None => filter.data().as_ptr(),
                };
                let output = self.output(memory, pixel * outputs);
                gemm(&input, filter, weights, self.panels(filter, part), &output);
                return;
            }
            let channels = self.from.channels;
            let width = self.padded_width();
            let first_row = rows.start * self.stride;
            let strip: *const f32 = if self.is_padded() {
                self.copy_padded(memory, picture, first_row, rows.len(), scratch);
                scratch
            } else {
                memory.at(self.from.place + picture * self.from.picture() + first_row * width * channels)
            };
            let groups = self.filters.len();
            let group_channels = channels / groups;
            let whole_lines = groups == 1 && self.dilation == 1;
            let runs: Vec<usize> = if whole_lines {
                (0..self.kernel).map(|ky| ky * width * channels).collect()
            } else {
                let tap = |i: usize| (i / self.kernel * width + i % self.kernel) * self.dilation * channels;
                (0..self.kernel * self.kernel).map(tap).collect()
            };
            let run_length = if whole_lines { self.kernel * channels } else { group_channels };
            for (i, y) in rows.enumerate() {
                let line = strip.add(i * self.stride * width * channels);
                let pixel = (picture * self.to.size[0] + y) * self.to.size[1];
                for (group, filter) in self.filters.iter().enumerate() {
                    let input = Rows {
                        start: line.add(group * group_channels),
                        stride: self.stride * channels,
                        count: self.to.size[1],
                        runs: &runs,
                        run_length,
                    };
                    let output = self.output(memory, pixel * outputs + group * filter.outputs());
                    gemm(&input, filter, filter.data().as_ptr(), self.panels(filter, part), &output);
                }
            }
        }
    }

    unsafe fn output(&self, memory: &Memory, at: usize) -> gemm::Output {
        // SAFETY: the plan's places
        unsafe {
            gemm::Output {
                start: memory.at(self.to.place + at),
                stride: self.to.channels,
                residual: self.residual.map_or(std::ptr::null(), |place| memory.at(place + at).cast_const()),
                residual_stride: self.to.channels,
                activation: self.activation,
            }
        }
    }

    fn panels(&self, filter: &PackedFilter, part: usize) -> Range<usize> {
        let (all, parts) = (filter.panels(), self.split.panel_parts);
        part * all / parts..(part + 1) * all / parts
    }

    /// The input rows of `count` output rows, zeros around them where the map ends.
    unsafe fn copy_padded(
        &self,
        memory: &Memory,
        picture: usize,
        first_row: usize,
        count: usize,
        scratch: *mut f32,
    ) {
        let [height, width] = self.from.size;
        let channels = self.from.channels;
        let line = self.padded_width() * channels;
        let (left, right) = (self.padding[1].0 * channels, self.padding[1].1 * channels);
        for row in 0..(count - 1) * self.stride + self.reach() {
            let y = (first_row + row).wrapping_sub(self.padding[0].0);
            // SAFETY: within `scratch` numbers; `y` is a row of the map
            unsafe {
                let to = std::slice::from_raw_parts_mut(scratch.add(row * line), line);
                if y < height {
                    let from = memory.at(self.from.place + (picture * height + y) * width * channels);
                    to[..left].fill(0.0);
                    to[left..line - right]
                        .copy_from_slice(std::slice::from_raw_parts(from, width * channels));
                    to[line - right..].fill(0.0);
                } else {
                    to.fill(0.0);
                }
            }
        }
    }
}

/// A pointwise convolution whose result is needed only by the depthwise convolution after it: each task computes the rows
/// that it needs, a panel of channels at a time, in scratch memory.
#[derive(Debug)]
pub(super) struct Expansion {
    pub filter: PackedFilter,
    pub activation: Activation,
}

impl Expansion {
    /// Rows to a task as long as the scratch memory stays within a part of the second-level cache, and panels to share if
    /// there are few rows: neighbouring tasks compute the rows at their border twice.
    pub fn split(&self, from: &Map, to: &Map, op: &ConvOp) -> Split {
        let line = from.size[1] * self.panel_width();
        let fitting = (SCRATCH / line).saturating_sub((op.kernel - 1) * op.dilation) / op.stride;
        let work = from.size[1] * op.stride * to.channels * (from.channels + 2 * op.kernel * op.kernel);
        let wanted = (4 * TASK / work.max(1)).max(8 * op.kernel / op.stride);
        let chunk = wanted.min(fitting).clamp(1, to.size[0]);
        let chunk = to.size[0].div_ceil(to.size[0].div_ceil(chunk));
        let mut split = Split { pictures: to.batch, rows: to.size[0], chunk, panel_parts: 1 };
        if split.tasks() < 8 {
            let parts = (split.rows * work / split.tasks() / TASK).max(8 / split.tasks());
            split.panel_parts = parts.clamp(1, self.filter.panels());
        }
        split
    }

    /// Channels of the widest panel.
    fn panel_width(&self) -> usize {
        (self.filter.panel_columns(self.filter.panels() - 1).len()).max(self.filter.panel_columns(0).len())
    }
}

/// Numbers of scratch memory: 768 KiB.
const SCRATCH: usize = 192 * 1024;

impl DepthwiseCall {
    /// Numbers of scratch memory a task needs.
    pub fn scratch(&self) -> usize {
        self.expansion.as_ref().map_or(0, |expansion| {
            let reach = (self.window.kernel - 1) * self.window.dilation + 1;
            let rows = ((self.split.chunk - 1) * self.window.stride + reach).min(self.window.height);
            rows * self.window.width * expansion.panel_width().next_multiple_of(16)
        })
    }

    /// A task of a convolution with an expansion: panel by panel, expand and convolve.
    unsafe fn expanded(&self, expansion: &Expansion, task: usize, memory: &Memory, scratch: *mut f32) {
        let (picture, rows, part) = self.split.part(task);
        let Window { height, width, stride, kernel, dilation, pad_top, .. } = self.window;
        // the rows of the expanded map that are needed, and a window on them alone
        let first = (rows.start * stride).saturating_sub(pad_top);
        let end = ((rows.end - 1) * stride + (kernel - 1) * dilation + 1).saturating_sub(pad_top).min(height);
        let (all, parts) = (expansion.filter.panels(), self.split.panel_parts);
        let padded = padded_channels(self.filter.channels());
        // SAFETY: the plan's places
        unsafe {
            let sums = self.sums.map(|place| memory.at(place + task / parts * padded));
            for panel in part * all / parts..(part + 1) * all / parts {
                let columns = expansion.filter.panel_columns(panel);
                let input = Rows {
                    start: memory.at(self.from.place
                        + picture * self.from.picture()
                        + first * width * self.from.channels),
                    stride: self.from.channels,
                    count: (end - first) * width,
                    runs: &[0],
                    run_length: self.from.channels,
                };
                let output = gemm::Output {
                    start: scratch.wrapping_sub(columns.start),
                    stride: columns.len(),
                    residual: std::ptr::null(),
                    residual_stride: 0,
                    activation: expansion.activation,
                };
                let weights = expansion.filter.data().as_ptr();
                gemm(&input, &expansion.filter, weights, panel..panel + 1, &output);
                if let Some(sums) = sums {
                    let last = if columns.end == self.filter.channels() { padded } else { columns.end };
                    std::slice::from_raw_parts_mut(sums.add(columns.start), last - columns.start).fill(0.0);
                }
                let maps = Maps {
                    // row `first` of the expanded map is the first of the scratch memory
                    input: scratch.wrapping_sub(first * width * columns.len()),
                    input_stride: columns.len(),
                    output: memory.at(self.to.place + picture * self.to.picture()),
                    sums: sums.unwrap_or(std::ptr::null_mut()),
                };
                depthwise(&maps, &self.filter, &self.window, rows.clone(), columns, self.activation);
            }
        }
    }

    unsafe fn run(&self, task: usize, memory: &Memory, scratch: *mut f32) {
        if let Some(expansion) = &self.expansion {
            // SAFETY: the caller's
            return unsafe { self.expanded(expansion, task, memory, scratch) };
        }
        let (picture, rows, _) = self.split.part(task);
        let padded = padded_channels(self.filter.channels());
        // SAFETY: the plan's places
        unsafe {
            let sums = match self.sums {
                Some(place) => {
                    let sums = memory.at(place + task * padded);
                    std::slice::from_raw_parts_mut(sums, padded).fill(0.0);
                    sums
                }
                None => std::ptr::null_mut(),
            };
            let maps = Maps {
                input: memory.at(self.from.place + picture * self.from.picture()),
                input_stride: self.from.channels,
                output: memory.at(self.to.place + picture * self.to.picture()),
                sums,
            };
            let channels = 0..self.filter.channels();
            depthwise(&maps, &self.filter, &self.window, rows, channels, self.activation);
        }
    }
}
