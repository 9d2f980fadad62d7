// Y += G X over some of the points, G_ij = exp(-scale |x_i - x_j|^2), of which nothing is stored: a
// workgroup owns 64 rows of Y. Sums have three levels, 32 terms, 32 of those, and the rest, so that their
// rounding grows with the cube root of the number of points.
//#include params
//#include numbers

// P.width / 4 vectors of each point.
@group(0) @binding(0) var<storage, read> points: array<vec4<f32>>;
// Eight vectors of each point.
@group(0) @binding(1) var<storage, read> vectors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> products: array<vec4<f32>>;

// Sixteen coordinates of 64 and of 32 points; rows five vectors apart, or 33 numbers, keep threads that read
// at once in different banks.
var<workgroup> left: array<vec4<f32>, 320>;
var<workgroup> right: array<vec4<f32>, 160>;
var<workgroup> entries: array<f32, 2112>;

fn square(d: vec4<f32>, sum: f32) -> f32 {
    return fma(d.w, d.w, fma(d.z, d.z, fma(d.y, d.y, fma(d.x, d.x, sum))));
}

// Beyond the range of the exponential it is 0, however far.
fn entry(d: f32) -> f32 {
    return exponential(max(-P.scale * d, -1e4));
}

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
    let quads = P.width / 4u;
    let row = P.first_row + group.x * 64u + lane;
    let own = min(row, P.rows - 1u);
    let end = P.first_column + P.columns;

    var first_sum = vec4<f32>(0.0);
    var second_sum = vec4<f32>(0.0);
    var first_total = products[own * 8u + 2u * quad];
    var second_total = products[own * 8u + 2u * quad + 1u];
    var tile = 0u;
    for (var column = P.first_column; column < end; column += 32u) {
        var d00 = 0.0; var d01 = 0.0;
        var d10 = 0.0; var d11 = 0.0;
        var d20 = 0.0; var d21 = 0.0;
        var d30 = 0.0; var d31 = 0.0;
        let other = min(column + lane % 32u, end - 1u);
        for (var k = 0u; k < quads; k += 4u) {
            let known = min(k + quad, quads - 1u);
            let there = k + quad < quads;
            workgroupBarrier();
            left[lane * 5u + quad] = select(vec4<f32>(0.0), points[own * quads + known], there);
            if (thread < 128u) {
                right[lane * 5u + quad] = select(vec4<f32>(0.0), points[other * quads + known], there);
            }
            workgroupBarrier();
            for (var q = 0u; q < 4u; q++) {
                let b0 = right[tx * 5u + q];
                let b1 = right[(tx + 16u) * 5u + q];
                let a0 = left[ty * 5u + q];
                let a1 = left[(ty + 16u) * 5u + q];
                let a2 = left[(ty + 32u) * 5u + q];
                let a3 = left[(ty + 48u) * 5u + q];
                d00 = square(a0 - b0, d00); d01 = square(a0 - b1, d01);
                d10 = square(a1 - b0, d10); d11 = square(a1 - b1, d11);
                d20 = square(a2 - b0, d20); d21 = square(a2 - b1, d21);
                d30 = square(a3 - b0, d30); d31 = square(a3 - b1, d31);
            }
        }
        let there0 = column + tx < end;
        let there1 = column + tx + 16u < end;
        entries[ty * 33u + tx] = select(0.0, entry(d00), there0);
        entries[ty * 33u + tx + 16u] = select(0.0, entry(d01), there1);
        entries[(ty + 16u) * 33u + tx] = select(0.0, entry(d10), there0);
        entries[(ty + 16u) * 33u + tx + 16u] = select(0.0, entry(d11), there1);
        entries[(ty + 32u) * 33u + tx] = select(0.0, entry(d20), there0);
        entries[(ty + 32u) * 33u + tx + 16u] = select(0.0, entry(d21), there1);
        entries[(ty + 48u) * 33u + tx] = select(0.0, entry(d30), there0);
        entries[(ty + 48u) * 33u + tx + 16u] = select(0.0, entry(d31), there1);
        workgroupBarrier();
        var first = vec4<f32>(0.0);
        var second = vec4<f32>(0.0);
        for (var k = 0u; k < 32u; k++) {
            let g = entries[lane * 33u + k];
            let at = min(column + k, end - 1u) * 8u + 2u * quad;
            first = fma(vec4<f32>(g), vectors[at], first);
            second = fma(vec4<f32>(g), vectors[at + 1u], second);
        }
        first_sum += first;
        second_sum += second;
        tile++;
        if (tile == 32u) {
            first_total += first_sum;
            second_total += second_sum;
            first_sum = vec4<f32>(0.0);
            second_sum = vec4<f32>(0.0);
            tile = 0u;
        }
    }
    if (row < P.rows) {
        products[row * 8u + 2u * quad] = first_total + first_sum;
        products[row * 8u + 2u * quad + 1u] = second_total + second_sum;
    }
}
