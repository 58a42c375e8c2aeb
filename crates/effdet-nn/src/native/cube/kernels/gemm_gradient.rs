//! The gradient of a pointwise convolution's weight: a product over all pixels.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::reduce::sum_rows;
use super::{Launcher, cubes, width};

const THREADS: usize = 128;
/// Rows and columns of a cube's tile of the gradient.
const SIDE: usize = 64;
/// Pixels of a piece; without matrix units fewer, as the least shared memory that runtimes have is 32 KiB.
fn depth(matrix: Option<usize>) -> usize {
    if matrix.is_some() { 32 } else { 16 }
}

const GAP: usize = 8;
/// Pixels that a cube adds up at least.
const LEAST: usize = 512;
/// Cubes that fill a device.
const CUBES: usize = 528;

#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Extent {
    pixels: u32,
    /// Pixels of a part, a multiple of a piece's.
    share: u32,
    outputs: u32,
    inputs: u32,
    /// Tiles along the outputs and along the inputs, and all with their parts.
    output_tiles: u32,
    input_tiles: u32,
    tiles: u32,
}

/// Reads a piece of 64 channels into shared memory.
#[cube]
fn load<F: Float, S: Numeric, N: Size>(
    map: &[Vector<F, N>],
    stage: &mut [Vector<S, N>],
    first_pixel: u32,
    end_pixel: u32,
    first_channel: u32,
    channels: u32,
    #[comptime] depth: usize,
) {
    let width = map.vector_size();
    let per_line = comptime!(SIDE / width);
    let stride = comptime!((SIDE + GAP) / width);
    #[unroll]
    for turn in 0..comptime!(depth * per_line / THREADS) {
        let slot = UNIT_POS + (turn * THREADS) as u32;
        let line = slot / per_line as u32;
        let part = slot % per_line as u32;
        let pixel = first_pixel + line;
        let channel = first_channel + part * width as u32;
        let mut value = Vector::<F, N>::new(F::from_int(0));
        if pixel < end_pixel && channel < channels {
            value = map[((pixel * channels + channel) / width as u32) as usize];
        }
        stage[line as usize * stride + part as usize] = Vector::cast_from(value);
    }
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
    #[comptime] layout: cmma::MatrixLayout,
    #[comptime] depth: usize,
) -> cmma::Matrix<Vector<S, N>> {
    cmma::Matrix::<Vector<S, N>>::from_slice(
        ident,
        16usize,
        16usize,
        depth,
        layout,
        stage,
        comptime!((SIDE + GAP) as u32),
    )
}

