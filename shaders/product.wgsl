// One of the products that consume G, added to what stands in the gradient. Along the rows a sum goes
// on from there. Along the classes, which are many more, it begins anew every `extra` of them.
//#include params
//#include tile
//#if TRANSPOSED
// dC += G^T E: a row is a class, a step is a row of E.
//#matrix hidden 1
@group(0) @binding(2) var<storage, read> g: array<f32>;
//#else
// dE += G C: a row is a row of E, a step is a class.
//#matrix classifier 1
@group(0) @binding(2) var<storage, read> g: array<vec4<f32>>;
//#end

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
//#if FILTER
@group(0) @binding(4) var<storage, read> kept: array<u32>;
//#end

@compute @workgroup_size(16, 16, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tx = local.x;
    let ty = local.y;
    let thread = ty * 16u + tx;
    let lane = thread % 64u;
    let quad = thread / 64u;
    let row = group.x * $BM$u;
    let column = group.y * $BN$u;
//#if TRANSPOSED
    let height = P.columns;
    let steps = P.rows;
//#else
    let height = P.rows;
    let steps = P.columns;
//#end
//#for i TM
    let own$i$ = min(row + ty + $16*i$u, height - 1u);
//#if TRANSPOSED
    let to$i$ = own$i$ * P.width;
//#else
    let to$i$ = (rows[3u * (P.first_row + own$i$)].x - P.hidden_origin) * P.width;
//#end
//#for j TN
//#if TRANSPOSED
    var c$i$_$j$ = gradient[to$i$ + min(column + tx + $16*j$u, P.width - 1u)];
//#else
    var c$i$_$j$ = 0.0;
//#end
//#end
//#end
//#if FILTER
    let blocks = P.stride / 64u;
//#end
//#if TRANSPOSED
    let each = steps;
//#else
    let each = P.extra;
//#end
    for (var block = 0u; block < steps; block += each) {
        for (var k = block; k < min(block + each, steps); k += 16u) {
//#if FILTER
            var any = 0u;
//#for l A_LOADS
//#if TRANSPOSED
            any |= kept[(k / 64u) * blocks + min(row / 64u + $l$u, blocks - 1u)];
//#else
            any |= kept[(row / 64u + $l$u) * blocks + k / 64u];
//#end
//#end
            if (any == 0u) {
                continue;
            }
//#end
            let step = k + 4u * quad;
//#if TRANSPOSED
//#for l A_LOADS
            let a_at$l$ = step * P.stride + row + lane + $64*l$u;
            let a_in$l$ = vec4<f32>(g[a_at$l$], g[a_at$l$ + P.stride], g[a_at$l$ + 2u * P.stride], g[a_at$l$ + 3u * P.stride]);
//#end
            let last = P.rows - 1u;
            let e0 = rows[3u * (P.first_row + min(step, last))].x - P.hidden_origin;
            let e1 = rows[3u * (P.first_row + min(step + 1u, last))].x - P.hidden_origin;
            let e2 = rows[3u * (P.first_row + min(step + 2u, last))].x - P.hidden_origin;
            let e3 = rows[3u * (P.first_row + min(step + 3u, last))].x - P.hidden_origin;
//#for l B_LOADS
            let at$l$ = column + lane + $64*l$u;
            let b_in$l$ = vec4<f32>(
                hidden_or_zero(e0, at$l$, step < P.rows),
                hidden_or_zero(e1, at$l$, step + 1u < P.rows),
                hidden_or_zero(e2, at$l$, step + 2u < P.rows),
                hidden_or_zero(e3, at$l$, step + 3u < P.rows),
            );
//#end
//#else
//#for l A_LOADS
            let a_in$l$ = g[((row + lane + $64*l$u) * P.stride + step) / 4u];
//#end
//#for l B_LOADS
            let at$l$ = column + lane + $64*l$u;
            let b_in$l$ = vec4<f32>(
                classifier_or_zero(step, at$l$, step < P.columns),
                classifier_or_zero(step + 1u, at$l$, step + 1u < P.columns),
                classifier_or_zero(step + 2u, at$l$, step + 2u < P.columns),
                classifier_or_zero(step + 3u, at$l$, step + 3u < P.columns),
            );
//#end
//#end
            workgroupBarrier();
//#for l A_LOADS
            tiles[(lane + $64*l$u) * 5u + quad] = bitcast<vec4<u32>>(a_in$l$);
//#end
//#for l B_LOADS
            tiles[$B_OFFSET$u + (lane + $64*l$u) * 5u + quad] = bitcast<vec4<u32>>(b_in$l$);
//#end
            workgroupBarrier();
//#include multiply
        }
//#for i TM
        if (row + ty + $16*i$u < height) {
//#for j TN
            if (column + tx + $16*j$u < P.width) {
//#if TRANSPOSED
                gradient[to$i$ + column + tx + $16*j$u] = c$i$_$j$;
//#else
                gradient[to$i$ + column + tx + $16*j$u] += c$i$_$j$;
//#end
            }
//#if TRANSPOSED
//#else
            c$i$_$j$ = 0.0;
//#end
//#end
        }
//#end
    }
}
