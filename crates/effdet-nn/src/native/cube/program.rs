//! A network compiled to launches, for every size of batch it has met.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Shape, StreamId, bf16, f16};
use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Graph as Recording;
use cubecl::ir::ElemType;
use cubecl::server::Handle;

use super::kernels::Launcher;
use super::kernels::depthwise::{Filter, Sizes, depthwise};
use super::kernels::gemm::{Operands, Product, padded_filter, product};
use super::kernels::pixelwise::{self, Channels, Factors, Given, TERMS, Target, Term};
use super::kernels::pool::{self, PoolWindow};
use super::kernels::reduce::{few_rows, mean, partial_sums};
use super::kernels::resize::{self, Taps};
use super::operation::INPUTS;
use crate::Activation;
use crate::graph::Graph;
use crate::native::NoKernel;
use crate::native::pixelwise::AxisTaps;
use crate::native::program::lower::{Conv, Expansions, Kernel, Operations, Sum, lower};
use crate::native::program::places::{Stretch, assign_places};

/// Sizes of batch that stay compiled; a further one replaces the one that was not used for longest.
const BATCHES: usize = 8;
/// How often launches are tried to be recorded.
const ATTEMPTS: u32 = 3;
/// Maps begin at multiples of so many numbers, whose bytes are a multiple of what any runtime asks of a buffer.
const ALIGNMENT: usize = 256;
/// Channels of the first map are filled up to a multiple of this, so that vectors can be read.
const VECTOR: usize = 4;

/// A network for one size of picture and any batch.
#[derive(Debug)]
pub(in crate::native) struct CubeProgram {
    operations: Operations,
    /// The first so many operations are inputs.
    inputs: usize,
    /// Used last first.
    compiled: Mutex<Vec<Compiled>>,
}

impl CubeProgram {
    /// # Errors
    /// [`NoKernel`] for a node that the kernels cannot compute.
    pub(in crate::native) fn compile(graph: &Graph) -> Result<Self, NoKernel> {
        let operations = lower(graph, Expansions::Apart)?;
        let inputs = operations.operations.iter().filter(|one| matches!(one.kernel, Kernel::Input)).count();
        if !INPUTS.contains(&inputs) {
            return Err(NoKernel(format!("a network of {inputs} inputs")));
        }
        for operation in &operations.operations {
            match &operation.kernel {
                Kernel::Conv(conv) if conv.op.groups != 1 && !conv.op.is_depthwise() => {
                    return Err(NoKernel(format!("a convolution in {} groups", conv.op.groups)));
                }
                Kernel::Sum(sum) if sum.terms.len() > TERMS => {
                    return Err(NoKernel(format!("a sum of {} maps", sum.terms.len())));
                }
                _ => {}
            }
        }
        let outputs = &operations.outputs;
        if outputs.iter().enumerate().any(|(i, output)| *output < inputs || outputs[..i].contains(output)) {
            return Err(NoKernel("a map that is returned twice, or as it was given".to_owned()));
        }
        Ok(Self { operations, inputs, compiled: Mutex::default() })
    }

    /// Number of inputs.
    pub(in crate::native) fn inputs(&self) -> usize {
        self.inputs
    }

    /// `[channels, height, width]` of an input.
    pub(in crate::native) fn input_shape(&self, input: usize) -> [usize; 3] {
        let [_, channels, height, width] = self.operations.operations[input].shape;
        [channels, height, width]
    }

    /// Whether every number of a batch's maps has an index in the kernels' 32 bits.
    pub(in crate::native) fn holds(&self, batch: usize) -> bool {
        let operations = (0..self.operations.operations.len()).map(|at| {
            let [_, _, height, width] = self.operations.operations[at].shape;
            map_channels(&self.operations, at) * height * width
        });
        let largest = operations.max().unwrap_or(0) * batch;
        largest.max(self.results(batch)) <= u32::MAX as usize
    }

    /// Of each output, where it begins among the results of a batch, and its shape.
    pub(super) fn maps(&self, batch: usize) -> Vec<(usize, [usize; 4])> {
        let mut start = 0;
        let outputs = self.operations.outputs.iter().map(|output| {
            let [_, channels, height, width] = self.operations.operations[*output].shape;
            let shape = [batch, channels, height, width];
            let place = start;
            start += shape.iter().product::<usize>().next_multiple_of(ALIGNMENT);
            (place, shape)
        });
        outputs.collect()
    }

    /// Numbers of what a batch gives: all maps after each other, channels last.
    pub(super) fn results(&self, batch: usize) -> usize {
        let (start, shape) = self.maps(batch).pop().unwrap_or_default();
        start + shape.iter().product::<usize>().next_multiple_of(ALIGNMENT)
    }

