//! The tape: values in the order in which they were computed, and the way back through them.

use ndarray::{ArcArray, ArrayViewD};
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::array::Shared;
use super::lanes;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::simd::Isa;

/// What an operation does with the derivative of its value: it adds to those of its operands.
pub(super) type Backward<T> = dyn Fn(Shared<T>, &mut Flow<'_, T>) -> Result<()>;

/// A record of a computation, one for each step of a training.
///
/// It holds every value that was computed from its [leaves](Self::leaf), until it is dropped.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::autodiff::Tape;
/// let tape = Tape::<f64>::new()?;
/// let x = tape.leaf(arr1(&[1.0, 2.0]));
/// let y = x.mul(x)?.sum();
/// assert_eq!(y.scalar()?, 5.0);
/// assert_eq!(y.backward()?.of(x).unwrap(), arr1(&[2.0, 4.0]).into_dyn());
/// # Ok::<(), surprisal::Error>(())
/// ```
pub struct Tape<T> {
    id: u64,
    isa: Isa,
    nodes: RefCell<Vec<Node<T>>>,
}

struct Node<T> {
    value: Shared<T>,
    role: Role<T>,
}

enum Role<T> {
    /// Has no derivative.
    Constant,
    /// Keeps its derivative.
    Leaf,
    /// Hands its derivative on.
    Inner(Box<Backward<T>>),
}

/// A value on a [`Tape`]: a handle that is copied freely.
///
/// Every operation is a method. An operation that can fail for its arguments' shapes returns a
/// [`Result`]; operands of two tapes are an error too.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::autodiff::Tape;
/// let tape = Tape::<f32>::new()?;
/// let x = tape.leaf(arr2(&[[1.0, -2.0]]));
/// let w = tape.leaf(arr2(&[[0.5], [0.25]]));
/// let y = x.matmul(w)?.relu();
/// assert_eq!((y.shape(), y.scalar()?), (vec![1, 1], 0.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
pub struct Variable<'t, T> {
    pub(super) tape: &'t Tape<T>,
    pub(super) index: usize,
}

impl<T> Clone for Variable<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Variable<'_, T> {}

impl<T: Real> fmt::Debug for Variable<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({}, {:?})", self.index, self.shape())
    }
}

impl<T> fmt::Debug for Tape<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} values)", self.nodes.borrow().len())
    }
}

impl<T: Real> Tape<T> {
    /// Nothing yet, on the instruction set that is in use.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f32>::new()?;
    /// assert!(tape.is_empty());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Isa::current`].
    pub fn new() -> Result<Self> {
        Isa::current().map(Self::with_isa)
    }

    /// Nothing yet, on this instruction set.
    ///
    /// ```
    /// use surprisal::{Isa, autodiff::Tape};
    /// let tape = Tape::<f32>::with_isa(Isa::available()[0]);
    /// assert_eq!(tape.len(), 0);
    /// ```
    pub fn with_isa(isa: Isa) -> Self {
        static TAPES: AtomicU64 = AtomicU64::new(0);
        let id = TAPES.fetch_add(1, Ordering::Relaxed);
        Self { id, isa, nodes: RefCell::new(Vec::new()) }
    }

    /// A value whose derivative is wanted: an array of any number of axes. A shared array is not
    /// copied.
    ///
    /// ```
    /// use surprisal::autodiff::{Shared, Tape};
    /// let weights: Shared<f32> = Shared::zeros(vec![2, 3]);
    /// let tape = Tape::new()?;
    /// let w = tape.leaf(weights.clone());
    /// assert_eq!(w.value().as_ptr(), weights.as_ptr());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn leaf(&self, value: impl Into<Values<T>>) -> Variable<'_, T> {
        self.node(value.into().0, Role::Leaf)
    }

    /// A value without a derivative. A shared array is not copied.
    ///
    /// ```
    /// use surprisal::autodiff::Tape;
    /// let tape = Tape::<f64>::new()?;
    /// let half = tape.constant(ndarray::arr0(0.5));
    /// assert!(half.backward().is_err());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn constant(&self, value: impl Into<Values<T>>) -> Variable<'_, T> {
        self.node(value.into().0, Role::Constant)
    }

    /// How many values there are.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// tape.leaf(ndarray::arr1(&[1.0])).neg();
    /// assert_eq!(tape.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.nodes.borrow().len()
    }

    /// Whether there is nothing yet.
    ///
    /// ```
    /// assert!(surprisal::autodiff::Tape::<f64>::new()?.is_empty());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    fn node(&self, value: Shared<T>, role: Role<T>) -> Variable<'_, T> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { value, role });
        Variable { tape: self, index: nodes.len() - 1 }
    }

    /// The value of an operation. `backward` is kept only where an operand has a derivative.
    pub(super) fn push(
        &self,
        value: Shared<T>,
        operands: &[Variable<'_, T>],
        backward: impl Fn(Shared<T>, &mut Flow<'_, T>) -> Result<()> + 'static,
    ) -> Variable<'_, T> {
        let role = match operands.iter().any(|operand| operand.is_differentiable()) {
            true => Role::Inner(Box::new(backward)),
            false => Role::Constant,
        };
        self.node(value, role)
    }
}

