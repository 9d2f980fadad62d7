// A class of two heads, as in src/softmax/divergence.rs: Q of the head that is trained, P of the second,
// delta = ln P - ln Q.
struct Pair {
    q: f32,
    p: f32,
    delta: f32,
    // Whether Q, P does not have the class: a logit of -infinity.
    no_q: bool,
    no_p: bool,
}

// So far below the maximum is what is not there: no infinity is computed with.
const DEEPEST = -1e38;

fn is_lowest(x: f32) -> bool {
    return bitcast<u32>(x) == 0xff800000u;
}

// Of both logits; of each row both maxima, both 1/(1+r), and ln(1+r) of the second less that of the first.
fn pair_of(a: f32, t: f32, maxima: vec2<f32>, inverses: vec2<f32>, logarithms: f32) -> Pair {
    let x = select(a, LOWEST, is_lowest(a));
    let y = select(t, LOWEST, is_lowest(t));
    let u = max(x - maxima.x, DEEPEST);
    let w = max(y - maxima.y, DEEPEST);
    var pair: Pair;
    pair.q = exponential(clamp(u, -1e4, 0.0)) * inverses.x;
    pair.p = exponential(clamp(w, -1e4, 0.0)) * inverses.y;
    pair.delta = w - u - logarithms;
    pair.no_q = is_lowest(a);
    pair.no_p = is_lowest(t);
    return pair;
}

// (e^x - 1 - x) / x^2 for |x| <= 1.
fn remainder(x: f32) -> f32 {
    var sum = fma(2.5052108e-8, x, 2.7557319e-7);
    sum = fma(sum, x, 2.7557319e-6);
    sum = fma(sum, x, 2.4801587e-5);
    sum = fma(sum, x, 1.984127e-4);
    sum = fma(sum, x, 1.3888889e-3);
    sum = fma(sum, x, 8.333334e-3);
    sum = fma(sum, x, 4.1666668e-2);
    sum = fma(sum, x, 1.6666667e-1);
    return fma(sum, x, 0.5);
}

// The part of KL(A|B), x = ln(B/A): A (e^x - 1 - x), never negative. What B lacks and A has is for the caller.
fn kullback_leibler(a: f32, b: f32, x: f32) -> f32 {
    let y = clamp(x, -1.0, 1.0);
    let near = a * (y * y) * remainder(y);
    let far = b - a - a * min(x, 1e4);
    let term = select(far, near, abs(x) < 1.0);
    return select(term, -x, x < -1e30);
}

// Q - P.
fn difference(pair: Pair) -> f32 {
    let y = clamp(-pair.delta, -1.0, 1.0);
    let near = pair.p * fma(y * y, remainder(y), y);
    return select(pair.q - pair.p, near, abs(pair.delta) < 1.0);
}