    /// Computes a batch, compiling for its size when it is first seen.
    pub(super) fn run(&self, batch: usize, inputs: &[CubeTensor]) -> CubeTensor {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = compiled.iter().position(|one| one.is_for(batch, &inputs[0]));
        let mut one = match found {
            Some(at) => compiled.remove(at),
            None => {
                let stream = StreamId::current();
                let like = compiled.iter().find(|one| one.is_like(&inputs[0], stream));
                let constants = like.map(|one| one.constants.clone()).unwrap_or_default();
                compiled.truncate(BATCHES - 1);
                Compiled::new(self, batch, &inputs[0], constants)
            }
        };
        let results = one.run(inputs);
        compiled.insert(0, one);
        results
    }

    /// Gives back the memory of all sizes of batch.
    pub(in crate::native) fn forget(&self) {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

type Launch = Box<dyn Fn(&Launcher) + Send + Sync>;

/// The launches for one size of batch, with their memory.
struct Compiled {
    batch: usize,
    dtype: DType,
    device: CubeDevice,
    stream: StreamId,
    launcher: Launcher,
    constants: Vec<Handle>,
    inputs: Vec<Input>,
    launches: Vec<Launch>,
    results: Handle,
    /// Numbers of the results.
    length: usize,
    recording: Option<Recording>,
    recorded: bool,
    attempts: u32,
}

/// A map that is given.
struct Input {
    map: Handle,
    target: Target,
    /// Channels that are given; the map's may be more.
    channels: usize,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("batch", &self.batch).field("dtype", &self.dtype).finish()
    }
}

impl Compiled {
    fn is_for(&self, batch: usize, input: &CubeTensor) -> bool {
        self.batch == batch && self.dtype == input.dtype && self.device == input.device
    }

    /// Whether another size of batch has its constants: one of the same device and type. A recording must not wait for
    /// another stream.
    fn is_like(&self, input: &CubeTensor, stream: StreamId) -> bool {
        self.dtype == input.dtype && self.device == input.device && self.stream == stream
    }

    /// `constants` are those of another size, if there is one.
    fn new(program: &CubeProgram, batch: usize, pictures: &CubeTensor, constants: Vec<Handle>) -> Self {
        let mut client = pictures.client.clone();
        // Recorded launches are replayed on the stream they were recorded on, whatever thread asks for them.
        let stream = StreamId::current();
        // SAFETY: the stream is this thread's own, which everything here then uses
        unsafe { client.set_stream(stream) };
        let float = burn::backend::cubecl::dtype_to_elem_type(pictures.dtype);
        let launcher = Launcher { client, float };
        let constants = Constants { given: constants, used: 0 };
        Binder::new(&program.operations, batch, launcher, constants).bind(program, pictures, stream)
    }

    fn run(&mut self, inputs: &[CubeTensor]) -> CubeTensor {
        // The launches that are recorded use up the inputs' memory, so that these come after them.
        if !self.recorded {
            self.recording = self.record();
            self.attempts += 1;
            // A recording can fail for a passing reason, such as another thread's allocation.
            self.recorded = self.recording.is_some() || self.attempts == ATTEMPTS;
        }
        for (input, given) in self.inputs.iter().zip(inputs) {
            let strides = given.meta.strides();
            let given = Given {
                map: given.handle.clone(),
                float: burn::backend::cubecl::dtype_to_elem_type(given.dtype),
                strides: [strides[0], strides[1], strides[2], strides[3]],
                channels: input.channels,
            };
            pixelwise::import(&self.launcher, given, input.map.clone(), &input.target);
        }
        // SAFETY: all buffers of the recording belong to this, and its stream is the launcher's
        let replayed = self.recording.as_ref().is_some_and(|recording| unsafe { recording.replay() }.is_ok());
        if !replayed {
            self.launch();
        }
        // What is given away must not change when the next batch is computed.
        let copy = self.launcher.client.empty(self.length * self.dtype.size());
        let channels = |map: &Handle| Channels { map: map.clone(), of: self.length, first: 0 };
        pixelwise::copy_channels(&self.launcher, channels(&self.results), channels(&copy), 1, self.length);
        CubeTensor::new_contiguous(
            inputs[0].client.clone(),
            self.device.clone(),
            Shape::from([self.length]),
            copy,
            self.dtype,
        )
    }

    fn launch(&self) {
        self.launches.iter().for_each(|launch| launch(&self.launcher));
    }

