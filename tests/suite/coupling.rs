//! Couplings: their marginals, what bounds their entropies, and what no distribution is.

use ndarray::{Array2, Axis, arr2};
use surprisal::coupling::{
    BottleneckCoupling, Coupling, EntropyBoundedMap, Unit, mutual_information,
};
use surprisal::random::Generator;

const EPSILON: f64 = f64::EPSILON;

/// Masses of 1 together; some are 0, and small ones many powers below the largest.
fn random(generator: &mut Generator, count: usize) -> Vec<f64> {
    let kind = generator.below(4);
    let mut masses: Vec<f64> = (0..count)
        .map(|_| match kind {
            0 => generator.uniform(),
            1 => (8.0 * generator.standard_normal()).exp(),
            // Many ties.
            2 => (1 + generator.below(3)) as f64,
            _ if generator.below(3) == 0 => 0.0,
            _ => generator.uniform(),
        })
        .collect();
    masses[generator.below(count)] += 0.5;
    let sum: f64 = masses.iter().sum();
    masses.iter_mut().for_each(|mass| *mass /= sum);
    masses
}

fn entropy(masses: &[f64]) -> f64 {
    masses.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: surprisal::Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// That the cells of a coupling sum to its marginals: each is off by a cut of 1e-15, by as much as the sums of the
/// marginals are apart, and by a rounding of each cell.
fn check_marginals(coupling: &Coupling, marginals: &[Vec<f64>]) {
    let mut sums: Vec<Vec<f64>> = marginals.iter().map(|m| vec![0.0; m.len()]).collect();
    let mut seen = std::collections::BTreeSet::new();
    for (at, mass) in coupling.cells() {
        assert!(mass > 0.0 && seen.insert(at.to_vec()), "{at:?} twice, or empty");
        at.iter().zip(&mut sums).for_each(|(&i, sum)| sum[i] += mass);
    }
    let total = |masses: &[f64]| masses.iter().sum::<f64>();
    let least = marginals.iter().map(|m| total(m)).fold(f64::INFINITY, f64::min);
    let cells = coupling.masses().len() as f64;
    let symbols: usize = marginals.iter().map(Vec::len).sum();
    assert!(coupling.masses().len() <= symbols - marginals.len() + 1);
    for (sum, marginal) in sums.iter().zip(marginals) {
        let apart = total(marginal) - least;
        for (found, wanted) in sum.iter().zip(marginal) {
            let bound = 1e-15 * symbols as f64 + apart + cells * EPSILON;
            assert!((found - wanted).abs() <= bound, "{found} {wanted}");
            assert!((found - wanted).abs() <= coupling.left_over() + cells * EPSILON);
        }
    }
}

#[test]
fn a_coupling_has_its_marginals_and_its_entropy_lies_between_its_bounds() {
    let mut generator = Generator::new(1);
    for _ in 0..300 {
        let count = 1 + generator.below(4);
        let marginals: Vec<Vec<f64>> = (0..count)
            .map(|_| {
                let symbols = 1 + generator.below(9);
                random(&mut generator, symbols)
            })
            .collect();
        let coupling = Coupling::greedy(&marginals).unwrap();
        check_marginals(&coupling, &marginals);
        let own: Vec<f64> = marginals.iter().map(|m| entropy(m)).collect();
        let (largest, all) = (own.iter().copied().fold(0.0, f64::max), own.iter().sum::<f64>());
        let joint = coupling.entropy(Unit::Nats);
        // Sums of up to 33 terms of at most 1/e, and what is cut off: 1e-15 each, times its logarithm.
        let bound = 40.0 * EPSILON * (1.0 + all) + 33.0 * 35e-15;
        assert!(joint >= largest - bound && joint <= all + bound, "{largest} {joint} {all}");
        let correlation = coupling.total_correlation(Unit::Nats);
        assert!((correlation - (all - joint)).abs() <= bound, "{correlation} {}", all - joint);
        let bits = coupling.entropy(Unit::Bits) * std::f64::consts::LN_2;
        assert!((bits - joint).abs() <= 4.0 * EPSILON * joint);
        for (found, wanted) in coupling.marginal_entropies(Unit::Nats).iter().zip(&own) {
            assert!((found - wanted).abs() <= 20.0 * EPSILON * (1.0 + wanted));
        }
        if let [p, q] = &marginals[..] {
            let matrix = coupling.joint().unwrap();
            assert_eq!(matrix.dim(), (p.len(), q.len()));
            let told = mutual_information(matrix.view(), Unit::Nats).unwrap();
            assert!((told - correlation).abs() <= bound, "{told} {correlation}");
        } else {
            refused(coupling.joint(), &["marginals, expected two"]);
        }
    }
}

/// The least entropy of all vertices of the polytope of couplings, where it is attained (entropy is concave): each comes of
/// filling cells one after the other in some order.
fn least_entropy(p: &mut [f64], q: &mut [f64], so_far: f64, best: &mut f64) {
    let mut done = true;
    for i in 0..p.len() {
        for j in 0..q.len() {
            let mass = p[i].min(q[j]);
            if mass < 1e-13 {
                continue;
            }
            done = false;
            let old = (p[i], q[j]);
            (p[i], q[j]) = (old.0 - mass, old.1 - mass);
            least_entropy(p, q, so_far - mass * mass.ln(), best);
            (p[i], q[j]) = old;
        }
    }
    if done {
        *best = best.min(so_far);
    }
}

#[test]
fn the_greedy_coupling_is_within_its_bound_of_the_least_entropy() {
    let mut generator = Generator::new(2);
    let (mut exact, mut worst) = (0, 0.0_f64);
    for _ in 0..60 {
        let sizes = [2 + generator.below(2), 2 + generator.below(2)];
        let [p, q] = sizes.map(|size| random(&mut generator, size));
        let mut best = f64::INFINITY;
        least_entropy(&mut p.clone(), &mut q.clone(), 0.0, &mut best);
        let found = Coupling::greedy(&[p, q]).unwrap().entropy(Unit::Nats);
        // log₂(e)/e bits are 1/e nats.
        assert!(found >= best - 1e-11 && found <= best + (-1.0_f64).exp(), "{found} {best}");
        exact += usize::from(found - best < 1e-11);
        worst = worst.max(found - best);
    }
    // It is a heuristic, and a good one.
    assert!(exact >= 30 && worst > 0.0 && worst < 0.2, "{exact} {worst}");
}

#[test]
fn equal_marginals_lie_on_the_diagonal_and_a_permutation_only_renames() {
    let mut generator = Generator::new(3);
    for _ in 0..50 {
        // Without ties.
        let mut p: Vec<f64> = (0..7).map(|_| generator.uniform() + 0.01).collect();
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|mass| *mass /= sum);
        let itself = Coupling::greedy(&[&p[..], &p]).unwrap();
        assert!(itself.cells().all(|(at, mass)| at[0] == at[1] && mass == p[at[0]]));
        assert_eq!(itself.entropy(Unit::Nats), itself.total_correlation(Unit::Nats));

        let mut q: Vec<f64> = (0..5).map(|_| generator.uniform() + 0.01).collect();
        let sum: f64 = q.iter().sum();
        q.iter_mut().for_each(|mass| *mass /= sum);
        let mut order: Vec<usize> = (0..7).collect();
        generator.shuffle(&mut order);
        let moved: Vec<f64> = order.iter().map(|&i| p[i]).collect();
        let (a, b) = (
            Coupling::greedy(&[&p[..], &q]).unwrap(),
            Coupling::greedy(&[&moved[..], &q]).unwrap(),
        );
        assert_eq!(a.masses(), b.masses());
        for ((old, _), (new, _)) in a.cells().zip(b.cells()) {
            assert_eq!([old[0], old[1]], [order[new[0]], new[1]]);
        }
        let rate = 0.6 * entropy(&p);
        let map = |p: &[f64]| EntropyBoundedMap::of(p, rate, Unit::Nats).unwrap();
        let (a, b) = (map(&p), map(&moved));
        // The same groups under other numbers: two symbols are together in one where they are in the other.
        let together =
            |map: &EntropyBoundedMap, i: usize, j: usize| map.labels()[i] == map.labels()[j];
        for i in 0..7 {
            for j in 0..7 {
                assert_eq!(together(&b, i, j), together(&a, order[i], order[j]));
            }
        }
    }
}

