//! Shapes that are large: resident memory, and offsets beyond 32 bits.
#![cfg(target_os = "linux")]

use ndarray::{Array2, s};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};
use testing::Stream;

/// The most memory that this process has had resident, in bytes.
fn most_resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// One test, so that nothing else is resident.
#[test]
fn four_thousand_tokens_of_two_hundred_thousand_classes_in_400_megabytes() {
    let (rows, width, classes) = (4096, 64, 200_000);
    let fill = |length: usize, columns: usize| {
        Array2::from_shape_fn((length, columns), |(i, j)| ((i * 31 + j * 7) as f32 * 0.61).sin())
    };
    let (hidden, classifier) = (fill(rows, width), fill(classes, width));
    let targets: Vec<u32> = (0..rows).map(|i| (i * 47 % classes) as u32).collect();
    let mut d_hidden = Array2::<f32>::zeros((rows, width));
    let mut d_classifier = Array2::<f32>::zeros((classes, width));
    let forward = LinearCrossEntropy::builder()
        .build()
        .unwrap()
        .loss_and_gradients(
            &Inputs::new(hidden.view(), classifier.view(), &targets),
            &Upstream::default(),
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut()),
        )
        .unwrap();
    assert!(forward.loss() > 0.0 && d_classifier.iter().any(|&g| g != 0.0));
    // The logits alone would be 3.3 GB.
    let resident = most_resident();
    assert!(resident < 400_000_000, "{resident} bytes resident");
    drop((hidden, classifier, d_hidden, d_classifier));
    offsets_beyond_32_bits();
}

/// Pages that nobody writes to take no memory: 8.6 GB of zeros, of which a few rows are used.
fn offsets_beyond_32_bits() {
    let (rows, width, classes) = ((1 << 21) + 5, 1027, 9);
    assert!(rows * width > 1 << 31);
    let mut hidden = Array2::<f32>::zeros((rows, width));
    let mut stream = Stream(1);
    let last = stream.matrix(3, width, 1.0).mapv(|x| x as f32);
    hidden.slice_mut(s![rows - 3.., ..]).assign(&last);
    let classifier = stream.matrix(classes, width, 0.05).mapv(|x| x as f32);
    let selected = [0, rows - 3, rows - 2, rows - 1];
    let targets = [0_u32, 3, 5, 8];
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let mut gradient = Array2::<f32>::zeros((rows, width));
    let inputs = Inputs::new(hidden.view(), classifier.view(), &targets).rows(&selected);
    let gradients = Gradients::new().accumulate_hidden(gradient.view_mut());
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();

    let mut small = Array2::<f32>::zeros((4, width));
    small.slice_mut(s![1.., ..]).assign(&last);
    let mut small_gradient = Array2::<f32>::zeros((4, width));
    let inputs = Inputs::new(small.view(), classifier.view(), &targets);
    let gradients = Gradients::new().accumulate_hidden(small_gradient.view_mut());
    let expected = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    assert_eq!(forward.losses(), expected.losses());
    for (i, &row) in selected.iter().enumerate() {
        assert_eq!(gradient.row(row), small_gradient.row(i));
    }

    // Given logits, the other matrix whose offsets are large.
    let selected = [5, rows - 1];
    let inputs = Inputs::from_logits(hidden.view(), &[7_u32, 1026]).rows(&selected);
    let forward = loss.forward(&inputs).unwrap();
    let tail = hidden.slice(s![rows - 1.., ..]);
    let expected = loss.forward(&Inputs::from_logits(tail, &[1026_u32])).unwrap();
    assert_eq!(forward.losses()[1], expected.losses()[0]);
    assert!((forward.losses()[0] - 1027_f64.ln()).abs() < 1e-5);
}