    /// Records the launches, after a first run that compiles the kernels. `None` where the runtime cannot.
    fn record(&self) -> Option<Recording> {
        let client = &self.launcher.client;
        client.graph_prepare().ok()?;
        self.launch();
        let _ = cubecl::future::block_on(client.sync());
        client.start_capture().ok()?;
        self.launch();
        client.stop_capture().ok()
    }
}

/// What the operations of a network ask for in their order. It is the same for every size of batch, which share it.
struct Constants {
    given: Vec<Handle>,
    used: usize,
}

impl Constants {
    fn next(&mut self, launcher: &Launcher, bytes: &[u8]) -> Handle {
        if self.used == self.given.len() {
            self.given.push(launcher.client.create_from_slice(bytes));
        }
        self.used += 1;
        self.given[self.used - 1].clone()
    }
}

/// Gives operations their memory, constants and launches.
struct Binder<'a> {
    operations: &'a Operations,
    batch: usize,
    launcher: Launcher,
    constants: Constants,
    results: Handle,
    maps: Vec<Handle>,
    /// Sums of parts of a map, for operations that need them.
    partial: Vec<Option<Handle>>,
    launches: Vec<Launch>,
}

/// Channels of an operation's map in memory: those of an input that only dense convolutions read are filled up.
fn map_channels(operations: &Operations, at: usize) -> usize {
    let channels = operations.operations[at].shape[1];
    let convolves = |kernel: &Kernel| match kernel {
        Kernel::Conv(conv) => {
            !conv.op.is_depthwise() && conv.gate.is_none() && conv.x == at && conv.residual != Some(at)
        }
        _ => false,
    };
    let mut readers = operations.operations.iter().filter(|one| one.kernel.inputs().contains(&at));
    let is_input = matches!(operations.operations[at].kernel, Kernel::Input);
    if is_input && readers.all(|one| convolves(&one.kernel)) {
        channels.next_multiple_of(VECTOR)
    } else {
        channels
    }
}

impl<'a> Binder<'a> {
    fn new(operations: &'a Operations, batch: usize, launcher: Launcher, constants: Constants) -> Self {
        let size = launcher.float.size();
        let count = operations.operations.len();
        let mut last: Vec<usize> = (0..count).collect();
        for (at, operation) in operations.operations.iter().enumerate() {
            operation.kernel.inputs().into_iter().for_each(|input| last[input] = at);
        }
        let length = |at: usize| {
            let [_, _, height, width] = operations.operations[at].shape;
            (batch * map_channels(operations, at) * height * width).next_multiple_of(ALIGNMENT)
        };
        let mut stretches: Vec<Stretch> = (0..count)
            .map(|at| Stretch { length: length(at), first: at, last: last[at], place: 0 })
            .collect();
        // inputs are written before everything else
        for (stretch, operation) in stretches.iter_mut().zip(&operations.operations) {
            if matches!(operation.kernel, Kernel::Input) {
                stretch.first = 0;
            }
        }
        let mut sums = vec![None; count];
        for (at, operation) in operations.operations.iter().enumerate() {
            if let Kernel::Mean { x } = operation.kernel {
                let [_, channels, height, width] = operations.operations[x].shape;
                let numbers = partial_sums([batch, height * width, channels]) * size_of::<f32>() / size;
                sums[at] = Some(stretches.len());
                let length = numbers.next_multiple_of(ALIGNMENT);
                stretches.push(Stretch { length, first: at, last: at, place: 0 });
            }
        }
        let (maps_end, end) = assign_places(&mut stretches, &operations.outputs, ALIGNMENT);
        let arena = launcher.client.empty(maps_end.max(1) * size);
        let results = launcher.client.empty((end - maps_end).max(1) * size);
        let place = |stretch: &Stretch, is_result: bool| {
            let (block, start) =
                if is_result { (&results, stretch.place - maps_end) } else { (&arena, stretch.place) };
            let whole = block.size() as usize;
            let handle = block.clone().offset_start((start * size) as u64);
            handle.offset_end((whole - (start + stretch.length) * size) as u64)
        };
        let maps = (0..count).map(|at| place(&stretches[at], operations.outputs.contains(&at))).collect();
        let partial = sums.iter().map(|sum| sum.map(|at| place(&stretches[at], false))).collect();
        Self { operations, batch, launcher, constants, results, maps, partial, launches: Vec::new() }
    }

