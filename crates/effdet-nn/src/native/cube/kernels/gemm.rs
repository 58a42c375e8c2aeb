//! Convolution as a matrix product of windows and filters, with everything that follows it in the same pass: gate, bias,
//! residual sum, activation.
//!
//! A cube computes a tile of pixels by channels. It takes the depth (taps times channels) in pieces through shared memory,
//! multiplies them on the matrix units where there are some, else in registers, and writes the tile through shared memory
//! again, so that whole lines leave the cube.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::activation::activated;
use super::depthwise::Sizes;
use super::{Launcher, cubes, width};
use crate::Activation;

/// What a product is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows and columns of the window.
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Whether zeros lie around the map.
    pub padded: bool,
    pub gated: bool,
    pub biased: bool,
    pub residual: bool,
    pub activation: Activation,
}

impl Product {
    fn is_pointwise(self) -> bool {
        self.kernel == 1 && self.stride == 1 && !self.padded
    }
}

/// Pixels and channels of a tile, depth of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    pixels: usize,
    channels: usize,
    depth: usize,
    /// Depth of one instruction of the matrix units, if they are used: 16 by 16 results each.
    matrix: Option<usize>,
}

impl Tile {
    const THREADS: usize = 128;
    /// Numbers between the lines in shared memory, so that they begin in different banks.
    const GAP: usize = 8;

    /// Without matrix units the pieces are smaller: the least shared memory that runtimes have is 32 KiB.
    fn new(depth: usize, channels: usize, matrix: Option<usize>) -> Self {
        let (pixels, channels) = match matrix {
            Some(_) if channels <= 32 => (128, 32),
            None if channels <= 32 => (64, 32),
            _ => (64, 64),
        };
        let depth = if depth <= 16 || matrix.is_none() { 16 } else { 32 };
        Self { pixels, channels, depth, matrix }
    }

    /// Filled up to whole tiles of any kind.
    fn filter_shape(depth: usize, channels: usize) -> [usize; 2] {
        let piece = if depth <= 16 { 16 } else { 32 };
        let tile = if channels <= 32 { 32 } else { 64 };
        [depth.next_multiple_of(piece), channels.next_multiple_of(tile)]
    }
}

/// Filters as the product takes them, `[depth, channels]`, filled up with zeros; with the depth filled up to whole tiles.
pub struct PaddedFilter {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Filters of `[channels, inputs, taps]`, whose map has `map_channels` channels of which the first `inputs` are used.
pub fn padded_filter(weight: &[f32], bias: &[f32], inputs: usize, map_channels: usize) -> PaddedFilter {
    let channels = bias.len();
    let taps = weight.len() / (channels * inputs);
    let [depth, padded] = Tile::filter_shape(taps * map_channels, channels);
    let mut filter = PaddedFilter { weight: vec![0.0; depth * padded], bias: vec![0.0; padded] };
    for (channel, filters) in weight.chunks_exact(inputs * taps).enumerate() {
        for (i, weight) in filters.iter().enumerate() {
            let (input, tap) = (i / taps, i % taps);
            filter.weight[(tap * map_channels + input) * padded + channel] = *weight;
        }
    }
    filter.bias[..channels].copy_from_slice(bias);
    filter
}

#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Shape {
    pixels: u32,
    depth: u32,
    channels: u32,
    padded_channels: u32,
    /// Of the input map.
    in_height: u32,
    in_width: u32,
    in_channels: u32,
    out_height: u32,
    out_width: u32,
    pad_top: u32,
    pad_left: u32,
    /// Tiles, and tiles next to each other in the channels.
    tiles: u32,
    channel_tiles: u32,
}

