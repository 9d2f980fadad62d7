const NONE = 0xffffffffu;
// No sum or maximum starts at an infinity: WGSL lets an implementation assume there are none.
const LOWEST = -3.4028234e38;

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}

// e^x for x <= 0: 1 at 0, 0 where the result would be subnormal. x = k ln 2 + r,
// e^r = 1 + r (1 + r P(r)).
fn exponential(x: f32) -> f32 {
    let k = round(x * 1.44269504);
    var r = fma(k, -0.69314575, x);
    r = fma(k, -1.4286068e-6, r);
    var p = fma(0.0013814922, r, 0.008368675);
    p = fma(p, r, 0.041668378);
    p = fma(p, r, 0.16666521);
    p = fma(p, r, 0.49999994);
    let y = fma(fma(p, r, 1.0), r, 1.0);
    let exponent = clamp(i32(max(k, -127.0)) + 127, 0, 255);
    return select(y * bitcast<f32>(u32(exponent) << 23u), 0.0, x < -87.33654);
}

//#if SOFTCAP
// tanh x and 1 - tanh^2 x.
fn tanh_with_derivative(x: f32) -> vec2<f32> {
    let magnitude = min(abs(x), 100.0);
    let e = exponential(-2.0 * magnitude);
    let inverse = 1.0 / (1.0 + e);
    let square = magnitude * magnitude;
    var p = fma(0.0021440268, square, -0.008178869);
    p = fma(p, square, 0.02170146);
    p = fma(p, square, -0.05394694);
    p = fma(p, square, 0.13333207);
    p = fma(p, square, -0.3333333);
    let small = fma(p * square, magnitude, magnitude);
    let large = (1.0 - e) * inverse;
    let value = select(large, small, magnitude < 0.625);
    return vec2<f32>(select(value, -value, x < 0.0), 4.0 * e * inverse * inverse);
}
//#end

// The logit a = c tanh(s (z + b) / c) and da/dz, s the scale.
fn logit(product: f32, bias: f32, scale: f32) -> vec2<f32> {
//#if BIAS
    let z = product + bias;
//#else
    let z = product;
//#end
//#if SOFTCAP
    let t = tanh_with_derivative(scale * z / P.softcap);
    return select(vec2<f32>(P.softcap * t.x, scale * t.y), vec2<f32>(z, z), is_nan(z));
//#else
    return vec2<f32>(scale * z, scale);
//#end
}
