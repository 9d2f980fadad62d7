//! A vocabulary that no single machine holds: three threads stand for three machines.
//!
//! ```sh
//! cargo run --release --example vocabulary_shards
//! ```
//!
//! Each folds its own part of the classifier into the state of every row and sends the states, a few numbers
//! a row, to the others. All merge all states, in the order of the classes, and so know the loss;
//! each then computes the gradient of its own rows of the classifier, and its share of the hidden states'.

use ndarray::{Array2, ArrayView2, s};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use surprisal::{Fold, Gradients, Inputs, LinearCrossEntropy, RowState, Shard, Upstream};

const CLASSES: usize = 3000;
const WIDTH: usize = 16;
const PARTS: [Range<usize>; 3] = [0..1000, 1000..1500, 1500..CLASSES];

type Message = (Range<usize>, Vec<RowState>);

fn main() -> surprisal::Result<()> {
    let hidden = Array2::from_shape_fn((8, WIDTH), |(i, j)| ((5 * i + j) as f64).sin());
    let classifier =
        Array2::from_shape_fn((CLASSES, WIDTH), |(v, j)| ((v * v + 7 * j) as f64).cos());
    let targets = [2999_u32, 0, 999, 1000, 1499, 1500, 42, 2718];
    let loss = LinearCrossEntropy::builder().label_smoothing(0.1).build()?;

    let (senders, receivers): (Vec<_>, Vec<_>) =
        PARTS.map(|_| channel::<Message>()).into_iter().unzip();
    let shares = thread::scope(|scope| {
        let machines = PARTS.into_iter().zip(receivers).map(|(classes, inbox)| {
            let part = classifier.slice(s![classes.clone(), ..]);
            let (hidden, loss, senders) = (hidden.view(), &loss, senders.clone());
            scope.spawn(move || machine(loss, hidden, part, &targets, classes, &senders, &inbox))
        });
        let machines: Vec<_> = machines.collect();
        machines
            .into_iter()
            .map(|machine| machine.join().expect("a machine that lives"))
            .collect::<surprisal::Result<Vec<_>>>()
    })?;

    let whole = loss.forward(&Inputs::new(hidden.view(), classifier.view(), &targets))?;
    println!("the loss of one machine alone    {:.15}", whole.loss());
    let mut d_hidden = Array2::<f64>::zeros(hidden.dim());
    for (loss, share, d_classifier) in &shares {
        println!("a machine of {:4} classes knows   {loss:.15}", d_classifier.nrows());
        d_hidden += share;
    }
    println!("the gradient of hidden states, summed: {:+.6} …", d_hidden[[0, 0]]);
    Ok(())
}

/// The loss, this machine's share of dE, and its dC.
fn machine(
    loss: &LinearCrossEntropy,
    hidden: ArrayView2<'_, f64>,
    part: ArrayView2<'_, f64>,
    targets: &[u32],
    classes: Range<usize>,
    senders: &[Sender<Message>],
    inbox: &Receiver<Message>,
) -> surprisal::Result<(f64, Array2<f64>, Array2<f64>)> {
    let shard = Shard::new(classes.start, CLASSES);
    let inputs = Inputs::new(hidden, part, targets).shard(shard);
    let own: Fold = loss.fold(&inputs)?;
    for sender in senders {
        sender.send((classes.clone(), own.states().to_vec())).expect("a machine that lives");
    }
    let mut messages: Vec<Message> = inbox.iter().take(senders.len()).collect();
    messages.sort_by_key(|(classes, _)| classes.start);

    // The same order on every machine, so that all know the same bits.
    let empty = Inputs::new(hidden, part.slice(s![..0, ..]), targets);
    let mut fold = loss.fold(&empty.shard(Shard::new(0, CLASSES)))?;
    for (classes, states) in messages {
        fold.merge_states(classes, &states)?;
    }
    let forward = fold.finish()?;

    let mut d_hidden = Array2::<f64>::zeros(hidden.dim());
    let mut d_classifier = Array2::<f64>::zeros(part.dim());
    let gradients =
        Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut());
    loss.vjp(&inputs, &forward, &Upstream::default(), gradients)?;
    Ok((forward.loss(), d_hidden, d_classifier))
}
