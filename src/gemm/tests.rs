use super::*;
use crate::element::{Operand, Real};
use crate::random::Generator;
use crate::simd::{Caches, Isa};
use half::bf16;
use ndarray::{Array2, s};

/// Numbers in [−1, 1) without a pattern.
fn matrix<T: crate::Element>(rows: usize, columns: usize, seed: u64) -> Array2<T> {
    let mut generator = Generator::new(seed);
    Array2::from_shape_simple_fn((rows, columns), || T::from_f64(2.0 * generator.uniform() - 1.0))
}

fn packed<F: Operand>(a: &Array2<F>) -> (Buffer<F>, usize) {
    let height = padded_rows(a.dim().0);
    let mut buffer = Buffer::zeros(panels_length(height, a.dim().1));
    let to = buffer.sized(panels_length(height, a.dim().1));
    pack_rows(a.rows().into_iter().map(|row| row.to_slice().unwrap()), 0, height, to);
    (buffer, height)
}

/// Panels for the right factor of the gradients.
fn packed_in_steps<F: Operand>(isa: Isa, a: &Array2<F>) -> (Buffer<F>, usize) {
    let (rows, height) = packed(a);
    let length = panels_length(height, a.dim().1);
    let mut steps = Buffer::zeros(length);
    match F::DEPTH {
        1 => (rows, height),
        _ => {
            pack_pairs(isa, &rows.get()[..length], steps.sized(length));
            (steps, height)
        }
    }
}

fn in_steps<F: Operand>(isa: Isa, b: &Array2<F>) -> Buffer<F> {
    let (rows, depth) = b.dim();
    let length = steps_length::<F>(depth);
    let mut buffer = Buffer::zeros(rows.div_ceil(PANEL) * length);
    let to = buffer.sized(rows.div_ceil(PANEL) * length);
    for (first, to) in (0..rows).step_by(PANEL).zip(to.chunks_mut(length.max(1))) {
        let rows: Vec<&[F]> = (first..rows.min(first + PANEL))
            .map(|row| b.slice(s![row, ..]).to_slice().unwrap())
            .collect();
        pack_steps(isa, &rows, depth, to);
    }
    buffer
}

fn exact<T: crate::Element>(a: &Array2<T>, b: &Array2<T>) -> Array2<f64> {
    a.mapv(|x| x.to_f64()).dot(&b.mapv(|x| x.to_f64()))
}

/// |Σ − exact| ≤ k u Σ|a||b| for k sequential sums, doubled where multiply and add round apart.
fn check<R: Real>(what: &str, found: &Array2<R>, exact: &Array2<f64>, depth: usize) {
    assert_eq!(found.dim(), exact.dim());
    let bound = (2 * depth + 2) as f64 * R::EPSILON * depth as f64;
    for ((at, found), exact) in found.indexed_iter().zip(exact) {
        let error = (found.to_f64() - exact).abs();
        assert!(error <= bound, "{what} {at:?}: {found} for {exact}, off by {error}");
    }
}

