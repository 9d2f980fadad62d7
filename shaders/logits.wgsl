// The logits of a tile, into the scratch.
//#include params
//#include numbers
//#if GIVEN
//#else
//#include tile
//#matrix hidden 1
//#matrix classifier 2
//#end

// Row of the hidden states, target, scale where each row has its own.
@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
//#end
// From `extra` on. Where logits are given, what becomes of them stands in their place.
@group(0) @binding(5) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(16, 16, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tx = local.x;
    let ty = local.y;
    let row = group.x * $BM$u;
    let column = group.y * $BN$u;
//#if GIVEN
//#else
    let thread = ty * 16u + tx;
    let lane = thread / 4u;
    let quad = thread % 4u;
    let quads = (P.width + 3u) / 4u;
//#for l A_LOADS
    let a_row$l$ = rows[P.first_row + min(row + lane + $64*l$u, P.rows - 1u)].x - P.hidden_origin;
//#end
//#include logits_tile
//#end
//#for i TM
    {
        let own_row = row + ty + $16*i$u;
//#if SCALES
        let scale = bitcast<f32>(rows[P.first_row + min(own_row, P.rows - 1u)].z);
//#else
        let scale = P.scale;
//#end
//#if ZERO_AT_TARGET
        let target_ = rows[P.first_row + min(own_row, P.rows - 1u)].y;
//#end
//#for j TN
        {
            let v = column + tx + $16*j$u;
            if (own_row < P.rows && v < P.columns) {
                let at = P.extra + own_row * P.stride + v;
//#if GIVEN
                let z = logits[at];
//#else
                let z = c$i$_$j$;
//#end
//#if BIAS
                let a = logit(z, bias[P.first_class + v], scale).x;
//#else
                let a = logit(z, 0.0, scale).x;
//#end
//#if ZERO_AT_TARGET
                logits[at] = select(a, 0.0, P.first_class + v == target_);
//#else
                logits[at] = a;
//#end
            }
        }
//#end
    }
//#end
}
