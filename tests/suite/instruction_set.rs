//! Where a wrong choice of instruction set is told.

use std::process::Command;
use surprisal::autodiff::{AdamW, Sgd, Shared, Tape, clip_gradient_norm};
use surprisal::{Error, Isa, LinearCrossEntropy, Result, RowState};

/// Set in the process that has the wrong name.
const INSIDE: &str = "SURPRISAL_TEST_WRONG_ISA";

/// Whatever is made with an instruction set says so when it is made, and nothing is made with another.
#[test]
fn a_wrong_name_is_an_error_of_whatever_is_made() {
    if std::env::var_os(INSIDE).is_none() {
        // The choice is made once a process.
        let inside = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "instruction_set::a_wrong_name_is_an_error_of_whatever_is_made"])
            .env(INSIDE, "")
            .env("SURPRISAL_ISA", "avx1024")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&inside.stdout);
        assert!(inside.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    fn wrong<T>(made: Result<T>) {
        match made.err() {
            Some(Error::Option { name: "SURPRISAL_ISA", value, .. }) => {
                assert_eq!(value, "avx1024")
            }
            other => panic!("{other:?}"),
        }
    }
    wrong(Isa::current());
    wrong(LinearCrossEntropy::builder().build());
    wrong(RowState::new().push(0, &[1.0_f32]));
    wrong(Tape::<f32>::new());
    wrong(AdamW::<f32>::builder().build());
    wrong(Sgd::<f64>::builder().build());
    wrong(clip_gradient_norm([&mut Shared::<f32>::ones(vec![2])], 1.0));
    #[cfg(feature = "spectral")]
    {
        wrong(surprisal::spectrum::Covariance::new(2));
        wrong(surprisal::diffusion::SpectralEntropy::builder().build());
    }
    // Who names one does not ask.
    let isa = Isa::available()[0];
    LinearCrossEntropy::builder().isa(isa).build().unwrap();
    AdamW::<f32>::builder().isa(isa).build().unwrap();
    Sgd::<f32>::builder().isa(isa).build().unwrap();
    let tape = Tape::<f64>::with_isa(isa);
    let x = tape.leaf(ndarray::arr0(3.0));
    assert_eq!(x.mul(x).unwrap().backward().unwrap().of(x).unwrap()[[]], 6.0);
}

/// Set in a process that has caches of its own.
const CACHES: &str = "SURPRISAL_TEST_CACHES";

fn with_caches(test: &str, caches: &str) -> String {
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("instruction_set::{test}"), "--nocapture"])
        .env(CACHES, "")
        .env("SURPRISAL_CACHES", caches)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inside.stdout).into_owned();
    assert!(inside.status.success() && text.contains("1 passed"), "{caches}: {text}");
    text
}

#[test]
fn wrong_caches_are_an_error_of_whatever_is_made() {
    if std::env::var_os(CACHES).is_none() {
        for wrong in ["", "32K", "32K,", "512K;32K", "1,1", "-1K,1M", "32K,2048G"] {
            with_caches("wrong_caches_are_an_error_of_whatever_is_made", wrong);
        }
        return;
    }
    let value = std::env::var("SURPRISAL_CACHES").unwrap();
    let found = LinearCrossEntropy::builder().build().err();
    let named = matches!(&found, Some(Error::Option { name: "SURPRISAL_CACHES", value: own, .. })
        if *own == value);
    assert!(named, "{found:?}");
}

/// The losses and gradients of a shape that every cut goes through, on each instruction set.
#[test]
fn caches_change_no_bits() {
    let name = "caches_change_no_bits";
    if std::env::var_os(CACHES).is_none() {
        let bits = |caches| {
            let text = with_caches(name, caches);
            text.lines().filter(|line| line.contains("bits ")).map(String::from).collect()
        };
        let whole: Vec<String> = bits("1G,1G");
        assert!(!whole.is_empty());
        for caches in ["1K,2K", "32K,512K", "48K,1M"] {
            assert_eq!(bits(caches), whole, "{caches}");
        }
        return;
    }
    let (n, d, v) = (300, 700, 500);
    let mut generator = surprisal::random::Generator::new(1);
    let mut uniform = |_| generator.uniform() as f32 - 0.5;
    let hidden = ndarray::Array2::from_shape_fn((n, d), &mut uniform);
    let classifier = ndarray::Array2::from_shape_fn((v, d), &mut uniform);
    let targets: Vec<u32> = (0..n as u32).collect();
    for isa in Isa::available() {
        for backward in [surprisal::Backward::Strip, surprisal::Backward::Recompute] {
            let mut gradients = [ndarray::Array2::<f32>::zeros((n, d)), classifier.clone()];
            let [of_hidden, of_classifier] = &mut gradients;
            let loss = LinearCrossEntropy::builder().isa(isa).backward(backward).build().unwrap();
            let wanted = surprisal::Gradients::new().hidden(of_hidden).classifier(of_classifier);
            let inputs = surprisal::Inputs::new(&hidden, &classifier, &targets);
            let forward =
                loss.loss_and_gradients(&inputs, &surprisal::Upstream::default(), wanted).unwrap();
            let mut bits = forward.loss().to_bits();
            for number in gradients.iter().flatten() {
                bits = (bits ^ u64::from(number.to_bits())).wrapping_mul(0x100_0000_01b3);
            }
            println!("bits {} {backward:?} {bits:016x}", isa.name());
        }
    }
}
