// X^T X of some rows that are about their mean, the tiles on and above the diagonal: a workgroup owns
// 64 by 64 of its numbers. Sums have two levels, 256 rows and the rest.
//#include params

@group(0) @binding(0) var<storage, read> features: array<f32>;
@group(0) @binding(1) var<storage, read_write> gram: array<f32>;

// Sixteen rows of 64 columns each, four rows to a vector.
var<workgroup> left: array<vec4<f32>, 320>;
var<workgroup> right: array<vec4<f32>, 320>;

// Four rows of a column, zeros beyond the last.
fn four(row: u32, column: u32) -> vec4<f32> {
    let last = P.rows - 1u;
    let at = min(column, P.width - 1u);
    let values = vec4<f32>(
        features[min(row, last) * P.width + at],
        features[min(row + 1u, last) * P.width + at],
        features[min(row + 2u, last) * P.width + at],
        features[min(row + 3u, last) * P.width + at],
    );
    let rows = vec4<u32>(row, row + 1u, row + 2u, row + 3u);
    return select(vec4<f32>(0.0), values, rows < vec4<u32>(P.rows));
}

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
    let i = group.x * 64u;
    let j = group.y * 64u;
    // Of a tile below the diagonal nothing is computed; the barriers are met all the same.
    let rows = select(P.rows, 0u, i > j);
    var totals = mat4x4<f32>();
    for (var start = 0u; start < rows; start += 256u) {
        // A column of products for each row of four.
        var sums = mat4x4<f32>();
        for (var k = start; k < min(start + 256u, rows); k += 16u) {
            let a_in = four(k + 4u * quad, i + lane);
            let b_in = four(k + 4u * quad, j + lane);
            workgroupBarrier();
            left[lane * 5u + quad] = a_in;
            right[lane * 5u + quad] = b_in;
            workgroupBarrier();
            for (var q = 0u; q < 4u; q++) {
                let b = mat4x4<f32>(
                    right[tx * 5u + q],
                    right[(tx + 16u) * 5u + q],
                    right[(tx + 32u) * 5u + q],
                    right[(tx + 48u) * 5u + q],
                );
                sums[0] += left[ty * 5u + q] * b;
                sums[1] += left[(ty + 16u) * 5u + q] * b;
                sums[2] += left[(ty + 32u) * 5u + q] * b;
                sums[3] += left[(ty + 48u) * 5u + q] * b;
            }
        }
        totals += sums;
    }
    for (var r = 0u; r < 4u; r++) {
        let to = (i + ty + 16u * r) * P.width + j + tx;
        let inside = i <= j && i + ty + 16u * r < P.width;
        if (inside && j + tx < P.width) {
            gram[to] = totals[r].x;
        }
        if (inside && j + tx + 16u < P.width) {
            gram[to + 16u] = totals[r].y;
        }
        if (inside && j + tx + 32u < P.width) {
            gram[to + 32u] = totals[r].z;
        }
        if (inside && j + tx + 48u < P.width) {
            gram[to + 48u] = totals[r].w;
        }
    }
}