    fn bind(mut self, program: &CubeProgram, pictures: &CubeTensor, stream: StreamId) -> Compiled {
        for at in 0..self.operations.operations.len() {
            self.operation(at);
        }
        let input = |at: usize| {
            let [_, channels, height, width] = self.operations.operations[at].shape;
            let stored = map_channels(self.operations, at);
            let target = Target { batch: self.batch, channels: stored, size: [height, width] };
            Input { map: self.maps[at].clone(), target, channels }
        };
        let inputs = (0..program.inputs).map(input).collect();
        Compiled {
            batch: self.batch,
            dtype: pictures.dtype,
            device: pictures.device.clone(),
            stream,
            inputs,
            launcher: self.launcher,
            constants: self.constants.given,
            launches: self.launches,
            results: self.results,
            length: program.results(self.batch),
            recording: None,
            recorded: false,
            attempts: 0,
        }
    }

    fn push(&mut self, launch: impl Fn(&Launcher) + Send + Sync + 'static) {
        self.launches.push(Box::new(launch));
    }

    fn size(&self, at: usize) -> [usize; 2] {
        let [_, _, height, width] = self.operations.operations[at].shape;
        [height, width]
    }

    /// Constants of single precision.
    fn singles(&mut self, values: &[f32]) -> Handle {
        self.constants.next(&self.launcher, bytes_of(values))
    }

    /// Constants of the type of maps.
    fn of_maps(&mut self, values: &[f32]) -> Handle {
        use cubecl::ir::FloatKind;
        match self.launcher.float {
            ElemType::Float(FloatKind::F16) => {
                let values: Vec<u16> = values.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
                self.constants.next(&self.launcher, bytes_of(&values))
            }
            ElemType::Float(FloatKind::BF16) => {
                let values: Vec<u16> = values.iter().map(|v| bf16::from_f32(*v).to_bits()).collect();
                self.constants.next(&self.launcher, bytes_of(&values))
            }
            _ => self.singles(values),
        }
    }

    fn operation(&mut self, at: usize) {
        let operations = self.operations;
        let operation = &operations.operations[at];
        let [_, channels, height, width] = operation.shape;
        let batch = self.batch;
        let target = Target { batch, channels, size: [height, width] };
        let output = self.maps[at].clone();
        match &operation.kernel {
            Kernel::Input => {}
            Kernel::Conv(conv) => self.convolution(conv, at),
            Kernel::Sum(sum) => self.sum(sum, at),
            Kernel::Gate { x, factors } => {
                let constant = self.singles(&vec![1.0; channels]);
                let computed = self.maps[*factors].clone();
                let terms = vec![Term { map: self.maps[*x].clone(), size: [height, width] }];
                self.push(move |launcher| {
                    let factors =
                        Factors { constant: constant.clone(), computed: Some(computed.clone()), bias: None };
                    let activation = Activation::Identity;
                    pixelwise::sum(launcher, &terms, factors, output.clone(), &target, activation);
                });
            }
            Kernel::Mean { x } => {
                let input = self.maps[*x].clone();
                let [rows, columns] = self.size(*x);
                let partial = self.partial[at].clone().unwrap_or_else(|| output.clone());
                self.push(move |launcher| {
                    let sizes = [batch, rows * columns, channels];
                    mean(launcher, input.clone(), partial.clone(), output.clone(), sizes);
                });
            }
            Kernel::Pool { x, pool } => {
                let (input, in_size) = (self.maps[*x].clone(), self.size(*x));
                let window = PoolWindow { pool: pool.pool, kernel: pool.kernel, stride: pool.stride };
                let pad = [pool.padding[0].0, pool.padding[1].0];
                self.push(move |launcher| {
                    pool::pool(launcher, input.clone(), in_size, pad, output.clone(), &target, window);
                });
            }
            Kernel::Interpolate { x, cubic } => {
                let (input, in_size) = (self.maps[*x].clone(), self.size(*x));
                let taps = [0, 1].map(|axis| {
                    let taps = AxisTaps::new(in_size[axis], target.size[axis], *cubic);
                    let places: Vec<u32> = taps.taps.iter().map(|(place, _)| *place as u32).collect();
                    let weights: Vec<f32> = taps.taps.iter().map(|(_, weight)| *weight).collect();
                    let places = self.constants.next(&self.launcher, bytes_of(&places));
                    Taps { count: taps.count, places, weights: self.singles(&weights) }
                });
                self.push(move |launcher| {
                    let (input, output) = (input.clone(), output.clone());
                    resize::interpolate(launcher, input, in_size, taps.clone(), output, &target);
                });
            }
            Kernel::Narrow { x, start } => {
                let from =
                    Channels { map: self.maps[*x].clone(), of: map_channels(operations, *x), first: *start };
                let to = Channels { map: output, of: channels, first: 0 };
                let pixels = batch * height * width;
                self.push(move |launcher| {
                    pixelwise::copy_channels(launcher, from.clone(), to.clone(), pixels, channels);
                });
            }
            Kernel::Concat { maps } => {
                let mut first = 0;
                for map in maps {
                    let part = map_channels(operations, *map);
                    let from = Channels { map: self.maps[*map].clone(), of: part, first: 0 };
                    let to = Channels { map: output.clone(), of: channels, first };
                    let pixels = batch * height * width;
                    self.push(move |launcher| {
                        pixelwise::copy_channels(launcher, from.clone(), to.clone(), pixels, part);
                    });
                    first += part;
                }
            }
        }
    }