/// Reads a piece of the windows into shared memory.
#[cube]
fn load_windows<F: Float, S: Numeric, NI: Size>(
    input: &[Vector<F, NI>],
    gate: &[Vector<F, NI>],
    stage: &mut [Vector<S, NI>],
    first_pixel: u32,
    first_depth: u32,
    shape: &Shape,
    #[comptime] product: Product,
    #[comptime] tile: Tile,
) {
    let width = input.vector_size();
    let per_line = comptime!(tile.depth / width);
    let stride = comptime!((tile.depth + Tile::GAP) / width);
    let turns = comptime!(tile.pixels * per_line / Tile::THREADS);
    #[unroll]
    for turn in 0..turns {
        let slot = UNIT_POS + (turn * Tile::THREADS) as u32;
        let line = slot / per_line as u32;
        let part = slot % per_line as u32;
        let pixel = first_pixel + line;
        let depth = first_depth + part * width as u32;
        let mut value = Vector::<F, NI>::new(F::from_int(0));
        if pixel < shape.pixels && depth < shape.depth {
            let vectors = shape.in_channels / width as u32;
            if comptime!(product.is_pointwise()) {
                value = input[(pixel * vectors + depth / width as u32) as usize];
                if comptime!(product.gated) {
                    let picture = pixel / (shape.out_height * shape.out_width);
                    value *= gate[(picture * vectors + depth / width as u32) as usize];
                }
            } else {
                let x = pixel % shape.out_width;
                let rest = pixel / shape.out_width;
                let y = rest % shape.out_height;
                let picture = rest / shape.out_height;
                let tap = depth / shape.in_channels;
                let channel = depth % shape.in_channels;
                let kernel = comptime!(product.kernel as u32);
                let dilation = comptime!(product.dilation as u32);
                let product_stride = comptime!(product.stride as u32);
                // both wrap around where they are before the map
                let row = y * product_stride + (tap / kernel) * dilation - shape.pad_top;
                let column = x * product_stride + (tap % kernel) * dilation - shape.pad_left;
                if row < shape.in_height && column < shape.in_width {
                    let place = (picture * shape.in_height + row) * shape.in_width + column;
                    value = input[(place * vectors + channel / width as u32) as usize];
                }
            }
        }
        stage[line as usize * stride + part as usize] = Vector::cast_from(value);
    }
}

/// Reads a piece of the filters into shared memory.
#[cube]
fn load_filters<F: Float, S: Numeric>(
    weight: &[Vector<F, Const<4>>],
    stage: &mut [Vector<S, Const<4>>],
    first_channel: u32,
    first_depth: u32,
    shape: &Shape,
    #[comptime] tile: Tile,
) {
    let per_line = comptime!(tile.channels / 4);
    let stride = comptime!((tile.channels + Tile::GAP) / 4);
    let turns = comptime!(tile.depth * per_line / Tile::THREADS);
    #[unroll]
    for turn in 0..turns {
        let slot = UNIT_POS + (turn * Tile::THREADS) as u32;
        let line = slot / per_line as u32;
        let part = slot % per_line as u32;
        let place = (first_depth + line) * (shape.padded_channels / 4) + first_channel / 4 + part;
        stage[line as usize * stride + part as usize] = Vector::cast_from(weight[place as usize]);
    }
}

/// Results of a plane: 32 by 32, in four matrices.
#[derive(CubeType)]
struct Quad {
    a: cmma::Matrix<f32>,
    b: cmma::Matrix<f32>,
    c: cmma::Matrix<f32>,
    d: cmma::Matrix<f32>,
}

#[cube]
fn results(#[comptime] depth: usize) -> cmma::Matrix<f32> {
    cmma::Matrix::<f32>::from_value(
        cmma::MatrixIdent::Accumulator,
        16usize,
        16usize,
        depth,
        cmma::MatrixLayout::Undefined,
        0.0,
    )
}

#[cube]
fn operand<S: Numeric, N: Size>(
    stage: &[Vector<S, N>],
    #[comptime] ident: cmma::MatrixIdent,
    #[comptime] depth: usize,
    #[comptime] stride: usize,
) -> cmma::Matrix<Vector<S, N>> {
    cmma::Matrix::<Vector<S, N>>::from_slice(
        ident,
        16usize,
        16usize,
        depth,
        cmma::MatrixLayout::RowMajor,
        stage,
        stride as u32,
    )
}

