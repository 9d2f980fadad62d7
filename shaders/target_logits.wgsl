// Single logits with their slopes, summed in the order of every tile: of each pair of a row and a
// class that the binding holds.
//#include params
//#include numbers
//#matrix hidden 1
//#matrix classifier 2

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
//#end
// Index of the row, class.
@group(0) @binding(4) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> logits: array<vec2<f32>>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= P.count) {
        return;
    }
    let at = P.extra + id.x;
    let pair = pairs[at];
    let column = pair.y - P.first_class;
    if (pair.y < P.first_class || column >= P.columns) {
        return;
    }
    let row = rows[pair.x].x - P.hidden_origin;
//#if SCALES
    let scale = bitcast<f32>(rows[pair.x].z);
//#else
    let scale = P.scale;
//#end
    let quads = (P.width + 3u) / 4u;
    var sum = 0.0;
    for (var k = 0u; k < quads; k++) {
        let a = hidden_quad(row, k);
        let b = classifier_quad(column, k);
        sum = fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
    }
//#if BIAS
    logits[at] = logit(sum, bias[pair.y], scale);
//#else
    logits[at] = logit(sum, 0.0, scale);
//#end
}