/// The search as it is described: a list of groups, of which two are merged.
fn map_by_merges(masses: &[f64], rate: f64) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> =
        (0..masses.len()).filter(|&i| masses[i] > 0.0).map(|i| vec![i]).collect();
    let mass = |group: &Vec<usize>| group.iter().map(|&i| masses[i]).sum::<f64>();
    let total = |groups: &[Vec<usize>]| entropy(&groups.iter().map(mass).collect::<Vec<_>>());
    let merged = |groups: &[Vec<usize>], largest: bool| {
        let mut order: Vec<&Vec<usize>> = groups.iter().collect();
        order.sort_by(|a, b| {
            let by_mass =
                if largest { mass(b).total_cmp(&mass(a)) } else { mass(a).total_cmp(&mass(b)) };
            by_mass.then(a[0].cmp(&b[0]))
        });
        let mut both: Vec<usize> = [order[0].as_slice(), order[1]].concat();
        both.sort_unstable();
        let mut groups: Vec<Vec<usize>> = order[2..].iter().map(|&group| group.clone()).collect();
        groups.push(both);
        groups.sort_by_key(|group| group[0]);
        groups
    };
    while total(&groups) > rate + 1e-12 && groups.len() > 1 {
        let smallest = merged(&groups, false);
        if total(&smallest) <= rate + 1e-12 {
            return smallest;
        }
        groups = merged(&groups, true);
    }
    groups
}