/// Every product of panels on one instruction set, over shapes around every edge.
fn products<F: Operand>(isa: Isa) {
    for (rows, depth, width) in [
        (1, 1, 1),
        (3, 2, 5),
        (12, 32, 32),
        (13, 33, 31),
        (25, 70, 67),
        (40, 131, 200),
        (5, 0, 9),
        (7, 64, 96),
        (9, 96, 43),
        (100, 300, 40),
    ] {
        let name = format!("{} {} {rows}×{depth}×{width}", isa.name(), F::NAME);
        let (a, b) = (matrix::<F>(rows, depth, 3), matrix::<F>(width, depth, 7));
        let expected = exact(&a, &b.t().to_owned());
        let (left, height) = packed(&a);
        let steps = in_steps(isa, &b);
        let panels = Panels::new(left.get(), height);
        let mut c = Array2::from_elem((rows, width), F::Sum::default());
        row_products(
            isa,
            panels,
            Rows::From(0, rows),
            depth,
            (steps.get(), Prefetch::nothing()),
            &mut c.view_mut(),
        );
        check(&format!("row_products {name}"), &c, &expected, depth);

        let mut names: Vec<u32> = (0..rows as u32).rev().collect();
        names.resize(rows.next_multiple_of(GROUP), rows as u32);
        let mut picked = Array2::from_elem((names.len(), width), F::Sum::default());
        let to = &mut picked.view_mut();
        row_products(
            isa,
            panels,
            Rows::Named(&names),
            depth,
            (steps.get(), Prefetch::nothing()),
            to,
        );
        for i in 0..rows {
            assert_eq!(picked.row(i), c.row(rows - 1 - i), "named {name}");
        }

        // The same products from the other side: bit for bit.
        if depth.is_multiple_of(F::DEPTH) && depth > 0 {
            let steps = in_steps(isa, &a);
            let mut across =
                Array2::from_elem((width, rows.next_multiple_of(PANEL)), F::Sum::default());
            let lines = (b.as_slice().unwrap(), depth);
            let right = (steps.get(), rows);
            line_products(isa, lines, depth, right, &mut across.view_mut());
            assert_eq!(across.slice(s![.., ..rows]), c.t(), "line_products {name}");
            for rows in 1..=rows.min(thin_rows::<F>(isa)) {
                let mut thin = Array2::from_elem((rows, width), F::Sum::ONE);
                let to = &mut thin.view_mut();
                thin_products(isa, steps.get(), b.as_slice().unwrap(), depth, to);
                assert_eq!(thin, c.slice(s![..rows, ..]), "thin_products {name}");
            }
        }

        let padded = depth.next_multiple_of(F::DEPTH);
        let line = |row: ndarray::ArrayView1<'_, F>| {
            let mut line = row.to_vec();
            line.resize(padded, F::default());
            line
        };
        let lines: Vec<F> = a.rows().into_iter().flat_map(line).collect();
        let others: Vec<F> = (0..rows).flat_map(|i| line(b.row(i % width))).collect();
        let mut single = vec![F::Sum::default(); rows];
        dots(isa, &lines, &others, padded, &mut single);
        for (i, single) in single.iter().enumerate() {
            assert_eq!(*single, c[[i, i % width]], "dots {name}");
        }

        if depth == 0 {
            continue;
        }
        // a[rows × depth] · d[depth × width], added to ones.
        let d = matrix::<F>(depth, width, 11);
        let (right, right_height) = packed_in_steps(isa, &d);
        let right = Panels::new(right.get(), right_height);
        let (one_by_one, _) = packed(&d);
        let one_by_one = Panels::new(one_by_one.get(), right_height);
        let mut sums = Array2::from_elem((rows, width), F::Sum::ONE);
        let names: Vec<u32> = (0..rows as u32).collect();
        let to = &mut sums.view_mut();
        add_rows(isa, panels, 0, depth, (right, 0), 0..width, &names, Prefetch::nothing(), to);
        let expected = exact(&a, &d) + 1.0;
        check(&format!("add_rows {name}"), &sums, &expected, depth);

        // The same by one panel at a time, into rows in reverse.
        let mut sums = Array2::from_elem((rows, width), F::Sum::ONE);
        let names: Vec<u32> = (0..rows as u32).rev().collect();
        for q in 0..depth.div_ceil(PANEL) {
            let panel = &left.get()[q * height * PANEL..(q + 1) * height * PANEL];
            let panel = Panels::new(panel, height);
            let k = PANEL.min(depth - q * PANEL);
            let (from, to) = ((right, q * PANEL), &mut sums.view_mut());
            add_rows(isa, panel, 0, k, from, 0..width, &names, Prefetch::nothing(), to);
        }
        let expected = expected.slice(s![..;-1, ..]).to_owned();
        check(&format!("reversed add_rows {name}"), &sums, &expected, depth);

        // The same from the rows of a matrix as it matrix, and few rows without packing.
        if depth.is_multiple_of(F::DEPTH) && width.is_multiple_of(PANEL) {
            let mut sums = Array2::from_elem((rows, width), F::Sum::ONE);
            let names: Vec<u32> = (0..rows as u32).collect();
            let matrix = (d.as_slice().unwrap(), width);
            let to = &mut sums.view_mut();
            add_rows_of_matrix(isa, panels, 0, depth, matrix, 0..width, &names, to);
            let expected = exact(&a, &d) + 1.0;
            check(&format!("add_rows_of_matrix {name}"), &sums, &expected, depth);
        }
        if depth.is_multiple_of(PANEL) {
            let expected = exact(&a, &b.t().to_owned());
            let names: Vec<u32> = (0..rows as u32).rev().collect();
            for first in (0..width).step_by(PANEL) {
                let classes = first..width.min(first + PANEL);
                let of: Vec<&[F]> =
                    classes.clone().map(|j| b.slice(s![j, ..]).to_slice().unwrap()).collect();
                let mut products = vec![F::Sum::ZERO; rows * PANEL];
                few_products(isa, panels, &names, &of, &mut products);
                let products = Array2::from_shape_vec((rows, PANEL), products).unwrap();
                let products = products.slice(s![..;-1, ..classes.len()]).to_owned();
                let expected = expected.slice(s![.., classes]).to_owned();
                check(&format!("few_products {name}"), &products, &expected, depth);
            }
        }

        // a[depth × rows]ᵀ · d[depth × width].
        let at = matrix::<F>(depth, rows, 5);
        let expected = exact(&at.t().to_owned(), &d);
        let steps = columns_in_steps(&at);
        // What stands there is replaced, even where nothing is summed.
        let mut product = Array2::from_elem((rows, width), F::Sum::ONE);
        let mut named = Array2::from_elem((rows, width), F::Sum::default());
        let mut names: Vec<u32> = (0..depth as u32).collect();
        names.resize(padded, depth as u32);
        for first in (0..rows).step_by(PANEL) {
            let last = rows.min(first + PANEL);
            let from = &steps[first / PANEL * padded * PANEL..];
            let mut to = product.slice_mut(s![first..last, ..]);
            let (rows, columns) = (Rows::From(0, depth), 0..width);
            add_columns(isa, from, right, rows, columns.clone(), Store::Assign, &mut to);
            let mut to = named.slice_mut(s![first..last, ..]);
            let rows = Rows::Named(&names);
            add_columns(isa, from, one_by_one, rows, columns, Store::Add, &mut to);
        }
        check(&format!("add_columns {name}"), &product, &expected, depth);
        assert_eq!(product, named, "named columns {name}");
    }
}

