//! The random numbers of the workspace: what they are, and that they stay.

use surprisal::random::Generator;
use testing::Stream;

fn bits(mut generator: Generator) -> [u64; 3] {
    std::array::from_fn(|_| generator.bits())
}

#[test]
fn numbers_are_those_of_the_reference() {
    // Of Vigna's splitmix64.c from the state 1234567.
    let reference = [6457827717110365317, 3203168211198807973, 9817491932198370423];
    assert_eq!(bits(Generator::from_state(1_234_567)), reference);
}

/// What each sequence began with before there was one generator for all: parameters, masks, data and
/// samples of a seed are the same in every version.
#[test]
fn sequences_stay_what_they_were() {
    // The tape's.
    let of_seed = [0x863b_891f_4c0a_bd4f, 0x4d58_fbd2_82ea_f415, 0xf0e5_2107_0cc0_3750];
    assert_eq!(bits(Generator::new(7)), of_seed);
    let mut generator = Generator::new(3);
    let normal = generator.normal::<f64>(&[5], 2.0).unwrap();
    let normal: Vec<u64> = normal.iter().map(|x| x.to_bits()).collect();
    let expected = [
        0xc00a_ff6b_c6a3_6fa0,
        0x3ff7_5478_b800_fbf8,
        0x3fed_6e1b_c274_d40e,
        0xbffc_da03_9022_167b,
        0xbfe0_157b_4a7b_e6ac,
    ];
    assert_eq!(normal, expected);
    assert_eq!(generator.state(), 0xd3a0_3946_ded3_116e);
    // The spectral room's.
    let mut generator = Generator::stream(7, 3);
    assert_eq!(
        [generator.bits(), generator.bits(), generator.bits()],
        [0xd0ac_2efa_d2a1_e5d0, 0x1c24_566e_5926_353e, 0x006a_dabb_38a2_713e]
    );
    assert_eq!(generator.uniform(), 0.04392631779877487);
    let signs: [f64; 6] = std::array::from_fn(|_| generator.sign());
    assert_eq!(signs, [-1.0, -1.0, 1.0, -1.0, -1.0, -1.0]);
    // The program's, of training and of the benchmark's data.
    let of_state = [0x63cb_e1e4_5932_0dd7, 0x044c_3cd7_f43c_661c, 0xe698_4080_bab1_2a02];
    assert_eq!(bits(Generator::from_state(7)), of_state);
    let of_index = [0x720d_8b90_8b31_c9cf, 0x573c_2733_6a0d_e471, 0x5575_e993_cabf_6ea0];
    assert_eq!(bits(Generator::of(7, 3, 5)), of_index);
    let mut generator = Generator::of(7, 3, 5);
    let symmetric: [f32; 3] = std::array::from_fn(|_| generator.symmetric());
    assert_eq!(symmetric, [-0.1089617, -0.3184768, -0.33233917]);
    let normal: [f32; 3] = std::array::from_fn(|_| generator.nearly_normal());
    assert_eq!(normal, [-0.776854, 0.7115743, -1.2866429]);
    let uniform: [f64; 2] = std::array::from_fn(|_| generator.uniform());
    assert_eq!(uniform, [0.49949314424956515, 0.28577818153346546]);
    assert_eq!([10, 1000, 3].map(|bound| generator.below(bound)), [3, 695, 2]);
    let mut items: Vec<_> = (0..8).collect();
    generator.shuffle(&mut items);
    assert_eq!(items, [4, 2, 5, 7, 1, 0, 6, 3]);
    // The tests'.
    let mut stream = Stream(7);
    assert_eq!(stream.bits(), 0x63cb_e1e4_5932_0dd7);
    assert_eq!(stream.uniform().to_bits(), 0x3f91_30f3_5fd0_f183);
}

#[test]
fn numbers_are_in_their_range_and_shuffling_loses_none() {
    let mut generator = Generator::new(0);
    assert!((0..1000).all(|_| (-1.0..1.0).contains(&generator.symmetric())));
    assert!((0..1000).all(|_| (0.0..1.0).contains(&generator.uniform())));
    let mut seen = [0; 3];
    (0..3000).for_each(|_| seen[generator.below(3)] += 1);
    assert!(seen.iter().all(|&count| count > 900));
    assert_eq!(generator.below(0), 0);
    let mut items: Vec<_> = (0..100).collect();
    generator.shuffle(&mut items);
    assert_ne!(items, Vec::from_iter(0..100));
    items.sort();
    assert_eq!(items, Vec::from_iter(0..100));
}

/// Mean, variance and kurtosis of 200 000 numbers, to six standard errors: √(1/n), √(2/n) and √(24/n)
/// for normal numbers; the sum of four uniform ones has the kurtosis 3 − 6/5/4.
#[test]
fn normal_numbers_have_the_moments_that_they_should() {
    let count = 200_000;
    let mut generator = Generator::new(1);
    let normal: Vec<f64> = (0..count).map(|_| generator.standard_normal()).collect();
    let nearly: Vec<f64> = (0..count).map(|_| generator.nearly_normal().into()).collect();
    for (numbers, kurtosis) in [(normal, 3.0), (nearly, 2.7)] {
        let moment = |power| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / count as f64;
        let within = |found: f64, wanted: f64, variance: f64| {
            assert!((found - wanted).abs() < 6.0 * (variance / count as f64).sqrt(), "{found}");
        };
        within(moment(1), 0.0, 1.0);
        within(moment(2), 1.0, 2.0);
        within(moment(4) / moment(2).powi(2), kurtosis, 24.0);
    }
}