    fn sum(&mut self, sum: &Sum, at: usize) {
        let [_, channels, height, width] = self.operations.operations[at].shape;
        let target = Target { batch: self.batch, channels, size: [height, width] };
        let mut factors = Vec::with_capacity(sum.terms.len() * channels);
        for term in &sum.terms {
            match &term.factors {
                Some(given) => factors.extend_from_slice(given),
                None => factors.resize(factors.len() + channels, 1.0),
            }
        }
        let constant = self.singles(&factors);
        let bias = sum.bias.as_ref().map(|bias| self.singles(bias));
        let terms: Vec<Term> = (sum.terms.iter())
            .map(|term| Term { map: self.maps[term.x].clone(), size: self.size(term.x) })
            .collect();
        let (output, activation) = (self.maps[at].clone(), sum.activation);
        self.push(move |launcher| {
            let factors = Factors { constant: constant.clone(), computed: None, bias: bias.clone() };
            pixelwise::sum(launcher, &terms, factors, output.clone(), &target, activation);
        });
    }

    fn convolution(&mut self, conv: &Conv, at: usize) {
        let op = &conv.op;
        let [_, channels, height, width] = self.operations.operations[at].shape;
        let sizes = Sizes {
            batch: self.batch,
            channels: map_channels(self.operations, conv.x),
            input: self.size(conv.x),
            output: [height, width],
            pad: [op.padding[0].0, op.padding[1].0],
        };
        let (input, output) = (self.maps[conv.x].clone(), self.maps[at].clone());
        let taps = op.kernel * op.kernel;
        if op.is_depthwise() {
            let mut weight = vec![0.0; taps * channels];
            for (i, value) in conv.weight.iter().enumerate() {
                weight[i % taps * channels + i / taps] = *value;
            }
            let (weight, bias) = (self.singles(&weight), self.singles(&conv.bias));
            let filter = Filter {
                kernel: op.kernel,
                stride: op.stride,
                dilation: op.dilation,
                biased: true,
                activation: conv.activation,
            };
            return self.push(move |launcher| {
                let buffers = [input.clone(), weight.clone(), output.clone()];
                depthwise(launcher, buffers, Some(bias.clone()), &sizes, filter);
            });
        }
        let padded = padded_filter(&conv.weight, &conv.bias, op.in_channels, sizes.channels);
        let (weight, bias) = (self.of_maps(&padded.weight), self.singles(&padded.bias));
        let gate = conv.gate.map(|gate| self.maps[gate].clone());
        let residual = conv.residual.map(|residual| self.maps[residual].clone());
        let one_pixel = [self.size(conv.x), [height, width]] == [[1, 1]; 2];
        // With padding and a stride that pixel may be one of the zeros.
        let is_padded = op.padding != [(0, 0); 2];
        if taps == 1 && one_pixel && !is_padded && gate.is_none() && residual.is_none() {
            let sizes = [self.batch, sizes.channels, channels, padded.bias.len()];
            let activation = conv.activation;
            return self.push(move |launcher| {
                let buffers = [input.clone(), weight.clone(), bias.clone(), output.clone()];
                few_rows(launcher, buffers, sizes, activation);
            });
        }
        let kind = Product {
            kernel: op.kernel,
            stride: op.stride,
            dilation: op.dilation,
            padded: is_padded,
            gated: gate.is_some(),
            biased: true,
            residual: residual.is_some(),
            activation: conv.activation,
        };
        self.push(move |launcher| {
            let operands = Operands {
                input: input.clone(),
                gate: gate.clone(),
                weight: weight.clone(),
                bias: Some(bias.clone()),
                residual: residual.clone(),
                output: output.clone(),
            };
            product(launcher, operands, &sizes, channels, kind);
        });
    }
}

fn bytes_of<T: bytemuck::NoUninit>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}
