//! What each loss costs beside plain cross-entropy: medians of its forward and of its gradients, each loss in turn in
//! every round, as shares of the plain one's in the same round.
//!
//! ```sh
//! cargo run --release --example loss_costs -- 1024 768 50257
//! ```

use std::time::Instant;

use ndarray::{Array1, Array2};
use surprisal::loss::{
    AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, Candidates, CompSum, Companion,
    CorrectnessCalibration, DirectCoverage, DistributionallyRobust, EarthMover, EmbeddingCost,
    EntropyBonus, Focal, GeneralizedCrossEntropy, HardSymmetricCrossEntropy, Head, JensenShannon,
    KullbackLeibler, MixedCrossEntropy, NormalizedCrossEntropy, Poly1, Tailored,
};
use surprisal::random::Generator;
use surprisal::{
    Backward, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Upstream,
};

const ROUNDS: usize = 5;

/// A loss with what it needs.
struct Contestant<'a> {
    name: &'static str,
    builder: LinearCrossEntropyBuilder,
    inputs: Inputs<'a>,
    upstream: Upstream<'a>,
}

/// Medians of forward, strip and recompute of each, over those of the first.
fn measure(
    contestants: &[Contestant<'_>],
    d_hidden: &mut Array2<f32>,
    d_classifier: &mut Array2<f32>,
) {
    let mut shares = vec![[const { Vec::new() }; 3]; contestants.len()];
    let mut plain = [0.0; 3];
    for _ in 0..ROUNDS {
        for (i, one) in contestants.iter().enumerate() {
            let of = |backward| one.builder.clone().backward(backward).build();
            for (pass, backward) in
                [Backward::Auto, Backward::Strip, Backward::Recompute].into_iter().enumerate()
            {
                let loss = of(backward).expect("options in their ranges");
                let begin = Instant::now();
                let result = match pass {
                    0 => loss.forward(&one.inputs),
                    _ => {
                        let wanted =
                            Gradients::new().hidden(&mut *d_hidden).classifier(&mut *d_classifier);
                        loss.loss_and_gradients(&one.inputs, &one.upstream, wanted)
                    }
                };
                let seconds = begin.elapsed().as_secs_f64();
                result.expect("arrays that go together");
                if i == 0 {
                    plain[pass] = seconds;
                }
                shares[i][pass].push((seconds / plain[pass], seconds));
            }
        }
    }
    println!("| loss | forward | strip | recompute |\n| --- | --- | --- | --- |");
    for (one, shares) in contestants.iter().zip(&mut shares) {
        let cells = shares.each_mut().map(|passes| {
            passes.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (share, seconds) = passes[ROUNDS / 2];
            format!("{share:.3} ({seconds:.3} s)")
        });
        println!("| {} | {} |", one.name, cells.join(" | "));
    }
}

fn main() -> surprisal::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let [rows, width, classes] = sizes[..] else {
        eprintln!("expected three sizes: rows, width, classes");
        std::process::exit(2)
    };
    let mut random = Generator::new(1);
    let mut matrix = |rows, columns, size: f32| {
        Array2::from_shape_fn((rows, columns), |_| size * random.symmetric())
    };
    let (hidden, classifier) = (matrix(rows, width, 0.5), matrix(classes, width, 0.25));
    let (wide, teacher) = (matrix(rows, width, 0.5), matrix(classes, width, 0.25));
    let (mut d_hidden, mut d_classifier) =
        (Array2::<f32>::zeros(hidden.dim()), Array2::<f32>::zeros(classifier.dim()));
    let targets: Vec<u32> = (0..rows).map(|i| (i * 7 % classes) as u32).collect();
    let plain = Inputs::new(&hidden, &classifier, &targets);
    let of = LinearCrossEntropy::builder;

    let mut all = Vec::new();
    let mut one = |name, builder: LinearCrossEntropyBuilder, inputs, upstream| {
        all.push(Contestant { name, builder, inputs, upstream });
    };
    let row =
        |name, builder: LinearCrossEntropyBuilder| (name, builder, plain, Upstream::default());
    let of_rows = [
        row("cross-entropy", of()),
        row("comp-sum, τ = 1.5", of().row_loss(CompSum::new(1.5)?)),
        row("generalized", of().row_loss(GeneralizedCrossEntropy::new(0.7)?)),
        row("focal", of().row_loss(Focal::new(2.0)?)),
        row("Poly-1", of().row_loss(Poly1::new(1.0)?)),
        row("direct coverage", of().row_loss(DirectCoverage::new(256.0)?)),
        row("distributionally robust", of().row_loss(DistributionallyRobust::new(0.1)?)),
        row("AGCE", of().row_loss(AsymmetricGeneralizedCrossEntropy::new(1.0, 2.0)?)),
        row("AUL", of().row_loss(AsymmetricUnhinged::new(1.5, 0.9)?)),
        row("symmetric, hard", of().row_loss(HardSymmetricCrossEntropy::new(0.1, 1.0, -4.0)?)),
        row("normalised", of().row_loss(NormalizedCrossEntropy)),
        row("MixCE", of().row_loss(MixedCrossEntropy::new(0.5)?)),
        row("TaiLr", of().row_loss(Tailored::new(0.1, 0.2, 1.0)?)),
        row("calibration", of().row_loss(CorrectnessCalibration::default())),
        row("entropy bonus", of().row_loss(EntropyBonus::new(0.1)?)),
        row("label smoothing", of().label_smoothing(0.1)),
    ];
    for (name, builder, inputs, upstream) in of_rows {
        one(name, builder, inputs, upstream);
    }
    let listed = |k| Array2::from_shape_fn((rows, k), |(i, j)| ((i * 31 + j * 7) % classes) as u32);
    let lists = [1, 16, 256].map(listed);
    let weights = [1, 16, 256].map(|k| Array2::<f32>::from_elem((rows, k), 1.0 / k as f32));
    let of_entropy = Array1::<f32>::from_elem(rows, 0.01);
    let names = [
        ["1 class and entropy", "… and the others"],
        ["16 classes and entropy", "… and the others"],
        ["256 classes and entropy", "… and the others"],
    ];
    for ((list, weights), [name, with_others]) in lists.iter().zip(&weights).zip(names) {
        let inputs = Inputs::unlabelled(&hidden, &classifier);
        let upstream = Upstream::scalar(0.0).candidates(weights).entropy(&of_entropy);
        let candidates = Candidates::new(list);
        one(name, of().entropy(true), inputs.candidates(candidates), upstream);
        let upstream = upstream.log_others(&of_entropy);
        one(with_others, of().entropy(true), inputs.candidates(candidates.with_others()), upstream);
    }
    let costs = EmbeddingCost::<f32>::new(&classifier)?;
    let of_targets = costs.rows(&targets)?;
    let beside = plain.companion(costs.companion(&of_targets));
    one("earth mover (EMO)", of().row_loss(EarthMover::paper()), beside, Upstream::default());
    let heads = plain.companion(Companion::logits(Head::new(&wide, &teacher)));
    let forward = of().row_loss(KullbackLeibler::forward());
    one("forward KL of two heads", forward, heads, Upstream::default());
    let divergence = of().row_loss(JensenShannon::new(0.5)?);
    one("Jensen–Shannon of two heads", divergence, heads, Upstream::default());
    measure(&all, &mut d_hidden, &mut d_classifier);
    Ok(())
}