/// Panels whose rows are steps: for pairs, two rows are interleaved.
fn columns_in_steps<F: Operand>(a: &Array2<F>) -> Vec<F> {
    let (depth, columns) = a.dim();
    let padded = depth.next_multiple_of(F::DEPTH);
    let mut to = vec![F::default(); columns.div_ceil(PANEL) * padded * PANEL];
    for ((k, j), &x) in a.indexed_iter() {
        let panel = j / PANEL * padded * PANEL;
        to[panel + (k / F::DEPTH * PANEL + j % PANEL) * F::DEPTH + k % F::DEPTH] = x;
    }
    to
}

#[test]
fn products_have_the_same_bits_whatever_the_caches() {
    fn of<F: Operand>(isa: Isa) -> [Array2<F::Sum>; 3] {
        let (rows, depth, width) = (130, 1100, 90);
        let (a, b) = (matrix::<F>(rows, depth, 3), matrix::<F>(width, depth, 7));
        let (left, height) = packed(&a);
        let (panels, steps) = (Panels::new(left.get(), height), in_steps(isa, &b));
        let mut logits = Array2::from_elem((rows, width), F::Sum::ONE);
        let right = (steps.get(), Prefetch::nothing());
        row_products(isa, panels, Rows::From(0, rows), depth, right, &mut logits.view_mut());
        let d = matrix::<F>(depth, width, 11);
        let (right, right_height) = packed_in_steps(isa, &d);
        let right = Panels::new(right.get(), right_height);
        let mut hidden = Array2::from_elem((rows, width), F::Sum::ONE);
        let names: Vec<u32> = (0..rows as u32).rev().collect();
        let (from, to) = ((right, 0), &mut hidden.view_mut());
        add_rows(isa, panels, 0, depth, from, 0..width, &names, Prefetch::nothing(), to);
        let left = columns_in_steps(&matrix::<F>(depth, 21, 5));
        let mut classes = Array2::from_elem((21, width), F::Sum::ONE);
        let (rows, to) = (Rows::From(0, depth), &mut classes.view_mut());
        add_columns(isa, &left, right, rows, 0..width, Store::Add, to);
        [logits, hidden, classes]
    }
    fn same<F: Operand>(isa: Isa) {
        // Another test may set others meanwhile: all must give the same.
        Caches::set(1 << 30, 1 << 30);
        let whole = of::<F>(isa);
        for (first, second) in [(1 << 10, 1 << 20), (32 << 10, 512 << 10), (48 << 10, 1 << 20)] {
            Caches::set(first, second);
            assert_eq!(of::<F>(isa), whole, "{} {} {first}", isa.name(), F::NAME);
        }
    }
    for isa in Isa::available() {
        same::<f32>(isa);
        same::<f64>(isa);
        if isa.has_bf16() {
            same::<bf16>(isa);
        }
    }
}

