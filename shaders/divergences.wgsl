// What some columns add to the divergences of a row from its second head: a workgroup takes some rows and a
// block of columns.
//#include params
//#include numbers
//#include pair
//#include tile
//#matrix hidden 1
//#matrix classifier 2

// Two vectors of each row: its row of the hidden states, the scale, m and 1/(1+r); of the second head m,
// 1/(1+r), and its ln(1+r) less that of the first.
@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
//#end
// Of each row, block and divergence the value and the mean slope.
@group(0) @binding(5) var<storage, read_write> partials: array<u32>;
@group(0) @binding(7) var<storage, read> second: array<f32>;

@compute @workgroup_size(16, 16, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tx = local.x;
    let ty = local.y;
    let thread = ty * 16u + tx;
    let lane = thread / 4u;
    let quad = thread % 4u;
    let quads = (P.width + 3u) / 4u;
    let row = group.x * $BM$u;
    let start = group.y * P.span;
    let end = min(start + P.span, P.columns);
//#for l A_LOADS
    let a_row$l$ = rows[2u * (P.first_row + min(row + lane + $64*l$u, P.rows - 1u))].x - P.hidden_origin;
//#end
//#for i TM
    let row$i$ = min(row + ty + $16*i$u, P.rows - 1u);
    var sums$i$ = vec4<f32>(0.0);
//#if MORE_PAIRS
    var more$i$ = vec4<f32>(0.0);
//#end
    var infinite$i$ = 0u;
//#end
    for (var column = start; column < end; column += $BN$u) {
//#include logits_tile
//#for i TM
        {
            let names = rows[2u * (P.first_row + row$i$)];
            let other = bitcast<vec4<f32>>(rows[2u * (P.first_row + row$i$) + 1u]);
            let own = bitcast<vec2<f32>>(names.zw);
//#if SCALES
            let scale = bitcast<f32>(names.y);
//#else
            let scale = P.scale;
//#end
//#for j TN
            {
                let v = column + tx + $16*j$u;
                if (v < end) {
//#if BIAS
                    let a = logit(c$i$_$j$, bias[P.first_class + v], scale).x;
//#else
                    let a = logit(c$i$_$j$, 0.0, scale).x;
//#end
                    let t = second[row$i$ * P.stride + v];
                    let maxima = vec2<f32>(own.x, other.x);
                    let pair = pair_of(a, t, maxima, vec2<f32>(own.y, other.y), other.z);
//#if FORWARD
                    sums$i$.x += kullback_leibler(pair.p, pair.q, -pair.delta);
                    sums$i$.y += difference(pair);
                    infinite$i$ |= select(0u, 1u, pair.no_q && !pair.no_p);
//#end
//#if REVERSE
                    sums$i$.z += kullback_leibler(pair.q, pair.p, pair.delta);
                    sums$i$.w -= pair.q * pair.delta;
                    infinite$i$ |= select(0u, 2u, pair.no_p && !pair.no_q);
//#end
//#if MIXTURE
                    let mixture = mixture_of(pair);
                    more$i$.x += from_mixture(pair, mixture);
                    more$i$.y += pair.q * slope_of_mixture(pair, mixture);
//#end
//#if VARIATION
                    more$i$.z += 0.5 * abs(difference(pair));
                    more$i$.w += pair.q * half_sign(pair);
//#end
                }
            }
//#end
        }
//#end
    }
//#for i TM
    workgroupBarrier();
    tiles[3u * thread] = bitcast<vec4<u32>>(sums$i$);
    tiles[3u * thread + 1u] = vec4<u32>(infinite$i$, 0u, 0u, 0u);
//#if MORE_PAIRS
    tiles[3u * thread + 2u] = bitcast<vec4<u32>>(more$i$);
//#end
    workgroupBarrier();
    if (tx == 0u && row + ty + $16*i$u < P.rows) {
        var sum = vec4<f32>(0.0);
        var infinite = 0u;
//#if MORE_PAIRS
        var more = vec4<f32>(0.0);
//#end
        for (var other = 0u; other < 16u; other++) {
            sum += bitcast<vec4<f32>>(tiles[3u * (thread + other)]);
            infinite |= tiles[3u * (thread + other) + 1u].x;
//#if MORE_PAIRS
            more += bitcast<vec4<f32>>(tiles[3u * (thread + other) + 2u]);
//#end
        }
        let at = (row$i$ * P.spans + P.first_span + group.y) * $PAIR_WORDS$u;
//#if FORWARD
        partials[at] = select(bitcast<u32>(sum.x), 0x7f800000u, (infinite & 1u) != 0u);
        partials[at + 1u] = bitcast<u32>(sum.y);
//#end
//#if REVERSE
        partials[at + $REVERSE_AT$u] = select(bitcast<u32>(sum.z), 0x7f800000u, (infinite & 2u) != 0u);
        partials[at + $REVERSE_AT$u + 1u] = bitcast<u32>(sum.w);
//#end
//#if MIXTURE
        partials[at + $MIXTURE_AT$u] = bitcast<u32>(more.x);
        partials[at + $MIXTURE_AT$u + 1u] = bitcast<u32>(more.y);
//#end
//#if VARIATION
        partials[at + $VARIATION_AT$u] = bitcast<u32>(more.z);
        partials[at + $VARIATION_AT$u + 1u] = bitcast<u32>(more.w);
//#end
    }
//#end
}