#[test]
fn a_map_is_that_of_the_search_step_by_step_and_keeps_the_rate() {
    let mut generator = Generator::new(4);
    for _ in 0..400 {
        let count = 1 + generator.below(10);
        let p = random(&mut generator, count);
        let rate = generator.uniform() * 1.1 * entropy(&p);
        let map = EntropyBoundedMap::of(&p, rate, Unit::Nats).unwrap();
        let wanted = map_by_merges(&p, rate);
        let mut labels = vec![None; count];
        for (number, group) in wanted.iter().enumerate() {
            group.iter().for_each(|&i| labels[i] = Some(number));
        }
        assert_eq!(map.labels(), labels, "{p:?} at {rate}");
        assert_eq!(map.masses().len(), wanted.len());
        let found = map.entropy(Unit::Nats);
        // The slack, and the roundings of ten terms.
        assert!(found <= rate + 1e-12 + 20.0 * EPSILON, "{found} {rate}");
        assert!((found - entropy(map.masses())).abs() <= 20.0 * EPSILON);
        for (group, &mass) in wanted.iter().zip(map.masses()) {
            let sum: f64 = group.iter().map(|&i| p[i]).sum();
            assert!((mass - sum).abs() <= 10.0 * EPSILON);
        }
        let bits = EntropyBoundedMap::of(&p, rate / std::f64::consts::LN_2, Unit::Bits).unwrap();
        assert_eq!(bits.labels(), map.labels());
        let all = EntropyBoundedMap::of(&p, f64::INFINITY, Unit::Bits).unwrap();
        assert_eq!(all.masses(), p.iter().copied().filter(|&p| p > 0.0).collect::<Vec<_>>());
        let none = EntropyBoundedMap::of(&p, 0.0, Unit::Bits).unwrap();
        // One group, or a second that has less than the slack.
        assert!(none.entropy(Unit::Nats) <= 1e-12 + EPSILON);
    }
}