#[cube(launch_unchecked)]
fn product_kernel<F: Float, S: Numeric, NI: Size, NO: Size>(
    input: &[Vector<F, NI>],
    gate: &[Vector<F, NI>],
    weight: &[Vector<F, Const<4>>],
    bias: &[Vector<f32, Const<4>>],
    residual: &[Vector<F, NO>],
    output: &mut [Vector<F, NO>],
    shape: Shape,
    #[comptime] product: Product,
    #[comptime] tile: Tile,
    #[define(F)] _float: cubecl::ir::ElemType,
    #[define(S)] _staged: cubecl::ir::ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= shape.tiles {
        terminate!();
    }
    let first_channel = (position % shape.channel_tiles) * tile.channels as u32;
    let first_pixel = (position / shape.channel_tiles) * tile.pixels as u32;

    let in_width = input.vector_size();
    let windows_stride = comptime!(tile.depth + Tile::GAP);
    let filters_stride = comptime!(tile.channels + Tile::GAP);
    let tile_stride = comptime!(tile.channels + Tile::GAP);
    let mut windows = Shared::<[Vector<S, NI>]>::new_aligned_slice(
        comptime!(tile.pixels * windows_stride / in_width),
        32usize,
    );
    let mut filters = Shared::<[Vector<S, Const<4>>]>::new_aligned_slice(
        comptime!(tile.depth * filters_stride / 4),
        32usize,
    );
    let mut sums = Shared::<[Vector<f32, Const<4>>]>::new_aligned_slice(
        comptime!(tile.pixels * tile_stride / 4),
        32usize,
    );

    if comptime!(tile.matrix.is_some()) {
        let step = comptime!(tile.matrix.unwrap_or(16));
        // planes of 32 by 32 results, as many next to each other as the tile is wide
        let across = comptime!((tile.channels / 32) as u32);
        let line = (PLANE_POS / across * 32) as usize;
        let column = (PLANE_POS % across * 32) as usize;
        let quad = Quad { a: results(step), b: results(step), c: results(step), d: results(step) };
        for first_depth in range_stepped(0u32, shape.depth, tile.depth as u32) {
            load_windows::<F, S, NI>(
                input,
                gate,
                &mut windows,
                first_pixel,
                first_depth,
                &shape,
                product,
                tile,
            );
            load_filters::<F, S>(weight, &mut filters, first_channel, first_depth, &shape, tile);
            sync_cube();
            #[unroll]
            for piece in 0..comptime!(tile.depth / step) {
                let at = comptime!(piece * step);
                let start = (line * windows_stride + at) / in_width;
                let end = windows.len();
                let upper =
                    operand::<S, NI>(&windows[start..end], cmma::MatrixIdent::A, step, windows_stride);
                let start = ((line + 16) * windows_stride + at) / in_width;
                let lower =
                    operand::<S, NI>(&windows[start..end], cmma::MatrixIdent::A, step, windows_stride);
                let start = (at * filters_stride + column) / 4;
                let end = filters.len();
                let left =
                    operand::<S, Const<4>>(&filters[start..end], cmma::MatrixIdent::B, step, filters_stride);
                let start = (at * filters_stride + column + 16) / 4;
                let right =
                    operand::<S, Const<4>>(&filters[start..end], cmma::MatrixIdent::B, step, filters_stride);
                cmma::execute(&upper, &left, &quad.a, &quad.a);
                cmma::execute(&upper, &right, &quad.b, &quad.b);
                cmma::execute(&lower, &left, &quad.c, &quad.c);
                cmma::execute(&lower, &right, &quad.d, &quad.d);
            }
            sync_cube();
        }
        let end = sums.len();
        let start = (line * tile_stride + column) / 4;
        cmma::store(&mut sums[start..end], &quad.a, tile_stride as u32, cmma::MatrixLayout::RowMajor);
        cmma::store(&mut sums[start + 4..end], &quad.b, tile_stride as u32, cmma::MatrixLayout::RowMajor);
        let start = ((line + 16) * tile_stride + column) / 4;
        cmma::store(&mut sums[start..end], &quad.c, tile_stride as u32, cmma::MatrixLayout::RowMajor);
        cmma::store(&mut sums[start + 4..end], &quad.d, tile_stride as u32, cmma::MatrixLayout::RowMajor);
    } else {
        // a thread has four channels of several lines that lie apart
        let across = comptime!(tile.channels / 4);
        let apart = comptime!(Tile::THREADS / across);
        let lines = comptime!(tile.pixels / apart);
        let column = UNIT_POS as usize % across;
        let line = UNIT_POS as usize / across;
        let mut own = Array::<Vector<f32, Const<4>>>::new(lines);
        #[unroll]
        for i in 0..lines {
            own[i] = Vector::<f32, Const<4>>::new(0.0);
        }
        for first_depth in range_stepped(0u32, shape.depth, tile.depth as u32) {
            load_windows::<F, S, NI>(
                input,
                gate,
                &mut windows,
                first_pixel,
                first_depth,
                &shape,
                product,
                tile,
            );
            load_filters::<F, S>(weight, &mut filters, first_channel, first_depth, &shape, tile);
            sync_cube();
            for part in 0..comptime!(tile.depth / in_width) {
                let mut taken = Array::<Vector<f32, Const<4>>>::new(in_width);
                #[unroll]
                for k in 0..in_width {
                    let place = (part * in_width + k) * comptime!(filters_stride / 4) + column;
                    taken[k] = Vector::cast_from(filters[place]);
                }
                #[unroll]
                for i in 0..lines {
                    let place = (line + i * apart) * comptime!(windows_stride / in_width) + part;
                    let window = Vector::<f32, NI>::cast_from(windows[place]);
                    #[unroll]
                    for k in 0..in_width {
                        own[i] += Vector::<f32, Const<4>>::new(window.extract(k)) * taken[k];
                    }
                }
            }
            sync_cube();
        }
        #[unroll]
        for i in 0..lines {
            sums[(line + i * apart) * comptime!(tile_stride / 4) + column] = own[i];
        }
    }
    sync_cube();

    let out_width = output.vector_size();
    let per_line = comptime!(tile.channels / 4);
    let parts = comptime!(4 / out_width);
    #[unroll]
    for turn in 0..comptime!(tile.pixels * per_line / Tile::THREADS) {
        let slot = UNIT_POS + (turn * Tile::THREADS) as u32;
        let line = slot / per_line as u32;
        let part = slot % per_line as u32;
        let pixel = first_pixel + line;
        let channel = first_channel + part * 4;
        if pixel < shape.pixels && channel < shape.channels {
            let place = line as usize * comptime!(tile_stride / 4) + part as usize;
            let mut value = sums[place];
            if comptime!(product.biased) {
                value += bias[(channel / 4) as usize];
            }
            let first = (pixel * shape.channels + channel) as usize / out_width;
            if comptime!(product.residual) {
                let mut added = Vector::<f32, Const<4>>::new(0.0);
                #[unroll]
                for i in 0..parts {
                    if channel + ((i * out_width) as u32) < shape.channels {
                        let few = Vector::<f32, NO>::cast_from(residual[first + i]);
                        #[unroll]
                        for k in 0..out_width {
                            added.insert(comptime!(i * out_width + k), few.extract(k));
                        }
                    }
                }
                value += added;
            }
            let value = activated::<Const<4>>(value, product.activation);
            #[unroll]
            for i in 0..parts {
                if channel + ((i * out_width) as u32) < shape.channels {
                    let mut few = Vector::<f32, NO>::empty();
                    #[unroll]
                    for k in 0..out_width {
                        few.insert(k, value.extract(comptime!(i * out_width + k)));
                    }
                    output[first + i] = Vector::cast_from(few);
                }
            }
        }
    }
}

