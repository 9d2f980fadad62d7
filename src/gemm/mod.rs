//! Products of matrices, one thread a call.
//!
//! The seam behind which the kernels stand. Every element of a product is summed in the same order
//! of k whatever the shape of the tile that it stands in, so that a logit has the same bits in
//! every tile.

use ndarray::{ArrayView2, ArrayViewMut2};

/// A scalar that has a product kernel: of `matrixmultiply`, and nothing else.
pub trait Scalar: From<u8> + Copy + 'static {
    #[doc(hidden)]
    const KERNEL: Kernel<Self>;
}

/// `C ← αAB + βC`: m, k, n, α, then each matrix with its row and column stride.
#[doc(hidden)]
pub type Kernel<T> = unsafe fn(
    usize,
    usize,
    usize,
    T,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    *mut T,
    isize,
    isize,
);

impl Scalar for f32 {
    const KERNEL: Kernel<f32> = matrixmultiply::sgemm;
}

impl Scalar for f64 {
    const KERNEL: Kernel<f64> = matrixmultiply::dgemm;
}

/// Whether a product replaces its destination or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Assign,
    Add,
}

/// `c = a·b` or `c += a·b`.
pub(crate) fn product<T: Scalar>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    store: Store,
    c: &mut ArrayViewMut2<'_, T>,
) {
    let ((m, k), n) = (a.dim(), b.dim().1);
    assert_eq!(b.dim().0, k, "inner dimensions");
    assert_eq!(c.dim(), (m, n), "outer dimensions");
    if m == 0 || n == 0 {
        return;
    }
    let beta = match store {
        Store::Assign => T::from(0),
        Store::Add => T::from(1),
    };
    let (sa, sb) = (a.strides(), b.strides());
    let sc = [c.strides()[0], c.strides()[1]];
    // SAFETY: the kernel is matrixmultiply's, which reads and writes what shapes and strides say;
    // views hold their elements within their allocations, the assertions match their shapes, and
    // no two elements of a mutable view are the same.
    unsafe {
        T::KERNEL(
            m,
            k,
            n,
            T::from(1),
            a.as_ptr(),
            sa[0],
            sa[1],
            b.as_ptr(),
            sb[0],
            sb[1],
            beta,
            c.as_mut_ptr(),
            sc[0],
            sc[1],
        );
    }
}

/// The bytes that one call of [`product`] takes from the heap at most.
pub(crate) fn workspace_bytes<T>() -> usize {
    // matrixmultiply packs at most 256 × 64 of A and 256 × 1024 of B, rounded up to its kernel.
    256 * (64 + 1024 + 32) * size_of::<T>() + 4096
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    #[test]
    fn an_element_has_the_same_bits_in_every_tile() {
        let a = Array2::from_shape_fn((70, 611), |(i, j)| ((i * 611 + j) as f32 * 0.37).sin());
        let b = Array2::from_shape_fn((300, 611), |(i, j)| ((i * 611 + j) as f32 * 0.73).cos());
        let mut whole = Array2::zeros((70, 300));
        product(a.view(), b.t(), Store::Assign, &mut whole.view_mut());
        for rows in [0..1, 3..5, 17..70, 69..70] {
            for columns in [0..1, 7..23, 250..300, 299..300] {
                let mut part = Array2::zeros((rows.len(), columns.len()));
                product(
                    a.slice(s![rows.clone(), ..]),
                    b.slice(s![columns.clone(), ..]).t(),
                    Store::Assign,
                    &mut part.view_mut(),
                );
                assert_eq!(part, whole.slice(s![rows.clone(), columns]));
            }
        }
    }
}