#[cube(launch_unchecked)]
fn weight_gradient_kernel<F: Float, S: Numeric, NG: Size, NI: Size>(
    gradient: &[Vector<F, NG>],
    input: &[Vector<F, NI>],
    output: &mut [f32],
    extent: Extent,
    #[comptime] matrix: Option<usize>,
    #[define(F)] _float: ElemType,
    #[define(S)] _staged: ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= extent.tiles {
        terminate!();
    }
    let first_input = (position % extent.input_tiles) * SIDE as u32;
    let rest = position / extent.input_tiles;
    let first_output = (rest % extent.output_tiles) * SIDE as u32;
    let part = rest / extent.output_tiles;
    let first_pixel = part * extent.share;
    let end_pixel = min(first_pixel + extent.share, extent.pixels);

    let depth = comptime!(depth(matrix));
    let gradient_width = gradient.vector_size();
    let input_width = input.vector_size();
    let line_length = comptime!(SIDE + GAP);
    let mut rows = Shared::<[Vector<S, NG>]>::new_aligned_slice(
        comptime!(depth * line_length / gradient_width),
        32usize,
    );
    let mut columns =
        Shared::<[Vector<S, NI>]>::new_aligned_slice(comptime!(depth * line_length / input_width), 32usize);
    let mut sums = Shared::<[f32]>::new_aligned_slice(comptime!(SIDE * line_length), 32usize);

    if comptime!(matrix.is_some()) {
        let step = comptime!(matrix.unwrap_or(16));
        let row = (PLANE_POS / 2 * 32) as usize;
        let column = (PLANE_POS % 2 * 32) as usize;
        let a = results(step);
        let b = results(step);
        let c = results(step);
        let d = results(step);
        for pixel in range_stepped(first_pixel, end_pixel, comptime!(depth as u32)) {
            load::<F, S, NG>(gradient, &mut rows, pixel, end_pixel, first_output, extent.outputs, depth);
            load::<F, S, NI>(input, &mut columns, pixel, end_pixel, first_input, extent.inputs, depth);
            sync_cube();
            #[unroll]
            for piece in 0..comptime!(depth / step) {
                let line = piece * step * line_length;
                let end = rows.len();
                let start = (line + row) / gradient_width;
                let upper = operand::<S, NG>(
                    &rows[start..end],
                    cmma::MatrixIdent::A,
                    cmma::MatrixLayout::ColMajor,
                    step,
                );
                let start = (line + row + 16) / gradient_width;
                let lower = operand::<S, NG>(
                    &rows[start..end],
                    cmma::MatrixIdent::A,
                    cmma::MatrixLayout::ColMajor,
                    step,
                );
                let end = columns.len();
                let start = (line + column) / input_width;
                let left = operand::<S, NI>(
                    &columns[start..end],
                    cmma::MatrixIdent::B,
                    cmma::MatrixLayout::RowMajor,
                    step,
                );
                let start = (line + column + 16) / input_width;
                let right = operand::<S, NI>(
                    &columns[start..end],
                    cmma::MatrixIdent::B,
                    cmma::MatrixLayout::RowMajor,
                    step,
                );
                cmma::execute(&upper, &left, &a, &a);
                cmma::execute(&upper, &right, &b, &b);
                cmma::execute(&lower, &left, &c, &c);
                cmma::execute(&lower, &right, &d, &d);
            }
            sync_cube();
        }
        let end = sums.len();
        let stride = comptime!(line_length as u32);
        let start = row * line_length + column;
        cmma::store(&mut sums[start..end], &a, stride, cmma::MatrixLayout::RowMajor);
        cmma::store(&mut sums[start + 16..end], &b, stride, cmma::MatrixLayout::RowMajor);
        let start = (row + 16) * line_length + column;
        cmma::store(&mut sums[start..end], &c, stride, cmma::MatrixLayout::RowMajor);
        cmma::store(&mut sums[start + 16..end], &d, stride, cmma::MatrixLayout::RowMajor);
    } else {
        // a thread has eight rows of four columns
        let column = UNIT_POS as usize % 16 * 4;
        let row = UNIT_POS as usize / 16 * 8;
        let mut own = Array::<f32>::new(32usize);
        #[unroll]
        for i in 0..32usize {
            own[i] = 0.0f32;
        }
        for pixel in range_stepped(first_pixel, end_pixel, comptime!(depth as u32)) {
            load::<F, S, NG>(gradient, &mut rows, pixel, end_pixel, first_output, extent.outputs, depth);
            load::<F, S, NI>(input, &mut columns, pixel, end_pixel, first_input, extent.inputs, depth);
            sync_cube();
            for line in 0..depth {
                let mut taken = Array::<f32>::new(4usize);
                #[unroll]
                for j in 0..4usize {
                    let place = line * line_length + column + j;
                    let few = Vector::<f32, NI>::cast_from(columns[place / input_width]);
                    taken[j] = few.extract_dynamic(place % input_width);
                }
                #[unroll]
                for i in 0..8usize {
                    let place = line * line_length + row + i;
                    let few = Vector::<f32, NG>::cast_from(rows[place / gradient_width]);
                    let factor = few.extract_dynamic(place % gradient_width);
                    #[unroll]
                    for j in 0..4usize {
                        own[i * 4 + j] += factor * taken[j];
                    }
                }
            }
            sync_cube();
        }
        #[unroll]
        for i in 0..8usize {
            #[unroll]
            for j in 0..4usize {
                sums[(row + i) * line_length + column + j] = own[i * 4 + j];
            }
        }
    }
    sync_cube();
    #[unroll]
    for turn in 0..comptime!(SIDE * SIDE / THREADS) {
        let slot = UNIT_POS as usize + turn * THREADS;
        let row = slot / SIDE;
        let column = slot % SIDE;
        let to_row = first_output + row as u32;
        let to_column = first_input + column as u32;
        if to_row < extent.outputs && to_column < extent.inputs {
            let place = (part * extent.outputs + to_row) * extent.inputs + to_column;
            output[place as usize] = sums[row * line_length + column];
        }
    }
}

/// The gradient by the weight, `[outputs, inputs]` of any type.
///
/// # Shapes
/// - `gradient`: `[pixels, outputs]`
/// - `input`: `[pixels, inputs]`
pub fn weight_gradient(
    launcher: &Launcher,
    [gradient, input, output]: [&Handle; 3],
    [pixels, outputs, inputs]: [usize; 3],
    to: ElemType,
) {
    let (matrix, staged) = launcher.matrix();
    let (output_tiles, input_tiles) = (outputs.div_ceil(SIDE), inputs.div_ceil(SIDE));
    let wanted = (CUBES / (output_tiles * input_tiles)).max(1);
    let share = pixels.div_ceil(wanted).max(LEAST).next_multiple_of(depth(matrix));
    let parts = pixels.div_ceil(share);
    let partial = launcher.client.empty(parts * outputs * inputs * size_of::<f32>());
    let extent = ExtentLaunch::new(
        pixels as u32,
        share as u32,
        outputs as u32,
        inputs as u32,
        output_tiles as u32,
        input_tiles as u32,
        (output_tiles * input_tiles * parts) as u32,
    );
    // SAFETY: the buffers have these lengths, and cubes beyond the tiles stop
    unsafe {
        let buffer = |handle: &Handle, length: usize| BufferArg::from_raw_parts(handle.clone(), length);
        weight_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes(output_tiles * input_tiles * parts),
            CubeDim::new_1d(THREADS as u32),
            width(&[outputs]),
            width(&[inputs]),
            buffer(gradient, pixels * outputs),
            buffer(input, pixels * inputs),
            buffer(&partial, parts * outputs * inputs),
            extent,
            matrix,
            launcher.float,
            staged,
        );
    }
    sum_rows(launcher, partial, output.clone(), [parts, outputs * inputs], to);
}
