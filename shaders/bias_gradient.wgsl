// db += sums over the rows of G, 64 rows at a time: a thread owns a class.
//#include params

@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
//#if FILTER
@group(0) @binding(2) var<storage, read> kept: array<u32>;
//#end

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let v = id.x;
    if (v >= P.columns) {
        return;
    }
    var total = gradient[P.first_class + v];
    for (var first = 0u; first < P.rows; first += 64u) {
//#if FILTER
        if (kept[(first / 64u) * (P.stride / 64u) + v / 64u] == 0u) {
            continue;
        }
//#end
        var sum = 0.0;
        for (var i = first; i < min(first + 64u, P.rows); i++) {
            sum += g[i * P.stride + v];
        }
        total += sum;
    }
    gradient[P.first_class + v] = total;
}
