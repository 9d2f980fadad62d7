//! Stretches of a text: what a model reads, and what it is to predict.

use surprisal::random::Generator;

use super::corpus::Corpus;

/// Windows of one length, each with the words before it that its first hidden states are made of.
///
/// Hidden state t of a window predicts its word t, from the words before that.
pub struct Windows {
    /// [count, reach − 1 + length]: from `reach` words before a window's first to the one before its
    /// last.
    pub words: Vec<u32>,
    /// [count · length].
    pub targets: Vec<u32>,
    /// How many there are.
    pub count: usize,
    /// Words in each.
    pub length: usize,
}

impl Windows {
    /// The windows that begin at these positions. Where they leave the text there is padding.
    pub fn of(
        corpus: &Corpus,
        starts: impl IntoIterator<Item = isize>,
        length: usize,
        reach: usize,
    ) -> Self {
        let word = |at: isize| {
            let token = usize::try_from(at).ok().and_then(|at| corpus.tokens.get(at));
            token.copied().unwrap_or(corpus.padding)
        };
        let (mut words, mut targets, mut count) = (Vec::new(), Vec::new(), 0);
        for start in starts {
            let end = start + length as isize;
            words.extend((start - reach as isize..end - 1).map(word));
            targets.extend((start..end).map(word));
            count += 1;
        }
        Self { words, targets, count, length }
    }

    /// Windows whose second halves are these positions, one after another: each of them is predicted
    /// with at least half a window before it. Positions that are left over at the end belong to none.
    pub fn behind_context(
        corpus: &Corpus,
        positions: std::ops::Range<usize>,
        length: usize,
        reach: usize,
    ) -> Self {
        let (context, kept) = (length / 2, length - length / 2);
        let starts = positions.step_by(kept).map(|first| first as isize - context as isize);
        Self::of(corpus, starts, length, reach)
    }
}

/// The order in which training goes through the text: in windows, each pass in another random order
/// and from another beginning. It is a function of the seed and the step alone.
pub struct Order {
    seed: u64,
    /// Words of the training part.
    training: usize,
    /// Words of a window.
    pub length: usize,
    /// Windows of a step.
    pub batch: usize,
    /// The pass that is under way, with its windows.
    pass: Option<(usize, Vec<usize>)>,
}

/// Of the random numbers of the order.
const STREAM: u64 = 1;

impl Order {
    /// Windows of at most so many words, and so many of them a step, fewer in a short text.
    pub fn new(seed: u64, training: usize, length: usize, batch: usize) -> Self {
        let length = length.min(training.div_ceil(2));
        let mut order = Self { seed, training, length, batch, pass: None };
        order.batch = batch.min(order.windows_of_a_pass());
        order
    }

    /// As many as there are wherever the first one begins.
    fn windows_of_a_pass(&self) -> usize {
        (self.training + 1 - self.length) / self.length
    }

    /// Where the windows of a step begin, from step 1 on.
    pub fn starts(&mut self, step: usize) -> Vec<usize> {
        let windows = self.windows_of_a_pass();
        // The last few windows of a pass are left out where they are no whole step.
        let steps = windows / self.batch;
        let (pass, step) = ((step - 1) / steps, (step - 1) % steps);
        if self.pass.as_ref().is_none_or(|(known, _)| *known != pass) {
            let mut random = Generator::of(self.seed, STREAM, pass);
            let first = random.below(self.length);
            let mut starts = Vec::from_iter((0..windows).map(|i| first + i * self.length));
            random.shuffle(&mut starts);
            self.pass = Some((pass, starts));
        }
        let (_, starts) = self.pass.as_ref().expect("just made");
        starts[step * self.batch..(step + 1) * self.batch].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words 1, 2, 3, … of which so many are trained on, after 0.
    fn corpus(tokens: u32, training: usize) -> Corpus {
        let counts = vec![1; tokens as usize + 1];
        Corpus { tokens: (1..=tokens).collect(), training, counts, padding: 0 }
    }

    #[test]
    fn windows_by_hand() {
        let windows = Windows::of(&corpus(8, 6), [-1, 4, 6], 3, 2);
        assert_eq!(windows.words, [0, 0, 0, 1, 3, 4, 5, 6, 5, 6, 7, 8]);
        assert_eq!(windows.targets, [0, 1, 2, 5, 6, 7, 7, 8, 0]);
        assert_eq!((windows.count, windows.length), (3, 3));
    }

    #[test]
    fn windows_behind_context() {
        let windows = Windows::behind_context(&corpus(12, 6), 6..11, 5, 1);
        assert_eq!((windows.count, windows.length), (2, 5));
        // The last three of each are the positions from 6 on: the words 7, 8, 9, then 10, 11, 12.
        assert_eq!(windows.targets, [5, 6, 7, 8, 9, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_pass_takes_every_window_once() {
        let mut order = Order::new(3, 1000, 7, 20);
        let steps = ((1000 - 6) / 7) / 20;
        let pass = |order: &mut Order, pass: usize| {
            let steps = pass * steps + 1..=(pass + 1) * steps;
            steps.flat_map(|step| order.starts(step)).collect::<Vec<_>>()
        };
        let (first, second) = (pass(&mut order, 0), pass(&mut order, 1));
        assert_eq!(first.len(), 7 * 20);
        assert!(!first.is_sorted() && first != second);
        for mut starts in [first.clone(), second] {
            starts.sort();
            assert!(
                starts.windows(2).all(|pair| pair[1] > pair[0] && (pair[1] - pair[0]) % 7 == 0)
            );
            assert!(starts.last().unwrap() + 7 <= 1000);
        }
        // Any step is known without those before it.
        assert_eq!(Order::new(3, 1000, 7, 20).starts(3), first[40..60]);
        assert_ne!(Order::new(4, 1000, 7, 20).starts(3), first[40..60]);
    }

    #[test]
    fn short_texts_have_short_windows() {
        for training in [1, 2, 3, 90, 127, 128, 129] {
            let mut order = Order::new(0, training, 64, 16);
            for step in 1..20 {
                let starts = order.starts(step);
                assert!((1..=16).contains(&starts.len()));
                assert!(starts.iter().all(|start| start + order.length <= training), "{training}");
            }
        }
    }
}
