//#if F32
//#if QUADS ALIGNED
@group(0) @binding($BINDING$) var<storage, read> $NAME$: array<vec4<f32>>;
//#else
@group(0) @binding($BINDING$) var<storage, read> $NAME$: array<f32>;
//#end
//#else
//#if QUADS ALIGNED
@group(0) @binding($BINDING$) var<storage, read> $NAME$: array<vec2<u32>>;
//#else
@group(0) @binding($BINDING$) var<storage, read> $NAME$: array<u32>;
//#end
//#end

//#if BF16
fn $NAME$_pair(bits: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(bits << 16u), bitcast<f32>(bits & 0xffff0000u));
}
//#end
//#if F16
// unpack2x16float is not everywhere, and where it is it may flush what is subnormal.
fn $NAME$_half(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let special = (magnitude << 13u) | 0x7f800000u;
    let tiny = bitcast<u32>(f32(magnitude) * 5.9604645e-8);
    let large = select(normal, special, magnitude >= 0x7c00u);
    return bitcast<f32>(select(large, tiny, magnitude < 0x400u) | ((bits & 0x8000u) << 16u));
}

fn $NAME$_pair(bits: u32) -> vec2<f32> {
    return vec2<f32>($NAME$_half(bits & 0xffffu), $NAME$_half(bits >> 16u));
}
//#end

//#if QUADS ALIGNED
// Four numbers of a row, zeros beyond its end.
fn $NAME$_quad(row: u32, quad: u32) -> vec4<f32> {
    let quads = P.width / 4u;
    let bits = $NAME$[row * quads + min(quad, max(quads, 1u) - 1u)];
//#if F32
    let values = bits;
//#else
    let values = vec4<f32>($NAME$_pair(bits.x), $NAME$_pair(bits.y));
//#end
    return select(vec4<f32>(0.0), values, quad < quads);
}
//#else
// One number of a row, which must be there.
fn $NAME$_at(row: u32, column: u32) -> f32 {
    let at = row * P.width + column;
//#if F32
    return $NAME$[at];
//#else
    let pair = $NAME$_pair($NAME$[at / 2u]);
    return select(pair.x, pair.y, (at & 1u) == 1u);
//#end
}

// The same, zero beyond the end of the row and where `there` is false.
fn $NAME$_or_zero(row: u32, column: u32, there: bool) -> f32 {
    let known = there && column < P.width;
    let value = $NAME$_at(select(0u, row, known), select(0u, column, known));
    return select(0.0, value, known);
}
//#if QUADS

// Four numbers of a row, zeros beyond its end.
fn $NAME$_quad(row: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(
        $NAME$_or_zero(row, 4u * quad, true),
        $NAME$_or_zero(row, 4u * quad + 1u, true),
        $NAME$_or_zero(row, 4u * quad + 2u, true),
        $NAME$_or_zero(row, 4u * quad + 3u, true),
    );
}
//#end
//#end
