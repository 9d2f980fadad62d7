// The fold: a workgroup takes some rows and one span of the vocabulary, and leaves a state of each row.
//#include params
//#include numbers
//#include tile
//#include fold
//#matrix hidden 1
//#matrix classifier 2

// Row of the hidden states, target, scale where each row has its own, the first of its candidates where the fold
// leaves them out; then there is one row more, for the end of the last.
@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
//#end
//#if WEIGHTS
@group(0) @binding(4) var<storage, read> weights: array<f32>;
//#end
// Twelve words of each row and span.
@group(0) @binding(5) var<storage, read_write> partials: array<u32>;
//#if RANK
// The targets' logits and slopes, of all rows.
@group(0) @binding(6) var<storage, read> ahead: array<vec2<f32>>;
//#end
//#if COMPANION
@group(0) @binding(7) var<storage, read> companions: array<f32>;
//#end
//#if GIVEN
// In place of products.
@group(0) @binding(7) var<storage, read> given: array<f32>;
//#end
//#if OTHERS
// The candidates of all rows, those of each in order.
@group(0) @binding(7) var<storage, read> listed: array<u32>;

// The first place before `end` with a class that is not below this one.
fn listed_from(start: u32, end: u32, class_: u32) -> u32 {
    var low = start;
    var high = end;
    while (low < high) {
        let middle = (low + high) / 2u;
        let below = listed[middle] < class_;
        low = select(low, middle + 1u, below);
        high = select(middle, high, below);
    }
    return low;
}

fn listed_at(at: u32, end: u32) -> u32 {
    return select(NONE, listed[min(at, max(end, 1u) - 1u)], at < end);
}
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
    let span = P.first_span + group.y;
    let start = P.first_column + group.y * P.span;
    let end = min(start + P.span, P.columns);
//#for l A_LOADS
    let a_row$l$ = rows[P.first_row + min(row + lane + $64*l$u, P.rows - 1u)].x - P.hidden_origin;
//#end
//#for i TM
    let row$i$ = min(row + ty + $16*i$u, P.rows - 1u);
    let y$i$ = rows[P.first_row + row$i$].y;
//#if SCALES
    let scale$i$ = bitcast<f32>(rows[P.first_row + row$i$].z);
//#else
    let scale$i$ = P.scale;
//#end
//#if RANK
    let ahead$i$ = ahead[P.first_row + row$i$].x;
//#else
    let ahead$i$ = 0.0;
//#end
    var s$i$ = no_state();
//#if OTHERS
    let end$i$ = rows[P.first_row + row$i$ + 1u].w;
    var next$i$ = listed_from(rows[P.first_row + row$i$].w, end$i$, P.first_class + start);
    var upcoming$i$ = listed_at(next$i$, end$i$);
//#end
//#end
    for (var column = start; column < end; column += $BN$u) {
//#include logits_tile
//#for j TN
        let v$j$ = column + tx + $16*j$u;
        if (v$j$ < end) {
            let class$j$ = P.first_class + v$j$;
//#if BIAS
            let bias$j$ = bias[class$j$];
//#else
            let bias$j$ = 0.0;
//#end
//#for i TM
            {
//#if GIVEN
                c$i$_$j$ = given[row$i$ * P.columns + v$j$];
//#end
                let x = logit(c$i$_$j$, bias$j$, scale$i$).x;
//#if DENSE
                let w = weights[row$i$ * P.columns + v$j$];
//#else
//#if WEIGHTS
                let w = weights[class$j$];
//#else
                let w = 1.0;
//#end
//#end
//#if ENTRIES
                let beside = companions[row$i$ * P.columns + v$j$];
//#else
//#if COMPANION
                let beside = companions[class$j$];
//#else
                let beside = 0.0;
//#end
//#end
                if (class$j$ == y$i$ && row + ty + $16*i$u < P.rows) {
                    partials[(row$i$ * P.spans + span) * 12u + 7u] = bitcast<u32>(x);
                }
//#if OTHERS
                // A thread's classes come in order.
                while (upcoming$i$ < class$j$) {
                    next$i$++;
                    upcoming$i$ = listed_at(next$i$, end$i$);
                }
                if (class$j$ != upcoming$i$) {
                    push(&s$i$, x, class$j$, w, beside, ahead$i$, y$i$);
                }
//#else
                push(&s$i$, x, class$j$, w, beside, ahead$i$, y$i$);
//#end
            }
//#end
        }
//#end
    }
//#for i TM
    workgroupBarrier();
    keep_state(s$i$, thread * 3u);
    workgroupBarrier();
    if (tx == 0u && row + ty + $16*i$u < P.rows) {
        var s = kept_state(thread * 3u);
        for (var other = 1u; other < 16u; other++) {
            s = join(s, kept_state((thread + other) * 3u));
        }
        let at = (row$i$ * P.spans + span) * 12u;
        partials[at] = bitcast<u32>(s.maximum);
        partials[at + 1u] = bitcast<u32>(s.remainder);
        partials[at + 4u] = s.argmax;
        partials[at + 8u] = s.special;
//#if ENTROPY
        partials[at + 2u] = bitcast<u32>(s.first);
//#end
//#if VARENTROPY
        partials[at + 3u] = bitcast<u32>(s.second);
//#end
//#if WEIGHTED
        partials[at + 5u] = select(bitcast<u32>(s.deviation), 0x7f800000u, s.lowest != 0u);
        partials[at + 6u] = bitcast<u32>(s.weight);
//#end
//#if RANK
        partials[at + 10u] = s.above;
//#end
//#if COMPANION
        partials[at + 11u] = bitcast<u32>(s.companion);
        partials[at + 9u] = bitcast<u32>(s.of_argmax);
//#end
    }
//#end
}
