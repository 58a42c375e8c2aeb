//! Vectors of single-precision numbers, as wide as the processor has them.
//!
//! Kernels are written once, generic over `Simd`, and compiled for each instruction set by `dispatch!`; which one
//! runs is decided once per process ([`isa`]). The portable form is arrays that the compiler turns into whatever the
//! target has without asking, NEON on 64-bit ARM for example.

use std::sync::OnceLock;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the target has at least.
    Portable,
}

/// The best instruction set of this processor; `EFFDET_ISA=avx2` or `portable` asks for less.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| detect(std::env::var("EFFDET_ISA").ok().as_deref()))
}

#[cfg(target_arch = "x86_64")]
fn detect(limit: Option<&str>) -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match limit {
        Some("portable") => Isa::Portable,
        Some("avx2") if avx2 => Isa::Avx2,
        _ if avx2 && is_x86_feature_detected!("avx512f") => Isa::Avx512,
        _ if avx2 => Isa::Avx2,
        _ => Isa::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect(_: Option<&str>) -> Isa {
    Isa::Portable
}

impl Isa {
    /// Numbers in a vector.
    pub fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => 16,
            _ => 8,
        }
    }
}

/// A vector type and its arithmetic.
///
/// # Safety
/// Every function may only run where the instruction set is there, and pointers must be good for `LANES` numbers, or
/// for `count` of them in the partial forms, where `count <= LANES`.
pub(crate) unsafe trait Simd: Copy {
    type V: Copy;
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// The lanes beyond `count` are zero.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V;
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `1 / a`, to the last bit or two, for `a` in `[1, 2^126)`.
    unsafe fn reciprocal(a: Self::V) -> Self::V;
    /// To the nearest integer.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a · 2^n` for integral `n` in `[-126, 127]`.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// `yes` where `a > b`, else `no`.
    #[cfg_attr(not(feature = "flex"), allow(dead_code, reason = "for the kernels of flex"))]
    unsafe fn select_greater(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// The sum of the lanes.
    #[cfg_attr(not(feature = "flex"), allow(dead_code, reason = "for the kernels of flex"))]
    unsafe fn sum(a: Self::V) -> f32;
}

/// `e^x` to about two units in the last place, for `x` clamped to where the result is a normal number.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // x = n ln 2 + r with |r| <= ln 2 / 2, and a polynomial of the sixth degree for e^r.
    const COEFFICIENTS: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    unsafe {
        // In this order what is not a number stays so.
        let x = S::max(S::splat(-87.0), S::min(S::splat(87.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::mul_add(n, S::splat(-LN2_HIGH), x);
        let r = S::mul_add(n, S::splat(-LN2_LOW), r);
        let mut p = S::splat(COEFFICIENTS[0]);
        for c in &COEFFICIENTS[1..] {
            p = S::mul_add(p, r, S::splat(*c));
        }
        p = S::mul_add(p, r, S::splat(1.0));
        S::scale(p, n)
    }
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let e = exp::<S>(S::sub(S::splat(0.0), x));
        S::reciprocal(S::add(S::splat(1.0), e))
    }
}

/// Eight lanes as the compiler makes them.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; 8] {
    std::array::from_fn(f)
}

unsafe impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V {
        let mut value = [0.0; 8];
        unsafe { std::ptr::copy_nonoverlapping(from, value.as_mut_ptr(), count) };
        value
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, count) };
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Where the target has no fused instruction, `f32::mul_add` is a library call.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            lanes(|i| a[i].mul_add(b[i], c[i]))
        } else {
            lanes(|i| a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    unsafe fn reciprocal(a: Self::V) -> Self::V {
        lanes(|i| 1.0 / a[i])
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        // Adding 1.5 · 2^23 leaves no bits for a fraction.
        const MAGIC: f32 = 12_582_912.0;
        lanes(|i| (a[i] + MAGIC) - MAGIC)
    }
    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        lanes(|i| a[i] * f32::from_bits((((n[i] as i32) + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn select_greater(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        lanes(|i| if a[i] > b[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        let four: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// Sixteen lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    #[inline(always)]
    fn mask(count: usize) -> __mmask16 {
        ((1u32 << count) - 1) as __mmask16
    }

    unsafe impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn load_partial(from: *const f32, count: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
        }
        #[inline(always)]
        unsafe fn store_partial(to: *mut f32, value: __m512, count: usize) {
            unsafe { _mm512_mask_storeu_ps(to, mask(count), value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn reciprocal(a: __m512) -> __m512 {
            // 14 bits, and a Newton step for the rest.
            unsafe {
                let r = _mm512_rcp14_ps(a);
                _mm512_mul_ps(r, _mm512_fnmadd_ps(a, r, _mm512_set1_ps(2.0)))
            }
        }
        #[inline(always)]
        unsafe fn round(a: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn scale(a: __m512, n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(a, n) }
        }
        #[inline(always)]
        unsafe fn select_greater(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
        }
        #[inline(always)]
        unsafe fn sum(a: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(a) }
        }
    }

    /// Eight lanes with fused multiply-add.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// Eight ones before eight zeros: a window of it is a mask.
    static MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn mask8(count: usize) -> __m256i {
        unsafe { _mm256_loadu_si256(MASK.as_ptr().add(8 - count).cast()) }
    }

    unsafe impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m256) {
            unsafe { _mm256_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn load_partial(from: *const f32, count: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(from, mask8(count)) }
        }
        #[inline(always)]
        unsafe fn store_partial(to: *mut f32, value: __m256, count: usize) {
            unsafe { _mm256_maskstore_ps(to, mask8(count), value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn reciprocal(a: __m256) -> __m256 {
            unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), a) }
        }
        #[inline(always)]
        unsafe fn round(a: __m256) -> __m256 {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn scale(a: __m256, n: __m256) -> __m256 {
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
            }
        }
        #[inline(always)]
        unsafe fn select_greater(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
        }
        #[inline(always)]
        unsafe fn sum(a: __m256) -> f32 {
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
    }
}

/// Compiles a kernel `unsafe fn kernel<S: Simd>(..)` for every instruction set, as a function that picks the one of
/// this processor.
macro_rules! dispatch {
    ($(#[$attribute:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $kernel:ident) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "a kernel")]
        $vis unsafe fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "a kernel")]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: what the caller promises
                unsafe { $kernel::<$crate::native::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "a kernel")]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: what the caller promises
                unsafe { $kernel::<$crate::native::simd::Avx2>($($arg),*) }
            }
            // SAFETY: `isa` has found the instruction set; the rest the caller promises
            unsafe {
                match $crate::native::simd::isa() {
                    #[cfg(target_arch = "x86_64")]
                    $crate::native::simd::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::native::simd::Isa::Avx2 => avx2($($arg),*),
                    $crate::native::simd::Isa::Portable => $kernel::<$crate::native::simd::Portable>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    unsafe fn sigmoid_all<S: Simd>(input: *const f32, output: *mut f32, count: usize) {
        let mut i = 0;
        while i < count {
            let n = S::LANES.min(count - i);
            // SAFETY: within `count`
            unsafe { S::store_partial(output.add(i), sigmoid::<S>(S::load_partial(input.add(i), n)), n) };
            i += n;
        }
    }
    dispatch! { unsafe fn sigmoids(input: *const f32, output: *mut f32, count: usize) = sigmoid_all }

    #[test]
    fn sigmoid_is_right_to_a_few_units_in_the_last_place() {
        let input: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.025).collect();
        let mut output = vec![0.0; input.len()];
        let mut portable = output.clone();
        // SAFETY: both have `len` numbers
        unsafe {
            sigmoids(input.as_ptr(), output.as_mut_ptr(), input.len());
            sigmoid_all::<Portable>(input.as_ptr(), portable.as_mut_ptr(), input.len());
        }
        for ((x, a), b) in input.iter().zip(&output).zip(&portable) {
            let exact = (1.0 / (1.0 + (-f64::from(*x).max(-87.0)).exp())) as f32;
            assert!((a - exact).abs() <= 4e-7 * exact.abs(), "sigmoid({x}) = {a}, not {exact}");
            assert!((b - exact).abs() <= 4e-7 * exact.abs(), "sigmoid({x}) = {b}, not {exact}");
        }
    }

    #[test]
    fn what_is_not_a_number_has_no_sigmoid() {
        let input = [1.0, f32::NAN, -1.0];
        let (mut output, mut portable) = ([0.0; 3], [0.0; 3]);
        // SAFETY: all have three numbers
        unsafe {
            sigmoids(input.as_ptr(), output.as_mut_ptr(), 3);
            sigmoid_all::<Portable>(input.as_ptr(), portable.as_mut_ptr(), 3);
        }
        for found in [output, portable] {
            assert_eq!(found.map(f32::is_nan), [false, true, false], "{found:?}");
        }
    }
}