#[test]
fn products_of_panels() {
    for isa in Isa::available() {
        products::<f32>(isa);
        products::<f64>(isa);
        if isa.has_bf16() {
            products::<bf16>(isa);
        }
    }
}

#[test]
fn an_element_has_the_same_bits_in_every_tile() {
    fn same<F: Operand>(isa: Isa) {
        let (a, b) = (matrix::<F>(70, 611, 1), matrix::<F>(300, 611, 2));
        let (left, height) = packed(&a);
        let whole = in_steps(isa, &b);
        let mut c = Array2::from_elem((70, 300), F::Sum::default());
        let panels = Panels::new(left.get(), height);
        row_products(
            isa,
            panels,
            Rows::From(0, 70),
            611,
            (whole.get(), Prefetch::nothing()),
            &mut c.view_mut(),
        );
        for rows in [0..1, 3..5, 17..60, 58..59] {
            for columns in [0..1, 7..23, 250..300, 299..300] {
                let some = in_steps(isa, &b.slice(s![columns.clone(), ..]).to_owned());
                let mut part = Array2::from_elem((rows.len(), columns.len()), F::Sum::default());
                let from = Rows::From(rows.start, rows.len());
                row_products(
                    isa,
                    panels,
                    from,
                    611,
                    (some.get(), Prefetch::nothing()),
                    &mut part.view_mut(),
                );
                assert_eq!(part, c.slice(s![rows.clone(), columns]));
            }
        }
    }
    for isa in Isa::available() {
        same::<f32>(isa);
        same::<f64>(isa);
        if isa.has_bf16() {
            same::<bf16>(isa);
        }
    }
}

#[test]
fn ours_agrees_with_another_implementation() {
    let (m, k, n) = (37, 129, 71);
    let (a, b) = (matrix::<f64>(m, k, 1), matrix::<f64>(n, k, 2));
    let mut other = Array2::<f64>::zeros((m, n));
    // SAFETY: three matrices of these shapes and strides.
    unsafe {
        let (k_stride, c) = (k as isize, other.as_mut_ptr());
        matrixmultiply::dgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            k_stride,
            1,
            b.as_ptr(),
            1,
            k_stride,
            0.0,
            c,
            n as isize,
            1,
        );
    }
    for isa in Isa::available() {
        let (left, height) = packed(&a);
        let steps = in_steps(isa, &b);
        let mut ours = Array2::zeros((m, n));
        let panels = Panels::new(left.get(), height);
        row_products(
            isa,
            panels,
            Rows::From(0, m),
            k,
            (steps.get(), Prefetch::nothing()),
            &mut ours.view_mut(),
        );
        check("ours", &ours, &other, 2 * k);
    }
}

