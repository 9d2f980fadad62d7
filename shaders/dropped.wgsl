// What a filter leaves out: a thread adds up what its row has lost, the first of 64 rows also how many
// blocks were kept.
//#include params

@group(0) @binding(0) var<storage, read> kept: array<u32>;
@group(0) @binding(1) var<storage, read> lost: array<f32>;
@group(0) @binding(2) var<storage, read_write> totals: array<vec2<f32>>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if (row >= P.rows) {
        return;
    }
    let stride = P.stride / 64u;
    let blocks = (P.columns + 63u) / 64u;
    var sum = 0.0;
    var count = 0u;
    for (var block = 0u; block < blocks; block++) {
        sum += lost[row * stride + block];
        count += select(kept[(row / 64u) * stride + block], 0u, row % 64u != 0u);
    }
    totals[P.first_row + row] += vec2<f32>(sum, f32(count));
}
