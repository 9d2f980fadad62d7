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
//#if MIXTURE

// M = w Q + w' P with ln(M/Q) and ln(M/P); w is in `extra`, w' in `threshold`.
struct Mixture {
    m: f32,
    over_q: f32,
    over_p: f32,
}

// ln u, x = u - 1: near 1 it is made of x, which may have more digits. u = 2^k (1 + f), ln(1 + f) = 2 artanh s,
// s = f/(2+f).
fn logarithm(u: f32, x: f32) -> f32 {
    let bits = bitcast<i32>(u);
    let k = (bits - 0x3f3504f3) >> 23u;
    let f = select(bitcast<f32>(bits - (k << 23u)) - 1.0, x, k == 0);
    let s = f / (2.0 + f);
    let square = s * s;
    var sum = fma(0.11111111, square, 0.14285715);
    sum = fma(sum, square, 0.2);
    sum = fma(sum, square, 0.33333334);
    return fma(f32(k), 0.6931472, 2.0 * fma(sum * square, s, s));
}

// e^x - 1 for |x| <= 1.
fn less_one(x: f32) -> f32 {
    return fma(x * x, remainder(x), x);
}

fn mixture_of(pair: Pair) -> Mixture {
    let w_q = bitcast<f32>(P.extra);
    let is_p = pair.delta > 0.0;
    // Of the larger and of the smaller of P and Q.
    let w_large = select(w_q, P.threshold, is_p);
    let w_small = select(P.threshold, w_q, is_p);
    let apart = min(abs(pair.delta), 1e4);
    let y = min(apart, 1.0);
    let down = exponential(-apart);
    let less = select(down - 1.0, less_one(-y), apart < 1.0);
    let of_large = logarithm(fma(w_small, down, w_large), w_small * less);
    let more = w_large * less_one(y);
    let of_small = select(of_large + apart, logarithm(1.0 + more, more), apart < 1.0);
    var mixture: Mixture;
    mixture.m = fma(w_q, pair.q, P.threshold * pair.p);
    mixture.over_q = select(of_large, of_small, is_p);
    mixture.over_p = select(of_small, of_large, is_p);
    return mixture;
}

// The part of the divergence.
fn from_mixture(pair: Pair, mixture: Mixture) -> f32 {
//#if OF_FIRST
    return kullback_leibler(pair.q, mixture.m, mixture.over_q);
//#end
//#if OF_SECOND
    return kullback_leibler(pair.p, mixture.m, mixture.over_p);
//#end
//#if OF_BOTH
    let of_q = kullback_leibler(pair.q, mixture.m, mixture.over_q);
    let of_p = kullback_leibler(pair.p, mixture.m, mixture.over_p);
    return fma(bitcast<f32>(P.extra), of_q, P.threshold * of_p);
//#end
}

// A/M - 1 of one of the two, of which `over` is ln(M/A).
fn above_mixture(a: f32, m: f32, over: f32) -> f32 {
    return select(a / max(m, 1.1754944e-38) - 1.0, less_one(clamp(-over, -1.0, 1.0)), abs(over) < 1.0);
}

// g, but for what is the same of all classes.
fn slope_of_mixture(pair: Pair, mixture: Mixture) -> f32 {
    let w_q = bitcast<f32>(P.extra);
//#if OF_FIRST
    return -fma(w_q, above_mixture(pair.q, mixture.m, mixture.over_q), mixture.over_q);
//#end
//#if OF_SECOND
    return -w_q * above_mixture(pair.p, mixture.m, mixture.over_p);
//#end
//#if OF_BOTH
    return -w_q * mixture.over_q;
//#end
}
//#end
//#if VARIATION

// Half the sign of Q - P.
fn half_sign(pair: Pair) -> f32 {
    return 0.5 * sign(-pair.delta);
}
//#end
