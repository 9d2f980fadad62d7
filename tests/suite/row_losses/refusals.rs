//! What is refused, and what is no number.

use ndarray::{arr1, arr2};
use surprisal::loss::{
    Companion, CrossEntropy, EntropyBonus, ExpectedCost, GeneralizedCrossEntropy, RowLoss,
    RowScalars, Sum, Term, Terms,
};
use surprisal::{Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder};

use super::own::Tempered;

#[test]
fn what_does_not_go_together_is_said() {
    let refused = |result: surprisal::Result<f64>, says: &str| {
        let message = result.expect_err(says).to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    };
    let one = arr2(&[[1.0_f64, 2.0]]);
    let costs = arr1(&[1.0_f64, 2.0]);
    let of = |builder: LinearCrossEntropyBuilder, inputs: Inputs<'_>| {
        builder.build()?.forward(&inputs).map(|forward| forward.loss())
    };
    let hard = || Inputs::from_logits(&one, &[0_u32]);
    let plain = LinearCrossEntropy::builder;
    refused(of(plain().row_loss(ExpectedCost), hard()), "ExpectedCost needs a companion");
    let companion = Companion::classes(&costs);
    refused(of(plain(), hard().companion(companion)), "takes no companion");
    let three = arr1(&[1.0_f64; 3]);
    let inputs = hard().companion(Companion::classes(&three));
    refused(of(plain().row_loss(ExpectedCost), inputs), "the companion");
    let infinite = arr2(&[[0.0_f64, f64::INFINITY]]);
    let inputs = hard().companion(Companion::entries(&infinite));
    refused(of(plain().row_loss(ExpectedCost), inputs), "inf");
    let (listed, values) = (arr2(&[[2_u32]]), arr2(&[[1.0_f64]]));
    let inputs = hard().companion(Companion::listed(&listed, &values));
    refused(of(plain().row_loss(ExpectedCost), inputs), "expected a class of the vocabulary");
    let soft = Inputs::from_logits(&one, surprisal::Targets::soft(&one));
    refused(of(plain().row_loss(Tempered), soft), "Tempered goes with hard targets");
    refused(of(plain().row_loss(Tempered).z_loss(0.1), hard()), "go with cross-entropy alone");
    let product = Inputs::new(&one, &one, &[0_u32]);
    let filter = surprisal::Filter::Auto;
    let inputs = product.companion(Companion::entries(&one));
    let _ = inputs;
    let single = arr2(&[[1.0_f64]]);
    let inputs = product.companion(Companion::entries(&single));
    refused(of(plain().row_loss(ExpectedCost).filter(filter), inputs), "not with a companion");
    assert!(of(plain().row_loss(Tempered).filter(filter), product).is_ok());
    let smoothed = |epsilon| CrossEntropy::new(epsilon, 0.0).unwrap();
    let sum = Sum::new().add(1.0, smoothed(0.1)).unwrap().add(1.0, smoothed(0.2));
    assert!(sum.unwrap_err().to_string().contains("different label smoothings"));
    assert!(Sum::new().add(f64::NAN, ExpectedCost).is_err());
    assert!(
        GeneralizedCrossEntropy::new(1.5).is_err() && EntropyBonus::new(f64::INFINITY).is_err()
    );
}

/// The perplexity of soft targets is theirs, whatever the loss makes of them.
#[test]
fn the_mean_surprisal_does_not_depend_on_the_loss() {
    let logits = arr2(&[[1.0_f64, 2.0, 0.5], [0.0, -1.0, 3.0]]);
    let soft = arr2(&[[0.5_f64, 0.25, 0.25], [0.0, 1.0, 0.0]]);
    let sum = Sum::new().add(0.5, CrossEntropy::default()).unwrap();
    let sum = sum.add(2.0, EntropyBonus::new(1.0).unwrap()).unwrap();
    let of = |builder: LinearCrossEntropyBuilder| {
        let inputs = Inputs::from_logits(&logits, surprisal::Targets::soft(&soft));
        builder.build().unwrap().forward(&inputs).unwrap()
    };
    let (plain, other) =
        (of(LinearCrossEntropy::builder()), of(LinearCrossEntropy::builder().row_loss(sum)));
    assert_eq!(plain.mean_surprisal(), Some(plain.loss()));
    assert_eq!(other.mean_surprisal(), plain.mean_surprisal());
    assert!(other.loss() != plain.loss());
}

/// A scalar that was not asked for is NaN, not a number that means something else.
#[test]
fn what_is_not_asked_for_is_no_number() {
    #[derive(Debug)]
    struct Forgetful;
    impl RowLoss for Forgetful {
        fn evaluate(&self, row: &RowScalars) -> Terms {
            Terms::plain(Term::new(row.entropy()).by_entropy(1.0))
        }
    }
    let logits = arr2(&[[1.0_f64, 2.0]]);
    let loss = LinearCrossEntropy::builder().row_loss(Forgetful).build().unwrap();
    assert!(loss.forward(&Inputs::from_logits(&logits, &[0_u32])).unwrap().loss().is_nan());
}