/// An array on its way to a tape: an owned one of any number of axes, or a shared one.
///
/// ```
/// use surprisal::autodiff::{Shared, Tape};
/// let tape = Tape::<f32>::new()?;
/// tape.leaf(ndarray::arr1(&[1.0]));
/// tape.leaf(ndarray::Array3::zeros((2, 3, 4)));
/// tape.leaf(Shared::ones(vec![5]));
/// assert_eq!(tape.len(), 3);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Values<T>(Shared<T>);

impl<T: Real, D: ndarray::Dimension> From<ndarray::Array<T, D>> for Values<T> {
    fn from(array: ndarray::Array<T, D>) -> Self {
        Self(array.into_dyn().into_shared())
    }
}

impl<T: Real, D: ndarray::Dimension> From<ArcArray<T, D>> for Values<T> {
    fn from(array: ArcArray<T, D>) -> Self {
        Self(array.into_dyn())
    }
}

impl<T: Real, D: ndarray::Dimension> From<&ArcArray<T, D>> for Values<T> {
    fn from(array: &ArcArray<T, D>) -> Self {
        Self(array.clone().into_dyn())
    }
}

impl<'t, T: Real> Variable<'t, T> {
    /// The value, shared with the tape.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr1(&[1.0, 2.0]));
    /// assert_eq!(x.neg().value()[[1]], -2.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn value(self) -> Shared<T> {
        self.tape.nodes.borrow()[self.index].value.clone()
    }

    /// The lengths of the axes.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr2(&[[1.0, 2.0]])).shape(), [1, 2]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn shape(self) -> Vec<usize> {
        self.tape.nodes.borrow()[self.index].value.shape().to_vec()
    }

    /// The only element.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr2(&[[3.0]])).scalar()?, 3.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is exactly one.
    pub fn scalar(self) -> Result<T> {
        let value = self.value();
        match value.len() {
            1 => Ok(*value.first().expect("one element")),
            _ => Err(shape_error("a scalar", &value, "one element")),
        }
    }

    /// The same value without a derivative.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr0(3.0));
    /// let y = x.mul(x.detach())?;
    /// assert_eq!(y.backward()?.of(x).unwrap()[[]], 3.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn detach(self) -> Self {
        self.tape.node(self.value(), Role::Constant)
    }

    pub(super) fn is_differentiable(self) -> bool {
        !matches!(self.tape.nodes.borrow()[self.index].role, Role::Constant)
    }

    /// # Errors
    /// Where the other is a value of another tape.
    pub(super) fn on_the_same_tape(self, argument: &str, other: Variable<'_, T>) -> Result<()> {
        match self.tape.id == other.tape.id {
            true => Ok(()),
            false => Err(Error::Conflict {
                what: format!("{argument} is a value of another tape, expected one of this tape"),
            }),
        }
    }

    /// The derivatives of this value, which has one element, by all leaves that it depends on.
    ///
    /// It may be called again, on this value or another; every call starts from nothing.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr0(3.0));
    /// let y = x.mul(x)?;
    /// assert_eq!(y.backward()?.of(x).unwrap()[[]], 6.0);
    /// assert_eq!(y.mul(x)?.backward()?.of(x).unwrap()[[]], 27.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is exactly one element; [`Error::Conflict`] where it depends on
    /// no leaf.
    pub fn backward(self) -> Result<LeafGradients<T>> {
        let value = self.value();
        if value.len() != 1 {
            let expected = "one element, or a seed of the same shape";
            return Err(shape_error("the value to differentiate", &value, expected));
        }
        self.backward_with(Shared::from_elem(value.raw_dim(), T::ONE))
    }

    /// The derivatives of Σ seed·value by all leaves that it depends on.
    ///
    /// ```
    /// use ndarray::arr1;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(arr1(&[1.0, 2.0]));
    /// let gradients = x.mul(x)?.backward_with(arr1(&[1.0, 0.5]))?;
    /// assert_eq!(gradients.of(x).unwrap(), arr1(&[2.0, 2.0]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a seed of another shape; else as [`backward`](Self::backward).
    pub fn backward_with(self, seed: impl Into<Values<T>>) -> Result<LeafGradients<T>> {
        compiled!(
            ['t] T: (Variable<'t, T>, Values<T>) => Result<LeafGradients<T>>,
            |(this, seed)| this.backward_with_here(seed),
            (self, seed.into())
        )
    }

    fn backward_with_here(self, seed: Values<T>) -> Result<LeafGradients<T>> {
        let nodes = self.tape.nodes.borrow();
        let Values(seed) = seed;
        let shape = nodes[self.index].value.shape();
        if seed.shape() != shape {
            return Err(shape_error("the seed", &seed, format!("{shape:?}, as the value has")));
        }
        if matches!(nodes[self.index].role, Role::Constant) {
            return Err(Error::Conflict {
                what: "the value depends on no leaf, so it has no gradient".into(),
            });
        }
        let gradients = (0..=self.index).map(|_| None).collect();
        let mut flow = Flow { isa: self.tape.isa, nodes: &nodes, gradients };
        flow.add(self.index, seed);
        for index in (0..=self.index).rev() {
            if let Role::Inner(backward) = &nodes[index].role
                && let Some(gradient) = flow.gradients[index].take()
            {
                backward(gradient, &mut flow)?;
            }
        }
        Ok(LeafGradients { tape: self.tape.id, gradients: flow.gradients })
    }
}