#[test]
fn all_that_a_bottleneck_lets_through_is_what_its_groups_have() {
    let mut generator = Generator::new(5);
    for _ in 0..200 {
        let sizes = [1 + generator.below(8), 1 + generator.below(6)];
        let [p, q] = sizes.map(|size| random(&mut generator, size));
        let rate = generator.uniform() * 1.2 * entropy(&p);
        let coupling = BottleneckCoupling::of(&p, &q, rate, Unit::Nats).unwrap();
        let joint = coupling.joint().unwrap();
        let bound = 1e-14 * (sizes[0] + sizes[1]) as f64;
        for (sums, wanted) in [(joint.sum_axis(Axis(1)), &p), (joint.sum_axis(Axis(0)), &q)] {
            for (sum, wanted) in sums.iter().zip(wanted) {
                assert!((sum - wanted).abs() <= bound, "{sum} {wanted}");
            }
        }
        let direct = mutual_information(joint.view(), Unit::Nats).unwrap();
        let through = coupling.mutual_information(Unit::Nats);
        // Of cells that are cut off, 1e-15 each, times a logarithm.
        let bound = 40.0 * bound;
        assert!((direct - through).abs() <= bound, "{direct} {through}");
        assert!(through <= rate.min(entropy(&q)) + bound, "{through} {rate}");
        let groups = coupling.groups().joint().unwrap();
        let of_groups = mutual_information(groups.view(), Unit::Nats).unwrap();
        assert!((of_groups - through).abs() <= bound);
        // X – T – Y: given the group, y does not depend on x.
        for i in 0..sizes[0] {
            for j in 0..sizes[0] {
                if coupling.map().labels()[i] == coupling.map().labels()[j] && p[i] > 0.0 {
                    for y in 0..sizes[1] {
                        let cross = joint[[i, y]] * p[j] - joint[[j, y]] * p[i];
                        assert!(cross.abs() <= 8.0 * EPSILON * p[i] * p[j], "{cross:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn information_has_its_digits_where_variables_are_nearly_independent() {
    // p(x,y) = ¼ (1 ± δ): I = ½ ((1 + δ) ln(1 + δ) + (1 − δ) ln(1 − δ)) = δ²/2 + δ⁴/12 + …
    for power in 2..26 {
        let delta = 2.0_f64.powi(-power);
        let (more, less) = (0.25 * (1.0 + delta), 0.25 * (1.0 - delta));
        let joint = arr2(&[[more, less], [less, more]]);
        let found = mutual_information(joint.view(), Unit::Nats).unwrap();
        let wanted = (1..12).rev().fold(0.0, |sum, k| {
            let k = f64::from(k);
            delta * delta * (sum + 1.0 / (2.0 * k * (2.0 * k - 1.0)))
        });
        // The entries are exact; a marginal's rounding is one of δ.
        assert!((found - wanted).abs() <= 16.0 * EPSILON * wanted, "{power}: {found:e} {wanted:e}");
    }
    // Masses whose product is below all numbers.
    let tiny = 1e-200_f64;
    let joint = arr2(&[[tiny, 0.0], [0.0, 1.0]]);
    let wanted = tiny * (1.0 - tiny.ln());
    let found = mutual_information(joint.view(), Unit::Nats).unwrap();
    assert!((found - wanted).abs() <= 8.0 * EPSILON * wanted, "{found:e} {wanted:e}");
    let subnormal = arr2(&[[5e-324, 0.0], [0.0, 1.0]]);
    assert!(mutual_information(subnormal.view(), Unit::Nats).unwrap() < 1e-320);
    let mut generator = Generator::new(6);
    for _ in 0..100 {
        let (p, q) = (random(&mut generator, 6), random(&mut generator, 4));
        let product = Array2::from_shape_fn((6, 4), |(i, j)| p[i] * q[j]);
        let found = mutual_information(product.view(), Unit::Bits).unwrap();
        // Each quotient is 1 within a few roundings δ, and tells δ²/2.
        assert!((0.0..1e-29).contains(&found), "{found:e}");
    }
}

#[test]
fn single_symbols_masses_of_zero_and_a_hundred_thousand_symbols() {
    let one = Coupling::greedy(&[[1.0]]).unwrap();
    assert_eq!((one.masses(), one.entropy(Unit::Bits)), (&[1.0][..], 0.0));
    let alone = Coupling::greedy(&[[0.25, 0.0, 0.75]]).unwrap();
    assert_eq!(alone.cells().collect::<Vec<_>>(), [(&[2][..], 0.75), (&[0], 0.25)]);
    assert_eq!(alone.total_correlation(Unit::Nats), 0.0);
    let with_nothing = Coupling::greedy(&[&[0.0, -0.0, 1.0][..], &[0.5, 0.5]]).unwrap();
    assert_eq!(with_nothing.total_correlation(Unit::Nats), 0.0);
    let map = EntropyBoundedMap::of(&[0.0, 1.0], 0.0, Unit::Nats).unwrap();
    assert_eq!((map.labels(), map.entropy(Unit::Nats)), (&[None, Some(0)][..], 0.0));
    // Masses whose quotient is above all numbers: a merge of them takes nothing.
    let map = EntropyBoundedMap::of(&[1e-310, 0.25, 0.75], 0.1, Unit::Nats).unwrap();
    assert_eq!(map.labels(), [Some(0), Some(1), Some(1)]);

    let mut generator = Generator::new(7);
    let [p, q] = [1, 2].map(|_| {
        let mut masses: Vec<f64> = (0..100_000).map(|_| generator.uniform()).collect();
        let sum: f64 = masses.iter().sum();
        masses.iter_mut().for_each(|mass| *mass /= sum);
        masses
    });
    let start = std::time::Instant::now();
    let rate = 0.5 * entropy(&p);
    let coupling = BottleneckCoupling::of(&p, &q, rate, Unit::Nats).unwrap();
    assert!(coupling.map().entropy(Unit::Nats) <= rate + 2e-12);
    // A merge of the smallest takes hardly anything: the map is within that of the rate.
    assert!(coupling.map().entropy(Unit::Nats) > rate - 1e-3);
    let free = Coupling::greedy(&[&p[..], &q, &p]).unwrap();
    assert!(free.masses().len() <= 299_998);
    assert!(free.entropy(Unit::Nats) >= entropy(&p) - 1e-9);
    // A quarter of a second here; what is quadratic takes minutes.
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn what_is_no_distribution_is_refused_where_it_stands() {
    let greedy = |marginals: &[&[f64]]| Coupling::greedy(marginals);
    refused(greedy(&[]), &["marginals has shape [0]", "at least one marginal"]);
    refused(greedy(&[&[1.0], &[]]), &["marginals has shape [1, 0]", "in marginal 1"]);
    refused(greedy(&[&[1.0], &[0.5, -0.5, 1.0]]), &["marginals[1, 1] is -0.5", "at least 0"]);
    refused(greedy(&[&[1.0], &[0.5, f64::NAN]]), &["marginals[1, 1] is NaN", "finite"]);
    refused(greedy(&[&[1.0], &[f64::INFINITY]]), &["marginals[1, 0] is inf"]);
    refused(greedy(&[&[1.0], &[0.5, 0.25]]), &["marginals[1] sum to 0.75", "1 within 1e-9"]);
    refused(greedy(&[&[f64::MAX, f64::MAX]]), &["sum to", "expected 1"]);
    refused(greedy(&[&[0.5, 0.5 + 2e-9]]), &["expected 1 within 1e-9"]);
    assert!(greedy(&[&[0.5, 0.5 + 5e-10], &[1.0 - 5e-10]]).unwrap().left_over() < 1.1e-9);

    let map = |p: &[f64], rate: f64| EntropyBoundedMap::of(p, rate, Unit::Nats);
    refused(map(&[], 1.0), &["p has shape [0]"]);
    refused(map(&[0.5, 0.25], 1.0), &["p sum to 0.75"]);
    refused(map(&[1.0], -0.25), &["rate is -0.25", "at least 0"]);
    refused(map(&[1.0], f64::NAN), &["rate is NaN"]);
    // Within what is allowed, and yet one symbol has no entropy.
    assert_eq!(map(&[0.5, 0.5 - 5e-10], 0.0).unwrap().entropy(Unit::Nats), 0.0);

    let through = |p: &[f64], q: &[f64]| BottleneckCoupling::of(p, q, 1.0, Unit::Nats);
    refused(through(&[1.0], &[0.5, f64::NAN]), &["q[1] is NaN"]);
    refused(through(&[1.5], &[1.0]), &["p sum to 1.5"]);

    let told = |joint: Array2<f64>| mutual_information(joint.view(), Unit::Bits);
    refused(told(Array2::zeros((0, 3))), &["joint has shape [0, 3]", "at least one row"]);
    refused(told(arr2(&[[0.5, 0.5], [0.5, -0.5]])), &["joint[1, 1] is -0.5"]);
    refused(told(arr2(&[[0.5, 0.25]])), &["joint sum to 0.75"]);
}
