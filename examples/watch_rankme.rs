//! Watching RankMe in a training loop of one's own.
//!
//! ```sh
//! cargo run --release --example watch_rankme
//! ```
//!
//! Inputs of 16 columns that fall into 5 classes are mapped to 12 hidden dimensions, by gradient descent
//! on map and classifier. At first the hidden states fill what the map gives them; the more they
//! are made of what tells the classes apart, the fewer dimensions they need.

use ndarray::Array2;
use surprisal::watch::Watch;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

fn main() -> surprisal::Result<()> {
    let (rows, columns, width, classes) = (500, 16, 12, 5);
    // The fractional parts of the multiples of an irrational number: evenly spread, the same always.
    let spread = |i: usize, factor: f64| (i as f64 * factor).fract() as f32 - 0.5;
    let targets: Vec<u32> = (0..rows as u32).map(|i| i % classes).collect();
    let data = Array2::from_shape_fn((rows, columns), |(i, j)| {
        spread(i * columns + j, 0.618_033_988_75) + spread((i % 5) * columns + j, 0.414_213_562_37)
    });
    let mut map =
        Array2::from_shape_fn((columns, width), |(i, j)| spread(i * width + j, 0.732_050_807_57));
    let mut classifier = Array2::<f32>::zeros((classes as usize, width));

    let loss = LinearCrossEntropy::builder().build()?;
    for step in 0..=1000 {
        let hidden = data.dot(&map);
        let mut d_hidden = Array2::<f32>::zeros(hidden.dim());
        let mut d_classifier = Array2::<f32>::zeros(classifier.dim());
        let forward = loss.loss_and_gradients(
            &Inputs::new(hidden.view(), classifier.view(), &targets),
            &Upstream::default(),
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut()),
        )?;
        if step % 200 == 0 {
            let mut watch = Watch::builder(width).alpha_range(0..12).build()?;
            watch.push(hidden.view())?;
            let measures = watch.measures()?;
            println!(
                "step {step:4}: loss {:.3}, RankMe {:.2}, participation ratio {:.2}",
                forward.loss(),
                measures.rankme,
                measures.participation_ratio
            );
        }
        map.scaled_add(-1.0, &data.t().dot(&d_hidden));
        classifier.scaled_add(-1.0, &d_classifier);
    }
    Ok(())
}
