// The state of a row over some classes, as in src/softmax/row_state.rs: m the maximum, u = x - m, and
// sums over all but one arg-max.
struct State {
    maximum: f32,
    // r = sum of e^u.
    remainder: f32,
    // The class of the maximum, NONE before any.
    argmax: u32,
    // The first class with a NaN, else that with +infinity and the highest bit, else NONE.
    special: u32,
//#if ENTROPY
    // a = sum of e^u u.
    first: f32,
//#end
//#if VARENTROPY
    // M2 = sum of e^u (u - a/(1+r))^2, the arg-max included.
    second: f32,
//#end
//#if WEIGHTED
    // t = sum of w (m - x), times DEVIATION: what it is of may be as far apart as f32 goes.
    deviation: f32,
    weight: f32,
    // Whether a weighed class has a logit of -infinity.
    lowest: u32,
//#end
//#if RANK
    // How many logits are above the target's.
    above: u32,
//#end
//#if COMPANION
    // Sum of e^u c, and c of the arg-max, which is not in it.
    companion: f32,
    of_argmax: f32,
//#end
}

const DEVIATION = 9.5367431640625e-7;

fn no_state() -> State {
    var s: State;
    s.maximum = LOWEST;
    s.argmax = NONE;
    s.special = NONE;
    return s;
}

// Folds in the logit x of a class with its weight w and the number c beside it; `ahead` is the target's
// logit, `y` its class.
fn push(s: ptr<function, State>, x: f32, class_: u32, w: f32, c: f32, ahead: f32, y: u32) {
    if (!is_finite(x)) {
        let bits = bitcast<u32>(x);
        if (is_nan(x)) {
            (*s).special = min((*s).special, class_);
        } else if (bits == 0x7f800000u) {
            (*s).special = min((*s).special, class_ | 0x80000000u);
//#if RANK
            (*s).above += select(1u, 0u, class_ == y || bitcast<u32>(ahead) == bits);
//#end
        }
//#if WEIGHTED
        (*s).weight += w;
        (*s).lowest |= select(0u, 1u, bits == 0xff800000u && w != 0.0);
//#end
        return;
    }
    let empty = (*s).argmax == NONE;
    let up = empty || x > (*s).maximum;
    let gap = select(clamp(x - (*s).maximum, -1e4, 1e4), 0.0, empty);
    let e = exponential(-abs(gap));
    let old = select(1.0 + (*s).remainder, 0.0, empty);
//#if VARENTROPY
    let mean = (*s).first / (1.0 + (*s).remainder);
    let scaled = e * old;
    let second_up = e * (*s).second + (mean - gap) * (mean - gap) * (scaled / (scaled + 1.0));
    let second_down = (*s).second + (gap - mean) * (gap - mean) * (old * e / (old + e));
    (*s).second = select(second_down, second_up, up);
//#end
//#if ENTROPY
    (*s).first = select(fma(e, gap, (*s).first), e * ((*s).first - gap * old), up);
//#end
    (*s).remainder = select((*s).remainder + e, e * old, up);
//#if WEIGHTED
    let before = select((*s).maximum, x, empty);
    let after = select((*s).maximum, x, up);
    let moved = (after * DEVIATION - before * DEVIATION) * (*s).weight;
    (*s).deviation += moved + (after * DEVIATION - x * DEVIATION) * w;
    (*s).weight += w;
//#end
//#if RANK
    (*s).above += select(0u, 1u, class_ != y && x > ahead);
//#end
//#if COMPANION
    (*s).companion = select(fma(e, c, (*s).companion), e * ((*s).companion + (*s).of_argmax), up);
    (*s).of_argmax = select((*s).of_argmax, c, up);
//#end
    (*s).maximum = select((*s).maximum, x, up);
    (*s).argmax = select((*s).argmax, class_, up);
}

// The state of the classes of both.
fn join(one: State, other: State) -> State {
    let swap = other.argmax != NONE && (one.argmax == NONE || other.maximum > one.maximum
        || (other.maximum == one.maximum && other.argmax < one.argmax));
    var a = one;
    var b = other;
    if (swap) {
        a = other;
        b = one;
    }
    a.special = min(a.special, b.special);
//#if RANK
    a.above += b.above;
//#end
//#if WEIGHTED
    if (b.argmax != NONE) {
        a.deviation += (a.maximum * DEVIATION - b.maximum * DEVIATION) * b.weight;
    }
    a.deviation += b.deviation;
    a.weight += b.weight;
    a.lowest |= b.lowest;
//#end
    if (b.argmax != NONE) {
        let gap = min(a.maximum - b.maximum, 1e4);
        let e = exponential(-gap);
        let scaled = e * (1.0 + b.remainder);
//#if VARENTROPY
        let w = 1.0 + a.remainder;
        let between = b.first / (1.0 + b.remainder) - gap - a.first / w;
        a.second += e * b.second + between * between * (w * scaled / (w + scaled));
//#end
//#if ENTROPY
        a.first += e * (b.first - gap * (1.0 + b.remainder));
//#end
//#if COMPANION
        a.companion += e * (b.companion + b.of_argmax);
//#end
        a.remainder += scaled;
    }
    return a;
}

fn keep_state(s: State, at: u32) {
    tiles[at] = vec4<u32>(bitcast<u32>(s.maximum), bitcast<u32>(s.remainder), s.argmax, s.special);
    var more = vec4<u32>(0u);
    var last = vec4<u32>(0u);
//#if ENTROPY
    more.x = bitcast<u32>(s.first);
//#end
//#if VARENTROPY
    more.y = bitcast<u32>(s.second);
//#end
//#if WEIGHTED
    more.z = bitcast<u32>(s.deviation);
    more.w = bitcast<u32>(s.weight);
    last.x = s.lowest;
//#end
//#if RANK
    last.y = s.above;
//#end
//#if COMPANION
    last.z = bitcast<u32>(s.companion);
    last.w = bitcast<u32>(s.of_argmax);
//#end
    tiles[at + 1u] = more;
    tiles[at + 2u] = last;
}

fn kept_state(at: u32) -> State {
    var s: State;
    let core = tiles[at];
    s.maximum = bitcast<f32>(core.x);
    s.remainder = bitcast<f32>(core.y);
    s.argmax = core.z;
    s.special = core.w;
    let more = tiles[at + 1u];
    let last = tiles[at + 2u];
//#if ENTROPY
    s.first = bitcast<f32>(more.x);
//#end
//#if VARENTROPY
    s.second = bitcast<f32>(more.y);
//#end
//#if WEIGHTED
    s.deviation = bitcast<f32>(more.z);
    s.weight = bitcast<f32>(more.w);
    s.lowest = last.x;
//#end
//#if RANK
    s.above = last.y;
//#end
//#if COMPANION
    s.companion = bitcast<f32>(last.z);
    s.of_argmax = bitcast<f32>(last.w);
//#end
    return s;
}
