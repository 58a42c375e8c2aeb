//! Random numbers that depend on nothing but the seed, the epoch and the sample.

/// Step of SplitMix64's counter: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random numbers of one sample.
///
/// The stream is a function of three counters and not of which thread asks or how many samples came before, so that a
/// run can be repeated with any number of workers and resumed at any epoch. Logarithms, exponentials and angles go
/// through software routines (`libm`), so that the numbers are the same on every platform.
///
/// # Reference
/// SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed.wrapping_add(STEP)) }
    }

    /// The stream of sample `index` in `epoch`.
    pub fn for_sample(seed: u64, epoch: u64, index: u64) -> Self {
        Self::new(seed).keyed(epoch).keyed(index)
    }

    /// A stream of its own below this one, without advancing it.
    pub(crate) fn keyed(&self, key: u64) -> Self {
        Self { state: mix(self.state ^ mix(key.wrapping_mul(STEP).wrapping_add(STEP))) }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// Uniform in `[0, 1)`, with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between `low` and `high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform among `0..n`; 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of the product: a bias of n / 2^64, far below what a training run could see.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform among `low..=high`; `low` if `high` is smaller.
    pub fn int(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { low + self.below((high - low) as usize + 1) as i64 }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One of `items`, or `None` if there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len());
        items.get(index)
    }

    /// Brings `items` into random order, each order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Normal with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        // Box-Muller; 1 - u is never 0.
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Beta distributed with both shape parameters `shape`; 0.5 if `shape` is not positive.
    pub fn beta(&mut self, shape: f64) -> f64 {
        let (a, b) = (self.gamma(shape), self.gamma(shape));
        if a + b > 0.0 { a / (a + b) } else { 0.5 }
    }

    /// Gamma distributed with scale 1 (Marsaglia and Tsang, 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape.is_nan() || shape <= 0.0 || shape.is_infinite() {
            return 0.0;
        }
        if shape < 1.0 {
            let power = libm::pow(1.0 - self.unit(), 1.0 / shape);
            return self.gamma(shape + 1.0) * power;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            if v > 0.0 && libm::log(1.0 - self.unit()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut rng = Rng::for_sample(42, 3, 7);
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(first, EXPECTED);
    }

    const EXPECTED: [u64; 3] =
        [7_734_839_461_103_422_919, 17_174_759_025_183_802_767, 5_129_645_964_047_610_205];

    #[test]
    fn streams_of_neighbouring_counters_differ() {
        let mut seen: Vec<u64> = Vec::new();
        for seed in 0..4 {
            for epoch in 0..4 {
                seen.extend((0..64).map(|index| Rng::for_sample(seed, epoch, index).next_u64()));
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut rng = Rng::new(1);
        let n = 40_000;
        let mut moments = |draw: fn(&mut Rng) -> f64| {
            let values: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            (mean, values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64)
        };
        let near = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.02, "mean {mean}, expected {}", expected.0);
            assert!((variance - expected.1).abs() < 0.03, "variance {variance}, expected {}", expected.1);
        };
        near(moments(Rng::unit), (0.5, 1.0 / 12.0));
        near(moments(Rng::normal), (0.0, 1.0));
        near(moments(|rng| rng.beta(1.5)), (0.5, 1.0 / 16.0));
        near(moments(|rng| rng.beta(0.5)), (0.5, 1.0 / 8.0));
        near(moments(|rng| rng.int(-1, 1) as f64), (0.0, 2.0 / 3.0));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(5).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn ranges_without_room_give_their_lower_end() {
        let mut rng = Rng::new(0);
        assert_eq!((rng.int(4, 4), rng.int(4, -4), rng.below(0)), (4, 4, 0));
        assert_eq!(rng.choose::<u8>(&[]), None);
    }
}