/// The derivatives on their way from the value to the leaves.
pub(super) struct Flow<'n, T> {
    pub(super) isa: Isa,
    nodes: &'n [Node<T>],
    gradients: Vec<Option<Shared<T>>>,
}

impl<T: Real> Flow<'_, T> {
    /// Whether this operand has a derivative.
    pub(super) fn wants(&self, index: usize) -> bool {
        !matches!(self.nodes[index].role, Role::Constant)
    }

    /// Adds to an operand's derivative. What comes first is taken as it is.
    pub(super) fn add(&mut self, index: usize, gradient: Shared<T>) {
        if !self.wants(index) {
            return;
        }
        debug_assert_eq!(self.nodes[index].value.shape(), gradient.shape());
        let gradient = lanes::standard(gradient);
        match &mut self.gradients[index] {
            empty @ None => *empty = Some(gradient),
            Some(sum) => {
                let to = sum.as_slice_mut().expect("standard layout");
                let from = gradient.as_slice().expect("standard layout");
                lanes::zip_assign(self.isa, to, from, |a, b| a + b);
            }
        }
    }

    /// Adds to parts of an operand's derivative, which begins with zeros.
    pub(super) fn add_within(&mut self, index: usize, add: impl FnOnce(&mut Shared<T>)) {
        if self.wants(index) {
            let shape = self.nodes[index].value.raw_dim();
            // Copied here, over the threads, where others hold it.
            let old = self.gradients[index].take().map(lanes::own);
            add(self.gradients[index]
                .insert(old.unwrap_or_else(|| Shared::from_elem(shape, T::ZERO))));
        }
    }
}

/// The derivatives by the leaves of a tape.
///
/// ```
/// use surprisal::autodiff::Tape;
/// let tape = Tape::<f64>::new()?;
/// let (x, unused) = (tape.leaf(ndarray::arr0(3.0)), tape.leaf(ndarray::arr0(1.0)));
/// let mut gradients = x.scale(2.0).backward()?;
/// assert_eq!(gradients.of(x).unwrap()[[]], 2.0);
/// assert!(gradients.of(unused).is_none());
/// assert_eq!(gradients.take(x).unwrap()[[]], 2.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub struct LeafGradients<T> {
    tape: u64,
    gradients: Vec<Option<Shared<T>>>,
}

impl<T> fmt::Debug for LeafGradients<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafGradients({} leaves)", self.gradients.iter().flatten().count())
    }
}

impl<T: Real> LeafGradients<T> {
    /// The derivative by a leaf, of the leaf's shape. `None` where there is none: the value that
    /// was differentiated does not depend on it, or it is not a leaf, or not of that tape.
    ///
    /// ```
    /// # use surprisal::autodiff::Tape;
    /// let tape = Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr0(3.0));
    /// let y = x.neg();
    /// let gradients = y.backward()?;
    /// assert_eq!(gradients.of(x).unwrap()[[]], -1.0);
    /// assert!(gradients.of(y).is_none());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn of(&self, leaf: Variable<'_, T>) -> Option<ArrayViewD<'_, T>> {
        let gradient =
            if leaf.tape.id == self.tape { self.gradients.get(leaf.index) } else { None };
        gradient?.as_ref().map(|gradient| gradient.view())
    }

    /// As [`of`](Self::of), and gives the array away.
    ///
    /// ```
    /// # use surprisal::autodiff::Tape;
    /// let tape = Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr0(3.0));
    /// let mut gradients = x.neg().backward()?;
    /// assert!(gradients.take(x).is_some() && gradients.take(x).is_none());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn take(&mut self, leaf: Variable<'_, T>) -> Option<Shared<T>> {
        let gradient =
            if leaf.tape.id == self.tape { self.gradients.get_mut(leaf.index) } else { None };
        gradient?.take()
    }
}

pub(super) fn shape_error<T>(
    argument: &'static str,
    found: &Shared<T>,
    expected: impl Into<String>,
) -> Error {
    Error::Shape { argument, found: found.shape().to_vec(), expected: expected.into() }
}