/// How fast the products are, one thread, as a part of the peak:
/// `cargo test --release --lib speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    use crate::simd::Precision;
    fn of<F: Operand>(isa: Isa, precision: Precision) {
        let rate = |name: &str, flops: f64, run: &mut dyn FnMut()| {
            let mut parts: Vec<f64> = (0..9)
                .map(|_| {
                    let before = isa.peak_flops(precision);
                    let start = std::time::Instant::now();
                    run();
                    let seconds = start.elapsed().as_secs_f64();
                    let peak = (before + isa.peak_flops(precision)) / 2.0;
                    flops / seconds / peak
                })
                .collect();
            parts.sort_by(f64::total_cmp);
            let (isa, format) = (isa.name(), F::NAME);
            println!("{isa} {format} {name}: {:.1} % of the peak", 100.0 * parts[4]);
        };
        for depth in [768, 2304] {
            let (rows, classes) = (1024, 512);
            let (a, b) = (matrix::<F>(rows, depth, 1), matrix::<F>(classes, depth, 2));
            let (left, height) = packed(&a);
            let panels = Panels::new(left.get(), height);
            let steps = in_steps(isa, &b);
            let length = steps_length::<F>(depth);
            let flops = 2.0 * (rows * depth * classes) as f64;
            for (block, groups) in [(1, 4), (2, 8), (8, 4), (8, 8)] {
                let shape = (groups * GROUP, block * PANEL);
                let mut tile = Array2::from_elem(shape, F::Sum::default());
                let name = format!("logits {block}×{groups} D={depth}");
                rate(&name, flops, &mut || {
                    for panel in (0..classes / PANEL).step_by(block) {
                        let right = &steps.get()[panel * length..(panel + block) * length];
                        for row in (0..rows).step_by(groups * GROUP) {
                            let count = (rows - row).min(groups * GROUP);
                            let from = Rows::From(row, count);
                            let to = &mut tile.slice_mut(s![..count, ..]);
                            row_products(
                                isa,
                                panels,
                                from,
                                depth,
                                (right, Prefetch::nothing()),
                                to,
                            );
                        }
                    }
                });
            }
            let g = matrix::<F>(rows, classes, 3);
            let (g_rows, _) = packed(&g);
            let g_rows = Panels::new(g_rows.get(), height);
            let (right, right_height) = packed_in_steps(isa, &b);
            let right = Panels::new(right.get(), right_height);
            let (e_steps, _) = packed_in_steps(isa, &a);
            let e_steps = Panels::new(e_steps.get(), height);
            let mut d = Array2::from_elem((rows, depth), F::Sum::default());
            let names: Vec<u32> = (0..rows as u32).collect();
            rate(&format!("add_rows D={depth}"), flops, &mut || {
                for column in (0..depth).step_by(PANEL) {
                    let columns = column..column + PANEL;
                    let to = &mut d.slice_mut(s![.., columns.clone()]);
                    add_rows(
                        isa,
                        g_rows,
                        0,
                        classes,
                        (right, 0),
                        columns,
                        &names,
                        Prefetch::nothing(),
                        to,
                    );
                }
            });
            let columns = columns_in_steps(&g);
            let mut d = Array2::from_elem((classes, depth), F::Sum::default());
            rate(&format!("add_columns D={depth}"), flops, &mut || {
                for column in (0..depth).step_by(PANEL) {
                    for class in (0..classes).step_by(PANEL) {
                        let from = &columns[class / PANEL * rows * PANEL..];
                        let columns = column..column + PANEL;
                        let mut to = d.slice_mut(s![class..class + PANEL, columns.clone()]);
                        let (rows, store) = (Rows::From(0, rows), Store::Assign);
                        add_columns(isa, from, e_steps, rows, columns, store, &mut to);
                    }
                }
            });
        }
    }
    for isa in Isa::available() {
        of::<f32>(isa, Precision::F32);
        of::<f64>(isa, Precision::F64);
        if isa.has_bf16() {
            of::<bf16>(isa, Precision::Bf16);
        }
    }
}