/// Buffers of a product.
pub struct Operands {
    pub input: Handle,
    /// `[batch, in_channels]`
    pub gate: Option<Handle>,
    pub weight: Handle,
    pub bias: Option<Handle>,
    /// As the output.
    pub residual: Option<Handle>,
    pub output: Handle,
}

/// `activation(conv(input · gate) + bias + residual)`.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, in_channels]`
/// - `weight`, `bias`: what [`padded_filter`] gives, `weight` of the type of maps, `bias` of single precision
/// - `output`, `residual`: `[batch, out_height, out_width, channels]`
///
/// `sizes.channels` are those of the input.
pub fn product(launcher: &Launcher, operands: Operands, sizes: &Sizes, channels: usize, product: Product) {
    let Sizes { batch, channels: in_channels, input, output: [out_height, out_width], pad } = *sizes;
    let depth = product.kernel * product.kernel * in_channels;
    let (matrix, staged) = launcher.matrix();
    let tile = Tile::new(depth, channels, matrix);
    let [padded_depth, padded_channels] = Tile::filter_shape(depth, channels);
    let pixels = batch * out_height * out_width;
    let channel_tiles = channels.div_ceil(tile.channels);
    let tiles = channel_tiles * pixels.div_ceil(tile.pixels);
    let in_pixels = batch * input[0] * input[1];
    let Operands { input: map, gate, weight, bias, residual, output } = operands;
    let shape = ShapeLaunch::new(
        pixels as u32,
        depth as u32,
        channels as u32,
        padded_channels as u32,
        input[0] as u32,
        input[1] as u32,
        in_channels as u32,
        out_height as u32,
        out_width as u32,
        pad[0] as u32,
        pad[1] as u32,
        tiles as u32,
        channel_tiles as u32,
    );
    // SAFETY: the buffers have these lengths; where there is no gate, bias or residual, none is read
    unsafe {
        let buffer = |handle: Handle, length: usize| BufferArg::from_raw_parts(handle, length);
        let gate = gate.unwrap_or_else(|| map.clone());
        let residual = residual.unwrap_or_else(|| map.clone());
        let bias = bias.unwrap_or_else(|| weight.clone());
        product_kernel::launch_unchecked(
            &launcher.client,
            cubes(tiles),
            CubeDim::new_1d(Tile::THREADS as u32),
            width(&[in_channels]),
            width(&[channels]),
            buffer(map, in_pixels * in_channels),
            buffer(gate, batch * in_channels),
            buffer(weight, padded_depth * padded_channels),
            buffer(bias, if product.biased { padded_channels } else { 4 }),
            buffer(residual, if product.residual { pixels * channels } else { in_channels }),
            buffer(output, pixels * channels),
            shape,
            product,
            tile,
            launcher.float,
            staged,
        );
    }
}

