//! Kernels on nearest neighbours.

use ndarray::Array2;

use super::kernel::{for_each_row, full_matrix};
use super::points::{BLOCK, Entries, Points};
use super::tiles::{block, blocks, for_each_tile};
use crate::{Error, Result};

/// A_ij = \[d_ij ≤ the k-th smallest distance of row i\], itself included.
pub(crate) fn binary_matrix(points: &Points, neighbors: usize) -> Result<Array2<f64>> {
    check(neighbors, neighbors <= points.rows(), "at most the number of rows")?;
    let mut matrix = full_matrix(points, Entries::SquaredDistances)?;
    let mut radii = vec![0.0; points.rows()];
    for_each_row(&mut matrix, &mut radii, |_, row, radius| {
        *radius = kth_smallest(row, neighbors - 1);
        let radius = *radius;
        row.iter_mut().for_each(|d| *d = f64::from(u8::from(*d <= radius)));
    });
    Ok(matrix)
}

/// exp(−d²_ij/(s_i s_j)) where d_ij ≤ s_i or d_ij ≤ s_j, s_i the distance to the k-th other point.
pub(crate) fn adaptive_matrix(points: &Points, neighbors: usize) -> Result<Array2<f64>> {
    check_others(neighbors, points.rows())?;
    let mut matrix = full_matrix(points, Entries::SquaredDistances)?;
    let mut radii = vec![0.0; points.rows()];
    // The point itself is the first.
    for_each_row(&mut matrix, &mut radii, |_, row, radius| *radius = kth_smallest(row, neighbors));
    let mut unused = vec![0.0; points.rows()];
    for_each_row(&mut matrix, &mut unused, |i, row, _| {
        for (j, entry) in row.iter_mut().enumerate() {
            let squared = *entry;
            *entry = if squared == 0.0 {
                1.0
            } else if squared <= radii[i].max(radii[j]) {
                (-squared / radii[i].sqrt() / radii[j].sqrt()).exp()
            } else {
                0.0
            };
        }
    });
    Ok(matrix)
}

/// exp(−d²_ij/(2 s_i s_j)) of all pairs, s_i the distance to the k-th other point.
pub(crate) fn self_tuning_matrix(points: &Points, neighbors: usize) -> Result<Array2<f64>> {
    check_others(neighbors, points.rows())?;
    let mut matrix = full_matrix(points, Entries::SquaredDistances)?;
    let mut widths = vec![0.0; points.rows()];
    // The point itself is the first.
    for_each_row(&mut matrix, &mut widths, |_, row, width| {
        *width = kth_smallest(row, neighbors).sqrt();
    });
    let mut unused = vec![0.0; points.rows()];
    for_each_row(&mut matrix, &mut unused, |i, row, _| {
        for (entry, width) in row.iter_mut().zip(&widths) {
            let squared = *entry;
            // In one order for both sides of the diagonal; nothing over a width of 0 is still nothing.
            let (narrow, wide) = (widths[i].min(*width), widths[i].max(*width));
            *entry = if squared == 0.0 { 1.0 } else { (-0.5 * squared / narrow / wide).exp() };
        }
    });
    Ok(matrix)
}

fn kth_smallest(row: &[f64], k: usize) -> f64 {
    let mut row = row.to_vec();
    *row.select_nth_unstable_by(k, f64::total_cmp).1
}

fn check_others(neighbors: usize, rows: usize) -> Result<()> {
    check(neighbors, neighbors < rows, "less than the number of rows")
}

fn check(neighbors: usize, valid: bool, expected: &'static str) -> Result<()> {
    if valid {
        return Ok(());
    }
    Err(Error::Option { name: "neighbors", value: neighbors.to_string(), expected })
}

/// The squared distance of every point to the k-th other one, without the matrix.
pub(crate) fn squared_neighbor_distances(points: &Points, neighbors: usize) -> Result<Vec<f64>> {
    let rows = points.rows();
    check_others(neighbors, rows)?;
    // The nearest of each point in ascending order.
    let mut states: Vec<Vec<Vec<f64>>> =
        (0..blocks(rows)).map(|index| vec![Vec::new(); block(index, rows).len()]).collect();
    let insert = |nearest: &mut Vec<f64>, squared: f64| {
        if nearest.len() < neighbors || squared < nearest[neighbors - 1] {
            let at = nearest.partition_point(|&x| x <= squared);
            nearest.insert(at, squared);
            nearest.truncate(neighbors);
        }
    };
    for_each_tile(points, Entries::SquaredDistances, &mut states, |tile, upper, mut lower| {
        for (i, row) in tile.by_rows().enumerate() {
            for (j, &squared) in row.iter().enumerate() {
                match lower.as_deref_mut() {
                    Some(lower) => {
                        insert(&mut upper[i], squared);
                        insert(&mut lower[j], squared);
                    }
                    None if i != j => insert(&mut upper[i], squared),
                    None => {}
                }
            }
        }
    });
    debug_assert!(states.len() == rows.div_ceil(BLOCK));
    Ok(states.into_iter().flatten().map(|nearest| nearest[neighbors - 1]).collect())
}
