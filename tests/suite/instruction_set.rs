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