#[cube(launch_unchecked)]
fn lay_out_kernel<F: Float, W: Float>(
    matrix: &[W],
    output: &mut [F],
    row_parts: u32,
    column_parts: u32,
    row_stride: u32,
    row_part_stride: u32,
    column_stride: u32,
    column_part_stride: u32,
    rows: u32,
    columns: u32,
    padded_columns: u32,
    count: u32,
    #[define(F)] _float: cubecl::ir::ElemType,
    #[define(W)] _given: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let row = at / padded_columns;
    let column = at % padded_columns;
    let mut value = F::from_int(0);
    if row < rows && column < columns {
        let place = row / row_parts * row_stride
            + row % row_parts * row_part_stride
            + column / column_parts * column_stride
            + column % column_parts * column_part_stride;
        value = F::cast_from(matrix[place as usize]);
    }
    output[at as usize] = value;
}

/// Rows or columns of a matrix: two axes of a tensor, or one.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    pub lengths: [usize; 2],
    /// Numbers from one to the next.
    pub strides: [usize; 2],
}

impl Side {
    pub fn of(length: usize, stride: usize) -> Self {
        Self { lengths: [1, length], strides: [0, stride] }
    }

    fn length(self) -> usize {
        self.lengths[0] * self.lengths[1]
    }

    fn reach(self) -> usize {
        (self.lengths[0] - 1) * self.strides[0] + (self.lengths[1] - 1) * self.strides[1]
    }
}

/// A matrix on the device.
pub struct Matrix {
    pub values: Handle,
    pub float: cubecl::ir::ElemType,
    pub rows: Side,
    pub columns: Side,
}

impl Matrix {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows.length(), self.columns.length()]
    }

    /// Whether the numbers lie row after row as they are.
    fn is_laid_out(&self) -> bool {
        let steps = |side: Side, step: usize| {
            side.lengths[0] == 1 && (side.lengths[1] == 1 || side.strides[1] == step)
        };
        steps(self.columns, 1) && steps(self.rows, self.columns.length())
    }

    /// Row after row, in another type, filled up with zeros.
    pub fn lay_out(&self, launcher: &Launcher, float: cubecl::ir::ElemType, padded: [usize; 2]) -> Handle {
        let [rows, columns] = self.shape();
        if padded == self.shape() && float == self.float && self.is_laid_out() {
            return self.values.clone();
        }
        let count = padded[0] * padded[1];
        let output = launcher.client.empty(count * float.size());
        let (cubes, dim) = super::threads(count);
        // SAFETY: the buffers have these lengths, and threads beyond `count` stop
        unsafe {
            lay_out_kernel::launch_unchecked(
                &launcher.client,
                cubes,
                dim,
                BufferArg::from_raw_parts(self.values.clone(), self.rows.reach() + self.columns.reach() + 1),
                BufferArg::from_raw_parts(output.clone(), count),
                self.rows.lengths[1] as u32,
                self.columns.lengths[1] as u32,
                self.rows.strides[0] as u32,
                self.rows.strides[1] as u32,
                self.columns.strides[0] as u32,
                self.columns.strides[1] as u32,
                rows as u32,
                columns as u32,
                padded[1] as u32,
                count as u32,
                float,
                self.float,
            );
        }
        output
    }

    /// A weight `[depth, channels]`, filled up as [`product`] takes it.
    pub fn as_filter(&self, launcher: &Launcher) -> Handle {
        let [depth, channels] = self.shape();
        self.lay_out(launcher, launcher.float, Tile::filter_shape(depth, channels))
    }

    /// A bias `[1, channels]`, of single precision and filled up as [`product`] takes it.
    pub fn as_bias(&self, launcher: &Launcher) -> Handle {
        let [_, padded] = Tile::filter_shape(1, self.columns.length());
        self.lay_out(launcher, super::SINGLE, [1, padded])
    }
}
