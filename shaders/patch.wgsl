// Entries of G that were computed elsewhere: the place and the bits of each.
//#include params

@group(0) @binding(0) var<storage, read> entries: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> g: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < P.count) {
        let entry = entries[P.extra + id.x];
        g[entry.x] = bitcast<f32>(entry.y);
    }
}
