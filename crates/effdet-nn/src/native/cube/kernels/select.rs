//! The places of the highest numbers of a row, without sorting: a cube for each row.
//!
//! Numbers are taken as keys whose order is that of integers. Three counts of their digits, the highest first, find the key
//! of the last that is wanted; then every thread writes what its own stretch of the row has.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::{Launcher, width};

/// Shift and length of the digits.
const DIGITS: [(u32, u32); 3] = [(21, 11), (10, 11), (0, 10)];
const BINS: u32 = 1 << 11;
/// Sums of so many neighbours shorten the ways along all threads.
const SUMS: u32 = 32;

/// Larger for a larger number; both zeros are one, NaN is the least.
#[cube]
fn key(value: f32) -> u32 {
    let bits = u32::reinterpret(value);
    let size = bits & 0x7fff_ffffu32;
    let ordered = select(bits >> 31u32 == 1u32, !bits, bits | 0x8000_0000u32);
    let ordered = select(size == 0u32, 0x8000_0000u32, ordered);
    select(size > 0x7f80_0000u32, 0u32, ordered)
}

/// The sum of what the threads before this one have.
#[cube]
fn before(own: &Shared<[u32]>, sums: &Shared<[u32]>, #[comptime] threads: u32) -> u32 {
    let each = comptime!(threads / SUMS);
    let group = UNIT_POS / each;
    let mut sum = 0u32;
    for i in 0..group {
        sum += sums[i as usize];
    }
    for i in group * each..UNIT_POS {
        sum += own[i as usize];
    }
    sum
}

/// Adds up neighbours.
#[cube]
fn add_up(own: &Shared<[u32]>, sums: &mut Shared<[u32]>, #[comptime] threads: u32) {
    let each = comptime!(threads / SUMS);
    if UNIT_POS < SUMS {
        let mut sum = 0u32;
        for i in 0..each {
            sum += own[(UNIT_POS * each + i) as usize];
        }
        sums[UNIT_POS as usize] = sum;
    }
}

#[cube(launch_unchecked)]
fn highest_kernel<N: Size>(
    values: &[Vector<f32, N>],
    places: &mut [i32],
    vectors: u32,
    wanted: u32,
    rows: u32,
    #[comptime] threads: u32,
) {
    let row = CUBE_POS as u32;
    if row >= rows {
        terminate!();
    }
    let start = row * vectors;
    let histogram = Shared::<[Atomic<u32>]>::new_slice(comptime!(BINS as usize));
    let mut counts = Shared::<[u32]>::new_slice(comptime!(BINS as usize));
    let mut own = Shared::<[u32]>::new_slice(comptime!(threads as usize));
    let mut sums = Shared::<[u32]>::new_slice(comptime!(SUMS as usize));
    let mut equals = Shared::<[u32]>::new_slice(comptime!(threads as usize));
    let mut equal_sums = Shared::<[u32]>::new_slice(comptime!(SUMS as usize));
    let mut found = Shared::<[u32]>::new_slice(2usize);
    let mut prefix = 0u32;
    let mut left = wanted;

    #[unroll]
    for pass in 0..3usize {
        let shift = comptime!(DIGITS[pass].0);
        let bits = comptime!(DIGITS[pass].1);
        for bin in range_stepped(UNIT_POS, BINS, threads) {
            histogram[bin as usize].store(0u32);
        }
        sync_cube();
        for at in range_stepped(UNIT_POS, vectors, threads) {
            let few = values[(start + at) as usize];
            #[unroll]
            for i in 0..N::value() {
                let key = key(few.extract(i));
                let digit = (key >> shift) & comptime!((1u32 << bits) - 1);
                if comptime!(pass == 0) {
                    histogram[digit as usize].fetch_add(1u32);
                } else if key >> comptime!(shift + bits) == prefix {
                    histogram[digit as usize].fetch_add(1u32);
                }
            }
        }
        sync_cube();
        let bins = comptime!(BINS / threads);
        let mut sum = 0u32;
        #[unroll]
        for i in 0..bins {
            let count = histogram[(UNIT_POS * bins + i) as usize].load();
            counts[(UNIT_POS * bins + i) as usize] = count;
            sum += count;
        }
        own[UNIT_POS as usize] = sum;
        sync_cube();
        add_up(&own, &mut sums, threads);
        sync_cube();
        if UNIT_POS == 0 {
            // from the highest down, until those passed and these are enough
            let each = comptime!(threads / SUMS);
            let mut rest = left;
            let mut group = 0u32;
            group += comptime!(SUMS - 1);
            while group > 0 && sums[group as usize] < rest {
                rest -= sums[group as usize];
                group -= 1;
            }
            let mut thread = group * each + comptime!(each - 1);
            while thread > group * each && own[thread as usize] < rest {
                rest -= own[thread as usize];
                thread -= 1;
            }
            let mut bin = thread * bins + comptime!(bins - 1);
            while bin > thread * bins && counts[bin as usize] < rest {
                rest -= counts[bin as usize];
                bin -= 1;
            }
            found[0] = bin;
            found[1] = rest;
        }
        sync_cube();
        prefix = (prefix << bits) | found[0];
        left = found[1];
    }

    // `left` of the numbers with the key `prefix` are wanted, the first, and all above it.
    let share = vectors.div_ceil(threads);
    let first = min(UNIT_POS * share, vectors);
    let end = min(first + share, vectors);
    let mut above = 0u32;
    let mut equal = 0u32;
    for at in first..end {
        let few = values[(start + at) as usize];
        #[unroll]
        for i in 0..N::value() {
            let key = key(few.extract(i));
            above += select(key > prefix, 1u32, 0u32);
            equal += select(key == prefix, 1u32, 0u32);
        }
    }
    own[UNIT_POS as usize] = above;
    equals[UNIT_POS as usize] = equal;
    sync_cube();
    add_up(&own, &mut sums, threads);
    add_up(&equals, &mut equal_sums, threads);
    sync_cube();
    let mut equal = before(&equals, &equal_sums, threads);
    let mut place = row * wanted + before(&own, &sums, threads) + min(equal, left);
    for at in first..end {
        let few = values[(start + at) as usize];
        #[unroll]
        for i in 0..N::value() {
            let key = key(few.extract(i));
            let mut taken = key > prefix;
            if key == prefix {
                taken = equal < left;
                equal += 1;
            }
            if taken {
                places[place as usize] = (at * N::value() as u32 + i as u32) as i32;
                place += 1;
            }
        }
    }
}

/// The places of the `wanted` highest numbers of every row, ascending; of equal ones the first.
///
/// # Shapes
/// - `values`: `[rows, length]` of single precision, `wanted` at most `length`
/// - `places`: `[rows, wanted]` of 32 bits
pub fn highest(
    launcher: &Launcher,
    values: &Handle,
    places: &Handle,
    [rows, length]: [usize; 2],
    wanted: usize,
) {
    let width = width(&[length]);
    let most = launcher.client.properties().hardware.max_units_per_cube;
    let threads = if most >= 1024 { 1024 } else { 256 };
    // SAFETY: the buffers have these lengths, and cubes beyond the rows stop
    unsafe {
        highest_kernel::launch_unchecked(
            &launcher.client,
            super::cubes(rows),
            CubeDim::new_1d(threads),
            width,
            BufferArg::from_raw_parts(values.clone(), rows * length),
            BufferArg::from_raw_parts(places.clone(), rows * wanted),
            (length / width) as u32,
            wanted as u32,
            rows as u32,
            threads,
        );
    }
}
