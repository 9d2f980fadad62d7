// G = (p (A - h (u - mu) + b (c - mean c)) - k w) da/dz of a tile, into the scratch: zero beyond rows and
// columns. Beside a second head d also has k (Q - P - Q mean), k' Q (-delta - mean'), of a mixture and of the total
// variation k Q (g - mean), before da/dz. Beside
// candidates whose others count it has o times the softmax of these.
//#include params
//#include numbers
//#if SECOND
//#include pair
//#end
//#include tile
//#matrix hidden 1
//#matrix classifier 2

// Three vectors of each row: its row of the hidden states, target, arg-max, whether it has
// probabilities; m, 1/(1+r), A, h; mu, k, dL/da of the target and of the arg-max. Behind those of all
// rows, of which there are `count`, one more of each where it is needed: b, the mean of c, the scale; or of
// the others' softmax m, and o/(1+r), the scale. Behind
// these, two of each beside a second head: its m, 1/(1+r) and ln(1+r) less that of the first; k, mean, k',
// mean'. Where there are others than these two divergences, a third: k and mean of the mixture and of the total
// variation.
@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
//#end
//#if WEIGHTS
@group(0) @binding(4) var<storage, read> weights: array<f32>;
//#end
@group(0) @binding(5) var<storage, read_write> g: array<f32>;
//#if FILTER
// Of each block of 64 rows and 64 columns whether it counts, and of each row what it has in a block
// that does not.
@group(0) @binding(6) var<storage, read_write> kept: array<u32>;
@group(0) @binding(7) var<storage, read_write> lost: array<f32>;
//#end
//#if COMPANION
// No filter goes with it.
@group(0) @binding(7) var<storage, read> companions: array<f32>;
//#end
//#if SECOND
// Nor with this.
@group(0) @binding(7) var<storage, read> seconds: array<f32>;
//#end

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
    let column = group.y * $BN$u;
//#for l A_LOADS
    let a_row$l$ = rows[3u * (P.first_row + min(row + lane + $64*l$u, P.rows - 1u))].x - P.hidden_origin;
//#end
//#if FILTER
    var matters = vec4<u32>(0u);
//#for i TM
    var lost$i$ = vec2<f32>(0.0);
//#end
//#end
//#include logits_tile
//#for i TM
    {
        let own_row = row + ty + $16*i$u;
        let at = 3u * (P.first_row + min(own_row, P.rows - 1u));
        let names = rows[at];
        let scalars = bitcast<vec4<f32>>(rows[at + 1u]);
        let more = bitcast<vec4<f32>>(rows[at + 2u]);
//#if MORE
        let most = bitcast<vec4<f32>>(rows[3u * P.count + P.first_row + min(own_row, P.rows - 1u)]);
//#end
//#if SECOND
        let pair_at = 4u * P.count + $PAIR_VECTORS$u * (P.first_row + min(own_row, P.rows - 1u));
        let second = bitcast<vec4<f32>>(rows[pair_at]);
        let slopes = bitcast<vec4<f32>>(rows[pair_at + 1u]);
//#end
//#if MORE_PAIRS
        let others = bitcast<vec4<f32>>(rows[pair_at + 2u]);
//#end
//#if SCALES
        let scale = most.z;
//#else
        let scale = P.scale;
//#end
//#for j TN
        {
            let v = column + tx + $16*j$u;
            let known = min(v, P.columns - 1u);
            let class_ = P.first_class + known;
//#if BIAS
            let a = logit(c$i$_$j$, bias[class_], scale);
//#else
            let a = logit(c$i$_$j$, 0.0, scale);
//#end
//#if DENSE
            let w = weights[min(own_row, P.rows - 1u) * P.columns + known];
//#else
//#if WEIGHTS
            let w = weights[class_];
//#else
            let w = 1.0;
//#end
//#end
            let x = select(a.x, LOWEST, bitcast<u32>(a.x) == 0xff800000u);
            let u = max(x - scalars.x, -1e4);
            let p = exponential(min(u, 0.0)) * scalars.y;
//#if COMPANION
//#if ENTRIES
            let c = companions[min(own_row, P.rows - 1u) * P.columns + known];
//#else
            let c = companions[class_];
//#end
            let coefficient = fma(most.x, c - most.y, scalars.z - scalars.w * (u - more.x));
            var d = fma(p, coefficient, -more.y * w);
//#else
            var d = fma(p, scalars.z - scalars.w * (u - more.x), -more.y * w);
//#end
//#if OTHERS
            d = fma(most.y, exponential(clamp(x - most.x, -1e4, 0.0)), d);
//#end
            d = select(d, more.w, class_ == names.z);
            d = select(d, more.z, class_ == names.y);
//#if SECOND
            let t = seconds[min(own_row, P.rows - 1u) * P.stride + known];
            let maxima = vec2<f32>(scalars.x, second.x);
            let pair = pair_of(a.x, t, maxima, vec2<f32>(scalars.y, second.y), second.z);
//#if FORWARD
            d = select(fma(slopes.x, fma(-pair.q, slopes.y, difference(pair)), d), d, slopes.x == 0.0);
//#end
//#if REVERSE
            d = select(fma(slopes.z, pair.q * (-pair.delta - slopes.w), d), d, slopes.z == 0.0);
//#end
//#if MIXTURE
            let slope = slope_of_mixture(pair, mixture_of(pair));
            d = select(fma(others.x, pair.q * (slope - others.y), d), d, others.x == 0.0);
//#end
//#if VARIATION
            d = select(fma(others.z, pair.q * (half_sign(pair) - others.w), d), d, others.z == 0.0);
//#end
//#end
            let value = select(d * a.y, scalars.y, names.w == 0u);
            let there = own_row < P.rows && v < P.columns;
            g[own_row * P.stride + v] = select(0.0, value, there);
//#if FILTER
            let counts = there && (p >= P.threshold || class_ == names.y || names.w == 0u || is_nan(value));
            matters[$i/4$ * 2 + $j/4$] |= select(0u, 1u, counts);
            lost$i$[$j/4$] += select(0.0, p, there);
//#end
        }
//#end
    }
//#end
//#if FILTER
    workgroupBarrier();
    tiles[thread] = matters;
    workgroupBarrier();
    let blocks = P.stride / 64u;
    if (thread == 0u) {
        var any = vec4<u32>(0u);
        for (var other = 0u; other < 256u; other++) {
            any |= tiles[other];
        }
        tiles[256] = any;
//#for i ROW_BLOCKS
//#for j COLUMN_BLOCKS
        kept[(row / 64u + $i$u) * blocks + column / 64u + $j$u] = any[$2*i+j$];
//#end
//#end
    }
    workgroupBarrier();
    let any = tiles[256];
//#for i TM
    workgroupBarrier();
    tiles[thread] = vec4<u32>(bitcast<vec2<u32>>(lost$i$), 0u, 0u);
    workgroupBarrier();
    if (tx == 0u) {
        var sum = vec2<f32>(0.0);
        for (var other = 0u; other < 16u; other++) {
            sum += bitcast<vec2<f32>>(tiles[thread + other].xy);
        }
//#for j COLUMN_BLOCKS
        lost[(row + ty + $16*i$u) * blocks + column / 64u + $j$u] =
            select(0.0, sum[$j$], any[$i/4$ * 2 + $j$] == 0u);
//#end
    }
//#end
//#end
}
